//! What this machine is and has: processors, memory, disks, identity. All measured; knows nothing of Kubernetes.

use std::io;
use std::path::Path;

/// Sizes of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// CPUs this process may use.
    pub cpus: i64,
    /// Memory, the tighter of the machine's and our cgroup's.
    pub memory_bytes: i64,
    /// Huge pages by size in KiB: total bytes.
    pub hugepages: Vec<(u64, i64)>,
}

/// A filesystem's fill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Used, or left for us.
    pub total_bytes: u64,
    /// Left for us.
    pub free_bytes: u64,
    /// Inodes.
    pub inodes: u64,
    /// Inodes left.
    pub inodes_free: u64,
}

/// Memory now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Size.
    pub total_bytes: u64,
    /// Available without swapping, by the kernel's estimate.
    pub available_bytes: u64,
    /// Neither free nor page cache.
    pub used_bytes: u64,
    /// In use and not easily given back.
    pub working_set_bytes: u64,
    /// Anonymous memory.
    pub rss_bytes: u64,
}

/// Identity of a machine and its software.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// `/etc/machine-id`.
    pub machine_id: String,
    /// Product UUID of the firmware, where it can be read.
    pub system_uuid: String,
    /// Changes at each boot.
    pub boot_id: String,
    /// Kernel release.
    pub kernel: String,
    /// Pretty name of the distribution.
    pub os_image: String,
}

/// Measures the machine.
pub fn capacity() -> Capacity {
    let cpus = std::thread::available_parallelism().map_or(1, |n| i64::try_from(n.get()).unwrap_or(i64::MAX));
    let total = meminfo("MemTotal:").unwrap_or(0);
    let memory = cgroup_memory_limit().map_or(total, |limit| total.min(limit));
    Capacity { cpus, memory_bytes: i64::try_from(memory).unwrap_or(i64::MAX), hugepages: hugepages() }
}

/// Memory in use.
pub fn memory() -> Memory {
    let total = meminfo("MemTotal:").unwrap_or(0);
    let available = meminfo("MemAvailable:").unwrap_or(0);
    let free = meminfo("MemFree:").unwrap_or(0);
    let inactive_file = meminfo("Inactive(file):").unwrap_or(0);
    let used = total.saturating_sub(free);
    Memory {
        total_bytes: total,
        available_bytes: available,
        used_bytes: used,
        working_set_bytes: used.saturating_sub(inactive_file),
        rss_bytes: meminfo("AnonPages:").unwrap_or(0),
    }
}

/// CPU time used by the machine since boot, in nanoseconds.
pub fn cpu_nanos() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let Some(line) = stat.lines().next() else { return 0 };
    let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|t| t.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal: all but idle and iowait. Ticks are 10 ms on every Linux we run on.
    let busy: u64 = ticks.iter().take(8).enumerate().filter(|(i, _)| *i != 3 && *i != 4).map(|(_, t)| t).sum();
    busy * 10_000_000
}

/// Fill of the filesystem that a path is on.
pub fn disk(path: &Path) -> io::Result<Disk> {
    let fs = rustix::fs::statvfs(path)?;
    // As `df` has it: blocks that are kept back from us are neither used nor ours.
    let used = fs.f_blocks.saturating_sub(fs.f_bfree);
    Ok(Disk {
        total_bytes: (used + fs.f_bavail) * fs.f_frsize,
        free_bytes: fs.f_bavail * fs.f_frsize,
        inodes: fs.f_files,
        inodes_free: fs.f_favail,
    })
}

/// Processes now, and how many there may be.
pub fn processes() -> (u64, u64) {
    let loadavg = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let running = loadavg
        .split_whitespace()
        .nth(3)
        .and_then(|f| f.split_once('/'))
        .and_then(|(_, n)| n.parse().ok())
        .unwrap_or(0);
    let read = |path: &str| std::fs::read_to_string(path).ok().and_then(|s| s.trim().parse::<u64>().ok());
    let max = [read("/proc/sys/kernel/pid_max"), read("/proc/sys/kernel/threads-max")]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(32768);
    (running, max)
}

/// Reads who this machine is.
pub fn identity() -> Identity {
    let read = |path: &str| std::fs::read_to_string(path).map(|s| s.trim().to_owned()).unwrap_or_default();
    let release = read("/etc/os-release");
    let os_image =
        release.lines().find_map(|l| l.strip_prefix("PRETTY_NAME=")).unwrap_or("Linux").trim_matches('"').to_owned();
    Identity {
        machine_id: read("/etc/machine-id"),
        system_uuid: read("/sys/class/dmi/id/product_uuid"),
        boot_id: read("/proc/sys/kernel/random/boot_id"),
        kernel: read("/proc/sys/kernel/osrelease"),
        os_image,
    }
}

/// When the machine started, in seconds since the epoch.
pub fn boot_time_seconds() -> i64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    stat.lines().find_map(|l| l.strip_prefix("btime ")).and_then(|t| t.trim().parse().ok()).unwrap_or(0)
}

fn meminfo(key: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(key))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The tightest memory limit on the way from our cgroup to the root, if there is one.
fn cgroup_memory_limit() -> Option<u64> {
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let mut tightest: Option<u64> = None;
    for line in own.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let (mount, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            c if c.split(',').any(|c| c == "memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        for dir in Path::new(path).ancestors() {
            let file = crate::config::below(Path::new(mount), &dir.to_string_lossy()).join(file);
            let limit = std::fs::read_to_string(file).ok().and_then(|s| s.trim().parse::<u64>().ok());
            tightest = tightest.into_iter().chain(limit).min();
        }
    }
    tightest
}

fn hugepages() -> Vec<(u64, i64)> {
    let Ok(entries) = std::fs::read_dir("/sys/kernel/mm/hugepages") else { return Vec::new() };
    let mut sizes: Vec<(u64, i64)> = entries
        .flatten()
        .filter_map(|e| {
            let name = e.file_name().into_string().ok()?;
            let kib: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let pages: i64 = std::fs::read_to_string(e.path().join("nr_hugepages")).ok()?.trim().parse().ok()?;
            Some((kib, pages * i64::try_from(kib).ok()? * 1024))
        })
        .collect();
    sizes.sort_unstable();
    sizes
}
