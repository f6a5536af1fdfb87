//! The file under the engine: one lock for the life of the store, its name given when it is whole, and the place of
//! damaged bytes. Knows nothing of keys and revisions.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{BackendError, StorageBackend};

use crate::contract::StoreError;

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
                let disk = Self::build(path.display().to_string(), Box::new(LockedFile(file)), Some(new.clone()));
                return Ok(disk);
            }
            std::fs::remove_file(&new)?;
        }
        let file = lock(path, path)?;
        Ok(Self::build(path.display().to_string(), Box::new(LockedFile(file)), Some(path.to_owned())))
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
        const CHUNK_BYTES: usize = 1 << 20;
        let (Some(&first), len) = (bytes.first(), self.bytes()?) else { return Ok(None) };
        let mut buffer = vec![0; CHUNK_BYTES + bytes.len()];
        let mut at = 0;
        while at < len {
            let window = usize::try_from(len - at).unwrap_or(usize::MAX).min(buffer.len());
            self.inner.backend.read(at, &mut buffer[..window])?;
            let found = (0..window.saturating_sub(bytes.len() - 1))
                .find(|&i| buffer[i] == first && buffer[i..window].starts_with(bytes));
            if let Some(found) = found {
                return Ok(Some(at + found as u64));
            }
            at += CHUNK_BYTES as u64;
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

#[derive(Debug)]
struct LockedFile(File);

impl StorageBackend for LockedFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn close(&self) -> io::Result<()> {
        self.0.unlock()
    }
}
