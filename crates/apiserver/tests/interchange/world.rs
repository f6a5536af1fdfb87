//! Our server over a real etcd, and what another server would do to that etcd.

use super::types::{self, Through, through};
use api_core::Gvk;
use api_core::gvk::split_api_version;
use api_schema::protobuf::{self, Envelope, MAGIC};
use apiserver::authn::UserInfo;
use apiserver::{Body, Config, Server, body};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use k8s_pb::apimachinery::pkg::runtime::{TypeMeta, Unknown};
use prost::Message;
use serde_json::{Value, json};
use std::sync::Arc;
use store::{KeyValue, Op, Range, Store, Txn};
use testbed::Etcd;
use tower::{Service, ServiceExt};

pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
pub const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1";

/// An etcd, and one server on it.
pub struct World {
    pub api: Api,
    etcd: Etcd,
}

impl World {
    /// An etcd that has these values when the server starts.
    pub async fn over(values: &[(&str, Bytes)]) -> Self {
        let etcd = Etcd::start().expect("etcd");
        let store = connect(&etcd).await;
        for (key, value) in values {
            put(&store, key, value.clone(), 0).await;
        }
        Self { api: Api::start(&etcd, bare()).await, etcd }
    }

    /// One more server on the same etcd.
    pub async fn another(&self, config: Config) -> Api {
        Api::start(&self.etcd, config).await
    }
}

/// A server that makes nothing by itself.
pub fn bare() -> Config {
    Config { bootstrap: false, ..Config::default() }
}

async fn connect(etcd: &Etcd) -> Arc<dyn Store> {
    let config = store::EtcdConfig { endpoints: vec![etcd.url.clone()], ..store::EtcdConfig::default() };
    Arc::new(store::Etcd::connect(config).await.expect("etcd answers"))
}

pub async fn put(store: &Arc<dyn Store>, key: &str, value: Bytes, lease: i64) {
    let put = Op::Put { key: key.to_owned().into(), value, lease };
    store.txn(Txn { compare: Vec::new(), success: vec![put], failure: Vec::new() }).await.expect("written");
}

/// A server, and its way to the store.
pub struct Api {
    server: Server,
    pub store: Arc<dyn Store>,
    etcd_url: String,
}

impl Api {
    async fn start(etcd: &Etcd, config: Config) -> Self {
        let store = connect(etcd).await;
        let server = Server::build(config, store.clone()).await.expect("server");
        let api = Self { server, store, etcd_url: etcd.url.clone() };
        for (path, kind) in
            [("/api/v1/namespaces", "Namespace"), ("/api/v1/namespaces/default/serviceaccounts", "ServiceAccount")]
        {
            api.send("POST", path, Some(&json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "default"}})))
                .await;
        }
        api
    }

    pub async fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], sent: Bytes) -> Response<Body> {
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).expect("method")).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(body::full(sent)).expect("request");
        request.extensions_mut().insert(UserInfo::new("admin", &["system:masters", "system:authenticated"]));
        let mut service = self.server.service();
        service.ready().await.expect("ready").call(request).await.expect("answer")
    }

    pub async fn bytes(&self, method: &str, path: &str, headers: &[(&str, &str)], sent: Bytes) -> (u16, Bytes) {
        let response = self.raw(method, path, headers, sent).await;
        (response.status().as_u16(), response.into_body().collect().await.expect("body").to_bytes())
    }

    /// A request in JSON; a PATCH is an apply.
    pub async fn send(&self, method: &str, path: &str, object: Option<&Value>) -> (u16, Value) {
        let media = if method == "PATCH" { "application/apply-patch+yaml" } else { "application/json" };
        let sent = object.map(|o| Bytes::from(o.to_string())).unwrap_or_default();
        let (code, bytes) = self.bytes(method, path, &[("content-type", media)], sent).await;
        (code, serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into()))
    }

    pub async fn get(&self, path: &str) -> Value {
        let (code, value) = self.send("GET", path, None).await;
        assert_eq!(code, 200, "{path}: {value}");
        value
    }

    /// What is stored at a key.
    pub async fn stored(&self, key: &str) -> Option<KeyValue> {
        self.store.range(Range::key(key.to_owned())).await.expect("read").kvs.pop()
    }

    /// What is stored at a key, which must be JSON.
    pub async fn stored_json(&self, key: &str) -> Value {
        let value = self.stored(key).await.unwrap_or_else(|| panic!("nothing at {key}")).value;
        serde_json::from_slice(&value).unwrap_or_else(|e| panic!("{key} is no JSON: {e}"))
    }

    /// Seconds that a lease of this server was granted for.
    pub async fn store_lease_s(&self, lease: i64) -> i64 {
        let out = std::process::Command::new("etcdctl")
            .args(["--endpoints", &self.etcd_url, "lease", "timetolive", &format!("{lease:x}")])
            .env("ETCDCTL_API", "3")
            .output()
            .expect("etcdctl runs");
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        let granted = said.split("TTL(").nth(1).and_then(|rest| rest.split('s').next()).map(str::parse);
        granted.and_then(Result::ok).unwrap_or_else(|| panic!("{said}"))
    }

    /// Returns when the server has made what every cluster has.
    pub async fn ready(&self) {
        self.server.ready().await;
    }

    pub async fn stop(self) {
        assert!(self.server.shutdown().await);
    }
}

