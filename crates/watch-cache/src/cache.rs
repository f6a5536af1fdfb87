//! The cache of one resource: fed by one watch of the store, read by all.
//!
//! One task ([`Cache::run`]) loads the objects and then follows the store. Readers take a snapshot; they never wait
//! for a lock that is held while something is decoded. If the store's watch is lost for good, the cache loads anew and
//! cuts off its watches, whose clients then list again.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use store::{EventKind, KeyValue, Progress, Range, Revision, Store, StoreError, WatchBatch, WatchRequest, prefix_end};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::event::Event;
use crate::object::{Decoder, Object, Undecodable};
use crate::ring::{Interest, Ring};
use crate::snapshot::{Broken, Snapshot};
use crate::watch::Watch;

/// Objects that are read from the store at once while loading.
const LOAD_PAGE_OBJECTS: usize = 500;
/// Rebuilt snapshots that are kept for the next page of a list.
const REBUILT_SNAPSHOTS_MAX: usize = 4;
/// First and longest pause before a failed read of the store is tried again.
const RETRY_PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Limits of a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Events kept for watches; a watch that falls further behind is cut off, one that starts earlier is too old.
    pub ring_events_max: usize,
    /// Memory that may be taken for the sake of those events: that of objects as they were before them.
    pub ring_bytes_max: usize,
    /// Memory that encodings of the newest events may take in each form; older events are encoded for each watch that
    /// comes to them so late.
    pub frames_bytes_max: usize,
    /// Watches at a time; further ones are refused.
    pub watches_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { ring_events_max: 8192, ring_bytes_max: 8 << 20, frames_bytes_max: 2 << 20, watches_max: 20_000 }
    }
}

/// Why a cache cannot answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// That revision is no longer known here, or the watch was too slow. The client has to list again (410).
    #[error("too old resource version; the oldest known is {oldest}")]
    TooOld {
        /// Oldest revision that can be asked for.
        oldest: Revision,
    },
    /// The revision is not reached yet.
    #[error("too large resource version; the current one is {current}")]
    TooLarge {
        /// The cache's revision.
        current: Revision,
    },
    /// There are as many watches as there may be.
    #[error("too many watches")]
    TooManyWatches,
    /// The cache was closed.
    #[error("the cache is closed")]
    Closed,
}

/// Numbers for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// The cache's revision; 0 before it is loaded.
    pub revision: Revision,
    /// Objects.
    pub objects: usize,
    /// Events in the ring.
    pub ring_events: usize,
    /// Most events that the ring holds.
    pub ring_events_max: usize,
    /// Events since the cache was made.
    pub events: u64,
    /// How often it was loaded.
    pub loads: u64,
    /// Watches.
    pub watches: usize,
}

