//! The one thread that writes: takes what requests have gathered, decides it as one batch, makes it durable with one
//! commit, publishes it, and only then answers. It sleeps until a request comes or a lease ends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::activity::Activity;
use super::batch::Batch;
use super::disk::Disk;
use super::engine::{Engine, Records};
use super::leases::Leases;
use super::open;
use super::state::{Garbage, State};
use super::{Limits, Shared};
use crate::contract::{Revision, StoreError, Txn, TxnResult};

/// Most requests in a batch.
const BATCH_REQUESTS_MAX: usize = 1024;
/// Most bytes of requests in a batch; one request may exceed it.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// Longest that a batch waits for requests that are about to come, if the last one took as long to write.
const GATHER_MAX: Duration = Duration::from_millis(1);
/// How long work that nobody waits for rests after a failed write.
const RESUME_AFTER: Duration = Duration::from_secs(5);
/// Most records erased in one commit, so that compaction never holds up a write for long.
const ERASE_RECORDS_MAX: usize = 512;

pub(super) enum Request {
    Txn(Txn, Reply<TxnResult>),
    LeaseGrant(i64, Reply<i64>),
    LeaseKeepAlive(i64, Reply<()>),
    LeaseRevoke(i64, Reply<()>),
    Compact(Revision, Reply<()>),
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// A request in the queue, which is bounded by its permit.
pub(super) struct Queued {
    pub(super) request: Request,
    pub(super) bytes: usize,
    pub(super) _permit: OwnedSemaphorePermit,
}

/// An answer that waits for the batch to be durable.
type Answer = Box<dyn FnOnce(Result<(), &Failed>) + Send>;

/// Why a batch did not become durable.
enum Failed {
    /// It left no trace.
    Undone(StoreError),
    /// It may come back.
    Unknown(String),
}

impl Failed {
    fn error(&self) -> StoreError {
        match self {
            Failed::Unknown(what) => StoreError::Unavailable(what.clone()),
            Failed::Undone(StoreError::NoSpace(_)) => StoreError::NoSpace(None),
            Failed::Undone(StoreError::Corrupt { file, offset, what }) => {
                StoreError::Corrupt { file: file.clone(), offset: *offset, what: what.clone() }
            }
            Failed::Undone(StoreError::Io(error)) => {
                StoreError::Io(std::io::Error::new(error.kind(), error.to_string()))
            }
            Failed::Undone(other) => StoreError::Unavailable(other.to_string()),
        }
    }
}

pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    pub(super) disk: Disk,
    pub(super) limits: Limits,
    /// `None` after a failure from which it could not be opened again.
    pub(super) engine: Option<Engine>,
    pub(super) leases: Leases,
    pub(super) garbage: VecDeque<Garbage>,
    /// Bytes of all records.
    pub(super) bytes: u64,
    pub(super) requests: Receiver<Queued>,
    /// Those who make them.
    pub(super) activity: Arc<Activity>,
    /// Time for which the last batch was written.
    pub(super) last_took: Duration,
    /// After a failed write: when to try again without being asked.
    pub(super) resume_at: Option<Instant>,
}

impl Committer {
    /// Runs until nobody can send requests any more.
    pub(super) fn run(mut self) {
        while let Some(first) = self.wait() {
            let queued = self.gather(first);
            self.commit(queued);
        }
        self.shared.close();
        drop(self.engine.take());
        if let Err(error) = self.disk.close() {
            tracing::warn!(%error, file = self.disk.name(), "store file could not be unlocked");
        }
    }

