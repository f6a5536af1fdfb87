//! The engine (redb): one table of records by revision, one of leases, one of facts about the store. Opens it,
//! checks its format, and writes batches. Knows nothing of conditions and watches.

use std::io;
use std::ops::{Deref, DerefMut};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{Database, ReadOnlyTable, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};

use super::disk::Disk;
use super::record::{Place, Record};
use crate::contract::{Revision, StoreError};

/// Format that this version writes. History: 1.
const FORMAT: u32 = 1;

const RECORDS: TableDefinition<'static, Place, &'static [u8]> = TableDefinition::new("records");
const LEASES: TableDefinition<'static, i64, i64> = TableDefinition::new("leases");
const FACTS: TableDefinition<'static, &'static str, i64> = TableDefinition::new("facts");
const FACT_FORMAT: &str = "format";
const FACT_COMPACTED: &str = "compacted";

/// Opened database.
pub(super) struct Engine {
    database: Held<Database>,
    disk: Disk,
}

/// What one commit writes.
#[derive(Default)]
pub(super) struct Writes {
    pub(super) records: Vec<(Place, Vec<u8>)>,
    pub(super) garbage: Vec<Place>,
    /// A lease's seconds, or `None` when it is over.
    pub(super) leases: Vec<(i64, Option<i64>)>,
    pub(super) compacted: Option<Revision>,
}

impl Writes {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.garbage.is_empty() && self.leases.is_empty() && self.compacted.is_none()
    }
}

/// The records as they were at one commit.
pub(super) struct Records {
    table: Held<ReadOnlyTable<Place, &'static [u8]>>,
    disk: Disk,
}

/// What the engine gave out. Whoever gives the last of it back closes the file, and that writes: on damaged pages it panics.
struct Held<T> {
    value: Option<T>,
    disk: Disk,
}

impl<T> Held<T> {
    fn new(value: T, disk: &Disk) -> Self {
        Self { value: Some(value), disk: disk.clone() }
    }
}

impl<T> Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("it is there until it is dropped")
    }
}

impl<T> DerefMut for Held<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("it is there until it is dropped")
    }
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        let value = self.value.take();
        let closed = guard(&self.disk, || {
            drop(value);
            Ok(())
        });
        if let Err(error) = closed {
            tracing::warn!(%error, "the store's file was not closed in order");
        }
    }
}

impl Engine {
    /// Opens the data, or makes it new. Never touches data of a newer format.
    pub(super) fn open(disk: Disk, cache_bytes: usize) -> Result<Self, StoreError> {
        let is_new = disk.bytes()? == 0;
        let was_closed = Arc::new(AtomicBool::new(true));
        let seen = was_closed.clone();
        let create = || {
            let mut builder = redb::Builder::new();
            builder.set_cache_size(cache_bytes).set_repair_callback(move |_| seen.store(false, Ordering::Relaxed));
            builder.create_with_backend(disk.clone())
        };
        let database = guard(&disk, || create().map_err(|error| failure(&disk, error)))?;
        let mut engine = Self { database: Held::new(database, &disk), disk };
        // After a crash the engine has compared all pages with their checksums, after an orderly end none.
        if was_closed.load(Ordering::Relaxed) && !is_new {
            engine.verify()?;
        }
        guard(&engine.disk, || if is_new { engine.initialise() } else { engine.check_format() })?;
        Ok(engine)
    }

    /// Compares all pages with their checksums. The engine takes no older state in place of a damaged one that was closed in order.
    fn verify(&mut self) -> Result<(), StoreError> {
        let Self { database, disk } = self;
        match guard(disk, || database.check_integrity().map_err(|error| failure(disk, error))) {
            Ok(true) => Ok(()),
            Ok(false) => {
                tracing::warn!(file = disk.name(), "what the store's file says of its free pages was made anew");
                Ok(())
            }
            Err(error @ StoreError::Corrupt { .. }) => Err(self.damaged_record().unwrap_or(error)),
            Err(error) => Err(error),
        }
    }

