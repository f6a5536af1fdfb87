//! What a pod asks of its node, parsed once. Pods with equal needs are alike and decided together. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    NodeSelector, Pod, PodAffinityTerm, PodSpec, PreferredSchedulingTerm, Toleration, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Expression, Selector, SelectorExt};

use crate::resources::{self, Resources};

/// A port of the node that a pod wants for itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    pub ip: String,
    pub protocol: String,
    pub port: i32,
}

impl HostPort {
    /// Whether both can't be had on one node.
    pub fn conflicts(&self, other: &HostPort) -> bool {
        let any = |ip: &str| ip == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (any(&self.ip) || any(&other.ip) || self.ip == other.ip)
    }
}

/// Pods to be near to or far from: which, and what counts as one place.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    pub selector: Option<Selector>,
    pub namespaces: Vec<String>,
    pub namespace_selector: Option<Selector>,
    pub topology_key: String,
}

impl Term {
    /// Whether it means a pod with `labels` in a namespace with `namespace_labels`.
    pub fn chooses(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
        namespace_labels: Option<&BTreeMap<String, String>>,
    ) -> bool {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        let by_name = self.namespaces.iter().any(|name| name == namespace);
        let by_labels = || {
            self.namespace_selector.as_ref().is_some_and(|selector| selector.matches(namespace_labels.unwrap_or(&NONE)))
        };
        self.selector.as_ref().is_some_and(|selector| selector.matches(labels)) && (by_name || by_labels())
    }
}

/// How evenly pods alike have to be spread.
#[derive(Debug, Clone, PartialEq)]
pub struct Spread {
    pub max_skew: i32,
    pub topology_key: String,
    /// `None` for the default spreading: pods of the same controller.
    pub selector: Option<Selector>,
    pub required: bool,
    pub min_domains: Option<i32>,
    pub honor_affinity: bool,
    pub honor_taints: bool,
}

/// What volumes ask for, looked up when the pod is decided.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VolumeNeeds {
    /// Why no node will do.
    pub impossible: Option<String>,
    /// Where bound volumes can be reached from.
    pub node_selectors: Vec<NodeSelector>,
}

/// Everything about a pod that decides where it can go.
#[derive(Debug, Clone, PartialEq)]
pub struct Needs {
    pub namespace: String,
    pub labels: BTreeMap<String, String>,
    /// The uid of its controller.
    pub owner: Option<String>,
    pub priority: i32,
    pub never_preempts: bool,
    pub requests: Resources,
    pub scored_cpu_milli: i64,
    pub scored_memory_bytes: i64,
    pub node_selector: BTreeMap<String, String>,
    pub required_nodes: Option<NodeSelector>,
    pub preferred_nodes: Vec<PreferredSchedulingTerm>,
    pub tolerations: Vec<Toleration>,
    pub ports: Vec<HostPort>,
    pub near: Vec<Term>,
    pub far: Vec<Term>,
    /// Weight is negative for pods to be far from.
    pub preferred: Vec<(i64, Term)>,
    pub spread: Vec<Spread>,
    pub images: Vec<String>,
    pub claims: Vec<String>,
    pub volumes: VolumeNeeds,
}

