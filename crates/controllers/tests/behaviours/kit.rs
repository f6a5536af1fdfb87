//! The client of these tests: requests with their codes and documents, watches as events, and a cluster that all tests
//! share while they run, each in a namespace of its own.
//!
//! Knows the server only as any client does.

use crate::world::{World, late};
use http::{Method, Request};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

pub const MERGE: &str = "application/merge-patch+json";
pub const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub const JSON_PATCH: &str = "application/json-patch+json";

/// Everything should have happened long before.
const PATIENCE: Duration = Duration::from_secs(30);
/// Nodes of the shared cluster.
const NODES: usize = 2;

/// A cluster that lives as long as some test uses it.
struct Shared {
    runtime: Runtime,
    world: Option<World>,
}

impl Shared {
    fn get() -> Arc<Self> {
        static SHARED: Mutex<Weak<Shared>> = Mutex::new(Weak::new());
        // A test that failed leaves the cluster as it is.
        let mut held = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        held.upgrade().unwrap_or_else(|| {
            let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            let world = Some(runtime.block_on(World::start(NODES)));
            let made = Arc::new(Self { runtime, world });
            *held = Arc::downgrade(&made);
            made
        })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(world) = self.world.take().filter(|_| !std::thread::panicking()) {
            self.runtime.block_on(world.stop());
        }
    }
}

/// Runs a test in a namespace of its own of the shared cluster.
pub fn with(test: impl AsyncFnOnce(Api)) {
    let shared = Shared::get();
    let client = shared.world.as_ref().unwrap().admin.clone();
    shared.runtime.block_on(async { test(Api::in_new_namespace(client).await).await });
}

/// Runs a test in a cluster of its own with so many nodes.
pub fn alone(nodes: usize, test: impl AsyncFnOnce(Api)) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let world = World::start(nodes).await;
        test(Api::in_new_namespace(world.admin.clone()).await).await;
        world.stop().await;
    });
}

/// A client that works in a namespace.
#[derive(Clone)]
pub struct Api {
    client: kube::Client,
    pub ns: String,
}

/// An answer.
pub struct Answer {
    pub code: u16,
    pub value: Value,
}

impl Answer {
    /// The document of a request that must have succeeded.
    #[track_caller]
    pub fn done(self) -> Value {
        assert!((200..300).contains(&self.code), "{} {}", self.code, self.value);
        self.value
    }

    /// The `Status` of a request that must have been refused so.
    #[track_caller]
    pub fn refused(self, code: u16, message: &str) -> Value {
        let said = self.value["message"].as_str().unwrap_or("");
        assert!(self.code == code && said.contains(message), "{code} {message}\nis not\n{} {}", self.code, self.value);
        self.value
    }
}

impl Api {
    async fn in_new_namespace(client: kube::Client) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let ns = format!("t-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let api = Self { client, ns };
        api.post("/api/v1/namespaces", json!({"metadata": {"name": api.ns}})).await;
        api.until(&api.core("serviceaccounts/default"), Value::is_object).await;
        api
    }

    /// The path of what belongs to the core group, in the namespace.
    pub fn core(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/{rest}", self.ns)
    }

    /// The path of what belongs to another group and version, in the namespace.
    pub fn of(&self, group_version: &str, rest: &str) -> String {
        format!("/apis/{group_version}/namespaces/{}/{rest}", self.ns)
    }

    pub fn apps(&self, rest: &str) -> String {
        self.of("apps/v1", rest)
    }

    async fn response(&self, method: Method, path: &str, kind: &str, body: Option<&Value>) -> http::Response<Body> {
        let bytes = body.map(|b| serde_json::to_vec(b).unwrap()).unwrap_or_default();
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        self.client.send(request.body(Body::from(bytes)).unwrap()).await.unwrap()
    }

