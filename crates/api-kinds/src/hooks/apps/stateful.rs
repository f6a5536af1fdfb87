//! Rules of stateful sets.

use super::validate::counts;
use crate::hooks::check::Node;
use crate::hooks::{labels, meta, workload};
use api_core::field::Errors;
use api_schema::row::WriteContext;
use serde_json::Value;

/// Fields of the spec that an update may change.
const MUTABLE: [&str; 6] =
    ["replicas", "ordinals", "template", "updateStrategy", "persistentVolumeClaimRetentionPolicy", "minReadySeconds"];

pub(super) fn validate(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    let spec = root.at("spec");
    let management = spec.at("podManagementPolicy");
    match management.str() {
        "OrderedReady" | "Parallel" => {}
        "" => management.path_required("", e),
        _ => management.invalid("must be 'OrderedReady' or 'Parallel'", e),
    }
    strategy(&spec.at("updateStrategy"), e);
    let retention = spec.at("persistentVolumeClaimRetentionPolicy");
    for field in ["whenDeleted", "whenScaled"] {
        retention.at(field).one_of_if_any(&["Retain", "Delete"], e);
    }
    spec.at("replicas").non_negative(e);
    spec.at("minReadySeconds").non_negative(e);
    spec.at("ordinals").at("start").non_negative(e);
    template(&spec, e);
}

fn strategy(strategy: &Node<'_, '_>, e: &mut Errors) {
    let rolling = strategy.at("rollingUpdate");
    match strategy.text("type") {
        "" => strategy.path_required("", e),
        "OnDelete" if rolling.present() => rolling.invalid("only allowed for updateStrategy 'RollingUpdate'", e),
        "OnDelete" => {}
        "RollingUpdate" => rolling.at("partition").non_negative(e),
        _ => strategy.invalid("must be 'RollingUpdate' or 'OnDelete'", e),
    }
}

/// Of the template, upstream checks little; the pods are checked when they are made.
fn template(spec: &Node<'_, '_>, e: &mut Errors) {
    let (selector, template) = (spec.at("selector"), spec.at("template"));
    if workload::selector(&selector, "statefulset", e) {
        workload::template_matches(&selector, &template, e);
        let metadata = template.at("metadata");
        let unnested = Node::new(metadata.value, template.path);
        labels::labels(&unnested.at("labels"), e);
        labels::annotations(&unnested.at("annotations"), e);
    } else {
        selector.invalid("invalid label selector", e);
    }
    workload::always_restarted(&template, "StatefulSet", e);
}

pub(super) fn update(context: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    meta::again_on_update(new, old, e);
    if context.subresource == "status" {
        status(new, old, e);
        return;
    }
    validate(new, e);
    let root = Node::root(new);
    let spec = root.at("spec");
    let fields = |of: &Value| -> Vec<String> { of.as_object().into_iter().flatten().map(|(k, _)| k.clone()).collect() };
    let mut all = fields(spec.value);
    all.extend(fields(&old["spec"]));
    let changed = all.iter().any(|f| !MUTABLE.contains(&f.as_str()) && spec.get(f) != &old["spec"][f.as_str()]);
    if changed {
        let why = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
                   'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        spec.forbidden(why, e);
    }
}

fn status(new: &Value, old: &Value, e: &mut Errors) {
    let (root, old_root) = (Node::root(new), Node::root(old));
    let status = root.at("status");
    let fields = [
        "replicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "observedGeneration",
        "collisionCount",
        "availableReplicas",
    ];
    counts(&status, &fields, e);
    let count = |field| status.at(field).int_or_zero();
    for field in ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"] {
        if count(field) > count("replicas") {
            status.at(field).invalid("cannot be greater than status.replicas", e);
        }
    }
    if count("availableReplicas") > count("readyReplicas") {
        status.at("availableReplicas").invalid("cannot be greater than status.readyReplicas", e);
    }
    if count("collisionCount") < old_root.at("status").at("collisionCount").int_or_zero() {
        status.at("collisionCount").invalid("cannot be decremented", e);
    }
}
