//! What a name of the cluster's zone means, as upstream's DNS specification has it. Pure: objects in, records out.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Version of the DNS specification that is implemented, as `dns-version` answers it.
pub const SPECIFICATION: &str = "1.1.0";
const SRV_WEIGHT_TOTAL: u16 = 100;

/// Reads of the API that names need.
pub trait Cluster {
    /// A Service.
    fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>>;
    /// The slices of a Service.
    fn slices(&self, namespace: &str, name: &str) -> Vec<Arc<EndpointSlice>>;
    /// Whether the namespace exists.
    fn has_namespace(&self, name: &str) -> bool;
    /// Services that have this cluster IP.
    fn services_at(&self, ip: Ipv4Addr) -> Vec<Arc<Service>>;
    /// Slices that have this endpoint.
    fn slices_at(&self, ip: Ipv4Addr) -> Vec<Arc<EndpointSlice>>;
}

/// One record of an answer; names are relative to the zone unless they are external.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Record {
    /// An address.
    A(Ipv4Addr),
    /// A service port: priority is 0.
    Srv {
        /// Share among the records of the answer.
        weight: u16,
        /// Port.
        port: u16,
        /// Name below the zone.
        target: String,
        /// Address of `target`, for the additional section.
        address: Ipv4Addr,
    },
    /// Another name, anywhere.
    Cname(String),
    /// A name below the zone.
    Ptr(String),
    /// Text.
    Txt(String),
}

/// What is known of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// The name exists; these are all its records, of whatever type.
    Records(Vec<Record>),
    /// The name does not exist.
    Nothing,
}

/// What the name `labels` (below the zone, lower case, most significant last) means.
pub fn lookup(labels: &[&str], cluster: &dyn Cluster) -> Meaning {
    match labels {
        [] | ["svc" | "pod"] => Meaning::Records(Vec::new()),
        ["dns-version"] => Meaning::Records(vec![Record::Txt(SPECIFICATION.into())]),
        [namespace, "svc" | "pod"] if cluster.has_namespace(namespace) => Meaning::Records(Vec::new()),
        [address, namespace, "pod"] => pod(address, namespace, cluster),
        [service, namespace, "svc"] => of_service(service, namespace, cluster),
        [host, service, namespace, "svc"] => of_host(host, service, namespace, cluster),
        [port, protocol, service, namespace, "svc"] => of_port(port, protocol, service, namespace, cluster),
        _ => Meaning::Nothing,
    }
}

/// The names of an address: of a Service, else of the endpoints that have it.
pub fn reverse(ip: Ipv4Addr, cluster: &dyn Cluster) -> Vec<Record> {
    let place = |meta: &kube::core::ObjectMeta, name: &str| {
        format!("{name}.{}.svc", meta.namespace.as_deref().unwrap_or_default())
    };
    let services = cluster.services_at(ip);
    if !services.is_empty() {
        let name = |s: &Arc<Service>| Record::Ptr(place(&s.metadata, s.metadata.name.as_deref().unwrap_or_default()));
        return services.iter().map(name).collect();
    }
    let mut found = BTreeSet::new();
    for slice in cluster.slices_at(ip) {
        let service = slice.metadata.labels.as_ref().and_then(|l| l.get("kubernetes.io/service-name").cloned());
        let Some(service) = service else { continue };
        for endpoint in slice.endpoints.iter().filter(|e| addresses(e).any(|a| a == ip)) {
            let service = place(&slice.metadata, &service);
            found.insert(Record::Ptr(format!("{}.{service}", host_name(endpoint, ip))));
        }
    }
    found.into_iter().collect()
}

fn pod(address: &str, namespace: &str, cluster: &dyn Cluster) -> Meaning {
    match address.replace('-', ".").parse() {
        Ok(ip) if cluster.has_namespace(namespace) => Meaning::Records(vec![Record::A(ip)]),
        _ => Meaning::Nothing,
    }
}

fn of_service(name: &str, namespace: &str, cluster: &dyn Cluster) -> Meaning {
    let Some(service) = cluster.service(namespace, name) else { return Meaning::Nothing };
    if let Some(target) = external_name(&service) {
        return Meaning::Records(vec![Record::Cname(target)]);
    }
    let mut records = Vec::new();
    if let Some(ip) = cluster_ip(&service) {
        records.push(Record::A(ip));
    } else {
        let ips: BTreeSet<_> = ready(&service, cluster).into_iter().map(|(ip, _, _)| ip).collect();
        records.extend(ips.into_iter().map(Record::A));
        if records.is_empty() {
            return Meaning::Nothing;
        }
    }
    records.extend(port_records(&service, None, cluster));
    Meaning::Records(records)
}

