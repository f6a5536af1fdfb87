//! Whether an applied configuration fits its schema. The wording is upstream's, which clients get to see.

use super::{Atom, MapType, Scalar, Type, atom, item_element};
use crate::fields::Element;
use api_core::go;
use api_schema::schema::{ListKind, Schema, Shape};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// All that is wrong, in one text; `Ok` if nothing is.
pub(crate) fn check(schema: &Schema, ty: Type<'_>, value: &Value, allow_duplicates: bool) -> Result<(), String> {
    let mut walk = Walk { schema, allow_duplicates, path: String::new(), errors: Vec::new() };
    walk.value(ty, value);
    match walk.errors.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(format!("errors:\n  {}", many.join("\n  "))),
    }
}

struct Walk<'a> {
    schema: &'a Schema,
    allow_duplicates: bool,
    path: String,
    errors: Vec<String>,
}

impl<'a> Walk<'a> {
    fn error(&mut self, message: &str) {
        let separator = if self.path.is_empty() { "" } else { ": " };
        self.errors.push(format!("{}{separator}{message}", self.path));
    }

    /// Checks `value` as what is at `element` below here.
    fn below(&mut self, element: &str, ty: Type<'a>, value: &Value) {
        let length = self.path.len();
        self.path.push_str(element);
        self.value(ty, value);
        self.path.truncate(length);
    }

    fn value(&mut self, ty: Type<'a>, value: &Value) {
        if value.is_null() {
            return;
        }
        match atom(self.schema, ty, Some(value)) {
            Atom::Scalar(scalar) => self.scalar(scalar, value),
            Atom::Map(map) => match value {
                Value::Object(fields) => self.map(map, fields),
                other => self.error(&format!("expected map, got &{{{}}}", go::text(other))),
            },
            Atom::List(item, kind) => match value {
                Value::Array(items) => self.list(item, kind, items),
                other => self.error(&format!("expected list, got &{{{}}}", go::text(other))),
            },
            Atom::AtomicList(item) => match (value, item) {
                (Value::Array(items), Some(item)) => {
                    for (i, value) in items.iter().enumerate() {
                        self.below(&format!("[{i}]"), Type::Shape(item), value);
                    }
                }
                (Value::Array(_), None) => {}
                (other, _) => self.error(&format!("expected list, got &{{{}}}", go::text(other))),
            },
        }
    }

    fn scalar(&mut self, scalar: Scalar, value: &Value) {
        let what = match (scalar, value) {
            (Scalar::Any, _)
            | (Scalar::String, Value::String(_))
            | (Scalar::Number, Value::Number(_))
            | (Scalar::Bool, Value::Bool(_))
            | (Scalar::Untyped, Value::String(_) | Value::Number(_) | Value::Bool(_)) => return,
            (Scalar::Number, _) => format!("expected numeric (int or float), got {}", go::type_name(value)),
            (Scalar::String, _) => {
                format!("expected string, got &value.valueUnstructured{{Value:{}}}", go::syntax(value))
            }
            (Scalar::Bool, _) => format!("expected boolean, got &{{{}}}", go::text(value)),
            (Scalar::Untyped, _) => format!("expected any scalar, got &{{{}}}", go::text(value)),
        };
        self.error(&what);
    }

    fn map(&mut self, map: MapType<'a>, fields: &Map<String, Value>) {
        for (name, value) in fields {
            let element = format!(".{name}");
            match map.entry(name) {
                Some(ty) => self.below(&element, ty, value),
                None => {
                    let length = self.path.len();
                    self.path.push_str(&element);
                    self.error("field not declared in schema");
                    self.path.truncate(length);
                    // The others of this object are not looked at, as upstream does not, in whose maps any may be the first.
                    return;
                }
            }
        }
    }

    fn list(&mut self, item: &'a Shape, kind: &'a ListKind, items: &[Value]) {
        let mut seen: BTreeSet<Element> = BTreeSet::new();
        for (i, value) in items.iter().enumerate() {
            match item_element(self.schema, item, kind, value) {
                Err(why) => return self.error(&format!("element {i}: {why}")),
                Ok(element) => {
                    let name = element.to_string();
                    if !seen.insert(element) && !self.allow_duplicates {
                        self.error(&format!("duplicate entries for key {name}"));
                    }
                    self.below(&name, Type::Shape(item), value);
                }
            }
        }
    }
}
