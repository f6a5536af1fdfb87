//! Rules of Endpoints.

use crate::hooks::check::Node;
use crate::hooks::{meta, net};
use api_core::field::Errors;
use api_core::names;
use api_schema::row::WriteContext;
use serde_json::Value;

pub(super) fn validate(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    for subset in root.at("subsets").items() {
        let (ready, not_ready) = (subset.at("addresses"), subset.at("notReadyAddresses"));
        if ready.is_empty() && not_ready.is_empty() {
            subset.path_required("must specify `addresses` or `notReadyAddresses`", e);
        }
        for endpoint in ready.items().chain(not_ready.items()) {
            address(&endpoint, e);
        }
        let ports = subset.at("ports");
        for port in ports.items() {
            endpoint_port(&port, ports.len() > 1, e);
        }
    }
}

fn address(address: &Node<'_, '_>, e: &mut Errors) {
    let ip = address.at("ip");
    ip.text_is(names::is_ip, e);
    address.at("hostname").text_if_any(names::is_dns1123_label, e);
    let node = address.at("nodeName");
    if node.present() {
        node.text_is(names::is_dns1123_subdomain, e);
    }
    net::not_special(&ip, e);
}

/// A port of Endpoints.
fn endpoint_port(port: &Node<'_, '_>, needs_name: bool, e: &mut Errors) {
    let name = port.at("name");
    if needs_name && name.is_empty() {
        name.path_required("", e);
    } else {
        name.text_if_any(names::is_dns1123_label, e);
    }
    port.at("port").port_number(e);
    port.at("protocol").required_one_of(&["SCTP", "TCP", "UDP"], e);
    let application = port.at("appProtocol");
    if application.present() {
        application.text_is(names::is_qualified_name, e);
    }
}

pub(super) fn update(_: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    meta::again_on_update(new, old, e);
    meta::again_on_create(new, e);
    validate(new, e);
}
