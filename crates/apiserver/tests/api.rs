//! The whole server over the embedded store, as a client sees it: each test is requests and what must be in the answers.

use apiserver::authn::UserInfo;
use apiserver::{Body, Config, Server, body};
use futures::FutureExt;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::io::Read;
use std::sync::Arc;
use tower::{Service, ServiceExt};

struct Api {
    server: Server,
    _directory: tempfile::TempDir,
}

impl Api {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let store = store::Embedded::open(directory.path().join("store"), store::Limits::default()).expect("store");
        let config = Config { bootstrap: false, ..Config::default() };
        let server = Server::build(config, Arc::new(store)).await.expect("server");
        let api = Self { server, _directory: directory };
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}});
        api.send("POST", "/api/v1/namespaces", &[], Some(&namespace)).await;
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        api.send("POST", "/api/v1/namespaces/a/serviceaccounts", &[], Some(&account)).await;
        api
    }

    async fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Response<Body> {
        self.request(method, path, headers, body.map_or_else(body::empty, |b| body::full(b.to_string()))).await
    }

    async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> Response<Body> {
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).expect("method")).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(body).expect("request");
        request.extensions_mut().insert(UserInfo::new("admin", &["system:masters", "system:authenticated"]));
        let mut service = self.server.service();
        service.ready().await.expect("ready").call(request).await.expect("answer")
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> (u16, Value) {
        let response = self.raw(method, path, headers, body).await;
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.expect("body").to_bytes();
        let value = serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into());
        (code, value)
    }

    /// Sends a body as it is.
    async fn text(&self, method: &str, path: &str, headers: &[(&str, &str)], text: &str) -> Response<Body> {
        self.request(method, path, headers, body::full(text.to_owned())).await
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.send("GET", path, &[], None).await
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.send("POST", path, &[], Some(&body)).await
    }

    async fn put(&self, path: &str, body: Value) -> (u16, Value) {
        self.send("PUT", path, &[], Some(&body)).await
    }

    async fn merge(&self, path: &str, body: Value) -> (u16, Value) {
        self.send("PATCH", path, &[("content-type", "application/merge-patch+json")], Some(&body)).await
    }

    async fn delete(&self, path: &str, body: Option<Value>) -> (u16, Value) {
        self.send("DELETE", path, &[], body.as_ref()).await
    }
}

const MAPS: &str = "/api/v1/namespaces/a/configmaps";
const PODS: &str = "/api/v1/namespaces/a/pods";

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"app": name}}, "data": {"k": "v"}})
}

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

/// Whether `got` has all that `wanted` has.
fn has(got: &Value, wanted: &Value) -> bool {
    match (got, wanted) {
        (Value::Object(got), Value::Object(wanted)) => {
            wanted.iter().all(|(k, w)| got.get(k).map_or(w.is_null(), |g| has(g, w)))
        }
        (got, wanted) => got == wanted,
    }
}

#[track_caller]
fn check(answer: (u16, Value), code: u16, wanted: Value) -> Value {
    assert!(answer.0 == code && has(&answer.1, &wanted), "{code} {wanted}\nis not in\n{} {}", answer.0, answer.1);
    answer.1
}

#[tokio::test]
async fn an_object_lives_and_dies() {
    let api = Api::start().await;
    let made = check(api.post(MAPS, map("x")).await, 201, json!({"kind": "ConfigMap", "data": {"k": "v"}}));
    assert!(made["metadata"]["uid"].is_string() && made["metadata"]["resourceVersion"].is_string());
    check(api.post(MAPS, map("x")).await, 409, json!({"reason": "AlreadyExists"}));
    let got = check(api.get("/api/v1/namespaces/a/configmaps/x").await, 200, json!({}));
    assert_eq!(got, made);
    let mut changed = got.clone();
    changed["data"]["k"] = "w".into();
    let second =
        check(api.put("/api/v1/namespaces/a/configmaps/x", changed.clone()).await, 200, json!({"data": {"k": "w"}}));
    check(
        api.put("/api/v1/namespaces/a/configmaps/x", changed).await,
        409,
        json!({"reason": "Conflict",
        "message": "Operation cannot be fulfilled on configmaps \"x\": the object has been modified; please apply your changes to the latest version and try again"}),
    );
    let same = check(api.put("/api/v1/namespaces/a/configmaps/x", second.clone()).await, 200, json!({}));
    assert_eq!(same, second, "an update without a change writes nothing");
    check(
        api.merge("/api/v1/namespaces/a/configmaps/x", json!({"data": {"z": "1"}})).await,
        200,
        json!({"data": {"k": "w", "z": "1"}}),
    );
    check(
        api.delete("/api/v1/namespaces/a/configmaps/x", None).await,
        200,
        json!({"status": "Success",
        "details": {"name": "x", "kind": "configmaps", "uid": made["metadata"]["uid"]}}),
    );
    check(
        api.get("/api/v1/namespaces/a/configmaps/x").await,
        404,
        json!({"reason": "NotFound", "message": "configmaps \"x\" not found"}),
    );
}

