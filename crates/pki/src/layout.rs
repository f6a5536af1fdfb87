//! The files of a cluster's PKI under `ROOT/etc/kubernetes`, named as kubeadm names them.
//!
//! What exists is kept, what is missing is made; so a user can bring an authority of their own.

use crate::cert::belongs;
use crate::file::{read_optional, remove, rename, write_atomic};
use crate::{Error, KubeconfigSpec, LeafSpec, Pair, Usage, certificate_authority, key_pair, kubeconfig, leaf};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use x509_parser::prelude::*;

const CA_DAYS: u32 = 3650;
const LEAF_DAYS: u32 = 365;
/// A certificate of ours that ends sooner than this is made anew at start.
const RENEW_BEFORE_S: i64 = 30 * 86400;

/// Ends the name of a certificate whose key is not in its place yet.
const PENDING: &str = ".new";

/// What a control plane's certificates must say.
#[derive(Debug, Clone)]
pub struct ClusterSpec {
    /// Everything lies under `root/etc/kubernetes`.
    pub root: PathBuf,
    /// Names of the API server beside the usual ones.
    pub dns_names: Vec<String>,
    /// Addresses of the API server, the service address among them.
    pub ip_addresses: Vec<IpAddr>,
    /// `https://host:port` that kubeconfigs name.
    pub server_url: String,
    /// DNS domain of services, `cluster.local`.
    pub cluster_domain: String,
    /// Seconds since the epoch.
    pub now_unix_s: i64,
}

/// A control plane's keys and certificates.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// The cluster's authority.
    pub ca: Pair,
    /// The API server's serving certificate.
    pub apiserver: Pair,
    /// With it the API server calls kubelets.
    pub kubelet_client: Pair,
    /// Authority of the front proxy.
    pub front_proxy_ca: Pair,
    /// With it the API server calls extension servers.
    pub front_proxy_client: Pair,
    /// Public and private key of service-account tokens.
    pub service_account: Pair,
    /// Path of the administrator's kubeconfig.
    pub admin_conf: PathBuf,
}

/// A node's certificates.
#[derive(Debug, Clone)]
pub struct NodePki {
    /// The kubelet API's serving certificate.
    pub serving: Pair,
    /// The node's client certificate: user `system:node:NAME`.
    pub client: Pair,
}

impl Cluster {
    /// Reads what is there, makes what is missing or about to end, and writes the kubeconfigs.
    ///
    /// # Errors
    /// If a file cannot be read, parsed or written, or if one half of a pair is missing.
    pub fn load_or_create(spec: &ClusterSpec) -> Result<Self, Error> {
        let etc = spec.root.join("etc/kubernetes");
        let pki = etc.join("pki");
        let now = spec.now_unix_s;
        let ca = authority(&pki.join("ca"), "kubernetes", now)?;
        let front_proxy_ca = authority(&pki.join("front-proxy-ca"), "front-proxy-ca", now)?;
        let service_account = match read_pair(&pki.join("sa.pub"), &pki.join("sa.key"))? {
            Some(pair) => pair,
            None => {
                let pair = key_pair()?;
                write_pair(&pki.join("sa.pub"), &pki.join("sa.key"), &pair)?;
                pair
            }
        };
        let apiserver = signed(&pki.join("apiserver"), &ca, &serving_spec(spec), now)?;
        let client = |name: &str, groups: &[&str]| client_spec(name, groups);
        let masters = ["system:masters"];
        let kubelet_client = signed(
            &pki.join("apiserver-kubelet-client"),
            &ca,
            &client("kube-apiserver-kubelet-client", &masters),
            now,
        )?;
        let front_proxy_client =
            signed(&pki.join("front-proxy-client"), &front_proxy_ca, &client("front-proxy-client", &[]), now)?;
        for (file, user, groups) in [
            ("admin.conf", "kubernetes-admin", &masters[..]),
            ("controller-manager.conf", "system:kube-controller-manager", &[]),
            ("scheduler.conf", "system:kube-scheduler", &[]),
        ] {
            write_kubeconfig(&etc.join(file), spec, &ca, user, groups)?;
        }
        let admin_conf = etc.join("admin.conf");
        Ok(Self { ca, apiserver, kubelet_client, front_proxy_ca, front_proxy_client, service_account, admin_conf })
    }
}

