//! Cgroups of pods: which hierarchies this machine has (v1, v2 or both), the parents per QoS class and the limits of a
//! pod as a whole. Knows names and numbers, not pods.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::Adaptations;

/// Hierarchies of this machine.
#[derive(Clone, Debug)]
enum Hierarchies {
    /// One mount per controller (hybrid mounts count as this: the controllers decide).
    V1(Vec<(String, PathBuf)>),
    /// The unified hierarchy.
    V2(PathBuf),
    /// None that can be used.
    None,
}

/// What a pod as a whole may use; `None` is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodLimits {
    /// CPU weight.
    pub cpu_shares: Option<i64>,
    /// CPU time per [`CPU_PERIOD_US`].
    pub cpu_quota_us: Option<i64>,
    /// Memory.
    pub memory_bytes: Option<i64>,
}

/// Period of CPU quotas.
pub const CPU_PERIOD_US: i64 = 100_000;

/// The cgroups below which pods live.
#[derive(Clone, Debug)]
pub struct Cgroups {
    root: String,
    hierarchies: Hierarchies,
}

impl Cgroups {
    /// Finds the hierarchies and makes the parents; where that is not permitted pods go without limits of their own
    /// (containers keep theirs) and an adaptation says so.
    pub fn detect(root: &str, adaptations: &Adaptations) -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let cgroups = Self { root: root.trim_end_matches('/').into(), hierarchies: parse_mounts(&mounts) };
        if matches!(cgroups.hierarchies, Hierarchies::None) {
            adaptations.add(
                "no_cgroups",
                "no cgroup hierarchy with a memory or cpu controller is mounted: pods have no limits",
            );
        }
        for class in ["", "/burstable", "/besteffort"] {
            if let Err(error) = cgroups.make(&format!("{}{class}", cgroups.root)) {
                adaptations.add("no_pod_cgroups", format!("cannot make cgroups below {root}: {error}"));
                break;
            }
        }
        // Best effort pods weigh next to nothing.
        if let Err(error) = cgroups
            .limit(&format!("{}/besteffort", cgroups.root), &PodLimits { cpu_shares: Some(2), ..PodLimits::default() })
        {
            tracing::debug!(%error, "cannot set the weight of best effort pods");
        }
        cgroups
    }

    /// Removes the cgroup of all pods, and everything below it, from every hierarchy.
    pub fn remove(root: &str) -> io::Result<()> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        let cgroups = Self { root: root.trim_end_matches('/').into(), hierarchies: parse_mounts(&mounts) };
        cgroups.remove_pod(&cgroups.root)
    }

    /// The cgroup parent to give the runtime for a pod of a QoS class.
    pub fn pod_parent(&self, qos: &str, uid: &str) -> String {
        match qos {
            "Guaranteed" => format!("{}/pod{uid}", self.root),
            _ => format!("{}/{}/pod{uid}", self.root, qos.to_ascii_lowercase()),
        }
    }

    /// Makes a pod's cgroup with its limits.
    pub fn set_up_pod(&self, parent: &str, limits: &PodLimits) -> io::Result<()> {
        self.make(parent)?;
        self.limit(parent, limits)
    }

    /// Removes a pod's cgroup in every hierarchy; what is not there is fine.
    pub fn remove_pod(&self, parent: &str) -> io::Result<()> {
        for (_, mount) in self.mounts() {
            remove_tree(&crate::config::below(&mount, parent))?;
        }
        Ok(())
    }

    /// UIDs of pods that have a cgroup, with its path below the mounts.
    pub fn pods(&self) -> BTreeSet<(String, String)> {
        let mut found = BTreeSet::new();
        for (_, mount) in self.mounts() {
            for class in ["", "/burstable", "/besteffort"] {
                let parent = format!("{}{class}", self.root);
                let Ok(entries) = std::fs::read_dir(crate::config::below(&mount, &parent)) else { continue };
                for name in entries.flatten().filter_map(|e| e.file_name().into_string().ok()) {
                    if let Some(uid) = name.strip_prefix("pod") {
                        found.insert((uid.into(), format!("{parent}/{name}")));
                    }
                }
            }
        }
        found
    }

    /// Path of the cgroup that all pods are in.
    pub fn root(&self) -> &str {
        &self.root
    }

    fn mounts(&self) -> Vec<(String, PathBuf)> {
        match &self.hierarchies {
            Hierarchies::V1(list) => list.clone(),
            Hierarchies::V2(mount) => vec![(String::new(), mount.clone())],
            Hierarchies::None => Vec::new(),
        }
    }

    fn make(&self, cgroup: &str) -> io::Result<()> {
        for (controller, mount) in self.mounts() {
            let mut dir = mount;
            for part in cgroup.split('/').filter(|p| !p.is_empty()) {
                if controller.is_empty() {
                    delegate(&dir);
                }
                let parent = dir.clone();
                dir.push(part);
                match std::fs::create_dir(&dir) {
                    Ok(()) if controller == "cpuset" => copy_cpuset(&parent, &dir)?,
                    Ok(()) => {}
                    Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(())
    }

    fn limit(&self, cgroup: &str, limits: &PodLimits) -> io::Result<()> {
        for (controller, mount) in self.mounts() {
            let dir = crate::config::below(&mount, cgroup);
            for (file, value) in settings(&controller, limits) {
                std::fs::write(dir.join(file), value)?;
            }
        }
        Ok(())
    }
}

/// Files and values that carry the limits in the hierarchy of one controller (the empty name is v2).
fn settings(controller: &str, limits: &PodLimits) -> Vec<(&'static str, String)> {
    let mut out = Vec::new();
    match controller {
        "cpu" => {
            out.extend(limits.cpu_shares.map(|s| ("cpu.shares", s.to_string())));
            out.extend(limits.cpu_quota_us.map(|_| ("cpu.cfs_period_us", CPU_PERIOD_US.to_string())));
            out.extend(limits.cpu_quota_us.map(|q| ("cpu.cfs_quota_us", q.to_string())));
        }
        "memory" => out.extend(limits.memory_bytes.map(|m| ("memory.limit_in_bytes", m.to_string()))),
        "" => {
            out.extend(limits.cpu_shares.map(|s| ("cpu.weight", weight(s).to_string())));
            out.extend(limits.cpu_quota_us.map(|q| ("cpu.max", format!("{q} {CPU_PERIOD_US}"))));
            out.extend(limits.memory_bytes.map(|m| ("memory.max", m.to_string())));
        }
        _ => {}
    }
    out
}

/// v1 shares (2..=262144) as a v2 weight (1..=10000).
fn weight(shares: i64) -> i64 {
    1 + ((shares.clamp(2, 262_144) - 2) * 9999) / 262_142
}

/// Reads a `mountinfo`; for `crate::fuzz`.
pub fn read_mounts(mountinfo: &str) {
    parse_mounts(mountinfo);
}

fn parse_mounts(mountinfo: &str) -> Hierarchies {
    const WANTED: [&str; 4] = ["cpu", "memory", "pids", "cpuset"];
    let mut v1 = Vec::new();
    let mut v2 = None;
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let Some(mount) = left.split(' ').nth(4) else { continue };
        let mut right = right.split(' ');
        match right.next() {
            Some("cgroup") => {
                let options = right.nth(1).unwrap_or_default();
                v1.extend(
                    options.split(',').filter(|o| WANTED.contains(o)).map(|o| (o.to_owned(), PathBuf::from(mount))),
                );
            }
            Some("cgroup2") => v2 = Some(PathBuf::from(mount)),
            _ => {}
        }
    }
    if !v1.is_empty() {
        return Hierarchies::V1(v1);
    }
    v2.map_or(Hierarchies::None, Hierarchies::V2)
}

/// Hands the controllers that are there down to children; a controller that cannot be handed down is left out.
fn delegate(dir: &Path) {
    let available = std::fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    for controller in
        available.split_whitespace().filter(|c| ["cpu", "memory", "pids", "cpuset", "io", "hugetlb"].contains(c))
    {
        if let Err(error) = std::fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}")) {
            tracing::debug!(%error, %controller, dir = %dir.display(), "controller is not delegated");
        }
    }
}

