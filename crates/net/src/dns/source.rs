//! The API objects behind names, read from the shared caches.

use super::zone::Cluster;
use client::informer::{Handle, Informers};
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::net::Ipv4Addr;
use std::sync::Arc;

const BY_SERVICE: &str = "dns/service";
const BY_ADDRESS: &str = "dns/address";

/// Shared caches of Services, EndpointSlices and Namespaces.
#[derive(Clone)]
pub struct Source {
    services: Handle<Service>,
    slices: Handle<EndpointSlice>,
    namespaces: Handle<Namespace>,
}

impl Source {
    /// Starts what caches do not run yet, and waits until they are complete.
    pub async fn new(informers: &Informers) -> Self {
        let source = Self { services: informers.get(), slices: informers.get(), namespaces: informers.get() };
        source.services.store().add_index(BY_ADDRESS, |service| {
            service.spec.as_ref().and_then(|s| s.cluster_ips.clone()).unwrap_or_default()
        });
        source
            .slices
            .store()
            .add_index(BY_ADDRESS, |slice| slice.endpoints.iter().flat_map(|e| e.addresses.iter().cloned()).collect());
        source.slices.store().add_index(BY_SERVICE, |slice| {
            let name = slice.metadata.labels.as_ref().and_then(|l| l.get("kubernetes.io/service-name"));
            let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
            name.map(|name| format!("{namespace}/{name}")).into_iter().collect()
        });
        tokio::join!(source.services.wait_synced(), source.slices.wait_synced(), source.namespaces.wait_synced());
        source
    }
}

impl Cluster for Source {
    fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>> {
        self.services.store().find(namespace, name)
    }

    fn slices(&self, namespace: &str, name: &str) -> Vec<Arc<EndpointSlice>> {
        self.slices.store().by_index(BY_SERVICE, &format!("{namespace}/{name}"))
    }

    fn has_namespace(&self, name: &str) -> bool {
        self.namespaces.store().find("", name).is_some()
    }

    fn services_at(&self, ip: Ipv4Addr) -> Vec<Arc<Service>> {
        self.services.store().by_index(BY_ADDRESS, &ip.to_string())
    }

    fn slices_at(&self, ip: Ipv4Addr) -> Vec<Arc<EndpointSlice>> {
        self.slices.store().by_index(BY_ADDRESS, &ip.to_string())
    }
}
