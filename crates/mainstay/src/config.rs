//! The server's configuration: flags and file parsed once into types, each value with one place where it is checked.

use crate::cli::{Output, Server};
use anyhow::{Context as _, Result, anyhow, bail};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A component that a server can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The API server.
    Api,
    /// The controllers.
    Controllers,
    /// The scheduler.
    Scheduler,
    /// The node agent, with its own containerd.
    Node,
    /// The service proxy and the pod network of this node.
    Network,
    /// Cluster DNS.
    Dns,
}

const ROLES: &[(&str, Role)] = &[
    ("api", Role::Api),
    ("controllers", Role::Controllers),
    ("scheduler", Role::Scheduler),
    ("node", Role::Node),
    ("network", Role::Network),
    ("dns", Role::Dns),
];

/// Where objects are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// In one file under the root.
    Embedded,
    /// In etcd.
    Etcd {
        /// `http://` or `https://` addresses.
        endpoints: Vec<String>,
        /// Authority of its certificates.
        ca: Option<PathBuf>,
        /// Client certificate and key.
        client: Option<(PathBuf, PathBuf)>,
    },
}

/// Everything that `mainstay server` needs to know.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Components to run.
    pub roles: BTreeSet<Role>,
    /// Every file and socket lies under it.
    pub root: PathBuf,
    /// Where the API server listens; port 0 takes a free one.
    pub bind: (IpAddr, u16),
    /// Where others reach it; found at start if not given.
    pub advertise_address: Option<IpAddr>,
    /// Where objects are kept.
    pub store: StoreConfig,
    /// Service addresses.
    pub service_cidr: ipnet::Ipv4Net,
    /// Pod addresses.
    pub cluster_cidr: ipnet::Ipv4Net,
    /// DNS domain of services.
    pub cluster_domain: String,
    /// Name of the node.
    pub node_name: String,
    /// Port of the node agent's API.
    pub kubelet_port: u16,
    /// Who signs the certificates that kubelets serve with.
    pub kubelet_ca: KubeletCa,
    /// Cluster to join, for a server without the api role.
    pub kubeconfig: Option<PathBuf>,
    /// Below which the node is under pressure.
    pub eviction_hard: node::pressure::Thresholds,
    /// Seconds that an event is kept.
    pub event_ttl_s: i64,
    /// Where audit events are written.
    pub audit_log: Option<PathBuf>,
    /// Requests at once that only read, and that write.
    pub requests_inflight_max: (usize, usize),
    /// Whether flow schemas and priority levels are in effect.
    pub priority_and_fairness: bool,
    /// Longest that a request may take.
    pub request_timeout: Duration,
    /// How long the server goes on serving after it has said that it is not ready any more.
    pub shutdown_delay: Duration,
    /// Whether new requests are told to come again while the server ends.
    pub shutdown_send_retry_after: bool,
    /// Log filter.
    pub log: String,
    /// JSON log lines.
    pub log_json: bool,
}

/// The configuration file: the flags of `mainstay server` in camelCase, all optional.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct File {
    roles: Option<Vec<String>>,
    root: Option<PathBuf>,
    secure_port: Option<u16>,
    bind_address: Option<IpAddr>,
    advertise_address: Option<IpAddr>,
    store: Option<String>,
    etcd_servers: Option<Vec<String>>,
    etcd_cafile: Option<PathBuf>,
    etcd_certfile: Option<PathBuf>,
    etcd_keyfile: Option<PathBuf>,
    service_cidr: Option<String>,
    cluster_cidr: Option<String>,
    cluster_domain: Option<String>,
    node_name: Option<String>,
    kubelet_port: Option<u16>,
    kubelet_certificate_authority: Option<String>,
    kubeconfig: Option<PathBuf>,
    audit_log_path: Option<PathBuf>,
    max_requests_inflight: Option<usize>,
    max_mutating_requests_inflight: Option<usize>,
    enable_priority_and_fairness: Option<bool>,
    request_timeout: Option<Span>,
    #[serde(rename = "shutdownDelayDuration")]
    shutdown_delay: Option<Span>,
    shutdown_send_retry_after: Option<bool>,
    event_ttl: Option<String>,
    eviction_hard: Option<String>,
    log: Option<String>,
    log_format: Option<String>,
}

/// A duration: a number of seconds, or as Go writes one.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Span {
    Seconds(u64),
    Text(String),
}

