//! Node: defaults, rules, updates.

use super::resources;
use crate::hooks::check::Node;
use crate::hooks::fill::Fill;
use crate::hooks::{meta, net};
use api_core::field::Errors;
use api_core::names;
use api_schema::row::{Hooks, WriteContext};
use serde_json::{Value, json};
use std::collections::HashSet;

pub(super) static NODE: Hooks = Hooks {
    default: Some(default),
    prepare_create: Some(|_, node| drop_disabled(node)),
    prepare_update: Some(prepare_update),
    validate: Some(validate),
    validate_update: Some(update),
    warnings: Some(warnings),
    status_on_create: true,
    ..Hooks::NONE
};

fn default(node: &mut Value) {
    if let Some(spec) = node.at_mut("spec") {
        one_pod_cidr(spec);
    }
    let Some(status) = node.at_mut("status") else { return };
    if let Some(capacity) = status.get("capacity").filter(|c| c.is_object()).cloned() {
        status.fill("allocatable", capacity);
    }
    status.round_resources("capacity");
    status.round_resources("allocatable");
}

/// `podCIDR` is the first of `podCIDRs`; where they differ, it is the one that counts.
fn one_pod_cidr(spec: &mut Value) {
    let one = spec.text("podCIDR").to_owned();
    let first = spec["podCIDRs"][0].as_str().unwrap_or("").to_owned();
    match (one.is_empty(), first.is_empty()) {
        (true, false) => spec["podCIDR"] = first.into(),
        (false, _) if one != first => spec["podCIDRs"] = json!([one]),
        _ => {}
    }
}

fn prepare_update(context: &WriteContext<'_>, new: &mut Value, old: &Value) {
    let kept = if context.subresource == "status" { "spec" } else { "status" };
    new.adopt(kept, old);
    if context.subresource == "status" {
        drop_fields(new, &[("status", "config")]);
    } else {
        drop_fields(new, &[("spec", "configSource"), ("status", "runtimeHandlers")]);
    }
}

/// Configuration that came from config maps is gone, and what runtimes can do is told through the status alone.
fn drop_disabled(node: &mut Value) {
    drop_fields(node, &[("spec", "configSource"), ("status", "config"), ("status", "runtimeHandlers")]);
}

fn drop_fields(node: &mut Value, fields: &[(&str, &str)]) {
    for (part, field) in fields {
        node.with(part, |part| drop(part.as_object_mut().map(|map| map.remove(*field))));
    }
}

fn warnings(new: &Value, _: Option<&Value>) -> Vec<String> {
    let unused = "spec.externalID: this field is deprecated, and is unused by Kubernetes";
    if new["spec"].text("externalID").is_empty() { Vec::new() } else { vec![unused.into()] }
}

fn validate(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    let (metadata, spec) = (root.at("metadata"), root.at("spec"));
    let taints = Node::new(spec.get("taints"), metadata.path.child("taints"));
    self::taints(&taints, e);
    capacities(&root, e);
    pod_cidrs(&spec.at("podCIDRs"), e);
}

fn capacities(root: &Node<'_, '_>, e: &mut Errors) {
    let status = root.at("status");
    for list in ["capacity", "allocatable"] {
        let list = status.at(list);
        for (name, _) in list.entries() {
            resources::amount(name, &list.at(name), e);
        }
    }
}

fn pod_cidrs(list: &Node<'_, '_>, e: &mut Errors) {
    for cidr in list.items() {
        net::cidr(&cidr, cidr.str(), e);
    }
    if list.len() < 2 {
        return;
    }
    // Upstream asks for the families as well, and tells what stands in the way of that, counting from the first.
    if let Some((i, cidr)) = list.items().enumerate().find(|(_, c)| net::parse_cidr(c.str()).is_none()) {
        let why = format!("<nil> (invalid CIDR address: {})", cidr.str());
        let why = format!("invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR[{i}]: {why}");
        e.internal(&list.path, &why);
    }
    let families: Vec<bool> = list.items().filter_map(|c| Some(net::parse_cidr(c.str())?.0.is_ipv6())).collect();
    if families.len() != 2 || list.len() > 2 || families[0] == families[1] {
        list.invalid("may specify no more than one CIDR for each IP family", e);
    }
    let mut seen = HashSet::new();
    for cidr in list.items() {
        if !seen.insert(cidr.str()) {
            cidr.duplicate(e);
        }
    }
}

fn taints(list: &Node<'_, '_>, e: &mut Errors) {
    let mut seen = HashSet::new();
    for taint in list.items() {
        taint.at("key").text_is(names::is_qualified_name, e);
        let value = taint.at("value");
        let wrong = names::is_label_value(value.str());
        if !wrong.is_empty() {
            value.invalid(&wrong.join(";"), e);
        }
        taint.at("effect").required_one_of(&["NoSchedule", "PreferNoSchedule", "NoExecute"], e);
        if !seen.insert((taint.text("key"), taint.text("effect"))) {
            taint.duplicate(e);
        }
    }
}

fn update(context: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    let (root, old_root) = (Node::root(new), Node::root(old));
    let (metadata, spec, old_spec) = (root.at("metadata"), root.at("spec"), old_root.at("spec"));
    if context.subresource != "status" {
        meta::again_on_create(new, e);
        validate(new, e);
    }
    meta::again_on_update(new, old, e);
    capacities(&root, e);
    let status = root.at("status");
    let addresses = status.at("addresses");
    let mut seen = HashSet::new();
    for address in addresses.items() {
        if !seen.insert(address.value.to_string()) {
            address.duplicate(e);
        }
    }
    let had = old_spec.at("podCIDRs");
    if !had.is_empty() && spec.get("podCIDRs") != had.value {
        spec.at("podCIDRs").forbidden("node updates may not change podCIDR except from \"\" to valid", e);
    }
    if spec.text("externalID") != old_spec.text("externalID") {
        spec.at("externalID").forbidden("may not be updated", e);
    }
    let provider = old_spec.text("providerID");
    if !provider.is_empty() && spec.text("providerID") != provider {
        spec.at("providerID").forbidden("node updates may not change providerID except from \"\" to valid", e);
    }
    let taints = Node::new(spec.get("taints"), metadata.path.child("taints"));
    self::taints(&taints, e);
}
