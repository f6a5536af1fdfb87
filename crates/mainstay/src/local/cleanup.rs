//! Taking away what a cluster left in the kernel: processes, mounts, cgroups, settings. Each step may be repeated.

use super::process::Process;
use anyhow::{Context as _, Result};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Kernel settings that a node changes; `down` puts them back.
const SYSCTLS: &[&str] = &["net/ipv4/ip_forward", "net/ipv4/conf/all/route_localnet"];
/// How long a server may take to drain.
const SERVER_PATIENCE: Duration = Duration::from_secs(30);
/// How long a left-over process may take to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(3);
/// A cgroup whose last process is just ending is busy for a moment; so often its removal is tried.
const CGROUP_TRIES: u32 = 50;
const CGROUP_PAUSE: Duration = Duration::from_millis(20);

/// The settings as they are now.
///
/// # Errors
/// If one cannot be read.
pub fn sysctls() -> Result<Vec<(String, String)>> {
    let read = |name: &&str| {
        let value = fs::read_to_string(sysctl_path(name)).with_context(|| format!("cannot read the setting {name}"))?;
        Ok(((*name).to_owned(), value.trim().to_owned()))
    };
    SYSCTLS.iter().map(read).collect()
}

/// Puts settings back.
///
/// # Errors
/// If one cannot be written.
pub fn restore_sysctls(values: &[(String, String)]) -> Result<()> {
    for (name, value) in values {
        fs::write(sysctl_path(name), value).with_context(|| format!("cannot restore the setting {name}"))?;
    }
    Ok(())
}

fn sysctl_path(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name)
}

/// Servers with this root, whoever started them.
fn servers_of(root: &Path) -> Vec<Process> {
    let own = std::env::current_exe().unwrap_or_default();
    let own = own.file_name().and_then(OsStr::to_str).unwrap_or_default();
    processes(|words| is_server(words, own, root))
}

/// Ends servers with this root, whoever started them.
///
/// # Errors
/// If one may not be signalled.
pub async fn stop_servers(root: &Path) -> Result<()> {
    for server in servers_of(root) {
        if !server.stop(SERVER_PATIENCE).await? {
            eprintln!("The server did not end in {} s and was killed.", SERVER_PATIENCE.as_secs());
        }
    }
    Ok(())
}

/// Processes that were started with a path under `root` on their command line: the container runtime and its shims.
pub fn processes_of(root: &Path) -> Vec<Process> {
    processes(|words| is_runtime(words, root))
}

/// Processes other than this one whose command line is as `wanted`.
fn processes(wanted: impl Fn(&[&str]) -> bool) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let own = std::process::id();
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != own && command_line(*pid).is_some_and(|line| wanted(&words(&line))))
        .filter_map(|pid| Process::of(i32::try_from(pid).ok()?))
        .collect()
}

fn command_line(pid: u32) -> Option<String> {
    String::from_utf8(fs::read(format!("/proc/{pid}/cmdline")).ok()?).ok()
}

fn words(command_line: &str) -> Vec<&str> {
    command_line.split('\0').collect()
}

fn program<'a>(words: &[&'a str]) -> &'a str {
    words.first().and_then(|path| path.rsplit('/').next()).unwrap_or("")
}

/// Whether it is a container runtime or a shim of one that lives under `root`.
fn is_runtime(words: &[&str], root: &Path) -> bool {
    program(words).starts_with("containerd") && words.iter().skip(1).any(|word| Path::new(word).starts_with(root))
}

/// Whether it is `mainstay server --root ROOT`, as `up` starts it; the program may be named after its version too, or in
/// any way in which this one, `own`, is.
fn is_server(words: &[&str], own: &str, root: &Path) -> bool {
    let with_root = words.windows(2).any(|pair| pair[0] == "--root" && Path::new(pair[1]) == root);
    let program = program(words);
    (program.starts_with("mainstay") || program == own) && words.get(1) == Some(&"server") && with_root
}

/// Ends what is left of the container runtime. Returns how many processes there were.
///
/// # Errors
/// If one may not be signalled.
pub async fn end_processes(root: &Path) -> Result<usize> {
    let left = processes_of(root);
    for process in &left {
        process.stop(PATIENCE).await?;
    }
    Ok(left.len())
}