    /// Waits for the first request of a batch, or (`Some(None)`) until there is other work. `None` is the end.
    fn wait(&self) -> Option<Option<Queued>> {
        let Some(due) = self.due() else { return self.requests.recv().ok().map(Some) };
        match self.requests.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(queued) => Some(Some(queued)),
            Err(RecvTimeoutError::Timeout) => Some(None),
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    /// When there is something to do without a request: the next lease ends, or records can be erased.
    fn due(&self) -> Option<Instant> {
        let due = if self.has_garbage() { Some(Instant::now()) } else { self.leases.next_end() };
        due.map(|due| self.resume_at.map_or(due, |resume_at| due.max(resume_at)))
    }

    /// All that has come in while the last batch was written; of what is about to come, as much as costs little time.
    fn gather(&self, first: Option<Queued>) -> Vec<Queued> {
        if first.is_some() {
            self.activity.wait_until_done(Instant::now() + self.last_took.min(GATHER_MAX));
        }
        let mut bytes = 0;
        let mut queued: Vec<Queued> = Vec::new();
        let mut next = first;
        while let Some(request) = next {
            bytes += request.bytes;
            queued.push(request);
            if queued.len() >= BATCH_REQUESTS_MAX || bytes >= BATCH_BYTES_MAX {
                break;
            }
            next = self.requests.try_recv().ok();
        }
        queued
    }

    fn has_garbage(&self) -> bool {
        let compacted = self.shared.state().map_or(0, |state| state.index.compacted);
        self.garbage.front().is_some_and(|garbage| garbage.at <= compacted)
    }

    fn commit(&mut self, queued: Vec<Queued>) {
        // Readers that find the engine failed wait on this until there is a new one.
        let shared = self.shared.clone();
        let _repair = shared.repair.lock();
        if let Err(failed) = self.ensure_engine() {
            self.resume_at = Some(Instant::now() + RESUME_AFTER);
            for queued in queued {
                refuse(queued.request, &failed);
            }
            return;
        }
        let Some(base) = shared.state() else { return };
        let no_space = self.no_space(&queued);
        let mut batch = Batch::new(&base, self.leases.clone(), Instant::now(), no_space);
        batch.expire_leases();
        let (answers, permits): (Vec<_>, Vec<_>) =
            queued.into_iter().map(|queued| (decide(&mut batch, queued.request), queued._permit)).unzip();
        let erased = self.sweep(&mut batch);
        let outcome = self.write(&base, batch);
        match &outcome {
            Ok(()) => {
                self.bytes -= self.garbage.drain(..erased).map(|garbage| u64::from(garbage.bytes)).sum::<u64>();
                self.resume_at = None;
            }
            Err(_) => self.resume_at = Some(Instant::now() + RESUME_AFTER),
        }
        drop(permits);
        for answer in answers {
            answer(outcome.as_ref().copied());
        }
    }

    /// Whether puts must be refused because the disk is nearly full or the quota is used up.
    fn no_space(&self, queued: &[Queued]) -> bool {
        if queued.is_empty() {
            return false;
        }
        self.bytes >= self.limits.bytes_max
            || self.disk.free_bytes().is_some_and(|free| free < self.limits.free_bytes_min)
    }

    /// Marks some superfluous records to be erased; returns how many of `self.garbage`.
    fn sweep(&self, batch: &mut Batch<'_>) -> usize {
        if self.resume_at.is_some_and(|resume_at| resume_at > Instant::now()) {
            return 0;
        }
        // What this batch compacts is erased by later ones.
        let compacted = self.shared.state().map_or(0, |state| state.index.compacted);
        let doomed = self.garbage.iter().take(ERASE_RECORDS_MAX).take_while(|garbage| garbage.at <= compacted);
        let mut erased = 0;
        for garbage in doomed {
            batch.erase(garbage);
            erased += 1;
        }
        erased
    }

    /// Makes a batch durable and visible.
    fn write(&mut self, base: &Arc<State>, batch: Batch<'_>) -> Result<(), Failed> {
        if !batch.is_dirty() {
            self.leases = batch.leases;
            return Ok(());
        }
        let started = Instant::now();
        let written = match &self.engine {
            Some(engine) => engine.write(&batch.writes),
            None => return Err(Failed::Unknown("store is not open".to_owned())),
        };
        self.last_took = started.elapsed();
        match written {
            Ok(records) => {
                self.bytes += batch.writes.records.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
                let Batch { index, leases, changes, garbage, .. } = batch;
                let (revision, compacted) = (index.revision, index.compacted);
                self.leases = leases;
                self.garbage.extend(garbage);
                self.shared.publish(State { index, records });
                self.shared.hub.publish(changes, revision);
                if compacted > base.index.compacted {
                    self.shared.hub.forget_before(compacted);
                }
                Ok(())
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "store could not write");
                self.engine = None;
                Err(self.recover(base, error))
            }
        }
    }

