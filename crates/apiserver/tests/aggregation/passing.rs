//! What becomes of requests and answers on their way through, as a kube-apiserver was seen to pass them on.

use crate::support::cluster::admin;
use crate::world::{API_SERVICES, FLUNDERS, NAME, World, eventually, flunder};
use apiserver::authn::UserInfo;
use apiserver::{Body, Config, RemoteAddr, body};
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::{Service, ServiceExt};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

async fn send(world: &World, user: UserInfo, mut request: Request<Body>) -> Response<Body> {
    request.extensions_mut().insert(user);
    world.cluster.server.service().ready().await.expect("ready").call(request).await.expect("answer")
}

fn all<'h>(headers: &'h http::HeaderMap, name: &str) -> Vec<&'h str> {
    headers.get_all(name).iter().map(|v| v.to_str().expect("text")).collect()
}

async fn text(answer: Response<Body>) -> String {
    String::from_utf8_lossy(&answer.into_body().collect().await.expect("body").to_bytes()).into_owned()
}

#[tokio::test]
async fn urls_are_passed_on_in_one_form() {
    let world = World::joined().await;
    let request = Request::get(format!("{FLUNDERS}//a%2Fb/%41?limit=5&x=%20y&a=1;2&b=%zz&continue=c"));
    send(&world, admin(), request.body(body::empty()).expect("request")).await;
    let seen = world.extension.last("GET").expect("seen");
    assert_eq!(seen.line, format!("GET {FLUNDERS}//a/b/A?continue=c&limit=5&x=+y"));
    // What is allowed is what is asked there.
    let request = Request::get(format!("{FLUNDERS}/a%2Fstatus")).body(body::empty()).expect("request");
    let refused = send(&world, UserInfo::authenticated("nobody", ["dev"]), request).await;
    assert!(text(refused).await.contains("cannot get resource \\\"flunders/status\\\""));
    assert_eq!(all(&seen.headers, "x-forwarded-uri"), [format!("{FLUNDERS}/a/b/A")]);
    let behind = format!("127.0.0.1:{}", world.extension.backend.port);
    assert_eq!(all(&seen.headers, "x-forwarded-host"), [behind]);
}

#[tokio::test]
async fn headers_between_two_sides_stay_there() {
    let world = World::joined().await;
    let request = Request::put(format!("{FLUNDERS}/none"))
        .header("te", "deflate, trailers")
        .header("connection", "te")
        .header("proxy-authorization", "Basic x")
        .header("proxy-authenticate", "Basic")
        .header("x-forwarded-for", "192.0.2.1")
        .header("x-forwarded-for", "192.0.2.2, 192.0.2.3");
    let mut request = request.body(body::empty()).expect("request");
    request.extensions_mut().insert(RemoteAddr("192.0.2.4:5".parse().expect("address")));
    send(&world, admin(), request).await;
    let seen = world.extension.last("PUT").expect("seen").headers;
    assert_eq!(all(&seen, "te"), ["trailers"]);
    assert_eq!(all(&seen, "content-length"), ["0"]);
    assert_eq!(all(&seen, "x-forwarded-for"), ["192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4"]);
    assert!(!seen.contains_key("proxy-authorization") && !seen.contains_key("proxy-authenticate"));
}

#[tokio::test]
async fn what_both_servers_say_is_told_this_servers_first() {
    let world = World::joined().await;
    let long = "x".repeat(70);
    let request = Request::get(FLUNDERS).header("audit-id", &long).body(body::empty()).expect("request");
    let answer = send(&world, admin(), request).await;
    assert_eq!(all(answer.headers(), "audit-id"), [long.as_str(), "its own"]);
    assert_eq!(all(answer.headers(), "cache-control"), ["no-cache, private", "max-age=60"]);
    assert!(!answer.headers().contains_key("proxy-authenticate"));
    let request = Request::get(FLUNDERS).body(body::empty()).expect("request");
    let refused = send(&world, UserInfo::authenticated("nobody", ["dev"]), request).await;
    assert_eq!(refused.status(), 403);
    assert_eq!(all(refused.headers(), "x-content-type-options"), ["nosniff"]);
}

