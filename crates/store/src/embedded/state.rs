//! One moment of the store: which keys live, which older versions are still kept, and the records they point to.
//! Immutable, so that a reader needs no lock.

use std::collections::BTreeMap;
use std::ops::Bound;

use base::OrderedMap;
use bytes::Bytes;

use super::engine::Records;
use super::record::{Place, Record};
use crate::contract::{Event, EventKind, KeyValue, Range, RangeResult, Revision, StoreError, in_range};
use crate::hub::{Change, Chunk};

/// Most records in one step of a watch that reads old revisions.
const CHUNK_RECORDS_MAX: usize = 512;
/// Most bytes of values in such a step; one revision may exceed it.
const CHUNK_BYTES_MAX: usize = 4 << 20;

/// A live key's newest version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Current {
    pub(super) revision: Revision,
    pub(super) sub: u32,
    /// Size of its record.
    pub(super) bytes: u32,
    pub(super) create_revision: Revision,
    pub(super) version: i64,
    pub(super) lease: i64,
}

/// A version of a key that is no longer its newest, or its deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Past {
    pub(super) sub: u32,
    pub(super) tombstone: bool,
}

/// A record that is no longer needed when the revision `at` or a later one is compacted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Garbage {
    pub(super) at: Revision,
    pub(super) place: Place,
    pub(super) key: Bytes,
    /// Its size.
    pub(super) bytes: u32,
}

/// The keys without their values.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    pub(super) revision: Revision,
    /// Oldest revision that can be read; 0 if none was ever compacted.
    pub(super) compacted: Revision,
    pub(super) current: OrderedMap<Bytes, Current>,
    pub(super) history: OrderedMap<(Bytes, Revision), Past>,
}

/// An index and the records it points to.
pub(super) struct State {
    pub(super) index: Index,
    pub(super) records: Records,
}

impl Index {
    /// Applies a record that follows all before it; returns what it makes superfluous.
    pub(super) fn apply(&mut self, place: Place, record: &Record) -> impl Iterator<Item = Garbage> + use<> {
        let (revision, sub) = place;
        let kv = &record.kv;
        let key = self.own_key(&kv.key);
        let old = if record.tombstone {
            self.history.insert((key.clone(), revision), Past { sub, tombstone: true });
            self.current.remove(&key)
        } else {
            let current = Current {
                revision,
                sub,
                bytes: record.bytes(),
                create_revision: kv.create_revision,
                version: kv.version,
                lease: kv.lease,
            };
            self.current.insert(key.clone(), current)
        };
        self.revision = revision;
        if let Some(old) = old {
            self.history.insert((key.clone(), old.revision), Past { sub: old.sub, tombstone: false });
        }
        let old =
            old.map(|old| Garbage { at: revision, place: (old.revision, old.sub), key: key.clone(), bytes: old.bytes });
        // A watch may start at the compacted revision, so a deletion outlives its own compaction.
        let own = record.tombstone.then_some(Garbage { at: revision + 1, place, key, bytes: record.bytes() });
        old.into_iter().chain(own)
    }

    /// The key in memory of its own, shared with the entry that is already there: a key that came with a value would
    /// keep the value in memory.
    fn own_key(&self, key: &Bytes) -> Bytes {
        match self.current.get_key_value(key) {
            Some((known, _)) => known.clone(),
            None => Bytes::copy_from_slice(key),
        }
    }

    /// Whether a range may be read at `revision`; 0 is the newest.
    pub(super) fn check_revision(&self, revision: Revision) -> Result<(), StoreError> {
        if revision > self.revision {
            return Err(StoreError::FutureRevision { current: self.revision });
        }
        if revision > 0 && revision < self.compacted {
            return Err(StoreError::Compacted { oldest: self.compacted });
        }
        Ok(())
    }

    /// Reads a range; `load` fetches a value.
    pub(super) fn range(
        &self,
        range: &Range,
        mut load: impl FnMut(&Bytes, Place) -> Result<KeyValue, StoreError>,
    ) -> Result<RangeResult, StoreError> {
        if range.start.is_empty() {
            return Err(StoreError::EmptyKey);
        }
        self.check_revision(range.revision)?;
        let limit = if range.limit == 0 { usize::MAX } else { range.limit };
        let mut result = RangeResult { revision: self.revision, ..RangeResult::default() };
        if range.revision == 0 || range.revision == self.revision {
            let live = self.live(&range.start, range.end.as_deref());
            result.count = live.len();
            if !range.count_only {
                for (key, current) in live.take(limit) {
                    result.kvs.push(if range.keys_only {
                        current.without_value(key)
                    } else {
                        load(key, (current.revision, current.sub))?
                    });
                }
            }
        } else {
            let places = self.places_at(range);
            result.count = places.len();
            if !range.count_only {
                for (key, place) in places.into_iter().take(limit) {
                    let mut kv = load(&key, place)?;
                    if range.keys_only {
                        kv.value = Bytes::new();
                    }
                    result.kvs.push(kv);
                }
            }
        }
        result.more = !range.count_only && result.count > result.kvs.len();
        Ok(result)
    }

