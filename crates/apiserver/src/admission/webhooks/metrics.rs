//! What is counted of webhooks, under upstream's names; and those that are passed over because they are down.

use super::super::Operation;
use super::super::condition_metrics::ConditionMetrics;
use api_kinds::admission::webhooks::{Hook, Phase};
use std::time::Duration;
use telemetry::metrics::{self, HistogramVec, IntCounterVec, IntGaugeVec, Registry};

const DURATIONS_S: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];

/// Handles of the metrics.
#[derive(Debug)]
pub struct Metrics {
    durations: HistogramVec,
    requests: IntCounterVec,
    rejections: IntCounterVec,
    failed_open: IntCounterVec,
    passed_over: IntCounterVec,
    down: IntGaugeVec,
    /// Of match conditions, of policies too.
    pub(in crate::admission) conditions: ConditionMetrics,
}

/// How a call ended.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// Whether the write was refused.
    pub rejected: bool,
    /// HTTP status; 0 if there is none.
    pub code: u16,
    /// `calling_webhook_error`, `apiserver_internal_error` or `no_error`.
    pub error_type: &'static str,
}

impl Metrics {
    /// Registers them; fails if the registry has metrics of these names already.
    pub fn new(registry: &Registry) -> Result<Self, metrics::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| metrics::counter(registry, name, help, labels);
        Ok(Self {
            conditions: ConditionMetrics::new(registry)?,
            durations: metrics::histogram(
                registry,
                "apiserver_admission_webhook_admission_duration_seconds",
                "Time that calls of webhooks took.",
                &["name", "operation", "rejected", "type"],
                DURATIONS_S,
            )?,
            requests: counter(
                "apiserver_admission_webhook_request_total",
                "Calls of webhooks by the answer's code.",
                &["code", "name", "operation", "rejected", "type"],
            )?,
            rejections: counter(
                "apiserver_admission_webhook_rejection_count",
                "Writes that webhooks refused, or that failed because of them.",
                &["error_type", "name", "operation", "rejection_code", "type"],
            )?,
            failed_open: counter(
                "apiserver_admission_webhook_fail_open_count",
                "Calls that failed without consequence.",
                &["name", "type"],
            )?,
            passed_over: counter(
                "mainstay_admission_webhook_passed_over_total",
                "Writes of the cluster's own components that did not wait for a webhook that is down.",
                &["name", "type"],
            )?,
            down: metrics::gauge(
                registry,
                "mainstay_admission_webhook_down",
                "Webhooks that have been failing for long: 1 while they are.",
                &["configuration", "name"],
            )?,
        })
    }

    pub(super) fn called(&self, hook: &Hook, phase: Phase, operation: Operation, outcome: Outcome, took: Duration) {
        let (rejected, code) = (if outcome.rejected { "true" } else { "false" }, outcome.code.to_string());
        let (name, operation, phase) = (hook.name.as_str(), operation.as_str(), phase.metric());
        self.durations.with_label_values(&[name, operation, rejected, phase]).observe(took.as_secs_f64());
        self.requests.with_label_values(&[&code, name, operation, rejected, phase]).inc();
        if outcome.rejected {
            // A refusal has its code; of a failure to call, 0 is shown.
            let code = if outcome.error_type == "no_error" { code } else { "0".to_owned() };
            self.rejections.with_label_values(&[outcome.error_type, name, operation, &code, phase]).inc();
        }
    }

    pub(super) fn failed_open(&self, hook: &Hook, phase: Phase) {
        self.failed_open.with_label_values(&[hook.name.as_str(), phase.metric()]).inc();
    }

    pub(super) fn passed_over(&self, hook: &Hook, phase: Phase) {
        self.passed_over.with_label_values(&[hook.name.as_str(), phase.metric()]).inc();
    }

    pub(super) fn down(&self, hook: &Hook, down: bool) {
        self.down.with_label_values(&[hook.configuration.as_str(), hook.name.as_str()]).set(i64::from(down));
    }
}
