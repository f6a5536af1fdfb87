//! `mainstay down`: stop the cluster and leave nothing behind.

use super::cleanup;
use super::progress::Progress;
use super::state::{Paths, State, cgroup_root};
use crate::cli::Down;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::io::{self, ErrorKind};

/// What a cluster keeps under its root; only these are ever removed, and the directories above them if they are empty
/// then.
const OWN: &[&str] = &[
    "etc/kubernetes",
    "etc/cni",
    "var/lib/mainstay",
    "var/lib/kubelet",
    "var/lib/containerd",
    "var/lib/cni",
    "var/log/mainstay",
    "var/log/pods",
    "var/log/containers",
    "var/log/containerd.log",
    "run/mainstay",
    "run/containerd",
];
/// Directories that are removed if nobody else keeps anything in them, deepest first.
const PARENTS: &[&str] = &["etc", "var/lib", "var/log", "var", "run", ""];
/// What `--keep-data` keeps.
const DATA: &[&str] = &["etc/kubernetes", "var/lib/mainstay", "var/lib/containerd"];
/// What is kept of a cluster that failed to start: why.
const LOGS: &[&str] = &["var/log/mainstay", "var/log/containerd.log"];

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
    let runs = state.is_some() || paths.run().exists() || !cleanup::processes_of(&paths.root).is_empty();
    // What `down --keep-data` left goes with a plain `down`.
    let left = OWN.iter().any(|own| own.ends_with("mainstay") && paths.root.join(own).exists());
    if !runs && (args.keep_data || !left) {
        println!("No cluster runs at {}.", paths.root.display());
        return Ok(());
    }
    let progress = Progress::new();
    let remains = Remains {
        pods: true,
        sysctls_before: state.map(|state| state.sysctls_before).unwrap_or_default(),
        network: runs,
        kept: if args.keep_data { DATA } else { &[] },
    };
    remains.remove(&paths, &progress).await?;
    let took = progress.done();
    println!("The cluster is gone ({:.1} s).", took.as_secs_f64());
    Ok(())
}

/// Takes away what a first `up` that failed has left; its logs stay.
///
/// # Errors
/// If something of it cannot be stopped or removed.
pub async fn undo_up(paths: &Paths, sysctls_before: Vec<(String, String)>, progress: &Progress) -> Result<()> {
    // The network is set up after containerd; a server that failed earlier must not take away another cluster's.
    let network = paths.root.join("var/lib/containerd").exists();
    // A containerd that never came up has no pods, and would not come up now.
    let pods = !cleanup::processes_of(&paths.root).is_empty();
    Remains { pods, sysctls_before, network, kept: LOGS }.remove(paths, progress).await
}

/// What may be left of a cluster.
struct Remains {
    /// Whether there may be pods.
    pods: bool,
    sysctls_before: Vec<(String, String)>,
    /// Whether it may have set up its network.
    network: bool,
    /// Files under the root that stay.
    kept: &'static [&'static str],
}

impl Remains {
    /// Takes everything away; may be repeated.
    async fn remove(self, paths: &Paths, progress: &Progress) -> Result<()> {
        progress.step("stopping the server");
        cleanup::stop_servers(&paths.root).await?;
        if self.pods {
            progress.step("removing pods");
            node::purge(&paths.root).await.context("cannot remove the pods")?;
        }
        progress.step("stopping containerd");
        cleanup::end_processes(&paths.root).await?;
        progress.step("removing networks, mounts and cgroups");
        if self.network {
            net::remove_all(&paths.root).await.context("cannot remove the network")?;
        }
        cleanup::unmount_under(&paths.root)?;
        cleanup::remove_cgroups(&cgroup_root(&paths.root)).await?;
        cleanup::restore_sysctls(&self.sysctls_before)?;
        remove_files(paths, self.kept)
    }
}

/// Removes what is ours except what is `kept`.
fn remove_files(paths: &Paths, kept: &[&str]) -> Result<()> {
    // Removing files below a mount would remove somebody else's.
    if let Some(mount) = cleanup::mounts_under(&paths.root).first() {
        bail!("{} is still mounted; unmount it and run down again", mount.display());
    }
    for own in OWN.iter().filter(|own| !kept.contains(own)) {
        let path = paths.root.join(own);
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(e) if !is_absent(&e) => return Err(e).with_context(|| format!("cannot remove {}", path.display())),
            _ => {}
        }
    }
    for parent in PARENTS {
        let dir = paths.root.join(parent);
        match fs::remove_dir(&dir) {
            // Someone else keeps files there, or it is a mount point.
            Err(e) if matches!(e.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::ResourceBusy) => {}
            Err(e) if !is_absent(&e) => return Err(e).with_context(|| format!("cannot remove {}", dir.display())),
            _ => {}
        }
    }
    Ok(())
}

/// Whether there was nothing to remove.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

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
        remove_files(&paths, DATA).expect("removed");
        assert!(root.join("etc/kubernetes/admin.conf").exists() && root.join("var/lib/mainstay/store").exists());
        assert!(!root.join("var/lib/kubelet").exists() && !root.join("run").exists());
        remove_files(&paths, &[]).expect("removed");
        assert!(!root.exists());
    }

    #[test]
    fn files_of_others_under_the_root_stay() {
        let dir = tempfile::tempdir().expect("a directory");
        let paths = Paths { root: dir.path().into() };
        tree(dir.path());
        fs::write(dir.path().join("mine"), "x").expect("written");
        remove_files(&paths, &[]).expect("removed");
        assert!(dir.path().join("mine").exists());
    }
}
