//! Rules of deployments, replica sets, daemon sets and controller revisions.

use crate::hooks::check::{IMMUTABLE, Node};
use crate::hooks::{meta, workload};
use api_core::field::Errors;
use api_schema::row::WriteContext;
use serde_json::Value;

pub(super) fn deployment(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    let spec = root.at("spec");
    spec.at("replicas").non_negative(e);
    replicated_template(&spec, e);
    strategy(&spec.at("strategy"), e);
    spec.at("minReadySeconds").non_negative(e);
    spec.at("revisionHistoryLimit").non_negative(e);
    let deadline = spec.at("progressDeadlineSeconds");
    if let Some(seconds) = deadline.int() {
        deadline.non_negative(e);
        if seconds <= spec.at("minReadySeconds").int_or_zero() {
            deadline.invalid("must be greater than minReadySeconds", e);
        }
    }
}

fn replicated_template(spec: &Node<'_, '_>, e: &mut Errors) {
    let (selector, template) = (spec.at("selector"), spec.at("template"));
    if !workload::selector(&selector, "deployment", e) {
        selector.invalid("invalid label selector", e);
        return;
    }
    workload::template_matches(&selector, &template, e);
    workload::endless_template(&template, "ReplicaSet", e);
    workload::read_only_disks(&template, spec.at("replicas").int_or_zero(), e);
}

fn strategy(strategy: &Node<'_, '_>, e: &mut Errors) {
    let rolling = strategy.at("rollingUpdate");
    match strategy.text("type") {
        "Recreate" if rolling.present() => {
            rolling.forbidden("may not be specified when strategy `type` is 'Recreate'", e);
        }
        "Recreate" => {}
        "RollingUpdate" if !rolling.present() => {
            rolling.path_required("this should be defaulted and never be nil", e);
        }
        "RollingUpdate" => {
            let (unavailable, surge) = (rolling.at("maxUnavailable"), rolling.at("maxSurge"));
            workload::int_or_percent(&unavailable, e);
            workload::int_or_percent(&surge, e);
            if workload::int_or_percent_value(&unavailable) == 0 && workload::int_or_percent_value(&surge) == 0 {
                workload::refuse_int_or_percent(&unavailable, "may not be 0 when `maxSurge` is 0", e);
            }
            workload::at_most_all(&unavailable, e);
        }
        _ => e.not_supported(&strategy.path, strategy.value, &["Recreate", "RollingUpdate"]),
    }
}

pub(super) fn deployment_update(context: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    meta::again_on_update(new, old, e);
    if context.subresource == "status" {
        deployment_status(new, old, e);
        return;
    }
    deployment(new, e);
    same_selector(new, old, e);
}

fn deployment_status(new: &Value, old: &Value, e: &mut Errors) {
    let (root, old_root) = (Node::root(new), Node::root(old));
    let (status, old_status) = (root.at("status"), old_root.at("status"));
    counts(
        &status,
        &[
            "observedGeneration",
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
        ],
        e,
    );
    let count = |field| status.at(field).int_or_zero();
    let collisions = status.at("collisionCount");
    collisions.non_negative(e);
    if collisions.int_or_zero() < old_status.at("collisionCount").int_or_zero() {
        collisions.invalid("cannot be decremented", e);
    }
    for field in ["updatedReplicas", "readyReplicas", "availableReplicas"] {
        if count(field) > count("replicas") {
            status.at(field).invalid("cannot be greater than status.replicas", e);
        }
    }
    if count("availableReplicas") > count("readyReplicas") {
        status.at("availableReplicas").invalid("cannot be greater than readyReplicas", e);
    }
}

pub(super) fn counts(status: &Node<'_, '_>, fields: &[&str], e: &mut Errors) {
    for field in fields {
        status.at(field).non_negative(e);
    }
}

/// `spec.selector` may not change.
pub(super) fn same_selector(new: &Value, old: &Value, e: &mut Errors) {
    let root = Node::root(new);
    let spec = root.at("spec");
    let selector = spec.at("selector");
    if *selector.value != old["spec"]["selector"] {
        selector.changed(IMMUTABLE, e);
    }
}

