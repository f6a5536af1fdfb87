//! Finds out who answers, and writes it into the API services' conditions.
//!
//! A look follows every change of the service, of its endpoints and of the object itself. Whether a server behind the
//! network still answers is no event here, so it is asked again from time to time.

use super::Remote;
use super::remote::{Question, at, authority};
use crate::authn::UserInfo;
use crate::authn::user::MASTERS;
use crate::server::Inner;
use crate::view::View;
use crate::webhook::transport::Trust;
use api_core::ApiError;
use api_core::meta::Meta;
use api_kinds::aggregation::availability::{self, Condition};
use api_kinds::aggregation::{ApiService, api_services};
use api_kinds::names;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http::Method;
use http::uri::PathAndQuery;
use rand::seq::SliceRandom;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use watch_cache::{Cache, CacheError, Interest, Watch};

/// Between two looks at a server when nothing happens.
const RECHECK: Duration = Duration::from_secs(30);
/// Pause after the first failure; doubles with each, up to [`RECHECK`].
const RETRY_FIRST: Duration = Duration::from_millis(5);
/// Endpoints of a service that are asked in one look; one that answers is enough.
const ENDPOINTS_MAX: usize = 5;
/// A server that takes longer does not answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Keeps the condition of one extension server true, until it is told to stop.
pub(super) async fn keep(server: Arc<Inner>, mut told: watch::Receiver<Arc<Remote>>) {
    let mut failures = 0;
    loop {
        let remote = told.borrow_and_update().clone();
        // From here on no change is missed.
        let Ok(mut watches) = Watches::start(&server, &remote) else { return };
        let (condition, asked) = judge(&server, &remote).await;
        let written = record(&server, &remote, &condition).await;
        if let Err(error) = &written {
            tracing::warn!(%error, name = remote.service.name, "the status of an API service could not be written");
        }
        let known = written.as_ref().ok().copied().flatten();
        failures = if written.is_err() || (asked && !condition.is_true()) { failures + 1 } else { 0 };
        let due = tokio::time::Instant::now() + pause(failures);
        let news = async {
            while told.changed().await.is_ok() {
                // What was written just now is no news.
                if Some(told.borrow_and_update().revision) > known {
                    return true;
                }
            }
            false
        };
        tokio::select! {
            more = news => if !more { return },
            () = watches.changed(&remote.backend.service) => {}
            () = tokio::time::sleep_until(due) => {}
        }
    }
}

fn pause(failures: u32) -> Duration {
    match failures {
        0 => RECHECK,
        n => RETRY_FIRST.saturating_mul(1 << n.min(16).saturating_sub(1)).min(RECHECK),
    }
}

/// Watches of the objects that say where a server is.
struct Watches {
    service: Watch,
    endpoints: Watch,
    slices: Watch,
}

impl Watches {
    fn start(server: &Inner, remote: &Remote) -> Result<Self, CacheError> {
        let start = |group: &str, resource: &str, name: &str| {
            let cache: Arc<Cache> = server.registry.cache_of(group, resource).ok_or(CacheError::Closed)?;
            let below = format!("{}/{name}", remote.backend.namespace);
            let key = [cache.prefix().as_ref(), below.as_bytes()].concat();
            cache.snapshot_and_watch(Interest::prefix(key)).map(|(_, watch)| watch)
        };
        Ok(Self {
            service: start("", names::SERVICES, &remote.backend.service)?,
            endpoints: start("", names::ENDPOINTS, &remote.backend.service)?,
            slices: start("discovery.k8s.io", names::ENDPOINT_SLICES, "")?,
        })
    }

    /// Returns when something has changed, or when that cannot be seen any longer.
    async fn changed(&mut self, service: &str) {
        loop {
            let slices = tokio::select! {
                _ = self.service.next() => return,
                _ = self.endpoints.next() => return,
                slices = self.slices.next() => slices,
            };
            let Ok(events) = slices else { return };
            if events.iter().any(|e| e.object.label("kubernetes.io/service-name") == Some(service)) {
                return;
            }
        }
    }
}

/// How it is, and whether the server was asked for it.
async fn judge(server: &Inner, remote: &Remote) -> (Condition, bool) {
    let (view, backend) = (&server.registry, &remote.backend);
    let of = |resource: &str| view.get("", resource, &backend.namespace, &backend.service);
    let (service, endpoints) = (of(names::SERVICES), of(names::ENDPOINTS));
    let mut slices = Vec::new();
    if endpoints.is_none() {
        slices = view.list("discovery.k8s.io", names::ENDPOINT_SLICES, &backend.namespace);
        slices.retain(|s| s.label("kubernetes.io/service-name") == Some(backend.service.as_str()));
    }
    match availability::obstacle(backend, service.as_ref(), endpoints.as_ref(), &slices) {
        Some(condition) => (condition, false),
        None => match answers(server, remote).await {
            Ok(()) => (Condition::passed(), true),
            Err(why) => (Condition::failed_check(why), true),
        },
    }
}

