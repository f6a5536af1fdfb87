//! Decides which EndpointSlices hold a set of endpoints: fill what is there, make few, touch few. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// Endpoints in one slice.
const ENDPOINTS_PER_SLICE_MAX: usize = 100;
pub const SERVICE_LABEL: &str = "kubernetes.io/service-name";
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// What all slices of one owner have in common.
pub struct Frame {
    pub namespace: String,
    /// What generated names begin with: the service's name.
    pub base: String,
    pub labels: BTreeMap<String, String>,
    pub owner: OwnerReference,
    pub trigger: Option<String>,
}

/// The endpoints that there should be: per address family and set of ports.
pub type Wanted = BTreeMap<(String, Ports), Vec<Endpoint>>;

/// A set of ports in an order that can be compared: name, number, protocol, application protocol.
pub type Ports = Vec<(Option<String>, Option<i32>, Option<String>, Option<String>)>;

/// What to write.
#[derive(Debug, Default)]
pub struct Plan {
    pub create: Vec<EndpointSlice>,
    pub update: Vec<EndpointSlice>,
    pub delete: Vec<Arc<EndpointSlice>>,
}

/// Brings `existing` to hold exactly `wanted`.
pub fn plan(frame: &Frame, mut wanted: Wanted, existing: Vec<Arc<EndpointSlice>>) -> Plan {
    let mut plan = Plan::default();
    let mut groups: BTreeMap<(String, Ports), Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in existing {
        groups.entry((slice.address_type.clone(), ports_of(&slice))).or_default().push(slice);
    }
    // A family that has endpoints needs no empty slice; one that has none keeps or gets exactly one.
    for (family, ports) in groups.keys().cloned().chain(wanted.keys().cloned()).collect::<BTreeSet<_>>() {
        let slices = groups.remove(&(family.clone(), ports.clone())).unwrap_or_default();
        match wanted.remove(&(family.clone(), ports.clone())) {
            Some(endpoints) => fill(frame, &family, &ports, endpoints, slices, &mut plan),
            None => plan.delete.extend(slices),
        }
    }
    reuse(frame, &mut plan);
    plan
}

/// A slice that would go is rewritten where one is needed: nobody sees a moment with both, or with neither.
fn reuse(frame: &Frame, plan: &mut Plan) {
    for made in std::mem::take(&mut plan.create) {
        let free = |old: &Arc<EndpointSlice>| {
            old.address_type == made.address_type && old.metadata.deletion_timestamp.is_none()
        };
        match plan.delete.iter().position(free) {
            Some(at) => {
                let metadata = plan.delete.remove(at).metadata.clone();
                plan.update.push(dress(frame, EndpointSlice { metadata, ..made }));
            }
            None => plan.create.push(made),
        }
    }
}

fn fill(
    frame: &Frame,
    family: &str,
    ports: &Ports,
    endpoints: Vec<Endpoint>,
    slices: Vec<Arc<EndpointSlice>>,
    plan: &mut Plan,
) {
    let mut left: BTreeMap<String, Endpoint> =
        endpoints.into_iter().map(|endpoint| (identity(&endpoint), endpoint)).collect();
    // Each slice keeps those of its endpoints that are still wanted, in their present form.
    let mut kept: Vec<(Arc<EndpointSlice>, Vec<Endpoint>)> = Vec::new();
    for slice in slices {
        let stay: Vec<Endpoint> =
            slice.endpoints.iter().filter_map(|endpoint| left.remove(&identity(endpoint))).collect();
        kept.push((slice, stay));
    }
    // New ones go where something changes anyway, then where there is room, then into new slices.
    kept.sort_by_key(|(slice, stay)| (slice.endpoints == *stay, slice.metadata.name.clone()));
    let mut new: Vec<Endpoint> = left.into_values().collect();
    for (slice, stay) in &mut kept {
        if new.is_empty() {
            break;
        }
        let room = ENDPOINTS_PER_SLICE_MAX.saturating_sub(stay.len()).min(new.len());
        if slice.metadata.deletion_timestamp.is_none() {
            stay.extend(new.drain(..room));
        }
    }
    let some = kept.iter().any(|(_, stay)| !stay.is_empty()) || !new.is_empty();
    let mut keep_one_empty = !some;
    for (slice, stay) in kept {
        if stay.is_empty() && !std::mem::take(&mut keep_one_empty) {
            plan.delete.push(slice);
            continue;
        }
        let changed = slice.endpoints != stay || slice.metadata.labels.as_ref() != Some(&frame.labels);
        if changed {
            plan.update.push(dress(frame, EndpointSlice { endpoints: stay, ..slice.as_ref().clone() }));
        }
    }
    while !new.is_empty() || std::mem::take(&mut keep_one_empty) {
        let part = new.drain(..new.len().min(ENDPOINTS_PER_SLICE_MAX)).collect();
        plan.create.push(fresh(frame, family, ports, part));
    }
}

