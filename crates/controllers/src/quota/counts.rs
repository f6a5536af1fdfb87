//! The number of objects of any resource that a quota names with `count/`: a metadata watch for each such resource, and
//! for no other.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use api_core::GroupResource;
use api_kinds::quota::Facts;
use controller_kit::{Context, Handle, Key, Queue};
use futures::StreamExt;
use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::Api;
use kube::api::DynamicObject;
use kube::core::ApiResource;
use kube::runtime::{WatchStreamExt, metadata_watcher, watcher};
use parking_lot::Mutex;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::Seen;
use crate::discovery;

/// Changes of what is served come in bunches; and a definition is served a moment after it is written.
const SETTLE: Duration = Duration::from_millis(200);
/// Until discovery is asked again after it failed.
const RETRY: Duration = Duration::from_secs(2);

/// What is watched now.
pub(super) struct Counts {
    queue: Arc<Queue>,
    quotas: Handle<ResourceQuota>,
    watched: Mutex<HashMap<String, Watched>>,
}

struct Watched {
    api: ApiResource,
    stop: CancellationToken,
    listed: bool,
    version: u64,
    names: HashMap<String, HashSet<String>>,
}

/// Whether objects of the resource are only counted, whatever is in them.
pub(super) fn is_plain(resource: &GroupResource) -> bool {
    !(resource.group.is_empty() && matches!(&*resource.resource, "pods" | "services" | "persistentvolumeclaims"))
}

/// So many objects of a resource that is only counted.
pub(super) fn plain(resource: &GroupResource, number: usize) -> Vec<Arc<Facts>> {
    std::iter::repeat_n(Arc::new(Facts::of(resource, &Value::Null)), number).collect()
}

impl Counts {
    pub(super) fn new(queue: Arc<Queue>, quotas: Handle<ResourceQuota>) -> Arc<Self> {
        Arc::new(Counts { queue, quotas, watched: Mutex::default() })
    }

    /// The objects of a namespace, once they are known.
    pub(super) fn seen(&self, resource: &GroupResource, namespace: &str) -> Option<Seen> {
        let watched = self.watched.lock();
        let one = watched.get(&resource.to_string()).filter(|one| one.listed)?;
        let number = one.names.get(namespace).map_or(0, HashSet::len);
        Some(Seen { facts: plain(resource, number), version: one.version, api: one.api.clone() })
    }

    /// The resources that quotas name and no informer has.
    fn wanted(&self) -> BTreeSet<String> {
        let all = self.quotas.store().list();
        let mut wanted: BTreeSet<String> = all.iter().flat_map(|quota| super::resources(quota)).collect();
        for name in ["pods", "services", "persistentvolumeclaims", "resourcequotas"] {
            wanted.remove(name);
        }
        wanted
    }

    fn nudge(&self, namespaces: impl IntoIterator<Item = String>) {
        for namespace in namespaces {
            for quota in self.quotas.store().list_namespace(&namespace) {
                self.queue.add(Key::of(&*quota));
            }
        }
    }

    fn with(&self, name: &str, change: impl FnOnce(&mut Watched)) {
        if let Some(one) = self.watched.lock().get_mut(name) {
            change(one);
        }
    }

