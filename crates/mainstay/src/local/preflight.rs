//! What a machine must have before a cluster can start, checked before anything is started.

use anyhow::{Result, bail};
use std::env;
use std::path::{Path, PathBuf};

/// A program that is needed, the Debian package that has it, and what for.
const PROGRAMS: &[(&str, &str, &str)] = &[
    ("containerd", "containerd", "runs containers"),
    ("runc", "runc", "runs containers"),
    ("nft", "nftables", "programs the service network"),
    ("mount", "mount", "mounts volumes"),
];

/// A CNI plugin that is needed.
const CNI_PLUGINS: &[&str] = &["ptp", "host-local", "portmap", "loopback"];

/// Where distributions and upstream put CNI plugins.
const CNI_DIRS: &[&str] = &["/usr/lib/cni", "/opt/cni/bin"];

/// Refuses, in one sentence that says what to do, if this machine cannot run a node.
///
/// # Errors
/// The first thing that is missing.
pub fn check() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("a node needs root, for containers and networks; try: sudo mainstay up");
    }
    for (program, package, purpose) in PROGRAMS {
        if find_program(program).is_none() {
            bail!("{program} is not installed (it {purpose}); install it with: apt-get install {package}");
        }
    }
    if cni_dir().is_none() {
        bail!("the CNI plugins are not installed; install them with: apt-get install containernetworking-plugins");
    }
    Ok(())
}

/// A program of `PATH`, or of the directories that a plain user's `PATH` lacks.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = env::split_paths(&path).collect();
    dirs.extend(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from));
    dirs.into_iter().map(|dir| dir.join(name)).find(|p| p.is_file())
}

/// The directory that has all CNI plugins that are needed.
pub fn cni_dir() -> Option<&'static Path> {
    let complete = |dir: &&str| CNI_PLUGINS.iter().all(|plugin| Path::new(dir).join(plugin).is_file());
    CNI_DIRS.iter().find(|dir| complete(dir)).map(Path::new)
}