fn kind_of(object: &Value) -> Gvk {
    let (group, version) = split_api_version(object["apiVersion"].as_str().expect("version"));
    Gvk::new(group, version, object["kind"].as_str().expect("kind"))
}

/// Versions that upstream stores and does not serve.
fn types_of_old() -> Vec<(Gvk, Through)> {
    peers! {
        "admissionregistration.k8s.io" "v1beta1" k8s_pb::api::admissionregistration::v1beta1:
            ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding;
        "discovery.k8s.io" "v1beta1" k8s_pb::api::discovery::v1beta1: EndpointSlice;
    }
}

/// The value that a server would store for this object whose messages are the types of others.
pub fn as_stored_elsewhere(object: &Value) -> Bytes {
    let kind = kind_of(object);
    // Upstream stores these as JSON, whatever it stores else.
    if ["apiextensions.k8s.io", "apiregistration.k8s.io"].contains(&kind.group.as_str()) {
        return format!("{object}\n").into();
    }
    let root = api_kinds::message_type_of(&kind).unwrap_or_else(|| panic!("{kind:?}"));
    let message = protobuf::encode_value(api_kinds::schema(), root, object).expect("message");
    let mut types = types::peers().into_iter().chain(types_of_old());
    let (_, through) = types.find(|(known, _)| *known == kind).unwrap_or_else(|| panic!("{kind:?} has no type"));
    let unknown = Unknown {
        type_meta: Some(TypeMeta { api_version: Some(kind.api_version()), kind: Some(kind.kind) }),
        raw: Some(through(&message).expect("a message of theirs")),
        content_encoding: Some(String::new()),
        content_type: Some(String::new()),
    };
    [MAGIC.as_slice(), &unknown.encode_to_vec()].concat().into()
}

/// An object of an answer in protobuf.
pub fn read_message(bytes: &[u8]) -> Value {
    let rest = bytes.strip_prefix(MAGIC).unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(bytes)));
    let envelope = Envelope::open(rest).expect("envelope");
    let (group, version) = split_api_version(envelope.api_version);
    let root = api_kinds::message_type_of(&Gvk::new(group, version, envelope.kind)).expect("type");
    let mut value = protobuf::decode(api_kinds::schema(), root, envelope.raw).expect("message");
    value["apiVersion"] = envelope.api_version.into();
    value["kind"] = envelope.kind.into();
    value
}

/// A watch, event by event.
pub struct Watch {
    body: Body,
    rest: Vec<u8>,
}

impl Watch {
    pub async fn start(api: &Api, path: &str) -> Self {
        let join = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{join}watch=1&timeoutSeconds=60");
        let response = api.raw("GET", &path, &[], Bytes::new()).await;
        assert_eq!(response.status(), 200, "{path}");
        Self { body: response.into_body(), rest: Vec::new() }
    }

    /// Type and object of the next event.
    pub async fn next(&mut self) -> (String, Value) {
        loop {
            if let Some(at) = self.rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=at).collect();
                let mut event: Value = serde_json::from_slice(&line).expect("an event");
                return (event["type"].as_str().expect("a type").to_owned(), event["object"].take());
            }
            let frame = self.body.frame().await.expect("the watch goes on").expect("a frame");
            self.rest.extend_from_slice(&frame.into_data().expect("data"));
        }
    }
}
