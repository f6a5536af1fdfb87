//! Requests that go to the extension server, and what comes back.

use crate::support::cluster::admin;
use crate::support::upgraded::hears_itself;
use crate::world::{API_SERVICES, FLUNDERS, Lines, NAME, World, eventually, flunder, in_time};
use apiserver::authn::UserInfo;
use apiserver::{Body, Config, body};
use http::{Request, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::{Service, ServiceExt};

async fn send(world: &World, request: Request<Body>) -> Response<Body> {
    world.cluster.server.service().ready().await.expect("ready").call(request).await.expect("answer")
}

#[tokio::test]
async fn all_verbs_go_there_and_answers_come_back_as_they_are() {
    let world = World::joined().await;
    let cluster = &world.cluster;
    cluster.made(FLUNDERS, flunder("f")).await;
    // What is too large for this server need not be for others.
    let mut large = flunder("large");
    large["spec"]["reference"] = "x".repeat(5 << 20).into();
    cluster.made(FLUNDERS, large).await;
    assert_eq!(cluster.send(&admin(), "DELETE", &format!("{FLUNDERS}/large"), None).await.code, 200);
    let again = cluster.post(FLUNDERS, flunder("f")).await;
    assert_eq!((again.code, again.message()), (409, "flunders.wardle.example.com \"f\" already exists"));
    let one = format!("{FLUNDERS}/f");
    assert_eq!(cluster.get(&one).await["spec"]["reference"], "x");
    let patched = cluster.send(&admin(), "PATCH", &one, Some(&json!({"spec": {"reference": "y"}}))).await;
    assert_eq!((patched.code, &patched.value["spec"]["reference"]), (200, &json!("y")));
    let put = cluster.send(&admin(), "PUT", &one, Some(&patched.value)).await;
    assert_eq!(put.code, 200);
    let list = cluster.raw(&admin(), "GET", &format!("{FLUNDERS}?limit=5&labelSelector=a%3Db"), None).await;
    assert_eq!(list.headers()["warning"], "299 - \"flunders are old\"");
    assert_eq!(list.headers()["x-extension"], "yes");
    assert!(!list.headers().contains_key("access-control-allow-origin"));
    let list: Value =
        serde_json::from_slice(&list.into_body().collect().await.expect("body").to_bytes()).expect("json");
    assert_eq!(list["items"][0]["metadata"]["name"], "f");
    assert_eq!(world.extension.last("GET").expect("seen").line, format!("GET {FLUNDERS}?labelSelector=a%3Db&limit=5"));
    assert_eq!(cluster.send(&admin(), "DELETE", &one, None).await.code, 200);
    assert_eq!(cluster.send(&admin(), "DELETE", FLUNDERS, None).await.code, 200);
    let absent = cluster.send(&admin(), "GET", &one, None).await;
    assert_eq!((absent.code, &absent.value["reason"]), (404, &json!("NotFound")));
    // What is served here is not touched.
    assert_eq!(cluster.send(&admin(), "GET", "/apis/wardle.example.com/v1beta1/flunders", None).await.code, 404);
    assert_eq!(cluster.get("/api/v1/namespaces/a/configmaps").await["kind"], "ConfigMapList");
}

#[tokio::test]
async fn the_extension_server_is_told_who_asks_and_nothing_else() {
    let world = World::joined().await;
    let mut ann = UserInfo::authenticated("ann", ["system:masters", "dev"]);
    ann.extra.insert("example.com/Scope%".into(), vec!["a".into(), "b".into()]);
    let mut request = Request::get(FLUNDERS)
        .header("x-remote-user", "eve")
        .header("x-remote-group", "system:nodes")
        .header("x-remote-extra-other", "z")
        .header("authorization", "Bearer secret")
        .header("accept", "application/json;as=Table")
        .header("x-forwarded-for", "192.0.2.1")
        .header("connection", "close, x-hop")
        .header("x-hop", "1")
        .header("audit-id", "the-audit")
        .body(body::empty())
        .expect("request");
    request.extensions_mut().insert(ann);
    let answer = send(&world, request).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["audit-id"], "the-audit");
    let seen = world.extension.last("GET").expect("seen").headers;
    let all = |name: &str| seen.get_all(name).iter().map(|v| v.to_str().expect("text")).collect::<Vec<_>>();
    assert_eq!(all("x-remote-user"), ["ann"]);
    assert_eq!(all("x-remote-group"), ["system:masters", "dev", "system:authenticated"]);
    assert_eq!(all("x-remote-extra-example.com%2fscope%25"), ["a", "b"]);
    assert_eq!(all("audit-id"), ["the-audit"]);
    assert_eq!(all("accept"), ["application/json;as=Table"]);
    for absent in ["authorization", "x-remote-extra-other", "impersonate-user", "x-hop"] {
        assert!(!seen.contains_key(absent), "{absent}");
    }
    assert_eq!(all("x-forwarded-uri"), [FLUNDERS]);

    // Somebody whom another speaks for is told as who they are.
    let mut request = Request::get(FLUNDERS)
        .header("impersonate-user", "bob")
        .header("impersonate-group", "system:masters")
        .body(body::empty())
        .expect("request");
    request.extensions_mut().insert(admin());
    assert_eq!(send(&world, request).await.status(), 200);
    let seen = world.extension.last("GET").expect("seen").headers;
    assert_eq!(seen["x-remote-user"], "bob");
    assert!(!seen.contains_key("impersonate-user"));
}

