//! Decides what a batch of requests does to an index, without touching the disk.
//!
//! Each request sees what those before it in the batch did. The result is what has to be written, what watches are
//! told, and the answers, which may be given only when the batch is durable.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::engine::Writes;
use super::leases::Leases;
use super::record::{Place, Record};
use super::state::{Garbage, Index, State, event};
use crate::contract::{Compare, KeyValue, Op, OpResult, Range, RangeResult, Revision, StoreError, Txn, TxnResult};
use crate::hub::Change;

/// A batch in the making.
pub(super) struct Batch<'a> {
    base: &'a State,
    now: Instant,
    /// Puts are refused; reads and deletes go on.
    no_space: bool,
    pub(super) index: Index,
    pub(super) leases: Leases,
    pub(super) writes: Writes,
    pub(super) changes: Vec<Change>,
    pub(super) garbage: Vec<Garbage>,
    /// Values written by this batch, which are not in the base's records.
    fresh: HashMap<Place, KeyValue>,
}

/// Where a batch was before a transaction.
struct Mark {
    index: Index,
    leases: Leases,
    records: usize,
    changes: usize,
    garbage: usize,
}

impl<'a> Batch<'a> {
    pub(super) fn new(base: &'a State, leases: Leases, now: Instant, no_space: bool) -> Self {
        Self {
            base,
            now,
            no_space,
            index: base.index.clone(),
            leases,
            writes: Writes::default(),
            changes: Vec::new(),
            garbage: Vec::new(),
            fresh: HashMap::new(),
        }
    }

    /// Whether there is something to make durable.
    pub(super) fn is_dirty(&self) -> bool {
        !self.writes.is_empty()
    }

    pub(super) fn txn(&mut self, txn: Txn) -> Result<TxnResult, StoreError> {
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
        let ops = if succeeded { txn.success } else { txn.failure };
        self.check(&ops)?;
        // A read may fail on a damaged record, after something was written.
        let before = ops.iter().any(|op| matches!(op, Op::Get(_))).then(|| self.mark());
        let results = self.apply(ops);
        if let Some(mark) = before.filter(|_| results.is_err()) {
            self.roll_back(mark);
        }
        let (revision, mut results) = (self.index.revision, results?);
        for result in &mut results {
            if let OpResult::Get(range) = result {
                range.revision = revision;
            }
        }
        Ok(TxnResult { succeeded, revision, results })
    }

