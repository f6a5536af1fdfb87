//! What controllers do, as metrics under upstream's names where upstream has them.

use controller_kit::{Observer, Outcome, Report};
use telemetry::metrics::{self, HistogramVec, IntCounterVec, IntGaugeVec, Registry};

/// Upper bounds of the time that work on one key takes, in seconds, as upstream's.
const DURATIONS_S: &[f64] = &[1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0];

/// Counts reconciliations.
pub struct Controllers {
    depth: IntGaugeVec,
    added: IntCounterVec,
    waits: HistogramVec,
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
            added: metrics::counter(registry, "workqueue_adds_total", "Keys that were added.", name)?,
            waits: metrics::histogram(
                registry,
                "workqueue_queue_duration_seconds",
                "Time that a key waits.",
                name,
                DURATIONS_S,
            )?,
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
    fn reconciled(&self, controller: &'static str, report: Report) {
        let name = &[controller];
        self.depth.with_label_values(name).set(i64::try_from(report.depth).unwrap_or(i64::MAX));
        let added = self.added.with_label_values(name);
        added.inc_by(report.added.saturating_sub(added.get()));
        self.waits.with_label_values(name).observe(report.waited.as_secs_f64());
        self.durations.with_label_values(name).observe(report.took.as_secs_f64());
        let (text, retry) = match report.outcome {
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
    use std::time::Duration;

    #[test]
    fn a_failure_is_counted_as_a_retry() {
        let registry = Registry::new();
        let observer = Controllers::new(&registry).expect("registered");
        let report = |outcome, depth, added| Report {
            outcome,
            took: Duration::from_millis(2),
            waited: Duration::from_millis(20),
            depth,
            added,
        };
        observer.reconciled("deployment", report(Outcome::Done, 3, 4));
        observer.reconciled("deployment", report(Outcome::Failed, 1, 5));
        let text = metrics::encode(&registry).expect("text");
        for line in [
            "workqueue_depth{name=\"deployment\"} 1",
            "workqueue_adds_total{name=\"deployment\"} 5",
            "workqueue_queue_duration_seconds_bucket{name=\"deployment\",le=\"0.01\"} 0",
            "workqueue_queue_duration_seconds_bucket{name=\"deployment\",le=\"0.1\"} 2",
            "workqueue_retries_total{name=\"deployment\"} 1",
            "workqueue_work_duration_seconds_count{name=\"deployment\"} 2",
            "mainstay_reconcile_total{controller=\"deployment\",outcome=\"failed\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
