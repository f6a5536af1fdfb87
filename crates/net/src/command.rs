//! Running `nft` and `ip`, the two programs that this crate needs.

use std::process::Stdio;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Why a program did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It could not be started.
    #[error("cannot run {program}")]
    Start {
        /// Which program.
        program: &'static str,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// It ended with an error.
    #[error("{program} failed: {message}")]
    Failed {
        /// Which program.
        program: &'static str,
        /// What it said, on one line.
        message: String,
    },
}

/// Runs `program` with `arguments` and `input`; returns what it printed.
pub(crate) async fn run(program: &'static str, arguments: &[&str], input: &str) -> Result<String, CommandError> {
    let start = |source| CommandError::Start { program, source };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(start)?;
    let stdin = child.stdin.take();
    let feed = async {
        match stdin {
            // A program that ends before it has read all says why on standard error.
            Some(mut pipe) => pipe.write_all(input.as_bytes()).await.is_ok(),
            None => false,
        }
    };
    let (_, output) = tokio::join!(feed, child.wait_with_output());
    let output = output.map_err(start)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let message = text.lines().map(str::trim).filter(|l| !l.is_empty()).take(4).collect::<Vec<_>>().join("; ");
    Err(CommandError::Failed { program, message })
}
