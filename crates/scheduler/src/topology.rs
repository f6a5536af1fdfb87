//! Rules and preferences about other pods: spreading, affinity and anti-affinity, by place. Pure.
//!
//! Counted once for pods alike; [`Topology::placed`] keeps the counts right as they find their nodes.

use std::collections::HashMap;

use crate::filters::{Reason, Rule, fits_affinity, tolerates};
use crate::needs::{Needs, Spread, Term};
use crate::snapshot::{NodeInfo, Placed, Snapshot};

/// Weight of another pod's required affinity when a node is scored.
const REQUIRED_NEAR_WEIGHT: i64 = 1;

type Counts = HashMap<String, i64>;
type Places = HashMap<(String, String), i64>;

/// What is known about other pods, from the point of view of one kind of pod.
#[derive(Debug, Default)]
pub struct Topology {
    spread: Vec<(Spread, Counts)>,
    near: Vec<(Term, Counts)>,
    far: Vec<(Term, Counts)>,
    /// Places that pods there keep this one away from.
    repelled: Places,
    liked: Places,
    /// Whether the pod itself is one that its `near` terms all mean.
    meets_itself: bool,
}

impl Topology {
    pub fn new(needs: &Needs, snapshot: &Snapshot) -> Self {
        let terms = |terms: &[Term]| terms.iter().map(|term| (term.clone(), Counts::new())).collect::<Vec<_>>();
        let own_namespace = snapshot.namespaces.get(&needs.namespace);
        let mut topology = Topology {
            spread: needs.spread.iter().map(|one| (one.clone(), Counts::new())).collect(),
            near: terms(&needs.near),
            far: terms(&needs.far),
            meets_itself: needs.near.iter().all(|term| term.chooses(&needs.namespace, &needs.labels, own_namespace)),
            ..Topology::default()
        };
        let nothing_to_count = topology.spread.is_empty()
            && topology.near.is_empty()
            && topology.far.is_empty()
            && needs.preferred.is_empty()
            && snapshot.with_terms == 0;
        if !nothing_to_count {
            for node in &snapshot.nodes {
                topology.count_domain(needs, node);
                for pod in node.pods.values() {
                    topology.count(needs, node, pod, snapshot);
                }
            }
        }
        topology
    }

    /// One more pod of the same needs is on `node`.
    pub fn placed(&mut self, needs: &Needs, node: &NodeInfo, pod: &Placed, snapshot: &Snapshot) {
        self.count(needs, node, pod, snapshot);
    }

    /// Whether the pods elsewhere let this one onto `node`.
    pub fn check(&self, needs: &Needs, node: &NodeInfo) -> Result<(), Reason> {
        self.check_spread(needs, node)?;
        for ((key, value), count) in &self.repelled {
            if *count > 0 && node.labels.get(key) == Some(value) {
                let text = "node(s) didn't satisfy existing pods anti-affinity rules";
                return Err(Reason::new(Rule::PodAffinity, true, text));
            }
        }
        let crowded = |(term, counts): &(Term, Counts)| {
            node.labels.get(&term.topology_key).is_some_and(|value| counts.get(value).is_some_and(|count| *count > 0))
        };
        if self.far.iter().any(crowded) {
            let text = "node(s) didn't match pod anti-affinity rules";
            return Err(Reason::new(Rule::PodAffinity, true, text));
        }
        if self.near.is_empty() || self.near.iter().all(crowded) {
            return Ok(());
        }
        // The first of a group that wants to be together may start anywhere that has the places asked for.
        let nobody = self.near.iter().all(|(_, counts)| counts.values().all(|count| *count == 0));
        let has_places = self.near.iter().all(|(term, _)| node.labels.contains_key(&term.topology_key));
        if nobody && self.meets_itself && has_places {
            return Ok(());
        }
        Err(Reason::new(Rule::PodAffinity, false, "node(s) didn't match pod affinity rules"))
    }

    fn check_spread(&self, needs: &Needs, node: &NodeInfo) -> Result<(), Reason> {
        for (one, counts) in self.spread.iter().filter(|(one, _)| one.required) {
            let Some(value) = node.labels.get(&one.topology_key) else {
                let text = "node(s) didn't match pod topology spread constraints (missing required label)";
                return Err(Reason::new(Rule::Spread, false, text));
            };
            let domains = i32::try_from(counts.len()).unwrap_or(i32::MAX);
            let scarce = one.min_domains.is_some_and(|least| domains < least);
            let fewest = if scarce { 0 } else { counts.values().copied().min().unwrap_or(0) };
            let own = i64::from(counts_pod(one, needs, needs));
            let here = counts.get(value).copied().unwrap_or(0);
            if here + own - fewest > i64::from(one.max_skew) {
                return Err(Reason::new(Rule::Spread, true, "node(s) didn't match pod topology spread constraints"));
            }
        }
        Ok(())
    }

