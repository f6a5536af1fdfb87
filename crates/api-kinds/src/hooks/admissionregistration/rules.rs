//! What requests a webhook or a policy is for: rules, resources, conditions.

use crate::admission::expressions::{self, Names};
use crate::hooks::check::Node;
use crate::hooks::labels;
use api_cel::{Env, Type};
use api_core::field::Errors;
use api_core::names;
use std::collections::BTreeSet;

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: [&str; 3] = ["*", "Cluster", "Namespaced"];
pub(super) const MATCH_POLICIES: [&str; 2] = ["Equivalent", "Exact"];
const MATCH_CONDITIONS_MAX: usize = 64;

fn has_wildcard(list: &Node<'_, '_>) -> bool {
    list.items().any(|item| item.str() == "*")
}

/// `*` may not stand beside others.
fn wildcard_alone(list: &Node<'_, '_>, others: &str, e: &mut Errors) {
    if list.len() > 1 && has_wildcard(list) {
        list.invalid(&format!("if '*' is present, must not specify other {others}"), e);
    }
}

/// A rule with its operations.
pub(super) fn rule(node: &Node<'_, '_>, e: &mut Errors) {
    let operations = node.at("operations");
    operations.required(e);
    wildcard_alone(&operations, "operations", e);
    for operation in operations.items() {
        operation.one_of(&OPERATIONS, e);
    }
    let groups = node.at("apiGroups");
    groups.required(e);
    wildcard_alone(&groups, "API groups", e);
    let versions = node.at("apiVersions");
    versions.required(e);
    wildcard_alone(&versions, "API versions", e);
    for version in versions.items() {
        version.required(e);
    }
    resources(&node.at("resources"), e);
    node.at("scope").one_of_if_any(&SCOPES, e);
}

fn resources(list: &Node<'_, '_>, e: &mut Errors) {
    list.required(e);
    let (mut all_of, mut any_with) = (BTreeSet::new(), BTreeSet::new());
    let (mut everything, mut every_resource, mut plain) = (false, false, false);
    for item in list.items() {
        if !item.required(e) {
            continue;
        }
        let text = item.str();
        everything |= text == "*/*";
        every_resource |= text == "*";
        let Some((resource, sub)) = text.split_once('/') else {
            plain = text != "*";
            continue;
        };
        if all_of.contains(resource) {
            item.invalid(&format!("if '{resource}/*' is present, must not specify {text}"), e);
        }
        if any_with.contains(sub) {
            item.invalid(&format!("if '*/{sub}' is present, must not specify {text}"), e);
        }
        if sub == "*" {
            all_of.insert(resource);
        }
        if resource == "*" {
            any_with.insert(sub);
        }
    }
    if list.len() > 1 && everything {
        list.invalid("if '*/*' is present, must not specify other resources", e);
    }
    if every_resource && plain {
        list.invalid("if '*' is present, must not specify other resources without subresources", e);
    }
}

/// `MatchResources` of a policy or a binding, if there is one.
pub(super) fn match_resources(node: &Node<'_, '_>, e: &mut Errors) {
    if !node.present() {
        return;
    }
    if node.has("matchPolicy") {
        node.at("matchPolicy").one_of(&MATCH_POLICIES, e);
    } else {
        node.at("matchPolicy").required(e);
    }
    for field in ["namespaceSelector", "objectSelector"] {
        let selector = node.at(field);
        if selector.present() {
            labels::selector(&selector, e);
        } else {
            selector.required(e);
        }
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        for item in node.at(list).items() {
            named_rule(&item, e);
        }
    }
}

fn named_rule(node: &Node<'_, '_>, e: &mut Errors) {
    let mut seen = BTreeSet::new();
    for name in node.at("resourceNames").items() {
        name.text_is(names::is_path_segment, e);
        if !seen.insert(name.str()) {
            name.duplicate(e);
        }
    }
    rule(node, e);
}

/// Reports an expression that cannot be compiled, or that is not of one of those types.
pub(super) fn compiles(node: &Node<'_, '_>, env: &Env, types: &[Type], e: &mut Errors) {
    if let Err(why) = env.compile_as(node.str(), types) {
        node.invalid(&why, e);
    }
}

/// Conditions that a request must meet. `params` says whether they may speak of parameters.
pub(super) fn match_conditions(list: &Node<'_, '_>, params: bool, e: &mut Errors) {
    if list.len() > MATCH_CONDITIONS_MAX {
        e.too_many(&list.path, list.len(), MATCH_CONDITIONS_MAX);
    }
    if list.is_empty() {
        return;
    }
    let env = expressions::env(Names { params, authorizer: true });
    let mut seen = BTreeSet::new();
    for condition in list.items() {
        let expression = condition.at("expression");
        if expression.str().trim().is_empty() {
            expression.path_required("", e);
        } else {
            compiles(&expression, &env, &[Type::Bool], e);
        }
        let name = condition.at("name");
        if name.required(e) {
            name.text_is(names::is_qualified_name, e);
            if !seen.insert(name.str()) {
                name.duplicate(e);
            }
        }
    }
}
