//! What a store promises, whichever backend keeps the data.
//!
//! One global revision counts transactions that changed something. A range reads at one revision. A transaction
//! compares and then writes, atomically. A watch delivers every event after a revision, in order, with no gap, or
//! says that the revision is compacted. An acknowledged write survives a crash.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio::sync::Notify;

/// Counts the transactions that changed something; the first write has revision 2, as in etcd.
pub type Revision = i64;

/// A key with its value and its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// Revision of the write that created it.
    pub create_revision: Revision,
    /// Revision of the last write.
    pub mod_revision: Revision,
    /// Writes since it was created; 1 after the first.
    pub version: i64,
    /// Lease that keeps it; 0 for none.
    pub lease: i64,
}

/// Keys from `start` up to and without `end`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Range {
    /// First key; it may not be empty (the first of all keys is `"\0"`).
    pub start: Bytes,
    /// One past the last key. `None` is the single key `start`; `"\0"` is without end.
    pub end: Option<Bytes>,
    /// Revision to read at; 0 is the newest.
    pub revision: Revision,
    /// Most keys to return; 0 is no limit.
    pub limit: usize,
    /// Only the count.
    pub count_only: bool,
    /// Only keys, with empty values.
    pub keys_only: bool,
}

impl Range {
    /// One key at the newest revision.
    pub fn key(key: impl Into<Bytes>) -> Self {
        Self { start: key.into(), ..Self::default() }
    }

    /// All keys that start with `prefix`, at the newest revision.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start = prefix.into();
        let end = Some(prefix_end(&start));
        Self { start, end, ..Self::default() }
    }
}

/// The first key after all that start with `prefix`; `"\0"` (without end) if there is none.
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end.into();
        }
    }
    Bytes::from_static(b"\0")
}

/// Whether `key` lies in the range from `start` to `end` (with the meaning of [`Range::end`]).
pub fn in_range(key: &[u8], start: &[u8], end: Option<&[u8]>) -> bool {
    match end {
        None => key == start,
        Some(b"\0") => key >= start,
        Some(end) => key >= start && key < end,
    }
}

/// Answer to a [`Range`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RangeResult {
    /// In key order.
    pub kvs: Vec<KeyValue>,
    /// Keys in the range, whatever the limit.
    pub count: usize,
    /// Whether the limit cut it off.
    pub more: bool,
    /// The store's revision when it answered (not the revision read at).
    pub revision: Revision,
}

/// A condition of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// The key was last written at this revision; 0 says that it does not exist.
    ModRevision(Bytes, Revision),
    /// The key was created at this revision; 0 says that it does not exist.
    CreateRevision(Bytes, Revision),
}

/// A step of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Writes a key, kept by `lease` unless that is 0.
    Put {
        /// The key.
        key: Bytes,
        /// The value.
        value: Bytes,
        /// Lease, or 0.
        lease: i64,
    },
    /// Deletes a key, or a range of keys.
    Delete {
        /// First key.
        start: Bytes,
        /// As in [`Range::end`].
        end: Option<Bytes>,
    },
    /// Reads.
    Get(Range),
}

/// If all of `compare` hold, `success`, else `failure`. A key may be written only once in a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Txn {
    /// Conditions, all of which must hold.
    pub compare: Vec<Compare>,
    /// Done if they hold.
    pub success: Vec<Op>,
    /// Done if they do not.
    pub failure: Vec<Op>,
}

/// Answer to one [`Op`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpResult {
    /// Written; the key as it was before.
    Put {
        /// The key's former state, where the backend has it at no cost; else `None`.
        previous: Option<KeyValue>,
    },
    /// Deleted.
    Delete {
        /// How many keys.
        deleted: usize,
    },
    /// Read.
    Get(RangeResult),
}

/// Answer to a [`Txn`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxnResult {
    /// Whether the conditions held.
    pub succeeded: bool,
    /// The store's revision after it: that of the write, if it wrote.
    pub revision: Revision,
    /// One for each op that was done.
    pub results: Vec<OpResult>,
}

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// Written.
    Put,
    /// Deleted, by a request or by the end of its lease.
    Delete,
}

/// A change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The key after it; for a delete only `key` and `mod_revision` are set.
    pub kv: KeyValue,
    /// The key before it; `None` if it did not exist, or if compaction has taken it.
    pub previous: Option<KeyValue>,
}

/// What to watch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WatchRequest {
    /// First key.
    pub start: Bytes,
    /// As in [`Range::end`].
    pub end: Option<Bytes>,
    /// First revision to deliver; 0 is from now on. It may lie in the future. A revision older than the compacted
    /// one gives [`StoreError::Compacted`]; at the compacted one itself, previous values are gone.
    pub from_revision: Revision,
    /// Whether to deliver [`Event::previous`]. It costs a read per event.
    pub previous: bool,
    /// To ask for progress notices; without it the watch is silent while nothing happens in its range.
    pub progress: Option<Progress>,
}

