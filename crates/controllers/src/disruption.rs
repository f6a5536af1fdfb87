//! Disruption budgets: how many pods may be evicted now, so that enough stay.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use controller_kit::{Context, Controller, Error, Handle, Key, Next, Row, Runner, Writer, owner};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::deployment::resolve;
use crate::pods;

/// An eviction that was allowed but has not shown after this is taken as not done.
const EVICTION_TIMEOUT_SECONDS: i64 = 120;

pub(crate) static ROW: Row = Row {
    name: "disruption",
    account: "disruption-controller",
    inputs: &["PodDisruptionBudget", "Pod", "ReplicaSet", "Deployment", "StatefulSet", "ReplicationController"],
    outputs: &["PodDisruptionBudget/status"],
    workers: 2,
};

pub(crate) async fn start(context: Context) {
    let (budgets, pods) = (context.informer::<PodDisruptionBudget>(), context.informer::<Pod>());
    let scales = Scales {
        sets: context.informer(),
        deployments: context.informer(),
        stateful: context.informer(),
        controllers: context.informer(),
    };
    let store = budgets.store().clone();
    let by_pod = move |pod: &Pod| {
        let of_namespace = store.list_namespace(pod.metadata.namespace.as_deref().unwrap_or_default());
        of_namespace.iter().filter(|budget| chooses(budget, pod)).map(|budget| Key::of(&**budget)).collect()
    };
    let store = budgets.store().clone();
    let resized = move |old: Option<&Deployment>, new: Option<&Deployment>| {
        let size = |one: &Deployment| one.spec.as_ref().and_then(|spec| spec.replicas);
        let Some(one) = new.filter(|new| old.and_then(size) != size(new)) else { return Vec::new() };
        let of_namespace = store.list_namespace(one.metadata.namespace.as_deref().unwrap_or_default());
        of_namespace.iter().map(|budget| Key::of(&**budget)).collect()
    };
    let runner = Runner::new(&context)
        .primary(&budgets)
        .watch(&pods, by_pod)
        .watch_change(&scales.deployments, resized)
        .reads(&scales.sets)
        .reads(&scales.stateful)
        .reads(&scales.controllers);
    let writer = context.writer();
    runner.run(Driver { context, writer, budgets, pods, scales }).await;
}

fn chooses(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    owner::matches(owner::selector(selector).ok().flatten().as_ref(), owner::labels(pod))
}

/// Where the wanted number of a pod's controller is found.
struct Scales {
    sets: Handle<ReplicaSet>,
    deployments: Handle<Deployment>,
    stateful: Handle<StatefulSet>,
    controllers: Handle<ReplicationController>,
}

impl Scales {
    /// The uid of the controller that decides about the pod, and how many it wants.
    fn of(&self, pod: &Pod) -> Option<(String, i32)> {
        let (namespace, owner) = (pod.metadata.namespace.as_deref()?, owner::controller_of(pod)?);
        match owner.kind.as_str() {
            "ReplicaSet" => {
                let set = self.sets.store().find(namespace, &owner.name)?;
                let parent = owner::controller_of(&*set).filter(|owner| owner.kind == "Deployment");
                match parent.and_then(|parent| self.deployments.store().find(namespace, &parent.name)) {
                    Some(parent) => Some((parent.metadata.uid.clone()?, parent.spec.as_ref()?.replicas.unwrap_or(1))),
                    None => Some((set.metadata.uid.clone()?, set.spec.as_ref()?.replicas.unwrap_or(1))),
                }
            }
            "StatefulSet" => {
                let set = self.stateful.store().find(namespace, &owner.name)?;
                Some((set.metadata.uid.clone()?, set.spec.as_ref()?.replicas.unwrap_or(1)))
            }
            "ReplicationController" => {
                let set = self.controllers.store().find(namespace, &owner.name)?;
                Some((set.metadata.uid.clone()?, set.spec.as_ref()?.replicas.unwrap_or(1)))
            }
            _ => None,
        }
    }
}

struct Driver {
    context: Context,
    writer: Writer,
    budgets: Handle<PodDisruptionBudget>,
    pods: Handle<Pod>,
    scales: Scales,
}

impl Controller for Driver {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(budget) = self.budgets.store().get(key) else { return Ok(Next::Done) };
        let mut chosen = self.pods.store().list_namespace(&key.namespace);
        chosen.retain(|pod| chooses(&budget, pod) && !pods::is_terminal(pod));
        let scales: BTreeMap<String, i32> = chosen.iter().filter_map(|pod| self.scales.of(pod)).collect();
        let (status, again) = plan(&budget, &chosen, scales.values().sum(), self.context.now());
        if Some(&status) != budget.status.as_ref() {
            let changed = PodDisruptionBudget { status: Some(status), ..budget.as_ref().clone() };
            self.writer.replace_status(&changed).await?;
        }
        Ok(again.and_then(|left| left.to_std().ok()).map_or(Next::Done, Next::After))
    }
}

