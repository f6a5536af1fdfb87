//! Whether a write fits into the quotas of its namespace, and what their status says after it.

use super::{Amounts, Facts, concerns, pod, read, write};
use api_core::GroupResource;
use api_core::meta::Meta;
use api_core::quantity::Quantity;
use serde_json::Value;
use std::collections::BTreeSet;

/// A write that may count.
#[derive(Debug, Clone, Copy)]
pub struct Write<'a> {
    /// The resource.
    pub resource: &'a GroupResource,
    /// The object as it will be.
    pub object: &'a Value,
    /// The object as it is; `None` if it is new.
    pub old: Option<&'a Value>,
    /// The time (Unix seconds).
    pub now_unix_s: i64,
}

/// Whether quotas look at such a write at all: creates, and updates of what may count for more later.
pub fn handles(resource: &GroupResource, subresource: &str, is_new: bool) -> bool {
    let (group, name) = (resource.group.as_str(), resource.resource.as_str());
    let is_event = name == "events" && matches!(group, "" | "events.k8s.io");
    let grows = group.is_empty() && matches!(name, super::SERVICES | super::CLAIMS);
    subresource.is_empty() && !is_event && (is_new || grows)
}

/// The quotas that the write changes, by their index, with their new status; or why it is refused.
///
/// # Errors
/// In words, as upstream has them.
pub fn charge(quotas: &[Value], w: &Write<'_>) -> Result<Vec<(usize, Value)>, String> {
    let facts = Facts::of(w.resource, w.object);
    let mut concerned = Vec::new();
    for (index, quota) in quotas.iter().enumerate() {
        let hard = read(&quota["status"]["hard"]);
        let limited: Vec<&str> = hard.keys().map(String::as_str).filter(|name| concerns(w.resource, name)).collect();
        if limited.is_empty() || !facts.is_in_scope(quota) {
            continue;
        }
        let name = quota.name();
        if facts.scopes.is_some()
            && let Some(why) = pod::missing(w.object, limited.iter().copied())
        {
            return Err(format!("failed quota: {name}: {why}"));
        }
        if limited.iter().any(|name| quota["status"]["used"][*name].is_null()) {
            return Err(format!("status unknown for quota: {name}, resources: {}", limited.join(",")));
        }
        concerned.push((index, hard));
    }
    if concerned.is_empty() {
        return Ok(Vec::new());
    }
    let usage = facts.amounts(w.now_unix_s);
    let negative: Vec<&str> = usage.iter().filter(|(_, q)| q.sign() < 0).map(|(name, _)| name.as_str()).collect();
    if !negative.is_empty() {
        return Err(format!("quota usage is negative for resource(s): {}", negative.join(",")));
    }
    let before = w.old.map(|old| Facts::of(w.resource, old));
    let mut changed = Vec::new();
    for (index, hard) in concerned {
        let quota = &quotas[index];
        let had = before.as_ref().filter(|facts| facts.is_in_scope(quota)).map(|facts| facts.amounts(w.now_unix_s));
        let asked = growth(&usage, had.as_ref());
        let asked: Amounts = asked.into_iter().filter(|(name, _)| hard.contains_key(name)).collect();
        if asked.is_empty() {
            continue;
        }
        let used = read(&quota["status"]["used"]);
        let after = fits(quota.name(), &asked, &used, &hard)?;
        let mut quota = quota.clone();
        quota["status"]["used"] = write(&after);
        changed.push((index, quota));
    }
    Ok(changed)
}

/// By how much the usage grows; what does not is left out.
fn growth(usage: &Amounts, had: Option<&Amounts>) -> Amounts {
    let grown = |(name, amount): (&String, &Quantity)| {
        let before = had.and_then(|had| had.get(name));
        let delta = before.map_or(*amount, |before| amount.minus(*before));
        (delta.sign() > 0).then(|| (name.clone(), delta))
    };
    usage.iter().filter_map(grown).collect()
}

/// The usage after it, or which limits it goes past.
fn fits(name: &str, asked: &Amounts, used: &Amounts, hard: &Amounts) -> Result<Amounts, String> {
    let mut after = used.clone();
    asked.iter().for_each(|(name, amount)| super::add(&mut after, name, *amount));
    let over = asked.keys().filter(|name| after.get(*name) > hard.get(*name));
    let over: BTreeSet<&String> = over.collect();
    if over.is_empty() {
        return Ok(after);
    }
    let words = |of: &Amounts| {
        let entry = |(name, amount): (&String, &Quantity)| format!("{name}={amount}");
        of.iter().filter(|(name, _)| over.contains(name)).map(entry).collect::<Vec<_>>().join(",")
    };
    let (asked, used, hard) = (words(asked), words(used), words(hard));
    Err(format!("exceeded quota: {name}, requested: {asked}, used: {used}, limited: {hard}"))
}
