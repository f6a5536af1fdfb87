//! Admission: what is changed in, and checked of, a write after authorization and before validation and storage.

use crate::authn::UserInfo;
use crate::config::Config;
use crate::registry::Registry;
use api_core::{ApiError, Gvr};
use api_schema::row::Row;
use serde_json::Value;
use std::sync::Arc;

/// What a write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A new object.
    Create,
    /// An object, or part of it, is replaced.
    Update,
    /// An object is deleted.
    Delete,
    /// A connection to something: exec, attach, proxy.
    Connect,
}

/// What a write is about. Objects are in their stored version.
#[derive(Debug, Clone)]
pub struct Attributes<'a> {
    /// What it does.
    pub operation: Operation,
    /// Who does it.
    pub user: &'a UserInfo,
    /// The resource.
    pub row: &'a Row,
    /// The resource asked for: of `row`, or that of an equivalent version.
    pub resource: &'a Gvr,
    /// Subresource, or empty.
    pub subresource: &'a str,
    /// Namespace, or empty.
    pub namespace: &'a str,
    /// Name; empty on a create with `generateName`.
    pub name: &'a str,
    /// The object before it; `None` on create.
    pub old: Option<&'a Value>,
    /// Whether nothing is to be stored, and no side effect to be had.
    pub dry_run: bool,
}

/// The plugins.
#[derive(Debug)]
pub struct Admission {
    /// Reads what the plugins look at.
    pub registry: Arc<Registry>,
}

impl Admission {
    /// All plugins that are on by default.
    pub fn new(_config: &Config, registry: Arc<Registry>) -> Self {
        Self { registry }
    }

    /// Changes an object on its way in; adds to `warnings` what the client shall be told.
    pub async fn mutate(
        &self,
        _a: &Attributes<'_>,
        _object: &mut Value,
        _warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        Ok(())
    }

    /// Checks a write; `object` is `None` on delete.
    pub async fn validate(
        &self,
        _a: &Attributes<'_>,
        _object: Option<&Value>,
        _warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        Ok(())
    }
}