#[tokio::test]
async fn lists_are_selected_and_paged() {
    let api = Api::start().await;
    for name in ["p1", "p2", "p3"] {
        check(api.post(MAPS, map(name)).await, 201, json!({}));
    }
    let page = check(
        api.get(&format!("{MAPS}?limit=2")).await,
        200,
        json!({"kind": "ConfigMapList", "metadata": {"remainingItemCount": 1}}),
    );
    assert_eq!(page["items"].as_array().map(Vec::len), Some(2));
    assert!(page["items"][0].get("kind").is_none(), "items of built-in kinds have no kind");
    check(api.post(MAPS, map("p4")).await, 201, json!({}));
    let token = page["metadata"]["continue"].as_str().expect("token");
    let rest =
        check(api.get(&format!("{MAPS}?limit=2&continue={token}")).await, 200, json!({"metadata": {"continue": null}}));
    assert_eq!(rest["items"][0]["metadata"]["name"], "p3");
    assert_eq!(rest["items"].as_array().map(Vec::len), Some(1), "the page is of the first page's moment");
    for (query, count) in
        [("labelSelector=app%3Dp2", 1), ("labelSelector=app+in+(p1,p2)", 2), ("fieldSelector=metadata.name%3Dp3", 1)]
    {
        let list = check(api.get(&format!("{MAPS}?{query}")).await, 200, json!({}));
        assert_eq!(list["items"].as_array().map(Vec::len), Some(count), "{query}");
    }
    let table = api.send("GET", MAPS, &[("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")], None).await;
    let table = check(table, 200, json!({"kind": "Table"}));
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
}

#[tokio::test]
async fn a_long_list_shows_one_state_whenever_it_is_read() {
    let api = Api::start().await;
    let (path, long) = ("/api/v1/namespaces/a/configmaps", "x".repeat(500));
    for other in ["0", "z"] {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}});
        check(api.post("/api/v1/namespaces", namespace).await, 201, json!({}));
        check(api.post(&format!("/api/v1/namespaces/{other}/configmaps"), map("other")).await, 201, json!({}));
    }
    for n in 0..600 {
        let mut map = map(&format!("m{n:03}"));
        map["data"] = json!({"long": long});
        check(api.post(path, map).await, 201, json!({}));
    }
    let whole = api.raw("GET", path, &[], None).await;
    let compressed = api.raw("GET", path, &[("accept-encoding", "gzip")], None).await;
    let pages = async |more: &str| api.get(&format!("{path}?limit=250{more}")).await.1;
    let mut page = pages("").await;
    let mut expected = page["items"].as_array().expect("items").clone();
    while let Some(next) = page["metadata"]["continue"].as_str() {
        page = pages(&format!("&continue={next}")).await;
        expected.extend(page["items"].as_array().expect("items").clone());
    }
    // What changes before they are read does not change them.
    check(api.delete(&format!("{path}/m300"), None).await, 200, json!({}));
    check(api.merge(&format!("{path}/m599"), json!({"data": {"long": "short"}})).await, 200, json!({}));
    check(api.post(path, map("m")).await, 201, json!({}));
    assert_eq!(whole.headers().get("content-length"), None, "nobody has looked how long it is");
    let whole = whole.into_body().collect().await.expect("body").to_bytes();
    let listed: Value = serde_json::from_slice(&whole).expect("json");
    assert_eq!((expected.len(), &listed["kind"]), (600, &json!("ConfigMapList")));
    assert_eq!(listed["items"].as_array(), Some(&expected));
    assert_eq!(listed["metadata"], json!({"resourceVersion": page["metadata"]["resourceVersion"]}));
    assert_eq!(compressed.headers()["content-encoding"], "gzip");
    let mut plain = Vec::new();
    let compressed = compressed.into_body().collect().await.expect("body").to_bytes();
    flate2::read::GzDecoder::new(&*compressed).read_to_end(&mut plain).expect("gzip");
    assert_eq!(plain, whole);
    let everywhere = api.get("/api/v1/configmaps").await.1;
    assert_eq!(everywhere["items"].as_array().map(Vec::len), Some(602));
    let few = api.raw("GET", "/api/v1/namespaces/z/configmaps", &[], None).await;
    assert!(few.headers().contains_key("content-length"));
}

