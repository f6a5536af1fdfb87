//! A server in this process, with one namespace, spoken to as an administrator or as nobody in particular.

use crate::operation::Operation;
use apiserver::authn::UserInfo;
use apiserver::{Body, Config, Server, body};
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;
use tower::{Service, ServiceExt};

/// The namespace that there is.
pub const NAMESPACE: &str = "a";
const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The server and its directory.
pub struct World {
    server: Server,
    _directory: tempfile::TempDir,
}

/// An answer: its code and its document.
pub type Answer = (u16, Value);

impl World {
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let store = store::Embedded::open(directory.path().join("store"), store::Limits::default()).expect("store");
        let key = pki::key_pair().expect("key").key_pem;
        let config = Config { bootstrap: false, service_account_key_pem: key, ..Config::default() };
        let server = Server::build(config, Arc::new(store)).await.expect("server");
        let world = Self { server, _directory: directory };
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        world.must("POST", "/api/v1/namespaces", &namespace).await;
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        world.must("POST", "/api/v1/namespaces/a/serviceaccounts", &account).await;
        world
    }

    /// All operations that discovery lists.
    pub async fn operations(&self) -> Vec<Operation> {
        let mut all = Vec::new();
        for path in ["/api", "/apis"] {
            let (code, document) = self.send(None, "GET", path, &[("accept", DISCOVERY)], None).await;
            assert_eq!(code, 200);
            all.extend(Operation::of_discovery(&document));
        }
        all
    }

    /// As an administrator.
    pub async fn admin(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        self.send(None, method, path, &[("content-type", kind)], body).await
    }

    /// As an administrator, with success.
    pub async fn must(&self, method: &str, path: &str, body: &Value) -> Value {
        let (code, answer) = self.admin(method, path, Some(body)).await;
        assert!(code < 300, "{method} {path}: {code} {answer}");
        answer
    }

    /// As somebody to whom nothing was granted.
    pub async fn nobody(&self, method: &str, path: &str) -> Answer {
        let user = UserInfo::authenticated("nobody", ["outsiders"]);
        self.send(Some(user), method, path, &[], None).await
    }

    /// Waits until an object is gone.
    pub async fn gone(&self, object: &str) {
        let (collection, name) = object.rsplit_once('/').expect("a path");
        let (_, list) = self.admin("GET", &format!("{collection}?fieldSelector=metadata.name%3D{name}"), None).await;
        if list["items"] == json!([]) {
            return;
        }
        let version = list["metadata"]["resourceVersion"].as_str().expect("version");
        let path = format!(
            "{collection}?fieldSelector=metadata.name%3D{name}&watch=true&timeoutSeconds=30&resourceVersion={version}"
        );
        let mut events = self.raw(None, "GET", &path, &[], None).await.into_body();
        while let Some(piece) = events.frame().await {
            let piece = piece.expect("events").into_data().expect("data");
            if String::from_utf8_lossy(&piece).contains("\"type\":\"DELETED\"") {
                return;
            }
        }
        panic!("{object} does not go");
    }

    async fn send(
        &self,
        user: Option<UserInfo>,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let response = self.raw(user, method, path, headers, body).await;
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.expect("body").to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into()))
    }

    async fn raw(
        &self,
        user: Option<UserInfo>,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Response<Body> {
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).expect("method")).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(body.map_or_else(body::empty, |b| body::full(b.to_string()))).expect("request");
        let admin = || UserInfo::new("admin", &["system:masters", "system:authenticated"]);
        request.extensions_mut().insert(user.unwrap_or_else(admin));
        let mut service = self.server.service();
        service.ready().await.expect("ready").call(request).await.expect("answer")
    }
}