/// Mount points under `root`, innermost first.
pub fn mounts_under(root: &Path) -> Vec<PathBuf> {
    parse_mounts(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(), root)
}

fn parse_mounts(mountinfo: &str, root: &Path) -> Vec<PathBuf> {
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape);
    let mut found: Vec<PathBuf> = points.filter(|p| p.starts_with(root) && p != root).collect();
    found.reverse();
    found
}

/// The kernel writes blanks, tabs, line ends and backslashes of a path as octal numbers.
fn unescape(text: &str) -> PathBuf {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    PathBuf::from(escapes.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to)))
}

/// Unmounts everything under `root`. Returns how many mounts there were.
///
/// # Errors
/// If a mount cannot be removed.
pub fn unmount_under(root: &Path) -> Result<usize> {
    let mounts = mounts_under(root);
    for point in &mounts {
        match unmount(point, UnmountFlags::DETACH) {
            // Gone with its parent.
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(e) => return Err(e).with_context(|| format!("cannot unmount {}", point.display())),
        }
    }
    Ok(mounts.len())
}

/// Directories of the cgroup `name`, one for each hierarchy that has it.
pub fn cgroup_dirs(name: &str) -> Vec<PathBuf> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = mountinfo
        .lines()
        .filter(|line| line.split(" - ").nth(1).is_some_and(|rest| rest.starts_with("cgroup")))
        .filter_map(|line| line.split(' ').nth(4))
        .map(|mount| unescape(mount).join(name.trim_start_matches('/')))
        .filter(|dir| dir.is_dir())
        .collect();
    dirs.sort();
    dirs.dedup();
    dirs
}

/// Removes the cgroup `name` and all below it, and kills what is still in it: containers that containerd has lost.
///
/// # Errors
/// If a process in it does not end.
pub async fn remove_cgroups(name: &str) -> Result<()> {
    for dir in cgroup_dirs(name) {
        let mut tries = 0;
        kill_members(&dir)?;
        while let Err(error) = remove_tree(&dir) {
            tries += 1;
            if tries == CGROUP_TRIES {
                return Err(error).with_context(|| format!("cannot remove the cgroup {}", dir.display()));
            }
            tokio::time::sleep(CGROUP_PAUSE).await;
        }
    }
    Ok(())
}

fn kill_members(dir: &Path) -> Result<()> {
    let members = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    for pid in members.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)) {
        match kill_process(pid, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(e) => return Err(e).with_context(|| format!("cannot kill process {pid:?}")),
        }
    }
    for entry in fs::read_dir(dir).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
        kill_members(&entry.path())?;
    }
    Ok(())
}

/// Removes directories only, deepest first: the files of a cgroup go with it.
fn remove_tree(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_come_innermost_first_and_only_from_below_the_root() {
        let mountinfo = "1 0 8:1 / / rw - ext4 /dev/a rw
2 1 0:5 / /r/a rw - tmpfs t rw
3 2 0:6 / /r/a/b\\040c rw - tmpfs t rw
4 1 0:7 / /rr/x rw - tmpfs t rw
";
        assert_eq!(parse_mounts(mountinfo, Path::new("/r")), [PathBuf::from("/r/a/b c"), PathBuf::from("/r/a")]);
    }

    #[test]
    fn other_programs_are_not_taken_for_the_runtime() {
        let root = Path::new("/r");
        assert!(is_runtime(&["/usr/bin/containerd", "--config", "/r/run/config.toml"], root));
        assert!(!is_runtime(&["vi", "/r/run/config.toml"], root) && !is_runtime(&["containerd", "-c", "/rr/x"], root));
        assert!(is_server(&["/bin/mainstay", "server", "--root", "/r"], "ms", root));
        assert!(is_server(&["./mainstay-0.1", "server", "--root", "/r"], "ms", root));
        assert!(is_server(&["/opt/ms", "server", "--root", "/r"], "ms", root));
        assert!(!is_server(&["/opt/other", "server", "--root", "/r"], "ms", root));
        assert!(
            !is_server(&["mainstay", "server", "--root", "/rr"], "ms", root)
                && !is_server(&["mainstay", "up", "--root", "/r"], "ms", root)
        );
        assert!(processes_of(Path::new("/nowhere/at/all")).is_empty());
    }
}
