//! What is counted of extension servers, under upstream's names.

use parking_lot::Mutex;
use std::collections::HashSet;
use telemetry::metrics::{self, IntCounter, IntCounterVec, IntGaugeVec, Registry};

/// Handles of the metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    unavailable: IntGaugeVec,
    became_unavailable: IntCounterVec,
    aggregations: IntCounter,
    /// Names that the gauge shows.
    shown: Mutex<HashSet<String>>,
}

impl Metrics {
    /// Registers them; fails if the registry has metrics of these names already.
    pub(super) fn new(registry: &Registry) -> Result<Self, metrics::Error> {
        let aggregations =
            IntCounter::new("aggregator_discovery_aggregation_count_total", "How often discovery was put together.")?;
        registry.register(Box::new(aggregations.clone()))?;
        Ok(Self {
            unavailable: metrics::gauge(
                registry,
                "aggregator_unavailable_apiservice",
                "API services: 1 while one is not available.",
                &["name"],
            )?,
            became_unavailable: metrics::counter(
                registry,
                "aggregator_unavailable_apiservice_total",
                "How often API services became unavailable, by reason.",
                &["name", "reason"],
            )?,
            aggregations,
            shown: Mutex::default(),
        })
    }

    /// Says how one is.
    pub(super) fn is(&self, name: &str, available: bool) {
        self.unavailable.with_label_values(&[name]).set(i64::from(!available));
        self.shown.lock().insert(name.to_owned());
    }

    /// One that was available is not.
    pub(super) fn lost(&self, name: &str, reason: &str) {
        self.became_unavailable.with_label_values(&[name, reason]).inc();
    }

    /// The aggregated form of discovery was put together.
    pub(crate) fn aggregated(&self) {
        self.aggregations.inc();
    }

    /// Says nothing any more of one that is gone.
    pub(super) fn forget(&self, name: &str) {
        if self.shown.lock().remove(name)
            && let Err(error) = self.unavailable.remove_label_values(&[name])
        {
            tracing::error!(%error, name, "a metric that was shown cannot be taken away");
        }
    }
}
