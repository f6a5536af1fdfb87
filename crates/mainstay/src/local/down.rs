//! `mainstay down`: stop the cluster and leave nothing behind.

use super::cleanup;
use super::progress::Progress;
use super::state::{Paths, State, cgroup_root};
use crate::cli::Down;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// How long the server may take to drain.
const SERVER_PATIENCE: Duration = Duration::from_secs(30);
/// What a cluster keeps under its root; only these directories are ever removed, and the root if it is empty then.
const DIRECTORIES: &[&str] = &[
    "etc/kubernetes",
    "etc/cni",
    "var/lib/mainstay",
    "var/lib/kubelet",
    "var/lib/containerd",
    "var/lib/cni",
    "var/log/mainstay",
    "var/log/pods",
    "var/log/containers",
    "run/mainstay",
    "run/containerd",
];
/// Directories that are removed if nobody else keeps anything in them, deepest first.
const PARENTS: &[&str] = &["etc", "var/lib", "var/log", "var", "run", ""];
/// What `--keep-data` keeps.
const DATA: &[&str] = &["etc/kubernetes", "var/lib/mainstay"];

/// Stops the cluster and removes all that belongs to it.
///
/// # Errors
/// If something of it cannot be stopped or removed; what it was is named, and `down` may be called again.
pub async fn down(args: &Down) -> Result<()> {
    let paths = Paths::new(&args.place.root)?;
    if !rustix::process::geteuid().is_root() {
        bail!("stopping a node needs root; try: sudo mainstay down");
    }
    let state = State::load(&paths)?;
    if state.is_none() && cleanup::processes_of(&paths.root).is_empty() && !paths.run().exists() {
        println!("No cluster runs at {}.", paths.root.display());
        return Ok(());
    }
    let progress = Progress::new();
    if let Some(state) = &state {
        progress.step("stopping the server");
        if !state.server.stop(SERVER_PATIENCE).await? {
            eprintln!("The server did not end in {} s and was killed.", SERVER_PATIENCE.as_secs());
        }
    }
    progress.step("removing pods");
    node::purge(&paths.root).await.context("cannot remove the pods")?;
    progress.step("stopping containerd");
    cleanup::end_processes(&paths.root).await?;
    progress.step("removing networks, mounts and cgroups");
    net::remove_all(&paths.root).await.context("cannot remove the network")?;
    cleanup::unmount_under(&paths.root)?;
    cleanup::remove_cgroups(&cgroup_root(&paths.root)).await?;
    if let Some(state) = &state {
        cleanup::restore_sysctls(&state.sysctls_before)?;
    }
    remove_files(&paths, args.keep_data)?;
    let took = progress.done();
    println!("The cluster is gone ({:.1} s).", took.as_secs_f64());
    Ok(())
}

fn remove_files(paths: &Paths, keep_data: bool) -> Result<()> {
    // Removing files below a mount would remove somebody else's.
    if let Some(mount) = cleanup::mounts_under(&paths.root).first() {
        bail!("{} is still mounted; unmount it and run down again", mount.display());
    }
    let kept = |relative: &Path| keep_data && DATA.iter().any(|data| Path::new(data).starts_with(relative));
    for directory in DIRECTORIES {
        let relative = Path::new(directory);
        remove_except(&paths.root, relative, &kept)?;
    }
    if !keep_data {
        for parent in PARENTS {
            let dir = paths.root.join(parent);
            match fs::remove_dir(&dir) {
                Ok(()) => {}
                // Someone else keeps files there, or it is gone already.
                Err(e) if matches!(e.kind(), std::io::ErrorKind::DirectoryNotEmpty | std::io::ErrorKind::NotFound) => {}
                Err(e) if e.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) => {}
                Err(e) => return Err(e).with_context(|| format!("cannot remove {}", dir.display())),
            }
        }
    }
    Ok(())
}

/// Removes `root/relative`, but goes around what is kept.
fn remove_except(root: &Path, relative: &Path, kept: &impl Fn(&Path) -> bool) -> Result<()> {
    let path = root.join(relative);
    if !kept(relative) {
        return match fs::remove_dir_all(&path) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e).with_context(|| format!("cannot remove {}", path.display())),
        };
    }
    if DATA.iter().any(|data| Path::new(data) == relative) || !path.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(&path).with_context(|| format!("cannot list {}", path.display()))? {
        let child = relative.join(entry?.file_name());
        if root.join(&child).is_dir() {
            remove_except(root, &child, kept)?;
        } else {
            fs::remove_file(root.join(&child)).with_context(|| format!("cannot remove {}", child.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(root: &Path) {
        for file in ["etc/kubernetes/admin.conf", "var/lib/mainstay/store", "var/lib/kubelet/x", "run/mainstay/up.json"]
        {
            let path = root.join(file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, "x").expect("written");
        }
    }

    #[test]
    fn everything_goes_unless_the_data_are_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("cluster");
        let paths = Paths { root: root.clone() };
        tree(&root);
        remove_files(&paths, true).expect("removed");
        assert!(root.join("etc/kubernetes/admin.conf").exists() && root.join("var/lib/mainstay/store").exists());
        assert!(!root.join("var/lib/kubelet").exists() && !root.join("run").exists());
        remove_files(&paths, false).expect("removed");
        assert!(!root.exists());
    }

    #[test]
    fn files_of_others_under_the_root_stay() {
        let dir = tempfile::tempdir().expect("a directory");
        let paths = Paths { root: dir.path().into() };
        tree(dir.path());
        fs::write(dir.path().join("mine"), "x").expect("written");
        remove_files(&paths, false).expect("removed");
        assert!(dir.path().join("mine").exists());
    }
}
