//! `mainstay up`: check the machine, start the server as a process of its own, wait until the cluster is usable.

use super::down::undo_up;
use super::process::Process;
use super::progress::Progress;
use super::state::{Paths, State};
use super::{cleanup, demo, preflight, status};
use crate::cli::Up;
use crate::config::host_name;
use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Node;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::net::UnixDatagram;

/// Longest that the server may take until it says that it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest that the node may take to become ready.
const NODE_TIMEOUT: Duration = Duration::from_secs(120);
/// Bytes of one notification, more than the protocol needs.
const NOTIFICATION_BYTES_MAX: usize = 4096;
/// How long a server that failed to start may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Starts the cluster, or finds it running.
///
/// # Errors
/// What the machine lacks, or what the server said when it failed; then nothing is left running.
pub async fn up(args: &Up) -> Result<()> {
    crate::tls::install()?;
    let paths = Paths::new(&args.place.root)?;
    preflight::check()?;
    let known = State::load(&paths)?;
    if let Some(state) = known.as_ref().filter(|state| state.server.is_running()) {
        println!("The cluster is running already (process {}).", state.server.pid);
        let client = client::from_kubeconfig(&paths.kubeconfig()).await?;
        return status::print_summary(&paths, &client, args.no_demo).await;
    }
    let node_name = match &args.node_name {
        Some(name) => name.clone(),
        None => host_name()?,
    };
    let progress = Progress::new();
    let first = known.is_none() && !paths.root.join("var/lib/mainstay").exists();
    let sysctls_before = known.map_or_else(cleanup::sysctls, |state| Ok(state.sysctls_before))?;
    let client = match bring_up(args, &paths, &node_name, &sysctls_before, &progress, first).await {
        Ok(client) => client,
        Err(error) => return Err(give_up(&paths, first, sysctls_before, &progress, error).await),
    };
    if !args.no_demo {
        // The cluster runs; if its demo does not, it is there to be looked at.
        demo::deploy(&paths, &client, &progress).await?;
    }
    let took = progress.done();
    println!("Mainstay is up ({:.1} s).", took.as_secs_f64());
    status::print_summary(&paths, &client, args.no_demo).await
}

/// Starts the server and returns when its node is ready.
async fn bring_up(
    args: &Up,
    paths: &Paths,
    node_name: &str,
    sysctls_before: &[(String, String)],
    progress: &Progress,
    first: bool,
) -> Result<Client> {
    let server = start_server(args, paths, node_name, progress).await?;
    let sysctls_before = sysctls_before.to_vec();
    State { server, secure_port: args.secure_port, node_name: node_name.into(), sysctls_before }.save(paths)?;
    let client = client::from_kubeconfig(&paths.kubeconfig()).await?;
    progress.step("waiting for the node");
    let short_of = wait_for_node(&client, node_name).await?;
    if !short_of.is_empty() {
        refuse_pressure(paths, &short_of, first)?;
    }
    Ok(client)
}

/// Leaves nothing half-started: a first start is undone, a later one stops its server and leaves containers alone.
async fn give_up(
    paths: &Paths,
    first: bool,
    sysctls_before: Vec<(String, String)>,
    progress: &Progress,
    error: anyhow::Error,
) -> anyhow::Error {
    let undone =
        if first { undo_up(paths, sysctls_before, progress).await } else { cleanup::stop_servers(&paths.root).await };
    match undone {
        Ok(()) => error,
        Err(second) => error.context(format!("what was started cannot be stopped ({second:#}) after a failure")),
    }
}

/// Starts `mainstay server` in a session of its own and follows its notifications until it is ready.
async fn start_server(args: &Up, paths: &Paths, node_name: &str, progress: &Progress) -> Result<Process> {
    progress.step("starting the server");
    let make = |dir: &Path| fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()));
    make(&paths.run())?;
    let log_path = paths.log();
    make(log_path.parent().unwrap_or(&paths.root))?;
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log_path)
        .with_context(|| format!("cannot write {}", log_path.display()))?;
    let log_start = log.metadata().map_or(0, |m| m.len());
    let notifications = notification_socket(paths)?;
    let program = std::env::current_exe().context("cannot find the mainstay program")?;
    let mut command = Command::new(program);
    command
        .arg("server")
        .args(["--root".as_ref(), paths.root.as_os_str()])
        .args(["--secure-port", &args.secure_port.to_string(), "--node-name", node_name])
        .args(&args.server_flags)
        .env("NOTIFY_SOCKET", paths.notify_socket())
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("cannot share the log")?)
        .stderr(log);
    let mut child =
        tokio::process::Command::from(command).kill_on_drop(false).spawn().context("cannot start the server")?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).context("the server ended at once")?;
    let process = Process::of(pid);
    let outcome = tokio::select! {
        ready = follow(&notifications, progress) => ready,
        _ = child.wait() => bail!("{}", failure(&log_path, log_start)),
        () = tokio::time::sleep(READY_TIMEOUT) => Err(anyhow::anyhow!(
            "the server is not ready after {} s; see {}", READY_TIMEOUT.as_secs(), log_path.display()
        )),
    };
    let process = process.with_context(|| failure(&log_path, log_start))?;
    if let Err(error) = outcome {
        process.stop(STOP_PATIENCE).await?;
        return Err(error);
    }
    Ok(process)
}

