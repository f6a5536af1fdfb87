//! `/livez`, `/readyz`, `/healthz`: named checks, each of which can be asked for or left out; and what they said, counted.

use crate::body::{self, Body};
use crate::query::Query;
use crate::server::Inner;
use api_core::ApiError;
use http::{HeaderValue, Response, StatusCode, header};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;
use telemetry::metrics::{self, IntCounterVec, IntGaugeVec, Registry};

/// The store must answer within this.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);

/// What the checks said, under upstream's names. They are shown apart from all other metrics.
#[derive(Debug)]
pub(crate) struct Indicators {
    registry: Registry,
    last: IntGaugeVec,
    all: IntCounterVec,
}

impl Indicators {
    /// Of checks that nobody has asked for yet.
    pub(crate) fn new() -> Result<Self, metrics::Error> {
        let registry = Registry::new();
        let last = metrics::gauge(
            &registry,
            "kubernetes_healthcheck",
            "Whether a check passed when somebody asked last.",
            &["name", "type"],
        )?;
        let all = metrics::counter(
            &registry,
            "kubernetes_healthchecks_total",
            "Checks by how they ended.",
            &["name", "status", "type"],
        )?;
        Ok(Self { registry, last, all })
    }

    fn observe(&self, name: &str, endpoint: &str, well: bool) {
        self.last.with_label_values(&[name, endpoint]).set(i64::from(well));
        let status = if well { "success" } else { "error" };
        self.all.with_label_values(&[name, status, endpoint]).inc();
    }

    /// `/metrics/slis`.
    pub(crate) fn answer(&self) -> Result<Response<Body>, ApiError> {
        let text = metrics::encode(&self.registry).map_err(ApiError::internal)?;
        Ok(body::answer(StatusCode::OK, metrics::TEXT_FORMAT, body::full(text)))
    }
}

/// What a check looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    /// That the server answers at all.
    Answers,
    /// That the store answers.
    Store,
    /// That the caches are filled; they are before the server is built.
    Caches,
    /// That what a cluster must have is there.
    Bootstrapped,
    /// That API services are followed.
    Aggregates,
    /// That custom resources have API services.
    Registered,
    /// That the server does not drain.
    NotDraining,
}

/// A check, upstream's name for it, and where it belongs: `true` for one of `/readyz` only. What upstream starts one by one
/// is here filled, or running, when the server is built.
const CHECKS: &[(&str, Probe, bool)] = &[
    ("ping", Probe::Answers, false),
    ("log", Probe::Answers, false),
    ("etcd", Probe::Store, false),
    ("etcd-readiness", Probe::Store, true),
    ("informer-sync", Probe::Caches, true),
    ("poststarthook/start-apiserver-admission-initializer", Probe::Answers, false),
    ("poststarthook/generic-apiserver-start-informers", Probe::Caches, false),
    ("poststarthook/priority-and-fairness-config-consumer", Probe::Caches, false),
    ("poststarthook/priority-and-fairness-filter", Probe::Answers, false),
    ("poststarthook/storage-object-count-tracker-hook", Probe::Caches, false),
    ("poststarthook/start-apiextensions-informers", Probe::Caches, false),
    ("poststarthook/start-apiextensions-controllers", Probe::Caches, false),
    ("poststarthook/crd-informer-synced", Probe::Caches, false),
    ("poststarthook/start-service-ip-repair-controllers", Probe::Caches, false),
    ("poststarthook/rbac/bootstrap-roles", Probe::Bootstrapped, false),
    ("poststarthook/scheduling/bootstrap-system-priority-classes", Probe::Bootstrapped, false),
    ("poststarthook/priority-and-fairness-config-producer", Probe::Bootstrapped, false),
    ("poststarthook/start-system-namespaces-controller", Probe::Bootstrapped, false),
    ("poststarthook/bootstrap-controller", Probe::Bootstrapped, false),
    ("poststarthook/start-cluster-authentication-info-controller", Probe::Bootstrapped, false),
    ("poststarthook/start-kube-apiserver-identity-lease-controller", Probe::Answers, false),
    ("poststarthook/start-kube-apiserver-identity-lease-garbage-collector", Probe::Answers, false),
    ("poststarthook/start-legacy-token-tracking-controller", Probe::Answers, false),
    ("poststarthook/start-kube-aggregator-informers", Probe::Caches, false),
    ("poststarthook/apiservice-registration-controller", Probe::Aggregates, false),
    ("poststarthook/apiservice-status-available-controller", Probe::Aggregates, false),
    ("poststarthook/apiservice-wait-for-first-sync", Probe::Aggregates, false),
    ("poststarthook/apiservice-discovery-controller", Probe::Aggregates, false),
    ("poststarthook/kube-apiserver-autoregistration", Probe::Bootstrapped, false),
    ("autoregister-completion", Probe::Registered, false),
    ("poststarthook/apiservice-openapi-controller", Probe::Aggregates, false),
    ("poststarthook/apiservice-openapiv3-controller", Probe::Aggregates, false),
    ("shutdown", Probe::NotDraining, true),
];

