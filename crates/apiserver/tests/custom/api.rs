//! A server and what tests ask of it.

use apiserver::authn::UserInfo;
use apiserver::{Body, Config, Server, body};
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use store::Embedded;
use tower::{Service, ServiceExt};

pub const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub const WIDGETS: &str = "/apis/example.com/v1/namespaces/a/widgets";
/// Longer than anything takes; a test that waits so long has failed.
pub const WAIT: Duration = Duration::from_secs(20);

pub struct Api {
    pub server: Server,
    pub store: Arc<Embedded>,
    pub directory: tempfile::TempDir,
}

/// An answer: code, document, warnings.
pub struct Answer {
    pub code: u16,
    pub value: Value,
    pub warnings: Vec<String>,
}

impl Api {
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        Self::start_in(directory).await
    }

    pub async fn start_in(directory: tempfile::TempDir) -> Self {
        let store = Embedded::open(directory.path().join("store"), store::Limits::default()).expect("store");
        let store = Arc::new(store);
        let config = Config { bootstrap: false, ..Config::default() };
        let server = Server::build(config, store.clone()).await.expect("server");
        let api = Self { server, store, directory };
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}});
        api.send("POST", "/api/v1/namespaces", &[], Some(&namespace)).await;
        api
    }

    /// Ends the server, and starts one on what it has stored.
    pub async fn restart(self) -> Self {
        assert!(self.server.shutdown().await);
        let Self { server, store, directory } = self;
        drop((server, store));
        Self::start_in(directory).await
    }

    pub async fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> Response<Body> {
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).expect("method")).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(body).expect("request");
        request.extensions_mut().insert(UserInfo::new("admin", &["system:masters", "system:authenticated"]));
        let mut service = self.server.service();
        service.ready().await.expect("ready").call(request).await.expect("answer")
    }

    pub async fn text(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.bytes(method, path, headers, body.as_bytes()).await
    }

    pub async fn bytes(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let response = self.raw(method, path, headers, body::full(body.to_owned())).await;
        let code = response.status().as_u16();
        let warnings = response.headers().get_all("warning").iter();
        let warnings = warnings.filter_map(|w| w.to_str().ok()).map(|w| {
            let text = w.strip_prefix("299 - \"").and_then(|t| t.strip_suffix('"')).unwrap_or(w);
            text.replace("\\\"", "\"")
        });
        let warnings = warnings.collect();
        let bytes = response.into_body().collect().await.expect("body").to_bytes();
        let value = serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into());
        Answer { code, value, warnings }
    }

    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Answer {
        self.text(method, path, headers, &body.map(Value::to_string).unwrap_or_default()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[], Some(body)).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, &[], Some(body)).await
    }

    pub async fn merge(&self, path: &str, body: &Value) -> Answer {
        self.send("PATCH", path, &[("content-type", "application/merge-patch+json")], Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], None).await
    }

    /// Makes a definition and waits until it is established.
    pub async fn define(&self, definition: &Value) {
        self.post(DEFINITIONS, definition).await.ok(201);
        let name = definition["metadata"]["name"].as_str().expect("name");
        self.until(&format!("{DEFINITIONS}/{name}"), |d| condition(d, "Established") == "True").await;
    }

    /// Follows an object until it is as wanted; gives it. A watch ends when a schema changes, and is started again.
    pub async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let (collection, name) = path.rsplit_once('/').expect("a path");
        let watch = format!("{collection}?watch=1&fieldSelector=metadata.name={name}");
        let follow = async {
            loop {
                let mut body = self.raw("GET", &watch, &[], body::empty()).await.into_body();
                let mut rest = Vec::new();
                while let Some(frame) = body.frame().await {
                    rest.extend_from_slice(&frame.expect("frame").into_data().expect("data"));
                    while let Some(end) = rest.iter().position(|b| *b == b'\n') {
                        let line: Vec<u8> = rest.drain(..=end).collect();
                        let event: Value = serde_json::from_slice(&line).expect("event");
                        if wanted(&event["object"]) {
                            return event["object"].clone();
                        }
                    }
                }
            }
        };
        tokio::time::timeout(WAIT, follow).await.expect("in time")
    }

    /// Follows a collection until an object is gone.
    pub async fn until_gone(&self, path: &str) {
        let (collection, name) = path.rsplit_once('/').expect("a path");
        let watch = format!("{collection}?watch=1&fieldSelector=metadata.name={name}");
        let mut body = self.raw("GET", &watch, &[], body::empty()).await.into_body();
        let follow = async {
            loop {
                if self.get(path).await.code == 404 {
                    return;
                }
                body.frame().await.expect("a watch that lasts").expect("frame");
            }
        };
        tokio::time::timeout(WAIT, follow).await.expect("in time");
    }
}

impl Answer {
    #[track_caller]
    pub fn ok(self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", self.value);
        self.value
    }

    /// A refusal with this in its message.
    #[track_caller]
    pub fn refused(self, code: u16, message: &str) {
        let said = self.value["message"].as_str().unwrap_or("");
        assert!(self.code == code && said.contains(message), "{code} {message}\nis not\n{} {}", self.code, self.value);
    }
}

pub fn condition<'v>(object: &'v Value, kind: &str) -> &'v str {
    let all = object["status"]["conditions"].as_array().into_iter().flatten();
    all.filter(|c| c["type"] == kind).find_map(|c| c["status"].as_str()).unwrap_or("")
}

/// A definition of widgets with this schema of `spec`.
pub fn widgets(spec: Value) -> Value {
    definition(
        "widgets",
        "Widget",
        json!({"type": "object", "properties": {"spec": spec, "status": {"type": "object",
        "properties": {"n": {"type": "integer"}, "selector": {"type": "string"}}}}}),
    )
}

pub fn definition(plural: &str, kind: &str, schema: Value) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.example.com")},
        "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}})
}

pub fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}