    /// The error of the first record that is damaged, which says where it is.
    fn damaged_record(&self) -> Option<StoreError> {
        let records = self.records().ok()?;
        let mut all = records.from((0, 0)).ok()?;
        all.find_map(Result::err)
    }

    fn check_format(&self) -> Result<(), StoreError> {
        let fail = |error: redb::Error| failure(&self.disk, error);
        let read = self.database.begin_read().map_err(|e| fail(e.into()))?;
        let format = match read.open_table(FACTS) {
            Ok(facts) => facts.get(FACT_FORMAT).map_err(|e| fail(e.into()))?.map(|value| value.value()),
            // Nor does a file without any table begin anew: damage hides tables too.
            Err(redb::TableError::TableDoesNotExist(_)) => None,
            Err(error) => return Err(fail(error.into())),
        };
        let Some(format) = format else { return Err(self.corrupt("it has no format version")) };
        match u32::try_from(format) {
            Ok(FORMAT) => Ok(()),
            Ok(found) if found > FORMAT => Err(StoreError::NewerFormat { found, known: FORMAT }),
            _ => Err(self.corrupt("its format version is not one that ever was")),
        }
    }

    fn initialise(&self) -> Result<(), StoreError> {
        let make = || -> Result<(), redb::Error> {
            let write = self.database.begin_write()?;
            write.open_table(RECORDS)?;
            write.open_table(LEASES)?;
            write.open_table(FACTS)?.insert(FACT_FORMAT, i64::from(FORMAT))?;
            write.commit()?;
            Ok(())
        };
        make().map_err(|error| failure(&self.disk, error))
    }

    fn corrupt(&self, what: &str) -> StoreError {
        self.disk.corrupt(&[], what.to_owned())
    }

    /// A snapshot of the records.
    pub(super) fn records(&self) -> Result<Records, StoreError> {
        let open = || -> Result<_, redb::Error> { Ok(self.database.begin_read()?.open_table(RECORDS)?) };
        let table = guard(&self.disk, || open().map_err(|error| failure(&self.disk, error)))?;
        Ok(Records { table: Held::new(table, &self.disk), disk: self.disk.clone() })
    }

    /// Leases with their seconds, and the compacted revision (0 if none).
    pub(super) fn facts(&self) -> Result<(Vec<(i64, i64)>, Revision), StoreError> {
        let read = || -> Result<_, redb::Error> {
            let read = self.database.begin_read()?;
            let leases = whole(&read.open_table(LEASES)?, |id, ttl_s| (id, ttl_s))?;
            let facts = whole(&read.open_table(FACTS)?, |name, value| (name == FACT_COMPACTED).then_some(value))?;
            Ok((leases, facts.into_iter().flatten().next().unwrap_or(0)))
        };
        guard(&self.disk, || read().map_err(|error| failure(&self.disk, error)))
    }

    /// Writes all of it durably, or (as far as is known, see [`Disk::sync_failed`]) nothing.
    pub(super) fn write(&self, writes: &Writes) -> Result<Records, StoreError> {
        guard(&self.disk, || self.commit(writes).map_err(|error| failure(&self.disk, error)))?;
        self.records()
    }

    fn commit(&self, writes: &Writes) -> Result<(), redb::Error> {
        let write = self.database.begin_write()?;
        {
            let mut records = write.open_table(RECORDS)?;
            for (place, bytes) in &writes.records {
                records.insert(place, bytes.as_slice())?;
            }
            for place in &writes.garbage {
                records.remove(place)?;
            }
        }
        if !writes.leases.is_empty() {
            let mut leases = write.open_table(LEASES)?;
            for (id, ttl_s) in &writes.leases {
                match ttl_s {
                    Some(ttl_s) => leases.insert(id, ttl_s)?,
                    None => leases.remove(id)?,
                };
            }
        }
        if let Some(compacted) = writes.compacted {
            write.open_table(FACTS)?.insert(FACT_COMPACTED, compacted)?;
        }
        write.commit()?;
        Ok(())
    }
}

