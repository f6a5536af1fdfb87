//! Endpoints: the addresses behind each service, in the old one-object form.

use std::collections::BTreeMap;
use std::sync::Arc;

use controller_kit::{Context, Controller, Error, Handle, Key, Next, Remove, Row, Runner, Writer, events};
use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
};

use crate::pods;
use crate::service;

/// Addresses in one object; the rest are left out and the object says so.
const ADDRESSES_MAX: usize = 1_000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

pub(crate) static ROW: Row = Row {
    name: "endpoint",
    account: "endpoint-controller",
    inputs: &["Service", "Pod", "Endpoints"],
    outputs: &["Endpoints", "Event"],
    workers: 5,
};

pub(crate) async fn start(context: Context) {
    let services = context.informer::<Service>();
    let (pods, endpoints) = (context.informer::<Pod>(), context.informer::<Endpoints>());
    let store = services.store().clone();
    let by_pod = move |pod: &Pod| service::services_of(&store, pod);
    let runner =
        Runner::new(&context).primary(&services).watch(&pods, by_pod).watch(&endpoints, |own| vec![Key::of(own)]);
    let writer = context.writer();
    runner.run(Driver { context, writer, services, pods, endpoints }).await;
}

struct Driver {
    context: Context,
    writer: Writer,
    services: Handle<Service>,
    pods: Handle<Pod>,
    endpoints: Handle<Endpoints>,
}

impl Controller for Driver {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let there = self.endpoints.store().get(key);
        let Some(service) = self.services.store().get(key) else {
            // Endpoints without a service are somebody's own (a leader's lock); only what we made goes with it.
            if let Some(left) = there.filter(|there| there.metadata.deletion_timestamp.is_none() && is_ours(there)) {
                self.writer.delete::<Endpoints>(key, &Remove::this(&*left)).await?;
            }
            return Ok(Next::Done);
        };
        if !service::has_selector(&service) {
            return Ok(Next::Done);
        }
        let pods = service::pods_of(self.pods.store(), &service);
        let Some(wanted) = plan(&service, &pods, there.as_deref()) else { return Ok(Next::Done) };
        let written = match there {
            Some(_) => self.writer.replace(&wanted).await,
            None => self.writer.create(&wanted).await,
        };
        match written {
            Ok(_) => Ok(Next::Done),
            Err(error) if error.is_namespace_terminating() => Ok(Next::Done),
            Err(error) => {
                if !error.is_conflict() {
                    let about = events::reference(&*service);
                    let message = format!("Failed to update endpoint {key}: {}", crate::text(&error));
                    self.context.events.record(about, events::Level::Warning, "FailedToUpdateEndpoint", message);
                }
                Err(error)
            }
        }
    }
}

/// Made by this controller, as the trigger annotation tells, and not by hand.
fn is_ours(endpoints: &Endpoints) -> bool {
    let annotations = endpoints.metadata.annotations.as_ref();
    annotations.is_some_and(|annotations| annotations.contains_key(TRIGGER))
}

const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// The Endpoints that `service` should have, if they differ from what is `there`.
fn plan(service: &Service, pods: &[Arc<Pod>], there: Option<&Endpoints>) -> Option<Endpoints> {
    let mut wanted = there.cloned().unwrap_or_default();
    wanted.metadata.name = service.metadata.name.clone();
    wanted.metadata.namespace = service.metadata.namespace.clone();
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(service::HEADLESS_LABEL);
    if service::is_headless(service) {
        labels.insert(service::HEADLESS_LABEL.into(), String::new());
    }
    wanted.metadata.labels = (!labels.is_empty()).then_some(labels);
    let (subsets, cut) = subsets(service, pods);
    wanted.subsets = (!subsets.is_empty()).then_some(subsets);
    let annotations = wanted.metadata.annotations.get_or_insert_default();
    if cut {
        annotations.insert(OVER_CAPACITY.into(), "truncated".into());
    } else {
        annotations.remove(OVER_CAPACITY);
    }
    annotations.insert(TRIGGER.into(), trigger(service, pods));
    let same = there.is_some_and(|there| {
        let over = |of: &Endpoints| of.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(OVER_CAPACITY));
        there.subsets == wanted.subsets && there.metadata.labels == wanted.metadata.labels && over(there) == cut
    });
    (!same).then_some(wanted)
}

