//! The cluster as the scheduler sees it: nodes, and the pods on them. Pure.
//!
//! A snapshot is cheap to clone and never changes under a reader: nodes are shared, and a changed one is replaced.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use client::Key;
use k8s_openapi::api::core::v1::{Node, Taint};

use crate::needs::{HostPort, Needs};
use crate::resources::Resources;

/// A pod that has a node, or has been promised one.
#[derive(Debug, Clone)]
pub struct Placed {
    pub key: Key,
    pub uid: String,
    pub needs: Arc<Needs>,
    /// When it started, as text that sorts by time; empty when it has not.
    pub started: String,
    pub deleting: bool,
}

/// A node with its pods summed up.
#[derive(Debug, Clone)]
pub struct NodeInfo {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    pub unschedulable: bool,
    pub allocatable: Resources,
    /// Sizes in bytes of the images it has, by each of their names.
    pub images: HashMap<String, i64>,
    pub requested: Resources,
    pub scored_cpu_milli: i64,
    pub scored_memory_bytes: i64,
    pub ports: Vec<HostPort>,
    pub pods: BTreeMap<Key, Arc<Placed>>,
    /// Pods that are promised this node once others have left it.
    pub nominated: BTreeMap<Key, Arc<Needs>>,
}

impl NodeInfo {
    /// A node without pods.
    pub fn new(node: &Node) -> Self {
        let spec = node.spec.clone().unwrap_or_default();
        let status = node.status.as_ref();
        let images = status.and_then(|status| status.images.as_ref()).into_iter().flatten();
        let images = images.flat_map(|image| {
            let size = image.size_bytes.unwrap_or(0);
            image.names.iter().flatten().map(move |name| (name.clone(), size))
        });
        NodeInfo {
            name: node.metadata.name.clone().unwrap_or_default(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
            taints: spec.taints.unwrap_or_default(),
            unschedulable: spec.unschedulable.unwrap_or(false),
            allocatable: Resources::from_list(status.and_then(|status| status.allocatable.as_ref())),
            images: images.collect(),
            requested: Resources::default(),
            scored_cpu_milli: 0,
            scored_memory_bytes: 0,
            ports: Vec::new(),
            pods: BTreeMap::new(),
            nominated: BTreeMap::new(),
        }
    }

    pub fn add(&mut self, pod: Arc<Placed>) {
        self.remove(&pod.key);
        self.requested.add(&pod.needs.requests);
        self.scored_cpu_milli += pod.needs.scored_cpu_milli;
        self.scored_memory_bytes += pod.needs.scored_memory_bytes;
        self.ports.extend(pod.needs.ports.iter().cloned());
        self.pods.insert(pod.key.clone(), pod);
    }

    pub fn remove(&mut self, key: &Key) {
        let Some(pod) = self.pods.remove(key) else { return };
        self.requested.subtract(&pod.needs.requests);
        self.scored_cpu_milli -= pod.needs.scored_cpu_milli;
        self.scored_memory_bytes -= pod.needs.scored_memory_bytes;
        for port in &pod.needs.ports {
            if let Some(at) = self.ports.iter().position(|own| own == port) {
                self.ports.swap_remove(at);
            }
        }
    }

    /// Whether anything that decides about pods differs in `other`, pods apart.
    pub fn differs(&self, other: &NodeInfo) -> bool {
        self.labels != other.labels
            || self.taints != other.taints
            || self.unschedulable != other.unschedulable
            || self.allocatable != other.allocatable
    }
}

/// All nodes, and the labels of namespaces.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub nodes: Vec<Arc<NodeInfo>>,
    index: HashMap<String, usize>,
    pub namespaces: Arc<BTreeMap<String, BTreeMap<String, String>>>,
    placed: HashMap<Key, String>,
    /// Pods whose required or preferred terms concern others; without any, these rules cost nothing.
    pub with_terms: usize,
}

impl Snapshot {
    pub fn node(&self, name: &str) -> Option<&Arc<NodeInfo>> {
        self.index.get(name).map(|at| &self.nodes[*at])
    }

    /// The node that `key` is on.
    pub fn node_of(&self, key: &Key) -> Option<&str> {
        self.placed.get(key).map(String::as_str)
    }

    pub fn placed(&self, key: &Key) -> Option<&Arc<Placed>> {
        self.node(self.node_of(key)?)?.pods.get(key)
    }

    /// Takes `node` in, keeping the pods that are on it. What it was before, if it was there.
    pub fn set_node(&mut self, node: &Node) -> Option<Arc<NodeInfo>> {
        let mut info = NodeInfo::new(node);
        let Some(at) = self.index.get(&info.name).copied() else {
            self.index.insert(info.name.clone(), self.nodes.len());
            self.nodes.push(Arc::new(info));
            return None;
        };
        let old = self.nodes[at].clone();
        info.requested = old.requested.clone();
        info.scored_cpu_milli = old.scored_cpu_milli;
        info.scored_memory_bytes = old.scored_memory_bytes;
        info.ports.clone_from(&old.ports);
        info.pods.clone_from(&old.pods);
        info.nominated.clone_from(&old.nominated);
        self.nodes[at] = Arc::new(info);
        Some(old)
    }

    /// Forgets the node and where its pods are.
    pub fn remove_node(&mut self, name: &str) {
        let Some(at) = self.index.remove(name) else { return };
        let gone = self.nodes.swap_remove(at);
        if let Some(moved) = self.nodes.get(at) {
            self.index.insert(moved.name.clone(), at);
        }
        for pod in gone.pods.values() {
            self.placed.remove(&pod.key);
            self.with_terms -= usize::from(concerns_others(&pod.needs));
        }
    }

    /// Puts `pod` on `node`; from wherever it was before. Nothing happens when there is no such node.
    pub fn place(&mut self, node: &str, pod: Placed) {
        self.take(&pod.key);
        let Some(at) = self.index.get(node).copied() else { return };
        self.placed.insert(pod.key.clone(), node.to_owned());
        self.with_terms += usize::from(concerns_others(&pod.needs));
        let info = Arc::make_mut(&mut self.nodes[at]);
        info.nominated.remove(&pod.key);
        info.add(Arc::new(pod));
    }

    /// Takes the pod off its node. What it was.
    pub fn take(&mut self, key: &Key) -> Option<Arc<Placed>> {
        let node = self.placed.remove(key)?;
        let at = *self.index.get(&node)?;
        let info = Arc::make_mut(&mut self.nodes[at]);
        let pod = info.pods.get(key).cloned();
        info.remove(key);
        self.with_terms -= usize::from(pod.as_ref().is_some_and(|pod| concerns_others(&pod.needs)));
        pod
    }

    /// Promises `node` to the pod `key`, or takes the promise back everywhere.
    pub fn nominate(&mut self, key: &Key, node: Option<&str>, needs: &Arc<Needs>) {
        for info in &mut self.nodes {
            let wanted = node == Some(info.name.as_str());
            if info.nominated.contains_key(key) && !wanted {
                Arc::make_mut(info).nominated.remove(key);
            } else if wanted {
                Arc::make_mut(info).nominated.insert(key.clone(), needs.clone());
            }
        }
    }
}

fn concerns_others(needs: &Needs) -> bool {
    !needs.near.is_empty() || !needs.far.is_empty() || !needs.preferred.is_empty()
}
