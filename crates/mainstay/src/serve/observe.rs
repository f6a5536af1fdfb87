//! What controllers do, as metrics under upstream's names where upstream has them.

use controller_kit::{Observer, Outcome};
use std::time::Duration;
use telemetry::metrics::{self, HistogramVec, IntCounterVec, IntGaugeVec, Registry};

/// Upper bounds of the time that work on one key takes, in seconds, as upstream's.
const DURATIONS_S: &[f64] = &[1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0];

/// Counts reconciliations.
pub struct Controllers {
    depth: IntGaugeVec,
    durations: HistogramVec,
    retries: IntCounterVec,
    reconciled: IntCounterVec,
}

impl Controllers {
    /// Registers the metrics.
    ///
    /// # Errors
    /// If the registry has metrics of these names.
    pub fn new(registry: &Registry) -> Result<Self, metrics::Error> {
        let name = &["name"];
        Ok(Self {
            depth: metrics::gauge(registry, "workqueue_depth", "Keys that wait.", name)?,
            durations: metrics::histogram(
                registry,
                "workqueue_work_duration_seconds",
                "Time of work on one key.",
                name,
                DURATIONS_S,
            )?,
            retries: metrics::counter(registry, "workqueue_retries_total", "Keys that come again.", name)?,
            reconciled: metrics::counter(
                registry,
                "mainstay_reconcile_total",
                "Reconciliations by how they ended.",
                &["controller", "outcome"],
            )?,
        })
    }
}

impl Observer for Controllers {
    fn reconciled(&self, controller: &'static str, outcome: Outcome, took: Duration, depth: usize) {
        self.depth.with_label_values(&[controller]).set(i64::try_from(depth).unwrap_or(i64::MAX));
        self.durations.with_label_values(&[controller]).observe(took.as_secs_f64());
        let (text, retry) = match outcome {
            Outcome::Done => ("done", false),
            Outcome::Later => ("later", false),
            Outcome::Conflict => ("conflict", true),
            Outcome::Failed => ("failed", true),
        };
        if retry {
            self.retries.with_label_values(&[controller]).inc();
        }
        self.reconciled.with_label_values(&[controller, text]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_counted_as_a_retry() {
        let registry = Registry::new();
        let observer = Controllers::new(&registry).expect("registered");
        observer.reconciled("deployment", Outcome::Done, Duration::from_millis(2), 3);
        observer.reconciled("deployment", Outcome::Failed, Duration::from_millis(2), 1);
        let text = metrics::encode(&registry).expect("text");
        for line in [
            "workqueue_depth{name=\"deployment\"} 1",
            "workqueue_retries_total{name=\"deployment\"} 1",
            "workqueue_work_duration_seconds_count{name=\"deployment\"} 2",
            "mainstay_reconcile_total{controller=\"deployment\",outcome=\"failed\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
