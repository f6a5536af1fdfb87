//! Pod ranges: gives every node its own part of each cluster range, once and for all.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use controller_kit::{Context, Controller, Error, Handle, Key, Next, Row, Runner, Writer};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use parking_lot::Mutex;

/// Prefix length of a node's range, per family.
const NODE_PREFIX_V4: u8 = 24;
const NODE_PREFIX_V6: u8 = 64;

pub(crate) static ROW: Row = Row {
    name: "cidrAllocator",
    account: "node-controller",
    inputs: &["Node"],
    outputs: &["Node", "Event"],
    workers: 1,
};

pub(crate) async fn start(context: Context, cluster_cidrs: Vec<IpNet>) {
    if cluster_cidrs.is_empty() {
        return context.stop.cancelled().await;
    }
    let nodes = context.informer::<Node>();
    let runner = Runner::new(&context).primary(&nodes);
    let writer = context.writer();
    runner.run(Driver { context, writer, nodes, cluster_cidrs, given: Mutex::default() }).await;
}

struct Driver {
    context: Context,
    writer: Writer,
    nodes: Handle<Node>,
    cluster_cidrs: Vec<IpNet>,
    /// Ranges given out which the cache may not show yet, by node.
    given: Mutex<BTreeMap<Key, Vec<IpNet>>>,
}

impl Controller for Driver {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(node) = self.nodes.store().get(key) else {
            self.given.lock().remove(key);
            return Ok(Next::Done);
        };
        if !ranges(&node).is_empty() {
            self.given.lock().remove(key);
            return Ok(Next::Done);
        }
        let mut taken: BTreeSet<IpNet> = self.nodes.store().list().iter().flat_map(|node| ranges(node)).collect();
        let before = self.given.lock().get(key).cloned();
        taken.extend(self.given.lock().iter().filter(|(node, _)| *node != key).flat_map(|(_, given)| given.clone()));
        let Some(chosen) = before.or_else(|| choose(&self.cluster_cidrs, &taken)) else {
            let message = format!("Node {} status is now: CIDRNotAvailable", key.name);
            self.context.events.warning(&*node, "CIDRNotAvailable", message);
            return Ok(Next::Done);
        };
        self.given.lock().insert(key.clone(), chosen.clone());
        let texts: Vec<String> = chosen.iter().map(IpNet::to_string).collect();
        let patch = serde_json::json!({"metadata": {"uid": node.metadata.uid},
            "spec": {"podCIDR": texts.first(), "podCIDRs": texts}});
        match self.writer.patch::<Node>(key, &patch).await {
            Ok(_) => Ok(Next::Done),
            Err(error) if error.is_not_found() => Ok(Next::Done),
            Err(error) => Err(error),
        }
    }
}

fn ranges(node: &Node) -> Vec<IpNet> {
    let Some(spec) = &node.spec else { return Vec::new() };
    let all = spec.pod_cidrs.iter().flatten().chain(&spec.pod_cidr);
    let mut ranges: Vec<IpNet> = all.filter_map(|text| text.parse().ok()).collect();
    ranges.dedup();
    ranges
}

/// The first free range of each cluster range; none if one of these is used up.
fn choose(cluster: &[IpNet], taken: &BTreeSet<IpNet>) -> Option<Vec<IpNet>> {
    cluster.iter().map(|cluster| free(cluster, taken)).collect()
}

fn free(cluster: &IpNet, taken: &BTreeSet<IpNet>) -> Option<IpNet> {
    let prefix = match cluster.addr() {
        IpAddr::V4(_) => NODE_PREFIX_V4,
        IpAddr::V6(_) => NODE_PREFIX_V6,
    };
    let prefix = prefix.max(cluster.prefix_len());
    let overlaps = |candidate: &IpNet| taken.iter().any(|used| used.contains(candidate) || candidate.contains(used));
    cluster.subnets(prefix).ok()?.find(|candidate| !overlaps(candidate))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_free_range_of_each_family() {
        let cluster = [net("10.244.0.0/16"), net("fd00:10::/56")];
        let taken = BTreeSet::from([net("10.244.0.0/24"), net("10.244.2.0/24")]);
        assert_eq!(choose(&cluster, &taken), Some(vec![net("10.244.1.0/24"), net("fd00:10::/64")]));
        let small = [net("10.0.0.0/23")];
        let taken = BTreeSet::from([net("10.0.0.0/24"), net("10.0.1.0/24")]);
        assert_eq!(choose(&small, &taken), None);
        assert_eq!(choose(&[net("10.0.0.0/26")], &BTreeSet::new()), Some(vec![net("10.0.0.0/26")]));
    }
}
