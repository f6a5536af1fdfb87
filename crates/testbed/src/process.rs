//! Programs that a test runs: waited for, or ended when the test ends.

use anyhow::{Context as _, Result, bail};
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a program said and how it ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Exit code; -1 if a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs a program to its end, with `input` on standard input.
///
/// # Errors
/// If it cannot be started.
pub fn run(command: &mut Command, input: &str) -> Result<Ended> {
    let name = format!("{:?}", command.get_program());
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    let input = input.to_owned();
    // A program that reads nothing ends the pipe early; its own words say why.
    let feed = std::thread::spawn(move || stdin.write_all(input.as_bytes()).is_ok());
    let output = child.wait_with_output().with_context(|| format!("cannot wait for {name}"))?;
    drop(feed.join());
    Ok(Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// A program in the background; killed and waited for when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
}

impl Running {
    /// Starts a program.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        let name = format!("{:?}", command.get_program());
        let child = command.stdin(Stdio::null()).spawn().with_context(|| format!("cannot run {name}"))?;
        Ok(Self { child })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it without warning and waits until it is gone.
    ///
    /// # Errors
    /// If it cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().context("cannot kill")?;
        self.child.wait().context("cannot wait")?;
        Ok(())
    }

    /// Asks it to end and waits; returns its exit code, -1 if a signal ended it.
    ///
    /// # Errors
    /// If it cannot be signalled.
    pub fn terminate(&mut self) -> Result<i32> {
        let ended = run(Command::new("kill").arg(self.pid().to_string()), "")?;
        if ended.code != 0 {
            bail!("cannot signal: {}", ended.stderr);
        }
        Ok(self.child.wait().context("cannot wait")?.code().unwrap_or(-1))
    }

    /// Its exit code, if it has ended.
    ///
    /// # Errors
    /// If its state cannot be asked for.
    pub fn ended(&mut self) -> Result<Option<i32>> {
        Ok(self.child.try_wait()?.map(|status| status.code().unwrap_or(-1)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.kill().is_ok() && self.child.wait().is_err() {
            eprintln!("cannot wait for a program of the test");
        }
    }
}

/// The receiving end of systemd's notification protocol.
pub(crate) struct Notifications {
    socket: UnixDatagram,
}

impl Notifications {
    pub(crate) fn listen(path: &Path) -> Result<Self> {
        if path.exists() {
            std::fs::remove_file(path)?;
        }
        let socket = UnixDatagram::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        Ok(Self { socket })
    }

    /// Waits until `program` says that it is ready.
    pub(crate) fn wait_ready(&self, program: &mut Running, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        let mut buffer = [0; 4096];
        loop {
            if let Ok(length) = self.socket.recv(&mut buffer)
                && String::from_utf8_lossy(&buffer[..length]).lines().any(|line| line == "READY=1")
            {
                return Ok(());
            }
            if let Some(code) = program.ended()? {
                bail!("it ended with exit code {code} before it was ready");
            }
            if Instant::now() > deadline {
                bail!("it is not ready after {} s", patience.as_secs());
            }
        }
    }
}

/// A port of the loopback address that nobody listens on at this moment.
///
/// # Errors
/// If there is none.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0").context("no free port")?.local_addr()?.port())
}
