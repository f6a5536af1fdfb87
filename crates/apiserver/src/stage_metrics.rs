//! What is counted of the stages that a request passes before it is served, under upstream's names: authentication,
//! authorization, admission, audit.
//!
//! Decides nothing. That each name is upstream's is a test of the running server.

use crate::admission::Operation;
use crate::admission::pod_security::Evaluations;
use crate::authn::UserInfo;
use crate::authz::Decision;
use std::future::Future;
use std::time::Instant;
use telemetry::metrics::{self, Error, Histogram, HistogramVec, IntCounterVec, Registry, exponential_buckets};

/// Upper bounds of what admission takes, in seconds.
const ADMISSION_S: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5];
/// Upper bounds of what a stage takes, in seconds.
const FILTERS_S: &[f64] = &[0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 5.0, 10.0, 15.0, 30.0];
/// Operations as the labels name them, in the order of [`operation`].
const OPERATIONS: [&str; 4] = ["CREATE", "UPDATE", "DELETE", "CONNECT"];
/// The two steps of admission.
const STEPS: [&str; 2] = ["admit", "validate"];

/// Handles of the metrics of authentication, authorization and audit.
#[derive(Debug)]
pub(crate) struct StageMetrics {
    attempts: IntCounterVec,
    authentication: HistogramVec,
    users: IntCounterVec,
    decisions: IntCounterVec,
    authorization: HistogramVec,
    filters: HistogramVec,
    audited: IntCounterVec,
    unaudited: IntCounterVec,
}

impl StageMetrics {
    /// Registers them; fails if the registry has metrics of these names already.
    pub(crate) fn new(registry: &Registry) -> Result<Self, Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| metrics::counter(registry, name, help, labels);
        let times = exponential_buckets(0.001, 2.0, 15)?;
        let histogram = |name: &str, help: &str| metrics::histogram(registry, name, help, &["result"], &times);
        let made = Self {
            attempts: counter("authentication_attempts", "Attempts to authenticate by how they ended.", &["result"])?,
            authentication: histogram("authentication_duration_seconds", "Time of an authentication.")?,
            users: counter("authenticated_user_requests", "Authenticated requests by kind of user.", &["username"])?,
            decisions: counter("authorization_attempts_total", "Authorizations by what was decided.", &["result"])?,
            authorization: histogram("authorization_duration_seconds", "Time of an authorization.")?,
            filters: metrics::histogram(
                registry,
                "apiserver_request_filter_duration_seconds",
                "Time that a request spent in a stage before it was served.",
                &["filter"],
                FILTERS_S,
            )?,
            audited: counter("apiserver_audit_event_total", "Events handed to the audit log.", &[])?,
            unaudited: counter("apiserver_audit_error_total", "Events that the audit log lost.", &["plugin"])?,
        };
        // Shown from the beginning, as upstream shows them.
        made.audited.with_label_values::<&str>(&[]).inc_by(0);
        Ok(made)
    }

    /// Counts an authentication; `Ok(None)` is a request without credentials.
    pub(crate) fn authenticate<T, E>(
        &self,
        work: impl FnOnce() -> Result<Option<(UserInfo, T)>, E>,
    ) -> Result<Option<(UserInfo, T)>, E> {
        let started = Instant::now();
        let answer = work();
        let result = match &answer {
            Ok(Some((user, _))) => {
                self.users.with_label_values(&[kind_of_user(&user.name)]).inc();
                "success"
            }
            Ok(None) => "failure",
            Err(_) => "error",
        };
        self.attempts.with_label_values(&[result]).inc();
        self.authentication.with_label_values(&[result]).observe(started.elapsed().as_secs_f64());
        self.filter("authentication", started);
        answer
    }

    /// Counts an authorization.
    pub(crate) async fn authorize(&self, work: impl Future<Output = Decision>) -> Decision {
        let started = Instant::now();
        let decision = work.await;
        let result = match &decision {
            Decision::Allow(_) => "allowed",
            Decision::Deny(_) => "denied",
            Decision::NoOpinion(_) => "no-opinion",
        };
        self.decisions.with_label_values(&[result]).inc();
        self.authorization.with_label_values(&[result]).observe(started.elapsed().as_secs_f64());
        self.filter("authorization", started);
        decision
    }

    /// A request has passed a stage that it came to at `started`.
    pub(crate) fn filter(&self, stage: &str, started: Instant) {
        self.filters.with_label_values(&[stage]).observe(started.elapsed().as_secs_f64());
    }

    /// Counts the record of a request; `None` if there is no audit log, else whether it was taken.
    pub(crate) fn audited(&self, taken: Option<bool>) {
        match taken {
            None => {}
            Some(true) => self.audited.with_label_values::<&str>(&[]).inc(),
            Some(false) => self.unaudited.with_label_values(&["log"]).inc(),
        }
    }
}

