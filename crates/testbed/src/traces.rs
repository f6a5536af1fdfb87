//! What a cluster could leave behind on the machine, looked for from outside.

use crate::cluster::Cluster;
use crate::process::run;
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

/// The machine as seen before a cluster starts, and the namespaces of its pods while it runs.
#[derive(Debug)]
pub struct Traces {
    network: String,
    pod_namespaces: BTreeSet<u64>,
}

impl Traces {
    /// The state of `cluster`'s namespace now, before `up`.
    ///
    /// # Errors
    /// If it cannot be asked for.
    pub fn before(cluster: &Cluster) -> Result<Self> {
        Ok(Self { network: network(cluster)?, pod_namespaces: BTreeSet::new() })
    }

    /// Notes the network namespaces of the pods that run now.
    ///
    /// # Errors
    /// If containerd does not answer, or no pod has a namespace of its own.
    pub fn note_pods(&mut self, cluster: &Cluster) -> Result<()> {
        let own = inode(&cluster.namespace().path().to_string_lossy());
        let tasks = cluster.tasks()?;
        let found = tasks.iter().filter_map(|task| inode(&format!("/proc/{}/ns/net", task.pid)));
        self.pod_namespaces.extend(found.filter(|inode| Some(*inode) != own));
        ensure!(!self.pod_namespaces.is_empty(), "no pod has a network namespace");
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
        let of_pods = |line: &&str| self.pod_namespaces.iter().any(|inode| line.contains(&format!("net:[{inode}]")));
        left.extend(mounts.lines().filter(of_pods).map(|line| format!("namespace {line}")));
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
