//! The node agent: runs the pods bound to one node through a CRI runtime and serves the kubelet API.
//!
//! A pod is a pure state machine ([`pod::plan`]) driven by one task per pod ([`pod::worker`]), so that a runtime call
//! that hangs holds back nobody else. Containers outlive the agent: what runs is read back through the CRI labels and
//! annotations that the kubelet writes. This crate is an API client: it must never know the API server or the store.

#![forbid(unsafe_code)]

mod adapt;
mod agent;
mod cgroups;
mod config;
pub mod containerd;
mod cri;
mod events;
#[doc(hidden)]
pub mod fuzz;
pub mod image;
mod images;
mod machine;
mod maintenance;
mod names;
mod node;
mod pod;
pub mod pressure;
mod purge;
mod quantity;
mod run;
mod server;
mod static_pods;
mod task_events;
mod volumes;
mod watchfile;

pub use adapt::{Adaptation, Adaptations};
pub use config::{Config, Limits, Tls};
pub use purge::{PurgeError, purge};
pub use run::{Error, release, run};
