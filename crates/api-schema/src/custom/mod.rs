//! Custom resources: a definition's structural schema, compiled once, and what is done with it to an object.
//!
//! An object is decoded loosely (metadata is typed, the rest is anything), then pruned, defaulted and validated by the
//! tree in [`Structural`]. The same schema is compiled into a [`Schema`] for merging and managed fields.
//! Must never do I/O.

mod compile;
mod path;
mod structural;
mod validate;

pub use compile::{Compiled, compile};
pub use path::JsonPath;
pub use structural::{Structural, Unusable};

use crate::schema::{Schema, StructId};
use api_core::field::{Errors, Path};
use serde_json::{Map, Value};

/// What a row of a custom resource has beside other rows.
#[derive(Debug)]
pub struct Custom {
    /// The tree that objects are pruned, defaulted and validated by.
    pub structural: Structural,
    /// The loose type that bodies are decoded as: typed metadata, anything else as it is.
    pub loose: (Schema, StructId),
    /// Cells of its Table after the name, one for each column but the first.
    pub columns: Vec<(JsonPath, String)>,
    /// Where the `scale` subresource finds its numbers.
    pub scale: Option<Scale>,
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
    /// Drops fields that the schema does not know; gives their paths.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        let mut dropped = Vec::new();
        self.structural.prune_root(object, &mut dropped);
        dropped
    }

    /// Fills in the schema's defaults.
    pub fn default(&self, object: &mut Value) {
        self.structural.default_root(object);
    }

    /// Checks the object against the schema, in upstream's words.
    pub fn validate(&self, object: &Value, errors: &mut Errors) {
        validate::root(&self.structural, object, errors);
    }

    /// Cells of the object's row in a Table.
    pub fn cells(&self, object: &Value, now_unix_s: i64) -> Vec<Value> {
        let name = object["metadata"]["name"].clone();
        let rest = self.columns.iter().map(|(path, kind)| path.cell(object, kind, now_unix_s));
        std::iter::once(name).chain(rest).collect()
    }
}

/// The value at a path of field names.
pub fn at<'v>(object: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(object, |value, field| value.get(field))
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

/// The path of the object itself.
const ROOT: Path<'static> = Path::ROOT;
