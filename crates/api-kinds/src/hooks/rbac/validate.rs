//! Rules of roles and of their bindings.

use super::defaults::GROUP;
use crate::hooks::check::Node;
use crate::hooks::{labels, meta};
use api_core::field::Errors;
use api_core::names;
use serde_json::Value;

/// A role, or with `namespaced` false a cluster role.
pub(super) fn role(object: &Value, namespaced: bool, e: &mut Errors) {
    let root = Node::root(object);
    for rule in root.at("rules").items() {
        policy_rule(&rule, namespaced, e);
    }
    let aggregation = root.at("aggregationRule");
    if namespaced || !aggregation.present() {
        return;
    }
    let selectors = aggregation.at("clusterRoleSelectors");
    selectors.required_because("at least one clusterRoleSelector required if aggregationRule is non-nil", e);
    for selector in selectors.items() {
        let mut own = Errors::new();
        labels::selector(&selector, &mut own);
        if !own.is_empty() {
            // Upstream prints what it could not make of it.
            own.invalid(&selector.path, "null", "invalid label selector.");
        }
        e.extend(own);
    }
}

fn policy_rule(rule: &Node<'_, '_>, namespaced: bool, e: &mut Errors) {
    rule.at("verbs").required_because("verbs must contain at least one value", e);
    let urls = rule.at("nonResourceURLs");
    if urls.is_empty() {
        let why = "resource rules must supply at least one api group";
        rule.at("apiGroups").required_because(why, e);
        rule.at("resources").required_because("resource rules must supply at least one resource", e);
        return;
    }
    if namespaced {
        urls.invalid("namespaced rules cannot apply to non-resource URLs", e);
    }
    if ["apiGroups", "resources", "resourceNames"].iter().any(|field| !rule.at(field).is_empty()) {
        urls.invalid("rules cannot apply to both regular resources and non-resource URLs", e);
    }
}

/// A role binding, or with `namespaced` false a cluster role binding.
pub(super) fn binding(object: &Value, namespaced: bool, e: &mut Errors) {
    let root = Node::root(object);
    let role = root.at("roleRef");
    role.at("apiGroup").one_of(&[GROUP], e);
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    role.at("kind").one_of(kinds, e);
    role.at("name").required_text(names::is_path_segment, e);
    for subject in root.at("subjects").items() {
        let (name, group) = (subject.at("name"), subject.at("apiGroup"));
        name.required(e);
        match subject.text("kind") {
            "ServiceAccount" => {
                name.text_if_any(names::is_dns1123_subdomain, e);
                if !group.is_empty() {
                    group.not_supported(&[""], e);
                }
                if !namespaced {
                    subject.at("namespace").required(e);
                }
            }
            "User" | "Group" => group.one_of(&[GROUP], e),
            _ => {
                let kind = subject.at("kind");
                e.not_supported(&kind.path, kind.str(), &["ServiceAccount", "User", "Group"]);
            }
        }
    }
}

/// Upstream checks an update as a new object and as an update, and the latter checks the object again.
pub(super) fn twice(new: &Value, old: &Value, e: &mut Errors, check: fn(&Value, &mut Errors)) {
    meta::again_on_create(new, e);
    check(new, e);
    meta::again_on_create(new, e);
    check(new, e);
    meta::again_on_update(new, old, e);
}

pub(super) fn same_role(new: &Value, old: &Value, e: &mut Errors) {
    if new["roleRef"] != old["roleRef"] {
        Node::root(new).at("roleRef").invalid("cannot change roleRef", e);
    }
}
