//! The file under the engine: one lock for the life of the store, its name given when it is whole, and the place of
//! damaged bytes. Knows nothing of keys and revisions.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use redb::{BackendError, StorageBackend};

use crate::contract::StoreError;

/// Bytes of the file that are filled at once.
const CHUNK_BYTES: u64 = 1 << 20;

/// A file, or what a test puts in its place. The engine on it may be closed and opened again.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    backend: Box<dyn StorageBackend>,
    /// The file as it was opened, if it is one.
    path: Option<PathBuf>,
    /// After a failed sync nobody knows what is on the disk, and a later sync would not tell.
    sync_failed: AtomicBool,
}

impl Disk {
    /// Opens the file and locks it. A new one is made under another name, until [`Disk::settle`]: so that a crash
    /// never leaves a half-made file.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let exists = || path.metadata().is_ok_and(|metadata| metadata.len() > 0);
        if !exists() {
            let new = path.with_added_extension("new");
            let file = lock(&new, path)?;
            // Whoever held the lock before may have just made it.
            if !exists() {
                file.set_len(0)?;
                let disk = Self::build(path.display().to_string(), Box::new(LockedFile::new(file)?), Some(new.clone()));
                return Ok(disk);
            }
            std::fs::remove_file(&new)?;
        }
        let file = lock(path, path)?;
        Ok(Self::build(path.display().to_string(), Box::new(LockedFile::new(file)?), Some(path.to_owned())))
    }

    /// Gives a new file its name, after it was made durable.
    pub(super) fn settle(&self) -> Result<(), StoreError> {
        let path = Path::new(&self.inner.name);
        if let Some(new) = self.inner.path.as_deref().filter(|new| *new != path) {
            self.inner.backend.sync_data()?;
            std::fs::rename(new, path)?;
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(dir)?.sync_all()?;
        }
        Ok(())
    }

    pub(super) fn new(name: String, backend: Box<dyn StorageBackend>) -> Self {
        Self::build(name, backend, None)
    }

    fn build(name: String, backend: Box<dyn StorageBackend>, path: Option<PathBuf>) -> Self {
        Self { inner: Arc::new(Inner { name, backend, path, sync_failed: AtomicBool::new(false) }) }
    }

    pub(super) fn name(&self) -> &str {
        &self.inner.name
    }

    pub(super) fn bytes(&self) -> io::Result<u64> {
        self.inner.backend.len()
    }

    /// Free space where the file is; `None` if that cannot be known.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        self.inner.path.as_ref()?;
        let stat = rustix::fs::statvfs(self.inner.name.as_str()).ok()?;
        Some(stat.f_bavail * stat.f_frsize)
    }

    pub(super) fn sync_failed(&self) -> bool {
        self.inner.sync_failed.load(Ordering::Acquire)
    }

    /// Lets another process open it.
    pub(super) fn close(&self) -> io::Result<()> {
        self.inner.backend.close()
    }

    /// The error for damaged bytes; finds their place in the file.
    pub(super) fn corrupt(&self, bytes: &[u8], what: String) -> StoreError {
        let offset = self.find(bytes).ok().flatten().unwrap_or(0);
        StoreError::Corrupt { file: self.inner.name.clone(), offset, what }
    }

    fn find(&self, bytes: &[u8]) -> io::Result<Option<u64>> {
        const WINDOW_BYTES: usize = 1 << 20;
        let (Some(&first), len) = (bytes.first(), self.bytes()?) else { return Ok(None) };
        let mut buffer = vec![0; WINDOW_BYTES + bytes.len()];
        let mut at = 0;
        while at < len {
            let window = usize::try_from(len - at).unwrap_or(usize::MAX).min(buffer.len());
            self.inner.backend.read(at, &mut buffer[..window])?;
            let found = (0..window.saturating_sub(bytes.len() - 1))
                .find(|&i| buffer[i] == first && buffer[i..window].starts_with(bytes));
            if let Some(found) = found {
                return Ok(Some(at + found as u64));
            }
            at += WINDOW_BYTES as u64;
        }
        Ok(None)
    }
}

/// Opens and locks a file; `path` is what it is called in errors.
fn lock(file: &Path, path: &Path) -> Result<File, StoreError> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(file)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { file: path.display().to_string() }),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// The engine's view. Closing it leaves the file locked, so that the engine can be opened again.
impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.inner.backend.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.backend.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.backend.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.backend.sync_data().inspect_err(|_| self.inner.sync_failed.store(true, Ordering::Release))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.backend.write(offset, data)
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        whole(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        whole(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        whole(start, end).map(|_| ())
    }
}