impl NodePki {
    /// A node's certificates, signed by `ca`, kept under `root/var/lib/kubelet/pki`.
    ///
    /// # Errors
    /// If a file cannot be read, parsed or written.
    pub fn load_or_create(
        root: &Path,
        ca: &Pair,
        name: &str,
        addresses: &[IpAddr],
        now_unix_s: i64,
    ) -> Result<Self, Error> {
        let dir = root.join("var/lib/kubelet/pki");
        let user = format!("system:node:{name}");
        let serving = LeafSpec {
            dns_names: vec![name.to_owned()],
            ip_addresses: addresses.to_vec(),
            usage: Usage::Server,
            ..client_spec(&user, &["system:nodes"])
        };
        Ok(Self {
            serving: signed(&dir.join("kubelet"), ca, &serving, now_unix_s)?,
            client: signed(&dir.join("kubelet-client"), ca, &client_spec(&user, &["system:nodes"]), now_unix_s)?,
        })
    }
}

fn serving_spec(spec: &ClusterSpec) -> LeafSpec {
    let mut dns_names: Vec<String> =
        ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(String::from).to_vec();
    dns_names.push(format!("kubernetes.default.svc.{}", spec.cluster_domain));
    dns_names.extend(spec.dns_names.iter().cloned());
    dns_names.dedup();
    LeafSpec {
        common_name: "kube-apiserver".into(),
        organizations: Vec::new(),
        dns_names,
        ip_addresses: spec.ip_addresses.clone(),
        usage: Usage::Server,
        valid_days: LEAF_DAYS,
    }
}

fn client_spec(name: &str, groups: &[&str]) -> LeafSpec {
    LeafSpec {
        common_name: name.into(),
        organizations: groups.iter().map(ToString::to_string).collect(),
        dns_names: Vec::new(),
        ip_addresses: Vec::new(),
        usage: Usage::Client,
        valid_days: LEAF_DAYS,
    }
}

fn write_kubeconfig(path: &Path, spec: &ClusterSpec, ca: &Pair, user: &str, groups: &[&str]) -> Result<(), Error> {
    let credentials = leaf(ca, &client_spec(user, groups), spec.now_unix_s)?;
    let text = kubeconfig(&KubeconfigSpec {
        server: &spec.server_url,
        cluster: "kubernetes",
        user,
        ca_pem: &ca.cert_pem,
        credentials: &credentials,
    });
    write_atomic(path, text.as_bytes(), 0o600)
}

fn with_extension(stem: &Path, extension: &str) -> PathBuf {
    let mut name = stem.as_os_str().to_owned();
    name.push(extension);
    name.into()
}

fn authority(stem: &Path, common_name: &str, now: i64) -> Result<Pair, Error> {
    let (cert, key) = (with_extension(stem, ".crt"), with_extension(stem, ".key"));
    if let Some(pair) = read_pair(&cert, &key)? {
        return Ok(pair);
    }
    let pair = certificate_authority(common_name, now, CA_DAYS)?;
    write_pair(&cert, &key, &pair)?;
    Ok(pair)
}

/// The pair at `stem`, made anew if it is absent, ends soon, was signed by another authority, or lacks a name.
fn signed(stem: &Path, ca: &Pair, spec: &LeafSpec, now: i64) -> Result<Pair, Error> {
    let (cert, key) = (with_extension(stem, ".crt"), with_extension(stem, ".key"));
    if let Some(pair) = read_pair(&cert, &key)?
        && still_good(&pair.cert_pem, ca, spec, now)
    {
        return Ok(pair);
    }
    let pair = leaf(ca, spec, now)?;
    write_pair(&cert, &key, &pair)?;
    Ok(pair)
}