    async fn send_as(&self, method: Method, path: &str, kind: &str, body: Option<&Value>) -> Answer {
        let response = self.response(method, path, kind, body).await;
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let value = serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into());
        Answer { code, value }
    }

    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        self.send_as(method, path, "application/json", body).await
    }

    pub async fn get(&self, path: &str) -> Value {
        self.send(Method::GET, path, None).await.done()
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.send(Method::POST, path, Some(&body)).await.done()
    }

    /// A POST that is to be refused.
    pub async fn try_post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(&body)).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Value {
        self.send(Method::PUT, path, Some(body)).await.done()
    }

    pub async fn patch(&self, path: &str, kind: &str, body: Value) -> Value {
        self.send_as(Method::PATCH, path, kind, Some(&body)).await.done()
    }

    pub async fn merge(&self, path: &str, body: Value) -> Value {
        self.patch(path, MERGE, body).await
    }

    pub async fn delete(&self, path: &str) -> Value {
        self.send(Method::DELETE, path, None).await.done()
    }

    /// Reads, changes, writes, and again if somebody else wrote in between.
    pub async fn update(&self, path: &str, change: impl Fn(&mut Value)) -> Value {
        loop {
            let mut object = self.get(path).await;
            change(&mut object);
            let answer = self.send(Method::PUT, path, Some(&object)).await;
            if answer.code != 409 {
                return answer.done();
            }
        }
    }

    /// The items of a collection that are labelled so.
    pub async fn items(&self, collection: &str, selector: &str) -> Vec<Value> {
        let mut list = self.get(&format!("{collection}?labelSelector={selector}")).await;
        match list["items"].take() {
            Value::Array(items) => items,
            other => panic!("no items: {other}"),
        }
    }

    /// Events from now or from a version on; `query` is what stands after `watch=1`.
    pub async fn watch(&self, collection: &str, query: &str) -> Watch {
        let path = format!("{collection}?watch=1&{query}");
        let response = self.response(Method::GET, &path, "application/json", None).await;
        assert_eq!(response.status(), 200, "{path}");
        Watch { body: response.into_body(), rest: Vec::new() }
    }

    /// Follows a list until it is as wanted, and gives it.
    pub async fn until_list(&self, collection: &str, selector: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let query = format!("labelSelector={selector}");
        let follow = async {
            let list = self.get(&format!("{collection}?{query}")).await;
            let version = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
            let mut items = list["items"].as_array().unwrap().clone();
            let mut watch = self.watch(collection, &format!("{query}&resourceVersion={version}")).await;
            while !wanted(&items) {
                let event = watch.next().await;
                items.retain(|i| i["metadata"]["uid"] != event["object"]["metadata"]["uid"]);
                if event["type"] != "DELETED" {
                    items.push(event["object"].clone());
                }
            }
            items
        };
        match tokio::time::timeout(PATIENCE, follow).await {
            Ok(items) => items,
            Err(_) => {
                let items = self.items(collection, selector).await;
                late(&format!("{collection} {selector} does not get there: {items:#?}"))
            }
        }
    }

    /// Follows an object until it is as wanted, and gives it; null while it is not there.
    pub async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let (collection, name) = path.rsplit_once('/').unwrap();
        let query = format!("fieldSelector=metadata.name={name}");
        let follow = async {
            let list = self.get(&format!("{collection}?{query}")).await;
            let version = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
            let mut now = list["items"][0].clone();
            let mut watch = self.watch(collection, &format!("{query}&resourceVersion={version}")).await;
            while !wanted(&now) {
                let mut event = watch.next().await;
                now = if event["type"] == "DELETED" { Value::Null } else { event["object"].take() };
            }
            now
        };
        match tokio::time::timeout(PATIENCE, follow).await {
            Ok(now) => now,
            Err(_) => {
                let now = self.send(Method::GET, path, None).await.value;
                late(&format!("{path} does not get there: {now:#}"))
            }
        }
    }

    pub async fn gone(&self, path: &str) {
        self.until(path, Value::is_null).await;
    }

    /// Whether there is nothing at a path.
    pub async fn absent(&self, path: &str) {
        let answer = self.send(Method::GET, path, None).await;
        assert_eq!((answer.code, &answer.value["reason"]), (404, &json!("NotFound")), "{path}");
    }
}

/// Events as they come.
pub struct Watch {
    body: Body,
    rest: Vec<u8>,
}

impl Watch {
    /// The next event.
    pub async fn next(&mut self) -> Value {
        let read = async {
            loop {
                if let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
                    let line: Vec<u8> = self.rest.drain(..=end).collect();
                    return serde_json::from_slice(&line).unwrap();
                }
                let frame = self.body.frame().await.expect("the watch goes on").unwrap();
                self.rest.extend_from_slice(&frame.into_data().expect("data"));
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("an event in time")
    }

    /// Reads until an event of this type whose object is as wanted.
    pub async fn see(&mut self, kind: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = self.next().await;
            if event["type"] == kind && wanted(&event["object"]) {
                return event["object"].clone();
            }
        }
    }
}

/// Whether a condition of this type has this status.
pub fn condition(object: &Value, kind: &str, status: &str) -> bool {
    let all = object["status"]["conditions"].as_array().into_iter().flatten();
    all.filter(|c| c["type"] == kind).any(|c| c["status"] == status)
}

/// The condition of this type; null if there is none.
pub fn find_condition(object: &Value, kind: &str) -> Value {
    let mut all = object["status"]["conditions"].as_array().into_iter().flatten();
    all.rfind(|c| c["type"] == kind).cloned().unwrap_or_default()
}

/// A pod template with these labels, whose container has this image.
pub fn template(labels: &Value, image: &str) -> Value {
    json!({"metadata": {"labels": labels}, "spec": {"terminationGracePeriodSeconds": 0,
        "containers": [{"name": "c", "image": image}]}})
}

pub fn pod(name: &str, labels: Value, spec: Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "i"}]}});
    for (key, value) in spec.as_object().unwrap() {
        pod["spec"][key] = value.clone();
    }
    pod
}

pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

pub fn names(objects: &[Value]) -> Vec<&str> {
    let mut names: Vec<&str> = objects.iter().map(name).collect();
    names.sort_unstable();
    names
}