#[tokio::test]
async fn a_watch_tells_of_every_change_from_its_revision_on() {
    let api = Api::start().await;
    let list = check(api.get(MAPS).await, 200, json!({}));
    let revision = list["metadata"]["resourceVersion"].as_str().expect("revision").to_owned();
    check(api.post(MAPS, map("x")).await, 201, json!({}));
    check(api.post(MAPS, map("y")).await, 201, json!({}));
    let url = format!("{MAPS}?watch=true&resourceVersion={revision}&labelSelector=app%3Dx");
    let mut body = api.raw("GET", &url, &[], None).await.into_body();
    let mut next = async || {
        let frame = body.frame().await.expect("frame").expect("data").into_data().expect("data");
        serde_json::from_slice::<Value>(&frame).expect("event")
    };
    let event = next().await;
    assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("x")));
    check(
        api.merge("/api/v1/namespaces/a/configmaps/x", json!({"metadata": {"labels": {"app": "z"}}})).await,
        200,
        json!({}),
    );
    let event = next().await;
    assert_eq!((&event["type"], &event["object"]["metadata"]["labels"]["app"]), (&json!("DELETED"), &json!("x")));
    check(
        api.merge("/api/v1/namespaces/a/configmaps/y", json!({"metadata": {"labels": {"app": "x"}}})).await,
        200,
        json!({}),
    );
    assert_eq!(next().await["type"], "ADDED");
    check(api.delete("/api/v1/namespaces/a/configmaps/y", None).await, 200, json!({}));
    assert_eq!(next().await["type"], "DELETED");
    let (whole, ()) = tokio::join!(api.server.shutdown(), async { while body.frame().await.is_some() {} });
    assert!(whole, "a drain ends watches and waits for them");
}

