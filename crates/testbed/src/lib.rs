//! The harness of whole-cluster tests: the real binary, real `kubectl`, real etcd, in network namespaces of its own.
//!
//! Everything that a test starts belongs to a value that ends it when dropped. Knows the project only by its command
//! line, as a user does.

#![forbid(unsafe_code)]

mod api;
mod cluster;
mod etcd;
mod kubectl;
mod namespace;
mod process;
mod traces;

pub use api::{ApiServer, ServerOptions};
pub use cluster::{Cluster, Task};
pub use etcd::Etcd;
pub use kubectl::{Answer, Kubectl};
pub use namespace::Namespace;
pub use process::{Ended, Running, free_port, run};
pub use traces::Traces;