impl ServerConfig {
    /// Flags over file over defaults.
    ///
    /// # Errors
    /// One sentence that names the flag or the file and what is wrong with it.
    pub fn from_flags(flags: &Server) -> Result<Self> {
        let file = flags.config.as_deref().map(read_file).transpose()?.unwrap_or_default();
        let store = store_config(flags, &file)?;
        let roles = flags.roles.clone().or(file.roles);
        let port = flags.secure_port.or(file.secure_port).unwrap_or(6443);
        let bind = flags.bind_address.or(file.bind_address).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let cidr = |name, flag: &Option<String>, file: Option<String>, default: &str| {
            parse_cidr(name, &flag.clone().or(file).unwrap_or_else(|| default.into()))
        };
        let log_json = match (flags.log_format, file.log_format.as_deref()) {
            (Some(format), _) => format == Output::Json,
            (None, None | Some("text")) => false,
            (None, Some("json")) => true,
            (None, Some(other)) => bail!("logFormat is {other:?}, but only text and json are known"),
        };
        let config = Self {
            roles: parse_roles(roles)?,
            root: absolute(flags.root.clone().or(file.root).unwrap_or_else(|| "/".into()))?,
            bind: (bind, port),
            advertise_address: flags.advertise_address.or(file.advertise_address),
            store,
            service_cidr: cidr("service-cidr", &flags.service_cidr, file.service_cidr, "10.96.0.0/16")?,
            cluster_cidr: cidr("cluster-cidr", &flags.cluster_cidr, file.cluster_cidr, "10.244.0.0/16")?,
            cluster_domain: flags
                .cluster_domain
                .clone()
                .or(file.cluster_domain)
                .unwrap_or_else(|| "cluster.local".into()),
            node_name: match flags.node_name.clone().or(file.node_name) {
                Some(name) => name,
                None => host_name()?,
            },
            kubelet_port: flags.kubelet_port.or(file.kubelet_port).unwrap_or(10250),
            kubelet_ca: kubelet_ca(
                flags.kubelet_certificate_authority.as_deref().or(file.kubelet_certificate_authority.as_deref()),
            )?,
            kubeconfig: flags.kubeconfig.clone().or(file.kubeconfig),
            eviction_hard: match flags.eviction_hard.as_ref().or(file.eviction_hard.as_ref()) {
                Some(text) => text.parse().map_err(|error| anyhow!("--eviction-hard: {error}"))?,
                None => node::pressure::Thresholds::default(),
            },
            event_ttl_s: duration_s(
                "event-ttl",
                flags.event_ttl.clone().or(file.event_ttl).as_deref().unwrap_or("1h"),
            )?,
            audit_log: flags.audit_log_path.clone().or(file.audit_log_path),
            requests_inflight_max: (
                flags.max_requests_inflight.or(file.max_requests_inflight).unwrap_or(400),
                flags.max_mutating_requests_inflight.or(file.max_mutating_requests_inflight).unwrap_or(200),
            ),
            priority_and_fairness: flags
                .enable_priority_and_fairness
                .or(file.enable_priority_and_fairness)
                .unwrap_or(true),
            request_timeout: span("request-timeout", &flags.request_timeout, file.request_timeout, 60)?,
            shutdown_delay: span("shutdown-delay-duration", &flags.shutdown_delay_duration, file.shutdown_delay, 0)?,
            shutdown_send_retry_after: flags
                .shutdown_send_retry_after
                .or(file.shutdown_send_retry_after)
                .unwrap_or(false),
            log: flags.log.clone().or(file.log).unwrap_or_else(|| "info".into()),
            log_json,
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        if !self.roles.contains(&Role::Api) && self.kubeconfig.is_none() {
            bail!("without the api role the server needs --kubeconfig, to know which cluster it belongs to");
        }
        if self.request_timeout.is_zero() {
            bail!("--request-timeout is 0, so that no request could be answered; give seconds");
        }
        if self.requests_inflight_max == (0, 0) {
            bail!("--max-requests-inflight and --max-mutating-requests-inflight are both 0; one must be more");
        }
        let (services, pods) = (self.service_cidr, self.cluster_cidr);
        if services.contains(&pods.network()) || pods.contains(&services.network()) {
            bail!("the service range {services} and the pod range {pods} overlap; choose others");
        }
        if services.prefix_len() > 28 {
            bail!("the service range {services} is too small; it needs a prefix of 28 bits or less");
        }
        if pods.prefix_len() > 24 {
            bail!("the pod range {pods} is too small; each node takes a /24 of it");
        }
        Ok(())
    }

    /// A path under the root: `at("etc/kubernetes")`.
    pub fn at(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// The address of the `kubernetes` service, the first of the range.
    pub fn kubernetes_service_ip(&self) -> Ipv4Addr {
        nth(self.service_cidr, 1)
    }

    /// The address of cluster DNS, the tenth of the range.
    pub fn dns_service_ip(&self) -> Ipv4Addr {
        nth(self.service_cidr, 10)
    }
}

/// How the API server knows a kubelet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KubeletCa {
    /// By the cluster's CA.
    Cluster,
    /// By the CA certificates in this PEM text.
    Pem(String),
    /// Not at all, as upstream does where it is given no CA: kubelets may sign their own certificate.
    Unverified,
}

fn kubelet_ca(path: Option<&str>) -> Result<KubeletCa> {
    match path {
        None => Ok(KubeletCa::Cluster),
        Some("") => Ok(KubeletCa::Unverified),
        Some(path) => {
            let text = fs::read_to_string(path)
                .with_context(|| format!("cannot read --kubelet-certificate-authority {path}"))?;
            if !text.contains("-----BEGIN CERTIFICATE-----") {
                bail!("--kubelet-certificate-authority {path} has no certificate in PEM form");
            }
            Ok(KubeletCa::Pem(text))
        }
    }
}

fn nth(net: ipnet::Ipv4Net, n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(net.network()) + n)
}

