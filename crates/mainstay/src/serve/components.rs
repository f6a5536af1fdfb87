//! The components beside the API server: each an API client with an identity of its own, each a supervised task.

use super::requests::Counted;
use super::{addons, machine};
use crate::config::{Role, ServerConfig};
use crate::local::cgroup_root;
use anyhow::{Context as _, Result, bail};
use apiserver::authn::UserInfo;
use client::informer::Informers;
use http::HeaderValue;
use http::header::USER_AGENT;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How components reach the API.
pub enum Clients {
    /// The API server is in this process.
    InProcess {
        /// Its service.
        service: Counted<apiserver::Service>,
        /// The cluster's keys.
        pki: Box<pki::Cluster>,
        /// What the API server is told of the components beside it.
        components: apiserver::InProcess,
    },
    /// The API server is elsewhere.
    Remote(kube::Client),
}

/// Tasks of a server, each with the name of its component.
pub type Tasks = JoinSet<(&'static str, Result<()>)>;

impl Clients {
    /// Clients of the API server in this process.
    pub fn in_process(
        service: Counted<apiserver::Service>,
        pki: pki::Cluster,
        components: apiserver::InProcess,
    ) -> Self {
        Self::InProcess { service, pki: Box::new(pki), components }
    }

    /// Tells the API server beside us that a component runs; it does as long as what is returned is held.
    fn started(&self, name: &'static str) -> Option<apiserver::Alive> {
        match self {
            Self::InProcess { components, .. } => Some(components.started(name)),
            Self::Remote(_) => None,
        }
    }

    /// Clients of the cluster that `--kubeconfig` names.
    ///
    /// # Errors
    /// If the kubeconfig is not readable.
    pub async fn from_kubeconfig(config: &ServerConfig) -> Result<Self> {
        let path = config.kubeconfig.as_deref().context("--kubeconfig is missing")?;
        Ok(Self::Remote(client::from_kubeconfig(path).await?))
    }

    /// A client that acts as `user`, member of `groups`, known by `agent`.
    fn client(&self, user: &str, groups: &[&str], agent: &'static str) -> kube::Client {
        match self {
            Self::Remote(client) => client.clone(),
            Self::InProcess { service, .. } => acting_as(service, user, groups, agent),
        }
    }

    /// Makes clients that act as service accounts of kube-system.
    fn accounts(&self) -> controllers::Accounts {
        match self {
            Self::Remote(client) => {
                let client = client.clone();
                Arc::new(move |_| client.clone())
            }
            Self::InProcess { service, .. } => {
                let service = service.clone();
                Arc::new(move |name| {
                    let user = format!("system:serviceaccount:kube-system:{name}");
                    let groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system"];
                    acting_as(&service, &user, &groups, "kube-controller-manager")
                })
            }
        }
    }

    fn pki(&self) -> Option<&pki::Cluster> {
        match self {
            Self::InProcess { pki, .. } => Some(pki),
            Self::Remote(_) => None,
        }
    }
}

/// A client of the server in this process, which vouches for `user` and `groups`.
fn acting_as(service: &Counted<apiserver::Service>, user: &str, groups: &[&str], agent: &'static str) -> kube::Client {
    let mut groups = groups.to_vec();
    groups.push("system:authenticated");
    let user = UserInfo::new(user, &groups);
    client::in_process(service.clone(), move |parts| {
        parts.extensions.insert(user.clone());
        parts.headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    })
}

/// What components share while they start.
struct Starting<'a> {
    config: &'a ServerConfig,
    advertise: IpAddr,
    clients: &'a Clients,
    informers: Informers,
    metrics: &'a telemetry::metrics::Registry,
    tasks: &'a mut Tasks,
    stop: &'a CancellationToken,
}

/// Starts the configured components; each becomes a task of `tasks` that ends when `stop` is cancelled.
///
/// # Errors
/// What kept one from starting.
pub async fn start(
    config: &ServerConfig,
    advertise: IpAddr,
    clients: &Clients,
    metrics: &telemetry::metrics::Registry,
    tasks: &mut Tasks,
    stop: &CancellationToken,
) -> Result<()> {
    if config.roles.iter().all(|role| *role == Role::Api) {
        return Ok(());
    }
    // One cache of each kind for all components of the process; they write under identities of their own.
    let reader = clients.client("system:kube-controller-manager", &[], "mainstay-informers");
    let informers = Informers::new(reader);
    let mut starting = Starting { config, advertise, clients, informers, metrics, tasks, stop };
    for role in &config.roles {
        match role {
            Role::Api => {}
            Role::Controllers => starting.controllers()?,
            Role::Scheduler => starting.scheduler(),
            Role::Node => starting.node().await?,
            Role::Network => starting.network().await?,
            Role::Dns => starting.dns().await?,
        }
    }
    Ok(())
}

