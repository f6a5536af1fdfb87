//! What a node needs of its machine before the agent can run: the container runtime, our own images, the CNI
//! configuration once the node has its pod range.

use anyhow::{Context as _, Result};
use client::informer::Handle;
use k8s_openapi::api::core::v1::Node;
use node::containerd::{Containerd, Options};
use node::{Adaptations, image};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The static busybox of the distribution, which the demo image is made of.
const BUSYBOX: &str = "/bin/busybox";
/// Pause before containerd is started again: it doubles each time up to the longest, and starts over once an instance
/// has run for [`STABLE`].
const RESTART_PAUSE_MIN: Duration = Duration::from_millis(50);
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(10);
const STABLE: Duration = Duration::from_secs(60);
/// What the demo image can run.
const APPLETS: &[&str] = &[
    "sh", "cat", "cp", "echo", "env", "grep", "head", "hostname", "httpd", "id", "ls", "mkdir", "nc", "nslookup",
    "ping", "ps", "rm", "sleep", "tail", "tar", "touch", "vi", "wget",
];

/// Starts the cluster's own containerd, or finds it running, and gives it the images that are built here.
///
/// # Errors
/// If containerd does not start or refuses an image.
pub async fn runtime(root: &Path, adaptations: &Adaptations) -> Result<Containerd> {
    let options = Options { adaptations: adaptations.clone(), ..Options::new(root) };
    let runtime = node::containerd::start(options).await.context("cannot start containerd")?;
    runtime.import_pause().await.context("cannot import the pause image")?;
    match fs::read(BUSYBOX) {
        Ok(program) => {
            let demo = image::archive(&image::busybox(crate::local::DEMO_IMAGE, program, APPLETS));
            runtime.import(crate::local::DEMO_IMAGE, &demo).await.context("cannot import the demo image")?;
        }
        Err(error) => {
            adaptations.add("no_demo_image", format!("{BUSYBOX} cannot be read ({error}); install busybox-static"))
        }
    }
    Ok(runtime)
}

/// Starts containerd again whenever it ends, until `stop` is cancelled; it outlives us.
///
/// # Errors
/// If the process cannot be watched.
pub async fn keep_running(mut runtime: Containerd, stop: CancellationToken) -> Result<()> {
    let mut pause = RESTART_PAUSE_MIN;
    loop {
        let since = Instant::now();
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            ended = runtime.ended() => ended.context("cannot watch containerd")?,
        }
        pause = if since.elapsed() > STABLE { RESTART_PAUSE_MIN } else { (pause * 2).min(RESTART_PAUSE_MAX) };
        tracing::warn!(pid = runtime.pid(), pause_ms = pause.as_millis(), "containerd has ended; starting it again");
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
        if let Err(error) = runtime.restart().await {
            tracing::error!(error = &error as &dyn std::error::Error, "containerd does not start");
        }
    }
}

/// Writes down how the node had to adapt, for `mainstay status`.
///
/// # Errors
/// If the file cannot be written.
pub fn record_adaptations(root: &Path, adaptations: &Adaptations) -> Result<()> {
    let text = serde_json::to_vec_pretty(&adaptations.list())?;
    pki::write_atomic(&root.join("run/mainstay/adaptations.json"), &text, 0o644)
        .context("cannot record the adaptations")
}

/// Writes the CNI configuration as soon as the node has its pod range, and again if the range changes.
///
/// # Errors
/// If the configuration cannot be written.
pub async fn pod_network(nodes: Handle<Node>, name: String, root: PathBuf, stop: CancellationToken) -> Result<()> {
    let mut changes = nodes.subscribe();
    nodes.wait_synced().await;
    let mut written = None;
    loop {
        let node = nodes.store().find("", &name);
        let range = node.and_then(|node| node.spec.as_ref()?.pod_cidr.as_ref()?.parse::<ipnet::Ipv4Net>().ok());
        if range.is_some() && range != written {
            if let Some(pod_cidr) = range {
                let config = net::cni::Config { pod_cidr, state_dir: root.join("var/lib/cni"), mtu: uplink_mtu() };
                net::cni::write(&root.join("etc/cni/net.d"), &config).context("cannot write the CNI configuration")?;
                tracing::info!(%pod_cidr, "the pod network is configured");
            }
            written = range;
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = changes.next() => {}
        }
    }
}

/// Largest packet of the interface that the default route uses; Ethernet's if there is none.
fn uplink_mtu() -> u32 {
    const ETHERNET: u32 = 1500;
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let default = routes.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let Some(interface) =
        default.filter(|f| f.get(1) == Some(&"00000000")).find_map(|f| f.first().map(ToString::to_string))
    else {
        return ETHERNET;
    };
    let mtu = fs::read_to_string(format!("/sys/class/net/{interface}/mtu"));
    mtu.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(ETHERNET)
}