/// The budget's status, for the `chosen` pods of which their controllers want `scale`.
fn plan(
    budget: &PodDisruptionBudget,
    chosen: &[Arc<Pod>],
    scale: i32,
    now: DateTime<Utc>,
) -> (PodDisruptionBudgetStatus, Option<TimeDelta>) {
    let spec = budget.spec.clone().unwrap_or_default();
    let old = budget.status.clone().unwrap_or_default();
    let present = i32::try_from(chosen.len()).unwrap_or(i32::MAX);
    let (expected, desired) = match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => (scale, (scale - resolve(Some(most), scale, true)).max(0)),
        (None, Some(IntOrString::Int(least))) => (present, *least),
        (None, Some(least)) => (scale, resolve(Some(least), scale, true)),
        (None, None) => (present, 0),
    };
    // Evictions that were allowed and may not have shown yet.
    let names: BTreeSet<&str> =
        chosen.iter().filter(|pod| !pods::is_deleting(pod)).filter_map(|pod| pod.metadata.name.as_deref()).collect();
    let end = |at: &Time| at.0 + TimeDelta::seconds(EVICTION_TIMEOUT_SECONDS);
    let mut disrupted = old.disrupted_pods.clone().unwrap_or_default();
    disrupted.retain(|name, at| names.contains(name.as_str()) && end(at) > now);
    let again = disrupted.values().map(|at| end(at) - now).min();
    let healthy = |pod: &&Arc<Pod>| {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        pods::is_ready(pod) && !pods::is_deleting(pod) && !disrupted.contains_key(name)
    };
    let current = i32::try_from(chosen.iter().filter(healthy).count()).unwrap_or(i32::MAX);
    let allowed = if expected > 0 { (current - desired).max(0) } else { 0 };
    let mut new = PodDisruptionBudgetStatus {
        current_healthy: current,
        desired_healthy: desired,
        expected_pods: expected,
        disruptions_allowed: allowed,
        disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
        observed_generation: budget.metadata.generation,
        conditions: old.conditions,
    };
    tell(&mut new, now);
    (new, again)
}

fn tell(status: &mut PodDisruptionBudgetStatus, now: DateTime<Utc>) {
    let (word, reason) =
        if status.disruptions_allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let list = status.conditions.get_or_insert_default();
    let old = list.iter().position(|one| one.type_ == "DisruptionAllowed");
    let since = old.filter(|at| list[*at].status == word).map(|at| list[at].last_transition_time.clone());
    let condition = Condition {
        type_: "DisruptionAllowed".into(),
        status: word.into(),
        reason: reason.into(),
        message: String::new(),
        last_transition_time: since.unwrap_or(Time(now)),
        observed_generation: status.observed_generation,
    };
    match old {
        Some(at) => list[at] = condition,
        None => list.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::build::{ready, time};
    use serde_json::{Value, json};

    fn allowed(spec: Value, count: usize, scale: i32) -> (i32, i32, i32) {
        let budget: PodDisruptionBudget =
            serde_json::from_value(json!({"metadata": {"generation": 1}, "spec": spec})).unwrap();
        let pods: Vec<Arc<Pod>> = (0..count).map(|n| ready(&format!("p{n}"), "2024-01-01T00:00:00Z")).collect();
        let (status, _) = plan(&budget, &pods, scale, time("2024-01-01T00:01:00Z"));
        (status.expected_pods, status.desired_healthy, status.disruptions_allowed)
    }

    #[test]
    fn budgets_allow_what_is_left_over() {
        assert_eq!(allowed(json!({"minAvailable": 2}), 3, 3), (3, 2, 1));
        assert_eq!(allowed(json!({"minAvailable": "50%"}), 3, 3), (3, 2, 1));
        assert_eq!(allowed(json!({"maxUnavailable": 1}), 3, 3), (3, 2, 1));
        assert_eq!(allowed(json!({"maxUnavailable": 1}), 2, 3), (3, 2, 0));
        assert_eq!(allowed(json!({"maxUnavailable": "100%"}), 0, 0), (0, 0, 0));
    }

    #[test]
    fn an_allowed_eviction_counts_at_once_and_not_for_ever() {
        let budget = |at: &str| -> PodDisruptionBudget {
            serde_json::from_value(json!({"spec": {"minAvailable": 1}, "status": {"disruptedPods": {"a": at},
                "currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0}}))
            .unwrap()
        };
        let pods = [ready("a", "2024-01-01T00:00:00Z"), ready("b", "2024-01-01T00:00:00Z")];
        let now = time("2024-01-01T00:10:00Z");
        let (fresh, again) = plan(&budget("2024-01-01T00:09:00Z"), &pods, 2, now);
        assert_eq!((fresh.disruptions_allowed, again), (0, Some(TimeDelta::seconds(60))));
        let (stale, again) = plan(&budget("2024-01-01T00:07:00Z"), &pods, 2, now);
        assert_eq!((stale.disruptions_allowed, again), (1, None));
    }
}