/// A new v1 cpuset is empty and takes no process until it has what its parent has.
fn copy_cpuset(parent: &Path, dir: &Path) -> io::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let value = std::fs::read_to_string(parent.join(file))?;
        if !value.trim().is_empty() {
            std::fs::write(dir.join(file), value)?;
        }
    }
    Ok(())
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    for entry in entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
        remove_tree(&entry.path())?;
    }
    match std::fs::remove_dir(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_decide_between_v1_and_v2() {
        let hybrid = "30 25 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                      31 25 0:27 / /sys/fs/cgroup/memory rw shared:3 - cgroup cgroup rw,memory\n\
                      32 25 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert!(matches!(parse_mounts(hybrid), Hierarchies::V1(list) if list.len() == 2));
        let pure = "32 25 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        assert!(matches!(parse_mounts(pure), Hierarchies::V2(p) if p == Path::new("/sys/fs/cgroup")));
        assert!(matches!(parse_mounts(""), Hierarchies::None));
    }

    #[test]
    fn limits_become_files() {
        let limits = PodLimits { cpu_shares: Some(1024), cpu_quota_us: Some(50_000), memory_bytes: Some(1 << 20) };
        assert_eq!(
            settings("", &limits),
            [("cpu.weight", "39".into()), ("cpu.max", "50000 100000".into()), ("memory.max", "1048576".into())]
        );
        assert_eq!(settings("memory", &limits), [("memory.limit_in_bytes", "1048576".to_owned())]);
    }
}