const ENDPOINTS: [&str; 3] = ["healthz", "livez", "readyz"];

fn checks(endpoint: &str) -> impl Iterator<Item = (&'static str, Probe)> {
    let ready = endpoint == "readyz";
    CHECKS.iter().filter(move |(_, _, only)| ready || !only).map(|(name, probe, _)| (*name, *probe))
}

/// All paths that are served here.
pub(crate) fn paths() -> impl Iterator<Item = String> {
    ENDPOINTS.into_iter().flat_map(|endpoint| {
        let single = checks(endpoint).map(move |(name, _)| format!("/{endpoint}/{name}"));
        std::iter::once(format!("/{endpoint}")).chain(single)
    })
}

/// The answer, if the path belongs here.
pub(crate) async fn serve(server: &Inner, path: &str, query: &Query) -> Option<Response<Body>> {
    let path = path.strip_prefix('/')?;
    let (endpoint, name) = path.split_once('/').map_or((path, None), |(endpoint, name)| (endpoint, Some(name)));
    if !ENDPOINTS.contains(&endpoint) {
        return None;
    }
    if let Some(name) = name {
        let (_, probe) = checks(endpoint).find(|(known, _)| *known == name)?;
        return Some(match check(server, probe).await {
            Ok(()) => body::text(StatusCode::OK, "ok"),
            Err(why) => body::error(StatusCode::INTERNAL_SERVER_ERROR, &format!("internal server error: {why}")),
        });
    }
    let excluded: BTreeSet<&str> = query.all("exclude").collect();
    let (all_well, lines) = run(server, endpoint, &excluded).await;
    let mut answer = match (all_well, query.has("verbose")) {
        (true, false) => body::text(StatusCode::OK, "ok"),
        (true, true) => body::text(StatusCode::OK, format!("{lines}{endpoint} check passed\n")),
        (false, _) => body::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{lines}{endpoint} check failed\n")),
    };
    answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Some(answer)
}

async fn run(server: &Inner, endpoint: &str, excluded: &BTreeSet<&str>) -> (bool, String) {
    let mut lines = String::new();
    let mut all_well = true;
    for (name, probe) in checks(endpoint) {
        let outcome = if excluded.contains(name) { None } else { Some(check(server, probe).await) };
        if let Some(outcome) = &outcome {
            server.metrics.indicators.observe(name, endpoint, outcome.is_ok());
        }
        let line = match outcome {
            None => format!("[+]{name} excluded: ok"),
            Some(Ok(())) => format!("[+]{name} ok"),
            Some(Err(why)) => {
                tracing::info!(check = name, why, "health check failed");
                all_well = false;
                format!("[-]{name} failed: reason withheld")
            }
        };
        lines.push_str(&line);
        lines.push('\n');
    }
    let unknown: Vec<String> =
        excluded.iter().filter(|e| !checks(endpoint).any(|(name, _)| name == **e)).map(|e| format!("{e:?}")).collect();
    if !unknown.is_empty() {
        let list = unknown.join(",");
        // Writing to a string cannot fail.
        writeln!(lines, "warn: some health checks cannot be excluded: no matches for {list}").unwrap_or_default();
    }
    (all_well, lines)
}

async fn check(server: &Inner, probe: Probe) -> Result<(), &'static str> {
    let well = match probe {
        Probe::Answers | Probe::Caches => true,
        Probe::Store => {
            let revision = tokio::time::timeout(STORE_TIMEOUT, server.registry.store.revision()).await;
            return if matches!(revision, Ok(Ok(_))) { Ok(()) } else { Err("the store does not answer") };
        }
        Probe::Bootstrapped => *server.bootstrapped.borrow(),
        Probe::Aggregates => *server.aggregation.following.borrow(),
        Probe::Registered => *server.aggregation.registered.borrow(),
        Probe::NotDraining => !server.ending.is_cancelled(),
    };
    if well { Ok(()) } else { Err("not finished") }
}