/// All entries of a small table. On a damaged page some may be hidden, but not from the table's count of them.
fn whole<K: redb::Key, T>(
    table: &ReadOnlyTable<K, i64>,
    mut take: impl FnMut(K::SelfType<'_>, i64) -> T,
) -> Result<Vec<T>, redb::Error> {
    let mut entries = Vec::new();
    for entry in table.iter()? {
        let (key, value) = entry?;
        entries.push(take(key.value(), value.value()));
    }
    let counted = table.len()?;
    if counted == entries.len() as u64 {
        return Ok(entries);
    }
    Err(redb::Error::Corrupted(format!("it counts {counted} leases or facts, and {} can be read", entries.len())))
}

impl Records {
    /// The record at a place; `None` if there is none (compaction took it).
    pub(super) fn get(&self, place: Place) -> Result<Option<Record>, StoreError> {
        guard(&self.disk, || {
            let found = self.table.get(place).map_err(|error| failure(&self.disk, error))?;
            found.map(|bytes| self.decode(place, bytes.value())).transpose()
        })
    }

    /// All records from a place on, in order.
    pub(super) fn from(
        &self,
        place: Place,
    ) -> Result<impl Iterator<Item = Result<(Place, Record), StoreError>>, StoreError> {
        let open = || self.table.range(place..).map_err(|error| failure(&self.disk, error));
        let mut range = Some(guard(&self.disk, open)?);
        Ok(std::iter::from_fn(move || {
            let step = guard(&self.disk, || {
                let Some(entry) = range.as_mut().and_then(Iterator::next) else { return Ok(None) };
                let (place, bytes) = entry.map_err(|error| failure(&self.disk, error))?;
                let place = place.value();
                Ok(Some((place, self.decode(place, bytes.value())?)))
            });
            if step.is_err() {
                // Never past what is damaged.
                range = None;
            }
            step.transpose()
        }))
    }

    /// The newest revision that has a record; 1 if there is none.
    pub(super) fn last_revision(&self) -> Result<Revision, StoreError> {
        guard(&self.disk, || {
            let last = self.table.last().map_err(|error| failure(&self.disk, error))?;
            Ok(last.map_or(1, |(place, _)| place.value().0))
        })
    }

    /// How many records the engine says there are; kept apart from them.
    pub(super) fn len(&self) -> Result<u64, StoreError> {
        self.table.len().map_err(|error| failure(&self.disk, error))
    }

    pub(super) fn corrupt(&self, what: String) -> StoreError {
        self.disk.corrupt(&[], what)
    }

    fn decode(&self, place: Place, bytes: &[u8]) -> Result<Record, StoreError> {
        Record::decode(place, bytes)
            .map_err(|what| self.disk.corrupt(bytes, format!("{what} (revision {}, change {})", place.0, place.1)))
    }
}

/// The engine believes what its pages say; on damaged ones it may panic, which says as much as an error.
fn guard<T>(disk: &Disk, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(disk.corrupt(&[], format!("the engine gave up: {}", text.unwrap_or("no reason"))))
    })
}

/// The engine's errors in our terms.
fn failure(disk: &Disk, error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Io(error) => io_failure(disk, error),
        redb::Error::Corrupted(what) => disk.corrupt(&[], what),
        redb::Error::PreviousIo => StoreError::Io(io::Error::other("an earlier read or write of the store failed")),
        redb::Error::DatabaseClosed => StoreError::Closed,
        redb::Error::DatabaseAlreadyOpen => StoreError::InUse { file: disk.name().to_owned() },
        other => disk.corrupt(&[], other.to_string()),
    }
}

fn io_failure(disk: &Disk, error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::NoSpace(Some(error)),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => disk.corrupt(&[], error.to_string()),
        _ => StoreError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Damaged;

    impl Drop for Damaged {
        fn drop(&mut self) {
            panic!("a page that is none");
        }
    }

    #[test]
    fn what_panics_when_it_is_closed_stops_nobody() {
        let disk = Disk::new("state".to_owned(), Box::new(redb::backends::InMemoryBackend::new()));
        drop(Held::new(Damaged, &disk));
    }
}
