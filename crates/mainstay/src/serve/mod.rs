//! Build, spawn, drain: the components of one server put together.
//!
//! Sockets are bound before anything else, so that a taken port leaves nothing half-started. One token stops
//! everything: first what uses the API, then the API server, then the store.

mod addons;
mod address;
mod components;
mod keep;
mod listener;
mod machine;
mod notify;
mod observe;
mod pace;
mod requests;

use crate::config::{KubeletCa, Role, ServerConfig};
use anyhow::{Context as _, Result, anyhow, bail};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use store::embedded::Activity;
use telemetry::metrics::Registry;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Runs the configured roles until SIGTERM or SIGINT, or until one of them fails. `activity` is that of the runtime.
///
/// # Errors
/// What kept a component from starting, or what ended one.
pub async fn run(config: ServerConfig, activity: Arc<Activity>) -> Result<()> {
    crate::tls::install()?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let stop = CancellationToken::new();
    let mut running = tokio::select! {
        started = start(&config, activity, &stop) => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    notify::ready();
    let result = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        ended = running.components.join_next(), if !running.components.is_empty() => unexpected_end(ended),
    };
    notify::stopping();
    running.announce_end(config.shutdown_delay).await;
    running.drain(&stop, config.shutdown_send_retry_after).await;
    result
}

/// What runs, in the order in which it is drained.
struct Running {
    components: JoinSet<(&'static str, Result<()>)>,
    api: Option<Api>,
}

struct Api {
    server: apiserver::Server,
    stop_listening: CancellationToken,
    listening: tokio::task::JoinHandle<()>,
}

impl Running {
    /// Says that the server is not ready any more, and serves on for `delay`, so that load balancers look elsewhere.
    async fn announce_end(&self, delay: std::time::Duration) {
        if let Some(api) = &self.api {
            api.server.announce_end();
            tokio::time::sleep(delay).await;
        }
    }

