//! Kinds of the group discovery.k8s.io.

use super::check::Node;
use super::fill::Fill;
use super::{labels, meta, net};
use api_core::field::Errors;
use api_core::names;
use api_schema::row::{Generation, Hooks, WriteContext};
use serde_json::Value;
use std::collections::HashSet;

const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;
const TOPOLOGY_LABELS_MAX: usize = 16;
const ZONES_MAX: usize = 8;

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    match kind {
        "EndpointSlice" => &ENDPOINT_SLICE,
        _ => &Hooks::NONE,
    }
}

static ENDPOINT_SLICE: Hooks = Hooks {
    default: Some(default_endpoint_slice),
    generation: Generation { metadata: &["labels"], ..Generation::SPEC },
    prepare_create: Some(|_, slice| drop_topology(slice)),
    prepare_update: Some(prepare_update),
    warnings: Some(warnings),
    validate: Some(validate),
    validate_update: Some(update),
    ..Hooks::NONE
};

fn default_endpoint_slice(object: &mut Value) {
    object.each_mut("ports", |port| {
        port.fill("name", "");
        port.fill("protocol", "TCP");
    });
}

/// What v1beta1 said of where endpoints are; v1 only shows it.
fn drop_topology(slice: &mut Value) {
    slice.each_mut("endpoints", |endpoint| drop(endpoint.as_object_mut().map(|map| map.remove("deprecatedTopology"))));
}

fn warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let text = "spec.addressType: FQDN endpoints are deprecated";
    if old.is_none() && new.text("addressType") == "FQDN" { vec![text.into()] } else { Vec::new() }
}

fn prepare_update(_: &WriteContext<'_>, new: &mut Value, old: &Value) {
    if new["endpoints"] != old["endpoints"] {
        drop_topology(new);
    }
}

fn validate(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    let kind = root.at("addressType");
    kind.required_one_of(&["FQDN", "IPv4", "IPv6"], e);
    let list = root.at("endpoints");
    if list.len() > ENDPOINTS_MAX {
        e.too_many(&list.path, list.len(), ENDPOINTS_MAX);
        return;
    }
    list.items().for_each(|one| endpoint(&one, kind.str(), e));
    ports(&root.at("ports"), e);
}

fn endpoint(endpoint: &Node<'_, '_>, kind: &str, e: &mut Errors) {
    let addresses = endpoint.at("addresses");
    addresses.required_because("must contain at least 1 address", e);
    if addresses.len() > ADDRESSES_MAX {
        e.too_many(&addresses.path, addresses.len(), ADDRESSES_MAX);
    }
    for address in addresses.items() {
        let ip = names::parse_ip(address.str());
        match kind {
            "IPv4" | "IPv6" => {
                if ip.is_none_or(|ip| ip.is_ipv6() != (kind == "IPv6")) {
                    address.invalid(&format!("must be a valid {kind} address"), e);
                }
                net::not_special(&address, e);
            }
            "FQDN" if address.required(e) => address.text_is(names::is_fully_qualified_domain_name, e),
            _ => {}
        }
    }
    let (node, hostname) = (endpoint.at("nodeName"), endpoint.at("hostname"));
    if node.present() {
        node.text_is(names::is_dns1123_subdomain, e);
    }
    let topology = endpoint.at("deprecatedTopology");
    if topology.len() > TOPOLOGY_LABELS_MAX {
        e.too_many(&topology.path, topology.len(), TOPOLOGY_LABELS_MAX);
    }
    labels::labels(&topology, e);
    if hostname.present() {
        hostname.text_is(names::is_dns1123_label, e);
    }
    let hints = endpoint.at("hints");
    zones(&hints.at("forZones"), e);
}

fn zones(zones: &Node<'_, '_>, e: &mut Errors) {
    if zones.len() > ZONES_MAX {
        e.too_many(&zones.path, zones.len(), ZONES_MAX);
        return;
    }
    let mut seen = HashSet::new();
    for zone in zones.items() {
        let name = zone.at("name");
        if !seen.insert(name.str()) {
            name.duplicate(e);
        }
        name.text_is(names::is_label_value, e);
    }
}

fn ports(ports: &Node<'_, '_>, e: &mut Errors) {
    if ports.len() > PORTS_MAX {
        e.too_many(&ports.path, ports.len(), PORTS_MAX);
        return;
    }
    let mut seen = HashSet::new();
    for port in ports.items() {
        let name = port.at("name");
        name.text_if_any(names::is_dns1123_label, e);
        if !seen.insert(name.str()) {
            name.duplicate(e);
        }
        let protocol = port.at("protocol");
        if protocol.present() {
            protocol.one_of(&["SCTP", "TCP", "UDP"], e);
        } else {
            protocol.path_required("", e);
        }
        let application = port.at("appProtocol");
        if application.present() {
            application.text_is(names::is_qualified_name, e);
        }
    }
}

fn update(_: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    meta::again_on_create(new, e);
    validate(new, e);
    let (root, old_root) = (Node::root(new), Node::root(old));
    root.at("addressType").immutable(&old_root.at("addressType"), e);
}