/// The latest change that led here.
pub fn trigger(service: &Service, pods: &[Arc<Pod>]) -> String {
    let ready = pods.iter().filter_map(|pod| {
        let conditions = pods::status(pod).and_then(|status| status.conditions.as_ref());
        controller_kit::conditions::get(conditions, "Ready")?.last_transition_time.as_ref()
    });
    let created = service.metadata.creation_timestamp.as_ref();
    let latest = ready.chain(created).map(|time| time.0).max().unwrap_or_default();
    latest.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

type Ports = Vec<(Option<String>, i32, String, Option<String>)>;

/// Groups the addresses by the ports they serve; says whether some had to be left out.
fn subsets(service: &Service, pods: &[Arc<Pod>]) -> (Vec<EndpointSubset>, bool) {
    let unready = service::publishes_unready(service);
    let family_v6 = primary_is_v6(service);
    let mut groups: BTreeMap<Ports, (Vec<EndpointAddress>, Vec<EndpointAddress>)> = BTreeMap::new();
    let usable: Vec<&Arc<Pod>> = pods.iter().filter(|pod| unready || !pods::is_deleting(pod)).collect();
    // The ready ones first, so that these are kept when there are too many.
    let (ready, waiting): (Vec<&Arc<Pod>>, Vec<&Arc<Pod>>) =
        usable.into_iter().partition(|pod| unready || pods::is_ready(pod));
    let cut = ready.len() + waiting.len() > ADDRESSES_MAX;
    for (at, pod) in ready.iter().chain(&waiting).take(ADDRESSES_MAX).enumerate() {
        let Some(ip) = service::addresses(pod).into_iter().find(|ip| ip.contains(':') == family_v6) else { continue };
        let ports: Ports = service::ports(service)
            .iter()
            .filter_map(|port| {
                let number = service::target_port(pod, port)?;
                let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
                Some((port.name.clone().filter(|name| !name.is_empty()), number, protocol, port.app_protocol.clone()))
            })
            .collect();
        if ports.is_empty() && !service::ports(service).is_empty() {
            continue;
        }
        let group = groups.entry(ports).or_default();
        let list = if at < ready.len() { &mut group.0 } else { &mut group.1 };
        list.push(address(service, pod, ip));
    }
    let subset = |(ports, (mut ready, mut waiting)): (Ports, (Vec<EndpointAddress>, Vec<EndpointAddress>))| {
        ready.sort_by(|a, b| a.ip.cmp(&b.ip));
        waiting.sort_by(|a, b| a.ip.cmp(&b.ip));
        let ports: Vec<EndpointPort> = ports
            .into_iter()
            .map(|(name, port, protocol, app_protocol)| EndpointPort {
                name,
                port,
                protocol: Some(protocol),
                app_protocol,
            })
            .collect();
        EndpointSubset {
            addresses: (!ready.is_empty()).then_some(ready),
            not_ready_addresses: (!waiting.is_empty()).then_some(waiting),
            ports: (!ports.is_empty()).then_some(ports),
        }
    };
    (groups.into_iter().map(subset).collect(), cut)
}

fn primary_is_v6(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    let family = spec.and_then(|spec| spec.ip_families.as_ref()?.first().cloned());
    match family {
        Some(family) => family == "IPv6",
        None => spec.and_then(|spec| spec.cluster_ip.as_ref()).is_some_and(|ip| ip.contains(':')),
    }
}

fn address(service: &Service, pod: &Pod, ip: &str) -> EndpointAddress {
    EndpointAddress {
        ip: ip.to_owned(),
        hostname: service::hostname(pod, service),
        node_name: Some(pods::node_name(pod).to_owned()).filter(|node| !node.is_empty()),
        target_ref: Some(pod_reference(pod)),
    }
}

/// The reference from an address to its pod.
pub fn pod_reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".into()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::build::pod;
    use serde_json::json;

    fn service() -> Service {
        serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "n", "labels": {"x": "y"}},
            "spec": {"selector": {"app": "web"}, "clusterIP": "10.96.0.5",
                "ports": [{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}]}}))
        .unwrap()
    }

    fn backend(name: &str, ip: &str, ready: &str) -> Arc<Pod> {
        pod(
            name,
            json!({"metadata": {"labels": {"app": "web"}},
            "spec": {"nodeName": "a", "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}]},
            "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
                "conditions": [{"type": "Ready", "status": ready}]}}),
        )
    }

    #[test]
    fn addresses_are_grouped_sorted_and_stable() {
        let pods =
            [backend("b", "10.0.0.9", "True"), backend("a", "10.0.0.1", "True"), backend("c", "10.0.0.5", "False")];
        let wanted = plan(&service(), &pods, None).unwrap();
        let subset = &wanted.subsets.as_ref().unwrap()[0];
        let ips = |list: &Option<Vec<EndpointAddress>>| {
            list.iter().flatten().map(|address| address.ip.clone()).collect::<Vec<_>>()
        };
        assert_eq!(ips(&subset.addresses), ["10.0.0.1", "10.0.0.9"]);
        assert_eq!(ips(&subset.not_ready_addresses), ["10.0.0.5"]);
        assert_eq!(subset.ports.as_ref().unwrap()[0].port, 8080);
        assert!(plan(&service(), &pods, Some(&wanted)).is_none());
        let emptied = plan(&service(), &[], Some(&wanted)).unwrap();
        assert!(emptied.subsets.is_none());
    }

    #[test]
    fn a_headless_service_is_marked_and_needs_no_ports() {
        let mut headless = service();
        let spec = headless.spec.as_mut().unwrap();
        spec.cluster_ip = Some("None".into());
        spec.ports = None;
        let wanted = plan(&headless, &[backend("a", "10.0.0.1", "True")], None).unwrap();
        assert!(wanted.metadata.labels.unwrap().contains_key(service::HEADLESS_LABEL));
        assert!(wanted.subsets.unwrap()[0].ports.is_none());
    }
}
