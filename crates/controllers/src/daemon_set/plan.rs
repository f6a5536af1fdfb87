//! Decides for one DaemonSet: on which nodes to make pods, which pods to delete, its status. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use controller_kit::{owner, placement};
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{
    Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Taint,
    Toleration,
};

use super::surge::{self, Surge};
use crate::deployment::resolve;
use crate::pods;
use crate::revisions::HASH_LABEL;

/// Pods made or deleted in one round.
const BURST_PODS: usize = 250;
const GENERATION_LABEL: &str = "pod-template-generation";
const GENERATION_ANNOTATION: &str = "deprecated.daemonset.template.generation";

/// What to do.
#[derive(Debug, Default)]
pub struct Plan {
    /// Names of nodes that lack a pod.
    pub create: Vec<String>,
    pub delete: Vec<Arc<Pod>>,
    /// Of those to be deleted, which have failed.
    pub failed: Vec<Arc<Pod>>,
    pub status: Option<DaemonSet>,
    pub look_again: Option<TimeDelta>,
}

/// The node that a daemon pod is on, or is meant for.
pub fn node_of(pod: &Pod) -> Option<String> {
    let spec = pods::spec(pod)?;
    if let Some(node) = spec.node_name.clone().filter(|node| !node.is_empty()) {
        return Some(node);
    }
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    let mut fields = required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    fields.find(|field| field.key == "metadata.name").and_then(|field| field.values.as_ref()?.first().cloned())
}

/// Whether the set wants a pod on the node, and whether one that is there may stay.
fn fits(spec: &PodSpec, node: &Node) -> (bool, bool) {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let labels = owner::labels(node);
    let selected = spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|one| one.required_during_scheduling_ignored_during_execution.as_ref());
    let named = spec.node_name.as_deref().is_none_or(|wanted| wanted.is_empty() || wanted == name);
    if !selected || !named || !required.is_none_or(|required| placement::selects(required, name, labels)) {
        return (false, false);
    }
    let mut tolerations = spec.tolerations.clone().unwrap_or_default();
    tolerations.extend(own_tolerations(spec));
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let borne = |effects: &[&str]| {
        let hard = |taint: &&Taint| effects.contains(&taint.effect.as_str());
        taints.iter().filter(hard).all(|taint| placement::is_tolerated(&tolerations, taint))
    };
    (borne(&["NoSchedule", "NoExecute"]), borne(&["NoExecute"]))
}

/// What every daemon pod bears.
fn own_tolerations(spec: &PodSpec) -> Vec<Toleration> {
    let mut keys = vec![
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
    ];
    if spec.host_network == Some(true) {
        keys.push(("network-unavailable", "NoSchedule"));
    }
    let toleration = |(key, effect): (&str, &str)| Toleration {
        key: Some(format!("node.kubernetes.io/{key}")),
        operator: Some("Exists".into()),
        effect: Some(effect.into()),
        ..Toleration::default()
    };
    keys.into_iter().map(toleration).collect()
}

/// The pod of `set` for `node`, made from the revision `hash`.
pub fn new_pod(set: &DaemonSet, node: &str, hash: &str) -> Option<Pod> {
    let template = &set.spec.as_ref()?.template;
    let name = set.metadata.name.as_deref()?;
    let mut pod = pods::from_template(template, set.metadata.namespace.as_deref()?, name, owner::controller_ref(set));
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(HASH_LABEL.into(), hash.to_owned());
    if let Some(generation) = set.metadata.annotations.as_ref().and_then(|all| all.get(GENERATION_ANNOTATION)) {
        labels.insert(GENERATION_LABEL.into(), generation.clone());
    }
    let spec = pod.spec.get_or_insert_default();
    for toleration in own_tolerations(spec) {
        let tolerations = spec.tolerations.get_or_insert_default();
        if !tolerations.contains(&toleration) {
            tolerations.push(toleration);
        }
    }
    let field = NodeSelectorRequirement {
        key: "metadata.name".into(),
        operator: "In".into(),
        values: Some(vec![node.to_owned()]),
    };
    let nodes: &mut NodeAffinity =
        spec.affinity.get_or_insert_with(Affinity::default).node_affinity.get_or_insert_default();
    let required = nodes.required_during_scheduling_ignored_during_execution.get_or_insert_with(NodeSelector::default);
    if required.node_selector_terms.is_empty() {
        required.node_selector_terms.push(NodeSelectorTerm::default());
    }
    for term in &mut required.node_selector_terms {
        term.match_fields = Some(vec![field.clone()]);
    }
    Some(pod)
}

