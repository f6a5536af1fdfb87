//! The pod network of a node: CNI configuration, routes between nodes, the service proxy, and cluster DNS.
//!
//! Each part is a pure function from API objects to configuration, and a thin driver that carries it to the kernel.
//! This crate is an API client: it must never know the API server or the store.

#![forbid(unsafe_code)]

pub mod cni;
mod command;
pub mod dns;
#[doc(hidden)]
pub mod fuzz;

pub mod proxy;
pub mod routes;

use std::path::Path;

pub use command::CommandError;

/// Takes away what the network of the cluster at `root` left in the kernel: the nftables table and our routes.
///
/// # Errors
/// If `nft` or `ip` fails.
pub async fn remove_all(_root: &Path) -> Result<(), CommandError> {
    proxy::remove().await?;
    routes::remove().await
}
