//! What is counted of requests and their answers, under upstream's names.
//!
//! Decides nothing. That each name is upstream's is a test of the running server.

use crate::body::Body;
use crate::request_labels::{NAMES, NAMES_WITHOUT_DRY_RUN, Summary, without_dry_run};
use crate::server::Inner;
use http::Response;
use std::time::Duration;
use telemetry::metrics::{self, HistogramVec, IntCounterVec, IntGaugeVec, Registry};

/// Upper bounds of request durations, in seconds, as upstream's.
const DURATIONS_S: &[f64] = &[
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];

/// The same of service level indicators.
const SLI_DURATIONS_S: &[f64] =
    &[0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0];

/// Extension of an answer that the server gave in self-defence: it was too slow, or there was too much to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminated;

/// Handles of the metrics.
#[derive(Debug)]
pub(crate) struct RequestMetrics {
    requests: IntCounterVec,
    durations: HistogramVec,
    long_running: IntGaugeVec,
    indicators: Indicators,
    sizes: HistogramVec,
    terminations: IntCounterVec,
    own: IntCounterVec,
    deprecated: IntGaugeVec,
}

/// Times of requests that are not watches or connections. The name of old is still shown, as upstream shows it.
#[derive(Debug)]
struct Indicators([HistogramVec; 2]);

impl Indicators {
    fn new(registry: &Registry) -> Result<Self, metrics::Error> {
        let histogram = |of: &str, help: &str| {
            let name = format!("apiserver_request_{of}_duration_seconds");
            metrics::histogram(registry, &name, help, &NAMES_WITHOUT_DRY_RUN, SLI_DURATIONS_S)
        };
        let help = "Time to the first byte of the answer, of requests that are not watches or connections.";
        Ok(Self([histogram("sli", help)?, histogram("slo", "The same as apiserver_request_sli_duration_seconds.")?]))
    }
}

impl RequestMetrics {
    /// Registers them; fails if the registry has metrics of these names already.
    pub(crate) fn new(registry: &Registry) -> Result<Self, metrics::Error> {
        let with_code = [NAMES.as_slice(), &["code"]].concat();
        let ended = [NAMES_WITHOUT_DRY_RUN.as_slice(), &["code"]].concat();
        let counter = |name: &str, help: &str, labels: &[&str]| metrics::counter(registry, name, help, labels);
        let gauge = |name: &str, help: &str, labels: &[&str]| metrics::gauge(registry, name, help, labels);
        Ok(Self {
            requests: counter(
                "apiserver_request_total",
                "Requests by what they ask and the answer's code.",
                &with_code,
            )?,
            durations: metrics::histogram(
                registry,
                "apiserver_request_duration_seconds",
                "Time to the first byte of the answer.",
                &NAMES,
                DURATIONS_S,
            )?,
            long_running: gauge("apiserver_longrunning_requests", "Watches and connections.", &NAMES_WITHOUT_DRY_RUN)?,
            indicators: Indicators::new(registry)?,
            sizes: metrics::histogram(
                registry,
                "apiserver_response_sizes",
                "Bytes of answers to reads whose length is known beforehand.",
                &NAMES_WITHOUT_DRY_RUN,
                &metrics::exponential_buckets(1000.0, 10.0, 7)?,
            )?,
            terminations: counter(
                "apiserver_request_terminations_total",
                "Requests that the server ended in self-defence.",
                &ended,
            )?,
            own: counter(
                "apiserver_selfrequest_total",
                "Requests of the server to itself.",
                &["verb", "resource", "subresource"],
            )?,
            deprecated: gauge(
                "apiserver_requested_deprecated_apis",
                "Deprecated versions that somebody has asked for.",
                &["group", "version", "resource", "subresource", "removed_release"],
            )?,
        })
    }

    /// A request that has been answered.
    pub(crate) fn answered(&self, server: &Inner, request: &Summary, answer: &Response<Body>, took: Duration) {
        let info = &request.info;
        let served = server.registry.lookup(&info.api_group, &info.api_version, &info.resource);
        let row = served.as_ref().map(|served| &served.row);
        let known = row.is_some_and(|r| info.subresource.is_empty() || r.subresource(&info.subresource).is_some());
        let labels = request.labels(known);
        let code = answer.status().as_u16().to_string();
        let with_code = [labels.as_slice(), &[&code]].concat();
        self.requests.with_label_values(&with_code).inc();
        self.durations.with_label_values(&labels).observe(took.as_secs_f64());
        let labels = without_dry_run(labels);
        if answer.extensions().get::<Terminated>().is_some() {
            self.terminations.with_label_values(&[labels.as_slice(), &[&code]].concat()).inc();
        }
        if let (true, Some(release)) = (known, row.and_then(|row| api_kinds::removed_release(&row.gvr))) {
            let of = [&info.api_group, &info.api_version, &info.resource, &info.subresource].map(String::as_str);
            self.deprecated.with_label_values(&[of.as_slice(), &[release]].concat()).set(1);
        }
        let verb = labels[5];
        if ["WATCH", "CONNECT"].contains(&verb) {
            return;
        }
        for indicator in &self.indicators.0 {
            indicator.with_label_values(&labels).observe(took.as_secs_f64());
        }
        let bytes = http_body::Body::size_hint(answer.body()).exact();
        if let (Some(bytes), "GET" | "LIST") = (bytes, verb) {
            self.sizes.with_label_values(&labels).observe(bytes as f64);
        }
    }

    /// A request of the server to itself.
    pub(crate) fn own_request(&self, request: &Summary) {
        let [_, _, _, resource, _, subresource, verb, _] = request.labels(true);
        self.own.with_label_values(&[verb, resource, subresource]).inc();
    }

    /// A watch or connection that goes on until the guard is dropped.
    pub(crate) fn long_running(&self, request: &Summary, known: bool) -> LongRunning {
        let gauge = self.long_running.with_label_values(&without_dry_run(request.labels(known)));
        gauge.inc();
        LongRunning(gauge)
    }
}

/// Counts a request for as long as it lives.
#[derive(Debug)]
pub(crate) struct LongRunning(metrics::IntGauge);

impl Drop for LongRunning {
    fn drop(&mut self) {
        self.0.dec();
    }
}
