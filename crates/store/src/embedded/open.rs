//! Rebuilds the index from the records, checking every one of them.

use std::collections::VecDeque;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::batch::ttl;
use super::engine::{Engine, Records};
use super::leases::Leases;
use super::state::{Garbage, Index, State};
use crate::contract::{Revision, StoreError};

/// All that is kept in memory.
pub(super) struct Loaded {
    pub(super) state: State,
    pub(super) leases: Leases,
    pub(super) garbage: VecDeque<Garbage>,
    /// Bytes of all records.
    pub(super) bytes: u64,
}

/// Reads all records once.
pub(super) fn load(engine: &Engine, records: Records) -> Result<Loaded, StoreError> {
    let (known_leases, compacted) = engine.facts()?;
    let mut index = Index { revision: 1, compacted, ..Index::default() };
    let mut garbage = VecDeque::new();
    let (mut expected, mut bytes, mut seen) = (None, 0, 0);
    for entry in records.from((0, 0))? {
        let (place, record) = entry?;
        if place.0 > compacted && !follows(expected, place, compacted) {
            return Err(records.corrupt(format!("changes before revision {}, change {} are missing", place.0, place.1)));
        }
        expected = Some(place);
        bytes += u64::from(record.bytes());
        seen += 1;
        garbage.extend(index.apply(place, &record));
    }
    if index.revision < compacted {
        return Err(records.corrupt(format!("changes up to the compacted revision {compacted} are missing")));
    }
    // Damage between the records hides some of them, which may be the newest.
    let counted = records.len()?;
    if seen != counted {
        return Err(records.corrupt(format!("it counts {counted} records, and {seen} can be read")));
    }
    let mut leases = Leases::new(lease_seed());
    let now = Instant::now();
    for (id, ttl_s) in known_leases {
        leases.restore(id, ttl(ttl_s), now);
    }
    for (key, current) in index.current.iter().filter(|(_, current)| current.lease != 0) {
        if !leases.contains(current.lease) {
            return Err(records.corrupt(format!("lease {} is missing, and a key has it", current.lease)));
        }
        leases.attach(current.lease, key.clone());
    }
    Ok(Loaded { state: State { index, records }, leases, garbage, bytes })
}

/// Whether no change is missing between two records. Of those up to the compacted revision some may be erased.
fn follows(before: Option<(Revision, u32)>, place: (Revision, u32), compacted: Revision) -> bool {
    let (revision, sub) = place;
    match before {
        Some((before, before_sub)) if before == revision => sub == before_sub + 1,
        Some((before, _)) if before > compacted => sub == 0 && revision == before + 1,
        _ => sub == 0 && revision == compacted.max(1) + 1,
    }
}

/// Ids of leases must not repeat, not even those of leases that are long over.
fn lease_seed() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(1)
}
