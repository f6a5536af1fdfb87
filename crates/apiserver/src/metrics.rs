//! What the server counts, under upstream's names; `/metrics`.

use crate::body::{self, Body};
use crate::health;
use crate::nonresource::VERSION;
use crate::request_metrics::RequestMetrics;
use crate::server::Inner;
use crate::stage_metrics::StageMetrics;
use crate::state_metrics::StateMetrics;
use crate::traffic::Traffic;
use api_core::ApiError;
use http::{Response, StatusCode};
use telemetry::metrics::{self, IntGaugeVec, Registry};
use telemetry::process::Process;

/// The server's metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    inflight: IntGaugeVec,
    inqueue: IntGaugeVec,
    state: StateMetrics,
    process: Process,
    /// Requests and their answers.
    pub(crate) requests: RequestMetrics,
    /// Bodies, lists, events of watches.
    pub(crate) traffic: Traffic,
    /// What health checks said.
    pub(crate) indicators: health::Indicators,
    /// Of authentication, authorization and audit.
    pub(crate) stages: StageMetrics,
}

impl Metrics {
    /// Registers them; fails if the registry has metrics of these names already.
    pub(crate) fn new(registry: &Registry) -> Result<Self, metrics::Error> {
        build_info(registry)?;
        let gauge = |name: &str, help: &str| metrics::gauge(registry, name, help, &["request_kind"]);
        Ok(Self {
            inflight: gauge("apiserver_current_inflight_requests", "Requests under way.")?,
            inqueue: gauge("apiserver_current_inqueue_requests", "Requests that wait for seats.")?,
            requests: RequestMetrics::new(registry)?,
            state: StateMetrics::new(registry)?,
            traffic: Traffic::new(registry)?,
            process: Process::new(registry)?,
            indicators: health::Indicators::new()?,
            stages: StageMetrics::new(registry)?,
            registry: registry.clone(),
        })
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
        self.state.gather(&server.registry).await;
        let text = metrics::encode(&self.registry).map_err(ApiError::internal)?;
        Ok(body::answer(StatusCode::OK, metrics::TEXT_FORMAT, body::full(text)))
    }
}

/// What was built, as labels of a gauge that is always 1.
fn build_info(registry: &Registry) -> Result<(), metrics::Error> {
    let labels = [
        ("build_date", VERSION.build_date),
        ("compiler", VERSION.compiler),
        ("git_commit", VERSION.git_commit),
        ("git_tree_state", VERSION.git_tree_state),
        ("git_version", VERSION.git_version),
        ("go_version", VERSION.go_version),
        ("major", VERSION.major),
        ("minor", VERSION.minor),
        ("platform", VERSION.platform),
    ];
    let (names, values): (Vec<&str>, Vec<&str>) = labels.into_iter().unzip();
    let gauge = metrics::gauge(registry, "kubernetes_build_info", "What was built.", &names)?;
    gauge.with_label_values(&values).set(1);
    Ok(())
}
