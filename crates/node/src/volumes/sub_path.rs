//! subPath mounts: a part of a volume, opened so that no symbolic link leads out of the volume, and bound to a place of
//! its own so that swapping links afterwards changes nothing. Knows files only.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::Adaptations;

/// Binds `sub_path` of `volume` below `target_dir` and returns the bound path. Missing directories are made.
pub fn bind(volume: &Path, sub_path: &str, target: &Path, adaptations: &Adaptations) -> Result<PathBuf, String> {
    let sub = Path::new(sub_path);
    if sub.is_absolute() || sub.components().any(|c| matches!(c, Component::ParentDir)) {
        return Err(format!("subPath \"{sub_path}\" must be relative and must not contain '..'"));
    }
    let opened = open_or_make(volume, sub).map_err(|e| format!("failed to prepare subPath \"{sub_path}\": {e}"))?;
    let is_dir = rustix::fs::fstat(&opened).is_ok_and(|s| rustix::fs::FileType::from_raw_mode(s.st_mode).is_dir());
    make_target(target, is_dir).map_err(|e| format!("failed to prepare {}: {e}", target.display()))?;
    // The descriptor pins what was checked, whatever happens to the names meanwhile.
    let pinned = format!("/proc/self/fd/{}", opened.as_raw_fd());
    match rustix::mount::mount_bind(&pinned, target) {
        Ok(()) => Ok(target.into()),
        Err(Errno::PERM) => {
            adaptations.add("no_bind_mounts", "mounting is not permitted: subPath volumes are handed on by name");
            std::fs::read_link(&pinned).map_err(|e| e.to_string())
        }
        Err(error) => Err(format!("bind mount {}: {error}", target.display())),
    }
}

fn open_beneath(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::openat2(
        root,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
    )
}

fn open_or_make(volume: &Path, sub: &Path) -> io::Result<OwnedFd> {
    let root = rustix::fs::open(volume, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let sub = if sub.as_os_str().is_empty() { Path::new(".") } else { sub };
    match open_beneath(&root, sub) {
        Ok(fd) => return Ok(fd),
        Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let mut made = PathBuf::new();
    let mut parent = rustix::fs::open(volume, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    for part in sub.components().filter(|c| matches!(c, Component::Normal(_))) {
        made.push(part);
        parent = match open_beneath(&root, &made) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => {
                rustix::fs::mkdirat(&parent, part.as_os_str(), Mode::from_raw_mode(0o750))?;
                open_beneath(&root, &made)?
            }
            Err(error) => return Err(error.into()),
        };
    }
    Ok(parent)
}

fn make_target(target: &Path, is_dir: bool) -> io::Result<()> {
    super::unmount_below(target)?;
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match (is_dir, target.exists()) {
        (true, false) => std::fs::create_dir(target),
        (false, false) => std::fs::File::create(target).map(drop),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_inside_and_makes_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("v")).unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("v/out")).unwrap();
        let volume = dir.path().join("v");
        assert!(open_or_make(&volume, Path::new("out/passwd")).is_err());
        open_or_make(&volume, Path::new("a/b")).unwrap();
        assert!(volume.join("a/b").is_dir());
        assert!(bind(&volume, "../x", &dir.path().join("t"), &Adaptations::default()).is_err());
    }
}
