//! The embedded backend: one file, one writer thread, readers that never wait.
//!
//! Every change is a record under its revision; which key has which revisions is kept in memory and rebuilt when the
//! file is opened. A reader takes the published state (an index and the records it points to), which never changes.
//! Requests that write go to the committer, which makes all that have gathered durable with one commit.

mod activity;
mod batch;
mod committer;
mod disk;
mod engine;
mod leases;
mod open;
mod record;
mod state;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, oneshot};

pub use self::activity::Activity;
use self::committer::{Committer, Queued, Reply, Request};
use self::disk::Disk;
use self::engine::Engine;
use self::state::State;
use crate::check;
use crate::contract::{
    Event, Op, Range, RangeResult, Revision, Store, StoreError, Txn, TxnResult, WatchBatch, WatchRequest,
};
use crate::hub::{Backlog, Chunk, Hub};

/// Limits of an embedded store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of records, old versions included (the file may be twice as large); past it puts get [`StoreError::NoSpace`], while reads, deletes and compaction go on.
    pub bytes_max: u64,
    /// Free space that is left on the disk; below it puts get [`StoreError::NoSpace`].
    pub free_bytes_min: u64,
    /// Largest transaction, keys and values together; past it [`StoreError::TooLarge`].
    pub request_bytes_max: usize,
    /// Memory for parts of the file that are read or written often.
    pub cache_bytes: usize,
    /// Requests that wait to be written, each counted as 1 KiB more than it is; further ones wait to be taken.
    pub queue_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes_max: 8 << 30,
            free_bytes_min: 32 << 20,
            request_bytes_max: 3 << 19,
            cache_bytes: 1 << 20,
            queue_bytes_max: 64 << 20,
        }
    }
}

/// The embedded store. Dropping it writes what was queued, closes the file (waiting for the last commit) and ends all
/// watches.
pub struct Embedded {
    shared: Arc<Shared>,
    limits: Limits,
    queue: Arc<Semaphore>,
    /// `None` only while it is dropped.
    requests: Option<Sender<Queued>>,
    committer: Option<JoinHandle<()>>,
}

/// Reads at once that may wait for a disk. Each takes a thread, and each thread keeps memory; what they read is mostly in the
/// system's memory, so that more of them than there are processors gain little.
const READS_MAX: usize = 4;

/// What readers and watches hold on to.
struct Shared {
    /// `None` when closed.
    state: RwLock<Option<Arc<State>>>,
    hub: Arc<Hub>,
    disk: Disk,
    reads: Arc<Semaphore>,
    /// Held by the committer while it writes and, should that fail, until the engine is open again.
    repair: Mutex<()>,
}

impl Embedded {
    /// Opens the file, or makes it and the directories above it. Reads the whole file once, and waits for the disk: not
    /// for a thread that serves others.
    ///
    /// # Errors
    /// `InUse`, `NewerFormat`, `Corrupt`, `NoSpace` and `Io`.
    pub fn open(path: impl AsRef<Path>, limits: Limits) -> Result<Self, StoreError> {
        Self::open_beside(path, limits, Arc::default())
    }

    /// The same; `activity` tells whether those who make requests are at work. As long as they are, what has come waits for
    /// more to come, though never longer than the last commit took, nor than a millisecond: one for several costs hardly more than one for one.
    ///
    /// # Errors
    /// As [`Embedded::open`].
    pub fn open_beside(path: impl AsRef<Path>, limits: Limits, activity: Arc<Activity>) -> Result<Self, StoreError> {
        Self::start(Disk::open(path.as_ref())?, limits, activity)
    }

    /// Opens a store on a backend of the engine; for tests that damage it. `name` stands for the file in errors.
    ///
    /// # Errors
    /// As [`Embedded::open`].
    pub fn open_with(name: &str, backend: impl redb::StorageBackend, limits: Limits) -> Result<Self, StoreError> {
        Self::start(Disk::new(name.to_owned(), Box::new(backend)), limits, Arc::default())
    }

