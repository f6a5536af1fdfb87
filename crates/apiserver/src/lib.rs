//! The API server as one tower service: one request pipeline for every kind, built-in or custom.
//!
//! A request passes the stages named in [`pipeline`]; a resource is a row ([`api_schema::row::Row`]) in the table that
//! [`registry::Registry`] holds. Knows neither sockets nor controllers, and no kind by name.

#![forbid(unsafe_code)]

pub mod admission;
mod aggregation;
pub mod audit;
pub mod authn;
pub mod authz;
pub mod body;
pub mod bootstrap;
mod closing;
mod components;
pub mod config;
mod deadline;
mod discovery;
mod encodings;
mod fairness;
#[doc(hidden)]
pub mod fuzz;
mod health;
mod identity;
mod long;
mod metrics;
mod names;
mod negotiate;
mod nonresource;
mod openapi;
mod own_endpoints;
mod pipeline;
mod posted;
mod pretty;
pub mod protobuf;
mod proxy;
mod query;
pub mod registry;
mod render;
pub mod request_info;
mod request_labels;
mod request_metrics;
pub mod reviews;
mod server;
mod stage_metrics;
mod state_metrics;
pub mod stream;
mod tokens;
mod traffic;
pub mod view;
pub mod webhook;
mod websocket;
mod yaml;

pub use body::{Body, BoxError};
pub use components::{Alive, InProcess};
pub use config::Config;
pub use server::{BuildError, Server, Service};

use std::net::SocketAddr;
use std::sync::Arc;

/// The Kubernetes version that the server reports.
pub const KUBERNETES_VERSION: &str = "v1.30.3";

/// Request extension: the client's TLS certificate chain in DER, leaf first. Set by whoever terminates TLS.
#[derive(Debug, Clone)]
pub struct PeerCertificates(pub Arc<Vec<Vec<u8>>>);

/// Request extension: where the connection comes from.
#[derive(Debug, Clone, Copy)]
pub struct RemoteAddr(pub SocketAddr);
