//! A cluster of `mainstay up` in a network namespace of its own.

use crate::kubectl::Kubectl;
use crate::namespace::Namespace;
use crate::process::{Ended, run};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A running cluster; taken down when dropped.
#[derive(Debug)]
pub struct Cluster {
    binary: PathBuf,
    root: TempDir,
    namespace: Namespace,
    down: bool,
}

impl Cluster {
    /// Makes a namespace and runs `mainstay up` in it.
    ///
    /// # Errors
    /// If `up` fails, with what it said.
    pub fn up(binary: &str, flags: &[&str]) -> Result<Self> {
        let root = tempfile::Builder::new().prefix("ms").tempdir()?;
        let mut cluster = Self { binary: binary.into(), root, namespace: Namespace::new()?, down: false };
        let up = cluster.mainstay("up", flags)?;
        if up.code != 0 {
            let log = std::fs::read_to_string(cluster.root().join("var/log/mainstay/server.log")).unwrap_or_default();
            cluster.down()?;
            bail!("mainstay up: {}{}\n{log}", up.stdout, up.stderr);
        }
        Ok(cluster)
    }

    /// Runs a command of `mainstay` for this cluster.
    ///
    /// # Errors
    /// If the binary cannot be started.
    pub fn mainstay(&self, command: &str, flags: &[&str]) -> Result<Ended> {
        run(self.namespace.command(&self.binary).arg(command).arg("--root").arg(self.root()).args(flags), "")
    }

    /// Its root, below the test's own directory.
    pub fn root(&self) -> PathBuf {
        self.root.path().join("c")
    }

    /// The namespace that it runs in.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// A `kubectl` for it.
    ///
    /// # Errors
    /// If none is installed.
    pub fn kubectl(&self) -> Result<Kubectl> {
        let kubeconfig = self.root().join("etc/kubernetes/admin.conf");
        Kubectl::new(&kubeconfig, self.root.path(), Some(self.namespace.path()))
    }

    /// Takes it down.
    ///
    /// # Errors
    /// If `down` fails, with what it said.
    pub fn down(&mut self) -> Result<()> {
        self.down = true;
        let down = self.mainstay("down", &[])?;
        if down.code != 0 {
            bail!("mainstay down: {}{}", down.stdout, down.stderr);
        }
        Ok(())
    }

    /// The directory above the root, for files of the test.
    pub fn scratch(&self) -> &Path {
        self.root.path()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.down
            && let Err(error) = self.down()
        {
            eprintln!("cannot take the cluster down: {error:#}");
        }
    }
}
