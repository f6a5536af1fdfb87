//! Defaults of ingress classes and network policies.

use crate::hooks::fill::Fill;
use serde_json::{Value, json};

pub(super) fn ingress_class(object: &mut Value) {
    object.with("spec", |spec| spec.with("parameters", |parameters| parameters.fill("scope", "Cluster")));
}

pub(super) fn network_policy(object: &mut Value) {
    let spec = object.make("spec");
    for direction in ["ingress", "egress"] {
        spec.each_mut(direction, |rule| rule.each_mut("ports", |port| port.fill("protocol", "TCP")));
    }
    if spec["policyTypes"].as_array().is_none_or(Vec::is_empty) {
        let has_egress = spec["egress"].as_array().is_some_and(|e| !e.is_empty());
        spec["policyTypes"] = if has_egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    }
}
