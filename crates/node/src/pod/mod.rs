//! Pods on this node. Pure: `spec`, `resources`, `env`, `dns`, `sandbox`, `container`, `plan`, `status`, `backoff`,
//! `admit`, `ending` and the state of `probe`. Drivers: `view`, `worker`, `start`, `kill`, `probe`, `hook`, `manager`.

pub mod admit;
pub mod backoff;
pub mod container;
pub mod dns;
mod ending;
pub mod env;
pub mod hook;
pub mod kill;
pub mod manager;
pub mod plan;
pub mod probe;
pub mod resources;
pub mod sandbox;
pub mod spec;
pub mod start;
pub mod status;
pub mod view;
pub mod worker;
pub mod write;
