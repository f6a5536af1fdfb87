//! Waiting for files by notifications of the kernel instead of by a clock. Knows nothing of pods.

use std::path::Path;

use notify::{EventKind, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// A watch on files or directories; [`FileWatch::changed`] resolves after something happened there.
pub struct FileWatch {
    watcher: notify::RecommendedWatcher,
    nudges: mpsc::Receiver<()>,
}

impl FileWatch {
    /// Watches one file or directory (not what is below it).
    pub fn new(path: &Path) -> notify::Result<Self> {
        let mut watch = Self::idle()?;
        watch.add(path)?;
        Ok(watch)
    }

    fn idle() -> notify::Result<Self> {
        // One slot is enough: a nudge says "look again", not what happened.
        let (tx, nudges) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let noise = matches!(&event, Ok(e) if matches!(e.kind, EventKind::Access(_)));
            if !noise && let Err(mpsc::error::TrySendError::Closed(())) = tx.try_send(()) {
                tracing::trace!("file watch has no reader any more");
            }
        })?;
        Ok(Self { watcher, nudges })
    }

    /// Watches one more path.
    pub fn add(&mut self, path: &Path) -> notify::Result<()> {
        self.watcher.watch(path, RecursiveMode::NonRecursive)
    }

    /// Resolves when something changed since the last call.
    pub async fn changed(&mut self) {
        if self.nudges.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}
