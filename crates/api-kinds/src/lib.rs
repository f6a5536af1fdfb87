//! All knowledge of built-in kinds: the generated table, hooks, printer columns. No tokio, no I/O.

#![forbid(unsafe_code)]

pub mod admission;
pub mod aggregation;
pub mod columns;
mod convert;
pub mod custom;
mod deprecation;
pub mod eviction;
pub mod hooks;
pub mod names;
pub mod openapi;
pub mod quota;
mod rows;
pub mod select;
pub mod stored;
mod table;

pub use deprecation::{deprecation, removed_release};
pub use rows::{message_type_of, resource, rows, schema, type_of};
