//! The collector's eyes: one metadata watch per resource, started and ended as resources come and go.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use controller_kit::{Context, Key, Queue};
use futures::StreamExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::Api;
use kube::api::DynamicObject;
use kube::runtime::{metadata_watcher, watcher};
use tokio_util::sync::CancellationToken;

use super::graph::Item;
use super::{REDISCOVER_AFTER, Shared, collectable};
use crate::discovery::{self, Found, Unread};

/// First pause after an error; doubles up to the longest.
const BACKOFF_FIRST_MS: u64 = 100;
const BACKOFF_MAX_MS: u64 = 30_000;

/// Watches every resource until the context stops.
pub(super) async fn run(context: Context, shared: Arc<Shared>, queue: Arc<Queue>) {
    let definitions = context.informers.get::<CustomResourceDefinition>();
    let services = context.informers.get::<APIService>();
    let (mut changed, mut served) = (definitions.subscribe(), services.subscribe());
    let mut running = Running::default();
    let mut failures = 0;
    loop {
        let retry = match discovery::resources(&context.client).await {
            Ok((found, failed)) => {
                let remote = remote(&services.store().list());
                adjust(&context, &shared, &queue, (found, &failed), &remote, &mut running);
                !failed.is_empty()
            }
            Err(error) => {
                tracing::debug!(%error, "discovery failed");
                true
            }
        };
        failures = if retry { failures + 1 } else { 0 };
        let again =
            async { if retry { tokio::time::sleep(pause(failures)).await } else { std::future::pending().await } };
        tokio::select! {
            () = context.stop.cancelled() => return,
            _ = changed.next() => {}
            _ = served.next() => {}
            () = again => {}
        }
        tokio::select! {
            () = context.stop.cancelled() => return,
            () = tokio::time::sleep(REDISCOVER_AFTER) => {}
        }
        while changed.try_next().is_some() || served.try_next().is_some() {}
    }
}

/// Watches under way, by group and plural.
#[derive(Default)]
struct Running {
    watches: HashMap<(String, String), Watching>,
    /// Resources of extension servers that are not served at the moment, each with its place.
    away: HashMap<(String, String), usize>,
}

struct Watching {
    at: usize,
    stop: CancellationToken,
    /// Whether an extension server has it.
    remote: bool,
}

/// Group versions of extension servers.
fn remote(services: &[Arc<APIService>]) -> HashSet<String> {
    let specs = services.iter().filter_map(|service| service.spec.as_ref());
    let remote = specs.filter(|spec| spec.service.is_some());
    let name = |group: &Option<String>| group.clone().unwrap_or_default();
    remote.map(|spec| format!("{}/{}", name(&spec.group), name(&spec.version))).collect()
}

/// Starts watches of new resources, and ends those of resources that are gone. In a group that could not be read, what
/// discovery does not name may still be there.
fn adjust(
    context: &Context,
    shared: &Arc<Shared>,
    queue: &Arc<Queue>,
    (found, unread): (Vec<Found>, &[Unread]),
    remote: &HashSet<String>,
    running: &mut Running,
) {
    let wanted = collectable(found);
    let is_lost = |name: &(String, String)| !wanted.contains_key(name) && !unread.iter().any(|one| one.is_of(&name.0));
    let lost: Vec<_> = running.watches.keys().filter(|name| is_lost(name)).cloned().collect();
    for name in lost {
        let Some(watching) = running.watches.remove(&name) else { continue };
        watching.stop.cancel();
        if watching.remote {
            // Its objects are where they were; they are only out of sight.
            shared.away.lock().insert(watching.at);
            running.away.insert(name, watching.at);
        } else {
            // Its objects went with its definition.
            replace(shared, queue, watching.at, &[]);
        }
    }
    shared.listed.send_modify(|(_, want)| {
        want.get_or_insert(wanted.len());
    });
    for (name, one) in wanted {
        if running.watches.contains_key(&name) {
            continue;
        }
        let at = {
            let mut resources = shared.resources.lock();
            match running.away.remove(&name) {
                Some(at) => {
                    resources[at] = one.clone();
                    shared.away.lock().remove(&at);
                    at
                }
                None => {
                    resources.push(one.clone());
                    resources.len() - 1
                }
            }
        };
        let (stop, remote) = (context.stop.child_token(), remote.contains(&one.resource.api_version));
        running.watches.insert(name, Watching { at, stop: stop.clone(), remote });
        let watch = watch(context.client.clone(), one, at, shared.clone(), queue.clone());
        tokio::spawn(async move { stop.run_until_cancelled(watch).await });
    }
}

