//! Rolling a DaemonSet with `maxSurge`: the new pod of a node is made beside the old one, which goes when the new one is
//! available. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use controller_kit::owner;
use k8s_openapi::api::apps::v1::DaemonSetSpec;
use k8s_openapi::api::core::v1::Pod;

use crate::deployment::resolve;
use crate::pods;
use crate::revisions::HASH_LABEL;

/// How many nodes may have two pods, and what tells them apart.
pub struct Surge<'a> {
    /// Nodes; 0 if old pods go first.
    pub most: usize,
    /// The present revision.
    pub hash: &'a str,
    pub min_ready: i32,
    pub now: DateTime<Utc>,
}

/// How many of `total` nodes may have two pods.
pub fn most(spec: &DaemonSetSpec, total: i32) -> usize {
    let strategy = spec.update_strategy.as_ref();
    if strategy.and_then(|one| one.type_.as_deref()) == Some("OnDelete") {
        return 0;
    }
    let limit = strategy.and_then(|one| one.rolling_update.as_ref()?.max_surge.as_ref());
    limit.map_or(0, |limit| usize::try_from(resolve(Some(limit), total, true)).unwrap_or(0))
}

impl Surge<'_> {
    fn is_new(&self, pod: &Pod) -> bool {
        owner::labels(pod).get(HASH_LABEL).is_some_and(|have| have == self.hash)
    }

    fn is_available(&self, pod: &Pod) -> bool {
        pods::is_available(pod, self.min_ready, self.now)
    }

    /// Of the pods that run on one node, those that are too many: all but the oldest new one and the oldest old one; and
    /// the old one as well when the new one is available, or when it is of no use itself.
    pub fn excess(&self, running: &[&Arc<Pod>]) -> Vec<Arc<Pod>> {
        let mut sorted: Vec<&Arc<Pod>> = running.to_vec();
        sorted.sort_by_key(|pod| (!pods::is_ready(pod), pod.metadata.creation_timestamp.as_ref().map(|time| time.0)));
        let (new, old): (Vec<&Arc<Pod>>, Vec<&Arc<Pod>>) = sorted.into_iter().partition(|pod| self.is_new(pod));
        let replaced = new.first().is_some_and(|pod| self.is_available(pod));
        let kept_old = usize::from(!replaced);
        new.into_iter().skip(1).chain(old.into_iter().skip(kept_old)).cloned().collect()
    }

    /// Makes new pods beside old ones, on as many nodes as may have two; an old pod that is not available anyway goes
    /// first, so that it does not hold back its successor.
    pub fn roll<'n>(
        &self,
        nodes: impl Iterator<Item = &'n str>,
        by_node: &BTreeMap<String, Vec<Arc<Pod>>>,
        create: &mut Vec<String>,
        delete: &mut Vec<Arc<Pod>>,
    ) {
        let (mut doubled, mut waiting) = (0, Vec::new());
        for node in nodes {
            let own = by_node.get(node).map(Vec::as_slice).unwrap_or_default();
            let live: Vec<&Arc<Pod>> = own.iter().filter(|pod| pods::is_active(pod)).collect();
            let new = live.iter().any(|pod| self.is_new(pod));
            let Some(old) = live.iter().find(|pod| !self.is_new(pod)) else { continue };
            if new {
                doubled += 1;
            } else if self.is_available(old) {
                waiting.push(node.to_owned());
            } else {
                delete.push((*old).clone());
            }
        }
        create.extend(waiting.into_iter().take(self.most.saturating_sub(doubled)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::build::{pod, time};
    use serde_json::json;

    fn daemon(name: &str, hash: &str, ready: &str) -> Arc<Pod> {
        pod(
            name,
            json!({"metadata": {"labels": {HASH_LABEL: hash}}, "spec": {"nodeName": "a", "containers": []},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}}),
        )
    }

    fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
        pods.iter().map(|pod| pod.metadata.name.as_deref().unwrap()).collect()
    }

    #[test]
    fn the_new_pod_comes_before_the_old_one_goes() {
        let surge = Surge { most: 1, hash: "new", min_ready: 0, now: time("2024-01-01T00:00:00Z") };
        let step = |a: Vec<Arc<Pod>>, b: Vec<Arc<Pod>>| {
            let by_node = BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), b)]);
            let (mut create, mut delete) = (Vec::new(), Vec::new());
            surge.roll(["a", "b"].into_iter(), &by_node, &mut create, &mut delete);
            (create, names(&delete).join(","))
        };
        let old = || vec![daemon("old", "old", "True")];
        assert_eq!(step(old(), old()), (vec!["a".to_owned()], String::new()), "one node at a time");
        let both = vec![daemon("old", "old", "True"), daemon("new", "new", "False")];
        assert_eq!(step(both.clone(), old()), (vec![], String::new()), "until the new one is available");
        assert_eq!(step(vec![daemon("broken", "old", "False")], old()), (vec!["b".to_owned()], "broken".into()));
        assert!(surge.excess(&both.iter().collect::<Vec<_>>()).is_empty());
        let ready = [daemon("old", "old", "True"), daemon("new", "new", "True")];
        assert_eq!(names(&surge.excess(&ready.iter().collect::<Vec<_>>())), ["old"]);
    }
}
