//! Custom resources: the structural schemas of a definition, compiled once when they are first needed, and what is done with
//! them to an object.
//!
//! An object is decoded loosely (metadata is typed, the rest is anything), then pruned, defaulted and validated by the
//! tree in [`Structural`]. The same schema is compiled into a [`Schema`](crate::schema::Schema) for
//! merging and managed fields.
//! Must never do I/O.

mod compile;
mod embedded;
mod family;
mod format;
mod lists;
mod path;
mod pattern;
#[cfg(test)]
mod properties;
mod prune;
mod structural;
mod validate;

pub use compile::Compiled;
pub use family::{Family, Schemas, Tools};
pub use path::JsonPath;
pub use pattern::compile as compile_pattern;
pub use structural::{Structural, Unusable};

use crate::row::Cell;
use api_core::field::{Errors, Path};
use api_core::go;
use serde_json::{Map, Value};
use std::sync::Arc;

/// `spec.conversion` of a definition.
#[derive(Debug, Clone, PartialEq)]
pub enum Conversion {
    /// Only `apiVersion` changes.
    None,
    /// A webhook converts.
    Webhook {
        /// `clientConfig`.
        client_config: Value,
        /// `conversionReviewVersions`.
        review_versions: Vec<String>,
    },
}

/// Rules of a schema that relate values to each other; who can evaluate them makes them.
pub trait ObjectRules: std::fmt::Debug + Send + Sync {
    /// Checks an object; `old` is what it replaces. What an update has not changed is warned of, not refused.
    fn validate(&self, object: &Value, old: Option<&Value>, errors: &mut Errors, warnings: &mut Vec<String>);
}

/// What a row of a custom resource has beside other rows.
#[derive(Debug)]
pub struct Custom {
    /// What it shares with the rows of the other versions.
    pub family: Arc<Family>,
    /// Its version.
    pub version: String,
    /// Cells of its Table after the name, one for each column but the first.
    pub columns: Vec<(JsonPath, String)>,
    /// Where the `scale` subresource finds its numbers.
    pub scale: Option<Scale>,
    /// What clients of the version are told, if it is deprecated.
    pub deprecation: Option<String>,
    /// Whether the definition is being deleted, so that nothing new is made.
    pub terminating: bool,
}

/// Paths of the `scale` subresource, as in `.spec.replicas`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scale {
    /// Wanted replicas.
    pub spec: Vec<String>,
    /// Replicas that there are.
    pub status: Vec<String>,
    /// Text of the label selector; empty if there is none.
    pub selector: Vec<String>,
}

impl Custom {
    /// The tree that objects of the version are pruned, defaulted and validated by.
    ///
    /// # Panics
    /// Never: a row is of a version of its family.
    pub fn tree(&self) -> &Structural {
        self.family.tree(&self.version).expect("a row is of a version of its family")
    }

    /// The type of the version's objects.
    ///
    /// # Panics
    /// Never: a row is of a version of its family.
    pub fn types(&self) -> &Compiled {
        self.family.types(&self.version).expect("a row is of a version of its family")
    }

    /// Rules of its schema (`x-kubernetes-validations`); `None` if it has none.
    pub fn rules(&self) -> Option<&dyn ObjectRules> {
        self.family.rules(&self.version)
    }