fn of_host(host: &str, name: &str, namespace: &str, cluster: &dyn Cluster) -> Meaning {
    // `_tcp.svc.ns.svc` exists as the parent of port names.
    let Some(service) = cluster.service(namespace, name) else { return Meaning::Nothing };
    if host == "_tcp" || host == "_udp" {
        return Meaning::Records(Vec::new());
    }
    if cluster_ip(&service).is_some() || external_name(&service).is_some() {
        return Meaning::Nothing;
    }
    let named = ready(&service, cluster).into_iter().filter(|(_, named, _)| named == host);
    let ips: BTreeSet<_> = named.map(|(ip, _, _)| ip).collect();
    if ips.is_empty() { Meaning::Nothing } else { Meaning::Records(ips.into_iter().map(Record::A).collect()) }
}

fn of_port(port: &str, protocol: &str, name: &str, namespace: &str, cluster: &dyn Cluster) -> Meaning {
    let (Some(port), Some(protocol)) = (port.strip_prefix('_'), protocol.strip_prefix('_')) else {
        return Meaning::Nothing;
    };
    let Some(service) = cluster.service(namespace, name) else { return Meaning::Nothing };
    let records = port_records(&service, Some((port, protocol)), cluster);
    if records.is_empty() { Meaning::Nothing } else { Meaning::Records(records) }
}

/// SRV records of a Service: of all its ports, or of the one of that name and protocol.
fn port_records(service: &Service, only: Option<(&str, &str)>, cluster: &dyn Cluster) -> Vec<Record> {
    let wanted = |name: &str, protocol: &str| {
        only.is_none_or(|(n, p)| n == name && protocol.eq_ignore_ascii_case(p)) && !name.is_empty()
    };
    let meta = &service.metadata;
    let place =
        format!("{}.{}.svc", meta.name.as_deref().unwrap_or_default(), meta.namespace.as_deref().unwrap_or_default());
    let mut found = BTreeSet::new();
    if let Some(address) = cluster_ip(service) {
        for port in service.spec.iter().flat_map(|s| s.ports.iter().flatten()) {
            let named = wanted(port.name.as_deref().unwrap_or(""), port.protocol.as_deref().unwrap_or("TCP"));
            if let (true, Ok(number)) = (named, u16::try_from(port.port)) {
                found.insert((number, place.clone(), address));
            }
        }
    } else if external_name(service).is_none() {
        for (address, host, ports) in ready(service, cluster) {
            for (name, protocol, number) in ports {
                if wanted(&name, &protocol) {
                    found.insert((number, format!("{host}.{place}"), address));
                }
            }
        }
    }
    let weight = SRV_WEIGHT_TOTAL / u16::try_from(found.len().max(1)).unwrap_or(SRV_WEIGHT_TOTAL);
    let record = |(port, target, address)| Record::Srv { weight: weight.max(1), port, target, address };
    found.into_iter().map(record).collect()
}

/// Port name, protocol and number of an endpoint.
type Ports = Vec<(String, String, u16)>;

/// Endpoints of a headless Service that may be named: address, host name, ports.
fn ready(service: &Service, cluster: &dyn Cluster) -> Vec<(Ipv4Addr, String, Ports)> {
    let meta = &service.metadata;
    let publish_all = service.spec.as_ref().and_then(|s| s.publish_not_ready_addresses).unwrap_or(false);
    let slices =
        cluster.slices(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
    let mut out = Vec::new();
    for slice in slices {
        let ports: Ports = slice
            .ports
            .iter()
            .flatten()
            .filter_map(|p| {
                let number = u16::try_from(p.port?).ok()?;
                Some((p.name.clone().unwrap_or_default(), p.protocol.clone().unwrap_or_else(|| "TCP".into()), number))
            })
            .collect();
        for endpoint in &slice.endpoints {
            let is_ready = endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true);
            if is_ready || publish_all {
                out.extend(addresses(endpoint).map(|ip| (ip, host_name(endpoint, ip), ports.clone())));
            }
        }
    }
    out
}

fn addresses(endpoint: &Endpoint) -> impl Iterator<Item = Ipv4Addr> + '_ {
    endpoint.addresses.iter().filter_map(|a| a.parse().ok())
}

/// The endpoint's host name, or its address with dashes.
fn host_name(endpoint: &Endpoint, ip: Ipv4Addr) -> String {
    match endpoint.hostname.as_deref().filter(|h| !h.is_empty()) {
        Some(name) => name.to_owned(),
        None => ip.to_string().replace('.', "-"),
    }
}

fn cluster_ip(service: &Service) -> Option<Ipv4Addr> {
    service.spec.as_ref()?.cluster_ip.as_ref()?.parse().ok()
}

fn external_name(service: &Service) -> Option<String> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") { spec.external_name.clone() } else { None }
}

#[cfg(test)]
#[path = "zone_tests.rs"]
mod tests;