fn read_file(path: &Path) -> Result<File> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read the configuration file {}", path.display()))?;
    serde_saphyr::from_str(&text)
        .map_err(|e| anyhow!("the configuration file {} is not valid: {}", path.display(), one_line(&e.to_string())))
}

/// The first line of a parser's message; what follows is a drawing of the place.
fn one_line(text: &str) -> &str {
    text.lines().map(str::trim).find(|l| !l.is_empty()).unwrap_or("it cannot be parsed")
}

fn parse_roles(names: Option<Vec<String>>) -> Result<BTreeSet<Role>> {
    let known: Vec<&str> = ROLES.iter().map(|(name, _)| *name).collect();
    let Some(names) = names else { return Ok(ROLES.iter().map(|(_, role)| *role).collect()) };
    let mut roles = BTreeSet::new();
    for name in &names {
        match ROLES.iter().find(|(known, _)| known == name) {
            Some((_, role)) => roles.insert(*role),
            None => bail!("there is no role {name:?}; the roles are {}", known.join(", ")),
        };
    }
    if roles.is_empty() {
        bail!("--roles is empty; the roles are {}", known.join(", "));
    }
    Ok(roles)
}

fn store_config(flags: &Server, file: &File) -> Result<StoreConfig> {
    let kind = flags.store.clone().or(file.store.clone());
    let endpoints = flags.etcd_servers.clone().or(file.etcd_servers.clone()).unwrap_or_default();
    match kind.as_deref() {
        Some("embedded") | None if endpoints.is_empty() => Ok(StoreConfig::Embedded),
        Some("embedded") | None => bail!("--etcd-servers is given, but --store is not etcd"),
        Some("etcd") => {
            if endpoints.is_empty() {
                bail!("--store etcd needs --etcd-servers");
            }
            let cert = flags.etcd_certfile.clone().or(file.etcd_certfile.clone());
            let key = flags.etcd_keyfile.clone().or(file.etcd_keyfile.clone());
            let client = match (cert, key) {
                (Some(cert), Some(key)) => Some((cert, key)),
                (None, None) => None,
                _ => bail!("--etcd-certfile and --etcd-keyfile go together; one of them is missing"),
            };
            Ok(StoreConfig::Etcd { endpoints, ca: flags.etcd_cafile.clone().or(file.etcd_cafile.clone()), client })
        }
        Some(other) => bail!("there is no store {other:?}; the stores are embedded and etcd"),
    }
}

fn span(flag: &str, given: &Option<String>, file: Option<Span>, default_s: u64) -> Result<Duration> {
    let seconds = match given.clone().map(Span::Text).or(file) {
        None => default_s,
        Some(Span::Seconds(seconds)) => seconds,
        Some(Span::Text(text)) => match text.parse() {
            Ok(seconds) => seconds,
            Err(_) => u64::try_from(go_seconds(flag, &text)?)?,
        },
    };
    Ok(Duration::from_secs(seconds))
}

/// Seconds of a duration that is not nothing.
fn duration_s(flag: &str, text: &str) -> Result<i64> {
    let seconds = go_seconds(flag, text)?;
    if seconds > 0 { Ok(seconds) } else { Err(no_duration(flag, text)) }
}

fn no_duration(flag: &str, text: &str) -> anyhow::Error {
    anyhow!("--{flag} is {text:?}, but a duration such as 1h30m is needed")
}

/// Seconds of a duration as Go writes it: `1h30m`, `90s`.
fn go_seconds(flag: &str, text: &str) -> Result<i64> {
    let bad = || no_duration(flag, text);
    let (mut seconds, mut rest) = (0i64, text);
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let unit = match rest[digits..].chars().next() {
            Some('h') => 3600,
            Some('m') => 60,
            Some('s') => 1,
            _ => return Err(bad()),
        };
        let number: i64 = rest[..digits].parse().map_err(|_| bad())?;
        seconds = number.checked_mul(unit).and_then(|s| s.checked_add(seconds)).ok_or_else(bad)?;
        rest = &rest[digits + 1..];
    }
    if text.is_empty() { Err(bad()) } else { Ok(seconds) }
}

