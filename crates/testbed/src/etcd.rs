//! A real etcd of one member, on loopback, with data that go when it is dropped.

use crate::process::{Running, free_port};
use anyhow::{Context as _, Result, bail};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A running etcd.
#[derive(Debug)]
pub struct Etcd {
    /// Its client address, such as `http://127.0.0.1:2379`.
    pub url: String,
    running: Running,
    _data: TempDir,
}

impl Etcd {
    /// Starts one and returns when it answers.
    ///
    /// # Errors
    /// If etcd is not installed or does not start.
    pub fn start() -> Result<Self> {
        let data = tempfile::tempdir()?;
        let (client, peer) = (free_port()?, free_port()?);
        let url = format!("http://127.0.0.1:{client}");
        let peer = format!("http://127.0.0.1:{peer}");
        let mut command = Command::new("etcd");
        command
            .args(["--name", "test", "--data-dir"])
            .arg(data.path())
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("test={peer}"), "--log-level", "error"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut running = Running::start(&mut command).context("etcd is needed; `make test` installs it")?;
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(("127.0.0.1", client)).is_err() {
            if let Some(code) = running.ended()? {
                bail!("etcd ended with exit code {code}");
            }
            if Instant::now() > deadline {
                bail!("etcd does not answer");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Self { url, running, _data: data })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }
}
