//! What the server counts, under upstream's names.

use crate::body::{self, Body};
use crate::health;
use crate::query::Query;
use crate::request_info::RequestInfo;
use crate::server::Inner;
use crate::stage_metrics::StageMetrics;
use api_core::ApiError;
use http::{Response, StatusCode};
use std::time::Duration;
use telemetry::metrics::{self, HistogramVec, IntCounterVec, IntGaugeVec, Registry};
use telemetry::process::Process;

/// Upper bounds of request durations, in seconds, as upstream's.
const DURATIONS_S: &[f64] = &[
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];

const REQUEST_LABELS: &[&str] =
    &["component", "dry_run", "group", "resource", "scope", "subresource", "verb", "version"];

/// The same without whether it is a dry run.
const SLI_LABELS: [&str; 7] = ["component", "group", "resource", "scope", "subresource", "verb", "version"];

/// The server's metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    durations: HistogramVec,
    inflight: IntGaugeVec,
    inqueue: IntGaugeVec,
    long_running: IntGaugeVec,
    objects: IntGaugeVec,
    size: IntGaugeVec,
    watches: IntGaugeVec,
    sli_durations: HistogramVec,
    sizes: HistogramVec,
    process: Process,
    /// What health checks said.
    pub(crate) indicators: health::Indicators,
    /// Of authentication, authorization and audit.
    pub(crate) stages: StageMetrics,
}

impl Metrics {
    /// Registers them; fails if the registry has metrics of these names already.
    pub(crate) fn new(registry: &Registry) -> Result<Self, metrics::Error> {
        let with_code = [REQUEST_LABELS, &["code"]].concat();
        Ok(Self {
            requests: metrics::counter(
                registry,
                "apiserver_request_total",
                "Requests by what they ask and the answer's code.",
                &with_code,
            )?,
            durations: metrics::histogram(
                registry,
                "apiserver_request_duration_seconds",
                "Time to the first byte of the answer.",
                REQUEST_LABELS,
                DURATIONS_S,
            )?,
            inflight: metrics::gauge(
                registry,
                "apiserver_current_inflight_requests",
                "Requests under way.",
                &["request_kind"],
            )?,
            inqueue: metrics::gauge(
                registry,
                "apiserver_current_inqueue_requests",
                "Requests that wait for seats.",
                &["request_kind"],
            )?,
            long_running: metrics::gauge(
                registry,
                "apiserver_longrunning_requests",
                "Watches and connections.",
                &SLI_LABELS,
            )?,
            objects: metrics::gauge(registry, "apiserver_storage_objects", "Stored objects.", &["resource"])?,
            size: metrics::gauge(
                registry,
                "apiserver_storage_size_bytes",
                "Size of the store.",
                &["storage_cluster_id"],
            )?,
            watches: metrics::gauge(registry, "apiserver_registered_watchers", "Watches by resource.", &["resource"])?,
            sli_durations: metrics::histogram(
                registry,
                "apiserver_request_sli_duration_seconds",
                "Time to the first byte of the answer, of requests that are not watches or connections.",
                &SLI_LABELS,
                DURATIONS_S,
            )?,
            sizes: metrics::histogram(
                registry,
                "apiserver_response_sizes",
                "Bytes of answers whose length is known beforehand.",
                &SLI_LABELS,
                &metrics::exponential_buckets(1000.0, 10.0, 7)?,
            )?,
            process: Process::new(registry)?,
            indicators: health::Indicators::new()?,
            stages: StageMetrics::new(registry)?,
            registry: registry.clone(),
        })
    }

    /// A request that has been answered, with so many bytes if that is known.
    pub(crate) fn request(&self, info: &RequestInfo, query: &Query, code: u16, took: Duration, bytes: Option<u64>) {
        let labels = labels(info, query);
        let code = code.to_string();
        let mut with_code = labels.to_vec();
        with_code.push(&code);
        self.requests.with_label_values(&with_code).inc();
        self.durations.with_label_values(&labels).observe(took.as_secs_f64());
        let labels = without_dry_run(labels);
        if ["WATCH", "CONNECT"].contains(&labels[5]) {
            return;
        }
        self.sli_durations.with_label_values(&labels).observe(took.as_secs_f64());
        if let Some(bytes) = bytes {
            self.sizes.with_label_values(&labels).observe(bytes as f64);
        }
    }

    /// A watch or connection that goes on until the guard is dropped.
    pub(crate) fn long_running(&self, info: &RequestInfo, query: &Query) -> LongRunning {
        let gauge = self.long_running.with_label_values(&without_dry_run(labels(info, query)));
        gauge.inc();
        LongRunning(gauge)
    }

    /// All metrics of the process as text.
    pub(crate) async fn answer(&self, server: &Inner) -> Result<Response<Body>, ApiError> {
        let counts = server.fairness.counts(&server.config.limits);
        for (kind, (executing, waiting)) in ["readOnly", "mutating"].into_iter().zip(counts) {
            self.inflight.with_label_values(&[kind]).set(executing);
            self.inqueue.with_label_values(&[kind]).set(waiting);
        }
        server.fairness.gather();
        self.process.gather();
        for served in &server.registry.table().rows {
            let Some(cache) = &served.cache else { continue };
            let (resource, stats) = (served.row.gvr.group_resource().to_string(), cache.stats());
            self.objects.with_label_values(&[&resource]).set(i64::try_from(stats.objects).unwrap_or(i64::MAX));
            self.watches.with_label_values(&[&resource]).set(i64::try_from(stats.watches).unwrap_or(i64::MAX));
        }
        if let Ok(bytes) = server.registry.store.size_bytes().await {
            self.size.with_label_values(&["default"]).set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        let text = metrics::encode(&self.registry).map_err(ApiError::internal)?;
        Ok(body::answer(StatusCode::OK, metrics::TEXT_FORMAT, body::full(text)))
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

/// Values of [`SLI_LABELS`] from those of [`REQUEST_LABELS`].
fn without_dry_run([component, _, group, resource, scope, subresource, verb, version]: [&str; 8]) -> [&str; 7] {
    [component, group, resource, scope, subresource, verb, version]
}

/// Values of [`REQUEST_LABELS`]. Paths that are no resource, and resources that are not served, share one.
fn labels<'a>(info: &'a RequestInfo, query: &Query) -> [&'a str; 8] {
    let verb = match info.verb.as_str() {
        "get" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        "proxy" | "connect" => "CONNECT",
        _ => "other",
    };
    let scope = match (info.is_resource, info.name_in_path, info.namespace.is_empty()) {
        (false, _, _) => "",
        (true, true, _) => "resource",
        (true, ..) if info.verb == "create" => "resource",
        (true, false, false) => "namespace",
        (true, false, true) => "cluster",
    };
    let dry_run = if query.get("dryRun") == "All" { "All" } else { "" };
    ["apiserver", dry_run, &info.api_group, &info.resource, scope, &info.subresource, verb, &info.api_version]
}
