//! Builds the agent from its configuration, runs its parts and drains them. The only place that spawns what lives as
//! long as the agent.

use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Service};
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::agent::Agent;
use crate::cgroups::Cgroups;
use crate::config::Config;
use crate::cri::{Cri, CriError};
use crate::events::Recorder;
use crate::images::Images;
use crate::pod::manager::Manager;
use crate::volumes::sources::Sources;
use crate::{machine, maintenance, node, server, static_pods};

/// Why the agent could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A directory cannot be made.
    #[error("create {path}")]
    Directory {
        /// Which one.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The runtime does not answer.
    #[error("the container runtime at {socket} does not answer")]
    Runtime {
        /// Its socket.
        socket: std::path::PathBuf,
        /// Why.
        #[source]
        source: CriError,
    },
    /// The kubelet API cannot be served.
    #[error("serve the kubelet API")]
    Serve(#[source] server::Error),
}

/// Runs the node agent until `token` is cancelled. Containers go on running afterwards.
pub async fn run(config: Config, client: kube::Client, token: CancellationToken) -> Result<(), Error> {
    for path in [config.pods_dir(), config.pod_logs_dir(), config.container_links_dir(), config.seccomp_dir()] {
        std::fs::create_dir_all(&path).map_err(|source| Error::Directory { path, source })?;
    }
    let cri = Cri::connect(&config.cri_socket);
    let version = cri.version().await.map_err(|source| Error::Runtime { socket: config.cri_socket.clone(), source })?;
    if !crate::containerd::may_lower_oom_score() {
        let reason = "no CAP_SYS_RESOURCE: the kernel refuses lower OOM scores, so containers keep at least ours";
        config.adaptations.add("restrict_oom_score_adj", reason);
    }
    let (events, write_events) = Recorder::new(client.clone(), &config.node_name);
    let (network_tx, network) = watch::channel(node::network_problem(&cri).await);
    let follow_network = node::follow_network(cri.clone(), config.clone(), network_tx);
    let agent = Arc::new(Agent {
        images: Images::new(cri.clone(), events.clone(), config.limits.image_pulls_max),
        sources: Sources::new(client.clone()),
        cgroups: Cgroups::detect(&config.pod_cgroup_root, &config.adaptations),
        capacity: machine::capacity(),
        runtime_name: version.runtime_name,
        node: RwLock::new(Arc::new(Node::default())),
        services: RwLock::default(),
        network,
        config,
        client,
        cri,
        events,
    });
    let manager = Manager::new(agent.clone());
    let api = server::bind(&agent.config).await.map_err(Error::Serve)?;
    let serve = server::serve(api, agent.clone(), manager.clone());
    let work = async {
        let registered = node::register(&agent).await;
        *agent.node.write() = Arc::new(registered.clone());
        agent.events.node(false, "Starting", "Starting kubelet.");
        let period = agent.config.limits.heartbeat_period;
        // Pods are taken on once services are known: their environment names them.
        let (services_known, known) = watch::channel(false);
        let pods = async {
            let mut known = known;
            if known.wait_for(|k| *k).await.is_ok() {
                tokio::join!(manager.follow_api(), static_pods::follow(agent.clone(), manager.clone()));
            }
        };
        tokio::join!(
            node::keep_status(&agent),
            node::lease::keep(agent.client.clone(), &registered, period),
            follow_services(&agent, services_known),
            manager.follow_runtime(),
            maintenance::run(agent.clone()),
            pods,
        );
    };
    tokio::select! {
        () = token.cancelled() => {}
        _ = futures::future::join4(work, follow_network, serve, write_events) => {}
    }
    manager.shut_down().await;
    tracing::info!("node agent stopped; containers go on");
    Ok(())
}

/// Releases what a node's pods hold outside of the runtime once they are removed: mounts, their directories, cgroups.
/// For taking a node down for good; an agent must not run on it.
///
/// # Errors
/// If something is still in use.
pub fn release(config: &Config) -> std::io::Result<()> {
    crate::volumes::tear_down(&config.pods_dir())?;
    Cgroups::remove(&config.pod_cgroup_root)
}

/// Keeps the services that pods learn of by environment variables; only what those need is kept.
async fn follow_services(agent: &Agent, known: watch::Sender<bool>) {
    let api: Api<Service> = Api::all(agent.client.clone());
    let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
    let same =
        |a: &Service, b: &Service| a.metadata.name == b.metadata.name && a.metadata.namespace == b.metadata.namespace;
    let mut listed: Vec<Service> = Vec::new();
    while let Some(event) = events.next().await {
        let mut next = agent.services.read().as_ref().clone();
        match event {
            Ok(watcher::Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(watcher::Event::InitApply(service)) => {
                listed.push(trim(service));
                continue;
            }
            Ok(watcher::Event::InitDone) => next = std::mem::take(&mut listed),
            Ok(watcher::Event::Apply(service)) => {
                next.retain(|s| !same(s, &service));
                next.push(trim(service));
            }
            Ok(watcher::Event::Delete(service)) => next.retain(|s| !same(s, &service)),
            Err(error) => {
                tracing::warn!(%error, "the watch of services broke off, trying again");
                continue;
            }
        }
        *agent.services.write() = Arc::new(next);
        known.send_replace(true);
    }
}

fn trim(service: Service) -> Service {
    let mut kept = Service::default();
    kept.metadata.name = service.metadata.name;
    kept.metadata.namespace = service.metadata.namespace;
    kept.spec = service.spec.map(|s| k8s_openapi::api::core::v1::ServiceSpec {
        cluster_ip: s.cluster_ip,
        ports: s.ports,
        ..Default::default()
    });
    kept
}
