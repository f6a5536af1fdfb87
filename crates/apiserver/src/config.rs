//! What the server must be told, parsed already. Reads no file and no environment.

use crate::components::InProcess;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

/// Configuration of a [`crate::Server`].
#[derive(Debug, Clone)]
pub struct Config {
    /// Address that other machines reach this server at; the endpoint of the `kubernetes` service.
    pub advertise_address: IpAddr,
    /// Port of the server, for the same endpoint.
    pub secure_port: u16,
    /// Name of this machine, by which the server says that it lives; empty for a server that does not say so.
    pub host_name: String,
    /// Range of service addresses.
    pub service_cidr: ipnet::IpNet,
    /// Range of node ports.
    pub node_ports: RangeInclusive<u16>,
    /// Client certificates must chain to one of these (PEM).
    pub client_ca_pem: String,
    /// The CA that pods get in `kube-root-ca.crt` and that this server's certificate chains to (PEM).
    pub root_ca_pem: String,
    /// Issuer of service-account tokens.
    pub service_account_issuer: String,
    /// Signs service-account tokens (PEM).
    pub service_account_key_pem: String,
    /// Verify service-account tokens (PEM, public keys); the signing key's own public key need not be listed.
    pub service_account_public_keys_pem: Vec<String>,
    /// Audiences of tokens for this server; empty means the issuer.
    pub api_audiences: Vec<String>,
    /// Client certificate and key (PEM) for the kubelet API; empty if there are none.
    pub kubelet_client_cert_pem: String,
    /// Its key (PEM).
    pub kubelet_client_key_pem: String,
    /// CA of the kubelets' serving certificates (PEM); empty means that they are not verified, as upstream's default.
    pub kubelet_ca_pem: String,
    /// Client certificate (PEM) that this server shows to aggregated API servers; empty if there is none.
    pub proxy_client_cert_pem: String,
    /// Its key (PEM).
    pub proxy_client_key_pem: String,
    /// CA of the front proxies whose `X-Remote-*` headers are believed (PEM); empty if there are none.
    pub front_proxy_ca_pem: String,
    /// Common names of front proxies; empty means any that the CA has signed.
    pub front_proxy_names: Vec<String>,
    /// File that a line is appended to for each request; `None` for no audit log.
    pub audit_log: Option<std::path::PathBuf>,
    /// Whether requests without credentials are taken as `system:anonymous`.
    pub anonymous: bool,
    /// Whether the default namespaces, roles and classes are made and kept.
    pub bootstrap: bool,
    /// Where the server registers its metrics; `/metrics` shows all that is in it.
    pub metrics: telemetry::metrics::Registry,
    /// Told of the components that run in this process.
    pub components: InProcess,
    /// Whether flow schemas and priority levels are in effect; if not, the two limits on requests at once are all.
    pub priority_and_fairness: bool,
    /// Limits.
    pub limits: Limits,
}

/// Bounds of what the server takes on.
#[derive(Debug, Clone)]
pub struct Limits {
    /// A larger request body is answered 413.
    pub request_body_bytes_max: usize,
    /// Requests at once that only read: part of what priority levels share; without them, more are answered 429. 0 is no
    /// limit.
    pub inflight_reading_max: usize,
    /// The same for requests that write.
    pub inflight_writing_max: usize,
    /// A request that names no timeout ends with 504 after this.
    pub request_timeout: Duration,
    /// A watch that names no timeout lasts between this and twice this.
    pub watch_timeout_min: Duration,
    /// Larger answers are compressed where the client takes it.
    pub gzip_bytes_min: usize,
    /// How long a drain waits for requests to finish.
    pub drain_timeout: Duration,
    /// A webhook that has not answered for so long is down: the cluster's own components do not wait for it where the
    /// cluster could not live without their writes.
    pub webhook_down_after: Duration,
    /// Seconds that an event is kept.
    pub event_ttl_s: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_body_bytes_max: 3 << 20,
            inflight_reading_max: 400,
            inflight_writing_max: 200,
            request_timeout: Duration::from_secs(60),
            watch_timeout_min: Duration::from_secs(1800),
            gzip_bytes_min: 128 << 10,
            drain_timeout: Duration::from_secs(10),
            webhook_down_after: Duration::from_secs(30),
            event_ttl_s: 3600,
        }
    }
}

impl Default for Config {
    /// The defaults of kubeadm; no keys and no certificates.
    fn default() -> Self {
        Self {
            advertise_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            secure_port: 6443,
            host_name: String::new(),
            service_cidr: ipnet::IpNet::V4(ipnet::Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16)),
            node_ports: 30000..=32767,
            client_ca_pem: String::new(),
            root_ca_pem: String::new(),
            service_account_issuer: "https://kubernetes.default.svc.cluster.local".into(),
            service_account_key_pem: String::new(),
            service_account_public_keys_pem: Vec::new(),
            api_audiences: Vec::new(),
            kubelet_client_cert_pem: String::new(),
            kubelet_client_key_pem: String::new(),
            kubelet_ca_pem: String::new(),
            proxy_client_cert_pem: String::new(),
            proxy_client_key_pem: String::new(),
            front_proxy_ca_pem: String::new(),
            front_proxy_names: vec!["front-proxy-client".into()],
            audit_log: None,
            anonymous: true,
            bootstrap: true,
            priority_and_fairness: true,
            metrics: telemetry::metrics::Registry::new(),
            components: InProcess::default(),
            limits: Limits::default(),
        }
    }
}