#[tokio::test]
async fn finalizers_and_propagation_hold_back_a_deletion() {
    let api = Api::start().await;
    let mut with = map("f");
    with["metadata"]["finalizers"] = json!(["example.com/f"]);
    check(api.post(MAPS, with).await, 201, json!({}));
    let path = format!("{MAPS}/f");
    check(
        api.delete(&path, None).await,
        200,
        json!({"kind": "ConfigMap", "metadata": {"deletionGracePeriodSeconds": 0}}),
    );
    check(
        api.merge(&path, json!({"metadata": {"finalizers": ["example.com/f", "example.com/g"]}})).await,
        422,
        json!({"reason": "Invalid"}),
    );
    check(api.merge(&path, json!({"metadata": {"finalizers": null}})).await, 200, json!({}));
    check(api.get(&path).await, 404, json!({}));
    check(api.post(MAPS, map("g")).await, 201, json!({}));
    let foreground = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"});
    let marked = check(api.delete(&format!("{MAPS}/g"), Some(foreground)).await, 200, json!({"kind": "ConfigMap"}));
    assert_eq!(marked["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    let wrong = json!({"preconditions": {"uid": "0b7e7b52-9f0a-4a4c-8d0c-000000000000"}});
    check(api.delete(&format!("{MAPS}/g"), Some(wrong)).await, 409, json!({"reason": "Conflict"}));
}

/// Caches are a moment behind; no deletion is decided by what they have.
#[tokio::test]
async fn a_deletion_is_decided_by_the_newest_state() {
    let api = Api::start().await;
    let path = format!("{MAPS}/n");
    let if_version = |version: &Value| json!({"preconditions": {"resourceVersion": version}});
    for round in 0..20 {
        let first = check(api.post(MAPS, map("n")).await, 201, json!({}));
        let labelled = json!({"metadata": {"labels": {"round": round.to_string()}}});
        let second = check(api.merge(&path, labelled.clone()).await, 200, labelled);
        let stale = api.delete(&path, Some(if_version(&first["metadata"]["resourceVersion"]))).await;
        check(stale, 409, json!({"reason": "Conflict"}));
        let newest = api.delete(&path, Some(if_version(&second["metadata"]["resourceVersion"]))).await;
        check(newest, 200, json!({"kind": "Status", "details": {"uid": first["metadata"]["uid"]}}));
        check(api.delete(&path, None).await, 404, json!({"reason": "NotFound"}));

        let mut held = map("n");
        held["metadata"]["finalizers"] = json!(["example.com/f"]);
        check(api.post(MAPS, held).await, 201, json!({}));
        let marked = check(api.delete(&path, None).await, 200, json!({"kind": "ConfigMap"}));
        let again = check(api.delete(&path, None).await, 200, json!({"kind": "ConfigMap"}));
        assert_eq!(again, marked);
        check(api.merge(&path, json!({"metadata": {"finalizers": null}})).await, 200, json!({}));
        check(api.delete(&path, None).await, 404, json!({"reason": "NotFound"}));
        check(api.delete(&format!("{path}?dryRun=All"), None).await, 404, json!({"reason": "NotFound"}));
    }
}

#[tokio::test]
async fn pods_are_made_and_listed() {
    let api = Api::start().await;
    check(api.post(PODS, pod("p")).await, 201, json!({"kind": "Pod"}));
    let table = api.send("GET", PODS, &[("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")], None).await;
    check(table, 200, json!({"kind": "Table"}));
    let generated = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "g-"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let made = check(api.post(PODS, generated).await, 201, json!({}));
    assert_eq!(made["metadata"]["name"].as_str().map(str::len), Some(7));
}

#[tokio::test]
async fn a_dry_run_leaves_nothing_behind() {
    let api = Api::start().await;
    let made = check(api.post(&format!("{MAPS}?dryRun=All"), map("x")).await, 201, json!({"data": {"k": "v"}}));
    assert!(made["metadata"]["uid"].is_string() && made["metadata"].get("resourceVersion").is_none());
    check(api.get(&format!("{MAPS}/x")).await, 404, json!({}));
    let real = check(api.post(MAPS, map("x")).await, 201, json!({}));
    check(api.post(&format!("{MAPS}?dryRun=All"), map("x")).await, 409, json!({"reason": "AlreadyExists"}));
    check(
        api.merge(&format!("{MAPS}/x?dryRun=All"), json!({"data": {"k": "w"}})).await,
        200,
        json!({"data": {"k": "w"}}),
    );
    check(api.delete(&format!("{MAPS}/x?dryRun=All"), None).await, 200, json!({"status": "Success"}));
    let (_, still) = api.get(&format!("{MAPS}/x")).await;
    assert_eq!(still, real);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused() {
    let api = Api::start().await;
    let many = map(&"x".repeat(10));
    let refused = [
        ("POST", MAPS, "text/plain", many.clone(), 415, "UnsupportedMediaType"),
        ("PATCH", "/api/v1/namespaces/a/configmaps/x", "application/json", many.clone(), 415, "UnsupportedMediaType"),
        ("POST", MAPS, "application/json", json!({"kind": "ConfigMap", "data": {"k": 1}}), 400, "BadRequest"),
        ("POST", MAPS, "application/json", json!({"data": "x".repeat(4 << 20)}), 413, "RequestEntityTooLarge"),
        ("PUT", "/api/v1/namespaces/a/configmaps/y", "application/json", many.clone(), 400, "BadRequest"),
        ("POST", "/api/v1/configmaps", "application/json", many.clone(), 405, "MethodNotAllowed"),
        ("DELETE", "/api/v1/namespaces/a/configmaps/x/status", "application/json", json!({}), 404, "NotFound"),
        ("POST", "/api/v1/namespaces/none/configmaps", "application/json", many, 404, "NotFound"),
    ];
    for (method, path, media, body, code, reason) in refused {
        let answer = api.send(method, path, &[("content-type", media)], Some(&body)).await;
        check(answer, code, json!({"kind": "Status", "reason": reason}));
    }
    let table = api.send("GET", MAPS, &[("accept", "text/csv")], None).await;
    check(table, 406, json!({"reason": "NotAcceptable"}));
    check(api.get(&format!("{MAPS}?resourceVersion=999999")).await, 504, json!({"reason": "Timeout"}));
    check(api.get(&format!("{MAPS}?continue=nonsense")).await, 400, json!({"reason": "BadRequest"}));
}

#[tokio::test]
async fn subresources_write_their_own_part() {
    let api = Api::start().await;
    let deployments = "/apis/apps/v1/namespaces/a/deployments";
    let labels = json!({"app": "web"});
    let web = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 2,
        "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
        "spec": {"containers": [{"name": "c", "image": "i"}]}}}, "status": {"replicas": 7}});
    let made = check(api.post(deployments, web).await, 201, json!({"metadata": {"generation": 1}, "status": {}}));
    assert!(made["status"].get("replicas").is_none(), "a new object has no status");
    let path = format!("{deployments}/web");
    let mut changed = made.clone();
    changed["status"]["replicas"] = 2.into();
    changed["spec"]["replicas"] = 9.into();
    check(
        api.put(&format!("{path}/status"), changed).await,
        200,
        json!({"spec": {"replicas": 2}, "status": {"replicas": 2},
        "metadata": {"generation": 1}}),
    );
    check(
        api.merge(&path, json!({"status": {"replicas": 5}, "spec": {"paused": true}})).await,
        200,
        json!({"status": {"replicas": 2}, "metadata": {"generation": 2}}),
    );
    check(
        api.get(&format!("{path}/scale")).await,
        200,
        json!({"kind": "Scale", "spec": {"replicas": 2},
        "status": {"replicas": 2, "selector": "app=web"}}),
    );
    check(
        api.merge(&format!("{path}/scale"), json!({"spec": {"replicas": 4}})).await,
        200,
        json!({"spec": {"replicas": 4}}),
    );
    check(api.get(&path).await, 200, json!({"spec": {"replicas": 4}, "metadata": {"generation": 3}}));
}