fn fresh(frame: &Frame, family: &str, ports: &Ports, endpoints: Vec<Endpoint>) -> EndpointSlice {
    let ports = ports.iter().cloned().map(|(name, port, protocol, app_protocol)| EndpointPort {
        name,
        port,
        protocol,
        app_protocol,
    });
    let slice = EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(crate::pods::generate_name(&frame.base)),
            namespace: Some(frame.namespace.clone()),
            owner_references: Some(vec![frame.owner.clone()]),
            ..ObjectMeta::default()
        },
        address_type: family.to_owned(),
        ports: Some(ports.collect()),
        endpoints,
    };
    dress(frame, slice)
}

fn dress(frame: &Frame, mut slice: EndpointSlice) -> EndpointSlice {
    slice.metadata.labels = Some(frame.labels.clone());
    if let Some(trigger) = &frame.trigger {
        slice.metadata.annotations.get_or_insert_default().insert(TRIGGER.into(), trigger.clone());
    }
    slice
}

/// What makes two endpoints the same one: their pod, or else their address.
fn identity(endpoint: &Endpoint) -> String {
    match &endpoint.target_ref {
        Some(target) => format!("{}\0{}", target.uid.as_deref().unwrap_or_default(), endpoint.addresses.join(",")),
        None => endpoint.addresses.join(","),
    }
}

fn ports_of(slice: &EndpointSlice) -> Ports {
    let ports = slice.ports.iter().flatten().cloned();
    let mut ports: Ports =
        ports.map(|port| (Some(port.name.unwrap_or_default()), port.port, port.protocol, port.app_protocol)).collect();
    ports.sort();
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        Frame {
            namespace: "n".into(),
            base: "web".into(),
            labels: BTreeMap::from([(SERVICE_LABEL.into(), "web".into())]),
            owner: OwnerReference::default(),
            trigger: None,
        }
    }

    fn wanted(count: usize) -> Wanted {
        let endpoint =
            |n: usize| Endpoint { addresses: vec![format!("10.0.{}.{}", n / 250, n % 250)], ..Endpoint::default() };
        let ports: Ports = vec![(Some("http".into()), Some(80), Some("TCP".into()), None)];
        BTreeMap::from([(("IPv4".to_owned(), ports), (0..count).map(endpoint).collect())])
    }

    /// Carries the plan out on `existing`.
    fn apply(existing: &[Arc<EndpointSlice>], plan: Plan) -> Vec<Arc<EndpointSlice>> {
        let gone = |slice: &EndpointSlice| plan.delete.iter().any(|gone| gone.metadata.name == slice.metadata.name);
        let mut slices: Vec<Arc<EndpointSlice>> = existing.iter().filter(|slice| !gone(slice)).cloned().collect();
        for update in plan.update {
            let at = slices.iter().position(|slice| slice.metadata.name == update.metadata.name).unwrap();
            slices[at] = Arc::new(update);
        }
        for mut made in plan.create {
            made.metadata.name = Some(format!("web-{}", slices.len()));
            slices.push(Arc::new(made));
        }
        slices
    }

    #[test]
    fn slices_fill_up_shrink_and_keep_one_when_empty() {
        let mut slices: Vec<Arc<EndpointSlice>> = Vec::new();
        let sizes =
            |slices: &[Arc<EndpointSlice>]| slices.iter().map(|slice| slice.endpoints.len()).collect::<Vec<_>>();
        for (count, expected) in [(0, vec![0]), (150, vec![100, 50]), (160, vec![100, 60]), (1, vec![1]), (0, vec![0])]
        {
            let step = plan(&frame(), wanted(count), slices.clone());
            slices = apply(&slices, step);
            assert_eq!(sizes(&slices).iter().sum::<usize>(), count);
            assert_eq!(sizes(&slices), expected, "at {count}");
            let again = plan(&frame(), wanted(count), slices.clone());
            assert!(again.create.is_empty() && again.update.is_empty() && again.delete.is_empty());
        }
    }

    #[test]
    fn other_ports_are_written_into_the_slice_that_is_there() {
        let slices = apply(&[], plan(&frame(), wanted(1), Vec::new()));
        let other: Wanted = wanted(1).into_values().map(|all| (("IPv4".to_owned(), Ports::new()), all)).collect();
        let step = plan(&frame(), other, slices.clone());
        assert_eq!((step.create.len(), step.update.len(), step.delete.len()), (0, 1, 0));
        assert_eq!(step.update[0].metadata.name, slices[0].metadata.name);
        assert_eq!((step.update[0].ports.as_deref(), step.update[0].endpoints.len()), (Some(&[][..]), 1));
    }

    #[test]
    fn one_change_touches_one_slice() {
        let slices = apply(&[], plan(&frame(), wanted(150), Vec::new()));
        let mut changed = wanted(150);
        changed.values_mut().next().unwrap().remove(0);
        let step = plan(&frame(), changed, slices);
        assert_eq!((step.create.len(), step.update.len(), step.delete.len()), (0, 1, 0));
    }
}
