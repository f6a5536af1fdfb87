//! A cluster with webhooks, and what they were asked.

use crate::support::cluster::{Cluster, admin};
use crate::support::{Answer, Backend, authority, bundle};
use apiserver::Config;
use base64::Engine;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;

pub const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
pub const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
pub const MAPS: &str = "/api/v1/namespaces/a/configmaps";
pub const PODS: &str = "/api/v1/namespaces/a/pods";

/// A cluster with webhooks, and the reviews that they were sent.
pub struct World {
    pub cluster: Cluster,
    pub _backend: Backend,
    pub bundle: String,
    pub seen: Arc<Mutex<Vec<Value>>>,
}

impl World {
    pub async fn start() -> Self {
        Self::with(Config { bootstrap: false, ..Config::default() }).await
    }

    pub async fn with(config: Config) -> Self {
        let ca = authority();
        let seen: Arc<Mutex<Vec<Value>>> = Arc::default();
        let log = seen.clone();
        let backend = Backend::start(&ca, "w.hook.svc", move |path, review| {
            if review["kind"] == "AdmissionReview" {
                log.lock().push(review.clone());
            }
            play(path.split('?').next().unwrap_or(""), review)
        })
        .await;
        let cluster = Cluster::start(config, backend.port).await;
        Self { cluster, _backend: backend, bundle: bundle(&ca), seen }
    }

    /// A webhook for all writes of a resource in namespaces labelled `on`; `extra` overrides.
    pub fn hook(&self, name: &str, path: &str, resource: &str, extra: Value) -> Value {
        let (group, resource) = resource.split_once(':').unwrap_or(("", resource));
        let mut hook = json!({"name": name, "sideEffects": "None", "admissionReviewVersions": ["v1", "v1beta1"],
            "clientConfig": {"service": {"namespace": "hook", "name": "w", "path": path}, "caBundle": self.bundle},
            "rules": [{"operations": ["*"], "apiGroups": [group], "apiVersions": ["*"], "resources": [resource]}],
            "namespaceSelector": {"matchLabels": {"on": "yes"}}});
        hook.as_object_mut().expect("object").extend(extra.as_object().cloned().expect("object"));
        hook
    }

    pub async fn configure(&self, collection: &str, name: &str, hooks: Vec<Value>) -> Value {
        let kind =
            if collection == MUTATING { "MutatingWebhookConfiguration" } else { "ValidatingWebhookConfiguration" };
        let configuration = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
            "metadata": {"name": name}, "webhooks": hooks});
        self.cluster.made(collection, configuration).await
    }

    pub fn last_request(&self) -> Value {
        self.seen.lock().last().expect("a review")["request"].clone()
    }

    pub fn forget(&self) {
        self.seen.lock().clear();
    }

    /// Waits until a definition is served, which is a moment after it is made.
    pub async fn until_established(&self, name: &str) {
        let path = format!("{DEFINITIONS}?watch=true&fieldSelector=metadata.name={name}");
        let established = |definition: &Value| {
            let all = definition["status"]["conditions"].as_array().cloned().unwrap_or_default();
            all.iter().any(|c| c["type"] == "Established" && c["status"] == "True")
        };
        self.until(&path, established).await;
    }

    /// Waits until a watch shows an object that is as wanted.
    pub async fn until(&self, watch: &str, wanted: impl Fn(&Value) -> bool) {
        let mut frames = self.cluster.raw(&admin(), "GET", watch, None).await.into_body();
        let mut lines = Vec::new();
        loop {
            let frame = frames.frame().await.expect("a frame").expect("bytes");
            // A frame may have several events, or a part of one.
            lines.extend_from_slice(frame.data_ref().expect("data"));
            let whole = lines.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
            let whole: Vec<u8> = lines.drain(..whole).collect();
            let mut events = serde_json::Deserializer::from_slice(&whole).into_iter::<Value>();
            if events.any(|event| wanted(&event.expect("an event")["object"])) {
                return;
            }
        }
    }
}