    /// How crowded `node`'s places are with pods of this kind, by the preferences to spread; less is better.
    pub fn crowding(&self, node: &NodeInfo) -> f64 {
        let soft = self.spread.iter().filter(|(one, _)| !one.required);
        soft.filter_map(|(one, counts)| {
            let value = node.labels.get(&one.topology_key)?;
            let weight = (counts.len() as f64 + 2.0).ln();
            let here = counts.get(value).copied().unwrap_or(0) as f64;
            Some(here * weight + f64::from(one.max_skew - 1))
        })
        .sum()
    }

    pub fn spreads_softly(&self) -> bool {
        self.spread.iter().any(|(one, _)| !one.required)
    }

    /// How much `node`'s places are liked for the pods there; may be negative.
    pub fn liking(&self, node: &NodeInfo) -> i64 {
        if self.liked.is_empty() {
            return 0;
        }
        node.labels.iter().map(|(key, value)| self.liked.get(&(key.clone(), value.clone())).copied().unwrap_or(0)).sum()
    }

    /// A place counts even while it is empty.
    fn count_domain(&mut self, needs: &Needs, node: &NodeInfo) {
        let required: Vec<String> =
            needs.spread.iter().filter(|one| one.required).map(|one| one.topology_key.clone()).collect();
        let has_all = required.iter().all(|key| node.labels.contains_key(key));
        for (one, counts) in &mut self.spread {
            if let Some(value) = node.labels.get(&one.topology_key).filter(|_| has_all && includes(one, needs, node)) {
                counts.entry(value.clone()).or_insert(0);
            }
        }
    }

    fn count(&mut self, needs: &Needs, node: &NodeInfo, pod: &Placed, snapshot: &Snapshot) {
        for (one, counts) in &mut self.spread {
            let counted = !pod.deleting && counts_pod(one, needs, &pod.needs) && includes(one, needs, node);
            if let Some(value) = node.labels.get(&one.topology_key).filter(|_| counted) {
                *counts.entry(value.clone()).or_default() += 1;
            }
        }
        let of = |needs: &Needs| snapshot.namespaces.get(&needs.namespace);
        let means = |term: &Term, whom: &Needs| term.chooses(&whom.namespace, &whom.labels, of(whom));
        for (term, counts) in self.near.iter_mut().chain(&mut self.far) {
            if let Some(value) = node.labels.get(&term.topology_key).filter(|_| means(term, &pod.needs)) {
                *counts.entry(value.clone()).or_default() += 1;
            }
        }
        let place = |term: &Term| Some((term.topology_key.clone(), node.labels.get(&term.topology_key)?.clone()));
        for term in pod.needs.far.iter().filter(|term| means(term, needs)) {
            place(term).into_iter().for_each(|place| *self.repelled.entry(place).or_default() += 1);
        }
        let mine = needs.preferred.iter().filter(|(_, term)| means(term, &pod.needs));
        let theirs = pod.needs.preferred.iter().filter(|(_, term)| means(term, needs));
        for (weight, term) in mine.chain(theirs) {
            place(term).into_iter().for_each(|place| *self.liked.entry(place).or_default() += weight);
        }
        for term in pod.needs.near.iter().filter(|term| means(term, needs)) {
            place(term).into_iter().for_each(|place| *self.liked.entry(place).or_default() += REQUIRED_NEAR_WEIGHT);
        }
    }
}

/// Whether a pod with needs `other` counts for the constraint `one` of a pod with `needs`.
fn counts_pod(one: &Spread, needs: &Needs, other: &Needs) -> bool {
    if other.namespace != needs.namespace {
        return false;
    }
    match &one.selector {
        Some(selector) => kube::core::SelectorExt::matches(selector, &other.labels),
        None => other.owner.is_some() && other.owner == needs.owner,
    }
}

fn includes(one: &Spread, needs: &Needs, node: &NodeInfo) -> bool {
    (!one.honor_affinity || fits_affinity(needs, node)) && (!one.honor_taints || tolerates(needs, node))
}
