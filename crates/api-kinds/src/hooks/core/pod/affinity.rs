//! Rules of affinity: to nodes, to pods, away from pods.

use crate::hooks::check::Node;
use crate::hooks::labels;
use api_core::field::Errors;
use api_core::names;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const OPERATOR: &str = "not a valid selector operator";

/// `affinity`.
pub(super) fn validate(affinity: &Node<'_, '_>, e: &mut Errors) {
    let to_nodes = affinity.at("nodeAffinity");
    if to_nodes.has(REQUIRED) {
        node_selector(&to_nodes.at(REQUIRED), e);
    }
    for term in to_nodes.at(PREFERRED).items() {
        weight(&term, e);
        node_selector_term(&term.at("preference"), e);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let to_pods = affinity.at(kind);
        for term in to_pods.at(REQUIRED).items() {
            pod_term(&term, e);
        }
        for term in to_pods.at(PREFERRED).items() {
            weight(&term, e);
            pod_term(&term.at("podAffinityTerm"), e);
        }
    }
}

fn weight(term: &Node<'_, '_>, e: &mut Errors) {
    let weight = term.at("weight");
    if !(1..=100).contains(&weight.int_or_zero()) {
        e.invalid(&weight.path, weight.int_or_zero(), "must be in the range 1-100");
    }
}

/// A node selector: at least one term.
pub(in crate::hooks) fn node_selector(selector: &Node<'_, '_>, e: &mut Errors) {
    let terms = selector.at("nodeSelectorTerms");
    terms.required_because("must have at least one node selector term", e);
    for term in terms.items() {
        node_selector_term(&term, e);
    }
}

fn node_selector_term(term: &Node<'_, '_>, e: &mut Errors) {
    for requirement in term.at("matchExpressions").items() {
        let values = requirement.at("values");
        match requirement.text("operator") {
            "In" | "NotIn" => {
                values.required_because("must be specified when `operator` is 'In' or 'NotIn'", e);
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                values.forbidden("may not be specified when `operator` is 'Exists' or 'DoesNotExist'", e);
            }
            "Exists" | "DoesNotExist" => {}
            "Gt" | "Lt" if values.len() == 1 => {}
            "Gt" | "Lt" => values.path_required("must be specified single value when `operator` is 'Lt' or 'Gt'", e),
            _ => requirement.at("operator").invalid(OPERATOR, e),
        }
        requirement.at("key").text_is(names::is_qualified_name, e);
    }
    for requirement in term.at("matchFields").items() {
        node_field(&requirement, e);
    }
}

fn node_field(requirement: &Node<'_, '_>, e: &mut Errors) {
    let values = requirement.at("values");
    match requirement.text("operator") {
        "In" | "NotIn" if values.len() == 1 => {}
        "In" | "NotIn" => {
            let why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            values.path_required(why, e);
        }
        _ => requirement.at("operator").invalid(OPERATOR, e),
    }
    if requirement.text("key") != "metadata.name" {
        requirement.at("key").invalid("not a valid field selector key", e);
        return;
    }
    for value in values.items() {
        value.text_is(names::is_dns1123_subdomain, e);
    }
}

fn pod_term(term: &Node<'_, '_>, e: &mut Errors) {
    labels::selector(&term.at("labelSelector"), e);
    labels::selector(&term.at("namespaceSelector"), e);
    for namespace in term.at("namespaces").items() {
        for why in names::is_dns1123_label(namespace.str()) {
            e.invalid(&term.path.child("namespace"), namespace.value, &why);
        }
    }
    let key = term.at("topologyKey");
    key.required_because("can not be empty", e);
    key.text_is(names::is_qualified_name, e);
}