/// In `v1` there is `spec.hostPort`, in `v2` there are `spec.host` and `spec.port`.
fn convert(review: &Value) -> Answer {
    let request = &review["request"];
    let to = request["desiredAPIVersion"].as_str().expect("a version");
    let one = |object: &Value| {
        let (mut out, spec) = (object.clone(), &object["spec"]);
        let text = |field: &str| spec[field].as_str().unwrap_or("");
        let (host, port) = text("hostPort").split_once(':').unwrap_or_default();
        out["apiVersion"] = to.into();
        out["spec"] = match to {
            "test.io/v2" => json!({"host": host, "port": port}),
            _ => json!({"hostPort": format!("{}:{}", text("host"), text("port"))}),
        };
        out
    };
    let converted: Vec<Value> = request["objects"].as_array().expect("objects").iter().map(one).collect();
    Answer::json(&json!({"apiVersion": review["apiVersion"], "kind": "ConversionReview", "response":
        {"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": converted}}))
}

/// The webhooks by their paths.
pub fn play(path: &str, review: &Value) -> Answer {
    if path == "/convert" {
        return convert(review);
    }
    let request = &review["request"];
    let object = if request["object"].is_null() { &request["oldObject"] } else { &request["object"] };
    let verdict = match path {
        "/deny" => json!({"allowed": false, "status": {"reason": "this is not wanted"}}),
        "/deny-forbidden" => json!({"allowed": false, "status": {"code": 403, "reason": "Forbidden", "message": "no",
            "details": {"causes": [{"reason": "FieldValueInvalid", "field": "data", "message": "bad"}]}}}),
        "/deny-unwanted" => json!({"allowed": object["data"]["unwanted"].is_null()}),
        "/warn" => json!({"allowed": true, "warnings": ["careful"], "auditAnnotations": {"k": "v"}}),
        "/odd-annotations" => json!({"allowed": true, "auditAnnotations": {"good": "1", "no good": "2", "a/b": "3"}}),
        "/slow" => return Answer::never(),
        "/broken" => return Answer::text(500, "oh no"),
        "/not-a-review" => return Answer::json(&json!({"kind": "Status"})),
        "/bad-uid" => json!({"allowed": true, "uid": "other"}),
        "/bad-patch" => patched(json!([{"op": "remove", "path": "/data/absent"}])),
        "/no-patch-type" => json!({"allowed": true, "patch": base64::engine::general_purpose::STANDARD.encode("[]")}),
        "/first" => patched(json!([{"op": "add", "path": "/data/first", "value": "yes"}])),
        "/second" if object["data"]["first"] == "yes" => {
            patched(json!([{"op": "add", "path": "/data/second", "value": "yes"}]))
        }
        "/sidecar" => patched(json!([{"op": "add", "path": "/spec/initContainers",
            "value": [{"name": "webhook-added-init-container", "image": "webhook-added-image"}]}])),
        "/both-halves" => patched(json!([
            {"op": "add", "path": "/metadata/labels", "value": {"hooked": "yes"}},
            {"op": "add", "path": "/spec/activeDeadlineSeconds", "value": 5},
            {"op": "add", "path": "/status/message", "value": "hooked"}])),
        "/unknown-field" => {
            patched(json!([{"op": "add", "path": "/data/nested", "value": {"kept": "1", "dropped": 1}}]))
        }
        "/port-9" => patched(json!([{"op": "replace", "path": "/spec/port", "value": "9"}])),
        "/scale-up" => patched(json!([{"op": "replace", "path": "/spec/replicas", "value": 5}])),
        _ => json!({"allowed": true}),
    };
    let mut response = json!({"uid": request["uid"]});
    response.as_object_mut().expect("object").extend(verdict.as_object().cloned().expect("object"));
    Answer::json(&json!({"kind": "AdmissionReview", "apiVersion": review["apiVersion"], "response": response}))
}

pub fn patched(patch: Value) -> Value {
    let patch = base64::engine::general_purpose::STANDARD.encode(patch.to_string());
    json!({"allowed": true, "patch": patch, "patchType": "JSONPatch"})
}

pub fn map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

pub fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

pub fn definition(versions: Value) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.test.io"}, "spec": {"group": "test.io", "scope": "Namespaced",
            "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
            "versions": versions}})
}

pub fn version(name: &str, storage: bool) -> Value {
    json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": {"type": "object", "properties": {
        "data": {"type": "object", "properties": {
            "first": {"type": "string"}, "second": {"type": "string"}, "unwanted": {"type": "string"},
            "filled": {"type": "string", "default": "yes"},
            "nested": {"type": "object", "properties": {"kept": {"type": "string"}}}}}}}}})
}
