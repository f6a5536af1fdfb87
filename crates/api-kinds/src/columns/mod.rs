//! Cells of a kind's row in a Table, as upstream prints them.
//!
//! Headings come from the generated table; here is only what stands below them. The wide columns are always filled:
//! the client decides what it shows. Must never read a clock: how long ago something was is filled in when a row is sent.

mod access;
mod admin;
mod core;
mod duration;
mod network;
pub mod outline;
mod pod;
mod storage;
mod text;
mod workload;

pub use duration::human;

use api_schema::row::Cell;
use serde_json::Value;

/// Makes the cells of an object.
pub type Cells = fn(&Value) -> Vec<Cell>;

/// How a kind's cells are made; `None` if it has no columns of its own beside its name and when it was created.
pub fn for_kind(group: &str, kind: &str) -> Option<Cells> {
    let found = match group {
        "" | "events.k8s.io" => core::cells(kind).or_else(|| storage::cells(kind)),
        "apps" | "batch" | "autoscaling" | "policy" => workload::cells(kind),
        "networking.k8s.io" | "discovery.k8s.io" => network::cells(kind),
        "storage.k8s.io" => storage::cells(kind),
        _ => admin::cells(kind),
    };
    found.or(Some(created_at))
}

/// How the conditions of a kind's rows are found, if it has any.
pub fn conditions(group: &str, kind: &str) -> Option<fn(&Value) -> Vec<Value>> {
    ((group, kind) == ("", "Pod")).then_some(pod::conditions)
}

/// Paths of all that a kind's cells show, for a kind that is listed often and of which they show little.
pub fn paths(group: &str, kind: &str) -> &'static [&'static str] {
    if (group, kind) == ("", "Pod") { pod::PATHS } else { &[] }
}

/// Name and creation time: the columns of a kind that has none of its own.
fn created_at(object: &Value) -> Vec<Cell> {
    vec![access::name(object), access::at(object, "metadata.creationTimestamp").clone().into()]
}

#[cfg(test)]
mod tests;
