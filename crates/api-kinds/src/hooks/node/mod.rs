//! Kinds of the group node.k8s.io.

use super::check::Node;
use super::core::{pod, resources};
use super::{labels, meta};
use api_core::field::Errors;
use api_core::names;
use api_schema::row::{Hooks, WriteContext};
use serde_json::Value;
use std::collections::HashSet;

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    match kind {
        "RuntimeClass" => &RUNTIME_CLASS,
        _ => &Hooks::NONE,
    }
}

static RUNTIME_CLASS: Hooks = Hooks {
    validate: Some(validate),
    validate_update: Some(update),
    warnings: Some(warnings),
    create_on_update: true,
    unconditional_update: false,
    ..Hooks::NONE
};

fn validate(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    root.at("handler").text_is(names::is_dns1123_label, e);
    let overhead = root.at("overhead");
    // Checked as the limits of a container are, and reported so.
    let limits = Node::new(overhead.get("podFixed"), overhead.path.child("limits"));
    for (resource, at) in limits.entries() {
        resources::container_name(resource, &at.path, e);
        resources::amount(resource, &at, e);
    }
    let scheduling = root.at("scheduling");
    labels::labels(&scheduling.at("nodeSelector"), e);
    let list = scheduling.at("tolerations");
    let nested = Node::new(list.value, list.path.child("tolerations"));
    pod::tolerations(&nested, e);
    let mut seen = HashSet::new();
    for toleration in list.items() {
        if !seen.insert(toleration.value.to_string()) {
            toleration.duplicate(e);
        }
    }
}

fn update(_: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    meta::again_on_create(new, e);
    validate(new, e);
    meta::again_on_update(new, old, e);
    let (root, old_root) = (Node::root(new), Node::root(old));
    root.at("handler").immutable(&old_root.at("handler"), e);
}

fn warnings(new: &Value, _: Option<&Value>) -> Vec<String> {
    let root = Node::root(new);
    let scheduling = root.at("scheduling");
    let selector = scheduling.at("nodeSelector");
    let old = [
        ("beta.kubernetes.io/arch", "v1.14", "kubernetes.io/arch"),
        ("beta.kubernetes.io/os", "v1.14", "kubernetes.io/os"),
        ("failure-domain.beta.kubernetes.io/region", "v1.17", "topology.kubernetes.io/region"),
        ("failure-domain.beta.kubernetes.io/zone", "v1.17", "topology.kubernetes.io/zone"),
        ("beta.kubernetes.io/instance-type", "v1.17", "node.kubernetes.io/instance-type"),
    ];
    let used = old.iter().filter(|(label, ..)| selector.has(label));
    used.map(|(label, since, new)| {
        format!("{}: deprecated since {since}; use {new:?} instead", selector.key(label).path)
    })
    .collect()
}