    fn apply(&mut self, ops: Vec<Op>) -> Result<Vec<OpResult>, StoreError> {
        let revision = self.index.revision + 1;
        let mut sub = 0;
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            results.push(match op {
                Op::Put { key, value, lease } => {
                    self.put(revision, &mut sub, key, value, lease);
                    OpResult::Put { previous: None }
                }
                Op::Delete { start, end } => {
                    OpResult::Delete { deleted: self.delete(revision, &mut sub, &start, end.as_deref()) }
                }
                Op::Get(range) => OpResult::Get(self.get(&range)?),
            });
        }
        Ok(results)
    }

    fn mark(&self) -> Mark {
        Mark {
            index: self.index.clone(),
            leases: self.leases.clone(),
            records: self.writes.records.len(),
            changes: self.changes.len(),
            garbage: self.garbage.len(),
        }
    }

    fn roll_back(&mut self, mark: Mark) {
        self.index = mark.index;
        self.leases = mark.leases;
        self.writes.records.truncate(mark.records);
        self.changes.truncate(mark.changes);
        self.garbage.truncate(mark.garbage);
    }

    fn holds(&self, compare: &Compare) -> bool {
        match compare {
            Compare::ModRevision(key, revision) => {
                self.index.current.get(key).map_or(0, |current| current.revision) == *revision
            }
            Compare::CreateRevision(key, revision) => {
                self.index.current.get(key).map_or(0, |current| current.create_revision) == *revision
            }
        }
    }

    /// Refuses before anything is changed.
    fn check(&self, ops: &[Op]) -> Result<(), StoreError> {
        for op in ops {
            match op {
                Op::Put { .. } if self.no_space => return Err(StoreError::NoSpace(None)),
                Op::Put { lease, .. } if *lease != 0 && !self.leases.contains(*lease) => {
                    return Err(StoreError::LeaseNotFound(*lease));
                }
                Op::Get(range) => self.index.check_revision(range.revision)?,
                Op::Put { .. } | Op::Delete { .. } => {}
            }
        }
        Ok(())
    }

    fn put(&mut self, revision: Revision, sub: &mut u32, key: Bytes, value: Bytes, lease: i64) {
        let old = self.index.current.get(&key).copied();
        if let Some(old) = old.filter(|old| old.lease != 0) {
            self.leases.detach(old.lease, &key);
        }
        if lease != 0 {
            self.leases.attach(lease, key.clone());
        }
        let kv = KeyValue {
            key,
            value,
            create_revision: old.map_or(revision, |old| old.create_revision),
            mod_revision: revision,
            version: old.map_or(1, |old| old.version + 1),
            lease,
        };
        self.fresh.insert((revision, *sub), kv.clone());
        self.record(revision, sub, Record { tombstone: false, kv });
    }

    fn delete(&mut self, revision: Revision, sub: &mut u32, start: &[u8], end: Option<&[u8]>) -> usize {
        let doomed: Vec<_> = self.index.live(start, end).map(|(key, current)| (key.clone(), current.lease)).collect();
        for (key, lease) in &doomed {
            if *lease != 0 {
                self.leases.detach(*lease, key);
            }
            self.record(revision, sub, Record::tombstone(key.clone(), revision));
        }
        doomed.len()
    }

    fn record(&mut self, revision: Revision, sub: &mut u32, record: Record) {
        let place = (revision, *sub);
        *sub += 1;
        self.garbage.extend(self.index.apply(place, &record));
        self.writes.records.push((place, record.encode(place)));
        let event = event(record);
        match self.changes.last_mut() {
            Some(change) if change.revision == revision => change.events.push(event),
            _ => self.changes.push(Change { revision, events: vec![event] }),
        }
    }

    fn get(&self, range: &Range) -> Result<RangeResult, StoreError> {
        self.index.range(range, |key, place| match self.fresh.get(&place) {
            Some(kv) => Ok(kv.clone()),
            None => self.base.load(key, place),
        })
    }

    pub(super) fn lease_grant(&mut self, ttl_s: i64) -> Result<i64, StoreError> {
        if self.no_space {
            return Err(StoreError::NoSpace(None));
        }
        let id = self.leases.grant(ttl(ttl_s), self.now);
        self.writes.leases.push((id, Some(ttl_s.max(1))));
        Ok(id)
    }

    pub(super) fn lease_keep_alive(&mut self, lease: i64) -> Result<(), StoreError> {
        if self.leases.renew(lease, self.now) { Ok(()) } else { Err(StoreError::LeaseNotFound(lease)) }
    }

    /// Deletes the lease's keys in one revision.
    pub(super) fn lease_revoke(&mut self, lease: i64) -> Result<(), StoreError> {
        let Some(keys) = self.leases.end(lease) else { return Err(StoreError::LeaseNotFound(lease)) };
        self.writes.leases.push((lease, None));
        let revision = self.index.revision + 1;
        let mut sub = 0;
        for key in keys {
            self.record(revision, &mut sub, Record::tombstone(key, revision));
        }
        Ok(())
    }

    /// Ends the leases whose time is over.
    pub(super) fn expire_leases(&mut self) {
        while let Some(lease) = self.leases.expired(self.now) {
            if self.lease_revoke(lease).is_err() {
                return;
            }
        }
    }

    /// The old versions are hidden at once, and erased later, a few at a time.
    pub(super) fn compact(&mut self, revision: Revision) -> Result<(), StoreError> {
        if revision > self.index.revision {
            return Err(StoreError::FutureRevision { current: self.index.revision });
        }
        if revision <= self.index.compacted {
            return Err(StoreError::Compacted { oldest: self.index.compacted });
        }
        self.index.compacted = revision;
        self.writes.compacted = Some(revision);
        Ok(())
    }

    /// Erases a record for good.
    pub(super) fn erase(&mut self, garbage: &Garbage) {
        self.index.history.remove(&(garbage.key.clone(), garbage.place.0));
        self.writes.garbage.push(garbage.place);
    }
}

/// Seconds of a lease, within reason.
pub(super) fn ttl(ttl_s: i64) -> Duration {
    const TTL_MAX_S: i64 = 9_000_000_000;
    Duration::from_secs(ttl_s.clamp(1, TTL_MAX_S).unsigned_abs())
}
