//! Removing every pod of an instance of containerd, with its network and its mounts, before the instance itself goes.

use crate::containerd::{self, Options};
use crate::cri::{Cri, CriError};
use futures::StreamExt as _;
use std::path::Path;

/// Sandboxes removed at once.
const PARALLEL: usize = 8;

/// Why not all pods could be removed.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    /// containerd is needed to remove pods, and does not start.
    #[error("cannot start containerd")]
    Containerd(#[from] containerd::Error),
    /// containerd refuses.
    #[error("cannot remove a pod")]
    Cri(#[from] CriError),
}

/// Stops and removes all pods of the instance at `root`, then the instance. Returns how many pods there were. An
/// instance that does not run is started for it; where there never was one, nothing happens.
///
/// # Errors
/// If containerd cannot be started or refuses to remove a pod.
pub async fn purge(root: &Path) -> Result<usize, PurgeError> {
    let options = Options::new(root);
    if !options.has_data() {
        return Ok(0);
    }
    let runtime = containerd::start(options).await?;
    let cri = Cri::connect(&runtime.socket());
    let sandboxes = cri.list_pod_sandboxes(None).await?;
    let count = sandboxes.len();
    let removals = sandboxes.into_iter().map(|sandbox| {
        let cri = cri.clone();
        async move {
            cri.stop_pod_sandbox(&sandbox.id).await?;
            cri.remove_pod_sandbox(&sandbox.id).await
        }
    });
    let mut removals = futures::stream::iter(removals).buffer_unordered(PARALLEL);
    while let Some(removed) = removals.next().await {
        match removed {
            Err(error) if !error.is_not_found() => return Err(error.into()),
            _ => {}
        }
    }
    drop(removals);
    runtime.stop().await?;
    Ok(count)
}
