//! What the runtime says about one pod: its sandboxes and containers, newest first. The types are plain data for the
//! pure parts; reading them is the only I/O.

use std::collections::BTreeMap;

use k8s_cri::v1 as cri;

use crate::cri::{Cri, CriError};
use crate::names;

/// A sandbox of the pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// The runtime's id.
    pub id: String,
    /// Whether it runs.
    pub ready: bool,
    /// Sandboxes that the pod had before.
    pub attempt: u32,
    /// Nanoseconds since the epoch.
    pub created_ns: i64,
    /// Addresses, the primary one first; empty with host network.
    pub ips: Vec<String>,
}

/// State of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Made, not started.
    Created,
    /// Runs.
    Running,
    /// Ended.
    Exited {
        /// Exit code; 137 after SIGKILL.
        code: i32,
        /// Nanoseconds since the epoch.
        finished_ns: i64,
        /// `Completed`, `Error`, `OOMKilled` and the like.
        reason: String,
        /// The runtime's or the container's last words.
        message: String,
    },
    /// The runtime does not know.
    Unknown,
}

/// A container of the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// The runtime's id.
    pub id: String,
    /// Name in the pod's spec.
    pub name: String,
    /// The sandbox it is in.
    pub sandbox: String,
    /// State.
    pub state: State,
    /// Restarts before it.
    pub attempt: u32,
    /// Hash of the spec it was made from.
    pub hash: String,
    /// Nanoseconds since the epoch.
    pub created_ns: i64,
    /// Nanoseconds since the epoch, 0 before it started.
    pub started_ns: i64,
    /// Image as the runtime names it.
    pub image: String,
    /// Image by digest.
    pub image_ref: String,
    /// Path of its log file.
    pub log_path: String,
    /// Annotations that it was made with.
    pub annotations: BTreeMap<String, String>,
    /// Host path of the termination message, if there is one.
    pub termination_log: Option<String>,
}

/// All of one pod, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodView {
    /// Sandboxes.
    pub sandboxes: Vec<Sandbox>,
    /// Containers.
    pub containers: Vec<Container>,
}

impl PodView {
    /// The newest sandbox.
    pub fn sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first()
    }

    /// The newest container of a name.
    pub fn newest(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|c| c.name == name)
    }

    /// The newest container of a name in a sandbox.
    pub fn newest_in(&self, sandbox: &str, name: &str) -> Option<&Container> {
        self.containers.iter().find(|c| c.name == name && c.sandbox == sandbox)
    }

    /// Containers that run, or may.
    pub fn alive(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(|c| matches!(c.state, State::Running | State::Unknown))
    }

    /// Reads the pod from the runtime.
    pub async fn read(cri: &Cri, uid: &str) -> Result<Self, CriError> {
        let (sandboxes, containers) =
            tokio::try_join!(cri.list_pod_sandboxes(Some(uid)), cri.list_containers(Some(uid)))?;
        let mut view = Self::default();
        for sandbox in sandboxes {
            let ready = sandbox.state == cri::PodSandboxState::SandboxReady as i32;
            let ips = if ready { ips(cri, &sandbox.id).await? } else { Vec::new() };
            let attempt = sandbox.metadata.map_or(0, |m| m.attempt);
            view.sandboxes.push(Sandbox { id: sandbox.id, ready, attempt, created_ns: sandbox.created_at, ips });
        }
        for container in containers {
            match cri.container_status(&container.id).await {
                Ok(status) => view.containers.push(from_status(status, container.pod_sandbox_id)),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        view.sandboxes.sort_by_key(|s| std::cmp::Reverse(s.created_ns));
        view.containers.sort_by_key(|c| std::cmp::Reverse(c.created_ns));
        Ok(view)
    }
}

async fn ips(cri: &Cri, sandbox: &str) -> Result<Vec<String>, CriError> {
    let status = match cri.pod_sandbox_status(sandbox).await {
        Ok(status) => status,
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let Some(network) = status.network else { return Ok(Vec::new()) };
    let all = std::iter::once(network.ip).chain(network.additional_ips.into_iter().map(|ip| ip.ip));
    Ok(all.filter(|ip| !ip.is_empty()).collect())
}

fn from_status(status: cri::ContainerStatus, sandbox: String) -> Container {
    let state = match cri::ContainerState::try_from(status.state) {
        Ok(cri::ContainerState::ContainerCreated) => State::Created,
        Ok(cri::ContainerState::ContainerRunning) => State::Running,
        Ok(cri::ContainerState::ContainerExited) => State::Exited {
            code: status.exit_code,
            finished_ns: status.finished_at,
            reason: status.reason,
            message: status.message,
        },
        _ => State::Unknown,
    };
    let termination_path = status.annotations.get(names::TERMINATION_PATH);
    let termination_log = termination_path
        .and_then(|path| status.mounts.iter().find(|m| &m.container_path == path))
        .map(|m| m.host_path.clone());
    let mut container = Container {
        id: status.id,
        name: status.labels.get(names::CONTAINER_NAME).cloned().unwrap_or_default(),
        sandbox,
        state,
        attempt: status.metadata.map_or(0, |m| m.attempt),
        hash: status.annotations.get(names::CONTAINER_HASH).cloned().unwrap_or_default(),
        created_ns: status.created_at,
        started_ns: status.started_at,
        image: status.image.map(|i| i.image).unwrap_or_default(),
        image_ref: status.image_ref,
        log_path: status.log_path,
        annotations: status.annotations.into_iter().collect(),
        termination_log,
    };
    add_last_words(&mut container);
    container
}

/// Bytes and lines of a termination message, as upstream limits them.
const MESSAGE_BYTES_MAX: usize = 4096;
const MESSAGE_LOG_LINES_MAX: usize = 80;
const MESSAGE_LOG_BYTES_MAX: usize = 2048;

/// The message that a container leaves behind: its termination file, or the end of its log if it asked for that.
fn add_last_words(container: &mut Container) {
    let fallback = container.annotations.get(names::TERMINATION_POLICY).is_some_and(|p| p == "FallbackToLogsOnError");
    let file = container.termination_log.as_deref().and_then(|path| read_head(path, MESSAGE_BYTES_MAX));
    let log_path = container.log_path.clone();
    let State::Exited { code, message, .. } = &mut container.state else { return };
    let words = match file {
        Some(text) if !text.is_empty() => text,
        _ if fallback && *code != 0 => log_tail(&log_path),
        _ => return,
    };
    *message = if message.is_empty() { words } else { format!("{message}: {words}") };
}

fn read_head(path: &str, max: usize) -> Option<String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(max as u64).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn log_tail(path: &str) -> String {
    // Each CRI line carries a timestamp and tags, so read somewhat more than is wanted.
    let window = (MESSAGE_LOG_BYTES_MAX * 4) as u64;
    let read = || -> std::io::Result<Vec<u8>> {
        use std::io::{Read, Seek, SeekFrom};
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(window)))?;
        let mut bytes = Vec::new();
        file.take(window).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let Ok(bytes) = read() else { return String::new() };
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter_map(|l| l.splitn(4, ' ').nth(3)).collect();
    let tail = lines[lines.len().saturating_sub(MESSAGE_LOG_LINES_MAX)..].join("\n");
    let mut start = (tail.len() + 1).saturating_sub(MESSAGE_LOG_BYTES_MAX);
    while !tail.is_char_boundary(start) {
        start += 1;
    }
    if tail.is_empty() { tail } else { format!("{}\n", &tail[start..]) }
}
