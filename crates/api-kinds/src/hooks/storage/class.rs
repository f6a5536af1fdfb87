//! Rules of storage classes.

use crate::hooks::check::Node;
use crate::hooks::meta;
use api_core::field::Errors;
use api_core::names;
use api_schema::row::WriteContext;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const PARAMETERS_MAX: usize = 512;
const PARAMETERS_BYTES_MAX: usize = 256 * 1024;

pub(super) fn validate(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    let provisioner = root.at("provisioner");
    if provisioner.required(e) {
        let name = provisioner.str().to_lowercase();
        for why in names::is_qualified_name(&name) {
            e.invalid(&provisioner.path, name.as_str(), &why);
        }
    }
    parameters(&root.at("parameters"), e);
    let policy = root.at("reclaimPolicy");
    if !policy.is_empty() {
        policy.one_of(&["Delete", "Retain"], e);
    }
    let mode = root.at("volumeBindingMode");
    if mode.present() {
        mode.one_of(&["Immediate", "WaitForFirstConsumer"], e);
    } else {
        mode.path_required("", e);
    }
    topologies(&root.at("allowedTopologies"), e);
}

fn parameters(parameters: &Node<'_, '_>, e: &mut Errors) {
    if parameters.len() > PARAMETERS_MAX {
        parameters.too_long(PARAMETERS_MAX, e);
        return;
    }
    let mut bytes = 0;
    for (key, value) in parameters.entries() {
        if key.is_empty() {
            e.invalid(&parameters.path, key, "field can not be empty.");
        }
        bytes += key.len() + value.str().len();
    }
    if bytes > PARAMETERS_BYTES_MAX {
        parameters.too_long(PARAMETERS_BYTES_MAX, e);
    }
}

type Term<'v> = BTreeMap<&'v str, BTreeSet<&'v str>>;

/// No two terms say the same; upstream takes it that a term without expressions was there as often as there are terms.
fn topologies(list: &Node<'_, '_>, e: &mut Errors) {
    let mut seen: Vec<Term<'_>> = vec![Term::new(); list.len()];
    for topology in list.items() {
        let expressions = topology.at("matchLabelExpressions");
        let term = term(&expressions, e);
        for _ in seen.iter().filter(|other| **other == term) {
            e.duplicate(&expressions.path, "");
        }
        seen.push(term);
    }
}

fn term<'v>(expressions: &Node<'v, '_>, e: &mut Errors) -> Term<'v> {
    let mut term = Term::new();
    for expression in expressions.items() {
        let (key, values) = (expression.at("key"), expression.at("values"));
        let mut set = BTreeSet::new();
        values.required(e);
        for value in values.items() {
            if !set.insert(value.str()) {
                value.duplicate(e);
            }
        }
        key.text_is(names::is_qualified_name, e);
        if term.contains_key(key.str()) {
            key.duplicate(e);
        } else {
            term.insert(key.str(), set);
        }
    }
    term
}

pub(super) fn update(_: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    meta::again_on_create(new, e);
    validate(new, e);
    meta::again_on_update(new, old, e);
    let (root, old_root) = (Node::root(new), Node::root(old));
    for field in ["parameters", "provisioner", "reclaimPolicy"] {
        if root.get(field) != old_root.get(field) {
            root.at(field).forbidden(&format!("updates to {field} are forbidden."), e);
        }
    }
    root.at("volumeBindingMode").immutable(&old_root.at("volumeBindingMode"), e);
}

pub(super) fn warnings(new: &Value, _: Option<&Value>) -> Vec<String> {
    let root = Node::root(new);
    let mut found = Vec::new();
    for topology in root.at("allowedTopologies").items() {
        for expression in topology.at("matchLabelExpressions").items() {
            let key = expression.at("key");
            let new_key = match key.str() {
                "failure-domain.beta.kubernetes.io/region" => "topology.kubernetes.io/region",
                "failure-domain.beta.kubernetes.io/zone" => "topology.kubernetes.io/zone",
                _ => continue,
            };
            let name = key.str();
            found.push(format!("{}: {name} is deprecated since v1.17; use {new_key:?} instead", key.path));
        }
    }
    found
}
