//! Rules of network policies.

use crate::hooks::check::Node;
use crate::hooks::{labels, net};
use api_core::field::Errors;
use api_core::names;
use serde_json::Value;

pub(super) fn validate(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    let spec = root.at("spec");
    labels::selector(&spec.at("podSelector"), e);
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for rule in spec.at(direction).items() {
            rule.at("ports").items().for_each(|p| port(&p, e));
            rule.at(peers).items().for_each(|p| peer(&p, e));
        }
    }
    let types = spec.at("policyTypes");
    if types.len() > 2 {
        types.invalid("may not specify more than two policyTypes", e);
        return;
    }
    for kind in types.items() {
        kind.one_of(&["Ingress", "Egress"], e);
    }
}

fn port(port: &Node<'_, '_>, e: &mut Errors) {
    port.at("protocol").one_of_if_any(&["TCP", "UDP", "SCTP"], e);
    let (number, end) = (port.at("port"), port.at("endPort"));
    if !number.present() {
        if end.present() {
            end.invalid("may not be specified when `port` is not specified", e);
        }
        return;
    }
    if number.value.is_string() {
        if end.present() {
            end.invalid("may not be specified when `port` is non-numeric", e);
        }
        return number.port(e);
    }
    number.port(e);
    let Some(last) = end.int() else { return };
    if last < number.int_or_zero() {
        // Upstream quotes the other one.
        e.invalid(&end.path, number.value, "must be greater than or equal to `port`");
    }
    end.port_number(e);
}

fn peer(peer: &Node<'_, '_>, e: &mut Errors) {
    let mut kinds = 0;
    for field in ["podSelector", "namespaceSelector"] {
        if peer.has(field) {
            kinds += 1;
            labels::selector(&peer.at(field), e);
        }
    }
    let block = peer.at("ipBlock");
    if block.present() {
        kinds += 1;
        ip_block(&block, e);
    }
    if kinds == 0 {
        peer.path_required("must specify a peer", e);
    } else if kinds > 1 && block.present() {
        peer.forbidden("may not specify both ipBlock and another peer", e);
    }
}

fn ip_block(block: &Node<'_, '_>, e: &mut Errors) {
    let cidr = block.at("cidr");
    if !cidr.required(e) {
        return;
    }
    net::cidr(&cidr, cidr.str(), e);
    if net::parse_cidr(cidr.str()).is_none() {
        return;
    }
    for except in block.at("except").items() {
        if net::parse_cidr(except.str()).is_none() {
            net::cidr(&except, except.str(), e);
        } else if !net::strictly_within(except.str(), cidr.str()) {
            except.invalid("must be a strict subset of `cidr`", e);
        }
    }
}

/// The host of a rule or of a certificate.
pub(super) fn host(host: &Node<'_, '_>, e: &mut Errors) {
    if host.str().contains('*') {
        host.text_is(names::is_wildcard_dns1123_subdomain, e);
    } else {
        host.text_is(names::is_dns1123_subdomain, e);
    }
}
