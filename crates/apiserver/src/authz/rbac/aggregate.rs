//! Cluster roles that are put together from others by label. Upstream has a controller write the rules into the role;
//! here they hold as soon as the parts are there, and the same rules are found twice once they are written.

use super::rule::Rule;
use api_core::meta::Meta;
use api_core::selector::labels::Selector;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Roles that take in others which take in others; deeper chains are not followed.
const DEPTH_MAX: usize = 8;

/// What aggregation needs to know of a cluster role.
#[derive(Debug)]
struct Part {
    labels: BTreeMap<String, String>,
    own: Vec<Rule>,
    /// Empty for a role that takes in no others.
    selectors: Vec<Selector>,
}

/// All cluster roles, as parts.
#[derive(Debug, Default)]
pub struct Parts(HashMap<String, Part>);

impl Parts {
    /// Takes in a cluster role.
    pub fn put(&mut self, role: &Value) {
        let labels = role["metadata"]["labels"].as_object().into_iter().flatten();
        let labels = labels.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect();
        let selectors = role["aggregationRule"]["clusterRoleSelectors"].as_array().into_iter().flatten();
        // One that cannot be read selects nothing, so that it grants nothing.
        let selectors = selectors.filter_map(|s| Selector::from_object(Some(s)).ok()).collect();
        self.0.insert(role.name().to_owned(), Part { labels, own: Rule::read_all(role), selectors });
    }

    /// Forgets a cluster role.
    pub fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Rules of the roles that take in others.
    pub fn aggregated(&self) -> Vec<(String, Arc<[Rule]>)> {
        let takers: Vec<(&String, &Part)> = self.0.iter().filter(|(_, p)| !p.selectors.is_empty()).collect();
        let mut rules: HashMap<&String, Vec<Rule>> = takers.iter().map(|(n, p)| (*n, p.own.clone())).collect();
        for _ in 0..DEPTH_MAX {
            let mut grown = false;
            for (name, taker) in &takers {
                let chosen = |p: &Part| taker.selectors.iter().any(|s| s.matches(&p.labels));
                let mut found: Vec<Rule> = Vec::new();
                for (other, part) in self.0.iter().filter(|(other, p)| other != name && chosen(p)) {
                    found.extend(rules.get(other).unwrap_or(&part.own).iter().cloned());
                }
                let have = rules.entry(name).or_default();
                for rule in found {
                    if !have.contains(&rule) {
                        have.push(rule);
                        grown = true;
                    }
                }
            }
            if !grown {
                break;
            }
        }
        rules.into_iter().map(|(name, rules)| (name.clone(), rules.into())).collect()
    }
}
