//! Decides a node's conditions and taints. Pure.

use chrono::{DateTime, TimeDelta, Utc};
use controller_kit::conditions::{self, Condition};
use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Silence after which a node is Unknown.
const GRACE_SECONDS: i64 = 40;
/// The same for a node that has never posted a condition.
const STARTUP_GRACE_SECONDS: i64 = 60;
/// Conditions that nobody vouches for once the node is silent.
const KUBELET_CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

pub const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// Condition, the status that is bad, and the taint that says so.
const TAINTS: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    conditions::get(node.status.as_ref().and_then(|status| status.conditions.as_ref()), kind)
}

/// `True`, `False` or `Unknown`; a node that has not said counts as Unknown.
pub fn readiness(node: &Node) -> &str {
    condition(node, "Ready").map_or("Unknown", |ready| ready.status.as_str())
}

/// How long `node` may be silent.
pub fn grace(node: &Node) -> TimeDelta {
    TimeDelta::seconds(if condition(node, "Ready").is_some() { GRACE_SECONDS } else { STARTUP_GRACE_SECONDS })
}

/// The node with what is known about it after so much silence, if that differs.
pub fn status(node: &Node, silent_for: TimeDelta, now: DateTime<Utc>) -> Option<Node> {
    if silent_for < grace(node) {
        return None;
    }
    let mut changed = node.clone();
    let list = changed.status.get_or_insert_default().conditions.get_or_insert_default();
    let mut any = false;
    for kind in KUBELET_CONDITIONS {
        let (reason, message, heartbeat) = match conditions::get(Some(list), kind) {
            Some(old) if old.status == "Unknown" => continue,
            Some(old) => ("NodeStatusUnknown", "Kubelet stopped posting node status.", old.last_heartbeat_time.clone()),
            None => (
                "NodeStatusNeverUpdated",
                "Kubelet never posted node status.",
                node.metadata.creation_timestamp.clone(),
            ),
        };
        let mut unknown = NodeCondition::make(kind, "Unknown", reason, message, now);
        unknown.last_heartbeat_time = heartbeat;
        any |= conditions::set(list, unknown);
    }
    any.then_some(changed)
}

/// The node with the taints that its conditions ask for, if these differ. While all nodes are down, something is wrong
/// with the view and not with them: then no pod is driven away.
pub fn taints(node: &Node, all_down: bool, now: DateTime<Utc>) -> Option<Node> {
    let have = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let holds = |kind: &str, bad: &str| condition(node, kind).is_some_and(|condition| condition.status == bad);
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    for (kind, bad, key) in TAINTS.into_iter().filter(|(kind, bad, _)| holds(kind, bad)) {
        wanted.push((key, "NoSchedule"));
        if kind == "Ready" && !all_down {
            wanted.push((key, "NoExecute"));
        }
        debug_assert!(!bad.is_empty());
    }
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    // A node that has never said anything keeps the taint that it was made with.
    let silent = condition(node, "Ready").is_none();
    let ours = |taint: &Taint| {
        let managed = TAINTS.iter().any(|(_, _, key)| *key == taint.key) || taint.key == UNSCHEDULABLE;
        let hard = taint.effect == "NoSchedule" || (taint.effect == "NoExecute" && is_readiness(&taint.key));
        managed && hard && !(silent && is_readiness(&taint.key))
    };
    let mut new: Vec<Taint> = have
        .iter()
        .filter(|taint| !ours(taint) || wanted.contains(&(taint.key.as_str(), taint.effect.as_str())))
        .cloned()
        .collect();
    for (key, effect) in wanted {
        if !new.iter().any(|taint| taint.key == key && taint.effect == effect) {
            new.push(Taint { key: key.into(), effect: effect.into(), time_added: Some(Time(now)), value: None });
        }
    }
    if new == have {
        return None;
    }
    let mut changed = node.clone();
    changed.spec.get_or_insert_default().taints = (!new.is_empty()).then_some(new);
    Some(changed)
}

fn is_readiness(key: &str) -> bool {
    key == NOT_READY || key == UNREACHABLE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::build::time;
    use serde_json::json;

    fn node(ready: &str) -> Node {
        serde_json::from_value(json!({"metadata": {"name": "a"},
            "spec": {"taints": [{"key": NOT_READY, "effect": "NoSchedule"}, {"key": "own", "effect": "NoSchedule"}]},
            "status": {"conditions": [{"type": "Ready", "status": ready, "lastHeartbeatTime": "2024-01-01T00:00:00Z"}]}}))
        .unwrap()
    }

    fn listed(node: Option<Node>) -> Vec<String> {
        let taints = node.and_then(|node| node.spec.unwrap().taints).unwrap_or_default();
        taints.iter().map(|taint| format!("{}:{}", taint.key.rsplit('/').next().unwrap(), taint.effect)).collect()
    }

    #[test]
    fn silence_makes_conditions_unknown_once() {
        let now = time("2024-01-01T00:01:00Z");
        assert!(status(&node("True"), TimeDelta::seconds(39), now).is_none());
        let changed = status(&node("True"), TimeDelta::seconds(40), now).unwrap();
        let said = condition(&changed, "Ready").unwrap();
        assert_eq!((said.status.as_str(), said.reason.as_deref()), ("Unknown", Some("NodeStatusUnknown")));
        let never = condition(&changed, "DiskPressure").unwrap();
        assert_eq!(never.reason.as_deref(), Some("NodeStatusNeverUpdated"));
        assert!(status(&changed, TimeDelta::seconds(99), now).is_none());
    }

    #[test]
    fn taints_follow_conditions() {
        let now = time("2024-01-01T00:01:00Z");
        assert_eq!(listed(taints(&node("True"), false, now)), ["own:NoSchedule"]);
        let unknown = taints(&node("Unknown"), false, now);
        assert_eq!(listed(unknown), ["own:NoSchedule", "unreachable:NoSchedule", "unreachable:NoExecute"]);
        let all = taints(&node("False"), true, now);
        assert!(all.is_none(), "not-ready:NoSchedule is there, and nobody is driven away");
        let mut fresh = node("True");
        fresh.status = None;
        assert!(taints(&fresh, true, now).is_none(), "a node that has not spoken keeps its taint");
        fresh.spec.as_mut().unwrap().unschedulable = Some(true);
        assert_eq!(
            listed(taints(&fresh, true, now)),
            ["not-ready:NoSchedule", "own:NoSchedule", "unschedulable:NoSchedule"]
        );
    }
}
