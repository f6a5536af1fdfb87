//! What all parts of the agent share: configuration, clients and facts about the node. No behaviour of its own.

use std::sync::Arc;

use k8s_cri::v1::DnsConfig;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Secret, Service};
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::cgroups::Cgroups;
use crate::config::Config;
use crate::cri::Cri;
use crate::events::Recorder;
use crate::images::Images;
use crate::machine::Capacity;
use crate::pod::env::Lookup;
use crate::quantity;
use crate::volumes::sources::{References, Sources};

/// Shared by reference; one per process and node.
pub struct Agent {
    /// As given.
    pub config: Config,
    /// The API.
    pub client: kube::Client,
    /// The runtime.
    pub cri: Cri,
    /// Events.
    pub events: Recorder,
    /// Image pulls.
    pub images: Images,
    /// ConfigMaps and Secrets in use.
    pub sources: Sources,
    /// Pod cgroups.
    pub cgroups: Cgroups,
    /// Sizes of the machine.
    pub capacity: Capacity,
    /// The runtime's name, such as `containerd`.
    pub runtime_name: String,
    /// The Node object as last written.
    pub node: RwLock<Arc<Node>>,
    /// Services with an address, for environment variables.
    pub services: RwLock<Arc<Vec<Service>>>,
    /// The runtime's network: `None` if ready, else what is wrong.
    pub network: watch::Receiver<Option<String>>,
}

impl Agent {
    /// The node's address as text.
    pub fn host_ip(&self) -> String {
        self.config.node_ip.to_string()
    }

    /// The node's resolver configuration.
    pub fn node_dns(&self) -> DnsConfig {
        let text = std::fs::read_to_string(&self.config.resolv_conf).unwrap_or_default();
        crate::pod::dns::parse_resolv_conf(&text)
    }
}

/// What a pod's environment and files may refer to.
pub struct PodLookup<'a> {
    /// The agent.
    pub agent: &'a Agent,
    /// The pod's objects, which must be known by now.
    pub refs: &'a References,
}

impl Lookup for PodLookup<'_> {
    fn config_map(&self, name: &str) -> Option<Arc<ConfigMap>> {
        self.refs.config_maps.get(name)?.now()
    }

    fn secret(&self, name: &str) -> Option<Arc<Secret>> {
        self.refs.secrets.get(name)?.now()
    }

    fn allocatable(&self, resource: &str) -> i64 {
        let node = self.agent.node.read().clone();
        let allocatable = node.status.as_ref().and_then(|s| s.allocatable.as_ref());
        quantity::amount(allocatable, resource).unwrap_or(0)
    }
}