pub(super) fn replica_set(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    let spec = root.at("spec");
    spec.at("replicas").non_negative(e);
    spec.at("minReadySeconds").non_negative(e);
    replicated_template(&spec, e);
}

pub(super) fn replica_set_update(context: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    if context.subresource == "status" {
        meta::again_on_update(new, old, e);
        replica_set_status(new, e);
        return;
    }
    meta::again_on_create(new, e);
    replica_set(new, e);
    meta::again_on_update(new, old, e);
    replica_set(new, e);
    same_selector(new, old, e);
}

/// Also that of a replication controller.
pub(in crate::hooks) fn replica_set_status(new: &Value, e: &mut Errors) {
    let root = Node::root(new);
    let status = root.at("status");
    counts(
        &status,
        &["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"],
        e,
    );
    let count = |field| status.at(field).int_or_zero();
    for field in ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"] {
        if count(field) > count("replicas") {
            status.at(field).invalid("cannot be greater than status.replicas", e);
        }
    }
    if count("availableReplicas") > count("readyReplicas") {
        status.at("availableReplicas").invalid("cannot be greater than readyReplicas", e);
    }
}

pub(super) fn daemon_set(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    let spec = root.at("spec");
    let (selector, template) = (spec.at("selector"), spec.at("template"));
    let mut own = Errors::new();
    crate::hooks::labels::selector(&selector, &mut own);
    if own.is_empty() {
        workload::template_matches(&selector, &template, e);
    }
    e.extend(own);
    if selector.present() && crate::hooks::labels::is_empty_selector(&selector) {
        selector.invalid("empty selector is invalid for daemonset", e);
    }
    workload::endless_template(&template, "DaemonSet", e);
    spec.at("minReadySeconds").non_negative(e);
    daemon_set_strategy(&spec.at("updateStrategy"), e);
    spec.at("revisionHistoryLimit").non_negative(e);
}

fn daemon_set_strategy(strategy: &Node<'_, '_>, e: &mut Errors) {
    let rolling = strategy.at("rollingUpdate");
    match strategy.text("type") {
        "OnDelete" => {}
        "RollingUpdate" if !rolling.present() => rolling.path_required("", e),
        "RollingUpdate" => {
            let (unavailable, surge) = (rolling.at("maxUnavailable"), rolling.at("maxSurge"));
            workload::int_or_percent(&unavailable, e);
            workload::int_or_percent(&surge, e);
            workload::at_most_all(&unavailable, e);
            workload::at_most_all(&surge, e);
            let value = |node| workload::int_or_percent_value(node);
            match (value(&unavailable) != 0, value(&surge) != 0) {
                (true, true) => {
                    workload::refuse_int_or_percent(&surge, "may not be set when maxUnavailable is non-zero", e);
                }
                (false, false) => unavailable.path_required("cannot be 0 when maxSurge is 0", e),
                _ => {}
            }
        }
        _ => e.not_supported(&strategy.path, strategy.value, &["RollingUpdate", "OnDelete"]),
    }
}

pub(super) fn daemon_set_update(context: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    if context.subresource == "status" {
        meta::again_on_update(new, old, e);
        daemon_set_status(new, old, e);
        return;
    }
    meta::again_on_create(new, e);
    daemon_set(new, e);
    meta::again_on_update(new, old, e);
    daemon_set(new, e);
    same_selector(new, old, e);
}

fn daemon_set_status(new: &Value, old: &Value, e: &mut Errors) {
    let (root, old_root) = (Node::root(new), Node::root(old));
    let status = root.at("status");
    let fields = [
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ];
    counts(&status, &fields, e);
    let collisions = status.at("collisionCount");
    if collisions.int_or_zero() < old_root.at("status").at("collisionCount").int_or_zero() {
        collisions.invalid("cannot be decremented", e);
    }
}

pub(super) fn controller_revision(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    let data = root.at("data");
    if !data.present() {
        data.path_required("data is mandatory", e);
    }
    root.at("revision").non_negative(e);
}

pub(super) fn controller_revision_update(_: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    meta::again_on_update(new, old, e);
    meta::again_on_create(new, e);
    controller_revision(new, e);
    let root = Node::root(new);
    if root.get("data") != &old["data"] {
        root.at("data").changed(IMMUTABLE, e);
    }
}
