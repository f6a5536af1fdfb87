//! Keys, certificates, signing requests and kubeconfigs, laid out on disk as kubeadm lays them out.
//!
//! Must never know the network. Keys are ECDSA P-256: made in microseconds, and read by every Kubernetes component.

#![forbid(unsafe_code)]

mod cert;
mod error;
mod file;
mod kubeconfig;
mod layout;
mod request;
mod subject;
pub mod tokens;

pub use cert::{LeafSpec, Pair, Usage, certificate_authority, key_pair, leaf};
pub use error::Error;
pub use file::write_atomic;
pub use kubeconfig::{KubeconfigSpec, kubeconfig};
pub use layout::{Cluster, ClusterSpec, NodePki};
pub use request::{CsrInfo, Signing, ends_at, read_request, sign_csr, signing_request};