    /// Live keys of a range, at the newest revision.
    pub(super) fn live(&self, start: &[u8], end: Option<&[u8]>) -> base::ordered_map::Iter<'_, Bytes, Current> {
        match end {
            None => self.current.range::<[u8]>(Bound::Included(start), Bound::Included(start)),
            Some(b"\0") => self.current.range::<[u8]>(Bound::Included(start), Bound::Unbounded),
            Some(end) => self.current.range::<[u8]>(Bound::Included(start), Bound::Excluded(end)),
        }
    }

    /// Keys that lived at an older revision, and where their versions of then are.
    fn places_at(&self, range: &Range) -> BTreeMap<Bytes, Place> {
        let mut places = BTreeMap::new();
        let from = (range.start.clone(), 0);
        for ((key, revision), past) in self.history.range(Bound::Included(&from), Bound::Unbounded) {
            if !in_range(key, &range.start, range.end.as_deref()) {
                break;
            }
            if *revision > range.revision {
                continue;
            }
            if past.tombstone {
                places.remove(key);
            } else {
                places.insert(key.clone(), (*revision, past.sub));
            }
        }
        for (key, current) in self.live(&range.start, range.end.as_deref()) {
            if current.revision <= range.revision {
                places.insert(key.clone(), (current.revision, current.sub));
            }
        }
        places
    }

    /// Where the version is that a key had just before `revision`.
    fn place_before(&self, key: &Bytes, revision: Revision) -> Option<Place> {
        if let Some(current) = self.current.get(key).filter(|current| current.revision < revision) {
            return Some((current.revision, current.sub));
        }
        let ((found, at), past) = self.history.last_below(&(key.clone(), revision))?;
        (found == key && !past.tombstone).then_some((*at, past.sub))
    }
}

impl Current {
    fn without_value(&self, key: &Bytes) -> KeyValue {
        KeyValue {
            key: key.clone(),
            value: Bytes::new(),
            create_revision: self.create_revision,
            mod_revision: self.revision,
            version: self.version,
            lease: self.lease,
        }
    }
}

impl State {
    /// Reads a range.
    pub(super) fn range(&self, range: &Range) -> Result<RangeResult, StoreError> {
        self.index.range(range, |key, place| self.load(key, place))
    }

    /// A version that the index says is there.
    pub(super) fn load(&self, key: &Bytes, place: Place) -> Result<KeyValue, StoreError> {
        match self.records.get(place)? {
            Some(record) if !record.tombstone && record.kv.key == key => Ok(record.kv),
            _ => {
                let what = format!("revision {}, change {} is not the write of the key it was", place.0, place.1);
                Err(self.records.corrupt(what))
            }
        }
    }

    /// Fills in [`Event::previous`].
    pub(super) fn fill_previous(&self, events: &mut [Event]) -> Result<(), StoreError> {
        for event in events {
            let revision = event.kv.mod_revision;
            // What the event at the compacted revision replaced is forgotten, even if not yet erased.
            if revision > self.index.compacted
                && let Some(place) = self.index.place_before(&event.kv.key, revision)
            {
                event.previous = Some(self.load(&event.kv.key, place)?);
            }
        }
        Ok(())
    }

    /// Changes from a revision on, as many as fit, in whole revisions.
    pub(super) fn changes(&self, from: Revision) -> Result<Chunk, StoreError> {
        if from < self.index.compacted {
            return Err(StoreError::Compacted { oldest: self.index.compacted });
        }
        let mut chunk = Chunk { changes: Vec::new(), upto: self.index.revision };
        let (mut records, mut bytes) = (0, 0);
        for entry in self.records.from((from, 0))? {
            let ((revision, _), record) = entry?;
            let full = records >= CHUNK_RECORDS_MAX || bytes >= CHUNK_BYTES_MAX;
            records += 1;
            bytes += record.kv.value.len();
            let event = event(record);
            match chunk.changes.last_mut() {
                Some(last) if last.revision == revision => last.events.push(event),
                Some(last) if full => {
                    chunk.upto = last.revision;
                    break;
                }
                _ => chunk.changes.push(Change { revision, events: vec![event] }),
            }
        }
        Ok(chunk)
    }
}

/// A record as what watchers see.
pub(super) fn event(record: Record) -> Event {
    let kind = if record.tombstone { EventKind::Delete } else { EventKind::Put };
    Event { kind, kv: record.kv, previous: None }
}
