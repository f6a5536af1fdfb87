//! What one Service, or one pod with host ports, needs in the kernel. Pure: objects in, map elements and chains out.

use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Default of `sessionAffinityConfig.clientIP.timeoutSeconds`.
const AFFINITY_TIMEOUT_S: i32 = 10_800;
/// The kernel takes names of 255 bytes; an address, a port and a prefix come on top of this. Longer ones are hashed.
const CHAIN_ID_BYTES_MAX: usize = 160;
/// Bit of a packet's mark that asks for masquerading.
pub const MASQUERADE_MARK: u32 = 0x4000_0000;

/// Where a packet may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Address of the endpoint.
    pub ip: Ipv4Addr,
    /// Its port.
    pub port: u16,
}

/// State in the kernel that one object needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contribution {
    /// Elements: `(map or set, key)` to value; empty for a set.
    pub elements: BTreeMap<(&'static str, String), String>,
    /// Elements of the maps for `n` endpoints: `(n, key)` to value.
    pub cluster: BTreeMap<(usize, String), String>,
    /// The same for node ports.
    pub node_port: BTreeMap<(usize, String), String>,
    /// Sets of clients with affinity to an endpoint: name to seconds.
    pub affinity_sets: BTreeMap<String, i32>,
    /// Chains with their rules.
    pub chains: BTreeMap<String, Vec<String>>,
    /// Endpoints that may be clients of themselves.
    pub hairpins: BTreeSet<Ipv4Addr>,
    /// UDP targets behind each UDP address of the Service, to forget flows to those that go.
    pub udp: BTreeMap<String, BTreeSet<Target>>,
}

/// Facts of the node that the rules are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Name of the node.
    pub name: String,
}

/// A port of a Service with the endpoints behind it.
struct Port<'a> {
    id: String,
    protocol: String,
    spec: &'a ServicePort,
    all: Vec<Target>,
    local: Vec<Target>,
}

/// What `service` needs; nothing if it is headless, of another proxy, or an external name.
pub fn service(service: &Service, slices: &[Arc<EndpointSlice>], node: &Node) -> Contribution {
    let mut out = Contribution::default();
    let Some(spec) = &service.spec else { return out };
    let headless = spec.cluster_ip.as_deref().is_none_or(|ip| ip.is_empty() || ip == "None");
    let foreign =
        service.metadata.labels.iter().flatten().any(|(k, _)| k == "service.kubernetes.io/service-proxy-name");
    if headless || foreign || spec.type_.as_deref() == Some("ExternalName") {
        return out;
    }
    let internal_local = spec.internal_traffic_policy.as_deref() == Some("Local");
    let external_local = spec.external_traffic_policy.as_deref() == Some("Local");
    let affinity = (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
        let config = spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref());
        config.and_then(|c| c.timeout_seconds).unwrap_or(AFFINITY_TIMEOUT_S)
    });
    let internal: Vec<Ipv4Addr> = spec.cluster_ip.iter().filter_map(|ip| ip.parse().ok()).collect();
    let ingress = service.status.iter().flat_map(|s| s.load_balancer.iter()).flat_map(|l| l.ingress.iter().flatten());
    let balanced = ingress.filter_map(|i| i.ip.as_ref()?.parse().ok());
    let external: Vec<Ipv4Addr> =
        spec.external_ips.iter().flatten().filter_map(|ip| ip.parse().ok()).chain(balanced).collect();
    for port in ports(service, slices, node) {
        let inside = if internal_local { &port.local } else { &port.all };
        let outside = if external_local { &port.local } else { &port.all };
        for ip in &internal {
            out.address(&port, *ip, inside, affinity);
        }
        for ip in &external {
            out.address(&port, *ip, outside, affinity);
        }
        if let Some(number) = port.spec.node_port.filter(|n| *n > 0) {
            out.node_port(&port, number, outside, affinity, external_local);
        }
    }
    out
}

