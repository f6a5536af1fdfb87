//! Removing every pod of an instance of containerd, with its network and its mounts, before the instance itself goes.

use crate::containerd::{self, Options};
use crate::cri::CriError;
use std::path::Path;

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
    let count = runtime.remove_pods().await?;
    runtime.stop().await?;
    Ok(count)
}