/// Asks some of the places at once; one that answers is enough.
async fn answers(server: &Inner, remote: &Remote) -> Result<(), String> {
    let mut places = remote.places(&server.aggregation, &server.registry)?;
    places.shuffle(&mut rand::rng());
    places.truncate(ENDPOINTS_MAX);
    // The last to be told when all fail is the least by address, so that the message stays while the failure does.
    places.sort();
    let mut asked: FuturesUnordered<_> =
        places.iter().enumerate().map(|(n, place)| async move { (n, answer(server, remote, place).await) }).collect();
    let mut first: Option<(usize, String)> = None;
    while let Some((n, answered)) = asked.next().await {
        let Err(why) = answered else { return Ok(()) };
        if first.as_ref().is_none_or(|(least, _)| n < *least) {
            first = Some((n, why));
        }
    }
    Err(first.map_or_else(String::new, |(_, why)| why))
}

async fn answer(server: &Inner, remote: &Remote, place: &(String, u16)) -> Result<(), String> {
    let path = remote.path();
    let url = format!("https://{}{path}", authority(place));
    let failed = |why: String| format!("failing or missing response from {url}: {why}");
    let path: PathAndQuery = path.parse().map_err(|e: http::uri::InvalidUri| failed(e.to_string()))?;
    // Whoever answers is not believed anything, so it need not be verified.
    let trust = Trust { insecure: true, ca_pem: Vec::new(), ..remote.trust.clone() };
    let question = Question {
        trust: &trust,
        uri: at(&authority(place), path).map_err(|e| failed(e.to_string()))?,
        user: &UserInfo::new("system:kube-aggregator", &[MASTERS]),
        accept: "application/json, */*",
        known: "",
        // What it says is not looked at.
        answer_bytes_max: None,
        timeout: TIMEOUT,
    };
    let answer = server.aggregation.ask(question).await.map_err(|e| failed(format!("Get {url:?}: {e}")))?;
    if answer.status.is_success() {
        return Ok(());
    }
    Err(failed(format!("bad status from {url}: {}", answer.status.as_u16())))
}

/// Writes the condition, unless it is there. Gives the revision of what was written, if anything was.
async fn record(server: &Arc<Inner>, remote: &Remote, condition: &Condition) -> Result<Option<i64>, ApiError> {
    let name = &remote.service.name;
    server.aggregation.metrics.is(name, condition.is_true());
    let gvr = api_services();
    let Some(known) = server.registry.get(&gvr.group, &gvr.resource, "", name) else { return Ok(None) };
    let same = |object: &Value| ApiService::read(object).backend.as_ref() == Some(&remote.backend);
    if !same(&known) || availability::with(&known, condition, &now()).is_none() {
        return Ok(None);
    }
    write(server, name, condition, same).await
}

fn now() -> String {
    api_core::time::format_unix_s(crate::authn::now())
}

/// Writes the condition of an object that is still `meant`. Gives the revision of what was written, if anything was.
async fn write(
    server: &Arc<Inner>,
    name: &str,
    condition: &Condition,
    meant: impl Fn(&Value) -> bool,
) -> Result<Option<i64>, ApiError> {
    let (me, gvr) = (UserInfo::apiserver(), api_services());
    let path = format!("/apis/{}/{}/{name}", gvr.api_version(), gvr.resource);
    let work = async {
        let live = server.call(&me, Method::GET, &path, None).await?;
        if !meant(&live) {
            return Ok(None);
        }
        let Some(changed) = availability::with(&live, condition, &now()) else { return Ok(None) };
        let written = server.call(&me, Method::PUT, &format!("{path}/status"), Some(&changed)).await?;
        tracing::info!(name, reason = condition.reason, "the availability of an API service has changed");
        if availability::is_available(&live) && !condition.is_true() {
            server.aggregation.metrics.lost(name, condition.reason);
        }
        written.resource_version().parse().map(Some).map_err(ApiError::internal)
    };
    match work.await {
        // Somebody else wrote it, or it is gone; its event is on its way.
        Err(e) if e.code == 409 || e.code == 404 => Ok(None),
        other => other,
    }
}

/// What is served here of these is available; gives those of which it could not be written.
pub(super) async fn settle_local(server: &Arc<Inner>, names: BTreeSet<String>) -> BTreeSet<String> {
    let local = |object: &Value| ApiService::read(object).backend.is_none();
    let (gvr, mut failed) = (api_services(), BTreeSet::new());
    for name in names {
        let Some(object) = server.registry.get(&gvr.group, &gvr.resource, "", &name).filter(local) else { continue };
        server.aggregation.metrics.is(&name, true);
        let condition = Condition::local();
        if availability::with(&object, &condition, &now()).is_none() {
            continue;
        }
        if let Err(error) = write(server, &name, &condition, local).await {
            tracing::warn!(%error, name, "the status of an API service could not be written");
            failed.insert(name);
        }
    }
    failed
}