    fn set(&self, name: &str, meta: &ObjectMeta, present: bool) {
        let (namespace, object) = (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
        let mut changed = false;
        self.with(name, |one| {
            one.version = one.version.max(version(meta));
            let names = one.names.entry(namespace.clone()).or_default();
            changed = if present { names.insert(object) } else { names.remove(&object) };
            if names.is_empty() {
                one.names.remove(&namespace);
            }
        });
        if changed {
            self.nudge([namespace]);
        }
    }

    fn replace(&self, name: &str, all: Vec<ObjectMeta>) {
        let newest = all.iter().map(version).max().unwrap_or(0);
        let mut names: HashMap<String, HashSet<String>> = HashMap::new();
        for meta in all {
            names.entry(meta.namespace.unwrap_or_default()).or_default().insert(meta.name.unwrap_or_default());
        }
        self.with(name, |one| {
            one.version = one.version.max(newest);
            one.listed = true;
            one.names = names;
        });
        self.nudge(
            self.quotas
                .store()
                .list()
                .iter()
                .filter_map(|quota| quota.metadata.namespace.clone())
                .collect::<BTreeSet<_>>(),
        );
    }
}

fn version(meta: &ObjectMeta) -> u64 {
    meta.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// Starts and ends watches as quotas and definitions come and go, until the context stops.
pub(super) async fn run(context: Context, counts: Arc<Counts>) {
    let mut quotas = counts.quotas.subscribe();
    let mut definitions = context.informer::<CustomResourceDefinition>().subscribe();
    let mut services = context.informer::<APIService>().subscribe();
    let mut served_changed = true;
    loop {
        let wanted = counts.wanted();
        let missing = !wanted.iter().all(|name| counts.watched.lock().contains_key(name));
        let complete = if missing || (served_changed && !wanted.is_empty()) {
            adjust(&context, &counts, &wanted).await
        } else {
            end_others(&counts, &wanted);
            true
        };
        let again = async { if complete { std::future::pending().await } else { tokio::time::sleep(RETRY).await } };
        served_changed = tokio::select! {
            () = context.stop.cancelled() => return,
            _ = quotas.next() => false,
            _ = definitions.next() => true,
            _ = services.next() => true,
            () = again => true,
        };
        if served_changed {
            tokio::select! {
                () = context.stop.cancelled() => return,
                () = tokio::time::sleep(SETTLE) => {}
            }
        }
        while definitions.try_next().is_some() || services.try_next().is_some() {
            served_changed = true;
        }
        while quotas.try_next().is_some() {}
    }
}

/// Whether discovery told all.
async fn adjust(context: &Context, counts: &Arc<Counts>, wanted: &BTreeSet<String>) -> bool {
    let (found, complete) = match discovery::resources(&context.client).await {
        Ok((found, failed)) => (found, failed.is_empty()),
        Err(error) => {
            tracing::debug!(%error, "discovery failed");
            return false;
        }
    };
    let countable = found.into_iter().filter(|one| one.namespaced && one.can("list") && one.can("watch"));
    let found: HashMap<String, ApiResource> = countable.map(|one| (one.name(), one.resource)).collect();
    let known = |name: &&String| !complete || found.contains_key(*name);
    end_others(counts, &wanted.iter().filter(known).cloned().collect());
    for name in wanted {
        let Some(api) = found.get(name) else { continue };
        let stop = context.stop.child_token();
        {
            let mut watched = counts.watched.lock();
            if watched.contains_key(name) {
                continue;
            }
            let (api, stop) = (api.clone(), stop.clone());
            watched.insert(name.clone(), Watched { api, stop, listed: false, version: 0, names: HashMap::new() });
        }
        let watch = watch(context.client.clone(), api.clone(), name.clone(), counts.clone());
        tokio::spawn(async move { stop.run_until_cancelled(watch).await });
    }
    complete
}

fn end_others(counts: &Counts, wanted: &BTreeSet<String>) {
    counts.watched.lock().retain(|name, one| {
        let keep = wanted.contains(name);
        if !keep {
            one.stop.cancel();
        }
        keep
    });
}

async fn watch(client: kube::Client, api: ApiResource, name: String, counts: Arc<Counts>) {
    let api: Api<DynamicObject> = Api::all_with(client, &api);
    let mut events = metadata_watcher(api, watcher::Config::default()).default_backoff().boxed();
    let mut listing = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Apply(object)) => counts.set(&name, &object.metadata, true),
            Ok(watcher::Event::Delete(object)) => counts.set(&name, &object.metadata, false),
            Ok(watcher::Event::Init) => listing.clear(),
            Ok(watcher::Event::InitApply(object)) => listing.push(object.metadata),
            Ok(watcher::Event::InitDone) => counts.replace(&name, std::mem::take(&mut listing)),
            Err(error) => tracing::debug!(resource = name, %error, "watch failed, will retry"),
        }
    }
}
