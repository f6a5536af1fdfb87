//! What a cluster could leave behind on the machine, looked for from outside.

use crate::cluster::Cluster;
use crate::process::run;
use anyhow::{Context as _, Result};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The machine as seen before a cluster starts, and the namespaces of its pods while it runs.
#[derive(Debug)]
pub struct Traces {
    network: String,
    pod_namespaces: Vec<PathBuf>,
}

impl Traces {
    /// The state of `cluster`'s namespace now, before `up`.
    ///
    /// # Errors
    /// If it cannot be asked for.
    pub fn before(cluster: &Cluster) -> Result<Self> {
        Ok(Self { network: network(cluster)?, pod_namespaces: Vec::new() })
    }

    /// Notes the network namespaces of the pods that run now.
    ///
    /// # Errors
    /// If containerd does not answer.
    pub fn note_pods(&mut self, cluster: &Cluster) -> Result<()> {
        let tasks = cluster.tasks()?;
        let inodes: BTreeSet<u64> =
            tasks.iter().filter_map(|task| inode(&format!("/proc/{}/ns/net", task.pid))).collect();
        for entry in fs::read_dir("/run/netns")? {
            let path = entry?.path();
            let cni = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("cni-"));
            if cni && fs::metadata(&path).is_ok_and(|m| inodes.contains(&m.ino())) {
                self.pod_namespaces.push(path);
            }
        }
        Ok(())
    }

    /// Everything that is left of `cluster`, in words; files only if `files`.
    ///
    /// # Errors
    /// If the machine cannot be asked.
    pub fn left(&self, cluster: &Cluster, files: bool) -> Result<Vec<String>> {
        let root = cluster.root();
        let mut left = processes(&root);
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let root_text = root.to_string_lossy().into_owned();
        left.extend(mounts.lines().filter(|line| line.contains(&root_text)).map(|line| format!("mount {line}")));
        let of_pods = self.pod_namespaces.iter().filter(|path| path.exists());
        left.extend(of_pods.map(|path| format!("namespace {}", path.display())));
        let now = network(cluster)?;
        let (before, after): (BTreeSet<&str>, BTreeSet<&str>) = (self.network.lines().collect(), now.lines().collect());
        left.extend(after.symmetric_difference(&before).map(|line| format!("network: {line}")));
        left.extend(cgroups(cluster.scratch())?);
        if files && root.exists() {
            let found = run(Command::new("find").arg(&root), "")?;
            left.extend(found.stdout.lines().map(|line| format!("file {line}")));
        }
        Ok(left)
    }
}

fn inode(link: &str) -> Option<u64> {
    fs::metadata(link).ok().map(|m| m.ino())
}

/// Links, routes, rules, tables and settings of the cluster's namespace.
fn network(cluster: &Cluster) -> Result<String> {
    let script = "ip -br link | awk '{print $1}'; ip route; ip rule; nft list tables; \
                  grep -H . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/*/route_localnet";
    Ok(cluster.namespace().shell(script)?.stdout)
}

/// Processes with the root on their command line, other than those that ask.
fn processes(root: &Path) -> Vec<String> {
    let root = root.to_string_lossy();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = entries.filter_map(|entry| {
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains(&*root).then(|| format!("process {} {line}", entry.file_name().to_string_lossy()))
    });
    lines.collect()
}

/// Cgroups with the name of the test's own directory in theirs.
fn cgroups(scratch: &Path) -> Result<Vec<String>> {
    let unique = scratch.file_name().context("the scratch directory has no name")?.to_string_lossy().into_owned();
    let found = run(
        Command::new("find")
            .args(["/sys/fs/cgroup", "-maxdepth", "2", "-type", "d", "-name"])
            .arg(format!("*{unique}*")),
        "",
    )?;
    Ok(found.stdout.lines().map(|line| format!("cgroup {line}")).collect())
}
