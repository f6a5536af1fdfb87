//! Rules of a schema, `x-kubernetes-validations`: whether they can be used, and what an object that is written owes them.
//!
//! A definition is checked once, when it is written: [`check`] gives the field errors of all rules of a schema, costs
//! included. [`Rules::compile`] makes of the same schema what objects are validated with; keep it with the schema.
//!
//! ```
//! use api_cel::validations::{Budget, Rules};
//! use api_core::field::{Errors, Path};
//! use serde_json::json;
//!
//! let schema = json!({"type": "object", "properties": {"size": {
//!     "type": "integer",
//!     "x-kubernetes-validations": [{"rule": "self <= 10", "message": "too big"}],
//! }}});
//! let rules = Rules::compile(&schema, true).expect("there are rules");
//! let (mut errors, mut warnings) = (Errors::new(), Vec::new());
//! let object = json!({"size": 11});
//! rules.validate(&Path::ROOT, &object, None, &mut Budget::request(), &mut errors, &mut warnings);
//! assert_eq!(errors.0[0].to_string(), "size: Invalid value: \"integer\": too big");
//! ```
//!
//! On an update give the stored object as `old`, in the same version: transition rules (those that name `oldSelf`) are
//! evaluated where an old value is found, and what has not changed is not refused but warned of.

mod check;
mod run;
#[cfg(test)]
mod tests;

pub use check::{Checks, check};
pub use run::Budget;

use crate::program::{Env, Program};
use crate::schema;
use crate::types::{Decl, Type};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rules of a schema and of all schemas inside.
#[derive(Debug)]
pub struct Rules {
    decl: Arc<Decl>,
    /// `type` of the schema, which messages show in place of the value.
    kind: String,
    rules: Vec<Rule>,
    properties: BTreeMap<String, Rules>,
    additional: Option<Box<Rules>>,
    items: Option<Box<Rules>>,
    /// Whether fields of an update belong to those of the same name before it.
    map_is_granular: bool,
    /// Keys by which items belong to those before an update, if they do.
    list_keys: Option<Vec<String>>,
}

/// One rule, compiled.
#[derive(Debug)]
struct Rule {
    source: String,
    message: String,
    program: Result<Program, String>,
    made_message: Option<Program>,
    reason: String,
    field_path: Vec<String>,
    uses_old: bool,
    old_is_optional: bool,
}

/// What rules of a schema may name.
fn env(decl: &Arc<Decl>, old_is_optional: bool) -> Env {
    let old = if old_is_optional {
        Arc::new(Decl { ty: decl.ty.clone().optional(), ..(**decl).clone() })
    } else {
        decl.clone()
    };
    Env::new().with("self", decl.clone()).with("oldSelf", old)
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or("")
}

fn is_embedded(schema: &Value) -> bool {
    schema["x-kubernetes-embedded-resource"].as_bool().unwrap_or(false)
}

impl Rules {
    /// Compiles the rules of a schema; `None` if there are none. `root` is true for the schema of a whole object. A rule
    /// that cannot be compiled fails whatever it is asked about.
    pub fn compile(schema: &Value, root: bool) -> Option<Self> {
        let decl = schema::declare(schema, root, "object")?;
        Self::compile_as(schema, decl)
    }

    fn compile_as(schema: &Value, decl: Arc<Decl>) -> Option<Self> {
        let rules = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
        let rules: Vec<Rule> = rules.map(|r| Rule::compile(r, &decl)).collect();
        let child = |schema: &Value| {
            let decl = schema::declare(schema, is_embedded(schema), "object")?;
            Self::compile_as(schema, decl).map(Box::new)
        };
        let properties = schema["properties"].as_object().into_iter().flatten();
        let properties: BTreeMap<String, Rules> =
            properties.filter_map(|(name, schema)| Some((name.clone(), *child(schema)?))).collect();
        let additional = schema.get("additionalProperties").filter(|a| a.is_object()).and_then(&child);
        let items = schema.get("items").filter(|i| i.is_object()).and_then(&child);
        if rules.is_empty() && properties.is_empty() && additional.is_none() && items.is_none() {
            return None;
        }
        let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
        let keys = keys.filter_map(Value::as_str).map(str::to_owned).collect();
        Some(Self {
            decl,
            kind: text(schema, "type").into(),
            rules,
            properties,
            additional,
            items,
            map_is_granular: text(schema, "x-kubernetes-map-type") != "atomic",
            list_keys: (text(schema, "x-kubernetes-list-type") == "map").then_some(keys),
        })
    }
}

impl Rule {
    fn compile(rule: &Value, decl: &Arc<Decl>) -> Self {
        let old_is_optional = rule["optionalOldSelf"].as_bool().unwrap_or(false);
        let env = env(decl, old_is_optional);
        let program = env.compile_as(text(rule, "rule"), &[Type::Bool]);
        let made = Some(text(rule, "messageExpression")).filter(|m| !m.is_empty());
        Self {
            source: text(rule, "rule").trim().into(),
            message: text(rule, "message").trim().into(),
            made_message: made.and_then(|m| env.compile_as(m, &[Type::String]).ok()),
            reason: text(rule, "reason").into(),
            field_path: run::segments(text(rule, "fieldPath")),
            uses_old: program.as_ref().is_ok_and(|p| p.names("oldSelf")),
            old_is_optional,
            program,
        }
    }

    /// What stands for the rule in messages.
    fn shown(&self) -> &str {
        if self.message.is_empty() { &self.source } else { &self.message }
    }
}
