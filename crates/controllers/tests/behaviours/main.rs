//! Conformance behaviours that need no container, one test each, against the real API server, controllers and scheduler
//! in one process, with nodes that only pretend to run pods. A test's doc comment is upstream's name of the behaviour;
//! docs/conformance.md lists them all.

#[path = "../cluster/world.rs"]
#[allow(dead_code, reason = "the other tests of clusters use more of it")]
mod world;

mod auth;
mod batch;
mod daemons;
mod deployments;
mod disruption;
mod kit;
mod machinery;
mod network;
mod pods;
mod replicas;
mod scheduling;
mod stateful;
mod storage;
