//! Fan-out of committed changes to watches, the same for every backend.
//!
//! The backend publishes whole revisions in order. The newest are kept in a ring; a watch pulls from it at its own
//! pace, and what fell out of the ring it reads from the backend again. So a slow watch holds up nobody and no queue
//! grows. A watch is woken only by changes in its range, or when it was asked for progress.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::contract::{Event, Revision, StoreError, WatchBatch, WatchRequest, in_range};

/// Most bytes of keys and values in the ring; older revisions are read from the backend.
const RING_BYTES_MAX: usize = 1 << 20;
/// Most changes in the ring.
const RING_EVENTS_MAX: usize = 8192;
/// Most events in a batch; one revision may exceed it.
const BATCH_EVENTS_MAX: usize = 256;

/// All that one revision changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) revision: Revision,
    /// Without previous values.
    pub(crate) events: Vec<Event>,
}

/// Some whole revisions.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) changes: Vec<Change>,
    /// It holds all changes up to this revision.
    pub(crate) upto: Revision,
}

/// Where a watch reads what is no longer in the ring.
pub(crate) trait Backlog: Send + Sync + 'static {
    /// Changes from a published revision on, at least one revision.
    fn changes(&self, from: Revision) -> BoxFuture<'_, Result<Chunk, StoreError>>;
    /// Fills in the previous values.
    fn fill_previous(&self, events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Event>, StoreError>>;
}

/// Publishes changes; see the module.
#[derive(Debug)]
pub(crate) struct Hub {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    ring: VecDeque<Arc<Change>>,
    ring_bytes: usize,
    ring_events: usize,
    published: Revision,
    watches: HashMap<u64, Watch>,
    next_id: u64,
    closed: bool,
}

#[derive(Debug)]
struct Watch {
    request: WatchRequest,
    wake: Arc<Notify>,
    /// First revision from which on there may be something to deliver; `None` if all that is published is delivered
    /// or out of range.
    unread_from: Option<Revision>,
    /// Revision that the watch last reported.
    reported: Revision,
    /// The backend lost track: changes before this revision cannot be had.
    lost_before: Option<Revision>,
}

enum Step {
    Deliver { changes: Vec<Arc<Change>>, upto: Revision, progress: bool },
    ReadBacklog(Revision),
    Wait,
    End(StoreError),
}

impl Hub {
    pub(crate) fn new(published: Revision) -> Self {
        let inner = Inner {
            ring: VecDeque::new(),
            ring_bytes: 0,
            ring_events: 0,
            published,
            watches: HashMap::new(),
            next_id: 0,
            closed: false,
        };
        Self { inner: Mutex::new(inner) }
    }

    /// The newest published revision.
    pub(crate) fn published(&self) -> Revision {
        self.inner.lock().published
    }

    /// Makes changes visible to watches: all up to `published`, in order, none twice.
    pub(crate) fn publish(&self, changes: Vec<Change>, published: Revision) {
        let mut inner = self.inner.lock();
        let first = inner.ring.len();
        for change in changes {
            inner.ring_bytes += change.bytes();
            inner.ring_events += change.events.len();
            inner.ring.push_back(Arc::new(change));
        }
        inner.published = published;
        let Inner { ring, watches, .. } = &mut *inner;
        for watch in watches.values_mut() {
            if watch.unread_from.is_none() {
                watch.unread_from = ring.range(first..).find(|c| watch.wants(c)).map(|c| c.revision);
                if watch.unread_from.is_some() || watch.owes_progress(published) {
                    watch.wake.notify_one();
                }
            }
        }
        inner.trim();
    }

    /// Revisions before `oldest` are compacted: who still wants them asks the backlog, and is refused.
    pub(crate) fn forget_before(&self, oldest: Revision) {
        let mut inner = self.inner.lock();
        while let Some(change) = inner.ring.pop_front_if(|change| change.revision < oldest) {
            inner.ring_bytes -= change.bytes();
            inner.ring_events -= change.events.len();
        }
    }

    /// Moves on to `published` without the changes; watches read them from the backlog.
    pub(crate) fn skip_to(&self, published: Revision) {
        let mut inner = self.inner.lock();
        let from = inner.published + 1;
        inner.published = published;
        inner.clear_ring();
        for watch in inner.watches.values_mut() {
            watch.unread_from.get_or_insert(from);
            watch.wake.notify_one();
        }
    }

    /// The changes before `revision` cannot be had: every watch that waits for one ends as compacted.
    pub(crate) fn lose_before(&self, revision: Revision) {
        let mut inner = self.inner.lock();
        inner.published = revision - 1;
        inner.clear_ring();
        for watch in inner.watches.values_mut() {
            watch.lost_before = Some(revision);
            watch.wake.notify_one();
        }
    }