async fn watch(client: kube::Client, found: Found, at: usize, shared: Arc<Shared>, queue: Arc<Queue>) {
    let api: Api<DynamicObject> = Api::all_with(client, &found.resource);
    let (mut failures, mut first) = (0, true);
    loop {
        let mut events = metadata_watcher(api.clone(), watcher::Config::default()).boxed();
        let mut listing: Vec<ObjectMeta> = Vec::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Apply(object)) => set(&shared, &queue, at, &object.metadata),
                Ok(watcher::Event::Delete(object)) => remove(&shared, &queue, &object.metadata),
                Ok(watcher::Event::Init) => listing.clear(),
                Ok(watcher::Event::InitApply(object)) => listing.push(slim(object.metadata)),
                Ok(watcher::Event::InitDone) => {
                    replace(&shared, &queue, at, &std::mem::take(&mut listing));
                    let of = &found.resource;
                    let unsettled = shared.graph.lock().unsettled(at, &of.group, &of.kind);
                    look_at(&queue, unsettled);
                    if std::mem::take(&mut first) {
                        shared.listed.send_modify(|(have, _)| *have += 1);
                    }
                }
                Err(error) => {
                    failures += 1;
                    tracing::debug!(resource = found.name(), %error, failures, "watch failed, will retry");
                    tokio::time::sleep(pause(failures)).await;
                    let gone = matches!(&error, watcher::Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 410);
                    if gone {
                        break;
                    }
                    continue;
                }
            }
            failures = 0;
        }
    }
}

fn slim(mut meta: ObjectMeta) -> ObjectMeta {
    meta.managed_fields = None;
    meta.annotations = None;
    meta.labels = None;
    meta
}

fn set(shared: &Shared, queue: &Queue, at: usize, meta: &ObjectMeta) {
    let Some(uid) = &meta.uid else { return };
    let look = shared.graph.lock().set(uid, Item::new(at, meta));
    look_at(queue, look);
}

fn remove(shared: &Shared, queue: &Queue, meta: &ObjectMeta) {
    let Some(uid) = &meta.uid else { return };
    let look = shared.graph.lock().remove(uid);
    look_at(queue, look);
}

/// Makes `all` the content of the resource.
fn replace(shared: &Shared, queue: &Queue, at: usize, all: &[ObjectMeta]) {
    let present: BTreeSet<&String> = all.iter().filter_map(|meta| meta.uid.as_ref()).collect();
    let gone: Vec<String> = {
        let graph = shared.graph.lock();
        graph.of_resource(at).into_iter().filter(|uid| !present.contains(uid)).collect()
    };
    for uid in gone {
        let look = shared.graph.lock().remove(&uid);
        look_at(queue, look);
    }
    all.iter().for_each(|meta| set(shared, queue, at, meta));
}

pub(super) fn look_at(queue: &Queue, uids: impl IntoIterator<Item = String>) {
    uids.into_iter().for_each(|uid| queue.add(Key::cluster(&uid)));
}

fn pause(failures: u32) -> Duration {
    Duration::from_millis(BACKOFF_FIRST_MS.saturating_mul(1 << failures.min(12)).min(BACKOFF_MAX_MS))
}
