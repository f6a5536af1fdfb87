//! Patches: JSON patch, JSON merge patch, strategic merge patch, server-side apply and managed fields.
//!
//! All of it is pure and driven by a schema. Must never know a kind by name.

#![forbid(unsafe_code)]

pub mod fields;
mod json_patch;
pub mod managed;
mod merge_patch;
mod strategic;
mod typed;

pub use json_patch::{COPIED_BYTES_MAX, OPERATIONS_MAX, is_empty_json_patch, json_patch, json_patch_of_webhook};
pub use merge_patch::merge_patch;
pub use strategic::strategic_merge;
