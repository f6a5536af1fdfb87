//! Custom resources: definitions become rows, get their status, and take their objects with them when they go.
//!
//! What a definition's status should be is decided in `api_kinds::custom`; here it is carried out.
//! One task follows the definitions. What it does depends on the state alone, so a restart or another server's write needs
//! no extra care.

pub(crate) mod convert;
pub(crate) mod decode;
pub(crate) mod duplicates;
mod review;

pub(crate) use review::read_answer;

use super::{Registry, Served, readable, storage};
use crate::authn::UserInfo;
use crate::server::{BuildError, Inner};
use api_core::ApiError;
use api_core::meta::Meta;
use api_kinds::custom;
use http::Method;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use watch_cache::Interest;

/// Pause before a definition that could not be written is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Serves what is defined already; before the first request.
pub(crate) async fn load(registry: &Registry) -> Result<(), BuildError> {
    for (_, definition) in definitions(registry).into_iter().filter(|(_, d)| custom::is_served(d)) {
        if let Err(error) = serve(registry, &definition).await {
            tracing::error!(%error, name = definition.name(), "a custom resource cannot be served");
        }
    }
    Ok(())
}

/// Follows the definitions until the server drains.
pub(crate) async fn run(server: Arc<Inner>) {
    tokio::select! {
        () = follow(&server) => {}
        () = server.drain.cancelled() => {}
    }
}

async fn follow(server: &Arc<Inner>) {
    let gvr = custom::definitions();
    let Some(cache) = server.registry.cache_of(&gvr.group, &gvr.resource) else { return };
    let mut seen: HashMap<String, Seen> = HashMap::new();
    let mut ending: HashSet<String> = HashSet::new();
    loop {
        let Ok((_, mut watch)) = cache.snapshot_and_watch(Interest::prefix(cache.prefix().clone())) else { return };
        loop {
            let all_well = look(server, &mut seen, &mut ending).await;
            if !all_well {
                tokio::time::sleep(RETRY).await;
                continue;
            }
            if watch.next().await.is_err() {
                break;
            }
        }
    }
}

/// What is known of a definition.
struct Seen {
    uid: String,
    revision: String,
    /// How its objects are served; `None` if they are not.
    served: Option<Value>,
}

/// Brings rows and definitions together; whether nothing is left to do.
async fn look(server: &Arc<Inner>, seen: &mut HashMap<String, Seen>, ending: &mut HashSet<String>) -> bool {
    let now = definitions(&server.registry);
    let gone: Vec<String> = seen.keys().filter(|name| !now.contains_key(*name)).cloned().collect();
    let mut groups: HashSet<String> = HashSet::new();
    for name in gone {
        seen.remove(&name);
        ending.remove(&name);
        server.registry.withdraw(&name);
        groups.extend(name.split_once('.').map(|(_, group)| group.to_owned()));
    }
    let changed = |name: &String, d: &Value| {
        seen.get(name).is_none_or(|s| s.uid != d.uid() || s.revision != d.resource_version())
    };
    let mut todo: Vec<&String> = now.iter().filter(|(name, d)| changed(name, d)).map(|(name, _)| name).collect();
    // Names that others give up may be given to those that wait for them.
    groups.extend(todo.iter().filter_map(|name| name.split_once('.').map(|(_, group)| group.to_owned())));
    todo = now.iter().filter(|(_, d)| groups.contains(text(&d["spec"]["group"]))).map(|(name, _)| name).collect();
    todo.sort_by_key(|name| (now[*name].meta_str("creationTimestamp"), name.as_str()));
    let mut all_well = true;
    for name in todo {
        all_well &= look_at(server, name, &now, seen, ending).await;
    }
    all_well
}

async fn look_at(
    server: &Arc<Inner>,
    name: &str,
    all: &HashMap<String, Value>,
    seen: &mut HashMap<String, Seen>,
    ending: &mut HashSet<String>,
) -> bool {
    let definition = &all[name];
    let (uid, revision) = (definition.uid().to_owned(), definition.resource_version().to_owned());
    let before = seen.get(name);
    if before.is_some_and(|s| s.uid != uid) {
        ending.remove(name);
    }
    let served = before.filter(|s| s.uid == uid).and_then(|s| s.served.clone());
    let (served, outcome) = settle(server, definition, all, served).await;
    seen.insert(name.to_owned(), Seen { uid, revision, served });
    if definition.is_deleting() && ending.insert(name.to_owned()) {
        server.tasks.spawn(end(server.clone(), definition.clone()));
    }
    match outcome {
        Ok(()) => true,
        // Somebody else wrote it; its event is on its way.
        Err(e) if e.code == 409 || e.code == 404 => true,
        Err(error) => {
            tracing::warn!(%error, name, "the status of a definition could not be written");
            seen.remove(name);
            false
        }
    }
}

