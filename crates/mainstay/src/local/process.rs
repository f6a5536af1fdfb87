//! Processes by identity, not by number: a process id that was given to another program is not taken for ours.

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// A process id with the time at which the process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id.
    pub pid: i32,
    /// Clock ticks after boot at which it started.
    pub started_ticks: u64,
}

impl Process {
    /// The running process of that id; `None` if there is none.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, started_ticks) = parse_stat(&stat)?;
        (state != 'Z').then_some(Self { pid, started_ticks })
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        Self::of(self.pid).is_some_and(|now| now.started_ticks == self.started_ticks)
    }

    /// Resident memory in bytes; `None` if it is over.
    pub fn rss_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find(|l| l.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
    }

    fn open(&self) -> Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(None) };
        let fd = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(e) => return Err(e).with_context(|| format!("cannot watch process {}", self.pid)),
        };
        // The descriptor now pins the process; only here is the comparison without a race.
        Ok(self.is_running().then_some(fd))
    }

    /// Asks it to end, and kills it if it has not ended after `patience`. Returns whether it ended by itself.
    ///
    /// # Errors
    /// If it may not be signalled.
    pub async fn stop(&self, patience: Duration) -> Result<bool> {
        let Some(fd) = self.open()? else { return Ok(true) };
        let signal = |signal| match pidfd_send_signal(&fd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(e) => Err(e).with_context(|| format!("cannot signal process {}", self.pid)),
        };
        signal(Signal::TERM)?;
        if ended(fd.try_clone()?, Some(patience)).await? {
            return Ok(true);
        }
        signal(Signal::KILL)?;
        ended(fd, None).await?;
        Ok(false)
    }
}

/// Waits until the process behind a descriptor has ended; `false` if it still runs after `patience`.
async fn ended(fd: OwnedFd, patience: Option<Duration>) -> Result<bool> {
    let timeout = patience.map(Timespec::try_from).transpose().context("the time is too long")?;
    let wait = move || loop {
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other,
        }
    };
    let ready = tokio::task::spawn_blocking(wait).await.context("cannot wait for a process")?;
    Ok(ready.context("cannot wait for a process")? > 0)
}

/// State letter and start time of `/proc/PID/stat`; the program's name may hold blanks and brackets.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let rest = stat.get(stat.rfind(')')? + 2..)?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    // Field 22 of the line; the state is field 3.
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "12 (a) b) S 1 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 2000";
        assert_eq!(parse_stat(stat), Some(('S', 987_654)));
    }

    #[tokio::test]
    async fn a_process_is_stopped_and_its_number_is_not_mistaken_for_it() {
        let mut child = tokio::process::Command::new("sleep").arg("60").spawn().expect("sleep runs");
        let pid = i32::try_from(child.id().expect("an id")).expect("fits");
        let process = Process::of(pid).expect("running");
        assert!(!Process { started_ticks: process.started_ticks + 1, ..process }.is_running());
        assert!(process.rss_bytes().is_some_and(|b| b > 0));
        let (ended, status) = tokio::join!(process.stop(Duration::from_secs(5)), child.wait());
        assert!(ended.expect("stopped"));
        assert!(!status.expect("waited").success());
        assert!(!process.is_running());
    }
}
