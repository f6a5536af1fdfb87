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
    spec.at("loadBalancerSourceRanges").items().for_each(|range| found.extend(odd_range(&range)));
    let is_external = spec.text("type") == "ExternalName";
    if is_external && !spec.at("externalIPs").is_empty() {
        found.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".into());
    }
    if !is_external && !spec.at("externalName").is_empty() {
        found.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".into());
    }
    found
}

fn odd_address(node: &Node<'_, '_>) -> Option<String> {
    let Some(ip) = names::parse_ip(node.str()) else {
        let (path, text) = (node.path, node.str());
        let why =
            format!("IP address was accepted, but will be invalid in a future Kubernetes release: ParseAddr({text:?})");
        return (!matches!(text, "" | "None")).then(|| format!("{path}: {why}: unable to parse IP"));
    };
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

fn odd_range(node: &Node<'_, '_>) -> Option<String> {
    let (address, bits) = node.str().split_once('/')?;
    let ip = address.parse::<IpAddr>().ok()?;
    let canonical = format!("{ip}/{bits}");
    (ip.is_ipv6() && canonical != node.str()).then(|| {
        let (path, text) = (node.path, node.str());
        format!(
            "{path}: IPv6 prefix {text:?} is not in RFC 5952 canonical format ({canonical:?}), which may cause controller apply-loops"
        )
    })
}