/// All definitions with their resource versions, by name.
fn definitions(registry: &Registry) -> HashMap<String, Value> {
    let gvr = custom::definitions();
    let Some(cache) = registry.cache_of(&gvr.group, &gvr.resource) else { return HashMap::new() };
    let snapshot = cache.snapshot();
    let all = snapshot.prefix(cache.prefix()).filter_map(|o| readable(super::object::decode(&o.bytes)));
    all.map(|v| (v.name().to_owned(), v)).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

async fn serve(registry: &Registry, definition: &Value) -> Result<(), ApiError> {
    let rows = custom::rows_of(definition).map_err(ApiError::internal)?;
    registry.replace(definition.name(), &rows).await.map_err(ApiError::internal)
}

fn path(name: &str) -> String {
    let gvr = custom::definitions();
    format!("/apis/{}/{}/{name}", gvr.api_version(), gvr.resource)
}

fn now() -> String {
    api_core::time::format_unix_s(jiff::Timestamp::now().as_second())
}

/// Serves what is to be served, then says so in the status. Gives how the objects are served now.
async fn settle(
    server: &Arc<Inner>,
    definition: &Value,
    all: &HashMap<String, Value>,
    served: Option<Value>,
) -> (Option<Value>, Result<(), ApiError>) {
    let group = &definition["spec"]["group"];
    let others: Vec<&Value> = all.values().filter(|d| d["spec"]["group"] == *group).collect();
    let next = if definition.is_deleting() { None } else { custom::next(definition, &others, &now()) };
    let wanted = next.as_ref().unwrap_or(definition);
    let key = custom::is_served(wanted).then(|| custom::served_key(wanted));
    if key != served {
        if key.is_none() {
            server.registry.withdraw(definition.name());
        } else if let Err(error) = serve(&server.registry, wanted).await {
            // Its schema cannot be used; that does not change until someone changes it.
            tracing::error!(%error, name = definition.name(), "a custom resource cannot be served");
            return (None, Ok(()));
        }
    }
    let Some(next) = next else { return (key, Ok(())) };
    let path = format!("{}/status", path(definition.name()));
    let written = server.call(&UserInfo::apiserver(), Method::PUT, &path, Some(&next)).await;
    (key, written.map(drop))
}

/// Deletes all objects of a definition that is deleted, then lets it go.
async fn end(server: Arc<Inner>, definition: Value) {
    let name = definition.name().to_owned();
    let work = async {
        while let Err(error) = clean_up(&server, &definition).await {
            if error.code == 404 {
                return;
            }
            if error.code != 409 {
                tracing::warn!(%error, name, "a definition could not be cleaned up");
                tokio::time::sleep(RETRY).await;
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = server.drain.cancelled() => {}
    }
}

async fn clean_up(server: &Arc<Inner>, definition: &Value) -> Result<(), ApiError> {
    let me = UserInfo::apiserver();
    let path = path(definition.name());
    let status = format!("{path}/status");
    let live = server.call(&me, Method::GET, &path, None).await?;
    if live.uid() != definition.uid() || !live.finalizers().contains(&custom::CLEANUP) {
        return Ok(());
    }
    let live = server.call(&me, Method::PUT, &status, Some(&custom::terminating(&live, &now()))).await?;
    let (group, plural) = (text(&live["spec"]["group"]), text(&live["spec"]["names"]["plural"]));
    if custom::is_served(&live)
        && let Some(served) = server.registry.any_version(group, plural).filter(|s| s.is_of(definition.name()))
    {
        // In the version that objects are stored in nothing needs to be converted, so a broken webhook does not matter.
        let stored = served.row.storage_version.version.clone();
        let served = server.registry.lookup(group, &stored, plural).unwrap_or(served);
        empty(server, &served).await?;
    }
    let live = server.call(&me, Method::GET, &path, None).await?;
    let live = server.call(&me, Method::PUT, &status, Some(&custom::terminated(&live, &now()))).await?;
    let patch = json!({"metadata": {"finalizers": custom::finalizers_without_cleanup(&live),
        "resourceVersion": live.resource_version()}});
    server.call(&me, Method::PATCH, &path, Some(&patch)).await.map(drop)
}

/// Deletes what the cache has until nothing is left; objects with finalizers take their time.
async fn empty(server: &Arc<Inner>, served: &Served) -> Result<(), ApiError> {
    let gvr = &served.row.gvr;
    let cache = served.cache()?;
    loop {
        let watched = cache.snapshot_and_watch(Interest::prefix(cache.prefix().clone()));
        let (snapshot, mut watch) = watched.map_err(ApiError::internal)?;
        let left: Vec<Value> = snapshot.prefix(cache.prefix()).filter_map(|o| readable(storage::value(o))).collect();
        if left.is_empty() {
            return Ok(());
        }
        for object in left.iter().filter(|o| !o.is_deleting()) {
            let namespace = object.namespace();
            let below = if namespace.is_empty() { String::new() } else { format!("/namespaces/{namespace}") };
            let path = format!("/apis/{}{below}/{}/{}", gvr.api_version(), gvr.resource, object.name());
            match server.call(&UserInfo::apiserver(), Method::DELETE, &path, None).await {
                Err(e) if e.code != 404 => return Err(e),
                _ => {}
            }
        }
        watch.next().await.map_err(ApiError::internal)?;
    }
}

impl Registry {
    /// No longer serves the resource of a definition, and stops its cache.
    fn withdraw(&self, definition: &str) {
        for served in self.withdraw_rows(definition) {
            if let Some(cache) = &served.cache {
                cache.close();
            }
        }
    }
}
