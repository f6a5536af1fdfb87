//! Pods that wait for a node: ready to be tried, backing off, or waiting for the cluster to change. Pure: the time is
//! an argument.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use client::Key;
use tokio::time::Instant;

use crate::filters::Rule;
use crate::needs::Needs;

/// Pause after the first failed try; doubles up to the longest.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// Something in the cluster that may let a waiting pod find a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    NodeAdded,
    NodeChanged,
    /// A pod has left its node.
    PodGone,
    /// A pod has got a node, or other labels.
    PodPlaced,
    Volumes,
    Namespaces,
}

impl Change {
    fn may_help(self, rule: Rule) -> bool {
        match self {
            Change::NodeAdded | Change::NodeChanged => true,
            Change::PodGone => matches!(rule, Rule::Resources | Rule::Ports | Rule::Spread | Rule::PodAffinity),
            Change::PodPlaced => matches!(rule, Rule::Spread | Rule::PodAffinity),
            Change::Volumes => rule == Rule::Volumes,
            Change::Namespaces => rule == Rule::PodAffinity,
        }
    }
}

#[derive(Debug)]
struct Waiting {
    needs: Arc<Needs>,
    /// Order of arrival, which a pod keeps through its tries.
    arrival: u64,
    attempts: u32,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Active,
    /// Until then it is not tried.
    Backoff(Instant),
    /// Until something changes that one of the rules may like; and not before the time.
    Unschedulable(HashSet<Rule>, Instant),
    /// Being decided or bound.
    InFlight,
}

/// All pods without a node.
#[derive(Debug, Default)]
pub struct Queue {
    pods: HashMap<Key, Waiting>,
    active: BTreeSet<(Reverse<i32>, u64, Key)>,
    backoff: BTreeSet<(Instant, Key)>,
    arrivals: u64,
}

impl Queue {
    /// A pod that waits with `needs`; one that is there already is tried again if these have changed.
    pub fn put(&mut self, key: &Key, needs: Needs) {
        match self.pods.get(key) {
            Some(waiting) if *waiting.needs == needs => return,
            Some(waiting) if matches!(waiting.place, Place::InFlight) => return,
            _ => {}
        }
        let (arrival, attempts) = match self.take(key) {
            Some(old) => (old.arrival, old.attempts),
            None => {
                self.arrivals += 1;
                (self.arrivals, 0)
            }
        };
        self.pods.insert(key.clone(), Waiting { needs: Arc::new(needs), arrival, attempts, place: Place::Active });
        self.activate(key);
    }

    /// The pod waits no longer.
    pub fn remove(&mut self, key: &Key) {
        self.take(key);
    }

    #[cfg(test)]
    pub fn contains(&self, key: &Key) -> bool {
        self.pods.contains_key(key)
    }

    /// The most important pod that is ready, and up to `most` alike that come right after it.
    pub fn pop_alike(&mut self, most: usize, now: Instant) -> Option<(Arc<Needs>, Vec<Key>)> {
        self.end_backoffs(now);
        let mut keys = Vec::new();
        let mut common: Option<Arc<Needs>> = None;
        while keys.len() < most {
            let Some((_, _, key)) = self.active.first() else { break };
            let Some(waiting) = self.pods.get(key) else { break };
            match &common {
                None => common = Some(waiting.needs.clone()),
                Some(common) if **common == *waiting.needs => {}
                Some(_) => break,
            }
            let Some((_, _, key)) = self.active.pop_first() else { break };
            if let Some(waiting) = self.pods.get_mut(&key) {
                waiting.place = Place::InFlight;
                waiting.attempts = waiting.attempts.saturating_add(1);
            }
            keys.push(key);
        }
        common.map(|needs| (needs, keys))
    }

    /// No node would take the pod, by these rules.
    pub fn unschedulable(&mut self, key: &Key, rules: HashSet<Rule>, now: Instant) {
        if let Some(waiting) = self.pods.get_mut(key) {
            waiting.place = Place::Unschedulable(rules, now + pause(waiting.attempts));
        }
    }

    /// The try failed for a reason that may be gone soon.
    pub fn retry(&mut self, key: &Key, now: Instant) {
        if let Some(waiting) = self.pods.get_mut(key) {
            let until = now + pause(waiting.attempts);
            waiting.place = Place::Backoff(until);
            self.backoff.insert((until, key.clone()));
        }
    }

