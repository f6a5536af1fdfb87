//! Slices for Endpoints that somebody writes by hand, for services without a selector.

use std::collections::BTreeMap;

use controller_kit::{Context, Controller, Error, Expectations, Handle, Key, Next, Row, Runner, Writer, owner};
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointSlice};

use super::plan::{Frame, MANAGED_BY, Ports, SERVICE_LABEL, Wanted, plan};
use super::{by_service, carry_out, managed_by, service_of};
use crate::service;

const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP_LABEL: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER_ANNOTATION: &str = "control-plane.alpha.kubernetes.io/leader";
/// Addresses mirrored per subset; more are left out.
const ADDRESSES_PER_SUBSET_MAX: usize = 1_000;

pub(crate) static ROW: Row = Row {
    name: "endpointslicemirroring",
    account: "endpointslicemirroring-controller",
    inputs: &["Endpoints", "Service", "EndpointSlice"],
    outputs: &["EndpointSlice"],
    workers: 2,
};

pub(crate) async fn start(context: Context) {
    let (endpoints, services) = (context.informer::<Endpoints>(), context.informer::<Service>());
    let slices = context.informer::<EndpointSlice>();
    slices.store().add_index(SERVICE_LABEL, by_service);
    let by_slice = |slice: &EndpointSlice| if managed_by(slice, MANAGER) { service_of(slice) } else { Vec::new() };
    let runner =
        Runner::new(&context).primary(&endpoints).watch(&services, |own| vec![Key::of(own)]).watch(&slices, by_slice);
    let writer = context.writer();
    runner.run(Driver { writer, endpoints, services, slices, expectations: Expectations::default() }).await;
}

struct Driver {
    writer: Writer,
    endpoints: Handle<Endpoints>,
    services: Handle<Service>,
    slices: Handle<EndpointSlice>,
    expectations: Expectations,
}

impl Controller for Driver {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        if !self.expectations.satisfied(key, self.slices.store()) {
            return Ok(Next::Done);
        }
        let service = self.services.store().get(key).filter(|service| !service::has_selector(service));
        let source = self.endpoints.store().get(key).filter(|endpoints| service.is_some() && is_mirrored(endpoints));
        let mut existing = self.slices.store().by_index(SERVICE_LABEL, &key.to_string());
        existing.retain(|slice| managed_by(slice, MANAGER));
        let (frame, wanted) = match &source {
            Some(source) => (frame(source), wanted(source.subsets.as_deref().unwrap_or_default())),
            None if existing.is_empty() => return Ok(Next::Done),
            None => (frame(&Endpoints::default()), Wanted::new()),
        };
        carry_out(&self.writer, &self.expectations, key, plan(&frame, wanted, existing)).await
    }
}

fn is_mirrored(endpoints: &Endpoints) -> bool {
    let annotations = endpoints.metadata.annotations.as_ref();
    owner::labels(endpoints).get(SKIP_LABEL).is_none_or(|skip| skip != "true")
        && !annotations.is_some_and(|annotations| annotations.contains_key(LEADER_ANNOTATION))
        && endpoints.metadata.deletion_timestamp.is_none()
}

fn frame(endpoints: &Endpoints) -> Frame {
    let name = endpoints.metadata.name.clone().unwrap_or_default();
    let mut labels = endpoints.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_LABEL.into(), name.clone());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    Frame {
        namespace: endpoints.metadata.namespace.clone().unwrap_or_default(),
        base: name,
        labels,
        owner: owner::controller_ref(endpoints),
        trigger: None,
    }
}

fn wanted(subsets: &[EndpointSubset]) -> Wanted {
    let mut wanted: Wanted = BTreeMap::new();
    for subset in subsets {
        let ports = subset.ports.iter().flatten();
        let mut ports: Ports = ports
            .map(|port| {
                (
                    Some(port.name.clone().unwrap_or_default()),
                    Some(port.port),
                    port.protocol.clone(),
                    port.app_protocol.clone(),
                )
            })
            .collect();
        ports.sort();
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let waiting = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
        for (address, ready) in ready.chain(waiting).take(ADDRESSES_PER_SUBSET_MAX) {
            let family = if address.ip.contains(':') { "IPv6" } else { "IPv4" };
            wanted.entry((family.into(), ports.clone())).or_default().push(endpoint(address, ready));
        }
    }
    wanted
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone(),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn families_are_split_and_leaders_left_out() {
        let endpoints: Endpoints = serde_json::from_value(json!({"metadata": {"name": "ext", "namespace": "n"},
            "subsets": [{"addresses": [{"ip": "10.1.1.1"}, {"ip": "fd00::1"}], "notReadyAddresses": [{"ip": "10.1.1.2"}],
                "ports": [{"port": 443}]}]}))
        .unwrap();
        let wanted = wanted(endpoints.subsets.as_deref().unwrap());
        let sizes: Vec<(&str, usize)> =
            wanted.iter().map(|((family, _), list)| (family.as_str(), list.len())).collect();
        assert_eq!(sizes, [("IPv4", 2), ("IPv6", 1)]);
        assert!(is_mirrored(&endpoints));
        let mut leader = endpoints;
        leader.metadata.annotations = Some(BTreeMap::from([(LEADER_ANNOTATION.into(), "{}".into())]));
        assert!(!is_mirrored(&leader));
    }
}