#[tokio::test]
async fn who_may_not_ask_does_not_get_there() {
    let world = World::joined().await;
    let before = world.extension.state.seen.lock().len();
    let nobody = UserInfo::authenticated("nobody", ["dev"]);
    let answer = world.cluster.send(&nobody, "GET", FLUNDERS, None).await;
    assert_eq!(answer.code, 403);
    assert_eq!(
        answer.message(),
        "flunders.wardle.example.com is forbidden: User \"nobody\" cannot list resource \"flunders\" in API group \
         \"wardle.example.com\" in the namespace \"a\""
    );
    assert_eq!(world.extension.state.seen.lock().len(), before);
}

#[tokio::test]
async fn a_watch_delivers_each_event_when_it_happens_and_ends_with_the_server() {
    let world = World::joined().await;
    let answer = world.cluster.raw(&admin(), "GET", &format!("{FLUNDERS}?watch=true"), None).await;
    assert_eq!(answer.status(), 200);
    let mut lines = Lines::new(answer.into_body());
    for name in ["one", "two"] {
        world.cluster.made(FLUNDERS, flunder(name)).await;
        let event = in_time("an event", lines.next()).await.expect("event");
        assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!(name)));
    }
    let metrics = world.metrics().await;
    let line = metrics.lines().find(|l| l.starts_with("apiserver_longrunning_requests") && l.contains("flunders"));
    assert!(line.is_some_and(|l| l.ends_with(" 1")), "{line:?}");
    let ended = tokio::spawn(async move { lines.next().await });
    assert!(world.cluster.server.shutdown().await);
    assert!(in_time("the end", ended).await.expect("joined").is_none());
}

#[tokio::test]
async fn an_upgraded_connection_is_passed_through() {
    let world = World::joined().await;
    hears_itself(&world.cluster.server, &format!("{FLUNDERS}/f/talk")).await;
    assert_eq!(world.extension.last("/talk").expect("seen").headers["x-remote-user"], "admin");
}

async fn text(world: &World, path: &str) -> (u16, String) {
    let answer = world.cluster.raw(&admin(), "GET", path, None).await;
    let code = answer.status().as_u16();
    let bytes = answer.into_body().collect().await.expect("body").to_bytes();
    (code, String::from_utf8_lossy(&bytes).into_owned())
}

async fn change(world: &World, patch: Value) {
    let path = format!("{API_SERVICES}/{NAME}");
    let changed = world.cluster.send(&admin(), "PATCH", &path, Some(&patch)).await;
    assert_eq!(changed.code, 200, "{}", changed.value);
    // Read at its revision, so that the server has seen it.
    let revision = changed.value["metadata"]["resourceVersion"].as_str().expect("revision");
    let list = format!("{API_SERVICES}?resourceVersion={revision}&resourceVersionMatch=NotOlderThan");
    assert_eq!(world.cluster.send(&admin(), "GET", &list, None).await.code, 200);
}

