//! Which pods to evict so that a more important one finds a node. Pure.
//!
//! Upstream's rules: only pods of lower priority; as few as possible; rather none that a disruption budget protects;
//! then the node whose victims matter least.

use std::cmp::Reverse;
use std::sync::Arc;

use client::Key;

use crate::decide::fits;
use crate::filters::Reason;
use crate::needs::Needs;
use crate::snapshot::{Placed, Snapshot};

/// Nodes tried, at the least and as a share of all.
const CANDIDATES_LEAST: usize = 100;
const CANDIDATES_PERCENT: usize = 10;

/// A disruption budget: whom it protects, and how many evictions it has left.
#[derive(Debug, Clone)]
pub struct Budget {
    pub namespace: String,
    pub selector: kube::core::Selector,
    pub left: i32,
}

/// A node and whom to evict from it.
#[derive(Debug)]
pub struct Eviction {
    pub node: String,
    pub victims: Vec<Arc<Placed>>,
}

/// How preemption went, for the message of the pod that waits.
#[derive(Debug)]
pub enum Outcome {
    Evict(Eviction),
    /// Per node, why it does not help.
    Useless(Vec<&'static str>),
    /// Victims of an earlier preemption are still going.
    Waiting,
    /// The pod never preempts others.
    Forbidden,
}

/// Finds victims for the pod `key` with `needs`, which was `refused` by every node.
pub fn plan(
    needs: &Needs,
    key: &Key,
    nominated: Option<&str>,
    refused: &[(String, Vec<Reason>)],
    snapshot: &Snapshot,
    budgets: &[Budget],
) -> Outcome {
    if needs.never_preempts {
        return Outcome::Forbidden;
    }
    let leaving = nominated
        .and_then(|name| snapshot.node(name))
        .is_some_and(|node| node.pods.values().any(|pod| pod.deleting && pod.needs.priority < needs.priority));
    if leaving {
        return Outcome::Waiting;
    }
    let most = (snapshot.nodes.len() * CANDIDATES_PERCENT / 100).max(CANDIDATES_LEAST);
    let mut found = Vec::new();
    let mut useless = Vec::new();
    for (name, reasons) in refused {
        if reasons.iter().any(|reason| !reason.by_pods) {
            useless.push("Preemption is not helpful for scheduling");
        } else if found.len() < most {
            match victims(needs, key, name, snapshot, budgets) {
                Some(candidate) => found.push(candidate),
                None => useless.push("No preemption victims found for incoming pod"),
            }
        }
    }
    match found.into_iter().min_by_key(Candidate::cost) {
        Some(best) => Outcome::Evict(Eviction { node: best.node, victims: best.victims }),
        None => Outcome::Useless(useless),
    }
}

struct Candidate {
    node: String,
    /// The most important first.
    victims: Vec<Arc<Placed>>,
    violations: usize,
}

impl Candidate {
    /// Budgets broken, importance of the most important, sum of importance, number, then the youngest go.
    fn cost(&self) -> (usize, i32, i64, usize, Reverse<String>) {
        let highest = self.victims.first().map_or(i32::MIN, |pod| pod.needs.priority);
        let sum = self.victims.iter().map(|pod| i64::from(pod.needs.priority) + i64::from(i32::MAX) + 1).sum();
        let of_highest = self.victims.iter().filter(|pod| pod.needs.priority == highest);
        let earliest = of_highest.map(|pod| pod.started.clone()).min().unwrap_or_default();
        (self.violations, highest, sum, self.victims.len(), Reverse(earliest))
    }
}

fn victims(needs: &Needs, key: &Key, name: &str, snapshot: &Snapshot, budgets: &[Budget]) -> Option<Candidate> {
    let node = snapshot.node(name)?;
    let mut lower: Vec<Arc<Placed>> =
        node.pods.values().filter(|pod| pod.needs.priority < needs.priority).cloned().collect();
    if lower.is_empty() {
        return None;
    }
    let mut without = snapshot.clone();
    for pod in &lower {
        without.take(&pod.key);
    }
    if !fits(needs, &without, name, key) {
        return None;
    }
    // The most important first, and of equals the one that has run longest.
    lower.sort_by(|a, b| b.needs.priority.cmp(&a.needs.priority).then_with(|| a.started.cmp(&b.started)));
    let (protected, others) = split(lower, budgets);
    let mut candidate = Candidate { node: name.to_owned(), victims: Vec::new(), violations: 0 };
    for (pod, is_protected) in
        protected.into_iter().map(|pod| (pod, true)).chain(others.into_iter().map(|pod| (pod, false)))
    {
        without.place(name, Placed::clone(&pod));
        if !fits(needs, &without, name, key) {
            without.take(&pod.key);
            candidate.violations += usize::from(is_protected);
            candidate.victims.push(pod);
        }
    }
    candidate.victims.sort_by_key(|pod| Reverse(pod.needs.priority));
    (!candidate.victims.is_empty()).then_some(candidate)
}

/// Those whose eviction would break a budget, and the others.
fn split(pods: Vec<Arc<Placed>>, budgets: &[Budget]) -> (Vec<Arc<Placed>>, Vec<Arc<Placed>>) {
    let mut left: Vec<i32> = budgets.iter().map(|budget| budget.left).collect();
    pods.into_iter().partition(|pod| {
        let mut broken = false;
        for (budget, left) in budgets.iter().zip(&mut left) {
            let covers = budget.namespace == pod.needs.namespace
                && kube::core::SelectorExt::matches(&budget.selector, &pod.needs.labels);
            if covers {
                *left -= 1;
                broken |= *left < 0;
            }
        }
        broken
    })
}