/// See the module.
pub struct Cache {
    store: Arc<dyn Store>,
    decoder: Arc<dyn Decoder>,
    prefix: Bytes,
    limits: Limits,
    snapshot: ArcSwap<Snapshot>,
    ring: Mutex<Ring>,
    rebuilt: Mutex<Vec<Arc<Snapshot>>>,
    /// 0 until it is loaded.
    revision: watch::Sender<Phase>,
    progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    At(Revision),
    Closed,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("prefix", &self.prefix).field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Cache {
    /// A cache of all keys that start with `prefix`. It is empty until [`Cache::run`] has loaded it.
    pub fn new(store: Arc<dyn Store>, decoder: Arc<dyn Decoder>, prefix: impl Into<Bytes>, limits: Limits) -> Self {
        Self {
            store,
            decoder,
            prefix: prefix.into(),
            limits,
            snapshot: ArcSwap::default(),
            ring: Mutex::new(Ring::default()),
            rebuilt: Mutex::new(Vec::new()),
            revision: watch::Sender::new(Phase::At(0)),
            progress: Progress::new(),
        }
    }

    /// The prefix of its keys.
    pub fn prefix(&self) -> &Bytes {
        &self.prefix
    }

    /// The newest state. Its revision is 0 if nothing is loaded yet.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// The state at exactly that revision; for the next page of a list.
    ///
    /// # Errors
    /// `TooOld` (the store may still know it) and `TooLarge`.
    pub fn snapshot_at(&self, revision: Revision) -> Result<Arc<Snapshot>, CacheError> {
        if let Some(known) = self.rebuilt.lock().iter().find(|snapshot| snapshot.revision == revision) {
            return Ok(known.clone());
        }
        let (newest, events) = {
            let ring = self.ring.lock();
            let newest = self.snapshot();
            if revision == newest.revision {
                return Ok(newest);
            }
            if revision > newest.revision {
                return Err(CacheError::TooLarge { current: newest.revision });
            }
            if revision < ring.rebuild_since {
                return Err(CacheError::TooOld { oldest: ring.rebuild_since });
            }
            let events: Vec<_> = ring.newest_first(revision).cloned().collect();
            (newest, events)
        };
        let mut snapshot = Snapshot::clone(&newest);
        for event in &events {
            snapshot.undo(event);
        }
        snapshot.revision = revision;
        let snapshot = Arc::new(snapshot);
        let mut rebuilt = self.rebuilt.lock();
        if rebuilt.len() >= REBUILT_SNAPSHOTS_MAX {
            rebuilt.remove(0);
        }
        rebuilt.push(snapshot.clone());
        Ok(snapshot)
    }

    /// The newest state of one object.
    pub fn get(&self, key: &[u8]) -> Option<Arc<Object>> {
        self.snapshot.load().get(key).cloned()
    }

    /// Watches events after `revision`.
    ///
    /// # Errors
    /// `TooOld`, `TooManyWatches`, `Closed`.
    pub fn watch(self: &Arc<Self>, revision: Revision, interest: Interest) -> Result<Watch, CacheError> {
        let mut ring = self.ring.lock();
        self.check_watch(&ring)?;
        if revision < ring.since {
            return Err(CacheError::TooOld { oldest: ring.since });
        }
        let (id, wake) = ring.subscribe(interest, revision);
        Ok(Watch::new(self.clone(), id, wake, revision))
    }

    /// The newest state, and a watch of all that comes after exactly that state.
    ///
    /// # Errors
    /// `TooManyWatches`, `Closed`.
    pub fn snapshot_and_watch(self: &Arc<Self>, interest: Interest) -> Result<(Arc<Snapshot>, Watch), CacheError> {
        let mut ring = self.ring.lock();
        self.check_watch(&ring)?;
        let snapshot = self.snapshot();
        let (id, wake) = ring.subscribe(interest, snapshot.revision);
        let watch = Watch::new(self.clone(), id, wake, snapshot.revision);
        Ok((snapshot, watch))
    }

    fn check_watch(&self, ring: &Ring) -> Result<(), CacheError> {
        if *self.revision.borrow() == Phase::Closed {
            return Err(CacheError::Closed);
        }
        if ring.watches() >= self.limits.watches_max { Err(CacheError::TooManyWatches) } else { Ok(()) }
    }

    /// Waits until everything up to `revision` (of the whole store) is in the cache.
    ///
    /// # Errors
    /// `TooLarge` if the deadline passes, `Closed`.
    pub async fn wait_until(&self, revision: Revision, deadline: Instant) -> Result<(), CacheError> {
        let reached = |phase: &Phase| !matches!(phase, Phase::At(at) if *at < revision.max(1));
        let mut phases = self.revision.subscribe();
        let now = *phases.borrow_and_update();
        let phase = if reached(&now) {
            now
        } else {
            self.progress.want(revision);
            match tokio::time::timeout_at(deadline, phases.wait_for(reached)).await {
                Ok(Ok(phase)) => *phase,
                Ok(Err(_)) => Phase::Closed,
                Err(_) => return Err(CacheError::TooLarge { current: self.snapshot.load().revision }),
            }
        };
        if phase == Phase::Closed { Err(CacheError::Closed) } else { Ok(()) }
    }

    /// Waits until the cache has all that the store has now; for a consistent read and before a bookmark.
    ///
    /// # Errors
    /// `TooLarge` if the deadline passes or the store does not answer, `Closed`.
    pub async fn catch_up(&self, deadline: Instant) -> Result<Revision, CacheError> {
        let too_large = || CacheError::TooLarge { current: self.snapshot.load().revision };
        let newest = tokio::time::timeout_at(deadline, self.store.revision()).await;
        let revision = newest.map_err(|_| too_large())?.map_err(|_| too_large())?;
        self.wait_until(revision, deadline).await?;
        Ok(revision)
    }

    /// Numbers for metrics.
    pub fn stats(&self) -> Stats {
        let snapshot = self.snapshot.load();
        let ring = self.ring.lock();
        Stats {
            revision: snapshot.revision,
            objects: snapshot.len(),
            ring_events: ring.len(),
            ring_events_max: self.limits.ring_events_max,
            events: ring.events(),
            loads: ring.loads,
            watches: ring.watches(),
        }
    }

    pub(crate) fn ring(&self) -> &Mutex<Ring> {
        &self.ring
    }

    /// Ends all watches and refuses new ones. [`Cache::run`] returns.
    pub fn close(&self) {
        let mut ring = self.ring.lock();
        self.revision.send_replace(Phase::Closed);
        ring.cut_off_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.revision.borrow() == Phase::Closed
    }

    /// Loads and follows the store. The owner drives it, as one task; it returns when the cache or the store is closed.
    /// If it is dropped before, the cache is closed, for nothing would feed it.
    pub async fn run(&self) {
        let _close = CloseOnDrop(self);
        let mut phases = self.revision.subscribe();
        tokio::select! {
            () = self.feed() => {}
            _ = phases.wait_for(|phase| *phase == Phase::Closed) => {}
        }
    }

    async fn feed(&self) {
        let mut pause = RETRY_PAUSES.0;
        loop {
            match self.load().await {
                Ok(()) => {
                    pause = RETRY_PAUSES.0;
                    if self.follow().await == Lost::Closed {
                        return;
                    }
                }
                Err(StoreError::Closed) => return,
                Err(error) => {
                    self.report("cannot be loaded", &error);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY_PAUSES.1);
                }
            }
        }
    }

