//! Group versions that extension servers serve, beside those that are served here.
//!
//! [`run`] follows the API services: [`Services`] says at any moment who serves what, [`proxy`] passes requests on,
//! [`availability`] finds out who answers and writes it down, [`registration`] keeps the objects of custom resources. What
//! those objects mean is in `api_kinds::aggregation`. Tests are in `tests/aggregation.rs`.

mod availability;
mod described;
mod discovery;
mod metrics;
mod openapi;
pub(crate) mod proxy;
mod registration;
mod remote;
mod said;
mod target;

pub(crate) use discovery::Documents;
pub(crate) use openapi::{Remotes, V3};
pub(crate) use remote::Remote;

use said::Said;

use crate::config::Config;
use crate::registry::{Registry, storage};
use crate::request_info::RequestInfo;
use crate::server::Inner;
use crate::view::View;
use crate::webhook::transport::Transport;
use api_kinds::aggregation::{ApiService, api_services};
use arc_swap::{ArcSwap, Guard};
use base::OrderedMap;

use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::DropGuard;
use watch_cache::{Cache, Interest, Object, Snapshot};

/// Pause before a write that failed is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Who serves what, and the way there.
#[derive(Debug)]
pub(crate) struct Aggregation {
    services: ArcSwap<Services>,
    /// What extension servers say they have.
    documents: Said<Documents>,
    /// Their OpenAPI documents.
    openapi: Said<Remotes>,
    transport: Arc<Transport>,
    /// Where this server itself is reached.
    own: SocketAddr,
    pub(crate) metrics: metrics::Metrics,
    /// Whether the API services are followed.
    pub(crate) following: watch::Sender<bool>,
    /// Whether all custom resources have had theirs once.
    pub(crate) registered: watch::Sender<bool>,
}

/// The API services of one moment.
#[derive(Debug, Default)]
pub(crate) struct Services {
    /// All of them, by the objects' names.
    all: OrderedMap<String, Arc<ApiService>>,
    /// Those of extension servers, by group.
    remote: HashMap<String, Vec<Arc<Remote>>>,
}

impl Services {
    fn read(registry: &Registry) -> Self {
        let Some(cache) = cache(registry) else { return Self::default() };
        let snapshot = cache.snapshot();
        let names: Vec<String> = names(&cache, &snapshot).collect();
        Self::default().with(&cache, &snapshot, &names)
    }

    /// These services, but those of the names as they are now.
    fn with<'n>(&self, cache: &Cache, snapshot: &Snapshot, names: impl IntoIterator<Item = &'n String>) -> Self {
        let (mut all, mut remote) = (self.all.clone(), self.remote.clone());
        for name in names {
            if let Some(before) = all.remove(name)
                && let Some(of_group) = remote.get_mut(&before.group)
            {
                of_group.retain(|r| r.service.name != *name);
                if of_group.is_empty() {
                    remote.remove(&before.group);
                }
            }
            let Some(object) = snapshot.get(&key(cache, name)) else { continue };
            let Some(service) = read(object) else { continue };
            if let Some(found) = Remote::new(&service, object.revision) {
                remote.entry(found.service.group.clone()).or_default().push(Arc::new(found));
            }
            all.insert(name.clone(), Arc::new(service));
        }
        Self { all, remote }
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &ApiService> {
        self.all.iter().map(|(_, service)| &**service)
    }

    /// The extension server that has the v3 document of that name: the group version's own, or whichever has it if nothing
    /// here has.
    fn describing(&self, registry: &Registry, described: &Remotes, name: &str) -> Option<&Arc<Remote>> {
        let version = name.strip_prefix("apis/").and_then(|path| path.split_once('/'));
        if let Some(own) = version.and_then(|(group, version)| self.remote(group, version)) {
            return described.is_there(&own.service.name, name).then_some(own);
        }
        let table = registry.table();
        let is_custom = version.is_some_and(|(group, version)| table.custom_version(group, version).is_some());
        if is_custom || api_kinds::openapi::v3(name).is_some() {
            return None;
        }
        let service = self.all.get(described.holder(name)?)?;
        self.remote(&service.group, &service.version)
    }

    /// The extension server of a group version.
    pub(crate) fn remote(&self, group: &str, version: &str) -> Option<&Arc<Remote>> {
        self.remote.get(group)?.iter().find(|r| r.service.version == version)
    }

    /// All extension servers, one for each group version.
    pub(crate) fn remotes(&self) -> impl Iterator<Item = &Arc<Remote>> {
        self.remote.values().flatten()
    }
}

impl Aggregation {
    /// Reads what is there already, so that the first request goes the right way.
    pub(crate) fn new(
        registry: &Registry,
        transport: Arc<Transport>,
        config: &Config,
    ) -> Result<Self, telemetry::metrics::Error> {
        let own = SocketAddr::new(config.advertise_address, config.secure_port);
        let metrics = metrics::Metrics::new(&config.metrics)?;
        let services = ArcSwap::from_pointee(Services::read(registry));
        let (documents, openapi) = (Said::default(), Said::default());
        let (following, registered) = (watch::Sender::new(false), watch::Sender::new(!config.bootstrap));
        Ok(Self { services, documents, openapi, transport, own, metrics, following, registered })
    }

    /// The API services of this moment.
    pub(crate) fn services(&self) -> Arc<Services> {
        self.services.load_full()
    }

