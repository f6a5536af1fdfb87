//! A program on a pseudo-terminal, spoken to as a person would: wait for words, then type.

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

/// A running program; killed and waited for when dropped.
pub struct Terminal {
    child: Child,
    keyboard: Option<ChildStdin>,
    screen: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    /// Starts `command`, which brings its own terminal, or is watched without one.
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the program starts");
        let keyboard = child.stdin.take();
        let mut output = child.stdout.take().expect("standard output is a pipe");
        let (send, screen) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                if send.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keyboard, screen, seen: String::new() }
    }

    /// Waits until `text` appears after what was waited for before.
    pub fn expect(&mut self, text: &str) -> &mut Self {
        let at = self.await_text(text);
        self.seen.drain(..at + text.len());
        self
    }

    /// Waits until `text` has appeared; returns where.
    fn await_text(&mut self, text: &str) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.find(text) {
                return at;
            }
            match self.screen.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Timeout) => panic!("{text:?} did not appear in time; last: {:?}", self.seen),
                Err(RecvTimeoutError::Disconnected) => panic!("{text:?} did not appear; the end: {:?}", self.seen),
            }
        }
    }

    /// The rest of the line after what was waited for.
    pub fn line(&mut self) -> String {
        self.await_text("\n");
        let end = self.seen.find('\n').unwrap_or(self.seen.len());
        let line = self.seen.drain(..end).collect::<String>();
        line.trim_end().to_owned()
    }

    /// Types `text`.
    pub fn enter(&mut self, text: &str) -> &mut Self {
        let keyboard = self.keyboard.as_mut().expect("the keyboard is there until the end");
        keyboard.write_all(text.as_bytes()).and_then(|()| keyboard.flush()).expect("the program reads");
        self
    }

    /// Waits until the program has ended by itself; returns its exit code.
    pub fn ended(&mut self) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.screen.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Timeout) => panic!("it did not end in time; last: {:?}", self.seen),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.child.wait().expect("it can be waited for").code().unwrap_or(-1)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.keyboard = None;
        if self.child.kill().is_ok() && self.child.wait().is_err() {
            eprintln!("cannot wait for a program of the test");
        }
    }
}
