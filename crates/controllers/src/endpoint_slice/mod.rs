//! EndpointSlices: the addresses behind each service, in slices that stay small.
//!
//! [`plan`] decides what the slices hold, [`mirror`] does the same for Endpoints that somebody writes by hand.

pub mod mirror;
mod plan;

use std::collections::BTreeMap;
use std::sync::Arc;

use controller_kit::{Context, Controller, Error, Expectations, Handle, Key, Next, Remove, Row, Runner, Writer, owner};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointSlice};

use crate::endpoints::{pod_reference, trigger};
use crate::{pods, service};
use plan::{Frame, MANAGED_BY, Plan, Ports, SERVICE_LABEL, Wanted};

const MANAGER: &str = "endpointslice-controller.k8s.io";
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

pub(crate) static ROW: Row = Row {
    name: "endpoint-slice",
    account: "endpointslice-controller",
    inputs: &["Service", "Pod", "Node", "EndpointSlice"],
    outputs: &["EndpointSlice", "Event"],
    workers: 5,
};

pub(crate) async fn start(context: Context) {
    let services = context.informer::<Service>();
    let (pods, nodes) = (context.informer::<Pod>(), context.informer::<Node>());
    let slices = context.informer::<EndpointSlice>();
    slices.store().add_index(SERVICE_LABEL, by_service);
    let store = services.store().clone();
    let by_pod = move |pod: &Pod| service::services_of(&store, pod);
    let by_slice = |slice: &EndpointSlice| if managed_by(slice, MANAGER) { service_of(slice) } else { Vec::new() };
    let runner = Runner::new(&context).primary(&services).watch(&pods, by_pod).watch(&slices, by_slice).reads(&nodes);
    let writer = context.writer();
    runner.run(Driver { writer, services, pods, nodes, slices, expectations: Expectations::default() }).await;
}

fn by_service(slice: &EndpointSlice) -> Vec<String> {
    service_of(slice).iter().map(Key::to_string).collect()
}

fn service_of(slice: &EndpointSlice) -> Vec<Key> {
    let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
    owner::labels(slice).get(SERVICE_LABEL).map(|name| Key::new(namespace, name)).into_iter().collect()
}

fn managed_by(slice: &EndpointSlice, manager: &str) -> bool {
    owner::labels(slice).get(MANAGED_BY).is_some_and(|by| by == manager)
}

struct Driver {
    writer: Writer,
    services: Handle<Service>,
    pods: Handle<Pod>,
    nodes: Handle<Node>,
    slices: Handle<EndpointSlice>,
    expectations: Expectations,
}

impl Controller for Driver {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        // Slices of a service that is gone go with it through their owner reference.
        let Some(service) = self.services.store().get(key).filter(|service| service::has_selector(service)) else {
            self.expectations.forget(key);
            return Ok(Next::Done);
        };
        if service.metadata.deletion_timestamp.is_some() || !self.expectations.satisfied(key, self.slices.store()) {
            return Ok(Next::Done);
        }
        let pods = service::pods_of(self.pods.store(), &service);
        let zone = |node: &str| {
            let node = self.nodes.store().find("", node)?;
            owner::labels(&*node).get(ZONE_LABEL).cloned()
        };
        let wanted = wanted(&service, &pods, zone);
        let mut existing = self.slices.store().by_index(SERVICE_LABEL, &key.to_string());
        existing.retain(|slice| managed_by(slice, MANAGER));
        let frame = frame(&service, &pods);
        carry_out(&self.writer, &self.expectations, key, plan::plan(&frame, wanted, existing)).await
    }
}

/// Writes what `plan` says, for the service `key`.
async fn carry_out(writer: &Writer, expectations: &Expectations, key: &Key, plan: Plan) -> Result<Next, Error> {
    for slice in &plan.create {
        match writer.create(slice).await {
            Ok(made) => expectations.wrote(key, &made),
            Err(error) if error.is_namespace_terminating() => return Ok(Next::Done),
            Err(error) => return Err(error),
        }
    }
    for slice in &plan.update {
        expectations.wrote(key, &writer.replace(slice).await?);
    }
    for slice in &plan.delete {
        writer.delete::<EndpointSlice>(&Key::of(&**slice), &Remove::this(&**slice)).await?;
        expectations.deleted(key, &**slice);
    }
    Ok(Next::Done)
}