impl WatchRequest {
    /// All keys that start with `prefix`, from a revision on.
    pub fn prefix(prefix: impl Into<Bytes>, from_revision: Revision) -> Self {
        let start = prefix.into();
        let end = Some(prefix_end(&start));
        Self { start, end, from_revision, ..Self::default() }
    }
}

/// Asks a running watch for a progress notice. One handle belongs to one watch.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<ProgressInner>);

#[derive(Debug, Default)]
struct ProgressInner {
    wanted: AtomicI64,
    asked: Notify,
}

impl Progress {
    /// A handle to put into a [`WatchRequest`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Wants batches (with or without events) that tell of progress, until all up to `revision` is delivered.
    pub fn want(&self, revision: Revision) {
        if self.0.wanted.fetch_max(revision, Ordering::AcqRel) < revision {
            self.0.asked.notify_one();
        }
    }

    /// The newest revision that was asked for; for backends.
    pub fn wanted(&self) -> Revision {
        self.0.wanted.load(Ordering::Acquire)
    }

    /// Waits until somebody asks; for backends.
    pub async fn asked(&self) {
        self.0.asked.notified().await;
    }
}

impl PartialEq for Progress {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Progress {}

/// Events of whole revisions, in order. Without events it is a progress notice: all up to `revision` is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchBatch {
    /// In order of revision.
    pub events: Vec<Event>,
    /// All up to this revision has been delivered.
    pub revision: Revision,
}

/// Why a store refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The revision asked for is compacted.
    #[error("revision is compacted; the oldest kept is {oldest}")]
    Compacted {
        /// Oldest revision that can still be read; 0 if the backend does not say.
        oldest: Revision,
    },
    /// The revision asked for lies in the future.
    #[error("revision is in the future; the store is at {current}")]
    FutureRevision {
        /// The store's revision; 0 if the backend does not say.
        current: Revision,
    },
    /// The lease is unknown or over.
    #[error("lease {0} not found")]
    LeaseNotFound(i64),
    /// A key was empty.
    #[error("key is not provided")]
    EmptyKey,
    /// A transaction wrote one key twice.
    #[error("duplicate key given in txn request")]
    DuplicateKey,
    /// The request is larger than the store takes.
    #[error("request of {bytes} bytes is larger than the limit of {limit} bytes")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The disk is full, or the quota is used up. Reads go on.
    #[error("no space left in the store")]
    NoSpace(#[source] Option<std::io::Error>),
    /// The data on disk is damaged.
    #[error("store is corrupt: {file} at offset {offset}: {what}")]
    Corrupt {
        /// The file.
        file: String,
        /// Byte offset in it.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// The data was written by a version of Mainstay that this one does not know.
    #[error("store has format version {found}; this version of mainstay knows up to {known}")]
    NewerFormat {
        /// Format of the data.
        found: u32,
        /// Newest format known here.
        known: u32,
    },
    /// Another process (or another handle in this one) has the data open.
    #[error("store {file} is in use by another process")]
    InUse {
        /// The file.
        file: String,
    },
    /// The backend cannot be reached or did not answer; whether the write was done is unknown.
    #[error("store is unavailable: {0}")]
    Unavailable(String),
    /// Reading or writing failed.
    #[error("store I/O failed")]
    Io(#[from] std::io::Error),
    /// The store is shut down.
    #[error("store is closed")]
    Closed,
}

/// A store. Cheap to share as `Arc<dyn Store>`.
pub trait Store: Send + Sync + 'static {
    /// Reads keys at one revision.
    fn range(&self, range: Range) -> BoxFuture<'_, Result<RangeResult, StoreError>>;
    /// Compares and writes, atomically; when it returns, what it wrote is durable.
    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<TxnResult, StoreError>>;
    /// Delivers events from a revision on. Ends with an error (`Compacted`, `Unavailable`) or when dropped.
    fn watch(&self, request: WatchRequest) -> BoxStream<'static, Result<WatchBatch, StoreError>>;
    /// Grants a lease of `ttl_s` seconds; its keys are deleted when it ends.
    fn lease_grant(&self, ttl_s: i64) -> BoxFuture<'_, Result<i64, StoreError>>;
    /// Renews a lease to its full time.
    fn lease_keep_alive(&self, lease: i64) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Ends a lease now, and deletes its keys.
    fn lease_revoke(&self, lease: i64) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Forgets all but the newest state at `revision` and what came after it.
    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), StoreError>>;
    /// The newest revision.
    fn revision(&self) -> BoxFuture<'_, Result<Revision, StoreError>>;
    /// Bytes that the data takes on disk.
    fn size_bytes(&self) -> BoxFuture<'_, Result<u64, StoreError>>;
    /// Whether others may write to it, too: servers of this make or another.
    fn is_shared(&self) -> bool;
}
