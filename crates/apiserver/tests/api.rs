//! The whole server over the embedded store, as a client sees it: each test is requests and what must be in the answers.

use apiserver::authn::UserInfo;
use apiserver::{Body, Config, Server, body};
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
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
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).expect("method")).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(body.map_or_else(body::empty, |b| body::full(b.to_string()))).expect("request");
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
    let marked = check(api.delete(&format!("{MAPS}/g"), Some(foreground)).await, 202, json!({"kind": "ConfigMap"}));
    assert_eq!(marked["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    let wrong = json!({"preconditions": {"uid": "0b7e7b52-9f0a-4a4c-8d0c-000000000000"}});
    check(api.delete(&format!("{MAPS}/g"), Some(wrong)).await, 409, json!({"reason": "Conflict"}));
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
