//! The thread that keeps the caches up. It is one of its own for two reasons: a write waits until the cache has it, so this must
//! not stand in line behind long answers; and what it allocates lasts, so it should not lie between what requests allocate
//! and free in a moment, which would keep their pages.

use std::future::Future;
use std::io;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// See the module. Dropping it ends what it still does.
#[derive(Debug)]
pub(crate) struct Feeder {
    runtime: Handle,
    tasks: TaskTracker,
    ending: CancellationToken,
    _alive: oneshot::Sender<()>,
}

impl Feeder {
    /// Starts the thread.
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (alive, over) = oneshot::channel::<()>();
        let work = move || match runtime.block_on(over) {
            // The sender is only ever dropped.
            Ok(()) | Err(_) => runtime.shutdown_background(),
        };
        std::thread::Builder::new().name("watch-caches".into()).spawn(work)?;
        Ok(Self { runtime: handle, tasks: TaskTracker::new(), ending: CancellationToken::new(), _alive: alive })
    }

    /// Does this on the thread, until it is done or the end.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = self.ending.clone().run_until_cancelled_owned(task);
        // Who ends it knows by [`Feeder::end`].
        drop(self.tasks.spawn_on(task, &self.runtime));
    }

    /// Ends all that it does, and waits for it.
    pub(crate) async fn end(&self) {
        self.ending.cancel();
        self.idle().await;
    }

    /// Waits until all that it does is done.
    pub(super) async fn idle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn what_would_go_on_for_ever_ends_with_it() {
        let feeder = Feeder::start().expect("a thread");
        let (dropped, is_dropped) = oneshot::channel::<()>();
        feeder.spawn(async move {
            let _dropped = dropped;
            std::future::pending().await
        });
        tokio::time::timeout(Duration::from_secs(60), feeder.end()).await.expect("it ends");
        assert!(is_dropped.await.is_err());
    }
}
