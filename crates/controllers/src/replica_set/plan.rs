//! Decides for one replica set: how many pods to make or which to delete, and what its status is. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use controller_kit::conditions::{self, Condition};
use controller_kit::{Error, owner};
use k8s_openapi::api::apps::v1::ReplicaSetCondition;
use k8s_openapi::api::core::v1::Pod;

use super::kinds::Replicated;
use crate::pods;

/// Pods made or deleted in one go; the rest comes when these are seen.
const BURST_PODS: usize = 500;

/// What to do about the number of pods.
#[derive(Debug, PartialEq)]
pub enum Step {
    Nothing,
    Create(usize),
    Delete(Vec<Arc<Pod>>),
}

/// Why the wanted number was not reached, as a condition tells it.
#[derive(Debug, Clone)]
pub struct Failure {
    reason: &'static str,
    message: String,
}

impl Failure {
    pub fn create(error: &Error) -> Self {
        Failure { reason: "FailedCreate", message: crate::text(error) }
    }

    pub fn delete(error: &Error) -> Self {
        Failure { reason: "FailedDelete", message: crate::text(error) }
    }
}

/// Brings the number of `active` pods to what `set` wants. `siblings` are the pods of related sets: nodes with many
/// of them are relieved first.
pub fn scale<S: Replicated>(set: &S, active: &[Arc<Pod>], siblings: &[Arc<Pod>], now: DateTime<Utc>) -> Step {
    let wanted = usize::try_from(set.replicas()).unwrap_or(0);
    if active.len() < wanted {
        return Step::Create((wanted - active.len()).min(BURST_PODS));
    }
    let surplus = (active.len() - wanted).min(BURST_PODS);
    if surplus == 0 {
        return Step::Nothing;
    }
    let mut crowds: HashMap<&str, usize> = HashMap::new();
    for pod in if siblings.is_empty() { active } else { siblings } {
        *crowds.entry(pods::node_name(pod)).or_default() += 1;
    }
    let mut victims = active.to_vec();
    if surplus < active.len() {
        let crowd = |pod: &Pod| crowds.get(pods::node_name(pod)).copied().unwrap_or(0);
        pods::sort_for_deletion(&mut victims, crowd, now);
    }
    victims.truncate(surplus);
    Step::Delete(victims)
}

/// `set` with the status it should have, if that differs from what it has. The failure condition is judged only when
/// the set was `scaled` in this round.
pub fn status<S: Replicated>(
    set: &S,
    active: &[Arc<Pod>],
    failure: Option<Failure>,
    scaled: bool,
    now: DateTime<Utc>,
) -> Option<S> {
    let old = set.status();
    let mut new = old.clone();
    let template = set.template().and_then(|template| template.metadata.as_ref()?.labels.clone()).unwrap_or_default();
    let fully_labeled = |pod: &&Arc<Pod>| {
        let labels = owner::labels(&***pod);
        template.iter().all(|(key, value)| labels.get(key) == Some(value))
    };
    let min_ready = set.min_ready_seconds();
    new.replicas = count(active.iter());
    new.fully_labeled = count(active.iter().filter(fully_labeled));
    new.ready = count(active.iter().filter(|pod| pods::is_ready(pod)));
    new.available = count(active.iter().filter(|pod| pods::is_available(pod, min_ready, now)));
    new.observed_generation = set.meta().generation.unwrap_or(0);
    match failure {
        Some(failure) => {
            let condition = ReplicaSetCondition::make("ReplicaFailure", "True", failure.reason, &failure.message, now);
            conditions::set(&mut new.conditions, condition);
        }
        None if scaled => conditions::remove(&mut new.conditions, "ReplicaFailure"),
        None => {}
    }
    (new != old).then(|| set.with_status(new))
}

fn count<T>(items: impl Iterator<Item = T>) -> i32 {
    i32::try_from(items.count()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::build::{pod, ready, time};
    use k8s_openapi::api::apps::v1::ReplicaSet;
    use serde_json::json;

    fn set(replicas: i32) -> ReplicaSet {
        serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "n", "uid": "u", "generation": 3},
            "spec": {"replicas": replicas, "minReadySeconds": 10, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}}}}))
        .unwrap()
    }

    #[test]
    fn scales_up_in_bursts_and_down_by_rank() {
        let now = time("2024-01-01T01:00:00Z");
        assert_eq!(scale(&set(2_000), &[], &[], now), Step::Create(500));
        let pods = [ready("a", "2024-01-01T00:00:00Z"), pod("b", json!({"status": {"phase": "Pending"}}))];
        assert_eq!(scale(&set(2), &pods, &[], now), Step::Nothing);
        assert_eq!(scale(&set(1), &pods, &[], now), Step::Delete(vec![pods[1].clone()]));
        assert!(matches!(scale(&set(0), &pods, &[], now), Step::Delete(all) if all.len() == 2));
    }

    #[test]
    fn crowded_nodes_are_relieved_first() {
        let on = |name: &str, node: &str| {
            pod(name, json!({"spec": {"nodeName": node, "containers": []}, "status": {"phase": "Running"}}))
        };
        let (own, other) = ([on("x", "lone"), on("y", "crowd")], on("z", "crowd"));
        let siblings = [own[0].clone(), own[1].clone(), other];
        let step = scale(&set(1), &own, &siblings, time("2024-01-01T01:00:00Z"));
        assert_eq!(step, Step::Delete(vec![own[1].clone()]));
    }

    #[test]
    fn status_counts_and_is_written_once() {
        let now = time("2024-01-01T00:00:05Z");
        let labelled = json!({"metadata": {"labels": {"app": "web", "x": "y"}}, "status": {"phase": "Running",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2024-01-01T00:00:00Z"}]}});
        let pods = [pod("a", labelled), pod("b", json!({"status": {"phase": "Pending"}}))];
        let changed = status(&set(2), &pods, None, true, now).expect("a change");
        let seen = changed.status.clone().unwrap();
        assert_eq!((seen.replicas, seen.fully_labeled_replicas), (2, Some(1)));
        assert_eq!((seen.ready_replicas, seen.available_replicas), (Some(1), None));
        assert_eq!(seen.observed_generation, Some(3));
        assert!(status(&changed, &pods, None, true, now).is_none());
        let failure = Failure { reason: "FailedCreate", message: "no room".into() };
        let failed = status(&changed, &pods, Some(failure), true, now).expect("a change");
        assert_eq!(failed.status.as_ref().unwrap().conditions.as_ref().unwrap()[0].type_, "ReplicaFailure");
        assert!(status(&failed, &pods, None, true, now).unwrap().status.unwrap().conditions.is_none());
    }
}
