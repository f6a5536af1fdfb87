//! What controllers ask of pods: is it active, ready, available; a pod from a template; which to delete first.

use std::cmp::Ordering;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use controller_kit::conditions;
use k8s_openapi::api::core::v1::{Pod, PodSpec, PodStatus, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// The longest prefix of a generated name: 63 characters less the random end.
const GENERATE_NAME_MAX: usize = 58;

pub fn spec(pod: &Pod) -> Option<&PodSpec> {
    pod.spec.as_ref()
}

pub fn status(pod: &Pod) -> Option<&PodStatus> {
    pod.status.as_ref()
}

pub fn phase(pod: &Pod) -> &str {
    status(pod).and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// The node that the pod is bound to, or an empty string.
pub fn node_name(pod: &Pod) -> &str {
    spec(pod).and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

/// It has ended, one way or the other.
pub fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// It has been asked to go away.
pub fn is_deleting(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// It counts towards what a controller wants.
pub fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && !is_deleting(pod)
}

pub fn is_ready(pod: &Pod) -> bool {
    conditions::is_true(status(pod).and_then(|status| status.conditions.as_ref()), "Ready")
}

fn ready_since(pod: &Pod) -> Option<DateTime<Utc>> {
    let condition = conditions::get(status(pod)?.conditions.as_ref(), "Ready")?;
    (condition.status == "True").then(|| condition.last_transition_time.as_ref().map(|time| time.0))?
}

/// Time until a ready pod has been so for `min_ready_seconds`: zero when it is available, `None` when not ready.
pub fn available_in(pod: &Pod, min_ready_seconds: i32, now: DateTime<Utc>) -> Option<TimeDelta> {
    if !is_ready(pod) {
        return None;
    }
    if min_ready_seconds <= 0 {
        return Some(TimeDelta::zero());
    }
    let left = ready_since(pod)? + TimeDelta::seconds(i64::from(min_ready_seconds)) - now;
    Some(left.max(TimeDelta::zero()))
}

pub fn is_available(pod: &Pod, min_ready_seconds: i32, now: DateTime<Utc>) -> bool {
    available_in(pod, min_ready_seconds, now).is_some_and(|left| left.is_zero())
}

/// The earliest time at which one of `pods` becomes available by waiting alone.
pub fn next_available<'a>(
    pods: impl IntoIterator<Item = &'a Arc<Pod>>,
    min_ready_seconds: i32,
    now: DateTime<Utc>,
) -> Option<TimeDelta> {
    pods.into_iter()
        .filter_map(|pod| available_in(pod, min_ready_seconds, now))
        .filter(|left| *left > TimeDelta::zero())
        .min()
}

/// A pod as `template` wants it, named after `base` by the server and controlled by `owner`.
pub fn from_template(template: &PodTemplateSpec, namespace: &str, base: &str, owner: OwnerReference) -> Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(generate_name(base)),
            namespace: Some(namespace.to_owned()),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// The prefix from which the server makes a name for a child of `base`.
pub fn generate_name(base: &str) -> String {
    let base = if base.len() + 1 > GENERATE_NAME_MAX { &base[..GENERATE_NAME_MAX - 1] } else { base };
    format!("{base}-")
}

/// Sorts `pods` so that those which are the least loss come first; `crowd` tells how many related pods are on the
/// pod's node. The order is upstream's: unassigned, pending, not ready, cheap by annotation, crowded, young, restarting.
pub fn sort_for_deletion(pods: &mut [Arc<Pod>], crowd: impl Fn(&Pod) -> usize, now: DateTime<Utc>) {
    pods.sort_by(|a, b| deletion_order(a, b, &crowd, now));
}

fn deletion_order(a: &Pod, b: &Pod, crowd: &impl Fn(&Pod) -> usize, now: DateTime<Utc>) -> Ordering {
    let assigned = |pod| !node_name(pod).is_empty();
    let progress = |pod| match phase(pod) {
        "Running" => 2,
        "Unknown" => 1,
        _ => 0,
    };
    assigned(a)
        .cmp(&assigned(b))
        .then_with(|| progress(a).cmp(&progress(b)))
        .then_with(|| is_ready(a).cmp(&is_ready(b)))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| crowd(b).cmp(&crowd(a)))
        .then_with(|| younger_first(ready_since(a), ready_since(b), now))
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| younger_first(created(a), created(b), now))
}