/// What a pod of this node with host ports needs.
pub fn host_ports(pod: &Pod) -> Contribution {
    let mut out = Contribution::default();
    let (Some(spec), Some(status)) = (&pod.spec, &pod.status) else { return out };
    let over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    let Some(ip) = status.pod_ip.as_ref().and_then(|ip| ip.parse::<Ipv4Addr>().ok()) else { return out };
    if over || spec.host_network == Some(true) {
        return out;
    }
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    for port in containers.flat_map(|c| c.ports.iter().flatten()) {
        let Some(host_port) = port.host_port.filter(|p| *p > 0) else { continue };
        let protocol = port.protocol.as_deref().unwrap_or("TCP").to_lowercase();
        let value = format!("{ip} . {}", port.container_port);
        match port.host_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "0.0.0.0") {
            Some(host_ip) => {
                out.elements.insert(("host_ports", format!("{host_ip} . {protocol} . {host_port}")), value)
            }
            None => out.elements.insert(("host_ports_any", format!("{protocol} . {host_port}")), value),
        };
    }
    // A pod may reach itself through its host port.
    if !out.elements.is_empty() {
        out.hairpins.insert(ip);
    }
    out
}

impl Contribution {
    /// Packets to `ip` at the Service's port go to one of `targets`.
    fn address(&mut self, port: &Port<'_>, ip: Ipv4Addr, targets: &[Target], affinity: Option<i32>) {
        let key = format!("{ip} . {} . {}", port.protocol, port.spec.port);
        if targets.is_empty() {
            // Endpoints elsewhere only (traffic policy Local): drop, so that a load balancer tries another node.
            let verdict = if port.all.is_empty() { "goto refuse" } else { "drop" };
            self.elements.insert(("without_endpoints", key), verdict.into());
            return;
        }
        self.hairpins(targets);
        if port.protocol == "udp" {
            self.udp.insert(format!("{ip} {}", port.spec.port), targets.iter().copied().collect());
        }
        let verdict = match affinity {
            Some(timeout_s) => {
                let chain = format!("svc_{}", port.id);
                self.affinity_chains(&chain, port, targets, timeout_s, 0);
                format!("goto {chain}")
            }
            None => {
                for (i, target) in targets.iter().enumerate() {
                    let element = (targets.len(), format!("{key} . {i:#010x}"));
                    self.cluster.insert(element, format!("{} . {}", target.ip, target.port));
                }
                format!("goto cluster_{}", targets.len())
            }
        };
        self.elements.insert(("services", key), verdict);
    }

    /// Packets to the node's own addresses at `number` go to one of `targets`.
    fn node_port(
        &mut self,
        port: &Port<'_>,
        number: i32,
        targets: &[Target],
        affinity: Option<i32>,
        keep_source: bool,
    ) {
        let key = format!("{} . {number}", port.protocol);
        if targets.is_empty() {
            let verdict = if port.all.is_empty() { "goto refuse" } else { "drop" };
            self.elements.insert(("node_ports_without_endpoints", key), verdict.into());
            return;
        }
        self.hairpins(targets);
        if port.protocol == "udp" {
            self.udp.insert(format!("* {number}"), targets.iter().copied().collect());
        }
        let mark = if keep_source { 0 } else { MASQUERADE_MARK };
        let verdict = match affinity {
            Some(timeout_s) => {
                let chain = format!("ext_{}", port.id);
                self.affinity_chains(&chain, port, targets, timeout_s, mark);
                format!("goto {chain}")
            }
            None => {
                for (i, target) in targets.iter().enumerate() {
                    let element = (targets.len(), format!("{key} . {:#010x}", mark as usize + i));
                    self.node_port.insert(element, format!("{} . {}", target.ip, target.port));
                }
                format!("goto node_port_{}_{}", if keep_source { "local" } else { "cluster" }, targets.len())
            }
        };
        self.elements.insert(("node_ports", key), verdict);
    }

    fn hairpins(&mut self, targets: &[Target]) {
        self.hairpins.extend(targets.iter().map(|target| target.ip));
    }

