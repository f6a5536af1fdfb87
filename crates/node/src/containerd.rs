//! A containerd instance of our own: its configuration, its process, its images. Everything lies below one directory,
//! so that many run on one machine. It may outlive us, and is found again by its pidfile. Knows nothing of Kubernetes.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use futures::StreamExt as _;
use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::time::Instant;

use crate::Adaptations;
use crate::cri::{Cri, CriError};
use crate::watchfile::FileWatch;

/// The sandbox image that our own instance uses.
pub const PAUSE_IMAGE: &str = "registry.k8s.io/pause:3.9";
/// How long a containerd may take to answer on its socket.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a containerd may take to end after SIGTERM before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the CRI plugin may take to notice an imported image.
const IMPORT_NOTICED_TIMEOUT: Duration = Duration::from_secs(10);
/// Pods removed at once.
const REMOVALS_AT_ONCE: usize = 8;
/// Longest path that fits a unix socket address, with room for containerd's `.ttrpc`.
const SOCKET_PATH_MAX: usize = 100;

/// What went wrong with a containerd.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be written, read or watched.
    #[error("{what} {path}")]
    File {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A path cannot be watched.
    #[error("watch {path}")]
    Watch {
        /// Which path.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: notify::Error,
    },
    /// The socket's path is too long for the kernel.
    #[error("socket path {0} is longer than {SOCKET_PATH_MAX} bytes: choose a shorter root directory")]
    SocketPath(PathBuf),
    /// A program could not be run.
    #[error("run {program}")]
    Run {
        /// Which program.
        program: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A program ended with an error.
    #[error("{program} failed: {stderr}")]
    Failed {
        /// Which program.
        program: String,
        /// What it said.
        stderr: String,
    },
    /// containerd ended while we waited for it.
    #[error("containerd ended while starting ({status}); its log is {log}")]
    Ended {
        /// How it ended.
        status: String,
        /// Where its log is.
        log: PathBuf,
    },
    /// containerd did not answer in time.
    #[error("containerd did not answer in {}s; its log is {log}", START_TIMEOUT.as_secs())]
    Silent {
        /// Where its log is.
        log: PathBuf,
    },
    /// The process could not be signalled or waited for.
    #[error("signal containerd (pid {pid})")]
    Signal {
        /// Which process.
        pid: i32,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// An imported image did not appear.
    #[error("image {0} was imported but the runtime does not list it")]
    NotNoticed(String),
}

/// How to run an instance.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program, `containerd` to look it up in PATH.
    pub program: PathBuf,
    /// Every file of the instance lies below this directory.
    pub root_dir: PathBuf,
    /// Where the CNI plugins are.
    pub cni_bin_dir: PathBuf,
    /// Where the CNI configuration will be; made if missing.
    pub cni_conf_dir: PathBuf,
    /// Reference of the sandbox image.
    pub sandbox_image: String,
    /// Let systemd manage cgroups instead of writing them directly.
    pub systemd_cgroup: bool,
    /// Where departures from the normal way of working are written down.
    pub adaptations: Adaptations,
}

impl Options {
    /// An instance below `root_dir`, laid out as the distribution's containerd is below `/`.
    pub fn new(root_dir: impl Into<PathBuf>) -> Self {
        // The runtime resolves relative paths elsewhere than we do.
        let root_dir = root_dir.into();
        let root_dir = std::path::absolute(&root_dir).unwrap_or(root_dir);
        Self {
            program: "containerd".into(),
            cni_bin_dir: ["/opt/cni/bin", "/usr/lib/cni"]
                .iter()
                .map(PathBuf::from)
                .find(|d| d.join("loopback").exists())
                .unwrap_or("/opt/cni/bin".into()),
            cni_conf_dir: root_dir.join("etc/cni/net.d"),
            root_dir,
            sandbox_image: PAUSE_IMAGE.into(),
            systemd_cgroup: false,
            adaptations: Adaptations::default(),
        }
    }

    /// Path of the socket that serves the CRI.
    pub fn socket(&self) -> PathBuf {
        self.state_dir().join("containerd.sock")
    }

    /// Whether an instance has ever run here.
    pub fn has_data(&self) -> bool {
        self.data_dir().exists()
    }

    fn state_dir(&self) -> PathBuf {
        self.root_dir.join("run/containerd")
    }

    fn data_dir(&self) -> PathBuf {
        self.root_dir.join("var/lib/containerd")
    }

    fn pidfile(&self) -> PathBuf {
        self.state_dir().join("containerd.pid")
    }

    fn log_file(&self) -> PathBuf {
        self.root_dir.join("var/log/containerd.log")
    }
}

/// A running instance.
#[derive(Debug)]
pub struct Containerd {
    options: Options,
    pid: i32,
    child: Option<tokio::process::Child>,
}

/// Starts an instance, or finds the one that runs already, and returns when it answers.
pub async fn start(options: Options) -> Result<Containerd, Error> {
    if options.socket().as_os_str().len() > SOCKET_PATH_MAX {
        return Err(Error::SocketPath(options.socket()));
    }
    for dir in [options.state_dir(), options.data_dir(), options.cni_conf_dir.clone(), options.root_dir.join("var/log")]
    {
        std::fs::create_dir_all(&dir).map_err(file("create", &dir))?;
    }
    let restrict = !may_lower_oom_score();
    if restrict {
        options.adaptations.add(
            "restrict_oom_score_adj",
            "no CAP_SYS_RESOURCE: the kernel refuses lower OOM scores, so containers keep at least ours",
        );
    }
    let config = options.state_dir().join("config.toml");
    std::fs::write(&config, render_config(&options, restrict)).map_err(file("write", &config))?;
    if let Some(pid) = running_pid(&options) {
        let running = Containerd { options, pid, child: None };
        running.wait_until_it_answers().await?;
        return Ok(running);
    }
    spawn(options, &config).await
}

async fn spawn(options: Options, config: &Path) -> Result<Containerd, Error> {
    let log_path = options.log_file();
    let log = std::fs::OpenOptions::new().create(true).append(true).open(&log_path).map_err(file("open", &log_path))?;
    let log_err = log.try_clone().map_err(file("open", &log_path))?;
    if options.socket().exists() {
        std::fs::remove_file(options.socket()).map_err(file("remove", &options.socket()))?;
    }
    let mut command = std::process::Command::new(&options.program);
    // A process group of its own: what ends us from the terminal does not end the containers' runtime.
    command.arg("--config").arg(config).stdin(Stdio::null()).stdout(log).stderr(log_err).process_group(0);
    // It would tell our own supervisor that we are ready as soon as it is.
    command.env_remove("NOTIFY_SOCKET");
    let child = tokio::process::Command::from(command)
        .spawn()
        .map_err(|source| Error::Run { program: options.program.display().to_string(), source })?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
    let pidfile = options.pidfile();
    std::fs::write(&pidfile, pid.to_string()).map_err(file("write", &pidfile))?;
    let mut running = Containerd { options, pid, child: Some(child) };
    let Some(mut child) = running.child.take() else { return Ok(running) };
    let answer = tokio::select! {
        answer = running.wait_until_it_answers() => answer,
        status = child.wait() => {
            let status = status.map_or_else(|e| e.to_string(), |s| s.to_string());
            Err(Error::Ended { status, log: log_path })
        }
    };
    if let Err(error) = answer {
        child.kill().await.map_err(|source| Error::Signal { pid, source })?;
        std::fs::remove_file(&pidfile).map_err(file("remove", &pidfile))?;
        return Err(error);
    }
    running.child = Some(child);
    Ok(running)
}

/// The instance that runs below the options' root directory, if there is one; starts nothing.
pub async fn find(options: Options) -> Result<Option<Containerd>, Error> {
    let Some(pid) = running_pid(&options) else { return Ok(None) };
    let running = Containerd { options, pid, child: None };
    running.wait_until_it_answers().await?;
    Ok(Some(running))
}

impl Containerd {
    /// Stops and removes every pod of the instance, with its network and its mounts, so that nothing of it is left
    /// running when it stops. Returns how many there were.
    ///
    /// # Errors
    /// If the runtime refuses.
    pub async fn remove_pods(&self) -> Result<usize, CriError> {
        let cri = Cri::connect(&self.socket());
        let sandboxes = cri.list_pod_sandboxes(None).await?;
        let count = sandboxes.len();
        let removals = sandboxes.into_iter().map(|sandbox| {
            let cri = cri.clone();
            async move {
                cri.stop_pod_sandbox(&sandbox.id).await?;
                cri.remove_pod_sandbox(&sandbox.id).await
            }
        });
        let mut removals = futures::stream::iter(removals).buffer_unordered(REMOVALS_AT_ONCE);
        while let Some(removed) = removals.next().await {
            match removed {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        Ok(count)
    }

    /// Path of the socket that serves the CRI.
    pub fn socket(&self) -> PathBuf {
        self.options.socket()
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Imports an OCI image archive and returns when the CRI lists the image under `reference`. An image that is
    /// listed already is left alone.
    pub async fn import(&self, reference: &str, archive: &[u8]) -> Result<(), Error> {
        let cri = Cri::connect(&self.socket());
        if has_image(&cri, reference).await {
            return Ok(());
        }
        let file_name = format!("import-{}.tar", std::process::id());
        let path = self.options.state_dir().join(file_name);
        std::fs::write(&path, archive).map_err(file("write", &path))?;
        let result = self.import_file(&path).await;
        std::fs::remove_file(&path).map_err(file("remove", &path))?;
        result?;
        // The CRI plugin learns of it by an internal event and has no way to tell us: ask again, ever more slowly.
        let deadline = Instant::now() + IMPORT_NOTICED_TIMEOUT;
        let mut pause = Duration::from_millis(2);
        while !has_image(&cri, reference).await {
            if Instant::now() + pause > deadline {
                return Err(Error::NotNoticed(reference.into()));
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Ok(())
    }

    /// Imports every image of an archive file; the references are those in its index.
    pub async fn import_file(&self, path: &Path) -> Result<(), Error> {
        let mut ctr = tokio::process::Command::new("ctr");
        ctr.arg("--address").arg(self.socket()).args(["--namespace", "k8s.io", "images", "import"]).arg(path);
        let output = ctr.output().await.map_err(|source| Error::Run { program: "ctr".into(), source })?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::Failed {
            program: "ctr images import".into(),
            stderr: String::from_utf8_lossy(&output.stderr).trim().into(),
        })
    }

    /// Imports the pause image that sandboxes run, built here.
    pub async fn import_pause(&self) -> Result<(), Error> {
        let reference = self.options.sandbox_image.clone();
        let archive = crate::image::archive(&crate::image::pause(&reference));
        self.import(&reference, &archive).await
    }

    /// Ends the instance. Containers and their shims go on; remove the pods first if they should not.
    pub async fn stop(mut self) -> Result<(), Error> {
        if let Some(pid) = Pid::from_raw(self.pid) {
            let signalled = rustix::process::kill_process(pid, Signal::TERM);
            if signalled.is_ok() && tokio::time::timeout(STOP_TIMEOUT, self.ended()).await.is_err() {
                tracing::warn!(pid = self.pid, "containerd ignores SIGTERM, killing it");
                rustix::process::kill_process(pid, Signal::KILL)
                    .map_err(|e| Error::Signal { pid: self.pid, source: e.into() })?;
                self.ended().await?;
            }
        }
        let pidfile = self.options.pidfile();
        std::fs::remove_file(&pidfile).map_err(file("remove", &pidfile))
    }

    /// Starts the instance again after it has [ended](Self::ended); containers have gone on meanwhile.
    pub async fn restart(&mut self) -> Result<(), Error> {
        *self = start(self.options.clone()).await?;
        Ok(())
    }

    /// Returns when the process has ended. If it is not our child a thread waits for it, also when nobody waits for
    /// this any more: a program that containerd outlives must not wait for its threads.
    pub async fn ended(&mut self) -> Result<(), Error> {
        let signal_error = |source| Error::Signal { pid: self.pid, source };
        if let Some(child) = &mut self.child {
            child.wait().await.map_err(signal_error)?;
            return Ok(());
        }
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(()) };
        let Ok(pidfd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return Ok(()) };
        let wait = move || loop {
            let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
            match rustix::event::poll(&mut fds, None) {
                Err(rustix::io::Errno::INTR) => {}
                other => return other,
            }
        };
        let waited = tokio::task::spawn_blocking(wait).await.map_err(|e| signal_error(e.into()))?;
        waited.map(|_| ()).map_err(|e| signal_error(e.into()))
    }

    async fn wait_until_it_answers(&self) -> Result<(), Error> {
        let dir = self.options.state_dir();
        let mut watch = FileWatch::new(&dir).map_err(|source| Error::Watch { path: dir, source })?;
        let cri = Cri::connect(&self.socket());
        let answer = async {
            loop {
                // The socket appears a moment before it is served, hence the nudges of the files that follow it.
                if self.socket().exists() && cri.version().await.is_ok() {
                    return;
                }
                let soon = Duration::from_millis(10);
                drop(tokio::time::timeout(soon, watch.changed()).await);
            }
        };
        tokio::time::timeout(START_TIMEOUT, answer).await.map_err(|_| Error::Silent { log: self.options.log_file() })
    }
}

async fn has_image(cri: &Cri, reference: &str) -> bool {
    matches!(cri.image_status(reference).await, Ok(Some(_)))
}

/// The pid in the pidfile, if that process runs and is a containerd.
fn running_pid(options: &Options) -> Option<i32> {
    let pid: i32 = std::fs::read_to_string(options.pidfile()).ok()?.trim().parse().ok()?;
    let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let ours = options.state_dir().join("config.toml");
    String::from_utf8_lossy(&cmdline).contains(&*ours.to_string_lossy()).then_some(pid)
}

/// Whether the kernel lets us lower OOM scores: that needs CAP_SYS_RESOURCE (bit 24).
pub(crate) fn may_lower_oom_score() -> bool {
    const CAP_SYS_RESOURCE: u64 = 1 << 24;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).is_none_or(|caps| caps & CAP_SYS_RESOURCE != 0)
}

fn file<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Error + 'a {
    move |source| Error::File { what, path: path.into(), source }
}

fn render_config(o: &Options, restrict_oom_score_adj: bool) -> String {
    format!(
        r#"version = 2
root = {data:?}
state = {state:?}
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]

[grpc]
  address = {socket:?}

[plugins."io.containerd.internal.v1.opt"]
  path = {opt:?}

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = {sandbox:?}
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  restrict_oom_score_adj = {restrict_oom_score_adj}
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  netns_mounts_under_state_dir = true

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {bin:?}
    conf_dir = {conf:?}

  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = {systemd}

  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = {certs:?}
"#,
        data = o.data_dir(),
        state = o.state_dir(),
        socket = o.socket(),
        opt = o.data_dir().join("opt"),
        sandbox = o.sandbox_image,
        bin = o.cni_bin_dir,
        conf = o.cni_conf_dir,
        systemd = o.systemd_cgroup,
        certs = o.root_dir.join("etc/containerd/certs.d"),
    )
}
