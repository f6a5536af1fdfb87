//! Whether a node will do, by what the node alone tells. Pure; a rule is a function and one line in a list.
//!
//! Rules that look at other nodes' pods are in `topology`.

use controller_kit::placement;
use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorTerm, Taint};

pub use controller_kit::placement::is_tolerated;

use crate::needs::Needs;
use crate::resources::Resources;
use crate::snapshot::NodeInfo;

/// Which rule said no; tells what could change its mind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// The node is cordoned.
    Unschedulable,
    /// A taint is not tolerated.
    Taint,
    /// The pod's node selector or node affinity.
    NodeAffinity,
    /// A host port is taken.
    Ports,
    /// Something has run out.
    Resources,
    /// A volume is missing or can't be reached from there.
    Volumes,
    /// Topology spread constraints.
    Spread,
    /// Affinity and anti-affinity between pods.
    PodAffinity,
}

/// Why a node will not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The rule.
    pub rule: Rule,
    /// As upstream words it.
    pub text: String,
    /// Evicting pods could change it.
    pub by_pods: bool,
}

impl Reason {
    pub(crate) fn new(rule: Rule, by_pods: bool, text: impl Into<String>) -> Self {
        Reason { rule, text: text.into(), by_pods }
    }
}

/// Rules that depend on the node alone and not on its pods, so that pods alike need them once.
pub fn fixed(needs: &Needs, node: &NodeInfo) -> Result<(), Reason> {
    type Fixed = fn(&Needs, &NodeInfo) -> Result<(), Reason>;
    const RULES: &[Fixed] = &[unschedulable, taints, node_affinity, volumes];
    RULES.iter().try_for_each(|rule| rule(needs, node))
}

/// Rules that depend on the node's pods. `me` does not count among the pods that the node is promised to.
pub fn varying(needs: &Needs, node: &NodeInfo, me: &client::Key) -> Result<(), Vec<Reason>> {
    let used = node.ports.iter();
    if needs.ports.iter().any(|port| used.clone().any(|used| used.conflicts(port))) {
        let text = "node(s) didn't have free ports for the requested pod ports";
        return Err(vec![Reason::new(Rule::Ports, true, text)]);
    }
    let lacking = if node.nominated.is_empty() {
        lacking(needs, &node.allocatable, &node.requested)
    } else {
        let mut requested = node.requested.clone();
        let promised = node.nominated.iter().filter(|(key, other)| *key != me && other.priority >= needs.priority);
        promised.for_each(|(_, other)| requested.add(&other.requests));
        self::lacking(needs, &node.allocatable, &requested)
    };
    if lacking.is_empty() { Ok(()) } else { Err(lacking) }
}

fn unschedulable(needs: &Needs, node: &NodeInfo) -> Result<(), Reason> {
    let taint =
        Taint { key: "node.kubernetes.io/unschedulable".into(), effect: "NoSchedule".into(), ..Taint::default() };
    if node.unschedulable && !is_tolerated(&needs.tolerations, &taint) {
        return Err(Reason::new(Rule::Unschedulable, false, "node(s) were unschedulable"));
    }
    Ok(())
}

fn taints(needs: &Needs, node: &NodeInfo) -> Result<(), Reason> {
    let hard = |taint: &&Taint| taint.effect == "NoSchedule" || taint.effect == "NoExecute";
    let bad = node.taints.iter().filter(hard).find(|taint| !is_tolerated(&needs.tolerations, taint));
    bad.map_or(Ok(()), |taint| {
        let value = taint.value.as_deref().unwrap_or_default();
        let text = format!("node(s) had untolerated taint {{{}: {value}}}", taint.key);
        Err(Reason::new(Rule::Taint, false, text))
    })
}

fn node_affinity(needs: &Needs, node: &NodeInfo) -> Result<(), Reason> {
    if fits_affinity(needs, node) {
        return Ok(());
    }
    Err(Reason::new(Rule::NodeAffinity, false, "node(s) didn't match Pod's node affinity/selector"))
}

/// Whether the node is one that the pod's selector and required affinity choose.
pub fn fits_affinity(needs: &Needs, node: &NodeInfo) -> bool {
    let selected = needs.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value));
    selected && needs.required_nodes.as_ref().is_none_or(|selector| selects(selector, node))
}

/// Whether all of the node's hard taints are tolerated.
pub fn tolerates(needs: &Needs, node: &NodeInfo) -> bool {
    taints(needs, node).is_ok()
}

fn volumes(needs: &Needs, node: &NodeInfo) -> Result<(), Reason> {
    if let Some(text) = &needs.volumes.impossible {
        return Err(Reason::new(Rule::Volumes, false, text.clone()));
    }
    if needs.volumes.node_selectors.iter().all(|selector| selects(selector, node)) {
        return Ok(());
    }
    Err(Reason::new(Rule::Volumes, false, "node(s) had volume node affinity conflict"))
}

fn lacking(needs: &Needs, have: &Resources, used: &Resources) -> Vec<Reason> {
    let want = &needs.requests;
    let short = |text: String| Reason::new(Rule::Resources, true, text);
    let mut reasons = Vec::new();
    if used.pods + 1 > have.pods {
        reasons.push(short("Too many pods".into()));
    }
    let rows = [
        ("cpu", want.cpu_milli, have.cpu_milli, used.cpu_milli),
        ("memory", want.memory_bytes, have.memory_bytes, used.memory_bytes),
        ("ephemeral-storage", want.ephemeral_bytes, have.ephemeral_bytes, used.ephemeral_bytes),
    ];
    for (name, want, have, used) in rows {
        if want > 0 && want > have - used {
            // More than the whole node: no eviction helps.
            let by_pods = want <= have;
            reasons.push(Reason { by_pods, ..short(format!("Insufficient {name}")) });
        }
    }
    for (name, want) in want.others.iter().filter(|(_, want)| **want > 0) {
        let have = have.others.get(name).copied().unwrap_or(0);
        if *want > have - used.others.get(name).copied().unwrap_or(0) {
            reasons.push(Reason { by_pods: *want <= have, ..short(format!("Insufficient {name}")) });
        }
    }
    reasons
}

/// Whether one of the selector's terms chooses the node; a term without content chooses none.
pub fn selects(selector: &NodeSelector, node: &NodeInfo) -> bool {
    placement::selects(selector, &node.name, &node.labels)
}

/// Whether the term has content, and all of it holds for the node.
pub fn term_selects(term: &NodeSelectorTerm, node: &NodeInfo) -> bool {
    placement::term_selects(term, &node.name, &node.labels)
}
