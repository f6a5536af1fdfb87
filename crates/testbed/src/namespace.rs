//! A network namespace of a test's own, with one address besides loopback.

use crate::process::{Ended, run};
use anyhow::{Result, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Address of the machine in each namespace.
const ADDRESS: &str = "172.30.0.1/24";

/// A named network namespace; deleted when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one with loopback up and [`ADDRESS`] on a link of its own.
    ///
    /// # Errors
    /// If `ip` fails; it needs root.
    pub fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("mainstay-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        ip(&["netns", "add", &name])?;
        let namespace = Self { name };
        for arguments in [
            "link set lo up",
            "link add up0 type veth peer name up1",
            &format!("addr add {ADDRESS} dev up0"),
            "link set up0 up",
            "link set up1 up",
        ] {
            let mut all = vec!["-n", &namespace.name];
            all.extend(arguments.split(' '));
            ip(&all)?;
        }
        Ok(namespace)
    }

    /// Its file.
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// A command that runs `program` in it.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg(program);
        command
    }

    /// Moves the calling thread into it, for good; sockets that the thread makes are there.
    ///
    /// # Errors
    /// If it may not; it needs root.
    pub fn enter(path: &Path) -> Result<()> {
        let file = File::open(path)?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(())
    }

    /// Runs a shell script in it.
    ///
    /// # Errors
    /// If the shell cannot be started.
    pub fn shell(&self, script: &str) -> Result<Ended> {
        run(self.command("bash").args(["-euc", script]), "")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = ip(&["netns", "del", &self.name]) {
            eprintln!("cannot remove the namespace {}: {error}", self.name);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let ended = run(Command::new("ip").args(arguments), "")?;
    if ended.code != 0 {
        bail!("ip {}: {}", arguments.join(" "), ended.stderr.trim());
    }
    Ok(())
}