/// A label for a user: few, whoever may come.
fn kind_of_user(name: &str) -> &'static str {
    const KNOWN: [&str; 5] = ["admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default"];
    match KNOWN.into_iter().find(|known| *known == name) {
        Some(known) => known,
        None if name.contains('@') => "email_id",
        None => "other",
    }
}

/// Times of admission's plugins, and of its two steps as a whole.
#[derive(Debug)]
pub(crate) struct AdmissionMetrics {
    plugins: Vec<Timed>,
    step: Timed,
    /// What is counted of pod security.
    pub(crate) pod_security: Evaluations,
}

/// One histogram; what usually happens is looked up beforehand.
#[derive(Debug)]
struct Timed {
    name: Option<&'static str>,
    all: HistogramVec,
    accepted: [[Histogram; 4]; 2],
}

impl Timed {
    fn new(all: &HistogramVec, name: Option<&'static str>) -> Self {
        let accepted =
            STEPS.map(|step| OPERATIONS.map(|operation| all.with_label_values(&labels(name, operation, false, step))));
        Self { name, all: all.clone(), accepted }
    }

    fn observe(&self, operation: Operation, step: usize, rejected: bool, seconds: f64) {
        let number = self::operation(operation);
        if rejected {
            let labels = labels(self.name, OPERATIONS[number], true, STEPS[step]);
            self.all.with_label_values(&labels).observe(seconds);
        } else {
            self.accepted[step][number].observe(seconds);
        }
    }
}

fn labels(
    name: Option<&'static str>,
    operation: &'static str,
    rejected: bool,
    step: &'static str,
) -> Vec<&'static str> {
    name.into_iter().chain([operation, if rejected { "true" } else { "false" }, step]).collect()
}

fn operation(operation: Operation) -> usize {
    match operation {
        Operation::Create => 0,
        Operation::Update => 1,
        Operation::Delete => 2,
        Operation::Connect => 3,
    }
}

impl AdmissionMetrics {
    /// Registers them for plugins of these names; fails if the registry has metrics of these names already.
    pub(crate) fn new(registry: &Registry, plugins: impl Iterator<Item = &'static str>) -> Result<Self, Error> {
        let histogram = |of: &str, help: &str, labels: &[&str]| {
            let name = format!("apiserver_admission_{of}_admission_duration_seconds");
            metrics::histogram(registry, &name, help, labels, ADMISSION_S)
        };
        let step = histogram("step", "Time of all plugins.", &["operation", "rejected", "type"])?;
        let each = histogram("controller", "Time of one plugin.", &["name", "operation", "rejected", "type"])?;
        Ok(Self {
            plugins: plugins.map(|name| Timed::new(&each, Some(name))).collect(),
            step: Timed::new(&step, None),
            pod_security: Evaluations::new(registry)?,
        })
    }

    /// Takes down what a plugin took since `started`: 0 for the step that changes, 1 for the one that checks.
    pub(crate) fn plugin<T, E>(
        &self,
        plugin: usize,
        of: Operation,
        step: usize,
        started: Instant,
        answer: &Result<T, E>,
    ) {
        self.plugins[plugin].observe(of, step, answer.is_err(), started.elapsed().as_secs_f64());
    }

    /// The same of a whole step.
    pub(crate) fn step<T, E>(&self, of: Operation, step: usize, started: Instant, answer: &Result<T, E>) {
        self.step.observe(of, step, answer.is_err(), started.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_of_few_kinds() {
        let table = [("admin", "admin"), ("ann@example.com", "email_id"), ("system:node:a", "other")];
        assert_eq!(table.map(|(name, _)| kind_of_user(name)), table.map(|(_, kind)| kind));
    }

    #[test]
    fn what_is_refused_is_told_apart() {
        let registry = Registry::new();
        let admission = AdmissionMetrics::new(&registry, ["A", "B"].into_iter()).expect("registered");
        admission.plugin(1, Operation::Create, 0, Instant::now(), &Ok::<(), ()>(()));
        admission.plugin(1, Operation::Create, 0, Instant::now(), &Err::<(), ()>(()));
        admission.step(Operation::Delete, 1, Instant::now(), &Ok::<(), ()>(()));
        let text = metrics::encode(&registry).expect("text");
        let of_b = "apiserver_admission_controller_admission_duration_seconds_count{name=\"B\",operation=\"CREATE\"";
        for line in [
            format!("{of_b},rejected=\"false\",type=\"admit\"}} 1"),
            format!("{of_b},rejected=\"true\",type=\"admit\"}} 1"),
            "apiserver_admission_step_admission_duration_seconds_count{operation=\"DELETE\",rejected=\"false\",type=\"validate\"} 1".into(),
        ] {
            assert!(text.contains(&line), "{line} is not in {text}");
        }
    }
}