/// Decides for `set` with its `pods` on `nodes`; `hash` is its present revision.
pub fn plan(
    set: &DaemonSet,
    hash: &str,
    pods: &[Arc<Pod>],
    nodes: &[Arc<Node>],
    settled: bool,
    now: DateTime<Utc>,
) -> Plan {
    let mut plan = Plan::default();
    let Some(spec) = set.spec.as_ref() else { return plan };
    let template = spec.template.spec.clone().unwrap_or_default();
    let mut by_node: BTreeMap<String, Vec<Arc<Pod>>> = BTreeMap::new();
    for pod in pods {
        by_node.entry(node_of(pod).unwrap_or_default()).or_default().push(pod.clone());
    }
    let wanted: BTreeMap<String, (bool, bool)> =
        nodes.iter().map(|node| (node.metadata.name.clone().unwrap_or_default(), fits(&template, node))).collect();
    let total = i32::try_from(wanted.values().filter(|(should, _)| *should).count()).unwrap_or(i32::MAX);
    let surge = Surge { most: surge::most(spec, total), hash, min_ready: spec.min_ready_seconds.unwrap_or(0), now };
    for (node, (should, may_stay)) in &wanted {
        let own = by_node.get(node).map(Vec::as_slice).unwrap_or_default();
        visit(node, *should, *may_stay, own, &surge, &mut plan);
    }
    // Pods of nodes that are gone are left to the pod garbage collector.
    let rolls = spec.update_strategy.as_ref().and_then(|one| one.type_.as_deref()) != Some("OnDelete");
    if rolls && plan.create.is_empty() && plan.delete.is_empty() {
        if surge.most > 0 {
            let should = wanted.iter().filter(|(_, (should, _))| *should).map(|(node, _)| node.as_str());
            surge.roll(should, &by_node, &mut plan.create, &mut plan.delete);
        } else {
            roll(set, hash, &wanted, &by_node, now, &mut plan);
        }
    }
    plan.create.truncate(BURST_PODS);
    plan.delete.truncate(BURST_PODS);
    if !settled || set.metadata.deletion_timestamp.is_some() {
        plan.create.clear();
        plan.delete.clear();
        plan.failed.clear();
    }
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    plan.look_again = pods::next_available(pods, min_ready, now);
    plan.status = status(set, hash, &wanted, &by_node, min_ready, now);
    plan
}

fn visit(node: &str, should: bool, may_stay: bool, own: &[Arc<Pod>], surge: &Surge<'_>, plan: &mut Plan) {
    let live: Vec<&Arc<Pod>> = own.iter().filter(|pod| !pods::is_deleting(pod)).collect();
    if !may_stay {
        plan.delete.extend(live.into_iter().cloned());
        return;
    }
    let (ended, mut running): (Vec<&Arc<Pod>>, Vec<&Arc<Pod>>) =
        live.into_iter().partition(|pod| pods::is_terminal(pod));
    plan.failed.extend(ended.iter().filter(|pod| pods::phase(pod) == "Failed").map(|pod| (*pod).clone()));
    plan.delete.extend(ended.into_iter().cloned());
    if running.is_empty() && should && own.is_empty() {
        plan.create.push(node.to_owned());
    }
    if surge.most > 0 {
        plan.delete.extend(surge.excess(&running));
        return;
    }
    if running.len() > 1 {
        running.sort_by_key(|pod| (!pods::is_ready(pod), pod.metadata.creation_timestamp.as_ref().map(|time| time.0)));
        plan.delete.extend(running[1..].iter().map(|pod| (*pod).clone()));
    }
}

/// Deletes pods of earlier revisions, as many as may be unavailable; those that are so already first.
fn roll(
    set: &DaemonSet,
    hash: &str,
    wanted: &BTreeMap<String, (bool, bool)>,
    by_node: &BTreeMap<String, Vec<Arc<Pod>>>,
    now: DateTime<Utc>,
    plan: &mut Plan,
) {
    let Some(spec) = set.spec.as_ref() else { return };
    let should: BTreeSet<&String> = wanted.iter().filter(|(_, (should, _))| *should).map(|(node, _)| node).collect();
    let strategy = spec.update_strategy.as_ref().and_then(|one| one.rolling_update.as_ref());
    let total = i32::try_from(should.len()).unwrap_or(i32::MAX);
    let limit =
        strategy.and_then(|one| one.max_unavailable.as_ref()).map_or(1, |limit| resolve(Some(limit), total, true));
    let limit = usize::try_from(limit.max(1)).unwrap_or(1);
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let mut unavailable = 0;
    let (mut free, mut costly) = (Vec::new(), Vec::new());
    for node in should {
        let own = by_node.get(node).map(Vec::as_slice).unwrap_or_default();
        let live = own.iter().find(|pod| pods::is_active(pod));
        let available = live.is_some_and(|pod| pods::is_available(pod, min_ready, now));
        unavailable += usize::from(!available);
        if let Some(old) = live.filter(|pod| owner::labels(&***pod).get(HASH_LABEL).is_none_or(|have| have != hash)) {
            if available { costly.push(old.clone()) } else { free.push(old.clone()) }
        }
    }
    plan.delete.extend(free);
    plan.delete.extend(costly.into_iter().take(limit.saturating_sub(unavailable)));
}