fn frame(service: &Service, pods: &[Arc<Pod>]) -> Frame {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(service::HEADLESS_LABEL);
    if service::is_headless(service) {
        labels.insert(service::HEADLESS_LABEL.into(), String::new());
    }
    let name = service.metadata.name.clone().unwrap_or_default();
    labels.insert(SERVICE_LABEL.into(), name.clone());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    Frame {
        namespace: service.metadata.namespace.clone().unwrap_or_default(),
        base: name,
        labels,
        owner: owner::controller_ref(service),
        trigger: Some(trigger(service, pods)),
    }
}

/// The endpoints that `service` should have; a family without any has one empty set.
fn wanted(service: &Service, pods: &[Arc<Pod>], zone: impl Fn(&str) -> Option<String>) -> Wanted {
    let mut wanted = Wanted::new();
    for family in families(service) {
        let mut groups: BTreeMap<Ports, Vec<Endpoint>> = BTreeMap::new();
        for pod in pods {
            let of_family = |ip: &&str| ip.contains(':') == (family == "IPv6");
            let Some(ip) = service::addresses(pod).into_iter().find(of_family) else { continue };
            let ports = ports(service, pod);
            if ports.is_empty() && !service::ports(service).is_empty() {
                continue;
            }
            groups.entry(ports).or_default().push(endpoint(service, pod, ip, &zone));
        }
        if groups.is_empty() {
            groups.insert(Ports::new(), Vec::new());
        }
        wanted.extend(groups.into_iter().map(|(ports, endpoints)| ((family.clone(), ports), endpoints)));
    }
    wanted
}

fn families(service: &Service) -> Vec<String> {
    let spec = service.spec.as_ref();
    match spec.and_then(|spec| spec.ip_families.clone()).filter(|families| !families.is_empty()) {
        Some(families) => families,
        None if spec.and_then(|spec| spec.cluster_ip.as_ref()).is_some_and(|ip| ip.contains(':')) => {
            vec!["IPv6".into()]
        }
        None => vec!["IPv4".into()],
    }
}

fn ports(service: &Service, pod: &Pod) -> Ports {
    let mut ports: Ports = service::ports(service)
        .iter()
        .filter_map(|port| {
            let number = service::target_port(pod, port)?;
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
            Some((Some(port.name.clone().unwrap_or_default()), Some(number), Some(protocol), port.app_protocol.clone()))
        })
        .collect();
    ports.sort();
    ports
}

fn endpoint(service: &Service, pod: &Pod, ip: &str, zone: &impl Fn(&str) -> Option<String>) -> Endpoint {
    let (serving, terminating) = (pods::is_ready(pod), pods::is_deleting(pod));
    let ready = service::publishes_unready(service) || (serving && !terminating);
    let node = Some(pods::node_name(pod).to_owned()).filter(|node| !node.is_empty());
    Endpoint {
        addresses: vec![ip.to_owned()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: service::hostname(pod, service),
        zone: node.as_deref().and_then(zone),
        node_name: node,
        target_ref: Some(pod_reference(pod)),
        ..Endpoint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::build::pod;
    use serde_json::json;

    #[test]
    fn endpoints_tell_readiness_termination_and_zone() {
        let service: Service = serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "n"},
            "spec": {"selector": {"a": "b"}, "clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"],
                "ports": [{"port": 80, "targetPort": 8080}]}}))
        .unwrap();
        let backend = |name: &str, deleted: Option<&str>| {
            pod(
                name,
                json!({"metadata": {"deletionTimestamp": deleted}, "spec": {"nodeName": "a", "containers": []},
                "status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}}),
            )
        };
        let pods = [backend("live", None), backend("going", Some("2024-01-01T00:00:00Z"))];
        let wanted = wanted(&service, &pods, |node| Some(format!("zone-of-{node}")));
        let ((family, ports), endpoints) = wanted.iter().next().unwrap();
        assert_eq!((family.as_str(), ports[0].1, ports[0].0.as_deref()), ("IPv4", Some(8080), Some("")));
        assert_eq!(endpoints[0].zone.as_deref(), Some("zone-of-a"));
        let flags = |endpoint: &Endpoint| {
            let conditions = endpoint.conditions.clone().unwrap();
            (conditions.ready.unwrap(), conditions.serving.unwrap(), conditions.terminating.unwrap())
        };
        assert_eq!(endpoints.iter().map(flags).collect::<Vec<_>>(), [(true, true, false), (false, true, true)]);
    }
}
