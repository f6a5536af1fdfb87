//! A server over the embedded store, with a service that leads to a [`super::Backend`] on this machine.

use apiserver::authn::UserInfo;
use apiserver::{Body, Config, Server, body};
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;
use store::{Compare, Op, Store, Txn};
use tower::{Service, ServiceExt};

/// The server and its store.
pub struct Cluster {
    /// The server.
    pub server: Server,
    store: Arc<store::Embedded>,
    _directory: tempfile::TempDir,
}

/// An administrator.
pub fn admin() -> UserInfo {
    UserInfo::new("admin", &["system:masters", "system:authenticated"])
}

/// An answer.
pub struct Answered {
    /// HTTP status.
    pub code: u16,
    /// The document, or a text.
    pub value: Value,
    /// Texts of the `Warning` headers.
    pub warnings: Vec<String>,
}

impl Answered {
    /// `message` of a `Status`.
    pub fn message(&self) -> &str {
        self.value["message"].as_str().unwrap_or("")
    }
}

impl Cluster {
    /// A server with the namespaces `a` (labelled `on: yes`), `b` and `hook`, and the service `w` in `hook`, which leads to `port`.
    pub async fn start(config: Config, port: u16) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let store = store::Embedded::open(directory.path().join("store"), store::Limits::default()).expect("store");
        let store = Arc::new(store);
        let server = Server::build(config, store.clone()).await.expect("server");
        let cluster = Self { server, store, _directory: directory };
        for name in ["a", "b", "hook", "kube-system", "default"] {
            let labels = if name == "a" { json!({"on": "yes"}) } else { json!({}) };
            let namespace =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
            cluster.send(&admin(), "POST", "/api/v1/namespaces", Some(&namespace)).await;
            let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
            cluster.made(&format!("/api/v1/namespaces/{name}/serviceaccounts"), account).await;
        }
        cluster.service("w", port).await;
        cluster
    }

    /// A service in the namespace `hook` that leads to a port of this machine. Its endpoints are written past the API,
    /// which allows no loopback addresses.
    pub async fn service(&self, name: &str, port: u16) {
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"ports": [{"port": 443, "targetPort": port}]}});
        self.made("/api/v1/namespaces/hook/services", service).await;
        self.endpoints(name, Some(port)).await;
    }

    /// Writes the endpoints of a service; `None` for none.
    pub async fn endpoints(&self, name: &str, port: Option<u16>) {
        let subsets =
            port.map_or(json!([]), |port| json!([{"addresses": [{"ip": "127.0.0.1"}], "ports": [{"port": port}]}]));
        let endpoints = json!({"kind": "Endpoints", "apiVersion": "v1",
            "metadata": {"name": name, "namespace": "hook", "uid": "u", "creationTimestamp": "2024-01-01T00:00:00Z"},
            "subsets": subsets});
        let key = format!("/registry/services/endpoints/hook/{name}");
        let put = Op::Put { key: key.into(), value: endpoints.to_string().into(), lease: 0 };
        let nothing: Vec<Compare> = Vec::new();
        let txn = Txn { compare: nothing, success: vec![put], failure: Vec::new() };
        let written = self.store.txn(txn).await.expect("written").revision.to_string();
        // A read at the revision of the write waits until the cache has it.
        let path =
            format!("/api/v1/namespaces/hook/endpoints?resourceVersion={written}&resourceVersionMatch=NotOlderThan");
        assert_eq!(self.send(&admin(), "GET", &path, None).await.code, 200);
    }

    /// The answer as it comes.
    pub async fn raw(&self, user: &UserInfo, method: &str, path: &str, value: Option<&Value>) -> Response<Body> {
        let content_type = match method {
            "PATCH" if value.is_some_and(Value::is_array) => "application/json-patch+json",
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).expect("method"))
            .uri(path)
            .header("content-type", content_type)
            .body(value.map_or_else(body::empty, |v| body::full(v.to_string())))
            .expect("request");
        request.extensions_mut().insert(user.clone());
        self.server.service().ready().await.expect("ready").call(request).await.expect("answer")
    }

    /// A request as a user.
    pub async fn send(&self, user: &UserInfo, method: &str, path: &str, value: Option<&Value>) -> Answered {
        let response = self.raw(user, method, path, value).await;
        let code = response.status().as_u16();
        let warnings = response.headers().get_all("warning").iter();
        let warnings = warnings.map(|w| w.to_str().expect("text").to_owned()).collect();
        let bytes = response.into_body().collect().await.expect("body").to_bytes();
        let value = serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into());
        Answered { code, value, warnings }
    }

    /// A POST as administrator.
    pub async fn post(&self, path: &str, value: Value) -> Answered {
        self.send(&admin(), "POST", path, Some(&value)).await
    }

    /// A POST that must succeed.
    pub async fn made(&self, path: &str, value: Value) -> Value {
        let answer = self.post(path, value).await;
        assert!(answer.code < 300, "{path}: {} {}", answer.code, answer.value);
        answer.value
    }

    /// A GET as administrator that must succeed.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.send(&admin(), "GET", path, None).await;
        assert_eq!(answer.code, 200, "{path}: {}", answer.value);
        answer.value
    }
}
