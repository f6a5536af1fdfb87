//! Clients that people really use, against the API server and its controllers: every `kubectl` that is installed, the
//! Python client, kube-rs. And the conformance behaviours that need no node, as scripts that name them.
//!
//! Knows the server only by its kubeconfig. Needs `python3` with `venv`; the Python client is installed from PyPI into a
//! directory of the build, once.

mod aggregation;
mod bench;
mod commands;
mod kubectl;
mod python;
mod rust;
/// An HTTPS server that a test plays; the API server's own tests use it too.
#[path = "../../../apiserver/tests/support/mod.rs"]
mod support;
