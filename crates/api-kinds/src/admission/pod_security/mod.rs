//! The Pod Security Standards: which level a namespace asks for, and what in a pod violates it.

mod checks;
mod policy;

pub use policy::{Level, LevelVersion, Policy, Version};

use serde_json::Value;

/// What a pod violates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    reason: String,
    detail: String,
}

/// What a pod (or a pod template) violates of a level; empty if it may be.
pub fn evaluate(level: LevelVersion, pod: &Value) -> Vec<Violation> {
    if level.level == Level::Privileged {
        return Vec::new();
    }
    let restricted = level.level == Level::Restricted;
    let version = level.version.minor();
    let is_replaced = |check: &checks::Check| check.replaced_since.is_some_and(|since| since <= version);
    let wanted = |check: &&checks::Check| match check.level {
        Level::Restricted => restricted,
        _ => !(restricted && is_replaced(check)),
    };
    let (baseline, more): (Vec<_>, Vec<_>) =
        checks::ALL.iter().filter(wanted).partition(|c| c.level == Level::Baseline);
    let due = baseline.into_iter().chain(more).filter(|c| c.since <= version);
    due.filter_map(|check| (check.find)(pod, version)).collect()
}

/// Violations as the API words them.
pub fn describe(violations: &[Violation]) -> String {
    let one = |v: &Violation| {
        if v.detail.is_empty() { v.reason.clone() } else { format!("{} ({})", v.reason, v.detail) }
    };
    violations.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Reasons alone, as a warning about many pods gives them.
pub fn reasons(violations: &[Violation]) -> String {
    violations.iter().map(|v| v.reason.as_str()).collect::<Vec<_>>().join(", ")
}

/// The pod template in an object of a kind that makes pods; `None` for other kinds.
pub fn template<'a>(group: &str, resource: &str, object: &'a Value) -> Option<&'a Value> {
    let pointer = match (group, resource) {
        ("", "podtemplates") => "/template",
        ("", "replicationcontrollers") | ("batch", "jobs") => "/spec/template",
        ("apps", "deployments" | "replicasets" | "statefulsets" | "daemonsets") => "/spec/template",
        ("batch", "cronjobs") => "/spec/jobTemplate/spec/template",
        _ => return None,
    };
    object.pointer(pointer)
}

/// Whether an update of a pod changes something that a level may forbid: images, or which containers there are. Nothing
/// else that a level looks at can change in a pod.
pub fn is_significant_update(new: &Value, old: &Value) -> bool {
    let list = |pod: &'_ Value, field: &str| pod["spec"][field].as_array().cloned().unwrap_or_default();
    let image = |container: &Value| container["image"].as_str().unwrap_or("").to_owned();
    let changes = |field: &str| {
        let (new, old) = (list(new, field), list(old, field));
        new.len() != old.len() || new.iter().map(image).ne(old.iter().map(image))
    };
    let debugged = || {
        let old = list(old, "ephemeralContainers");
        let is_known = |c: &Value| old.iter().find(|o| o["name"] == c["name"]).is_some_and(|o| image(o) == image(c));
        !list(new, "ephemeralContainers").iter().all(is_known)
    };
    changes("containers") || changes("initContainers") || debugged()
}

#[cfg(test)]
mod tests;