    /// Drops fields that the schema does not know; gives their paths.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        prune::prune(self.tree(), object, true)
    }

    /// Drops nulls of fields that are neither nullable nor have a default, as upstream does with what it reads: bodies, what
    /// other patches than an apply make, and what is stored.
    pub fn drop_nulls(&self, object: &mut Value) {
        prune::drop_nulls(Some(self.tree()), object);
    }

    /// Brings metadata of embedded resources into the form of metadata; gives the paths of unknown fields.
    ///
    /// # Errors
    /// With where and why, if an embedded resource has fields of a wrong type.
    pub fn coerce_embedded(&self, object: &mut Value) -> Result<Vec<String>, String> {
        embedded::coerce(self.tree(), object, &|metadata| self.family.read_metadata(metadata))
    }

    /// Visits every embedded resource of an object with its path.
    pub fn embedded(&self, object: &Value, visit: &mut dyn FnMut(&Path<'_>, &Value)) {
        embedded::visit(self.tree(), object, &Path::ROOT, visit);
    }

    /// Fills in the schema's defaults.
    pub fn default(&self, object: &mut Value) {
        prune::fill(self.tree(), object);
    }

    /// Checks the object against the schema, in upstream's words. What an update has not changed is not checked.
    pub fn validate(&self, object: &Value, old: Option<&Value>, errors: &mut Errors) {
        validate::validate(self.tree(), object, old, None, errors);
    }

    /// Checks an object's status against its schema; what has not changed since `old` is not held against it. Upstream names
    /// fields from the status on, not from the object on.
    pub fn validate_status(&self, object: &Value, old: Option<&Value>, errors: &mut Errors) {
        if let (Some(tree), Some(status)) = (self.tree().property("status"), object.get("status")) {
            validate::validate(tree, status, old.and_then(|old| old.get("status")), None, errors);
        }
    }

    /// Checks that nothing is twice in a list of the type `set` or `map`.
    pub fn validate_lists(&self, object: &Value, errors: &mut Errors) {
        lists::validate(self.tree(), object, &Path::ROOT, errors);
    }

    /// Whether a column may show something of the managed fields.
    pub fn shows_managers(&self) -> bool {
        self.columns.iter().any(|(path, _)| path.may_find_managers())
    }

    /// Cells of the object's row in a Table.
    pub fn cells(&self, object: &Value) -> Vec<Cell> {
        let name = object["metadata"]["name"].clone().into();
        let rest = self.columns.iter().map(|(path, kind)| path.cell(object, kind));
        std::iter::once(name).chain(rest).collect()
    }
}

/// Checks a value against a schema as it stands in a definition; fields are reported below `path`. A schema that cannot be
/// read is reported elsewhere.
pub fn validate_value(schema: &Value, value: &Value, path: &Path<'_>, errors: &mut Errors) {
    if let Ok(tree) = Structural::read(schema) {
        validate::validate(&tree, value, None, Some(path), errors);
    }
}

/// Checks lists in a value as [`Custom::validate_lists`] does.
pub fn has_duplicates(schema: &Value, value: &Value, path: &Path<'_>, errors: &mut Errors) {
    if let Ok(tree) = Structural::read(schema) {
        lists::validate(&tree, value, path, errors);
    }
}

/// Whether pruning by the schema would take something from the value.
pub fn has_unknown(schema: &Value, value: &Value) -> bool {
    let Ok(tree) = Structural::read(schema) else { return false };
    let mut pruned = value.clone();
    prune::prune(&tree, &mut pruned, tree.embedded);
    pruned != *value
}

/// The value at a path of field names.
pub fn at<'v>(object: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(object, |value, field| value.get(field))
}

/// The value at a path of field names, which leads through objects.
///
/// # Errors
/// What stands in the way, in upstream's words. Nothing and null do not.
pub fn reach<'v>(object: &'v Value, path: &[String]) -> Result<Option<&'v Value>, String> {
    let mut found = object;
    for (i, field) in path.iter().enumerate() {
        found = match found {
            Value::Null => return Ok(None),
            Value::Object(fields) => match fields.get(field) {
                Some(value) => value,
                None => return Ok(None),
            },
            other => return Err(misfit(&path[..=i], other, "map[string]interface{}")),
        };
    }
    Ok(Some(found))
}

/// A value at a path that is not of the type `wanted`, in upstream's words.
pub fn misfit(path: &[String], value: &Value, wanted: &str) -> String {
    let (text, kind) = (go::text(value), go::type_name(value));
    format!(".{} accessor error: {text} is of the type {kind}, expected {wanted}", path.join("."))
}

/// Sets the value at a path of field names; objects on the way are made.
pub fn set(object: &mut Value, path: &[String], value: Value) {
    let Some((last, parents)) = path.split_last() else { return };
    let mut at = object;
    for field in parents {
        if !at[field.as_str()].is_object() {
            at[field.as_str()] = Value::Object(Map::new());
        }
        at = &mut at[field.as_str()];
    }
    at[last.as_str()] = value;
}
