//! Carries the rules to the kernel as Services, EndpointSlices and pods change.

use super::conntrack;
use super::rules::{self, Contribution, Node};
use super::script::{self, Present, Ranges};
use crate::command::{self, CommandError};
use client::Key;
use client::informer::{Handle, Informers, Nudge, Selector};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use tokio_util::sync::CancellationToken;

const SERVICE_LABEL: &str = "kubernetes.io/service-name";
/// Objects taken up in one `nft` transaction; the rest follow in the next.
const BATCH_MAX: usize = 4096;

/// What the proxy of a node must know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of the node.
    pub node_name: String,
    /// Pod addresses of the whole cluster.
    pub cluster_cidr: ipnet::Ipv4Net,
    /// Service addresses.
    pub service_cidr: ipnet::Ipv4Net,
}

/// Why the proxy cannot work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `nft` cannot be run or refuses the base table.
    #[error("cannot program the service network")]
    Nft(#[from] CommandError),
    /// The kernel's setting that lets a machine forward packets cannot be written.
    #[error("cannot switch on IP forwarding")]
    Forwarding(#[source] std::io::Error),
}

/// What a piece of kernel state is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Object {
    Service(Key),
    Pod(Key),
}

struct Proxy {
    config: Config,
    services: Handle<Service>,
    slices: Handle<EndpointSlice>,
    pods: Handle<Pod>,
    applied: BTreeMap<Object, Contribution>,
    present: Present,
}

/// Keeps the node's service network as the API says, until `stop` is cancelled. The rules stay when it ends, so that
/// connections go on while the process is restarted.
///
/// # Errors
/// If `nft` cannot be run at all. Rules that the kernel refuses lead to one complete reload, then to an error.
pub async fn run(informers: &Informers, config: Config, stop: CancellationToken) -> Result<(), Error> {
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").map_err(Error::Forwarding)?;
    let services = informers.get::<Service>();
    let slices = informers.get::<EndpointSlice>();
    let pods = informers.select::<Pod>(Selector::fields(format!("spec.nodeName={}", config.node_name)));
    slices.store().add_index(SERVICE_LABEL, service_of);
    let (mut services_changed, mut slices_changed, mut pods_changed) =
        (services.subscribe(), slices.subscribe(), pods.subscribe());
    tokio::join!(services.wait_synced(), slices.wait_synced(), pods.wait_synced());
    let mut proxy = Proxy { config, services, slices, pods, applied: BTreeMap::new(), present: Present::default() };
    proxy.reload().await?;
    let mut dirty = BTreeSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            nudge = services_changed.next() => proxy.mark_service(nudge, &mut dirty),
            nudge = slices_changed.next() => proxy.mark_slice(nudge, &mut dirty),
            nudge = pods_changed.next() => proxy.mark_pod(nudge, &mut dirty),
        }
        while dirty.len() < BATCH_MAX {
            if let Some(nudge) = services_changed.try_next() {
                proxy.mark_service(nudge, &mut dirty);
            } else if let Some(nudge) = slices_changed.try_next() {
                proxy.mark_slice(nudge, &mut dirty);
            } else if let Some(nudge) = pods_changed.try_next() {
                proxy.mark_pod(nudge, &mut dirty);
            } else {
                break;
            }
        }
        proxy.update(std::mem::take(&mut dirty)).await?;
    }
}

fn service_of(slice: &EndpointSlice) -> Vec<String> {
    let name = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_LABEL));
    let namespace = slice.metadata.namespace.as_deref().unwrap_or("");
    name.map(|name| format!("{namespace}/{name}")).into_iter().collect()
}

impl Proxy {
    fn mark_service(&self, nudge: Nudge<Service>, dirty: &mut BTreeSet<Object>) {
        match nudge {
            Nudge::Look { key, .. } => {
                dirty.insert(Object::Service(key));
            }
            Nudge::All => self.mark_everything(dirty),
        }
    }

    fn mark_slice(&self, nudge: Nudge<EndpointSlice>, dirty: &mut BTreeSet<Object>) {
        match nudge {
            Nudge::Look { key, old } => {
                let now = self.slices.store().get(&key);
                for name in old.iter().chain(&now).flat_map(|slice| service_of(slice)) {
                    if let Some((namespace, name)) = name.split_once('/') {
                        dirty.insert(Object::Service(Key::new(namespace, name)));
                    }
                }
            }
            Nudge::All => self.mark_everything(dirty),
        }
    }

    fn mark_pod(&self, nudge: Nudge<Pod>, dirty: &mut BTreeSet<Object>) {
        match nudge {
            Nudge::Look { key, .. } => {
                dirty.insert(Object::Pod(key));
            }
            Nudge::All => self.mark_everything(dirty),
        }
    }

    fn mark_everything(&self, dirty: &mut BTreeSet<Object>) {
        dirty.extend(self.services.store().keys().into_iter().map(Object::Service));
        dirty.extend(self.pods.store().keys().into_iter().map(Object::Pod));
        dirty.extend(self.applied.keys().cloned());
    }

    fn wanted(&self, object: &Object) -> Contribution {
        match object {
            Object::Service(key) => self.services.store().get(key).map_or_else(Contribution::default, |service| {
                let slices = self.slices.store().by_index(SERVICE_LABEL, &key.to_string());
                rules::service(&service, &slices, &Node { name: self.config.node_name.clone() })
            }),
            Object::Pod(key) => {
                self.pods.store().get(key).map_or_else(Contribution::default, |pod| rules::host_ports(&pod))
            }
        }
    }

    /// Applies what changed for `dirty`; if the kernel refuses, everything is loaded anew.
    async fn update(&mut self, dirty: BTreeSet<Object>) -> Result<(), Error> {
        let (mut text, mut stale, mut next) = (String::new(), Vec::new(), Vec::new());
        let mut present = self.present.clone();
        for object in dirty {
            let wanted = self.wanted(&object);
            let before = self.applied.get(&object).cloned().unwrap_or_default();
            text.push_str(&script::difference(&before, &wanted, &mut present));
            stale.extend(conntrack::stale(&before, &wanted));
            next.push((object, wanted));
        }
        if !text.is_empty() {
            if let Err(error) = command::run("nft", &["-f", "-"], &text).await {
                tracing::warn!(%error, "the kernel refused a change of the service network; loading all of it");
                return self.reload().await;
            }
            self.present = present;
            conntrack::forget(&stale).await;
        }
        for (object, wanted) in next {
            if wanted == Contribution::default() {
                self.applied.remove(&object);
            } else {
                self.applied.insert(object, wanted);
            }
        }
        Ok(())
    }

    /// Replaces the whole table in one transaction.
    async fn reload(&mut self) -> Result<(), Error> {
        let ranges = Ranges { pods: self.config.cluster_cidr, services: self.config.service_cidr };
        let mut text = script::base(&ranges);
        let mut all = BTreeSet::new();
        self.applied.clear();
        self.mark_everything(&mut all);
        let mut present = Present::default();
        let mut taken = BTreeSet::new();
        let mut applied = BTreeMap::new();
        for object in all {
            let mut wanted = self.wanted(&object);
            // Two objects may claim one address; the first in order has it, and the other waits for a change.
            wanted.elements.retain(|at, _| taken.insert(at.clone()));
            text.push_str(&script::difference(&Contribution::default(), &wanted, &mut present));
            if wanted != Contribution::default() {
                applied.insert(object, wanted);
            }
        }
        command::run("nft", &["-f", "-"], &text).await?;
        (self.present, self.applied) = (present, applied);
        Ok(())
    }
}
