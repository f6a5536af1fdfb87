//! Warnings about services: what is deprecated, and addresses in a form that will not be taken for ever.

use crate::hooks::check::Node;
use api_core::names;
use serde_json::Value;
use std::net::IpAddr;

const OLD_HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const HINTS: &str = "service.kubernetes.io/topology-mode";

pub(super) fn service(new: &Value, _: Option<&Value>) -> Vec<String> {
    let root = Node::root(new);
    let (metadata, spec) = (root.at("metadata"), root.at("spec"));
    let mut found = Vec::new();
    if metadata.at("annotations").has(OLD_HINTS) {
        found.push(format!("annotation {OLD_HINTS} is deprecated, please use {HINTS} instead"));
    }
    for list in ["clusterIPs", "externalIPs"] {
        spec.at(list).items().for_each(|ip| found.extend(odd_address(&ip)));
    }
    found.extend(odd_address(&spec.at("loadBalancerIP")));
    found
}

fn odd_address(node: &Node<'_, '_>) -> Option<String> {
    let ip = names::parse_ip(node.str())?;
    if node.str().parse::<IpAddr>().is_err() {
        let why = "IP address was accepted, but will be invalid in a future Kubernetes release";
        return Some(format!("{}: {why}: {ip}", node.path));
    }
    (ip.is_ipv6() && ip.to_string() != node.str()).then(|| {
        let (path, text) = (node.path, node.str());
        format!(
            "{path}: IPv6 address {text:?} is not in RFC 5952 canonical format ({:?}), which may cause controller apply-loops",
            ip.to_string()
        )
    })
}
