//! What is told of the server's state when somebody looks, under upstream's names: objects, caches, pools, the store.
//!
//! Decides nothing. That each name is upstream's is a test of the running server.

use crate::registry::Registry as Objects;
use crate::registry::pools::Pools;
use telemetry::metrics::{self, IntCounterVec, IntGaugeVec, Registry};
use watch_cache::Stats;

/// Handles of the metrics.
#[derive(Debug)]
pub(crate) struct StateMetrics {
    objects: IntGaugeVec,
    watches: IntGaugeVec,
    size: IntGaugeVec,
    compiled: IntGaugeVec,
    caches: CacheMetrics,
    pools: PoolMetrics,
}

impl StateMetrics {
    /// Registers them; fails if the registry has metrics of these names already.
    pub(crate) fn new(registry: &Registry) -> Result<Self, metrics::Error> {
        let gauge = |name: &str, help: &str, label: &str| metrics::gauge(registry, name, help, &[label]);
        Ok(Self {
            objects: gauge("apiserver_storage_objects", "Stored objects.", "resource")?,
            watches: gauge("apiserver_registered_watchers", "Watches by resource.", "resource")?,
            size: gauge("apiserver_storage_size_bytes", "Size of the store.", "storage_cluster_id")?,
            compiled: metrics::gauge(
                registry,
                "mainstay_custom_resource_schemas_compiled",
                "Versions of custom resources whose schemas are compiled, because their objects were used.",
                &[],
            )?,
            caches: CacheMetrics::new(registry)?,
            pools: PoolMetrics::new(registry)?,
        })
    }

    /// Brings them up to date.
    pub(crate) async fn gather(&self, objects: &Objects) {
        self.pools.gather(&objects.pools);
        for served in objects.table().rows() {
            let Some(cache) = &served.cache else { continue };
            let (resource, stats) = (served.row.gvr.group_resource().to_string(), cache.stats());
            self.objects.with_label_values(&[&resource]).set(i64::try_from(stats.objects).unwrap_or(i64::MAX));
            self.watches.with_label_values(&[&resource]).set(i64::try_from(stats.watches).unwrap_or(i64::MAX));
            self.caches.gather(&resource, &stats);
        }
        let table = objects.table();
        let schemas = table.custom().flat_map(|version| &version.rows).filter_map(|s| {
            let custom = s.row.custom.as_ref()?;
            Some(usize::from(custom.family.is_compiled(&custom.version)))
        });
        self.compiled.with_label_values::<&str>(&[]).set(i64::try_from(schemas.sum::<usize>()).unwrap_or(i64::MAX));
        if let Ok(bytes) = objects.store.size_bytes().await {
            self.size.with_label_values(&["default"]).set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }
}

/// What the caches have done.
#[derive(Debug)]
struct CacheMetrics {
    /// From the store, into a cache, out of a cache: an event goes all the way, or breaks it off.
    events: [IntCounterVec; 3],
    loads: IntCounterVec,
    capacity: IntGaugeVec,
}

impl CacheMetrics {
    fn new(registry: &Registry) -> Result<Self, metrics::Error> {
        let counter = |name: &str, help: &str| metrics::counter(registry, name, help, &["resource"]);
        Ok(Self {
            events: [
                counter("apiserver_storage_events_received_total", "Events from the store.")?,
                counter("apiserver_watch_cache_events_received_total", "Events that caches took.")?,
                counter("apiserver_watch_cache_events_dispatched_total", "Events that caches handed out.")?,
            ],
            loads: counter("apiserver_watch_cache_initializations_total", "How often a cache was loaded.")?,
            capacity: metrics::gauge(registry, "watch_cache_capacity", "Most events that are kept.", &["resource"])?,
        })
    }

    fn gather(&self, resource: &str, stats: &Stats) {
        let raise = |counter: &IntCounterVec, to: u64| {
            let counter = counter.with_label_values(&[resource]);
            counter.inc_by(to.saturating_sub(counter.get()));
        };
        self.events.iter().for_each(|counter| raise(counter, stats.events));
        raise(&self.loads, stats.loads);
        let capacity = i64::try_from(stats.ring_events_max).unwrap_or(i64::MAX);
        self.capacity.with_label_values(&[resource]).set(capacity);
    }
}

/// What services have taken.
#[derive(Debug)]
struct PoolMetrics {
    /// Taken and free.
    addresses: [IntGaugeVec; 2],
    ports: [IntGaugeVec; 2],
}

impl PoolMetrics {
    fn new(registry: &Registry) -> Result<Self, metrics::Error> {
        let gauge = |of: &str, help: &str, labels: &[&str]| {
            metrics::gauge(registry, &format!("kube_apiserver_{of}"), help, labels)
        };
        Ok(Self {
            addresses: [
                gauge("clusterip_allocator_allocated_ips", "Addresses that services have.", &["cidr"])?,
                gauge("clusterip_allocator_available_ips", "Addresses that no service has.", &["cidr"])?,
            ],
            ports: [
                gauge("nodeport_allocator_allocated_ports", "Node ports that services have.", &[])?,
                gauge("nodeport_allocator_available_ports", "Node ports that no service has.", &[])?,
            ],
        })
    }

    fn gather(&self, pools: &Pools) {
        let Some([addresses, ports]) = pools.usage() else { return };
        let range = pools.range().to_string();
        for (gauge, number) in self.addresses.iter().zip([addresses.0, addresses.1]) {
            gauge.with_label_values(&[&range]).set(number);
        }
        for (gauge, number) in self.ports.iter().zip([ports.0, ports.1]) {
            gauge.with_label_values::<&str>(&[]).set(number);
        }
    }
}