#[tokio::test]
async fn a_pod_is_bound_evicted_and_ends_gracefully() {
    let api = Api::start().await;
    check(api.post(PODS, pod("p")).await, 201, json!({}));
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}});
    check(api.post("/api/v1/nodes", node).await, 201, json!({}));
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    check(api.post(&format!("{PODS}/p/binding"), binding.clone()).await, 201, json!({"status": "Success"}));
    check(api.get(&format!("{PODS}/p")).await, 200, json!({"spec": {"nodeName": "n"}}));
    check(api.post("/api/v1/namespaces/a/bindings", binding).await, 409, json!({"reason": "Conflict"}));
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {}}});
    let budgets = "/apis/policy/v1/namespaces/a/poddisruptionbudgets";
    check(api.post(budgets, budget).await, 201, json!({}));
    let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    check(api.merge(&format!("{PODS}/p/status"), status).await, 200, json!({}));
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    let two = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "c"},
        "spec": {"minAvailable": 1, "selector": {}}});
    check(api.post(budgets, two).await, 201, json!({}));
    let many = check(api.post(&format!("{PODS}/p/eviction"), eviction.clone()).await, 500, json!({}));
    assert_eq!((&many["reason"], &many["details"]), (&Value::Null, &Value::Null), "{many}");
    check(api.delete(&format!("{budgets}/c"), None).await, 200, json!({}));
    let allowed = |allowed: i64| {
        json!({"status": {"observedGeneration": 1, "disruptionsAllowed": allowed,
        "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}})
    };
    check(api.merge(&format!("{budgets}/b/status"), allowed(0)).await, 200, json!({}));
    check(api.post(&format!("{PODS}/p/eviction"), eviction.clone()).await, 429, json!({"reason": "TooManyRequests"}));
    check(api.merge(&format!("{budgets}/b/status"), allowed(1)).await, 200, json!({}));
    // Clients of old name a version that is served no more.
    let of_old = json!({"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": {"name": "p"}});
    let dry = format!("{PODS}/p/eviction?dryRun=All");
    check(api.post(&dry, of_old.clone()).await, 201, json!({"status": "Success"}));
    check(api.get(&format!("{budgets}/b")).await, 200, json!({"status": {"disruptionsAllowed": 1}}));
    let stale = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"},
        "deleteOptions": {"preconditions": {"uid": "another"}}});
    check(api.post(&dry, stale).await, 409, json!({"reason": "Conflict"}));
    check(api.post(&format!("{PODS}/p/eviction"), of_old).await, 201, json!({"status": "Success"}));
    let spent = check(api.get(&format!("{budgets}/b")).await, 200, json!({"status": {"disruptionsAllowed": 0}}));
    assert_eq!(spent["status"]["conditions"][0]["type"], "DisruptionAllowed");
    assert_eq!(spent["status"]["conditions"][0]["status"], "False");
    let ending =
        check(api.get(&format!("{PODS}/p")).await, 200, json!({"metadata": {"deletionGracePeriodSeconds": 30}}));
    assert!(ending["metadata"]["deletionTimestamp"].is_string());
    let told = &ending["status"]["conditions"][1];
    assert_eq!((&told["type"], &told["reason"]), (&json!("DisruptionTarget"), &json!("EvictionByEvictionAPI")));
    check(api.delete(&format!("{PODS}/p?gracePeriodSeconds=0"), None).await, 200, json!({"kind": "Pod"}));
    check(api.get(&format!("{PODS}/p")).await, 404, json!({}));
}

#[tokio::test]
async fn services_get_addresses_and_give_them_back() {
    let api = Api::start().await;
    let services = "/api/v1/namespaces/a/services";
    let service = |name: &str, ip: Option<&str>| {
        let mut v = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
        if let Some(ip) = ip {
            v["spec"]["clusterIP"] = ip.into();
        }
        v
    };
    let made = check(api.post(services, service("s", None)).await, 201, json!({}));
    let ip = made["spec"]["clusterIP"].as_str().expect("address").to_owned();
    let port = made["spec"]["ports"][0]["nodePort"].as_u64().expect("port");
    assert!((30000..=32767).contains(&port), "{port}");
    check(api.post(services, service("t", Some(&ip))).await, 422, json!({"reason": "Invalid"}));
    check(api.delete(&format!("{services}/s"), None).await, 200, json!({}));
    check(api.post(services, service("t", Some(&ip))).await, 201, json!({"spec": {"clusterIP": ip}}));
}

#[tokio::test]
async fn a_namespace_goes_when_its_finalizer_is_gone() {
    let api = Api::start().await;
    let path = "/api/v1/namespaces/a";
    check(api.delete(path, None).await, 200, json!({"status": {"phase": "Terminating"}}));
    check(api.post(MAPS, map("late")).await, 403, json!({"reason": "Forbidden"}));
    let (_, mut left) = api.get(path).await;
    left["spec"]["finalizers"] = json!([]);
    check(api.put(&format!("{path}/finalize"), left).await, 200, json!({}));
    check(api.get(path).await, 404, json!({}));
}

#[tokio::test]
async fn a_watch_can_begin_with_what_is_there() {
    let api = Api::start().await;
    check(api.post(MAPS, map("x")).await, 201, json!({}));
    let url = format!(
        "{MAPS}?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=1"
    );
    let body = api.raw("GET", &url, &[], None).await.into_body().collect().await.expect("body").to_bytes();
    let lines: Vec<Value> = body
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).expect("json"))
        .collect();
    assert_eq!(lines.iter().map(|l| l["type"].as_str().unwrap_or("")).collect::<Vec<_>>(), ["ADDED", "BOOKMARK"]);
    assert_eq!(lines[1]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    check(api.get(&format!("{MAPS}?watch=1&resourceVersionMatch=Exact&resourceVersion=1")).await, 422, json!({}));
}