fn status(
    set: &DaemonSet,
    hash: &str,
    wanted: &BTreeMap<String, (bool, bool)>,
    by_node: &BTreeMap<String, Vec<Arc<Pod>>>,
    min_ready: i32,
    now: DateTime<Utc>,
) -> Option<DaemonSet> {
    let old = set.status.clone().unwrap_or_default();
    let mut new = DaemonSetStatus {
        observed_generation: set.metadata.generation,
        collision_count: old.collision_count,
        conditions: old.conditions.clone(),
        ..DaemonSetStatus::default()
    };
    let (mut updated, mut available) = (0, 0);
    for (node, (should, _)) in wanted {
        let own = by_node.get(node).map(Vec::as_slice).unwrap_or_default();
        new.desired_number_scheduled += i32::from(*should);
        let Some(pod) = own
            .iter()
            .min_by_key(|pod| (pods::is_deleting(pod), pod.metadata.creation_timestamp.as_ref().map(|time| time.0)))
        else {
            continue;
        };
        if !should {
            new.number_misscheduled += 1;
            continue;
        }
        new.current_number_scheduled += 1;
        new.number_ready += i32::from(pods::is_ready(pod));
        available += i32::from(pods::is_available(pod, min_ready, now));
        updated += i32::from(owner::labels(&**pod).get(HASH_LABEL).is_some_and(|have| have == hash));
    }
    let nonzero = |count: i32| (count != 0).then_some(count);
    new.number_available = nonzero(available);
    new.number_unavailable = nonzero(new.desired_number_scheduled - available);
    new.updated_number_scheduled = nonzero(updated);
    (new != old).then(|| DaemonSet { status: Some(new), ..set.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::build::{merge, pod, time};
    use serde_json::{Value, json};

    fn set() -> DaemonSet {
        serde_json::from_value(json!({"metadata": {"name": "agent", "namespace": "n", "uid": "d", "generation": 1},
            "spec": {"selector": {"matchLabels": {"app": "agent"}}, "updateStrategy": {"type": "RollingUpdate"},
            "template": {"metadata": {"labels": {"app": "agent"}}, "spec": {"containers": [{"name": "c"}],
                "nodeSelector": {"os": "linux"}}}}}))
        .unwrap()
    }

    fn node(name: &str, rest: Value) -> Arc<Node> {
        let mut value = json!({"metadata": {"name": name, "labels": {"os": "linux"}}});
        merge(&mut value, rest);
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn daemon(name: &str, node: &str, hash: &str, ready: &str) -> Arc<Pod> {
        pod(
            name,
            json!({"metadata": {"labels": {HASH_LABEL: hash}}, "spec": {"nodeName": node, "containers": []},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}}),
        )
    }

    #[test]
    fn one_pod_on_each_node_that_fits() {
        let taint = |effect: &str| json!({"spec": {"taints": [{"key": "own", "effect": effect}]}});
        let nodes = [
            node("a", json!({})),
            node(
                "cordoned",
                json!({"spec": {"taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]}}),
            ),
            node("other", json!({"metadata": {"labels": {"os": "windows"}}})),
            node("tainted", taint("NoSchedule")),
            node("expelled", taint("NoExecute")),
        ];
        let pods = [
            daemon("stays", "tainted", "h", "True"),
            daemon("goes", "expelled", "h", "True"),
            daemon("wrong", "other", "h", "True"),
        ];
        let plan = plan(&set(), "h", &pods, &nodes, true, time("2024-01-01T00:00:00Z"));
        assert_eq!(plan.create, ["a", "cordoned"]);
        let names: Vec<_> = plan.delete.iter().map(|pod| pod.metadata.name.clone().unwrap()).collect();
        assert_eq!(names, ["goes", "wrong"]);
        let status = plan.status.unwrap().status.unwrap();
        assert_eq!((status.desired_number_scheduled, status.number_misscheduled), (2, 3));
        let made = new_pod(&set(), "a", "h").unwrap();
        assert_eq!(node_of(&made).as_deref(), Some("a"));
        assert_eq!(made.spec.unwrap().tolerations.unwrap().len(), 6);
    }

    #[test]
    fn a_roll_takes_the_broken_and_one_more() {
        let nodes = [node("a", json!({})), node("b", json!({})), node("c", json!({}))];
        let pods = [daemon("a", "a", "old", "True"), daemon("b", "b", "old", "True"), daemon("c", "c", "new", "True")];
        let now = time("2024-01-01T00:00:00Z");
        let step = plan(&set(), "new", &pods, &nodes, true, now);
        assert_eq!(step.delete.len(), 1);
        let pods = [daemon("a", "a", "old", "False"), daemon("b", "b", "old", "True"), daemon("c", "c", "new", "True")];
        let step = plan(&set(), "new", &pods, &nodes, true, now);
        assert_eq!(step.delete.iter().map(|pod| pod.metadata.name.as_deref().unwrap()).collect::<Vec<_>>(), ["a"]);
    }
}
