//! Rules of horizontal pod autoscalers, in v2.

use crate::hooks::check::{Node, POSITIVE};
use crate::hooks::core::resources;
use crate::hooks::meta;
use api_core::field::Errors;
use api_core::names;
use api_schema::row::WriteContext;
use serde_json::Value;

/// Longest window that a controller looks back, in seconds.
const WINDOW_S_MAX: i64 = 3600;
/// Longest period of a scaling policy, in seconds.
const PERIOD_S_MAX: i64 = 1800;

/// Types of metrics with the field that holds each.
const METRICS: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

pub(super) fn create(object: &Value, e: &mut Errors) {
    autoscaler(object, 1, e);
}

fn autoscaler(object: &Value, lowest: i64, e: &mut Errors) {
    let root = Node::root(object);
    let spec = root.at("spec");
    let (min, max) = (spec.at("minReplicas"), spec.at("maxReplicas"));
    if min.int().is_some_and(|n| n < lowest) {
        min.invalid(&format!("must be greater than or equal to {lowest}"), e);
    }
    if max.int_or_zero() < 1 {
        max.invalid(POSITIVE, e);
    }
    if min.int().is_some_and(|n| max.int_or_zero() < n) {
        max.invalid("must be greater than or equal to `minReplicas`", e);
    }
    target_reference(&spec.at("scaleTargetRef"), e);
    let metrics = spec.at("metrics");
    metrics.items().for_each(|m| metric(&m, e));
    let from_elsewhere = metrics.items().any(|m| matches!(m.text("type"), "Object" | "External"));
    if min.int() == Some(0) && !from_elsewhere {
        metrics.forbidden("must specify at least one Object or External metric to support scaling to zero replicas", e);
    }
    let behavior = spec.at("behavior");
    for direction in ["scaleUp", "scaleDown"] {
        let rules = behavior.at(direction);
        if rules.present() {
            scaling_rules(&rules, e);
        }
    }
}

fn target_reference(reference: &Node<'_, '_>, e: &mut Errors) {
    reference.at("kind").required_text(names::is_path_segment, e);
    reference.at("name").required_text(names::is_path_segment, e);
}

fn metric(metric: &Node<'_, '_>, e: &mut Errors) {
    let kind = metric.at("type");
    kind.required_because("must specify a metric source type", e);
    let known = METRICS.map(|(name, _)| name);
    if !known.contains(&kind.str()) {
        kind.not_supported(&known, e);
    }
    let present: Vec<&str> = METRICS.map(|(_, field)| field).into_iter().filter(|f| metric.has(f)).collect();
    // Only the first that upstream looks at is checked.
    let order = ["object", "external", "pods", "resource", "containerResource"];
    if let Some(first) = order.into_iter().find(|f| present.contains(f)) {
        source(&metric.at(first), first, e);
    }
    let expected = METRICS.iter().find(|(name, _)| *name == kind.str()).map(|(_, field)| *field);
    match expected {
        Some(field) if !metric.has(field) => {
            metric.at(field).path_required("must populate information for the given metric source", e);
        }
        Some(_) => {}
        None => kind.not_supported(&known, e),
    }
    if present.len() != 1 {
        for field in present.into_iter().filter(|f| Some(*f) != expected) {
            metric.at(field).forbidden("must populate the given metric source only", e);
        }
    }
}

fn source(source: &Node<'_, '_>, kind: &str, e: &mut Errors) {
    let target = source.at("target");
    if kind == "object" {
        target_reference(&source.at("describedObject"), e);
    }
    if kind == "containerResource" {
        let name = source.at("name");
        if name.required_because("must specify a resource name", e) {
            resources::container_name(name.str(), &name.path, e);
        }
        let container = source.at("container");
        if container.required_because("must specify a container", e) {
            container.text_is(names::is_dns1123_label, e);
        }
    } else if kind == "resource" {
        source.at("name").required_because("must specify a resource name", e);
    } else {
        let metric = source.at("metric");
        let name = metric.at("name");
        if name.required_because("must specify a metric name", e) {
            name.text_is(names::is_path_segment, e);
        }
    }
    metric_target(&target, e);
    let (value, average, utilization) =
        (target.at("value"), target.at("averageValue"), target.at("averageUtilization"));
    match kind {
        "pods" => {
            if !average.present() {
                average.path_required("must specify a positive target averageValue", e);
            }
        }
        "resource" | "containerResource" => match (utilization.present(), average.present()) {
            (false, false) => {
                let why = "must set either a target raw value or a target utilization";
                utilization.path_required(why, e);
            }
            (true, true) => {
                average.forbidden("may not set both a target raw value and a target utilization", e);
            }
            _ => {}
        },
        "object" => {
            if !value.present() && !average.present() {
                average.path_required("must set either a target value or averageValue", e);
            }
        }
        _ => match (value.present(), average.present()) {
            (false, false) => {
                let why = "must set either a target value for metric or a per-pod target";
                average.path_required(why, e);
            }
            (true, true) => {
                value.forbidden("may not set both a target value for metric and a per-pod target", e);
            }
            _ => {}
        },
    }
}

fn metric_target(target: &Node<'_, '_>, e: &mut Errors) {
    let kind = target.at("type");
    kind.required_because("must specify a metric target type", e);
    if !["Utilization", "Value", "AverageValue"].contains(&kind.str()) {
        kind.invalid("must be either Utilization, Value, or AverageValue", e);
    }
    for field in ["value", "averageValue"] {
        let at = target.at(field);
        if at.quantity().is_some_and(|q| q.sign() <= 0) {
            at.invalid("must be positive", e);
        }
    }
    let utilization = target.at("averageUtilization");
    if utilization.int().is_some_and(|n| n < 1) {
        utilization.invalid(POSITIVE, e);
    }
}

fn scaling_rules(rules: &Node<'_, '_>, e: &mut Errors) {
    let window = rules.at("stabilizationWindowSeconds");
    match window.int() {
        Some(seconds) if seconds < 0 => window.invalid("must be greater than or equal to zero", e),
        Some(seconds) if seconds > WINDOW_S_MAX => {
            window.invalid(&format!("must be less than or equal to {WINDOW_S_MAX}"), e);
        }
        _ => {}
    }
    rules.at("selectPolicy").one_of_if_any(&["Disabled", "Max", "Min"], e);
    let policies = rules.at("policies");
    policies.required_because("must specify at least one Policy", e);
    for policy in policies.items() {
        policy.at("type").one_of(&["Percent", "Pods"], e);
        let (value, period) = (policy.at("value"), policy.at("periodSeconds"));
        if value.int_or_zero() <= 0 {
            value.invalid("must be greater than zero", e);
        }
        match period.int_or_zero() {
            seconds if seconds <= 0 => period.invalid("must be greater than zero", e),
            seconds if seconds > PERIOD_S_MAX => {
                period.invalid(&format!("must be less than or equal to {PERIOD_S_MAX}"), e);
            }
            _ => {}
        }
    }
}

pub(super) fn update(context: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    meta::again_on_update(new, old, e);
    if context.subresource == "status" {
        let root = Node::root(new);
        let status = root.at("status");
        status.at("currentReplicas").non_negative(e);
        status.at("desiredReplicas").non_negative(e);
        return;
    }
    // Who runs at zero already, since a feature allowed it, may go on doing so.
    let lowest = if old["spec"]["minReplicas"] == 0 { 0 } else { 1 };
    autoscaler(new, lowest, e);
}