fn notification_socket(paths: &Paths) -> Result<UnixDatagram> {
    let path = paths.notify_socket();
    match fs::remove_file(&path) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(e).with_context(|| format!("cannot remove {}", path.display())),
    }
    UnixDatagram::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))
}

/// Shows each status until the server is ready.
async fn follow(notifications: &UnixDatagram, progress: &Progress) -> Result<()> {
    let mut buffer = [0; NOTIFICATION_BYTES_MAX];
    loop {
        let length = notifications.recv(&mut buffer).await.context("cannot hear the server")?;
        for line in String::from_utf8_lossy(&buffer[..length]).lines() {
            if line == "READY=1" {
                return Ok(());
            }
            if let Some(status) = line.strip_prefix("STATUS=") {
                progress.step(status);
            }
        }
    }
}

/// What the server said last since byte `start` of its log.
fn failure(log: &Path, start: u64) -> String {
    let text = fs::read(log).unwrap_or_default();
    let said = text.get(usize::try_from(start).unwrap_or(usize::MAX)..).unwrap_or_default();
    let said = String::from_utf8_lossy(said);
    let sentence = said.lines().rev().find_map(|line| line.strip_prefix("mainstay: "));
    match sentence {
        Some(sentence) => sentence.to_owned(),
        None => format!("the server ended while it started; see {}", log.display()),
    }
}

/// A new cluster whose node takes no pods is of no use; one that has run before is left running, and `status` tells.
fn refuse_pressure(paths: &Paths, short_of: &[String], first: bool) -> Result<()> {
    if !first {
        return Ok(());
    }
    let root = paths.root.display();
    let disk = rustix::fs::statvfs(&paths.root).with_context(|| format!("cannot measure the disk of {root}"))?;
    let gb = |blocks: u64| (blocks * disk.f_frsize) as f64 / 1e9;
    bail!(
        "the node has {} and so takes no pods ({:.1} GB of {:.1} GB are free at {root}); free some space, or lower the \
         bounds, as with: mainstay up -- --eviction-hard='nodefs.available<2%'",
        short_of.join(" and "),
        gb(disk.f_bavail),
        gb(disk.f_blocks),
    )
}

/// Returns when the node is ready, with the pressures that it is under.
async fn wait_for_node(client: &Client, name: &str) -> Result<Vec<String>> {
    let nodes: Api<Node> = Api::all(client.clone());
    let one = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut changes = pin!(watcher(nodes, one).default_backoff().applied_objects().boxed());
    let mut last = String::from("it has not registered");
    let ready = async {
        while let Some(node) = changes.try_next().await? {
            let conditions = node.status.and_then(|s| s.conditions).unwrap_or_default();
            match conditions.iter().find(|c| c.type_ == "Ready") {
                Some(condition) if condition.status == "True" => return anyhow::Ok(status::pressures(&conditions)),
                Some(condition) => last = condition.message.clone().unwrap_or_default(),
                None => {}
            }
        }
        bail!("the server closed the connection")
    };
    match tokio::time::timeout(NODE_TIMEOUT, ready).await {
        Ok(result) => result,
        Err(_) => bail!("the node is not ready after {} s: {last}", NODE_TIMEOUT.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_start_repeats_the_servers_last_sentence_and_nothing_older() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("server.log");
        fs::write(&log, "mainstay: old\nINFO starting\nmainstay: port 6443 is in use\n").expect("written");
        assert_eq!(failure(&log, 14), "port 6443 is in use");
        assert!(failure(&log, 1000).contains("see "));
    }
}