    /// Ends everything. With `send_retry_after` the sockets stay open until requests are done, and new ones are refused.
    async fn drain(mut self, stop: &CancellationToken, send_retry_after: bool) {
        if let (Some(api), true) = (&self.api, send_retry_after) {
            api.server.refuse_new();
        }
        stop.cancel();
        while let Some(ended) = self.components.join_next().await {
            match ended {
                Ok((name, Err(error))) => tracing::warn!("{name} ended with an error: {error:#}"),
                Ok((name, Ok(()))) => tracing::debug!("{name} ended"),
                Err(error) => tracing::warn!(%error, "a component panicked"),
            }
        }
        if let Some(api) = self.api {
            if !send_retry_after {
                api.stop_listening.cancel();
            }
            if !api.server.shutdown().await {
                tracing::warn!("requests were still running at the end of the drain");
            }
            api.stop_listening.cancel();
            if let Err(error) = api.listening.await {
                tracing::warn!(%error, "the listener panicked");
            }
        }
    }
}

type Ended = std::result::Result<(&'static str, Result<()>), tokio::task::JoinError>;

fn unexpected_end(ended: Option<Ended>) -> Result<()> {
    match ended {
        Some(Ok((name, Err(error)))) => Err(error.context(format!("{name} failed"))),
        Some(Ok((name, Ok(())))) => Err(anyhow!("{name} ended by itself")),
        Some(Err(error)) => Err(anyhow!("a component panicked: {error}")),
        None => Ok(()),
    }
}

async fn start(config: &ServerConfig, activity: Arc<Activity>, stop: &CancellationToken) -> Result<Running> {
    let advertise = match config.advertise_address {
        Some(address) => address,
        None if config.roles.iter().eq([&Role::Api]) => {
            address::find(config.cluster_cidr).unwrap_or(IpAddr::from([127, 0, 0, 1]))
        }
        None => address::find(config.cluster_cidr)?,
    };
    if config.roles.contains(&Role::Node) && !rustix::process::geteuid().is_root() {
        bail!("the node role needs root, for containers and networks; run as root or leave it out of --roles");
    }
    let metrics = Registry::new();
    let mut running = Running { components: JoinSet::new(), api: None };
    let clients = if config.roles.contains(&Role::Api) {
        let (api, clients) = start_api(config, activity, advertise, &metrics).await?;
        running.api = Some(api);
        clients
    } else {
        components::Clients::from_kubeconfig(config).await?
    };
    components::start(config, advertise, &clients, &metrics, &mut running.components, stop).await?;
    Ok(running)
}

async fn start_api(
    config: &ServerConfig,
    activity: Arc<Activity>,
    advertise: IpAddr,
    metrics: &Registry,
) -> Result<(Api, components::Clients)> {
    let socket = listener::bind(config.bind.0, config.bind.1).await?;
    let local = socket.local_addr().context("the socket has no address")?;
    let server_url = format!("https://{}", SocketAddr::new(reachable(local.ip(), advertise), local.port()));
    let pki = pki::Cluster::load_or_create(&pki::ClusterSpec {
        root: config.root.clone(),
        dns_names: vec![config.node_name.clone()],
        ip_addresses: vec![IpAddr::from([127, 0, 0, 1]), config.kubernetes_service_ip().into(), advertise],
        server_url,
        cluster_domain: config.cluster_domain.clone(),
        now_unix_s: now_unix_s(),
    })?;
    let tls = listener::tls(&pki.apiserver, &[&pki.ca.cert_pem, &pki.front_proxy_ca.cert_pem])?;
    let store = keep::open(config, activity).await?;
    let api_config = api_config(config, advertise, local.port(), &pki, metrics.clone());
    let in_process = api_config.components.clone();
    let server = apiserver::Server::build(api_config, store).await.context("cannot start the API server")?;
    let stop_listening = CancellationToken::new();
    let failed = listener::handshake_errors(metrics)?;
    let (turns, service) = (listener::turns()?, server.service());
    let listening = tokio::spawn(listener::serve(socket, tls, turns, service, failed, stop_listening.clone()));
    server.ready().await;
    tracing::info!(address = %local, "the API is ready");
    let service = requests::Requests::new(metrics)?.of(server.service());
    let clients = components::Clients::in_process(service, pki, in_process);
    Ok((Api { server, stop_listening, listening }, clients))
}

/// The address that a kubeconfig names: loopback if the server listens everywhere, else where it listens.
fn reachable(listening: IpAddr, advertise: IpAddr) -> IpAddr {
    match listening {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) if advertise.is_ipv4() => IpAddr::from([127, 0, 0, 1]),
        _ => advertise,
    }
}

fn api_config(
    config: &ServerConfig,
    advertise: IpAddr,
    port: u16,
    pki: &pki::Cluster,
    metrics: Registry,
) -> apiserver::Config {
    apiserver::Config {
        advertise_address: advertise,
        host_name: config.node_name.clone(),
        secure_port: port,
        service_cidr: ipnet::IpNet::V4(config.service_cidr),
        client_ca_pem: pki.ca.cert_pem.clone(),
        root_ca_pem: pki.ca.cert_pem.clone(),
        service_account_issuer: format!("https://kubernetes.default.svc.{}", config.cluster_domain),
        service_account_key_pem: pki.service_account.key_pem.clone(),
        service_account_public_keys_pem: vec![pki.service_account.cert_pem.clone()],
        kubelet_client_cert_pem: pki.kubelet_client.cert_pem.clone(),
        kubelet_client_key_pem: pki.kubelet_client.key_pem.clone(),
        kubelet_ca_pem: match &config.kubelet_ca {
            KubeletCa::Cluster => pki.ca.cert_pem.clone(),
            KubeletCa::Pem(text) => text.clone(),
            KubeletCa::Unverified => String::new(),
        },
        proxy_client_cert_pem: pki.front_proxy_client.cert_pem.clone(),
        proxy_client_key_pem: pki.front_proxy_client.key_pem.clone(),
        front_proxy_ca_pem: pki.front_proxy_ca.cert_pem.clone(),
        front_proxy_names: vec!["front-proxy-client".into()],
        audit_log: config.audit_log.clone(),
        priority_and_fairness: config.priority_and_fairness,
        limits: apiserver::config::Limits {
            inflight_reading_max: config.requests_inflight_max.0,
            inflight_writing_max: config.requests_inflight_max.1,
            request_timeout: config.request_timeout,
            event_ttl_s: config.event_ttl_s,
            ..Default::default()
        },
        metrics,
        ..apiserver::Config::default()
    }
}

pub(crate) fn now_unix_s() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX)
}