#[tokio::test]
async fn many_writers_of_one_object_all_succeed() {
    let api = Api::start().await;
    check(api.post(MAPS, map("x")).await, 201, json!({}));
    let path = format!("{MAPS}/x");
    let writes = (0..40).map(|i| api.merge(&path, json!({"data": {(format!("k{i}")): "v"}})).boxed_local());
    for answer in futures::future::join_all(writes).await {
        check(answer, 200, json!({}));
    }
    let (_, all) = api.get(&path).await;
    assert_eq!(all["data"].as_object().map(serde_json::Map::len), Some(41));
}

/// A patch whose outcome cannot be read is at fault itself; what is wrong is told in the words of its type.
#[tokio::test]
async fn a_patch_that_makes_nonsense_is_refused_as_such() {
    let api = Api::start().await;
    let path = "/apis/apps/v1/namespaces/a/deployments/d";
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    assert_eq!(api.post("/apis/apps/v1/namespaces/a/deployments", deployment).await.0, 201);
    let cases = [
        (
            "strategic-merge",
            json!({"spec": {"replicas": "x"}}),
            "Invalid value: \"map[spec:map[replicas:x]]\": unrecognized type: int32",
        ),
        ("strategic-merge", json!({"spec": {"replicas": 1.5}}), ": cannot convert float64 to int32"),
        (
            "strategic-merge",
            json!({"metadata": {"labels": {"a": 1}}}),
            "map[metadata:map[labels:map[a:1]]]\": cannot convert int64 to string",
        ),
        ("strategic-merge", json!({"spec": {"template": 5}}), ": cannot restore struct from: int64"),
        ("strategic-merge", json!({"metadata": {"finalizers": "f"}}), ": cannot restore slice from string"),
        ("strategic-merge", json!({"spec": {"paused": [1]}}), ": unrecognized type: bool"),
        (
            "strategic-merge",
            json!({"spec": {"zz": 1, "yy": {}}}),
            ": strict decoding error: unknown field \"spec.yy\", unknown field \"spec.zz\"",
        ),
        (
            "merge",
            json!({"spec": {"replicas": "x"}}),
            ": json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        ("merge", json!({"spec": {"zz": 1}}), ": strict decoding error: unknown field \"spec.zz\""),
        ("merge", json!({"kind": "Other"}), ": no kind \"Other\" is registered for version \"apps/v1\""),
        (
            "json",
            json!([{"op": "add", "path": "/spec/zz", "value": 1, "more": 2}]),
            ": strict decoding error: json patch unknown field \"[0].more\", unknown field \"spec.zz\"",
        ),
    ];
    for (kind, patch, why) in cases {
        let suffix =
            if kind == "strategic-merge" { "strategic-merge-patch+json".into() } else { format!("{kind}-patch+json") };
        let headers = [("content-type", format!("application/{suffix}"))];
        let headers = [(headers[0].0, headers[0].1.as_str())];
        let (code, status) = api.send("PATCH", &format!("{path}?fieldValidation=Strict"), &headers, Some(&patch)).await;
        let message = status["message"].as_str().unwrap_or("");
        assert_eq!((code, &status["details"]["causes"][0]["field"]), (422, &json!("patch")), "{patch}: {status}");
        assert!(
            message.starts_with(" \"\" is invalid: patch: Invalid value: \"") && message.contains(why),
            "{patch}: {message}"
        );
    }
    let twice = api
        .text(
            "PATCH",
            path,
            &[("content-type", "application/merge-patch+json")],
            r#"{"spec":{"paused":true,"paused":false}}"#,
        )
        .await;
    assert_eq!(twice.headers()["warning"], "299 - \"duplicate field \\\"spec.paused\\\"\"");
    let scale = [("content-type", "application/merge-patch+json")];
    let (code, status) =
        api.send("PATCH", &format!("{path}/scale"), &scale, Some(&json!({"spec": {"replicas": "x"}}))).await;
    assert_eq!((code, &status["details"]["causes"][0]["field"]), (422, &json!("patch")), "{status}");
}

