//! The controllers of the control plane: each watches some kinds and writes others until what is there is what is
//! wanted. They are ordinary API clients, and know neither the server nor its store.
//!
//! Each module declares its row (inputs, outputs), decides in pure functions and acts in a thin driver; its tests put
//! objects in and look at what would be written.

#![forbid(unsafe_code)]

mod account_tokens;
mod adopt;
mod batch;
mod certificates;
mod cron_job;
mod daemon_set;
mod deployment;
mod discovery;
mod disruption;
mod endpoint_slice;
mod endpoints;
mod garbage;
mod hash;
mod job;
mod namespace;
mod node_ipam;
mod node_lifecycle;
mod pod_gc;
mod pods;
mod policy_status;
mod quota;
mod replica_set;
mod revisions;
mod role_aggregation;
mod root_ca;
mod run;
mod service;
mod service_account;
mod stateful_set;
mod ttl;
mod volume_protection;

pub use run::{Accounts, Config, RunError, graph, run};

/// What an API error says, without the words of the tool that asked.
pub(crate) fn text(error: &controller_kit::Error) -> String {
    error.message().map_or_else(|| error.to_string(), str::to_owned)
}
