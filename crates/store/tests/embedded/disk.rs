//! A disk in memory that loses power, fills up, and fails to sync.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::StorageBackend;

/// What a power cut leaves of a write may be any of its sectors.
const SECTOR_BYTES: usize = 512;

/// Cheap to share: the test holds one handle, the store another.
#[derive(Debug, Clone, Default)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// As the system sees it.
    current: Vec<u8>,
    /// As it is after the last sync.
    durable: Vec<u8>,
    /// Since then.
    pending: Vec<Change>,
    /// Writes, growths and syncs so far.
    operations: usize,
    power_cut_at: Option<usize>,
    len_max: Option<u64>,
    fail_writes: bool,
    fail_sync: bool,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

/// A small generator, so that a seed repeats a case.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        usize::try_from(self.0 >> 33).expect("64 bits") % below.max(1)
    }
}

impl Disk {
    pub fn of(content: Vec<u8>) -> Self {
        let state = State { current: content.clone(), durable: content, ..State::default() };
        Self(Arc::new(Mutex::new(state)))
    }

    pub fn power_cut_at(self, operation: usize) -> Self {
        self.0.lock().power_cut_at = Some(operation);
        self
    }

    pub fn len_max(&self, len_max: Option<u64>) {
        self.0.lock().len_max = len_max;
    }

    pub fn fail_writes(&self, fail: bool) {
        self.0.lock().fail_writes = fail;
    }

    pub fn fail_sync(&self) {
        self.0.lock().fail_sync = true;
    }

    pub fn operations(&self) -> usize {
        self.0.lock().operations
    }

    pub fn content_len(&self) -> u64 {
        self.0.lock().current.len() as u64
    }

    /// What is on the disk after the power cut: all that was synced, and of the rest any part in any order.
    pub fn after_power_cut(&self, dice: &mut Dice) -> Vec<u8> {
        let state = self.0.lock();
        let mut content = state.durable.clone();
        let mut pending: Vec<_> = state.pending.iter().collect();
        let mood = dice.below(4);
        for at in (1..pending.len()).rev() {
            pending.swap(at, dice.below(at + 1));
        }
        for change in pending {
            match (mood, change) {
                // Nothing of it, or all of it, or some of it; torn in the last mood.
                (0, _) => {}
                (2 | 3, _) if dice.below(2) == 0 => {}
                (_, Change::SetLen(len)) => content.resize((*len).max(content.len()), 0),
                (3, Change::Write(offset, data)) => {
                    for (n, sector) in data.chunks(SECTOR_BYTES).enumerate() {
                        if dice.below(2) == 0 {
                            put(&mut content, offset + n * SECTOR_BYTES, sector);
                        }
                    }
                }
                (_, Change::Write(offset, data)) => put(&mut content, *offset, data),
            }
        }
        content
    }
}

fn put(content: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if content.len() < offset + data.len() {
        content.resize(offset + data.len(), 0);
    }
    content[offset..offset + data.len()].copy_from_slice(data);
}

impl State {
    fn operate(&mut self) -> io::Result<()> {
        if self.power_cut_at.is_some_and(|at| self.operations >= at) {
            return Err(io::Error::other("the power is off"));
        }
        self.operations += 1;
        Ok(())
    }
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).expect("a small file")
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock();
        let from = state.current.get(at(offset)..at(offset) + out.len());
        out.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.0.lock();
        state.operate()?;
        if state.len_max.is_some_and(|len_max| len > len_max && len > state.current.len() as u64) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.current.resize(at(len), 0);
        state.pending.push(Change::SetLen(at(len)));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        state.operate()?;
        if state.fail_sync {
            return Err(io::Error::other("the sync failed"));
        }
        state.durable = state.current.clone();
        state.pending.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock();
        state.operate()?;
        if state.fail_writes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        put(&mut state.current, at(offset), data);
        state.pending.push(Change::Write(at(offset), data.to_vec()));
        Ok(())
    }
}
