//! Kubeconfigs with their credentials embedded.

use crate::Pair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What a kubeconfig says.
#[derive(Debug, Clone)]
pub struct KubeconfigSpec<'a> {
    /// `https://host:port`.
    pub server: &'a str,
    /// Name of the cluster.
    pub cluster: &'a str,
    /// Name of the user entry.
    pub user: &'a str,
    /// Authority of the server's certificate, PEM.
    pub ca_pem: &'a str,
    /// The user's certificate and key.
    pub credentials: &'a Pair,
}

/// The text of a kubeconfig with one cluster, one user and one context, laid out as kubeadm does.
pub fn kubeconfig(spec: &KubeconfigSpec<'_>) -> String {
    let KubeconfigSpec { server, cluster, user, ca_pem, credentials } = spec;
    let ca = STANDARD.encode(ca_pem);
    let cert = STANDARD.encode(&credentials.cert_pem);
    let key = STANDARD.encode(&credentials.key_pem);
    format!(
        "apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: {ca}
    server: {server}
  name: {cluster}
contexts:
- context:
    cluster: {cluster}
    user: {user}
  name: {user}@{cluster}
current-context: {user}@{cluster}
kind: Config
preferences: {{}}
users:
- name: {user}
  user:
    client-certificate-data: {cert}
    client-key-data: {key}
"
    )
}
