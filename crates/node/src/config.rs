//! The agent's configuration, its limits, and where its files are. Parsed once by the caller; no globals.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Taint;

use crate::Adaptations;
use crate::pressure::Thresholds;

/// Certificate and key the kubelet API serves with, as PEM.
#[derive(Clone)]
pub struct Tls {
    /// Certificate chain.
    pub cert_pem: String,
    /// Private key.
    pub key_pem: String,
}

/// What one node agent needs to know.
#[derive(Clone)]
pub struct Config {
    /// Name of the Node object.
    pub node_name: String,
    /// The node's internal address; host-network pods have it as theirs.
    pub node_ip: IpAddr,
    /// Every file of the agent lies below this; `/` on a machine of its own.
    pub root_dir: PathBuf,
    /// The runtime's unix socket.
    pub cri_socket: PathBuf,
    /// Where the kubelet API listens, normally port 10250.
    pub listen: SocketAddr,
    /// Serving certificate of the kubelet API; without one it is not served.
    pub tls: Option<Tls>,
    /// CA of client certificates for the kubelet API, as PEM.
    pub client_ca_pem: String,
    /// Address of the cluster's DNS service.
    pub cluster_dns: IpAddr,
    /// Domain of the cluster, normally `cluster.local`.
    pub cluster_domain: String,
    /// Parent of all pod cgroups, such as `/kubepods`; relative to the cgroup mounts.
    pub pod_cgroup_root: String,
    /// Directory of CNI configuration, watched so that readiness follows it at once; optional.
    pub cni_conf_dir: Option<PathBuf>,
    /// Directory of static pod manifests; optional.
    pub static_pod_dir: Option<PathBuf>,
    /// The resolver configuration that pods with dnsPolicy Default inherit.
    pub resolv_conf: PathBuf,
    /// Labels that the node registers with, besides its own.
    pub labels: BTreeMap<String, String>,
    /// Taints that the node registers with.
    pub taints: Vec<Taint>,
    /// `spec.providerID`.
    pub provider_id: Option<String>,
    /// Milli-CPUs kept back for the system.
    pub reserved_cpu_milli: i64,
    /// Memory kept back for the system.
    pub reserved_memory_bytes: i64,
    /// Sysctls beyond the safe set that pods may use; a trailing `*` is a prefix.
    pub allowed_unsafe_sysctls: Vec<String>,
    /// The agent's limits.
    pub limits: Limits,
    /// Where departures from the normal way of working are written down.
    pub adaptations: Adaptations,
}

/// Named limits; each has a unit.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Pods a node takes; more are refused with `OutOfpods`.
    pub max_pods: u32,
    /// Image pulls at once; more wait.
    pub image_pulls_max: usize,
    /// A container's log file is rotated past this size.
    pub log_file_bytes_max: u64,
    /// Rotated files kept per container, the live one included.
    pub log_files_max: usize,
    /// Disk usage at which unused images are collected.
    pub image_gc_high_percent: u64,
    /// Disk usage down to which images are collected.
    pub image_gc_low_percent: u64,
    /// Below which the node is under pressure.
    pub thresholds: Thresholds,
    /// Images reported in the Node's status, largest first.
    pub node_images_max: usize,
    /// How often the node's status is written when nothing changed.
    pub status_period: Duration,
    /// How often the node's Lease is renewed and the machine is measured.
    pub heartbeat_period: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_pods: 110,
            image_pulls_max: 4,
            log_file_bytes_max: 10 * 1024 * 1024,
            log_files_max: 5,
            image_gc_high_percent: 85,
            image_gc_low_percent: 80,
            thresholds: Thresholds::default(),
            node_images_max: 50,
            status_period: Duration::from_secs(300),
            heartbeat_period: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// A configuration with kubeadm's defaults, for a node of this name and address with its files below `root_dir`.
    pub fn new(node_name: impl Into<String>, node_ip: IpAddr, root_dir: impl Into<PathBuf>) -> Self {
        // The runtime mounts what lies below it, and needs absolute paths.
        let root_dir = root_dir.into();
        let root_dir = std::path::absolute(&root_dir).unwrap_or(root_dir);
        Self {
            node_name: node_name.into(),
            node_ip,
            cri_socket: root_dir.join("run/containerd/containerd.sock"),
            static_pod_dir: Some(root_dir.join("etc/kubernetes/manifests")),
            cni_conf_dir: Some(root_dir.join("etc/cni/net.d")),
            root_dir,
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 10250)),
            tls: None,
            client_ca_pem: String::new(),
            cluster_dns: IpAddr::from([10, 96, 0, 10]),
            cluster_domain: "cluster.local".into(),
            pod_cgroup_root: "/kubepods".into(),
            resolv_conf: "/etc/resolv.conf".into(),
            labels: BTreeMap::new(),
            taints: Vec::new(),
            provider_id: None,
            reserved_cpu_milli: 0,
            reserved_memory_bytes: 0,
            allowed_unsafe_sysctls: Vec::new(),
            limits: Limits::default(),
            adaptations: Adaptations::default(),
        }
    }

    /// The kubelet's own directory.
    pub(crate) fn kubelet_dir(&self) -> PathBuf {
        self.root_dir.join("var/lib/kubelet")
    }

    /// A directory per pod UID.
    pub(crate) fn pods_dir(&self) -> PathBuf {
        self.kubelet_dir().join("pods")
    }

    /// Everything of one pod.
    pub(crate) fn pod_dir(&self, uid: &str) -> PathBuf {
        self.pods_dir().join(uid)
    }

    /// Log directories, one per pod.
    pub(crate) fn pod_logs_dir(&self) -> PathBuf {
        self.root_dir.join("var/log/pods")
    }

    /// The log directory of one pod.
    pub(crate) fn pod_log_dir(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.pod_logs_dir().join(format!("{namespace}_{name}_{uid}"))
    }

    /// Symbolic links to the containers' log files.
    pub(crate) fn container_links_dir(&self) -> PathBuf {
        self.root_dir.join("var/log/containers")
    }

    /// Localhost seccomp profiles.
    pub(crate) fn seccomp_dir(&self) -> PathBuf {
        self.kubelet_dir().join("seccomp")
    }
}

/// Joins an absolute path below a root.
pub(crate) fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}
