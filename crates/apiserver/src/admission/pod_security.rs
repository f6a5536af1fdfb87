//! Pod Security: pods that violate what their namespace enforces are refused; other violations are warned of.

use super::{Attributes, Context, Operation};
use api_core::ApiError;
use api_core::meta::Meta;
use api_kinds::admission::pod_security::{
    Level, LevelVersion, Policy, describe, evaluate, is_significant_update, reasons, template,
};
use api_kinds::names;
use serde_json::Value;
use std::collections::BTreeMap;
use telemetry::metrics::{self, Error, IntCounterVec, Registry};

const WRITES: [Operation; 2] = [Operation::Create, Operation::Update];
/// Pods of a namespace that are looked at when it begins to enforce.
const PODS_MAX: usize = 3000;

/// Evaluations of pods, counted under upstream's name.
#[derive(Debug, Clone)]
pub struct Evaluations(IntCounterVec);

impl Evaluations {
    /// Registers the metric.
    ///
    /// # Errors
    /// If the registry has a metric of this name.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        let labels =
            ["decision", "mode", "policy_level", "policy_version", "request_operation", "resource", "subresource"];
        let help = "Pods that were held against a level, by mode and outcome.";
        metrics::counter(registry, "pod_security_evaluations_total", help, &labels).map(Self)
    }
}

/// Counts an evaluation of a pod, or of what makes pods.
fn note(context: &Context, a: &Attributes<'_>, mode: &str, level: LevelVersion, allowed: bool) {
    let Some(Evaluations(counter)) = &context.pod_security else { return };
    let level = level.to_string();
    let (level, version) = level.split_once(':').unwrap_or((&level, ""));
    let decision = if allowed { "allow" } else { "deny" };
    let operation = if a.operation == Operation::Create { "create" } else { "update" };
    let resource = if a.resource.resource == names::PODS { "pod" } else { "controller" };
    counter.with_label_values(&[decision, mode, level, version, operation, resource, a.subresource]).inc();
}

/// Checks pods, templates of pods, and the labels of namespaces.
pub fn validate(
    context: &Context,
    a: &Attributes<'_>,
    object: Option<&Value>,
    warnings: &mut Vec<String>,
) -> Result<(), ApiError> {
    let Some(object) = object.filter(|_| WRITES.contains(&a.operation)) else { return Ok(()) };
    let (group, resource) = (a.resource.group.as_str(), a.resource.resource.as_str());
    match (group, resource, a.subresource) {
        ("", "namespaces", "") => namespace(context, a, object, warnings),
        ("", names::PODS, "" | "ephemeralcontainers") => {
            let policy = policy(context, a);
            if policy.is_privileged() {
                note(context, a, "enforce", policy.enforce, true);
                return Ok(());
            }
            if a.old.is_some_and(|old| !is_significant_update(object, old)) {
                return Ok(());
            }
            let found = evaluate(policy.enforce, object);
            note(context, a, "enforce", policy.enforce, found.is_empty());
            if !found.is_empty() {
                let why = format!("violates PodSecurity \"{}\": {}", policy.enforce, describe(&found));
                return Err(a.forbidden(Some(object), &why));
            }
            warn(context, a, policy.warn, object, warnings);
            Ok(())
        }
        (_, _, "") => {
            let Some(template) = template(group, resource, object) else { return Ok(()) };
            warn(context, a, policy(context, a).warn, template, warnings);
            Ok(())
        }
        _ => Ok(()),
    }
}

fn policy(context: &Context, a: &Attributes<'_>) -> Policy {
    let namespace = context.view.shared("", "namespaces", "", a.namespace);
    Policy::of_namespace(namespace.as_deref().unwrap_or(&Value::Null)).0
}

fn warn(context: &Context, a: &Attributes<'_>, level: LevelVersion, pod: &Value, warnings: &mut Vec<String>) {
    let found = evaluate(level, pod);
    if !found.is_empty() {
        note(context, a, "warn", level, false);
        warnings.push(format!("would violate PodSecurity \"{level}\": {}", describe(&found)));
    }
}

fn namespace(
    context: &Context,
    a: &Attributes<'_>,
    namespace: &Value,
    warnings: &mut Vec<String>,
) -> Result<(), ApiError> {
    let (policy, errors) = Policy::of_namespace(namespace);
    let old = a.old.map(Policy::of_namespace);
    // A label that was wrong before does not stand in the way of another change.
    let known = old.as_ref().is_some_and(|(_, before)| *before == errors);
    if !errors.is_empty() && !known {
        return Err(ApiError::invalid(&a.row.kind.group_kind(), namespace.name(), &errors));
    }
    let Some((before, _)) = old else { return Ok(()) };
    // Another version may forbid what the one before allowed, at whichever level.
    let changed = policy.enforce.version != before.enforce.version || policy.enforce.level > before.enforce.level;
    if changed && policy.enforce.level != Level::Privileged {
        warnings.extend(violating_pods(context, namespace.name(), policy.enforce));
    }
    Ok(())
}

/// One warning for each set of reasons, with a pod of each.
fn violating_pods(context: &Context, namespace: &str, level: LevelVersion) -> Vec<String> {
    let mut by_reasons: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for pod in context.view.list("", names::PODS, namespace).iter().take(PODS_MAX) {
        let found = evaluate(level, pod);
        if !found.is_empty() {
            by_reasons.entry(reasons(&found)).or_insert_with(|| (pod.name().to_owned(), 0)).1 += 1;
        }
    }
    if by_reasons.is_empty() {
        return Vec::new();
    }
    let head =
        format!("existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{level}\"");
    let mut lines: Vec<String> = by_reasons
        .into_iter()
        .map(|(reasons, (name, count))| match count {
            1 => format!("{name}: {reasons}"),
            2 => format!("{name} (and 1 other pod): {reasons}"),
            n => format!("{name} (and {} other pods): {reasons}", n - 1),
        })
        .collect();
    lines.sort();
    std::iter::once(head).chain(lines).collect()
}
