//! Custom resources: definitions become rows, get their status, and take their objects with them when they go.
//!
//! What a definition's status should be is decided in `api_kinds::custom`; here it is carried out.
//! One task follows the definitions ([`follow`]). What it does depends on the state alone, so a restart or another server's
//! write needs no extra care.

pub(crate) mod convert;
pub(crate) mod decode;
pub(crate) mod duplicates;
mod follow;
mod review;

pub(crate) use follow::{load, run};
pub(crate) use review::read_answer;

use super::{Served, readable, storage};
use crate::authn::UserInfo;
use crate::server::Inner;
use api_core::ApiError;
use api_core::meta::Meta;
use api_kinds::custom;
use http::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use watch_cache::Interest;

/// Pause before a definition that could not be written is tried again.
const RETRY: Duration = Duration::from_millis(500);

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

fn path(name: &str) -> String {
    let gvr = custom::definitions();
    format!("/apis/{}/{}/{name}", gvr.api_version(), gvr.resource)
}

fn now() -> String {
    api_core::time::format_unix_s(jiff::Timestamp::now().as_second())
}

/// Deletes all objects of a definition that is deleted, then lets it go.
async fn end(server: Arc<Inner>, name: String, uid: String) {
    let work = async {
        while let Err(error) = clean_up(&server, &name, &uid).await {
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

async fn clean_up(server: &Arc<Inner>, name: &str, uid: &str) -> Result<(), ApiError> {
    let me = UserInfo::apiserver();
    let path = path(name);
    let status = format!("{path}/status");
    let live = server.call(&me, Method::GET, &path, None).await?;
    if live.uid() != uid || !live.finalizers().contains(&custom::CLEANUP) {
        return Ok(());
    }
    let live = server.call(&me, Method::PUT, &status, Some(&custom::terminating(&live, &now()))).await?;
    let (group, plural) = (text(&live["spec"]["group"]), text(&live["spec"]["names"]["plural"]));
    if custom::is_served(&live)
        && let Some(served) = server.registry.any_version(group, plural).filter(|s| s.row.custom.is_some())
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