    /// A chain for each endpoint that remembers its clients, and one that asks those memories first.
    fn affinity_chains(&mut self, chain: &str, port: &Port<'_>, targets: &[Target], timeout_s: i32, mark: u32) {
        let mut rules = Vec::new();
        let names: Vec<String> =
            targets.iter().map(|t| format!("{chain}_{}_{}", t.ip.to_string().replace('.', "_"), t.port)).collect();
        for name in &names {
            rules.push(format!("ip saddr @clients_{name} goto {name}"));
        }
        for (i, (name, target)) in names.iter().zip(targets).enumerate() {
            let left = targets.len() - i;
            let pick = if left == 1 { String::new() } else { format!("numgen random mod {left} 0 ") };
            rules.push(format!("{pick}goto {name}"));
            self.affinity_sets.insert(format!("clients_{name}"), timeout_s);
            let mut own = vec![format!("update @clients_{name} {{ ip saddr }}")];
            if mark != 0 {
                own.push(format!("meta mark set {mark:#x}"));
            }
            own.push(format!("meta l4proto {} dnat to {}:{}", port.protocol, target.ip, target.port));
            self.chains.insert(name.clone(), own);
        }
        self.chains.insert(chain.to_owned(), rules);
    }
}

fn ports<'a>(service: &'a Service, slices: &[Arc<EndpointSlice>], node: &Node) -> Vec<Port<'a>> {
    let namespace = service.metadata.namespace.as_deref().unwrap_or("");
    let name = service.metadata.name.as_deref().unwrap_or("");
    let specs = service.spec.iter().flat_map(|s| s.ports.iter().flatten());
    specs
        .map(|spec| {
            let protocol = spec.protocol.as_deref().unwrap_or("TCP");
            let targets = |local| targets(slices, spec.name.as_deref(), protocol, local);
            Port {
                id: chain_id(&format!("{namespace}_{name}_{}_{}", protocol.to_lowercase(), spec.port)),
                protocol: protocol.to_lowercase(),
                spec,
                all: targets(None),
                local: targets(Some(&node.name)),
            }
        })
        .collect()
}

/// Names of chains take letters, digits and `_`; a `-` of a name becomes `__`, a `.` (which no name of ours mixes with
/// it) `_d`.
fn chain_id(text: &str) -> String {
    let id = text.replace('-', "__").replace('.', "_d");
    if id.len() <= CHAIN_ID_BYTES_MAX {
        return id;
    }
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    format!("{}_{:016x}", &id[..CHAIN_ID_BYTES_MAX - 17], hasher.finish())
}

/// Ready endpoints of one port, on one node if given; endpoints that are shutting down but still serve, if no other is
/// left.
fn targets(slices: &[Arc<EndpointSlice>], name: Option<&str>, protocol: &str, on: Option<&str>) -> Vec<Target> {
    let (mut ready, mut ending) = (BTreeSet::new(), BTreeSet::new());
    for slice in slices.iter().filter(|s| s.address_type == "IPv4") {
        let port = slice.ports.iter().flatten().find(|p| {
            p.name.as_deref().unwrap_or("") == name.unwrap_or("") && p.protocol.as_deref().unwrap_or("TCP") == protocol
        });
        let Some(port) = port.and_then(|p| p.port).and_then(|p| u16::try_from(p).ok()) else { continue };
        for endpoint in &slice.endpoints {
            if on.is_some() && endpoint.node_name.as_deref() != on {
                continue;
            }
            let Some(ip) = endpoint.addresses.first().and_then(|a| a.parse().ok()) else { continue };
            let conditions = endpoint.conditions.as_ref();
            let is_ready = conditions.and_then(|c| c.ready).unwrap_or(true);
            let is_ending = conditions.and_then(|c| c.terminating).unwrap_or(false);
            let is_serving = conditions.and_then(|c| c.serving).unwrap_or(is_ready);
            if is_ready {
                ready.insert(Target { ip, port });
            } else if is_ending && is_serving {
                ending.insert(Target { ip, port });
            }
        }
    }
    let chosen = if ready.is_empty() { ending } else { ready };
    chosen.into_iter().collect()
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