#[tokio::test]
async fn another_protocol_is_spoken_or_refused() {
    let world = World::joined().await;
    let upgrade = |path: &str| {
        let request = Request::builder().method(Method::GET).uri(path).header("connection", "Upgrade");
        request.header("upgrade", "SPDY/3.1").body(body::empty()).expect("request")
    };
    let answer = send(&world, admin(), upgrade(FLUNDERS)).await;
    assert_eq!(answer.status(), 503);
    assert_eq!(text(answer).await, "invalid upgrade response: status code 200\n");
    let answer = send(&world, admin(), upgrade(&format!("{FLUNDERS}/f/elsewhere"))).await;
    assert_eq!((answer.status().as_u16(), text(answer).await.contains("302")), (503, true));
    let answer = send(&world, admin(), upgrade(&format!("{FLUNDERS}/none"))).await;
    assert_eq!(answer.status(), 404);
    assert_eq!(all(answer.headers(), "connection"), ["close"]);
    assert!(text(answer).await.contains("not found"), "its own words");
}

#[tokio::test]
async fn what_is_no_list_of_resources_is_no_discovery() {
    let world = World::joined().await;
    let said = async || {
        let request = Request::get("/apis").header("accept", AGGREGATED).body(body::empty()).expect("request");
        let list: Value = serde_json::from_str(&text(send(&world, admin(), request).await).await).expect("json");
        let groups = list["items"].as_array().expect("groups").clone();
        let group = groups.into_iter().find(|g| g["metadata"]["name"] == "wardle.example.com");
        group.map_or(Value::Null, |g| g["versions"][0]["freshness"].clone())
    };
    eventually(async || (said().await == "Current").then_some(())).await;
    *world.extension.state.listed.lock() = json!({"kind": "Flunder", "apiVersion": "v1", "resources": []});
    world
        .must("PATCH", &format!("{API_SERVICES}/{NAME}"), Some(json!({"metadata": {"annotations": {"a": "b"}}})))
        .await;
    eventually(async || (said().await == "Stale").then_some(())).await;
}

#[tokio::test]
async fn a_definition_ends_though_an_extension_server_has_its_version() {
    let world = World::joined().await;
    let version = |name: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
    };
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.wardle.example.com"},
        "spec": {"group": "wardle.example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [version("v1alpha1", true), version("v2", false)]}});
    world.cluster.made(DEFINITIONS, definition).await;
    let widgets = "/apis/wardle.example.com/v2/namespaces/a/widgets";
    let widget = json!({"apiVersion": "wardle.example.com/v2", "kind": "Widget", "metadata": {"name": "w"}});
    eventually(async || (world.cluster.post(widgets, widget.clone()).await.code == 201).then_some(())).await;
    let definition = format!("{DEFINITIONS}/widgets.wardle.example.com");
    world.must("DELETE", &definition, None).await;
    let gone = async || world.cluster.send(&admin(), "GET", &definition, None).await.code == 404;
    eventually(async || gone().await.then_some(())).await;
    assert!(world.extension.last("widgets").is_none(), "the extension server was not asked");
    // Its own resources are as they were.
    world.cluster.made(FLUNDERS, flunder("f")).await;
}

#[tokio::test]
async fn what_is_served_here_keeps_its_place_in_the_aggregated_document() {
    let world = World::with(Config::default(), false).await;
    world.cluster.server.ready().await;
    let place = async |accept: &str| {
        let request = Request::get("/apis").header("accept", accept).body(body::empty()).expect("request");
        let list: Value = serde_json::from_str(&text(send(&world, admin(), request).await).await).expect("json");
        let (groups, name) = match list["items"].as_array() {
            Some(items) => (items.clone(), "/metadata/name"),
            None => (list["groups"].as_array().expect("groups").clone(), "/name"),
        };
        groups.iter().position(|g| g.pointer(name) == Some(&json!("batch"))).expect("batch")
    };
    let (listed, aggregated) = (place("application/json").await, place(AGGREGATED).await);
    let last = json!({"spec": {"groupPriorityMinimum": 5}});
    world.must("PATCH", &format!("{API_SERVICES}/v1.batch"), Some(last)).await;
    eventually(async || (place("application/json").await > listed).then_some(())).await;
    assert_eq!(place(AGGREGATED).await, aggregated);
}
