//! `mainstay server --roles api`: the API server alone, on loopback.

use crate::kubectl::Kubectl;
use crate::process::{Notifications, Running};
use anyhow::{Context as _, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// How to start an [`ApiServer`].
#[derive(Debug, Clone, Default)]
pub struct ServerOptions {
    /// Flags beside those for the root and the address.
    pub flags: Vec<String>,
    /// Roles; `api` if empty.
    pub roles: String,
    /// Directory that gets the root; that of temporary files if none is given.
    pub parent: Option<PathBuf>,
}

/// A running API server with a root of its own.
#[derive(Debug)]
pub struct ApiServer {
    binary: PathBuf,
    root: TempDir,
    options: ServerOptions,
    running: Option<Running>,
}

impl ApiServer {
    /// Starts `binary` and returns when the API is usable.
    ///
    /// # Errors
    /// If it does not become ready; its log is in the error.
    pub fn start(binary: &str, options: ServerOptions) -> Result<Self> {
        let mut server = Self::prepare(binary, options)?;
        server.restart()?;
        Ok(server)
    }

    /// Makes a root and starts nothing.
    ///
    /// # Errors
    /// If the root cannot be made.
    pub fn prepare(binary: &str, options: ServerOptions) -> Result<Self> {
        let root = match &options.parent {
            Some(parent) => tempfile::tempdir_in(parent)?,
            None => tempfile::tempdir()?,
        };
        Ok(Self { binary: binary.into(), root, options, running: None })
    }

    /// Starts it and kills it without warning after `patience`, ready or not.
    ///
    /// # Errors
    /// If it cannot be started or killed.
    pub fn start_and_kill(&self, patience: Duration) -> Result<()> {
        let mut running = self.spawn()?;
        std::thread::sleep(patience);
        running.kill()
    }

    /// Starts it again on the same root.
    ///
    /// # Errors
    /// If it does not become ready.
    pub fn restart(&mut self) -> Result<()> {
        let notifications = Notifications::listen(&self.root().join("notify.sock"))?;
        let mut running = self.spawn()?;
        notifications.wait_ready(&mut running, READY_TIMEOUT).with_context(|| self.log())?;
        self.running = Some(running);
        Ok(())
    }

    fn spawn(&self) -> Result<Running> {
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let roles = if self.options.roles.is_empty() { "api" } else { &self.options.roles };
        let mut command = Command::new(&self.binary);
        command
            .args(["server", "--roles", roles, "--bind-address", "127.0.0.1", "--secure-port", "0", "--root"])
            .arg(self.root())
            .args(&self.options.flags)
            .env("NOTIFY_SOCKET", self.root().join("notify.sock"))
            .stdout(log.try_clone()?)
            .stderr(log);
        Running::start(&mut command)
    }

    /// Its root.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Its administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.root().join("etc/kubernetes/admin.conf")
    }

    /// A `kubectl` for it.
    ///
    /// # Errors
    /// If none is installed.
    pub fn kubectl(&self) -> Result<Kubectl> {
        Kubectl::new(&self.kubeconfig(), self.root(), None)
    }

    /// The process.
    ///
    /// # Panics
    /// If it was stopped.
    pub fn process(&mut self) -> &mut Running {
        self.running.as_mut().expect("the server runs")
    }

    fn log_path(&self) -> PathBuf {
        self.root().join("server.log")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }
}
