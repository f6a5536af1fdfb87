//! What a pod counts for in quotas: what its containers ask for together, and what the scopes say of it.

use super::{Amounts, add, read};
use crate::admission::{items, text};
use crate::hooks::{is_extended_resource, is_native_resource, qos_class};
use api_core::quantity::Quantity;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Amounts of which a container must say how much it wants, if a quota limits them.
const MUST_BE_GIVEN: [&str; 6] = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

/// What scopes ask about a pod.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scopes {
    terminating: bool,
    best_effort: bool,
    crosses_namespaces: bool,
    priority_class: String,
}

impl Scopes {
    pub(super) fn of(pod: &Value) -> Self {
        let spec = &pod["spec"];
        Self {
            terminating: spec["activeDeadlineSeconds"].as_i64().is_some_and(|s| s >= 0),
            best_effort: qos_class(spec) == "BestEffort",
            crosses_namespaces: affinity_terms(&spec["affinity"])
                .any(|term| items(term, "namespaces").next().is_some() || !term["namespaceSelector"].is_null()),
            priority_class: text(spec, "priorityClassName").to_owned(),
        }
    }

    /// Whether one condition of a quota holds.
    pub(super) fn meet(&self, scope: &str, operator: &str, values: &[&str]) -> bool {
        match scope {
            "Terminating" => self.terminating,
            "NotTerminating" => !self.terminating,
            "BestEffort" => self.best_effort,
            "NotBestEffort" => !self.best_effort,
            "CrossNamespacePodAffinity" => self.crosses_namespaces,
            "PriorityClass" => {
                let class = self.priority_class.as_str();
                match operator {
                    "Exists" => !class.is_empty(),
                    "DoesNotExist" => class.is_empty(),
                    "In" => !class.is_empty() && values.contains(&class),
                    "NotIn" => class.is_empty() || !values.contains(&class),
                    _ => false,
                }
            }
            _ => false,
        }
    }
}

/// All terms that choose pods to be near to, or away from.
fn affinity_terms(affinity: &Value) -> impl Iterator<Item = &Value> {
    ["podAffinity", "podAntiAffinity"].into_iter().flat_map(|side| {
        let side = &affinity[side];
        let required = items(side, "requiredDuringSchedulingIgnoredDuringExecution");
        let preferred = items(side, "preferredDuringSchedulingIgnoredDuringExecution");
        required.chain(preferred.map(|weighted| &weighted["podAffinityTerm"]))
    })
}

/// Whether pods count for what a quota calls `name`.
pub(super) fn concerns(name: &str) -> bool {
    let bare = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits.")).unwrap_or(name);
    let huge = name.strip_prefix("requests.").unwrap_or(name).starts_with("hugepages-");
    name == super::PODS
        || matches!(bare, "cpu" | "memory" | "ephemeral-storage")
        || huge
        || (name.starts_with("requests.") && !is_native_resource(name))
}

/// What a pod that runs counts for.
pub(super) fn usage(pod: &Value) -> Amounts {
    let mut usage = names(&total(pod, "requests"), &total(pod, "limits"));
    usage.insert(super::PODS.into(), Quantity::from_int(1));
    usage
}

/// The amounts by the names that quotas have for them.
fn names(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut named = Amounts::new();
    for (name, amount) in requests {
        let compute = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage");
        if compute || name.starts_with("hugepages-") {
            named.insert(name.clone(), *amount);
        }
        if compute || name.starts_with("hugepages-") || is_extended_resource(name) {
            named.insert(format!("requests.{name}"), *amount);
        }
    }
    let compute = limits.iter().filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage"));
    named.extend(compute.map(|(name, amount)| (format!("limits.{name}"), *amount)));
    named
}

/// What a pod asks for, with the overhead.
fn total(pod: &Value, field: &str) -> Amounts {
    let mut together = peak(pod, field);
    for (name, amount) in read(&pod["spec"]["overhead"]) {
        let limited = together.get(&name).is_some_and(|q| !q.is_zero());
        if field == "requests" || limited {
            add(&mut together, &name, amount);
        }
    }
    together
}

/// What all containers of a pod ask for together or, if that is more, what its initialisation needs at a time. Init
/// containers that go on running count with the containers. `field` is `requests` or `limits`.
pub(crate) fn peak(pod: &Value, field: &str) -> Amounts {
    let spec = &pod["spec"];
    let of = |container: &Value| read(&container["resources"][field]);
    let mut together = Amounts::new();
    for container in items(spec, "containers") {
        of(container).iter().for_each(|(name, amount)| add(&mut together, name, *amount));
    }
    let (mut staying, mut peak) = (Amounts::new(), Amounts::new());
    for container in items(spec, "initContainers") {
        let mut now = of(container);
        if text(container, "restartPolicy") == "Always" {
            for (name, amount) in &now {
                add(&mut together, name, *amount);
                add(&mut staying, name, *amount);
            }
            now.clone_from(&staying);
        } else {
            staying.iter().for_each(|(name, amount)| add(&mut now, name, *amount));
        }
        raise(&mut peak, now);
    }
    raise(&mut together, peak);
    together
}

fn raise(most: &mut Amounts, to: Amounts) {
    for (name, amount) in to {
        if most.get(&name).is_none_or(|have| amount > *have) {
            most.insert(name, amount);
        }
    }
}

/// When a pod that is being deleted counts as gone, though it may still be stored (Unix seconds).
pub(super) fn runs_until(pod: &Value) -> Option<i64> {
    let meta = &pod["metadata"];
    let at = api_core::time::parse_unix_s(meta["deletionTimestamp"].as_str()?)?;
    Some(at.saturating_add(meta["deletionGracePeriodSeconds"].as_i64()?))
}

/// What a pod's containers must say but do not, because of these limits: `must specify limits.cpu for: a,b; ...`.
pub(super) fn missing<'n>(pod: &Value, limited: impl Iterator<Item = &'n str>) -> Option<String> {
    let needed: BTreeSet<&str> = limited.filter(|name| MUST_BE_GIVEN.contains(name)).collect();
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for container in ["containers", "initContainers"].into_iter().flat_map(|list| items(&pod["spec"], list)) {
        let given = names(&read(&container["resources"]["requests"]), &read(&container["resources"]["limits"]));
        for name in needed.iter().filter(|name| !given.contains_key(**name)) {
            missing.entry(name).or_default().insert(text(container, "name"));
        }
    }
    let words =
        missing.iter().map(|(name, of)| format!("{name} for: {}", of.iter().copied().collect::<Vec<_>>().join(",")));
    let words: Vec<String> = words.collect();
    (!words.is_empty()).then(|| format!("must specify {}", words.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_may_be_given_all_the_time_there_is() {
        let deleted = |grace: i64| {
            runs_until(&json!({"metadata": {
                "deletionTimestamp": "1970-01-01T00:00:10Z", "deletionGracePeriodSeconds": grace}}))
        };
        assert_eq!((deleted(30), deleted(i64::MAX)), (Some(40), Some(i64::MAX)));
    }
}
