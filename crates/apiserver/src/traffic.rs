//! What goes through the server, counted under upstream's names: bodies, lists from the caches, events of watches.
//!
//! Decides nothing. That each name is upstream's is a test of the running server.

use api_core::Gvk;
use telemetry::metrics::{self, Error, Histogram, HistogramVec, IntCounter, IntCounterVec, Registry};
use telemetry::metrics::{exponential_buckets, linear_buckets};

/// Where all keys begin; upstream tells prefixes without it.
const ROOT: &str = "/registry";

/// Handles of the metrics.
#[derive(Debug)]
pub(crate) struct Traffic {
    bodies: HistogramVec,
    lists: IntCounterVec,
    looked_at: IntCounterVec,
    listed: IntCounterVec,
    events: IntCounterVec,
    event_bytes: HistogramVec,
}

/// What one watch sends.
#[derive(Debug)]
pub(crate) struct Sent {
    events: IntCounter,
    bytes: Histogram,
}

impl Traffic {
    /// Registers them; fails if the registry has metrics of these names already.
    pub(crate) fn new(registry: &Registry) -> Result<Self, Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| metrics::counter(registry, name, help, labels);
        let of_kind = &["group", "version", "kind"];
        Ok(Self {
            bodies: metrics::histogram(
                registry,
                "apiserver_request_body_size_bytes",
                "Bytes of requests' bodies.",
                &["resource", "verb"],
                &linear_buckets(50_000.0, 100_000.0, 31)?,
            )?,
            lists: counter("apiserver_cache_list_total", "Lists from a cache.", &["resource_prefix", "index"])?,
            looked_at: counter(
                "apiserver_cache_list_fetched_objects_total",
                "Objects that lists from a cache looked at.",
                &["resource_prefix", "index"],
            )?,
            listed: counter(
                "apiserver_cache_list_returned_objects_total",
                "Objects that lists from a cache gave.",
                &["resource_prefix"],
            )?,
            events: counter("apiserver_watch_events_total", "Events sent to watches.", of_kind)?,
            event_bytes: metrics::histogram(
                registry,
                "apiserver_watch_events_sizes",
                "Bytes of events sent to watches.",
                of_kind,
                &exponential_buckets(1024.0, 2.0, 8)?,
            )?,
        })
    }

    /// A body has been read.
    pub(crate) fn body(&self, resource: &str, verb: &str, bytes: usize) {
        let verb = if verb == "deletecollection" { "delete_collection" } else { verb };
        self.bodies.with_label_values(&[resource, verb]).observe(bytes as f64);
    }

    /// A list has looked at some objects below a prefix and given some of them.
    pub(crate) fn list(&self, prefix: &str, looked_at: usize, listed: usize) {
        let prefix = prefix.strip_prefix(ROOT).unwrap_or(prefix);
        self.lists.with_label_values(&[prefix, ""]).inc();
        self.looked_at.with_label_values(&[prefix, ""]).inc_by(looked_at as u64);
        self.listed.with_label_values(&[prefix]).inc_by(listed as u64);
    }

    /// A watch of objects of a kind begins.
    pub(crate) fn watch(&self, kind: &Gvk) -> Sent {
        let labels = [kind.group.as_str(), &kind.version, &kind.kind];
        Sent { events: self.events.with_label_values(&labels), bytes: self.event_bytes.with_label_values(&labels) }
    }
}

impl Sent {
    /// It has sent an event.
    pub(crate) fn event(&self, bytes: usize) {
        self.events.inc();
        self.bytes.observe(bytes as f64);
    }
}