/// Ages are compared by their order of magnitude, so that not always the very youngest goes.
fn younger_first(a: Option<DateTime<Utc>>, b: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Ordering {
    let magnitude = |at: Option<DateTime<Utc>>| {
        at.map_or(0, |at| 64 - (now - at).num_nanoseconds().unwrap_or(i64::MAX).max(0).leading_zeros())
    };
    magnitude(a).cmp(&magnitude(b))
}

fn deletion_cost(pod: &Pod) -> i32 {
    let annotations = pod.metadata.annotations.as_ref();
    let cost = annotations.and_then(|annotations| annotations.get("controller.kubernetes.io/pod-deletion-cost"));
    cost.and_then(|cost| cost.parse().ok()).unwrap_or(0)
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = status(pod).and_then(|status| status.container_statuses.as_ref());
    statuses.into_iter().flatten().map(|status| status.restart_count).max().unwrap_or(0)
}

fn created(pod: &Pod) -> Option<DateTime<Utc>> {
    pod.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

#[cfg(test)]
pub mod build {
    //! Pods for tests.

    use super::*;

    /// A pod of namespace `n` from the JSON of its interesting fields.
    pub fn pod(name: &str, rest: serde_json::Value) -> Arc<Pod> {
        let mut value = serde_json::json!({"metadata": {"name": name, "namespace": "n", "uid": name,
            "resourceVersion": "1", "creationTimestamp": "2024-01-01T00:00:00Z"}});
        merge(&mut value, rest);
        Arc::new(serde_json::from_value(value).expect("a pod"))
    }

    /// A running pod that has been ready since `since`.
    pub fn ready(name: &str, since: &str) -> Arc<Pod> {
        pod(
            name,
            serde_json::json!({"spec": {"nodeName": "a", "containers": []}, "status": {"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": since}]}}),
        )
    }

    pub fn merge(into: &mut serde_json::Value, from: serde_json::Value) {
        match (into, from) {
            (serde_json::Value::Object(into), serde_json::Value::Object(from)) => {
                for (key, value) in from {
                    merge(into.entry(key).or_insert(serde_json::Value::Null), value);
                }
            }
            (into, from) => *into = from,
        }
    }

    pub fn time(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }
}

#[cfg(test)]
mod tests {
    use super::build::{pod, ready, time};
    use super::*;
    use serde_json::json;

    #[test]
    fn the_least_loss_goes_first() {
        let cheap = json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-5"}},
            "spec": {"nodeName": "a", "containers": []}, "status": {"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2024-01-01T00:00:00Z"}]}});
        let mut pods = vec![
            ready("old", "2024-01-01T00:00:00Z"),
            ready("young", "2024-01-01T00:59:59Z"),
            pod("cheap", cheap),
            pod("unready", json!({"spec": {"nodeName": "a", "containers": []}, "status": {"phase": "Running"}})),
            pod("pending", json!({"spec": {"nodeName": "a", "containers": []}, "status": {"phase": "Pending"}})),
            pod("unassigned", json!({"status": {"phase": "Pending"}})),
        ];
        sort_for_deletion(&mut pods, |_| 0, time("2024-01-01T01:00:00Z"));
        let names: Vec<&str> = pods.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect();
        assert_eq!(names, ["unassigned", "pending", "unready", "cheap", "young", "old"]);
    }

    #[test]
    fn availability_takes_its_time() {
        let now = time("2024-01-01T00:00:10Z");
        let pod = ready("a", "2024-01-01T00:00:00Z");
        assert!(is_available(&pod, 10, now));
        assert_eq!(available_in(&pod, 15, now), Some(TimeDelta::seconds(5)));
        assert_eq!(next_available([&pod], 10, now), None);
    }

    #[test]
    fn generated_names_leave_room() {
        assert_eq!(generate_name("web"), "web-");
        assert_eq!(generate_name(&"x".repeat(80)).len(), 58);
    }
}
