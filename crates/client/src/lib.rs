//! How components talk to the API: a `kube::Client` over an in-process service or a kubeconfig, and shared informers.
//!
//! A component never learns which of the two it was given. This crate knows nothing of the API server or its store:
//! `in_process` takes any tower service of the right shape.

#![forbid(unsafe_code)]

pub mod informer;
mod key;
mod transport;

pub use key::Key;
pub use transport::{BoxError, ConnectError, RequestBody, from_kubeconfig, in_process};