    /// Pods that `change` may help are tried again, when their pause is over.
    pub fn changed(&mut self, change: Change, now: Instant) {
        let helped = |waiting: &Waiting| match &waiting.place {
            Place::Unschedulable(rules, until)
                if rules.is_empty() || rules.iter().any(|rule| change.may_help(*rule)) =>
            {
                Some(*until)
            }
            _ => None,
        };
        let woken: Vec<(Key, Instant)> =
            self.pods.iter().filter_map(|(key, waiting)| Some((key.clone(), helped(waiting)?))).collect();
        for (key, until) in woken {
            if until <= now {
                self.activate(&key);
            } else if let Some(waiting) = self.pods.get_mut(&key) {
                waiting.place = Place::Backoff(until);
                self.backoff.insert((until, key));
            }
        }
    }

    /// When the next pause ends.
    pub fn next_due(&self) -> Option<Instant> {
        self.backoff.first().map(|(until, _)| *until)
    }

    #[cfg(test)]
    pub fn has_active(&self) -> bool {
        !self.active.is_empty()
    }

    fn end_backoffs(&mut self, now: Instant) {
        while self.backoff.first().is_some_and(|(until, _)| *until <= now) {
            if let Some((_, key)) = self.backoff.pop_first() {
                self.activate(&key);
            }
        }
    }

    fn activate(&mut self, key: &Key) {
        if let Some(waiting) = self.pods.get_mut(key) {
            waiting.place = Place::Active;
            self.active.insert((Reverse(waiting.needs.priority), waiting.arrival, key.clone()));
        }
    }

    fn take(&mut self, key: &Key) -> Option<Waiting> {
        let waiting = self.pods.remove(key)?;
        match &waiting.place {
            Place::Active => {
                self.active.remove(&(Reverse(waiting.needs.priority), waiting.arrival, key.clone()));
            }
            Place::Backoff(until) => {
                self.backoff.remove(&(*until, key.clone()));
            }
            Place::Unschedulable(..) | Place::InFlight => {}
        }
        Some(waiting)
    }
}

fn pause(attempts: u32) -> Duration {
    BACKOFF_FIRST.saturating_mul(1 << attempts.saturating_sub(1).min(8)).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Pod;

    fn needs(priority: i32, cpu: &str) -> Needs {
        let pod: Pod = serde_json::from_value(serde_json::json!({"spec": {"priority": priority,
            "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}}))
        .unwrap();
        Needs::of(&pod)
    }

    #[test]
    fn important_first_and_alike_together() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for (name, priority, cpu) in [("a", 0, "1"), ("b", 0, "1"), ("c", 0, "2"), ("d", 9, "1")] {
            queue.put(&Key::cluster(name), needs(priority, cpu));
        }
        let mut pops = Vec::new();
        while let Some((_, keys)) = queue.pop_alike(10, now) {
            pops.push(keys.iter().map(Key::to_string).collect::<Vec<_>>().join(""));
        }
        assert_eq!(pops, ["d", "ab", "c"]);
    }

    #[test]
    fn only_a_change_that_helps_wakes_and_not_before_the_pause_ends() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let key = Key::cluster("a");
        queue.put(&key, needs(0, "1"));
        queue.pop_alike(1, now);
        queue.unschedulable(&key, HashSet::from([Rule::Resources]), now);
        queue.changed(Change::Volumes, now);
        assert_eq!((queue.has_active(), queue.next_due()), (false, None));
        queue.changed(Change::PodGone, now);
        assert_eq!(queue.next_due(), Some(now + Duration::from_secs(1)));
        assert!(queue.pop_alike(1, now).is_none());
        assert!(queue.pop_alike(1, now + Duration::from_secs(1)).is_some());
        queue.unschedulable(&key, HashSet::from([Rule::Resources]), now);
        queue.changed(Change::NodeAdded, now + Duration::from_secs(20));
        assert!(queue.has_active());
        queue.put(&key, needs(0, "3"));
        queue.remove(&key);
        assert!(!queue.contains(&key) && !queue.has_active());
    }
}