    fn start(disk: Disk, limits: Limits, activity: Arc<Activity>) -> Result<Self, StoreError> {
        let opened = Engine::open(disk.clone(), limits.cache_bytes)
            .and_then(|engine| Ok((open::load(&engine, engine.records()?)?, engine)))
            .and_then(|opened| disk.settle().map(|()| opened));
        let (loaded, engine) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                disk.close()?;
                return Err(error);
            }
        };
        let hub = Arc::new(Hub::new(loaded.state.index.revision));
        let state = RwLock::new(Some(Arc::new(loaded.state)));
        let shared = Arc::new(Shared {
            state,
            hub,
            disk: disk.clone(),
            reads: Arc::new(Semaphore::new(READS_MAX)),
            repair: Mutex::new(()),
        });
        let (sender, requests) = std::sync::mpsc::channel();
        let committer = Committer {
            shared: shared.clone(),
            disk,
            limits: limits.clone(),
            engine: Some(engine),
            leases: loaded.leases,
            garbage: loaded.garbage,
            bytes: loaded.bytes,
            requests,
            activity,
            last_took: Duration::ZERO,
            resume_at: None,
        };
        let committer =
            std::thread::Builder::new().name("store-committer".to_owned()).spawn(move || committer.run())?;
        let queue =
            Arc::new(Semaphore::new(queue_permits(limits.queue_bytes_max.max(limits.request_bytes_max)) as usize));
        Ok(Self { shared, limits, queue, requests: Some(sender), committer: Some(committer) })
    }

    async fn request<T>(&self, bytes: usize, make: impl FnOnce(Reply<T>) -> Request) -> Result<T, StoreError> {
        let permits = self.queue.clone().acquire_many_owned(queue_permits(bytes));
        let permit = permits.await.map_err(|_| StoreError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let queued = Queued { request: make(reply), bytes, _permit: permit };
        let requests = self.requests.as_ref().ok_or(StoreError::Closed)?;
        requests.send(queued).map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(committer) = self.committer.take()
            && committer.join().is_err()
        {
            tracing::error!("the store's committer panicked");
        }
    }
}

impl Shared {
    fn state(&self) -> Option<Arc<State>> {
        self.state.read().clone()
    }

    fn publish(&self, state: State) {
        let old = self.state.write().replace(Arc::new(state));
        drop(old);
    }

    fn close(&self) {
        let old = self.state.write().take();
        drop(old);
        self.hub.close();
    }

    /// Reads from the newest state. If the engine failed meanwhile, waits until it is open again.
    fn read<T>(&self, read: impl Fn(&State) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let state = self.state().ok_or(StoreError::Closed)?;
        match read(&state) {
            // What an engine says that has failed, or that was given up for a new one.
            Err(error @ (StoreError::Io(_) | StoreError::Closed)) => {
                drop(self.repair.lock());
                let newer = self.state().ok_or(StoreError::Closed)?;
                if Arc::ptr_eq(&state, &newer) { Err(error) } else { read(&newer) }
            }
            result => result,
        }
    }

    /// The same, away from the threads that must not wait for a disk.
    async fn read_aside<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl Fn(&State) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = self.clone();
        let turn = self.reads.clone().acquire_owned().await.map_err(|_| StoreError::Closed)?;
        // The turn lasts until the read is done, also if nobody waits for it any more.
        let work = move || {
            let result = shared.read(read);
            drop(turn);
            result
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Closed)?
    }
}

/// Watches read old revisions from the records.
struct Old(Arc<Shared>);

impl Backlog for Old {
    fn changes(&self, from: Revision) -> BoxFuture<'_, Result<Chunk, StoreError>> {
        self.0.read_aside(move |state| state.changes(from)).boxed()
    }

    fn fill_previous(&self, events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Event>, StoreError>> {
        self.0
            .read_aside(move |state| {
                let mut events = events.clone();
                state.fill_previous(&mut events)?;
                Ok(events)
            })
            .boxed()
    }
}

impl Store for Embedded {
    fn range(&self, range: Range) -> BoxFuture<'_, Result<RangeResult, StoreError>> {
        self.shared.read_aside(move |state| state.range(&range)).boxed()
    }

    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<TxnResult, StoreError>> {
        async move {
            check::txn(&txn, self.limits.request_bytes_max)?;
            let bytes = txn.success.iter().chain(&txn.failure).map(op_bytes).sum();
            self.request(bytes, |reply| Request::Txn(txn, reply)).await
        }
        .boxed()
    }

    fn watch(&self, request: WatchRequest) -> BoxStream<'static, Result<WatchBatch, StoreError>> {
        self.shared.hub.watch(Arc::new(Old(self.shared.clone())), request)
    }

    fn lease_grant(&self, ttl_s: i64) -> BoxFuture<'_, Result<i64, StoreError>> {
        self.request(0, move |reply| Request::LeaseGrant(ttl_s, reply)).boxed()
    }

    fn lease_keep_alive(&self, lease: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        self.request(0, move |reply| Request::LeaseKeepAlive(lease, reply)).boxed()
    }

    fn lease_revoke(&self, lease: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        self.request(0, move |reply| Request::LeaseRevoke(lease, reply)).boxed()
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), StoreError>> {
        self.request(0, move |reply| Request::Compact(revision, reply)).boxed()
    }

    fn revision(&self) -> BoxFuture<'_, Result<Revision, StoreError>> {
        let revision = self.shared.state().map(|state| state.index.revision).ok_or(StoreError::Closed);
        futures::future::ready(revision).boxed()
    }

    fn size_bytes(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        futures::future::ready(self.shared.disk.bytes().map_err(StoreError::from)).boxed()
    }

    fn is_shared(&self) -> bool {
        false
    }
}

/// The queue is counted in KiB.
fn queue_permits(bytes: usize) -> u32 {
    u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX >> 3)
}

fn op_bytes(op: &Op) -> usize {
    match op {
        Op::Put { key, value, .. } => key.len() + value.len(),
        Op::Delete { .. } | Op::Get(_) => 0,
    }
}