impl Starting<'_> {
    fn controllers(&mut self) -> Result<()> {
        let Some(pki) = self.clients.pki() else {
            bail!("the controllers sign certificates and so run beside the API server; add the api role")
        };
        let config = controllers::Config {
            cluster_cidrs: vec![ipnet::IpNet::V4(self.config.cluster_cidr)],
            root_ca_pem: pki.ca.cert_pem.clone(),
            signing_ca: Some((pki.ca.cert_pem.clone(), pki.ca.key_pem.clone())),
            service_account_key_pem: Some(pki.service_account.key_pem.clone()),
            accounts: Some(self.clients.accounts()),
            observer: Arc::new(super::observe::Controllers::new(self.metrics)?),
        };
        let client = self.clients.client("system:kube-controller-manager", &[], "kube-controller-manager");
        let (informers, stop) = (self.informers.clone(), self.stop.clone());
        let alive = self.clients.started("controller-manager");
        self.tasks.spawn(async move {
            let ended = controllers::run(client, informers, config, stop).await;
            drop(alive);
            ("the controllers", ended.map_err(Into::into))
        });
        Ok(())
    }

    fn scheduler(&mut self) {
        let client = self.clients.client("system:kube-scheduler", &[], "kube-scheduler");
        let (informers, stop) = (self.informers.clone(), self.stop.clone());
        let alive = self.clients.started("scheduler");
        self.tasks.spawn(async move {
            scheduler::run(client, informers, stop).await;
            drop(alive);
            ("the scheduler", Ok(()))
        });
    }

    async fn node(&mut self) -> Result<()> {
        let Some(pki) = self.clients.pki() else {
            bail!("the node role gets its certificates from the API server beside it; add the api role")
        };
        super::notify::status("starting containerd");
        let name = &self.config.node_name;
        let adaptations = node::Adaptations::default();
        let runtime = machine::runtime(&self.config.root, &adaptations).await?;
        let own = node_pki(self.config, pki, name, self.advertise)?;
        let node_config = node::Config {
            cri_socket: runtime.socket(),
            listen: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), self.config.kubelet_port),
            tls: Some(node::Tls { cert_pem: own.serving.cert_pem, key_pem: own.serving.key_pem }),
            client_ca_pem: pki.ca.cert_pem.clone(),
            cluster_dns: self.config.dns_service_ip().into(),
            cluster_domain: self.config.cluster_domain.clone(),
            pod_cgroup_root: cgroup_root(&self.config.root),
            adaptations: adaptations.clone(),
            limits: node::Limits { thresholds: self.config.eviction_hard.clone(), ..node::Limits::default() },
            ..node::Config::new(name.clone(), self.advertise, self.config.root.clone())
        };
        super::notify::status("starting the node agent");
        let user = format!("system:node:{name}");
        let client = self.clients.client(&user, &["system:nodes"], "kubelet");
        let kept = machine::keep_running(runtime, self.stop.clone());
        self.tasks.spawn(async move { ("containerd", kept.await) });
        let stop = self.stop.clone();
        self.tasks
            .spawn(async move { ("the node agent", node::run(node_config, client, stop).await.map_err(Into::into)) });
        machine::record_adaptations(&self.config.root, &adaptations)
    }

    async fn network(&mut self) -> Result<()> {
        let advertise = ipv4(self.advertise)?;
        net::routes::service_route(self.config.service_cidr, advertise)
            .await
            .context("cannot make service addresses routable")?;
        let proxy = net::proxy::Config {
            node_name: self.config.node_name.clone(),
            cluster_cidr: self.config.cluster_cidr,
            service_cidr: self.config.service_cidr,
        };
        let (informers, stop) = (self.informers.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            ("the service proxy", net::proxy::run(&informers, proxy, stop).await.map_err(Into::into))
        });
        let nodes = self.informers.get();
        let (name, stop) = (self.config.node_name.clone(), self.stop.clone());
        self.tasks.spawn({
            let (nodes, name, stop) = (nodes.clone(), name.clone(), stop.clone());
            async move { ("the pod routes", net::routes::run(nodes, name, stop).await.map_err(Into::into)) }
        });
        let root = self.config.root.clone();
        self.tasks.spawn(async move { ("the pod network", machine::pod_network(nodes, name, root, stop).await) });
        Ok(())
    }

    async fn dns(&mut self) -> Result<()> {
        let service_ip = self.config.dns_service_ip();
        let listen = SocketAddr::new(self.advertise, addons::DNS_PORT);
        let config = net::dns::Config {
            listen,
            service_ip: service_ip.into(),
            domain: self.config.cluster_domain.clone(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
        };
        let admin = self.clients.client("system:mainstay", &["system:masters"], "mainstay");
        addons::dns_service(&admin, service_ip, ipv4(self.advertise)?, &self.config.node_name)
            .await
            .context("cannot create the DNS service")?;
        let (informers, stop) = (self.informers.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            let source = net::dns::Source::new(&informers).await;
            ("cluster DNS", net::dns::run(source, config, stop).await.map_err(Into::into))
        });
        Ok(())
    }
}

fn node_pki(config: &ServerConfig, pki: &pki::Cluster, name: &str, address: IpAddr) -> Result<pki::NodePki> {
    let addresses = [address, IpAddr::from([127, 0, 0, 1])];
    Ok(pki::NodePki::load_or_create(&config.root, &pki.ca, name, &addresses, super::now_unix_s())?)
}

fn ipv4(address: IpAddr) -> Result<Ipv4Addr> {
    match address {
        IpAddr::V4(v4) => Ok(v4),
        IpAddr::V6(v6) => {
            bail!("the pod network is IPv4, but this machine's address is {v6}; give --advertise-address")
        }
    }
}