fn still_good(cert_pem: &str, ca: &Pair, spec: &LeafSpec, now: i64) -> bool {
    let (Ok((_, block)), Ok((_, ca_block))) =
        (parse_x509_pem(cert_pem.as_bytes()), parse_x509_pem(ca.cert_pem.as_bytes()))
    else {
        return false;
    };
    let (Ok(cert), Ok(authority)) = (block.parse_x509(), ca_block.parse_x509()) else { return false };
    let names = cert.subject_alternative_name().ok().flatten().map(|n| n.value.general_names.clone());
    let names = names.unwrap_or_default();
    let has_dns = |want: &String| names.iter().any(|n| matches!(n, GeneralName::DNSName(d) if d == want));
    let has_ip = |want: &IpAddr| {
        let octets = match want {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        names.iter().any(|n| matches!(n, GeneralName::IPAddress(bytes) if *bytes == octets))
    };
    cert.validity().not_after.timestamp() - now > RENEW_BEFORE_S
        && cert.verify_signature(Some(authority.public_key())).is_ok()
        && spec.dns_names.iter().all(has_dns)
        && spec.ip_addresses.iter().all(has_ip)
}

/// The pair, if it is there; finishes one whose writing was cut off by a crash.
fn read_pair(cert: &Path, key: &Path) -> Result<Option<Pair>, Error> {
    let new = with_extension(cert, PENDING);
    let key_pem = read_optional(key)?;
    if let Some(pending) = read_optional(&new)? {
        if key_pem.as_deref().is_some_and(|key_pem| belongs(key_pem, &pending)) {
            rename(&new, cert)?;
        } else {
            remove(&new)?;
        }
    }
    match (read_optional(cert)?, key_pem) {
        (None, None) => Ok(None),
        (Some(cert_pem), Some(key_pem)) => Ok(Some(Pair { cert_pem, key_pem })),
        (Some(_), None) => Err(Error::HalfPair { present: cert.into(), missing: key.into() }),
        (None, Some(_)) => Err(Error::HalfPair { present: key.into(), missing: cert.into() }),
    }
}

/// Writes a pair so that a crash at any point leaves the old one, the new one, or what [`read_pair`] makes the new one
/// of: the certificate waits beside its place until its key is in its own.
fn write_pair(cert: &Path, key: &Path, pair: &Pair) -> Result<(), Error> {
    let new = with_extension(cert, PENDING);
    write_atomic(&new, pair.cert_pem.as_bytes(), 0o644)?;
    write_atomic(key, pair.key_pem.as_bytes(), 0o600)?;
    rename(&new, cert)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(root: &Path) -> ClusterSpec {
        ClusterSpec {
            root: root.into(),
            dns_names: vec!["host".into()],
            ip_addresses: vec!["127.0.0.1".parse().expect("an address")],
            server_url: "https://127.0.0.1:6443".into(),
            cluster_domain: "cluster.local".into(),
            now_unix_s: 1_800_000_000,
        }
    }

    #[test]
    fn a_second_start_keeps_what_the_first_made() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = Cluster::load_or_create(&spec(dir.path())).expect("made");
        let second = Cluster::load_or_create(&spec(dir.path())).expect("read");
        assert_eq!(first.ca, second.ca);
        assert_eq!(first.apiserver, second.apiserver);
        assert_eq!(first.service_account, second.service_account);
        assert!(dir.path().join("etc/kubernetes/admin.conf").exists());
    }

    #[test]
    fn a_new_address_or_a_near_end_makes_a_new_serving_certificate_but_keeps_the_authority() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = Cluster::load_or_create(&spec(dir.path())).expect("made");
        let mut moved = spec(dir.path());
        moved.ip_addresses.push("10.0.0.9".parse().expect("an address"));
        let second = Cluster::load_or_create(&moved).expect("made");
        assert_eq!(first.ca, second.ca);
        assert_ne!(first.apiserver, second.apiserver);
        moved.now_unix_s += 360 * 86400;
        let third = Cluster::load_or_create(&moved).expect("made");
        assert_ne!(second.apiserver, third.apiserver);
    }

    #[test]
    fn a_pair_that_was_cut_off_while_it_was_written_is_the_old_or_the_new_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let (cert, key) = (dir.path().join("a.crt"), dir.path().join("a.key"));
        let pending = with_extension(&cert, PENDING);
        let write = |path: &Path, text: &str| std::fs::write(path, text).expect("written");
        for make in [|| key_pair().expect("made"), || certificate_authority("a", 1_800_000_000, 1).expect("made")] {
            let (old, new) = (make(), make());
            // The first ever: before and after its key is in place.
            write(&pending, &new.cert_pem);
            assert_eq!(read_pair(&cert, &key).expect("read"), None);
            write(&pending, &new.cert_pem);
            write(&key, &new.key_pem);
            assert_eq!(read_pair(&cert, &key).expect("read"), Some(new.clone()));
            // One that replaces another.
            write_pair(&cert, &key, &old).expect("written");
            write(&pending, &new.cert_pem);
            assert_eq!(read_pair(&cert, &key).expect("read"), Some(old.clone()));
            write(&pending, &new.cert_pem);
            write(&key, &new.key_pem);
            assert_eq!(read_pair(&cert, &key).expect("read"), Some(new));
            assert_eq!(std::fs::read_dir(dir.path()).expect("read").count(), 2);
            std::fs::remove_file(&cert).and_then(|()| std::fs::remove_file(&key)).expect("removed");
        }
    }

    #[test]
    fn half_a_pair_is_an_error_that_names_both_files() {
        let dir = tempfile::tempdir().expect("a directory");
        Cluster::load_or_create(&spec(dir.path())).expect("made");
        std::fs::remove_file(dir.path().join("etc/kubernetes/pki/ca.key")).expect("removed");
        let error = Cluster::load_or_create(&spec(dir.path())).expect_err("refused").to_string();
        assert!(error.contains("ca.crt exists but") && error.contains("ca.key does not"), "{error}");
    }
}
