//! The service proxy: Services and EndpointSlices become elements of nftables maps.
//!
//! [`rules`] says what one Service needs, [`script`] turns the difference of two states into `nft` commands, and
//! [`run`] applies them as objects change. Load time stays flat because the kernel sees named maps only: one chain for
//! each number of endpoints, not one for each Service.

mod conntrack;
mod driver;
pub mod rules;
pub mod script;

pub use driver::{Config, Error, run};

use crate::command::{self, CommandError};

/// Removes our table, if it is there.
///
/// # Errors
/// If `nft` fails.
pub async fn remove() -> Result<(), CommandError> {
    // Adding first makes the deletion succeed when there is no table.
    let text = format!("add table ip {0}\ndelete table ip {0}\n", script::TABLE);
    command::run("nft", &["-f", "-"], &text).await.map(drop)
}
