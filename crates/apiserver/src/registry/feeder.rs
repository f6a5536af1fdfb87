//! The thread that keeps the caches up. It is one of its own for two reasons: a write waits until the cache has it, so this must
//! not stand in line behind long answers; and what it allocates lasts, so it should not lie between what requests allocate
//! and free in a moment, which would keep their pages.

use std::future::Future;
use std::io;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

/// See the module. Dropping it ends what it still does.
#[derive(Debug)]
pub(crate) struct Feeder {
    runtime: Handle,
    tasks: TaskTracker,
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
        Ok(Self { runtime: handle, tasks: TaskTracker::new(), _alive: alive })
    }

    /// Does this on the thread.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // Who ends it knows by [`Feeder::wait`].
        drop(self.tasks.spawn_on(task, &self.runtime));
    }

    /// Waits for the end of all that it does.
    pub(crate) async fn wait(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}