    fn report(&self, what: &str, error: &StoreError) {
        let prefix = String::from_utf8_lossy(&self.prefix);
        tracing::warn!(error = error as &dyn std::error::Error, %prefix, "cache {what}");
    }

    /// Reads all objects at one revision.
    async fn load(&self) -> Result<(), StoreError> {
        let mut snapshot = Snapshot::default();
        let mut range = Range { limit: LOAD_PAGE_OBJECTS, ..Range::prefix(self.prefix.clone()) };
        loop {
            let page = self.store.range(range.clone()).await?;
            if range.revision == 0 {
                range.revision = page.revision;
                snapshot.revision = page.revision;
            }
            for kv in &page.kvs {
                match self.decode(kv, None) {
                    Ok(object) => drop(snapshot.objects.insert(object.key.clone(), object)),
                    Err(broken) => drop(snapshot.undecodable.insert(broken.value.key.clone(), broken)),
                }
            }
            let Some(last) = page.kvs.last().filter(|_| page.more) else { break };
            range.start = [&last.key, [0].as_slice()].concat().into();
            tokio::task::yield_now().await;
        }
        let mut ring = self.ring.lock();
        self.rebuilt.lock().clear();
        ring.reset(snapshot.revision);
        self.publish(snapshot);
        Ok(())
    }