#[tokio::test]
async fn what_goes_wrong_on_the_way_is_said_as_upstream_says_it() {
    let world = World::joined().await;
    let redirect = text(&world, &format!("{FLUNDERS}/f/elsewhere")).await;
    assert_eq!(redirect, (502, "the backend attempted to redirect this request, which is not permitted".into()));
    *world.extension.state.broken.lock() = 418;
    assert_eq!(text(&world, FLUNDERS).await, (418, "broken".into()), "its own errors are its own");
    *world.extension.state.broken.lock() = 0;

    // Who answers is not who should.
    let stranger = crate::support::bundle(&crate::support::authority());
    change(&world, json!({"spec": {"caBundle": stranger}})).await;
    let unknown = "error trying to reach service: tls: failed to verify certificate: x509: certificate signed by \
                   unknown authority\n";
    assert_eq!(text(&world, FLUNDERS).await, (503, unknown.to_owned()));
    change(&world, json!({"spec": {"caBundle": null, "insecureSkipTLSVerify": true}})).await;
    assert_eq!(text(&world, FLUNDERS).await.0, 200);

    // Nobody listens on the port that the system has just given and taken back.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("port").local_addr().expect("address").port();
    world.cluster.endpoints("w", Some(free)).await;
    let condition = world.becomes("FailedDiscoveryCheck").await;
    let url = format!("https://127.0.0.1:{free}/apis/wardle.example.com/v1alpha1");
    let refused = format!("dial tcp 127.0.0.1:{free}: connect: connection refused");
    assert_eq!(condition["message"], format!("failing or missing response from {url}: Get \"{url}\": {refused}"));
    assert_eq!(text(&world, FLUNDERS).await, (503, "service unavailable\n".into()));
    // The group version's own document goes the same way.
    assert_eq!(text(&world, "/apis/wardle.example.com/v1alpha1").await, (503, "service unavailable\n".into()));
    world.cluster.endpoints("w", Some(world.extension.backend.port)).await;
    world.becomes("Passed").await;
    assert_eq!(text(&world, FLUNDERS).await.0, 200);
}

#[tokio::test]
async fn requests_are_classified_and_recorded_like_others() {
    let directory = tempfile::tempdir().expect("directory");
    let log = directory.path().join("audit.log");
    let world = World::with(Config { audit_log: Some(log.clone()), ..Config::default() }, false).await;
    world.cluster.server.ready().await;
    world.join().await;
    let ready = eventually(async || {
        let answer = world.cluster.send(&admin(), "GET", "/readyz?verbose", None).await;
        (answer.code == 200).then_some(answer.value)
    })
    .await;
    let ready = ready.as_str().expect("text");
    assert!(ready.contains("[+]autoregister-completion ok") && ready.contains("apiservice-openapiv3-controller ok"));
    let ann = UserInfo::authenticated("ann", ["system:masters"]);
    let answer = world.cluster.raw(&ann, "GET", FLUNDERS, None).await;
    let uid = answer.headers()["x-kubernetes-pf-flowschema-uid"].to_str().expect("text").to_owned();
    let schema = world.cluster.get("/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/exempt").await;
    assert_eq!(schema["metadata"]["uid"], uid.as_str());
    let id = answer.headers()["audit-id"].to_str().expect("text").to_owned();
    let event = eventually(async || {
        let text = std::fs::read_to_string(&log).expect("the log");
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter(|e| e["auditID"] == id.as_str()).find(|e| e["stage"] == "ResponseComplete")
    })
    .await;
    assert_eq!((&event["verb"], &event["user"]["username"]), (&json!("list"), &json!("ann")));
    let object = &event["objectRef"];
    assert_eq!((&object["apiGroup"], &object["resource"]), (&json!("wardle.example.com"), &json!("flunders")));
    assert_eq!(event["responseStatus"]["code"], 200);
}