    /// Ends all watches.
    pub(crate) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        inner.clear_ring();
        for watch in inner.watches.values_mut() {
            watch.wake.notify_one();
        }
    }

    /// Starts a watch now; it delivers when it is polled.
    pub(crate) fn watch(
        self: &Arc<Self>,
        backlog: Arc<dyn Backlog>,
        request: WatchRequest,
    ) -> BoxStream<'static, Result<WatchBatch, StoreError>> {
        let subscription = self.subscribe(backlog, request);
        futures::stream::unfold(Some(subscription), |subscription| async move {
            let mut subscription = subscription?;
            match subscription.next().await {
                Ok(batch) => Some((Ok(batch), Some(subscription))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }

    fn subscribe(self: &Arc<Self>, backlog: Arc<dyn Backlog>, mut request: WatchRequest) -> Subscription {
        let wake = Arc::new(Notify::new());
        let mut inner = self.inner.lock();
        if request.from_revision <= 0 {
            request.from_revision = inner.published + 1;
        }
        let from = request.from_revision;
        let id = inner.next_id;
        inner.next_id += 1;
        let watch = Watch {
            request: request.clone(),
            wake: wake.clone(),
            unread_from: (from <= inner.published).then_some(from),
            reported: from - 1,
            lost_before: None,
        };
        inner.watches.insert(id, watch);
        Subscription { hub: self.clone(), backlog, id, request, wake }
    }

    fn step(&self, id: u64) -> Step {
        let mut inner = self.inner.lock();
        let Inner { ring, watches, published, closed, .. } = &mut *inner;
        let Some(watch) = watches.get_mut(&id).filter(|_| !*closed) else { return Step::End(StoreError::Closed) };
        if let Some(oldest) = watch.lost_before {
            return Step::End(StoreError::Compacted { oldest });
        }
        let Some(from) = watch.unread_from else {
            if !watch.owes_progress(*published) {
                return Step::Wait;
            }
            watch.reported = *published;
            return Step::Deliver { changes: Vec::new(), upto: *published, progress: true };
        };
        if ring.front().is_none_or(|first| first.revision > from) {
            return Step::ReadBacklog(from);
        }
        let first = ring.partition_point(|change| change.revision < from);
        let mut changes = Vec::new();
        let (mut upto, mut events) = (*published, 0);
        watch.unread_from = None;
        for change in ring.range(first..).filter(|change| watch.wants(change)) {
            if events >= BATCH_EVENTS_MAX {
                watch.unread_from = Some(change.revision);
                upto = change.revision - 1;
                break;
            }
            events += change.events.len();
            changes.push(change.clone());
        }
        let progress = watch.owes_progress(upto);
        if progress || !changes.is_empty() {
            watch.reported = upto;
        }
        Step::Deliver { changes, upto, progress }
    }

    /// A watch has all up to `upto` from the backlog, and `delivered` some of it.
    fn advance(&self, id: u64, upto: Revision, delivered: bool) {
        let mut inner = self.inner.lock();
        let published = inner.published;
        if let Some(watch) = inner.watches.get_mut(&id) {
            watch.unread_from = (upto < published).then_some(upto + 1);
            if delivered {
                watch.reported = upto;
            }
        }
    }
}

impl Inner {
    fn clear_ring(&mut self) {
        self.ring.clear();
        self.ring_bytes = 0;
        self.ring_events = 0;
    }

    fn trim(&mut self) {
        while self.ring_bytes > RING_BYTES_MAX || self.ring_events > RING_EVENTS_MAX {
            let Some(change) = self.ring.pop_front() else { return };
            self.ring_bytes -= change.bytes();
            self.ring_events -= change.events.len();
        }
    }
}

impl Change {
    fn bytes(&self) -> usize {
        self.events.iter().map(|event| event.kv.key.len() + event.kv.value.len()).sum()
    }
}

impl Watch {
    fn wants(&self, change: &Change) -> bool {
        wants(&self.request, change)
    }

    fn progress_wanted(&self) -> Revision {
        self.request.progress.as_ref().map_or(0, |progress| progress.wanted())
    }

    /// Until the wanted revision is reached, every step towards it is told: what is wanted may be far in the future,
    /// and must not hide what somebody else wants sooner.
    fn owes_progress(&self, published: Revision) -> bool {
        published > self.reported && self.progress_wanted() > self.reported
    }
}

fn wants(request: &WatchRequest, change: &Change) -> bool {
    change.revision >= request.from_revision && change.events.iter().any(|event| wants_event(request, event))
}

fn wants_event(request: &WatchRequest, event: &Event) -> bool {
    in_range(&event.kv.key, &request.start, request.end.as_deref())
}

/// One running watch.
struct Subscription {
    hub: Arc<Hub>,
    backlog: Arc<dyn Backlog>,
    id: u64,
    request: WatchRequest,
    wake: Arc<Notify>,
}

impl Subscription {
    async fn next(&mut self) -> Result<WatchBatch, StoreError> {
        loop {
            let (events, upto, progress) = match self.hub.step(self.id) {
                Step::Deliver { changes, upto, progress } => {
                    (self.select(changes.iter().flat_map(|change| &change.events)), upto, progress)
                }
                Step::ReadBacklog(from) => {
                    let chunk = self.backlog.changes(from).await?;
                    let events = self.select(chunk.changes.iter().flat_map(|change| &change.events));
                    self.hub.advance(self.id, chunk.upto, !events.is_empty());
                    (events, chunk.upto, false)
                }
                Step::Wait => {
                    self.wait().await;
                    continue;
                }
                Step::End(error) => return Err(error),
            };
            if events.is_empty() && !progress {
                continue;
            }
            let events = if self.request.previous { self.backlog.fill_previous(events).await? } else { events };
            return Ok(WatchBatch { events, revision: upto });
        }
    }

    fn select<'a>(&self, events: impl Iterator<Item = &'a Event>) -> Vec<Event> {
        events
            .filter(|event| event.kv.mod_revision >= self.request.from_revision && wants_event(&self.request, event))
            .cloned()
            .collect()
    }

    async fn wait(&self) {
        match &self.request.progress {
            None => self.wake.notified().await,
            Some(progress) => tokio::select! {
                () = self.wake.notified() => {}
                () = progress.asked() => {}
            },
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.inner.lock().watches.remove(&self.id);
    }
}
