//! What a cluster must have before anyone uses it: namespaces, roles, flow schemas, classes, the server's own service.
//!
//! [`wanted`] says what that is; each object is made if it is missing and completed if it lost something, as upstream
//! reconciles its defaults at start. Everything goes through the API itself, many at a time, so that a store with group
//! commit writes it in a few batches. A start that finds all in place writes nothing.

pub(crate) mod merge;
mod wanted;

pub(crate) use wanted::SLICE;
pub use wanted::{Wanted, controller_accounts, node_rules};

use crate::authn::UserInfo;
use crate::fairness;
use crate::server::Inner;
use crate::view::View;
use api_core::ApiError;
use api_core::meta::Meta;
use futures::StreamExt;
use http::Method;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Requests at once.
const PARALLEL: usize = 64;
/// Seconds between attempts when the store does not answer.
const RETRY: Duration = Duration::from_secs(1);

/// Makes what is missing; ends when all of it is there, or when the server drains.
pub(crate) async fn run(server: Arc<Inner>) {
    let work = async {
        let started = Instant::now();
        while let Err(error) = all(&server).await {
            tracing::warn!(%error, "cannot write the cluster's default objects yet");
            tokio::time::sleep(RETRY).await;
        }
        tracing::debug!(elapsed_ms = started.elapsed().as_millis(), "the cluster's default objects are there");
        fairness::load(&server);
        server.bootstrapped.send_replace(true);
    };
    tokio::select! {
        () = work => {}
        () = server.drain.cancelled() => {}
    }
}

/// Makes all of it; fails with the first error that another attempt may not have.
async fn all(server: &Arc<Inner>) -> Result<(), ApiError> {
    make(server, wanted::phases(&server.config)).await
}

/// Makes or restores the default flow schemas and priority levels.
pub(crate) async fn keep_flow_control(server: &Arc<Inner>) -> Result<(), ApiError> {
    if !server.config.bootstrap {
        return Ok(());
    }
    make(server, vec![wanted::flow_control()]).await
}

async fn make(server: &Arc<Inner>, phases: Vec<Vec<Wanted>>) -> Result<(), ApiError> {
    for phase in phases {
        let tasks = phase.into_iter().map(|wanted| async {
            let path = wanted.path();
            (path, one(server.clone(), wanted).await)
        });
        let mut work = futures::stream::iter(tasks).buffer_unordered(PARALLEL);
        while let Some((path, result)) = work.next().await {
            match result {
                Err(error) if error.code >= 500 || error.code == 429 => return Err(error),
                // A user's object may stand in the way of one of ours; the rest of the cluster must still come up.
                Err(error) => tracing::error!(path, %error, "a default object is refused"),
                Ok(()) => {}
            }
        }
    }
    Ok(())
}

/// Makes or completes one object, and its status.
pub(crate) async fn one(server: Arc<Inner>, wanted: Wanted) -> Result<(), ApiError> {
    let (me, path) = (UserInfo::apiserver(), wanted.path());
    let (namespace, name) = (wanted.object.namespace(), wanted.object.name());
    let found = match server.registry.get(wanted.group(), wanted.resource, namespace, name) {
        Some(found) => found,
        None => match server.call(&me, Method::POST, &wanted.collection(), Some(&wanted.object)).await {
            Ok(made) => made,
            // Another server was quicker.
            Err(e) if e.code == 409 => server.call(&me, Method::GET, &path, None).await?,
            Err(e) => return Err(e),
        },
    };
    if (wanted.merge)(&found, &wanted.object).is_some() {
        let found = server.call(&me, Method::GET, &path, None).await?;
        if let Some(completed) = (wanted.merge)(&found, &wanted.object) {
            conflict_is_fine(server.call(&me, Method::PUT, &path, Some(&completed)).await)?;
        }
    }
    if let Some(conditions) = merge::conditions(&found["status"]["conditions"], &wanted.conditions, &now()) {
        let patch = serde_json::json!({"status": {"conditions": conditions}});
        conflict_is_fine(server.call(&me, Method::PATCH, &format!("{path}/status"), Some(&patch)).await)?;
    }
    Ok(())
}

fn now() -> String {
    api_core::time::format_unix_s(crate::authn::now())
}

/// Somebody else changed it meanwhile; the next start looks again.
fn conflict_is_fine(result: Result<Value, ApiError>) -> Result<(), ApiError> {
    match result {
        Err(e) if e.code != 409 => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