    fn ensure_engine(&mut self) -> Result<(), Failed> {
        if self.disk.sync_failed() {
            return Err(Failed::Undone(StoreError::Io(std::io::Error::other("an earlier sync of the store failed"))));
        }
        if self.engine.is_some() {
            return Ok(());
        }
        let Some(base) = self.shared.state() else { return Err(Failed::Undone(StoreError::Closed)) };
        match self.recover(&base, StoreError::Unavailable("store had to be opened again".to_owned())) {
            Failed::Undone(_) if self.engine.is_some() => Ok(()),
            failed => Err(failed),
        }
    }

    /// Opens the engine again after a failed write, and says whether the write left a trace.
    fn recover(&mut self, base: &Arc<State>, error: StoreError) -> Failed {
        match Engine::open(self.disk.clone(), self.limits.cache_bytes).and_then(|e| Ok((e.records()?, e))) {
            Ok((records, engine)) => match self.reload(base, engine, records) {
                Ok(false) => Failed::Undone(error),
                Ok(true) => Failed::Unknown(format!("the write failed, but may have been done: {error}")),
                Err(failed) => Failed::Unknown(failed.to_string()),
            },
            Err(failed) => Failed::Unknown(failed.to_string()),
        }
    }

    /// Publishes what the newly opened engine holds. Returns whether that is more than what was published before.
    fn reload(&mut self, base: &Arc<State>, engine: Engine, records: Records) -> Result<bool, StoreError> {
        let (_, compacted) = engine.facts()?;
        let same = records.last_revision()? == base.index.revision
            && compacted == base.index.compacted
            && records.len()? == base.records.len().unwrap_or(0);
        if same {
            self.shared.publish(State { index: base.index.clone(), records });
        } else {
            let loaded = open::load(&engine, records)?;
            let revision = loaded.state.index.revision;
            self.leases = loaded.leases;
            self.garbage = loaded.garbage;
            self.bytes = loaded.bytes;
            self.shared.publish(loaded.state);
            self.shared.hub.skip_to(revision);
        }
        self.engine = Some(engine);
        Ok(!same)
    }
}

/// Decides one request; the answer is given when the batch is durable.
fn decide(batch: &mut Batch<'_>, request: Request) -> Answer {
    match request {
        Request::Txn(txn, reply) => answer(batch.txn(txn), reply),
        Request::LeaseGrant(ttl_s, reply) => answer(batch.lease_grant(ttl_s), reply),
        Request::LeaseKeepAlive(lease, reply) => answer(batch.lease_keep_alive(lease), reply),
        Request::LeaseRevoke(lease, reply) => answer(batch.lease_revoke(lease), reply),
        Request::Compact(revision, reply) => answer(batch.compact(revision), reply),
    }
}

fn answer<T: Send + 'static>(result: Result<T, StoreError>, reply: Reply<T>) -> Answer {
    Box::new(move |outcome| send(reply, outcome.map_err(Failed::error).and(result)))
}

fn refuse(request: Request, failed: &Failed) {
    match request {
        Request::Txn(_, reply) => send(reply, Err(failed.error())),
        Request::LeaseGrant(_, reply) => send(reply, Err(failed.error())),
        Request::LeaseKeepAlive(_, reply) | Request::LeaseRevoke(_, reply) | Request::Compact(_, reply) => {
            send(reply, Err(failed.error()));
        }
    }
}

/// Whoever asked may have gone away; the write is done all the same.
fn send<T>(reply: Reply<T>, result: Result<T, StoreError>) {
    if reply.send(result).is_err() {
        tracing::trace!("nobody waits for the answer any more");
    }
}
