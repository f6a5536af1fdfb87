//! What the endpoint controllers ask of services and pods: who belongs behind a service, and at which ports.

use std::sync::Arc;

use controller_kit::{Key, Store, owner};
use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::pods;

pub const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";

/// Whether the service chooses its pods by labels, and the pod is one of them.
pub fn chooses(service: &Service, pod: &Pod) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let labels = owner::labels(pod);
    selector
        .filter(|selector| !selector.is_empty())
        .is_some_and(|selector| selector.iter().all(|(key, value)| labels.get(key) == Some(value)))
}

/// Whether pods are found for it here; without a selector somebody else does that.
pub fn has_selector(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.selector.as_ref()).is_some_and(|selector| !selector.is_empty())
}

pub fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

pub fn publishes_unready(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false)
}

pub fn ports(service: &Service) -> &[ServicePort] {
    service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default()
}

/// The services of `pod`'s namespace that choose it.
pub fn services_of(store: &Store<Service>, pod: &Pod) -> Vec<Key> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let services = store.list_namespace(namespace);
    services.iter().filter(|service| chooses(service, pod)).map(|service| Key::of(&**service)).collect()
}

/// The pods that `service` chooses and that have an address and have not ended.
pub fn pods_of(store: &Store<Pod>, service: &Service) -> Vec<Arc<Pod>> {
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    let mut chosen = store.list_namespace(namespace);
    chosen.retain(|pod| chooses(service, pod) && !pods::is_terminal(pod) && !addresses(pod).is_empty());
    chosen
}

/// The pod's addresses, the primary first.
pub fn addresses(pod: &Pod) -> Vec<&str> {
    let Some(status) = pods::status(pod) else { return Vec::new() };
    match status.pod_ips.as_deref() {
        Some(ips) if !ips.is_empty() => ips.iter().map(|ip| ip.ip.as_str()).collect(),
        _ => status.pod_ip.as_deref().filter(|ip| !ip.is_empty()).into_iter().collect(),
    }
}

/// The number of the port at which `pod` serves `port`, if it does.
pub fn target_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    match port.target_port.as_ref() {
        None => Some(port.port),
        Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let wanted = port.protocol.as_deref().unwrap_or("TCP");
            let spec = pods::spec(pod)?;
            let sidecars =
                spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
            let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
            let mut found = ports
                .filter(|have| have.name.as_ref() == Some(name) && have.protocol.as_deref().unwrap_or("TCP") == wanted);
            found.next().map(|have| have.container_port)
        }
    }
}

/// The name by which the pod is found under the service's domain, if it asks for one.
pub fn hostname(pod: &Pod, service: &Service) -> Option<String> {
    let spec = pods::spec(pod)?;
    let matches = spec.subdomain == service.metadata.name && pod.metadata.namespace == service.metadata.namespace;
    spec.hostname.clone().filter(|hostname| !hostname.is_empty() && matches)
}
