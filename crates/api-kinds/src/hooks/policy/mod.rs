//! Kinds of the group policy.

use super::check::Node;
use super::{conditions, labels, workload};
use api_core::field::Errors;
use api_core::names;
use api_schema::row::{Generation, Hooks, WriteContext};
use serde_json::Value;

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    match kind {
        "PodDisruptionBudget" => &POD_DISRUPTION_BUDGET,
        _ => &Hooks::NONE,
    }
}

static POD_DISRUPTION_BUDGET: Hooks = Hooks {
    generation: Generation::SPEC,
    validate: Some(validate),
    validate_update: Some(update),
    validate_name: Some(names::name_is_path_segment),
    metadata_last: true,
    warnings: Some(warnings),
    unconditional_update: false,
    ..Hooks::NONE
};

fn validate(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    let spec = root.at("spec");
    if spec.has("minAvailable") && spec.has("maxUnavailable") {
        spec.invalid("minAvailable and maxUnavailable cannot be both set", e);
    }
    for field in ["minAvailable", "maxUnavailable"] {
        let at = spec.at(field);
        if at.present() {
            workload::int_or_percent(&at, e);
            workload::at_most_all(&at, e);
        }
    }
    labels::selector(&spec.at("selector"), e);
    spec.at("unhealthyPodEvictionPolicy").one_of_if_any(&["AlwaysAllow", "IfHealthyBudget"], e);
}

fn update(context: &WriteContext<'_>, new: &Value, _: &Value, e: &mut Errors) {
    if context.subresource != "status" {
        validate(new, e);
        return;
    }
    let root = Node::root(new);
    let status = root.at("status");
    conditions::validate(&status.at("conditions"), e);
    for field in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
        status.at(field).non_negative(e);
    }
}

fn warnings(new: &Value, _: Option<&Value>) -> Vec<String> {
    let root = Node::root(new);
    let spec = root.at("spec");
    let selector = spec.at("selector");
    if root.text("apiVersion") == "policy/v1beta1" && selector.present() && labels::is_empty_selector(&selector) {
        return vec!["spec.selector: an empty selector matches no pods in policy/v1beta1".into()];
    }
    Vec::new()
}
