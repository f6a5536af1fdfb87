//! Custom resources: definitions become rows, get their status, and take their objects with them when they go.
//!
//! One task follows the definitions. What it does depends on the state alone, so a restart or another server's write needs
//! no extra care.

use super::{Registry, readable, storage};
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
use watch_cache::{Cache, Interest};

/// Pause before a definition that could not be written is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Serves what is defined already; before the first request.
pub(crate) async fn load(registry: &Registry) -> Result<(), BuildError> {
    for (_, definition) in definitions(registry) {
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
    // What was seen of each definition: its uid and revision.
    let mut seen: HashMap<String, (String, String)> = HashMap::new();
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

/// Brings rows and definitions together; whether nothing is left to do.
async fn look(server: &Arc<Inner>, seen: &mut HashMap<String, (String, String)>, ending: &mut HashSet<String>) -> bool {
    let now = definitions(&server.registry);
    let gone: Vec<String> = seen.keys().filter(|name| !now.contains_key(*name)).cloned().collect();
    for name in gone {
        seen.remove(&name);
        ending.remove(&name);
        server.registry.withdraw(&name);
    }
    let mut all_well = true;
    for (name, definition) in now {
        let state = (definition.uid().to_owned(), definition.resource_version().to_owned());
        if seen.get(&name) == Some(&state) {
            continue;
        }
        if definition.is_deleting() {
            if ending.insert(name.clone()) {
                server.tasks.spawn(end(server.clone(), definition));
            }
            seen.insert(name, state);
            continue;
        }
        match establish(server, &definition).await {
            Ok(()) => drop(seen.insert(name, state)),
            // Somebody else wrote it; its event is on its way.
            Err(e) if e.code == 409 => {}
            Err(error) => {
                tracing::warn!(%error, name, "a definition could not be established");
                all_well = false;
            }
        }
    }
    all_well
}

/// All definitions with their resource versions, by name.
fn definitions(registry: &Registry) -> HashMap<String, Value> {
    let gvr = custom::definitions();
    let Some(cache) = registry.cache_of(&gvr.group, &gvr.resource) else { return HashMap::new() };
    let snapshot = cache.snapshot();
    let all = snapshot.prefix(cache.prefix()).filter_map(|o| readable(super::object::decode(&o.bytes)));
    all.map(|v| (v.name().to_owned(), v)).collect()
}

async fn serve(registry: &Registry, definition: &Value) -> Result<(), ApiError> {
    let rows = custom::rows_of(definition).map_err(ApiError::internal)?;
    registry.replace(definition.name(), &rows).await.map_err(ApiError::internal)
}

fn path(name: &str) -> String {
    let gvr = custom::definitions();
    format!("/apis/{}/{}/{name}", gvr.api_version(), gvr.resource)
}

async fn establish(server: &Arc<Inner>, definition: &Value) -> Result<(), ApiError> {
    if let Err(error) = serve(&server.registry, definition).await {
        // Its schema cannot be used; that does not change until someone changes it.
        tracing::error!(%error, name = definition.name(), "a custom resource cannot be served");
        return Ok(());
    }
    let me = UserInfo::apiserver();
    let path = path(definition.name());
    if !definition.finalizers().contains(&custom::CLEANUP) {
        let patch = json!({"metadata": {"finalizers": custom::finalizers(definition, true),
            "resourceVersion": definition.resource_version()}});
        // The next look establishes what this write makes.
        return server.call(&me, Method::PATCH, &path, Some(&patch)).await.map(drop);
    }
    if custom::is_established(definition) {
        return Ok(());
    }
    let now = api_core::time::format_unix_s(jiff::Timestamp::now().as_second());
    let new = custom::established(definition, &now);
    server.call(&me, Method::PUT, &format!("{path}/status"), Some(&new)).await.map(drop)
}

/// Deletes all objects of a definition that is deleted, then lets it go.
async fn end(server: Arc<Inner>, definition: Value) {
    let name = definition.name().to_owned();
    let work = async {
        while let Err(error) = clean_up(&server, &definition).await {
            if error.code == 404 {
                return;
            }
            tracing::warn!(%error, name, "a definition could not be cleaned up");
            tokio::time::sleep(RETRY).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = server.drain.cancelled() => {}
    }
}

async fn clean_up(server: &Arc<Inner>, definition: &Value) -> Result<(), ApiError> {
    let spec = &definition["spec"];
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let (group, plural) = (text(&spec["group"]), text(&spec["names"]["plural"]));
    if let Some(cache) = server.registry.cache_of(&group, &plural) {
        empty(server, &cache, &group, &plural).await?;
    }
    let me = UserInfo::apiserver();
    let path = path(definition.name());
    let live = server.call(&me, Method::GET, &path, None).await?;
    let patch = json!({"metadata": {"finalizers": custom::finalizers(&live, false)}});
    server.call(&me, Method::PATCH, &path, Some(&patch)).await.map(drop)
}

/// Deletes what the cache has until nothing is left; objects with finalizers take their time.
async fn empty(server: &Arc<Inner>, cache: &Arc<Cache>, group: &str, plural: &str) -> Result<(), ApiError> {
    let version = server.registry.version_of(group, plural).ok_or_else(ApiError::no_such_resource)?;
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
            let path = format!("/apis/{group}/{version}{below}/{plural}/{}", object.name());
            match server.call(&UserInfo::apiserver(), Method::DELETE, &path, None).await {
                Err(e) if e.code != 404 => return Err(e),
                _ => {}
            }
        }
        watch.next().await.map_err(ApiError::internal)?;
    }
}

impl Registry {
    /// A version that the resource is served in.
    fn version_of(&self, group: &str, resource: &str) -> Option<String> {
        Some(self.any_version(group, resource)?.row.gvr.version.clone())
    }

    /// No longer serves the resource of a definition, and stops its cache.
    fn withdraw(&self, definition: &str) {
        for served in self.withdraw_rows(definition) {
            if let Some(cache) = &served.cache {
                cache.close();
            }
        }
    }
}