impl Needs {
    pub fn of(pod: &Pod) -> Self {
        let empty = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&empty);
        let meta = &pod.metadata;
        let namespace = meta.namespace.clone().unwrap_or_default();
        let labels = meta.labels.clone().unwrap_or_default();
        let owners = meta.owner_references.iter().flatten();
        let owner = owners.filter(|owner| owner.controller == Some(true)).map(|owner| owner.uid.clone()).next();
        let (scored_cpu_milli, scored_memory_bytes) = resources::scored(spec);
        let affinity = spec.affinity.clone().unwrap_or_default();
        let nodes = affinity.node_affinity.unwrap_or_default();
        let (near, far) = (affinity.pod_affinity.unwrap_or_default(), affinity.pod_anti_affinity.unwrap_or_default());
        let term = |term: &PodAffinityTerm| parse_term(term, &namespace);
        let liked = near.preferred_during_scheduling_ignored_during_execution.into_iter().flatten();
        let disliked = far.preferred_during_scheduling_ignored_during_execution.into_iter().flatten();
        let preferred = liked
            .map(|one| (i64::from(one.weight), term(&one.pod_affinity_term)))
            .chain(disliked.map(|one| (-i64::from(one.weight), term(&one.pod_affinity_term))))
            .collect();
        Needs {
            spread: spread(spec, &labels, owner.is_some()),
            priority: spec.priority.unwrap_or(0),
            never_preempts: spec.preemption_policy.as_deref() == Some("Never"),
            requests: resources::requests(spec),
            scored_cpu_milli,
            scored_memory_bytes,
            node_selector: spec.node_selector.clone().unwrap_or_default(),
            required_nodes: nodes.required_during_scheduling_ignored_during_execution,
            preferred_nodes: nodes.preferred_during_scheduling_ignored_during_execution.unwrap_or_default(),
            tolerations: spec.tolerations.clone().unwrap_or_default(),
            ports: host_ports(spec),
            near: near.required_during_scheduling_ignored_during_execution.iter().flatten().map(term).collect(),
            far: far.required_during_scheduling_ignored_during_execution.iter().flatten().map(term).collect(),
            preferred,
            images: spec.containers.iter().filter_map(|container| container.image.clone()).collect(),
            claims: claims(pod, spec),
            volumes: VolumeNeeds::default(),
            namespace,
            labels,
            owner,
        }
    }
}

fn parse_term(term: &PodAffinityTerm, own_namespace: &str) -> Term {
    let mut namespaces = term.namespaces.clone().unwrap_or_default();
    if namespaces.is_empty() && term.namespace_selector.is_none() {
        namespaces.push(own_namespace.to_owned());
    }
    Term {
        selector: parse(term.label_selector.as_ref()),
        namespaces,
        namespace_selector: parse(term.namespace_selector.as_ref()),
        topology_key: term.topology_key.clone(),
    }
}

/// A selector that the server has validated; one that is none chooses nothing.
fn parse(selector: Option<&LabelSelector>) -> Option<Selector> {
    Selector::try_from(selector?.clone()).ok()
}

fn spread(spec: &PodSpec, labels: &BTreeMap<String, String>, has_owner: bool) -> Vec<Spread> {
    let given = spec.topology_spread_constraints.as_deref().unwrap_or_default();
    if given.is_empty() && has_owner {
        // What upstream's scheduler does by default, here for pods of one controller.
        let by_default = |max_skew, key: &str| Spread {
            max_skew,
            topology_key: key.to_owned(),
            selector: None,
            required: false,
            min_domains: None,
            honor_affinity: true,
            honor_taints: false,
        };
        return vec![by_default(3, "kubernetes.io/hostname"), by_default(5, "topology.kubernetes.io/zone")];
    }
    given.iter().map(|one| parse_spread(one, labels)).collect()
}

fn parse_spread(one: &TopologySpreadConstraint, labels: &BTreeMap<String, String>) -> Spread {
    let mut selector = parse(one.label_selector.as_ref()).unwrap_or_else(|| {
        // Without a selector nothing is counted.
        Expression::In("".into(), Default::default()).into()
    });
    let keys = one.match_label_keys.iter().flatten();
    selector.extend(keys.filter_map(|key| Some(Expression::Equal(key.clone(), labels.get(key)?.clone()))));
    Spread {
        max_skew: one.max_skew,
        topology_key: one.topology_key.clone(),
        selector: Some(selector),
        required: one.when_unsatisfiable == "DoNotSchedule",
        min_domains: one.min_domains,
        honor_affinity: one.node_affinity_policy.as_deref() != Some("Ignore"),
        honor_taints: one.node_taints_policy.as_deref() == Some("Honor"),
    }
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let number = port.host_port.filter(|number| *number > 0)?;
            let ip = port.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".into());
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
            Some(HostPort { ip, protocol, port: number })
        })
        .collect()
}

fn claims(pod: &Pod, spec: &PodSpec) -> Vec<String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let volumes = spec.volumes.iter().flatten();
    volumes
        .filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(claim), _) => Some(claim.claim_name.clone()),
            (None, Some(_)) => Some(format!("{name}-{}", volume.name)),
            (None, None) => None,
        })
        .collect()
}
