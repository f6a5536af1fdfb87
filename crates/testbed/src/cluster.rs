//! A cluster of `mainstay up` in a network namespace of its own.

use crate::kubectl::Kubectl;
use crate::namespace::Namespace;
use crate::process::{Ended, run};
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Lines of a log that are shown when a test fails.
const LOG_LINES_SHOWN: usize = 60;

/// For the server, so that tests do not depend on how full the disk is.
const SERVER_FLAGS: [&str; 2] = ["--", "--eviction-hard=memory.available<100Mi,nodefs.available<1%"];

/// A process that containerd runs: a container or the pause process of a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Task {
    /// Id of the container.
    pub id: String,
    /// Process id on the machine.
    pub pid: u32,
    /// `RUNNING` and so on.
    pub state: String,
}

/// A running cluster; taken down when dropped.
#[derive(Debug)]
pub struct Cluster {
    binary: PathBuf,
    root: TempDir,
    namespace: Namespace,
    down: bool,
}

impl Cluster {
    /// Makes a namespace and a place for a root, and starts nothing.
    ///
    /// # Errors
    /// If they cannot be made.
    pub fn prepare(binary: &str) -> Result<Self> {
        let root = tempfile::Builder::new().prefix("ms").tempdir()?;
        Ok(Self { binary: binary.into(), root, namespace: Namespace::new()?, down: true })
    }

    /// Takes the cluster down when dropped, although [`Cluster::up`] did not start it.
    pub fn take_down_later(&mut self) {
        self.down = false;
    }

    /// Makes a namespace and runs `mainstay up` in it.
    ///
    /// # Errors
    /// If `up` fails, with what it said.
    pub fn up(binary: &str, flags: &[&str]) -> Result<Self> {
        let mut cluster = Self::prepare(binary)?;
        cluster.down = false;
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
        let mut mainstay = self.namespace.command(&self.binary);
        mainstay.arg(command).arg("--root").arg(self.root()).args(flags);
        if command == "up" && !flags.contains(&"--") {
            mainstay.args(SERVER_FLAGS);
        }
        run(&mut mainstay, "")
    }

    /// Process id of the server that `up` started.
    ///
    /// # Errors
    /// If there is none.
    pub fn server_pid(&self) -> Result<u32> {
        let state = std::fs::read(self.root().join("run/mainstay/up.json"))?;
        let state: serde_json::Value = serde_json::from_slice(&state)?;
        let pid = state["server"]["pid"].as_u64().context("up.json has no process id")?;
        Ok(u32::try_from(pid)?)
    }

    /// Process id of the cluster's containerd.
    ///
    /// # Errors
    /// If there is none.
    pub fn containerd_pid(&self) -> Result<u32> {
        Ok(std::fs::read_to_string(self.root().join("run/containerd/containerd.pid"))?.trim().parse()?)
    }

    /// What containerd runs, sorted.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn tasks(&self) -> Result<Vec<Task>> {
        let socket = self.root().join("run/containerd/containerd.sock");
        let list = run(Command::new("ctr").arg("-a").arg(socket).args(["-n", "k8s.io", "tasks", "ls"]), "")?;
        if list.code != 0 {
            bail!("ctr tasks ls: {}", list.stderr);
        }
        let mut tasks = Vec::new();
        for line in list.stdout.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if let [id, pid, state] = fields[..] {
                tasks.push(Task { id: id.into(), pid: pid.parse()?, state: state.into() });
            }
        }
        tasks.sort();
        Ok(tasks)
    }

    /// Kills a process without warning and returns when it is gone.
    ///
    /// # Errors
    /// If it cannot be signalled or does not go.
    pub fn kill(&self, pid: u32) -> Result<()> {
        let killed = run(Command::new("kill").args(["-9", &pid.to_string()]), "")?;
        if killed.code != 0 {
            bail!("kill -9 {pid}: {}", killed.stderr);
        }
        let gone = run(
            Command::new("timeout").args(["10", "tail", "--pid", &pid.to_string(), "-s", "0.01", "-f", "/dev/null"]),
            "",
        )?;
        if gone.code != 0 {
            bail!("process {pid} does not go");
        }
        Ok(())
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
        // A server that does not end when it is asked to is killed, and `down` says so.
        if down.code != 0 || down.stderr.contains("was killed") {
            bail!("mainstay down: {}{}", down.stdout, down.stderr);
        }
        Ok(())
    }

    /// What somebody would look at who wants to know why a test with this cluster failed.
    pub fn diagnosis(&self) -> String {
        let mut out = String::new();
        let mut section = |title: &str, text: &str| {
            let lines: Vec<&str> = text.lines().collect();
            let shown = lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n");
            out.push_str(&format!("---- {title}\n{shown}\n"));
        };
        match self.kubectl() {
            Err(error) => section("kubectl", &error.to_string()),
            Ok(kubectl) => {
                for arguments in ["get nodes,pods -A -o wide", "get events -A", "get pods -A -o yaml"] {
                    let answer = kubectl.with_flags(&["--request-timeout=5s"]).run(arguments);
                    section(&format!("kubectl {arguments}"), &format!("{}{}", answer.stdout, answer.stderr));
                }
            }
        }
        section("containers", &self.tasks().map_or_else(|e| e.to_string(), |tasks| format!("{tasks:#?}")));
        for log in ["var/log/mainstay/server.log", "var/log/containerd.log"] {
            section(log, &std::fs::read_to_string(self.root().join(log)).unwrap_or_else(|e| e.to_string()));
        }
        out
    }

    /// The directory above the root, for files of the test.
    pub fn scratch(&self) -> &Path {
        self.root.path()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.down {
            return;
        }
        // A test that gets to its end takes its cluster down itself.
        eprintln!("{}", self.diagnosis());
        if let Err(error) = self.down() {
            eprintln!("cannot take the cluster down: {error:#}");
        }
    }
}
