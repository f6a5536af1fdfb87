//! Keys, certificates, signing requests and kubeconfigs, laid out on disk as kubeadm lays them out.
//!
//! Must never know the network. Keys are ECDSA P-256: made in microseconds, and read by every Kubernetes component.

#![forbid(unsafe_code)]

mod cert;
mod error;
mod file;
mod kubeconfig;
mod layout;

pub use cert::{CsrInfo, LeafSpec, Pair, Usage, certificate_authority, key_pair, leaf, sign_csr, signing_request};
pub use error::Error;
pub use file::write_atomic;
pub use kubeconfig::{KubeconfigSpec, kubeconfig};
pub use layout::{Cluster, ClusterSpec, NodePki};
