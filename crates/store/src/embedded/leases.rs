//! Leases: which exist, which keys each keeps, and which ends next. A clone is a snapshot, so that a batch that could
//! not be written leaves no trace.

use std::ops::Bound;
use std::time::{Duration, Instant};

use base::OrderedMap;
use bytes::Bytes;

#[derive(Debug, Clone, Copy)]
struct Lease {
    ttl: Duration,
    ends: Instant,
}

/// All leases.
#[derive(Debug, Clone, Default)]
pub(super) struct Leases {
    leases: OrderedMap<i64, Lease>,
    keys: OrderedMap<(i64, Bytes), ()>,
    by_end: OrderedMap<(Instant, i64), ()>,
    next_id: i64,
}

impl Leases {
    /// `seed` is where ids start; one that no earlier run used.
    pub(super) fn new(seed: i64) -> Self {
        Self { next_id: seed.max(1), ..Self::default() }
    }

    pub(super) fn contains(&self, id: i64) -> bool {
        self.leases.get(&id).is_some()
    }

    pub(super) fn grant(&mut self, ttl: Duration, now: Instant) -> i64 {
        while self.contains(self.next_id) {
            self.next_id += 1;
        }
        let id = self.next_id;
        self.next_id += 1;
        self.restore(id, ttl, now);
        id
    }

    /// Puts a known lease in, with its full time ahead.
    pub(super) fn restore(&mut self, id: i64, ttl: Duration, now: Instant) {
        let ends = now + ttl;
        self.leases.insert(id, Lease { ttl, ends });
        self.by_end.insert((ends, id), ());
    }

    pub(super) fn attach(&mut self, id: i64, key: Bytes) {
        self.keys.insert((id, key), ());
    }

    pub(super) fn detach(&mut self, id: i64, key: &Bytes) {
        self.keys.remove(&(id, key.clone()));
    }

    /// Whether it exists.
    pub(super) fn renew(&mut self, id: i64, now: Instant) -> bool {
        let Some(lease) = self.leases.get(&id).copied() else { return false };
        self.by_end.remove(&(lease.ends, id));
        self.restore(id, lease.ttl, now);
        true
    }

    /// Ends a lease; returns its keys in order, or `None` if it does not exist.
    pub(super) fn end(&mut self, id: i64) -> Option<Vec<Bytes>> {
        let lease = self.leases.remove(&id)?;
        self.by_end.remove(&(lease.ends, id));
        let from = (id, Bytes::new());
        let to = (id + 1, Bytes::new());
        let keys: Vec<_> =
            self.keys.range(Bound::Included(&from), Bound::Excluded(&to)).map(|((_, key), ())| key.clone()).collect();
        for key in &keys {
            self.keys.remove(&(id, key.clone()));
        }
        Some(keys)
    }

    /// A lease whose time is over.
    pub(super) fn expired(&self, now: Instant) -> Option<i64> {
        self.by_end.nth(0).filter(|((ends, _), ())| *ends <= now).map(|((_, id), ())| *id)
    }

    /// When the next lease ends.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.by_end.nth(0).map(|((ends, _), ())| *ends)
    }
}
