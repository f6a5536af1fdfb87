//! Says in upstream's words why a pod has no node. Pure.

use std::collections::BTreeMap;

use crate::filters::Reason;
use crate::preempt::Outcome;

/// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`, and what preemption could do.
pub fn unschedulable(nodes: usize, refused: &[(String, Vec<Reason>)], preemption: &Outcome) -> String {
    if nodes == 0 {
        return "no nodes available to schedule pods".into();
    }
    let reasons = refused.iter().flat_map(|(_, reasons)| reasons.iter().map(|reason| reason.text.as_str()));
    let mut text = format!("0/{nodes} nodes are available");
    let listed = histogram(reasons);
    if !listed.is_empty() {
        text.push_str(&format!(": {listed}"));
    }
    text.push('.');
    match preemption {
        Outcome::Evict(_) => {}
        Outcome::Useless(why) if why.is_empty() => {}
        Outcome::Useless(why) => {
            let why = histogram(why.iter().copied());
            text.push_str(&format!(" preemption: 0/{nodes} nodes are available: {why}."));
        }
        Outcome::Waiting => {
            text.push_str(" preemption: not eligible due to a terminating pod on the nominated node.");
        }
        Outcome::Forbidden => text.push_str(" preemption: not eligible due to preemptionPolicy=Never."),
    }
    text
}

fn histogram<'a>(reasons: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in reasons {
        *counts.entry(reason).or_default() += 1;
    }
    let mut lines: Vec<String> = counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    lines.sort();
    lines.join(", ")
}
