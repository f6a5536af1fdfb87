//! Routes to the pods of other nodes on the same network, and to service addresses where there is no default route.
//!
//! All routes of ours carry one protocol number, so that they are known from those of others.

use crate::command::{self, CommandError};
use client::informer::Handle;
use k8s_openapi::api::core::v1::Node;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use tokio_util::sync::CancellationToken;

/// Routing protocol number of our routes (`/etc/iproute2/rt_protos` has none of that number).
const PROTOCOL: &str = "109";

/// Pod range of each other node, with the node's address.
pub type Routes = BTreeMap<ipnet::Ipv4Net, Ipv4Addr>;

/// The routes that the node `own` needs.
pub fn plan<'a>(nodes: impl IntoIterator<Item = &'a Node>, own: &str) -> Routes {
    nodes.into_iter().filter(|node| node.metadata.name.as_deref() != Some(own)).filter_map(route).collect()
}

fn route(node: &Node) -> Option<(ipnet::Ipv4Net, Ipv4Addr)> {
    let range = node.spec.as_ref()?.pod_cidr.as_ref()?.parse().ok()?;
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    let address = addresses.iter().filter(|a| a.type_ == "InternalIP").find_map(|a| a.address.parse().ok())?;
    Some((range, address))
}

/// Keeps the routes as the nodes are, until `stop` is cancelled.
///
/// # Errors
/// If `ip` cannot be run. A route that the kernel refuses is logged and tried again at the next change.
pub async fn run(nodes: Handle<Node>, own: String, stop: CancellationToken) -> Result<(), CommandError> {
    let mut changes = nodes.subscribe();
    nodes.wait_synced().await;
    let mut present = Routes::new();
    loop {
        let listed = nodes.store().list();
        let wanted = plan(listed.iter().map(AsRef::as_ref), &own);
        for (range, _) in present.iter().filter(|(range, _)| !wanted.contains_key(range)) {
            command::run("ip", &["route", "del", &range.to_string(), "proto", PROTOCOL], "").await?;
        }
        let mut done = Routes::new();
        for (range, via) in wanted {
            if present.get(&range) != Some(&via) {
                let (range, via) = (range.to_string(), via.to_string());
                let arguments = ["route", "replace", &range, "via", &via, "proto", PROTOCOL];
                if let Err(error) = command::run("ip", &arguments, "").await {
                    tracing::warn!(%error, range, via, "cannot route to the pods of a node");
                    continue;
                }
            }
            done.insert(range, via);
        }
        present = done;
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = changes.next() => {}
        }
    }
}

/// Makes service addresses routable on a machine without a default route: packets to them are redirected before they
/// leave, but the kernel wants a route first. Returns whether one was needed.
///
/// # Errors
/// If `ip` fails.
pub async fn service_route(services: ipnet::Ipv4Net, own: Ipv4Addr) -> Result<bool, CommandError> {
    let default = command::run("ip", &["route", "show", "default"], "").await?;
    if !default.trim().is_empty() {
        return Ok(false);
    }
    let (range, own) = (services.to_string(), own.to_string());
    command::run("ip", &["route", "replace", &range, "dev", "lo", "src", &own, "proto", PROTOCOL], "").await?;
    Ok(true)
}

/// Removes all routes of ours.
///
/// # Errors
/// If `ip` fails.
pub async fn remove() -> Result<(), CommandError> {
    command::run("ip", &["route", "flush", "proto", PROTOCOL], "").await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_other_node_with_a_range_and_an_address_gets_a_route() {
        let node = |name: &str, range: Option<&str>, address: &str| -> Node {
            serde_json::from_value(json!({
                "metadata": {"name": name},
                "spec": {"podCIDR": range},
                "status": {"addresses": [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": address}]}
            }))
            .expect("a node")
        };
        let nodes = [
            node("a", Some("10.244.0.0/24"), "172.30.0.1"),
            node("b", Some("10.244.1.0/24"), "172.30.0.2"),
            node("c", None, "172.30.0.3"),
        ];
        let routes = plan(&nodes, "a");
        assert_eq!(routes.len(), 1);
        assert_eq!(routes[&"10.244.1.0/24".parse().expect("a range")], Ipv4Addr::new(172, 30, 0, 2));
    }
}