fn parse_cidr(name: &str, text: &str) -> Result<ipnet::Ipv4Net> {
    let net: ipnet::Ipv4Net =
        text.parse().map_err(|_| anyhow!("--{name} is {text:?}, which is no IPv4 range such as 10.96.0.0/16"))?;
    Ok(net.trunc())
}

fn absolute(path: PathBuf) -> Result<PathBuf> {
    std::path::absolute(&path).with_context(|| format!("cannot make {} absolute", path.display()))
}

/// The host name as a node name: lower case, as upstream does it.
pub fn host_name() -> Result<String> {
    let name = rustix::system::uname().nodename().to_string_lossy().trim().to_lowercase();
    if name.is_empty() {
        bail!("this machine has no host name; give --node-name");
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(flags: Server) -> String {
        format!("{:#}", ServerConfig::from_flags(&flags).expect_err("refused"))
    }

    fn text(s: &str) -> Option<String> {
        Some(s.into())
    }

    #[test]
    fn defaults_are_those_of_kubeadm() {
        let config = ServerConfig::from_flags(&Server::default()).expect("valid");
        assert_eq!(config.bind.1, 6443);
        assert_eq!(config.kubernetes_service_ip().to_string(), "10.96.0.1");
        assert_eq!(config.dns_service_ip().to_string(), "10.96.0.10");
        assert_eq!(config.roles.len(), ROLES.len());
        assert_eq!(config.at("etc"), PathBuf::from("/etc"));
        assert_eq!(config.kubelet_ca, KubeletCa::Cluster);
        let unverified = Server { kubelet_certificate_authority: text(""), ..Server::default() };
        assert_eq!(ServerConfig::from_flags(&unverified).expect("valid").kubelet_ca, KubeletCa::Unverified);
    }

    #[test]
    fn durations_are_given_as_upstream_takes_them_or_in_seconds() {
        for (given, seconds) in [("1m30s", 90), ("90", 90), ("0s", 0)] {
            let flags = Server { shutdown_delay_duration: text(given), ..Server::default() };
            assert_eq!(ServerConfig::from_flags(&flags).expect("valid").shutdown_delay.as_secs(), seconds, "{given}");
        }
        let file: File = serde_saphyr::from_str("requestTimeout: 30\nshutdownDelayDuration: 1m\n").expect("a file");
        assert_eq!(span("x", &None, file.request_timeout, 1).expect("valid").as_secs(), 30);
        assert_eq!(span("x", &None, file.shutdown_delay, 1).expect("valid").as_secs(), 60);
    }

    #[test]
    fn each_mistake_is_one_sentence_that_names_it() {
        let cases = [
            (Server { request_timeout: text("soon"), ..Server::default() }, "--request-timeout is \"soon\""),
            (Server { request_timeout: text("0"), ..Server::default() }, "--request-timeout is 0"),
            (Server { roles: Some(vec!["apis".into()]), ..Server::default() }, "there is no role \"apis\""),
            (Server { store: text("redis"), ..Server::default() }, "there is no store \"redis\""),
            (Server { store: text("etcd"), ..Server::default() }, "--store etcd needs --etcd-servers"),
            (Server { service_cidr: text("x"), ..Server::default() }, "--service-cidr is \"x\""),
            (Server { cluster_cidr: text("10.96.0.0/16"), ..Server::default() }, "overlap"),
            (Server { roles: Some(vec!["node".into()]), ..Server::default() }, "needs --kubeconfig"),
            (Server { kubelet_certificate_authority: text("/dev/null"), ..Server::default() }, "has no certificate"),
            (
                Server { kubelet_certificate_authority: text("/none"), ..Server::default() },
                "authority /none: No such file",
            ),
        ];
        for (flags, want) in cases {
            let got = error(flags);
            assert!(got.contains(want) && !got.contains('\n'), "{got:?} lacks {want:?}");
        }
    }

    #[test]
    fn a_file_sets_what_flags_leave_open_and_a_broken_one_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("mainstay.yaml");
        fs::write(&path, "securePort: 7443\nroles: [api]\nnodeName: a\n").expect("written");
        let flags = Server { config: Some(path.clone()), node_name: text("b"), ..Server::default() };
        let config = ServerConfig::from_flags(&flags).expect("valid");
        assert_eq!((config.bind.1, config.node_name.as_str(), config.roles.len()), (7443, "b", 1));
        for broken in ["securePort: [", "secureport: 1", "securePort: many"] {
            fs::write(&path, broken).expect("written");
            let got = error(Server { config: Some(path.clone()), ..Server::default() });
            assert!(got.contains("mainstay.yaml is not valid") && !got.contains('\n'), "{got:?}");
        }
    }
}
