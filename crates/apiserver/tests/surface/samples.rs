//! An object of each kind, as small as it may be.

use crate::operation::Operation;
use serde_json::{Value, json};

const RECORDED: &str = include_str!("../../../api-kinds/testdata/create-and-store.json");

/// What a POST of this resource may hold; nothing if nobody has written one.
pub fn of(operation: &Operation) -> Option<Value> {
    let key = operation.kind_key();
    recorded(&key).or_else(|| in_another_version(operation)).or_else(|| own(&key))
}

fn recorded(key: &str) -> Option<Value> {
    let all: Vec<Value> = serde_json::from_str(RECORDED).expect("samples");
    let found = all.into_iter().find(|sample| sample["resource"] == key)?;
    let mut request = found["request"].clone();
    if request["metadata"]["namespace"].is_string() {
        request["metadata"]["namespace"] = json!(crate::world::NAMESPACE);
        if request["involvedObject"].is_object() {
            request["involvedObject"]["namespace"] = json!(crate::world::NAMESPACE);
        }
    }
    Some(request)
}

fn in_another_version(operation: &Operation) -> Option<Value> {
    let (from, to) = match operation.kind_key().as_str() {
        "flowcontrol.apiserver.k8s.io/v1beta3/flowschemas" => {
            ("flowcontrol.apiserver.k8s.io/v1/flowschemas", "v1beta3")
        }
        "flowcontrol.apiserver.k8s.io/v1beta3/prioritylevelconfigurations" => {
            ("flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations", "v1beta3")
        }
        _ => return None,
    };
    let mut sample = recorded(from)?;
    sample["apiVersion"] = json!(format!("{}/{to}", operation.group));
    Some(sample)
}

fn own(key: &str) -> Option<Value> {
    let (api_version, _) = key.rsplit_once('/')?;
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"});
    let access = json!({"verb": "get", "resource": "pods", "namespace": crate::world::NAMESPACE});
    let (kind, mut body) = match key {
        "v1/bindings" => ("Binding", json!({"target": {"kind": "Node", "name": "n"}})),
        "events.k8s.io/v1/events" => (
            "Event",
            json!({"eventTime": "2024-01-01T00:00:00.000000Z", "reportingController": "c.example.com/x", "reason": "R",
                "reportingInstance": "i", "action": "A", "type": "Normal",
                "regarding": {"kind": "Pod", "namespace": crate::world::NAMESPACE, "name": "p", "apiVersion": "v1"}}),
        ),
        "autoscaling/v1/horizontalpodautoscalers" => {
            ("HorizontalPodAutoscaler", json!({"spec": {"scaleTargetRef": target, "maxReplicas": 2}}))
        }
        "authentication.k8s.io/v1/selfsubjectreviews" => ("SelfSubjectReview", json!({})),
        "authentication.k8s.io/v1/tokenreviews" => ("TokenReview", json!({"spec": {"token": "t"}})),
        "authorization.k8s.io/v1/localsubjectaccessreviews" => {
            ("LocalSubjectAccessReview", json!({"spec": {"user": "u", "resourceAttributes": access}}))
        }
        "authorization.k8s.io/v1/selfsubjectaccessreviews" => {
            ("SelfSubjectAccessReview", json!({"spec": {"resourceAttributes": access}}))
        }
        "authorization.k8s.io/v1/selfsubjectrulesreviews" => {
            ("SelfSubjectRulesReview", json!({"spec": {"namespace": crate::world::NAMESPACE}}))
        }
        "authorization.k8s.io/v1/subjectaccessreviews" => {
            ("SubjectAccessReview", json!({"spec": {"user": "u", "resourceAttributes": access}}))
        }
        _ => return None,
    };
    body["apiVersion"] = json!(api_version);
    body["kind"] = json!(kind);
    if !key.contains("reviews") {
        body["metadata"] = json!({"name": "sample", "namespace": crate::world::NAMESPACE});
    }
    Some(body)
}

/// What a POST to a subresource may hold.
pub fn of_subresource(operation: &Operation, name: &str) -> Option<Value> {
    let metadata = json!({"name": name, "namespace": crate::world::NAMESPACE});
    Some(match operation.subresource.as_str() {
        "binding" => json!({"apiVersion": "v1", "kind": "Binding", "metadata": metadata,
            "target": {"kind": "Node", "name": "n"}}),
        "eviction" => json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}),
        "token" => {
            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": ["a"]}})
        }
        _ => return None,
    })
}