    /// Shows a new state. Called with the ring locked, so that a watch starts at exactly one snapshot.
    fn publish(&self, snapshot: Snapshot) {
        let revision = snapshot.revision;
        self.snapshot.store(Arc::new(snapshot));
        self.revision.send_if_modified(|phase| match phase {
            Phase::At(at) => {
                *at = revision;
                true
            }
            Phase::Closed => false,
        });
    }

    /// Takes changes from the store as long as none is missing.
    async fn follow(&self) -> Lost {
        let mut pause = RETRY_PAUSES.0;
        loop {
            let request = WatchRequest {
                start: self.prefix.clone(),
                end: Some(prefix_end(&self.prefix)),
                from_revision: self.snapshot.load().revision + 1,
                previous: false,
                progress: Some(self.progress.clone()),
            };
            let mut changes = self.store.watch(request);
            while let Some(batch) = changes.next().await {
                match batch {
                    Ok(batch) => {
                        pause = RETRY_PAUSES.0;
                        self.apply(batch);
                    }
                    Err(StoreError::Closed) => return Lost::Closed,
                    Err(error @ StoreError::Compacted { .. }) => {
                        self.report("has to be loaded anew", &error);
                        return Lost::Track;
                    }
                    Err(error) => {
                        self.report("cannot be followed", &error);
                        break;
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_PAUSES.1);
        }
    }

    fn apply(&self, batch: WatchBatch) {
        let mut snapshot = Snapshot::clone(&self.snapshot.load());
        let mut events = Vec::with_capacity(batch.events.len());
        let mut rebuild_since = None;
        for event in &batch.events {
            let revision = event.kv.mod_revision;
            let broken = snapshot.undecodable.remove(&event.kv.key);
            if broken.is_some() {
                rebuild_since = Some(revision);
            }
            let known = snapshot.objects.get(&event.kv.key).cloned();
            let previous = known.or_else(|| broken.and_then(|broken| broken.previous));
            match (event.kind, previous) {
                (EventKind::Put, previous) => match self.decode(&event.kv, previous.clone()) {
                    Ok(object) => {
                        snapshot.objects.insert(object.key.clone(), object.clone());
                        events.push(Arc::new(Event::put(revision, object, previous, self.decoder.clone())));
                    }
                    Err(broken) => {
                        snapshot.objects.remove(&event.kv.key);
                        snapshot.undecodable.insert(broken.value.key.clone(), broken);
                        rebuild_since = Some(revision);
                    }
                },
                (EventKind::Delete, Some(previous)) => {
                    snapshot.objects.remove(&event.kv.key);
                    events.push(Arc::new(Event::delete(revision, previous, self.decoder.clone())));
                }
                (EventKind::Delete, None) => {}
            }
        }
        snapshot.revision = batch.revision;
        let mut ring = self.ring.lock();
        if let Some(revision) = rebuild_since {
            ring.rebuild_since = ring.rebuild_since.max(revision);
        }
        ring.push(events, batch.revision, &self.limits);
        self.rebuilt.lock().retain(|rebuilt| rebuilt.revision >= ring.rebuild_since);
        self.publish(snapshot);
    }

    fn decode(&self, kv: &KeyValue, previous: Option<Arc<Object>>) -> Result<Arc<Object>, Broken> {
        let decoded = self.decoder.decode(kv).map(|mut object| {
            // A key in memory of its own: the store's may share that of the value.
            object.key = previous.as_ref().map_or_else(|| Bytes::copy_from_slice(&kv.key), |known| known.key.clone());
            Arc::new(object)
        });
        decoded.map_err(|error| {
            let value = Undecodable { key: Bytes::copy_from_slice(&kv.key), revision: kv.mod_revision, error };
            self.decoder.undecodable(&value);
            Broken { value: Arc::new(value), previous }
        })
    }
}

struct CloseOnDrop<'a>(&'a Cache);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Why the store is no longer followed.
#[derive(PartialEq, Eq)]
enum Lost {
    /// Changes are missing.
    Track,
    /// The store is closed.
    Closed,
}
