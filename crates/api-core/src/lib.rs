//! What every part of the API shares: names of kinds, metadata, `Status` errors, field errors.
//!
//! Must never know any kind by name. Everything here is pure: no clock, no I/O.

#![forbid(unsafe_code)]

pub mod field;
pub mod go;
pub mod gvk;
pub mod json;
pub mod meta;
pub mod names;
pub mod project;
pub mod quantity;
pub mod re2;
pub mod selector;
pub mod status;
pub mod time;
pub mod unicode;

pub use gvk::{GroupKind, GroupResource, Gvk, Gvr};
pub use status::{ApiError, Reason};
