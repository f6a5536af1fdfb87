//! What must hold of what DNS reads from pods. For the crate `fuzzing` alone; nothing else may name this module.

pub use crate::dns::fuzz::{dns_request, resolv_conf};