    /// What extension servers say they have.
    pub(crate) fn documents(&self) -> Arc<Documents> {
        Guard::into_inner(self.documents.load())
    }

    /// OpenAPI documents of extension servers.
    pub(crate) fn openapi(&self) -> Arc<Remotes> {
        Guard::into_inner(self.openapi.load())
    }

    /// The extension server that a request is for, as the cache has it at this moment.
    pub(crate) fn remote_of(&self, registry: &Registry, info: &RequestInfo) -> Option<Arc<Remote>> {
        let services = self.services.load();
        if services.remote.is_empty() {
            return None;
        }
        let known = if info.is_resource {
            services.remote(&info.api_group, &info.api_version)?
        } else {
            let path = info.path.trim_end_matches('/');
            match path.strip_prefix("/openapi/v3/") {
                // An OpenAPI document is where the index says it is.
                Some(name) => services.describing(registry, &self.openapi.load(), name)?,
                None => {
                    let (group, version) = path.strip_prefix("/apis/")?.split_once('/')?;
                    services.remote(group, version)?
                }
            }
        };
        let cache = cache(registry)?;
        let object = cache.get(&key(&cache, &known.service.name))?;
        if object.revision == known.revision {
            return Some(known.clone());
        }
        // It was written a moment ago.
        Remote::new(&read(&object)?, object.revision).map(Arc::new)
    }
}

fn cache(registry: &Registry) -> Option<Arc<Cache>> {
    let gvr = api_services();
    registry.cache_of(&gvr.group, &gvr.resource)
}

fn key(cache: &Cache, name: &str) -> Vec<u8> {
    [cache.prefix().as_ref(), name.as_bytes()].concat()
}

fn names(cache: &Cache, snapshot: &Snapshot) -> impl Iterator<Item = String> {
    snapshot.prefix(cache.prefix()).map(|object| object.name.to_string())
}

fn read(object: &Object) -> Option<ApiService> {
    let value = storage::value(object).inspect_err(|error| tracing::error!(%error, "a cached object is unreadable"));
    value.ok().map(|value| ApiService::read(&value))
}

/// All API services, as the cache has them.
fn objects(registry: &Registry) -> Vec<Value> {
    let gvr = api_services();
    registry.list(&gvr.group, &gvr.resource, "")
}

/// Follows the API services until the server drains.
pub(crate) async fn run(server: Arc<Inner>) {
    server.tasks.spawn(registration::run(server.clone()));
    tokio::select! {
        () = follow(&server) => {}
        () = server.drain.cancelled() => {}
    }
}

/// What goes on for an extension server; ends with the value.
struct Kept {
    told: watch::Sender<Arc<Remote>>,
    _stop: DropGuard,
}

async fn follow(server: &Arc<Inner>) {
    let Some(cache) = cache(&server.registry) else { return };
    let mut kept: HashMap<String, Kept> = HashMap::new();
    loop {
        let watched = cache.snapshot_and_watch(Interest::prefix(cache.prefix().clone()));
        let Ok((snapshot, mut watch)) = watched else { return };
        let known = server.aggregation.services();
        let known = known.all.iter().map(|(name, _)| name.clone());
        let mut changed: BTreeSet<String> = known.chain(names(&cache, &snapshot)).collect();
        loop {
            let before = server.aggregation.services();
            let services = before.with(&cache, &cache.snapshot(), &changed);
            for gone in changed.iter().filter(|name| services.all.get(*name).is_none()) {
                server.aggregation.metrics.forget(gone);
            }
            server.aggregation.services.store(Arc::new(services));
            adjust(server, &mut kept);
            server.aggregation.following.send_replace(true);
            changed = availability::settle_local(server, changed).await;
            if !changed.is_empty() {
                tokio::time::sleep(RETRY).await;
                continue;
            }
            let Ok(events) = watch.next().await else { break };
            changed = events.iter().map(|event| event.object.name.to_string()).collect();
        }
    }
}

/// Begins what new extension servers need, tells the others of changes, ends what is no longer needed.
fn adjust(server: &Arc<Inner>, kept: &mut HashMap<String, Kept>) {
    let services = server.aggregation.services();
    let now: HashMap<&str, &Arc<Remote>> = services.remotes().map(|r| (r.service.name.as_str(), r)).collect();
    kept.retain(|name, _| now.contains_key(name.as_str()));
    discovery::forget_others(&server.aggregation.documents, &now);
    openapi::forget_others(&server.aggregation.openapi, &now);
    for (name, remote) in now {
        if let Some(kept) = kept.get(name) {
            kept.told.send_if_modified(|known| {
                // Whatever was written of it is a reason to look again.
                let changed = known.revision != remote.revision;
                *known = remote.clone();
                changed
            });
            continue;
        }
        let (told, hears) = watch::channel(remote.clone());
        let stop = server.drain.child_token();
        let checking = availability::keep(server.clone(), hears.clone());
        server.tasks.spawn(stop.clone().run_until_cancelled_owned(checking));
        let discovering = discovery::keep(server.clone(), hears.clone());
        server.tasks.spawn(stop.clone().run_until_cancelled_owned(discovering));
        let describing = openapi::keep(server.clone(), hears);
        server.tasks.spawn(stop.clone().run_until_cancelled_owned(describing));
        kept.insert(name.to_owned(), Kept { told, _stop: stop.drop_guard() });
    }
}
