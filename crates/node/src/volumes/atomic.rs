//! Writes a volume's files so that a reader sees all of the old or all of the new: files live in a dated directory,
//! `..data` links to it and is swapped by rename; what users see are links through `..data`. Knows files only.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use chrono::Utc;

const DATA: &str = "..data";
const DATA_TMP: &str = "..data_tmp";

/// A file's content and mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Content.
    pub data: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Owner, if not the agent's.
    pub owner: Option<u32>,
}

/// Files by relative path.
pub type Payload = BTreeMap<String, File>;

/// Makes the volume at `dir` hold exactly `payload`; returns whether anything was written.
pub fn write(dir: &Path, payload: &Payload, group: Option<u32>) -> io::Result<bool> {
    for path in payload.keys() {
        check(path)?;
    }
    if current(dir, payload) {
        return Ok(false);
    }
    let old = std::fs::read_link(dir.join(DATA)).ok();
    let dated =
        format!("..{}.{}", Utc::now().format("%Y_%m_%d_%H_%M_%S"), &uuid::Uuid::new_v4().simple().to_string()[..9]);
    let fresh = dir.join(&dated);
    std::fs::create_dir(&fresh)?;
    std::fs::set_permissions(&fresh, PermissionsExt::from_mode(0o755))?;
    for (path, file) in payload {
        let path = fresh.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, &file.data)?;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(file.mode))?;
        if let Some(owner) = file.owner {
            std::os::unix::fs::chown(&path, Some(owner), None)?;
        }
    }
    if let Some(group) = group {
        super::own(&fresh, group, true)?;
    }
    let tmp = dir.join(DATA_TMP);
    if tmp.symlink_metadata().is_ok() {
        std::fs::remove_file(&tmp)?;
    }
    symlink(&dated, &tmp)?;
    std::fs::rename(&tmp, dir.join(DATA))?;
    relink(dir, payload)?;
    if let Some(old) = old {
        remove_dir(&dir.join(old))?;
    }
    Ok(true)
}

/// Paths stay inside the volume and do not clash with our own names.
pub(super) fn check(path: &str) -> io::Result<()> {
    let bad =
        path.is_empty() || path.starts_with('/') || path.starts_with("..") || path.split('/').any(|part| part == "..");
    if bad {
        Err(io::Error::new(io::ErrorKind::InvalidInput, format!("invalid path in volume: {path:?}")))
    } else {
        Ok(())
    }
}

fn top(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

/// Whether the volume holds the payload already.
fn current(dir: &Path, payload: &Payload) -> bool {
    let data = dir.join(DATA);
    let count = |dir: &Path| -> Option<usize> {
        let mut stack = vec![dir.to_path_buf()];
        let mut files = 0;
        while let Some(next) = stack.pop() {
            for entry in std::fs::read_dir(next).ok()?.flatten() {
                if entry.file_type().ok()?.is_dir() { stack.push(entry.path()) } else { files += 1 }
            }
        }
        Some(files)
    };
    data.exists()
        && count(&data) == Some(payload.len())
        && payload.iter().all(|(path, file)| std::fs::read(data.join(path)).is_ok_and(|d| d == file.data))
}

/// The links that users see: one per top-level name, and none that is no longer there.
fn relink(dir: &Path, payload: &Payload) -> io::Result<()> {
    for name in payload.keys().map(|p| top(p)) {
        let link = dir.join(name);
        if link.symlink_metadata().is_err() {
            symlink(Path::new(DATA).join(name), link)?;
        }
    }
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let Some(name) = name.to_str().filter(|n| !n.starts_with("..")) else { continue };
        if !payload.keys().any(|p| top(p) == name) {
            std::fs::remove_file(dir.join(name))?;
        }
    }
    Ok(())
}

fn remove_dir(dir: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        files
            .iter()
            .map(|(p, d)| ((*p).into(), File { data: d.as_bytes().to_vec(), mode: 0o640, owner: None }))
            .collect()
    }

    #[test]
    fn swaps_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert!(write(dir, &payload(&[("a", "1"), ("sub/b", "2")]), None).unwrap());
        assert!(!write(dir, &payload(&[("a", "1"), ("sub/b", "2")]), None).unwrap(), "nothing new, nothing written");
        let first = std::fs::read_link(dir.join("..data")).unwrap();
        assert!(write(dir, &payload(&[("a", "3")]), None).unwrap());
        assert_eq!(std::fs::read_to_string(dir.join("a")).unwrap(), "3");
        assert_eq!(std::fs::read_link(dir.join("a")).unwrap(), Path::new("..data/a"));
        assert!(!dir.join("sub").exists() && !dir.join(first).exists());
        assert_eq!(std::fs::metadata(dir.join("a")).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(write(dir, &payload(&[("../x", "3")]), None).is_err());
    }
}