#[tokio::test]
async fn what_is_no_patch_is_refused_by_its_type() {
    let api = Api::start().await;
    api.post(MAPS, json!({"metadata": {"name": "m"}})).await;
    let path = &format!("{MAPS}/m");
    for (kind, body, why) in [
        ("merge", "{", "error decoding patch: unexpected end of JSON input"),
        (
            "merge",
            "[]",
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
        ("strategic-merge", "{,}", "invalid character ',' looking for beginning of object key string"),
        ("strategic-merge", "1", "json: cannot unmarshal number into Go value of type map[string]interface {}"),
        (
            "json",
            "{}",
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
        ),
    ] {
        let media = format!("application/{kind}-patch+json");
        let answer = api.text("PATCH", path, &[("content-type", &media)], body).await;
        assert_eq!(answer.status(), 400, "{kind} {body}");
        let status = answer.into_body().collect().await.expect("body").to_bytes();
        let status: Value = serde_json::from_slice(&status).expect("a status");
        assert_eq!(status["message"], why, "{kind} {body}");
    }
}

#[tokio::test]
async fn people_are_answered_in_lines() {
    let api = Api::start().await;
    let (_, made) = api.post(MAPS, json!({"metadata": {"name": "m"}, "data": {"k": "v"}})).await;
    let one = format!("{MAPS}/m");
    let ask = async |path: &str, agent: &str| {
        let response = api.raw("GET", path, &[("user-agent", agent)], None).await;
        String::from_utf8(response.into_body().collect().await.expect("body").to_bytes().to_vec()).expect("text")
    };
    let lines = serde_json::from_str::<Value>(&ask(&one, "curl/8.0").await).expect("JSON");
    assert_eq!(lines, made);
    for (path, agent, indented) in [
        (one.clone(), "curl/8.0", true),
        (one.clone(), "kubectl/1", false),
        (format!("{one}?pretty=1"), "kubectl/1", true),
        (format!("{one}?pretty=false"), "Mozilla/5.0 (X11)", false),
        (MAPS.to_owned(), "Wget/1", true),
        (format!("{MAPS}/absent"), "curl/8.0", true),
        ("/apis".to_owned(), "curl/8.0", true),
        ("/apis".to_owned(), "", false),
    ] {
        let text = ask(&path, agent).await;
        assert_eq!(text.starts_with("{\n  \""), indented, "{path} {agent}: {text}");
    }
    let mut watch = api.raw("GET", &format!("{MAPS}?watch=1&pretty=1"), &[], None).await.into_body();
    let event = watch.frame().await.expect("an event").expect("a frame").into_data().expect("data");
    assert!(event.ends_with(b"}\n") && !event.starts_with(b"{\n"), "events are lines");
}

/// Managers that own fields in different versions are in each other's way where they mean the same thing.
#[tokio::test]
async fn fields_are_owned_across_versions() {
    let api = Api::start().await;
    let path = |version: &str, manager: &str| {
        format!("/apis/autoscaling/{version}/namespaces/a/horizontalpodautoscalers/s?fieldManager={manager}")
    };
    let scaler = |version: &str, spec: Value| {
        let mut all =
            json!({"maxReplicas": 9, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}});
        all.as_object_mut().expect("object").extend(spec.as_object().cloned().expect("object"));
        json!({"apiVersion": format!("autoscaling/{version}"), "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "s"}, "spec": all})
    };
    let cpu = |percent: i64| {
        json!({"minReplicas": 3, "metrics": [{"type": "Resource", "resource": {"name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": percent}}}]})
    };
    let apply = async |version: &str, manager: &str, spec: Value| {
        let headers = [("content-type", "application/apply-patch+yaml")];
        api.send("PATCH", &path(version, manager), &headers, Some(&scaler(version, spec))).await
    };
    let owned = |object: &Value, manager: &str, field: &str| {
        let entries = object["metadata"]["managedFields"].as_array().expect("entries").clone();
        entries.iter().any(|e| e["manager"] == manager && !e["fieldsV1"]["f:spec"][field].is_null())
    };
    let (code, made) = apply("v2", "first", cpu(50)).await;
    assert_eq!(code, 201, "{made}");
    assert!(owned(&made, "first", "f:metrics"));
    // Another one changes the same thing, which has another name in its version.
    let change = json!({"spec": {"targetCPUUtilizationPercentage": 60}});
    let (code, changed) = api.merge(&path("v1", "second"), change).await;
    assert_eq!(code, 200, "{changed}");
    assert!(owned(&changed, "second", "f:targetCPUUtilizationPercentage"), "{}", changed["metadata"]["managedFields"]);
    assert!(!owned(&changed, "first", "f:metrics"), "{}", changed["metadata"]["managedFields"]);
    assert!(owned(&changed, "first", "f:minReplicas"));
    let (code, refused) = apply("v2", "first", cpu(50)).await;
    let cause = &refused["details"]["causes"][0];
    assert_eq!((code, &cause["field"]), (409, &json!(".spec.targetCPUUtilizationPercentage")), "{refused}");
    assert_eq!(cause["message"], "conflict with \"second\" using autoscaling/v1");
    // What was applied in one version and is not in the other any more goes.
    let (code, applied) = apply("v1", "first", json!({})).await;
    assert_eq!(code, 200, "{applied}");
    assert_eq!(
        (&applied["spec"]["minReplicas"], &applied["spec"]["targetCPUUtilizationPercentage"]),
        (&json!(1), &json!(60))
    );
    let entries = applied["metadata"]["managedFields"].as_array().expect("entries");
    let versions: Vec<&Value> = entries.iter().filter(|e| e["manager"] == "first").map(|e| &e["apiVersion"]).collect();
    assert_eq!(versions, [&json!("autoscaling/v1")]);
}

/// The same of events, whose versions are in two groups, and of a version that is gone.
#[tokio::test]
async fn owners_by_another_group_or_a_version_that_is_gone_are_gone() {
    let api = Api::start().await;
    let owners = |object: &Value| -> Vec<String> {
        let entries = object["metadata"]["managedFields"].as_array().expect("entries").iter();
        let text = |e: &Value, f: &str| e[f].as_str().unwrap_or_default().to_owned();
        let fields =
            |e: &Value| e["fieldsV1"].as_object().expect("fields").keys().cloned().collect::<Vec<_>>().join(" ");
        entries.map(|e| format!("{} {}: {}", text(e, "manager"), text(e, "apiVersion"), fields(e))).collect()
    };
    let (old, new) = ("/api/v1/namespaces/a/events", "/apis/events.k8s.io/v1/namespaces/a/events");
    let event = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"}, "note": "n", "reason": "R",
        "type": "Normal", "action": "A", "eventTime": "2024-01-01T00:00:00.000000Z", "reportingController": "c.io/c",
        "reportingInstance": "i", "regarding": {"kind": "Pod", "namespace": "a", "name": "p"}});
    let (code, made) = api.post(&format!("{new}?fieldManager=first"), event).await;
    assert_eq!((code, owners(&made)[0].contains(" f:note ")), (201, true), "{made}");
    let (code, changed) = api.merge(&format!("{old}/e?fieldManager=second"), json!({"message": "m"})).await;
    assert_eq!(code, 200, "{changed}");
    // Upstream has no types of the one group where it serves the other.
    assert_eq!(owners(&changed), ["second v1: f:message"], "{changed}");
    let (code, map) = api
        .post(
            "/api/v1/namespaces/a/configmaps?fieldManager=now",
            json!({"metadata": {"name": "m"}, "data": {"b": "1"}}),
        )
        .await;
    assert_eq!(code, 201, "{map}");
    let mut map = map;
    let old = json!({"manager": "then", "operation": "Apply", "apiVersion": "v1beta9", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {"f:b": {}}}});
    map["metadata"]["managedFields"].as_array_mut().expect("entries").insert(0, old);
    map["data"]["c"] = "2".into();
    let (code, map) = api.put("/api/v1/namespaces/a/configmaps/m?fieldManager=now", map).await;
    assert_eq!((code, owners(&map)), (200, vec!["now v1: f:data".to_owned()]), "{map}");
}

