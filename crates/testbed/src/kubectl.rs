//! The real `kubectl`, of the version nearest to the API's.

use crate::process::{Ended, run};
use anyhow::{Context as _, Result};
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Versions in the order in which they are liked.
const VERSIONS: &[&str] = &["kubectl.1.30", "kubectl.1.31", "kubectl.1.29", "kubectl"];
/// Longest that [`Kubectl::eventually`] waits.
const EVENTUALLY: Duration = Duration::from_secs(90);
/// Pause between two questions of [`Kubectl::eventually`].
const PAUSE: Duration = Duration::from_millis(100);

/// What `kubectl` said.
pub type Answer = Ended;

/// `kubectl` with a kubeconfig, in a network namespace if one is given.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    namespace: Option<PathBuf>,
    home: PathBuf,
    flags: Vec<String>,
}

impl Kubectl {
    /// For `kubeconfig`; caches and what is edited go to `home`. `namespace` is a path such as `/run/netns/x`.
    ///
    /// # Errors
    /// If no `kubectl` is installed.
    pub fn new(kubeconfig: &Path, home: &Path, namespace: Option<PathBuf>) -> Result<Self> {
        let program = find().context("kubectl is not installed; `make test` installs it where a package has it")?;
        Ok(Self { program, kubeconfig: kubeconfig.into(), namespace, home: home.into(), flags: Vec::new() })
    }

    /// One for each version that is installed.
    pub fn all(kubeconfig: &Path, home: &Path) -> Vec<Self> {
        let of = |program: PathBuf| Self {
            program,
            kubeconfig: kubeconfig.into(),
            namespace: None,
            home: home.into(),
            flags: Vec::new(),
        };
        installed().into_iter().map(of).collect()
    }

    /// The same with `flags` before every command, such as `--namespace=x`.
    #[must_use]
    pub fn with_flags(&self, flags: &[&str]) -> Self {
        let mut changed = self.clone();
        changed.flags.extend(flags.iter().map(ToString::to_string));
        changed
    }

    /// A command that runs `program` where this `kubectl` runs.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = match &self.namespace {
            None => Command::new(program),
            Some(namespace) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net={}", namespace.display())).arg(program);
                command
            }
        };
        command.env("KUBECONFIG", &self.kubeconfig).env("HOME", &self.home).env("TMPDIR", &self.home);
        command.env_remove("DEBUG");
        command
    }

    /// Runs `kubectl` with arguments that are split at blanks.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn run(&self, arguments: &str) -> Answer {
        self.run_args(&arguments.split_whitespace().collect::<Vec<_>>(), "")
    }

    /// Runs `kubectl` with arguments as they are, and `input` on standard input.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn run_args(&self, arguments: &[&str], input: &str) -> Answer {
        run(self.kubectl().args(arguments), input).expect("kubectl runs")
    }

    /// Standard output of a `kubectl` that must succeed.
    ///
    /// # Panics
    /// If it fails, with what it said.
    pub fn ok(&self, arguments: &str) -> String {
        self.succeeded(arguments, self.run(arguments))
    }

    /// The same with `input` on standard input.
    ///
    /// # Panics
    /// If it fails, with what it said.
    pub fn ok_with(&self, arguments: &str, input: &str) -> String {
        let answer = self.run_args(&arguments.split_whitespace().collect::<Vec<_>>(), input);
        self.succeeded(arguments, answer)
    }

    /// The same with arguments as they are.
    ///
    /// # Panics
    /// If it fails, with what it said.
    pub fn ok_args(&self, arguments: &[&str]) -> String {
        let answer = self.run_args(arguments, "");
        self.succeeded(&arguments.join(" "), answer)
    }

    fn succeeded(&self, arguments: &str, answer: Answer) -> String {
        assert!(answer.code == 0, "kubectl {arguments}: exit code {}: {}{}", answer.code, answer.stderr, answer.stdout);
        answer.stdout
    }

    /// Standard error of a `kubectl` that must fail.
    ///
    /// # Panics
    /// If it succeeds.
    pub fn fails(&self, arguments: &str) -> String {
        let answer = self.run(arguments);
        assert!(answer.code != 0, "kubectl {arguments} succeeded: {}", answer.stdout);
        answer.stderr
    }

    /// Asks again until the output is what `wanted` says; for what has no `kubectl wait`.
    ///
    /// # Panics
    /// If it does not become so in time, with the last answer.
    pub fn eventually(&self, arguments: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + EVENTUALLY;
        loop {
            let answer = self.run(arguments);
            if answer.code == 0 && wanted(&answer.stdout) {
                return answer.stdout;
            }
            assert!(
                Instant::now() < deadline,
                "kubectl {arguments} never said it; last: {}{}",
                answer.stdout,
                answer.stderr
            );
            std::thread::sleep(PAUSE);
        }
    }

    /// A `kubectl` in the background.
    pub fn background(&self, arguments: &str) -> Command {
        let mut command = self.kubectl();
        command.args(arguments.split_whitespace());
        command
    }

    /// `kubectl` as a line for a shell, without its arguments; the environment is that of [`Kubectl::command`].
    pub fn shell_line(&self) -> String {
        let program = std::iter::once(self.program.display().to_string());
        program.chain(self.flags.iter().cloned()).collect::<Vec<_>>().join(" ")
    }

    fn kubectl(&self) -> Command {
        let mut command = self.command(&self.program);
        command.args(&self.flags);
        command
    }
}

fn find() -> Option<PathBuf> {
    let dirs = dirs();
    VERSIONS.iter().find_map(|name| dirs.iter().map(|dir| dir.join(name)).find(|p| p.is_file()))
}

/// Where a `kubectl` may lie.
fn dirs() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = env::split_paths(&path).collect();
    // Several versions may lie beside the one that `PATH` leads to.
    let linked = dirs.iter().filter_map(|dir| dir.join("kubectl").canonicalize().ok());
    let beside: Vec<PathBuf> = linked.filter_map(|p| p.parent().map(Path::to_path_buf)).collect();
    dirs.extend(beside);
    dirs
}

/// Each `kubectl.1.NN` there is; where there is none, the plain `kubectl`.
fn installed() -> Vec<PathBuf> {
    let entries = dirs().into_iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten();
    let named = |path: &PathBuf| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("kubectl.1."));
    let mut versions: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(named).collect();
    versions.sort();
    versions.dedup_by(|a, b| a.file_name() == b.file_name());
    if versions.is_empty() { find().into_iter().collect() } else { versions }
}
