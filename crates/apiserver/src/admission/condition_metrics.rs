//! What is counted of match conditions, under upstream's names.

use super::Operation;
use api_kinds::admission::conditions::Held;
use std::time::Instant;
use telemetry::metrics::{self, HistogramVec, IntCounterVec, Registry};

const DURATIONS_S: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5];
const LABELS: &[&str] = &["kind", "name", "operation", "type"];

/// Handles of the metrics.
#[derive(Debug, Clone)]
pub struct ConditionMetrics {
    seconds: HistogramVec,
    errors: IntCounterVec,
    exclusions: IntCounterVec,
}

/// Whose conditions they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whose<'a> {
    /// `webhook` or `policy`.
    pub(super) kind: &'static str,
    pub(super) name: &'a str,
    /// `admit` or `validate`.
    pub(super) step: &'static str,
    pub(super) operation: Operation,
}

impl Whose<'_> {
    fn labels(&self) -> [&str; 4] {
        [self.kind, self.name, self.operation.as_str(), self.step]
    }
}

impl ConditionMetrics {
    /// Registers them; fails if the registry has metrics of these names already.
    pub fn new(registry: &Registry) -> Result<Self, metrics::Error> {
        let counter = |name: &str, help: &str| metrics::counter(registry, name, help, LABELS);
        Ok(Self {
            seconds: metrics::histogram(
                registry,
                "apiserver_admission_match_condition_evaluation_seconds",
                "Time that the match conditions of a webhook or a policy took.",
                LABELS,
                DURATIONS_S,
            )?,
            errors: counter(
                "apiserver_admission_match_condition_evaluation_errors_total",
                "Match conditions that failed.",
            )?,
            exclusions: counter(
                "apiserver_admission_match_condition_exclusions_total",
                "Calls that were not made because a match condition did not hold.",
            )?,
        })
    }

    /// Evaluates conditions, and counts how that went.
    pub(super) fn observe(&self, whose: Whose<'_>, hold: impl FnOnce() -> Held) -> Held {
        let started = Instant::now();
        let held = hold();
        let labels = whose.labels();
        self.seconds.with_label_values(&labels).observe(started.elapsed().as_secs_f64());
        if held.errors > 0 {
            self.errors.with_label_values(&labels).inc_by(held.errors);
        }
        held
    }

    /// Conditions kept something from being asked.
    pub(super) fn excluded(&self, whose: Whose<'_>) {
        self.exclusions.with_label_values(&whose.labels()).inc();
    }
}