#[tokio::test]
async fn a_custom_resource_is_served_as_any_other() {
    let api = Api::start().await;
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"}, "versions": [{"name": "v1", "served": true, "storage": true,
            "subresources": {"status": {}}, "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": {"size": {"type": "integer", "minimum": 1}, "color": {"type": "string", "default": "red"}}},
                "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}]}});
    let watch = format!("{definitions}?watch=1&timeoutSeconds=20");
    let mut changes = api.raw("GET", &watch, &[], None).await.into_body();
    check(api.post(definitions, definition).await, 201, json!({}));
    let mut text = String::new();
    while !text.contains("InitialNamesAccepted") {
        let frame = changes.frame().await.expect("established").expect("data").into_data().expect("data");
        text.push_str(std::str::from_utf8(&frame).expect("text"));
    }
    let widgets = "/apis/example.com/v1/namespaces/a/widgets";
    let widget = |size: Value| json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": size}});
    check(
        api.post(widgets, widget(json!("x"))).await,
        422,
        json!({"reason": "Invalid", "message":
        "Widget.example.com \"w\" is invalid: spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\""}),
    );
    check(api.post(widgets, widget(json!(0))).await, 422, json!({"reason": "Invalid"}));
    check(
        api.post(widgets, widget(json!(2))).await,
        201,
        json!({"spec": {"size": 2, "color": "red"}, "metadata": {"generation": 1}}),
    );
    check(
        api.merge(&format!("{widgets}/w"), json!({"spec": {"size": 3, "bogus": 1}})).await,
        200,
        json!({"spec": {"size": 3, "bogus": null}}),
    );
    check(
        api.merge(&format!("{widgets}/w/status"), json!({"status": {"any": 1}})).await,
        200,
        json!({"status": {"any": 1}, "spec": {"size": 3}}),
    );
    let list = check(api.get(widgets).await, 200, json!({"kind": "WidgetList"}));
    assert_eq!(list["items"][0]["kind"], "Widget");
    let table = api.send("GET", widgets, &[("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")], None).await;
    assert_eq!(check(table, 200, json!({}))["rows"][0]["cells"], json!(["w", 3]));
    check(api.get("/apis/example.com/v1").await, 200, json!({"kind": "APIResourceList"}));
    check(api.delete(&format!("{definitions}/widgets.example.com"), None).await, 200, json!({}));
    while !text.contains("\"DELETED\"") {
        let frame = changes.frame().await.expect("deleted").expect("data").into_data().expect("data");
        text.push_str(std::str::from_utf8(&frame).expect("text"));
    }
    assert!(!text.contains("ERROR"), "{text}");
}
