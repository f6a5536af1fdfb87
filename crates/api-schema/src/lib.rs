//! The compiled schema: what a kind looks like, as data.
//!
//! A built-in kind and a custom resource are both a [`row::Row`]: names, verbs, where it is stored, its schema and
//! optional pure [`row::Hooks`]. Must never do I/O or know tokio.

#![forbid(unsafe_code)]

pub mod codec;
pub mod custom;
pub mod discovery;
mod fields;
pub mod normalize;
pub mod openapi;
pub mod protobuf;
pub mod row;
mod scalar;
pub mod schema;
