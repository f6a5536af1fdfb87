//! Cluster DNS: names of services and pods from the API, everything else from the machine's own resolvers.
//!
//! [`zone`] decides what a name means, [`answer`] makes messages of it, [`server`] moves packets.

mod answer;
mod forward;
pub(crate) mod fuzz;
mod server;
mod source;
pub mod zone;

pub use server::{Config, Error, run};
pub use source::Source;