/// Only the whole storage can be locked, and it already is.
fn whole(start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
    if matches!(start, Bound::Unbounded | Bound::Included(0)) && end == Bound::Unbounded {
        Ok(true)
    } else {
        Err(BackendError::Unsupported)
    }
}

/// A file of which each chunk is filled with zeros before something is first written there: so most writes find their blocks,
/// and a sync has nothing to write but what is in them.
#[derive(Debug)]
struct LockedFile {
    file: File,
    seen: Mutex<SeenChunks>,
}

impl LockedFile {
    fn new(file: File) -> io::Result<Self> {
        let seen = SeenChunks { chunks: Vec::new(), old_len: file.metadata()?.len() };
        Ok(Self { file, seen: Mutex::new(seen) })
    }

    /// Fills the chunks of a range that are written to for the first time since the file was opened. One that cannot be filled
    /// stays as it is, for something may have been written there by the next time.
    fn fill(&self, start: u64, end: u64) -> io::Result<()> {
        let mut seen = self.seen.lock();
        let new = seen.add(start, end);
        let len = if new.is_empty() { 0 } else { self.len()? };
        let is_old = |chunk: u64| chunk * CHUNK_BYTES < seen.old_len;
        new.into_iter().try_for_each(|chunk| self.fill_chunk(chunk, len, is_old(chunk)))
    }

    /// Writes zeros to a chunk in which there is nothing else, be it a hole or not. What the file grew by is not read before, which
    /// would take memory for each page to find zeros.
    fn fill_chunk(&self, chunk: u64, len: u64, is_old: bool) -> io::Result<()> {
        const PART_BYTES: usize = 64 << 10;
        let (mut part, end) = ([0; PART_BYTES], len.min((chunk + 1) * CHUNK_BYTES));
        let parts = || {
            let starts = (chunk * CHUNK_BYTES..end).step_by(PART_BYTES);
            starts.map(|at| (at, usize::try_from(end - at).unwrap_or(PART_BYTES).min(PART_BYTES)))
        };
        if is_old {
            for (at, bytes) in parts() {
                self.file.read_exact_at(&mut part[..bytes], at)?;
                if part.iter().any(|byte| *byte != 0) {
                    return Ok(());
                }
            }
        }
        for (at, bytes) in parts() {
            self.file.write_all_at(&part[..bytes], at)?;
        }
        Ok(())
    }
}

/// The chunks of a file that were written to since it was opened.
#[derive(Debug, Default)]
struct SeenChunks {
    /// A flag for each megabyte.
    chunks: Vec<bool>,
    /// Where the file ended when it was opened, or was cut since: beyond, there is nothing but what was written after that.
    old_len: u64,
}

impl SeenChunks {
    /// Adds those of a range of bytes; gives those that are new.
    fn add(&mut self, start: u64, end: u64) -> Vec<u64> {
        let mut new = Vec::new();
        for chunk in start / CHUNK_BYTES..end.div_ceil(CHUNK_BYTES) {
            let Ok(at) = usize::try_from(chunk) else { continue };
            if self.chunks.len() <= at {
                self.chunks.resize(at + 1, false);
            }
            if !std::mem::replace(&mut self.chunks[at], true) {
                new.push(chunk);
            }
        }
        new
    }

    /// Forgets what is not in a file of this length.
    fn cut(&mut self, len: u64) {
        self.chunks.truncate(usize::try_from(len.div_ceil(CHUNK_BYTES)).unwrap_or(usize::MAX));
        self.old_len = self.old_len.min(len);
    }
}

