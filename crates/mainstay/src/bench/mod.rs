//! `mainstay bench`: measures any Kubernetes API server through its public API, one JSON line for each measurement.
//!
//! It knows the server only by its address and, for CPU and memory, by process ids.

mod api;
mod connect;
mod fairness;
mod meter;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `mainstay bench`.
#[derive(Debug, Args)]
pub struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Create, get, list, table, patch, watch and delete pods that no node runs; `--ops fairness` measures what greedy clients do to others, `--ops catch-up` watches that begin before changes.
    Api(Api),
}

/// `mainstay bench api`.
#[derive(Debug, Clone, Args)]
pub struct Api {
    /// Kubeconfig of the cluster; or give --server.
    #[arg(long, value_name = "FILE", required_unless_present = "server")]
    pub kubeconfig: Option<PathBuf>,
    /// Address of the API server, such as https://127.0.0.1:6443; with a kubeconfig, used in place of its own.
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// Bearer token.
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// Client certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Key of the client certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Authority of the server's certificate (PEM); without it the certificate is not verified.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// What to measure, in this order; delete comes last and always runs.
    #[arg(long, value_delimiter = ',', default_value = "create,get,list,table,patch,watch")]
    pub ops: Vec<String>,
    /// Pods to create.
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    pub objects: usize,
    /// Clients at once, each with connections of its own.
    #[arg(long, default_value_t = 16, value_name = "N")]
    pub clients: usize,
    /// Watchers for the watch and catch-up measurements.
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub watchers: usize,
    /// Changes that every watcher must see.
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub changes: usize,
    /// Greedy clients for the fairness measurement, which is made only if --ops names it.
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub greedy: usize,
    /// Times that a list is read; the median counts.
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub lists: usize,
    /// Processes whose CPU time and memory are the server's.
    #[arg(long, value_delimiter = ',', value_name = "PIDS")]
    pub pids: Vec<i32>,
    /// Text that each line carries as `label`, to tell servers apart.
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,
}

/// Runs the measurement.
///
/// # Errors
/// If the server cannot be reached or refuses a request.
pub fn run(args: Bench) -> Result<()> {
    crate::tls::install()?;
    let What::Api(api) = args.what;
    runtime()?.block_on(api::run(&api))
}

/// A runtime of one thread. Clients that hand their work to other threads take the server's processors from it to wake them.
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the async runtime")
}