impl StorageBackend for LockedFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut seen = self.seen.lock();
        self.file.set_len(len)?;
        seen.cut(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if let Err(error) = self.fill(offset, offset + data.len() as u64) {
            // What is written may have its place all the same; if not, it says so itself.
            tracing::debug!(%error, "a chunk of the store's file is not filled");
        }
        self.file.write_all_at(data, offset)
    }

    fn close(&self) -> io::Result<()> {
        self.file.unlock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    const LEN: u64 = 5 * CHUNK_BYTES / 2;

    fn opened(path: &Path) -> LockedFile {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        LockedFile::new(file.expect("opens")).expect("length")
    }

    fn content(file: &LockedFile) -> Vec<u8> {
        let mut all = vec![1; usize::try_from(file.len().expect("length")).expect("small")];
        file.read(0, &mut all).expect("read");
        all
    }

    #[test]
    fn a_chunk_is_new_once() {
        let mut seen = SeenChunks::default();
        for (start, end, new) in [
            (0, 1, vec![0]),
            (1, CHUNK_BYTES, vec![]),
            (CHUNK_BYTES - 1, CHUNK_BYTES + 1, vec![1]),
            (5 * CHUNK_BYTES, 7 * CHUNK_BYTES, vec![5, 6]),
            (2 * CHUNK_BYTES, 6 * CHUNK_BYTES, vec![2, 3, 4]),
            (9, 9, vec![]),
        ] {
            assert_eq!(seen.add(start, end), new, "{start}..{end}");
        }
        seen.cut(3 * CHUNK_BYTES + 1);
        assert_eq!(seen.add(0, 5 * CHUNK_BYTES), [4], "what is left of the fourth may hold something");
    }

    #[test]
    fn a_chunk_has_its_blocks_when_something_is_first_written_there() {
        let dir = tempfile::tempdir().expect("directory");
        let file = opened(&dir.path().join("store"));
        file.set_len(LEN).expect("length");
        let mut wanted = vec![0; LEN as usize];
        for (at, filled) in [
            (5000, CHUNK_BYTES),
            (CHUNK_BYTES - 3, CHUNK_BYTES),
            // The last one is cut, and the one before it is left for later.
            (LEN - 3, 3 * CHUNK_BYTES / 2),
            (2 * CHUNK_BYTES - 1, LEN),
        ] {
            file.write(at, b"abc").expect("written");
            wanted[at as usize..][..3].copy_from_slice(b"abc");
            assert!(file.file.metadata().expect("metadata").blocks() * 512 >= filled, "{at}");
            assert_eq!((content(&file) == wanted, file.len().expect("length")), (true, LEN), "{at}");
        }
    }

    #[test]
    fn what_is_there_is_kept() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("store");
        // A hole, something at the very end of a chunk, and a hole, as a file has them that nobody filled.
        let before = opened(&path).file;
        before.set_len(LEN).expect("length");
        before.write_all_at(b"xyz", 2 * CHUNK_BYTES - 3).expect("written");
        let mut wanted = vec![0; LEN as usize];
        wanted[2 * CHUNK_BYTES as usize - 3..][..3].copy_from_slice(b"xyz");
        for at in [100, CHUNK_BYTES, 2 * CHUNK_BYTES - 2, LEN - 1] {
            let file = opened(&path);
            file.write(at, b"a").expect("written");
            wanted[at as usize] = b'a';
            assert!(content(&file) == wanted, "{at}");
        }
        let file = opened(&path);
        file.set_len(CHUNK_BYTES + 9001).expect("shorter");
        file.set_len(2 * LEN).expect("longer");
        wanted[CHUNK_BYTES as usize + 9001..].fill(0);
        wanted.resize(2 * LEN as usize, 0);
        assert!(content(&file) == wanted, "what was cut off does not come back");
        file.write(2 * LEN - 1, b"b").expect("written");
        wanted[2 * LEN as usize - 1] = b'b';
        assert!(content(&file) == wanted);
    }

    #[test]
    fn a_chunk_that_could_not_be_filled_is_left_alone() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("store");
        let before = opened(&path).file;
        before.set_len(CHUNK_BYTES).expect("length");
        before.write_all_at(b"xyz", 500).expect("written");
        // It cannot be read, and so what is there is not known, but that there is nothing after it is.
        let writes = OpenOptions::new().write(true).open(&path).expect("opens");
        let file = LockedFile::new(writes).expect("length");
        file.set_len(LEN).expect("longer");
        assert!(file.fill(10, 13).is_err());
        assert!(file.fill(10, 13).is_ok(), "it is tried once");
        for (at, data) in [(10, b"abc"), (4096, b"def"), (CHUNK_BYTES - 1, b"ghi"), (LEN - 3, b"jkl")] {
            file.write(at, data).expect("written");
        }
        let read = content(&opened(&path));
        for (at, data) in [(10, b"abc"), (4096, b"def"), (CHUNK_BYTES - 1, b"ghi"), (LEN - 3, b"jkl")] {
            assert_eq!(&read[at as usize..][..3], data);
        }
        assert_eq!(&read[500..503], b"xyz");
        assert_eq!(read.iter().filter(|byte| **byte != 0).count(), 15);
        assert!(file.file.metadata().expect("metadata").blocks() * 512 >= LEN - CHUNK_BYTES, "the holes are filled");
    }
}
