//! Whether reading an object would give back just that object, without a word: so it is with what was read before, and a
//! patch changes little of it. Looks only, and makes nothing.
//!
//! Says no wherever it would take more than a look to be sure: then the object is read as any other.

use super::typed::Root;
use crate::normalize::{is_zero, reads_as_absent};
use crate::scalar;
use crate::schema::{Schema, Shape, StructType};
use api_core::time;
use serde_json::{Map, Value};

/// Length of a time in UTC and whole seconds, and of one with microseconds.
const TIME_BYTES: usize = 20;
const MICRO_TIME_BYTES: usize = 27;

impl Root<'_> {
    /// Whether the reader would take `value` as it is: it says of itself that it is of this kind, and nothing in it is
    /// unknown, of another type, written otherwise than upstream writes it, or missing.
    pub(super) fn is_settled(&self, value: &Value) -> bool {
        let Value::Object(object) = value else { return false };
        let says = |field: &str, what: &str| object.get(field).and_then(Value::as_str) == Some(what);
        says("kind", &self.kind.kind)
            && says("apiVersion", &self.kind.api_version())
            && object_fits(self.schema, self.schema.get(self.root), object)
    }
}

fn object_fits(schema: &Schema, ty: &StructType, object: &Map<String, Value>) -> bool {
    let known = |(name, value): (&String, &Value)| match ty.field(name) {
        Some(field) => !reads_as_absent(field, value) && fits(schema, &field.shape, value),
        None => ty.preserve_unknown,
    };
    let is_there = |name: &str, default: &Value, zero_is_absent: bool| {
        zero_is_absent && is_zero(default) || object.contains_key(name)
    };
    object.iter().all(known)
        && ty.fields.with_default().all(|(f, default)| is_there(&f.name, default, f.zero_is_absent))
}

fn fits(schema: &Schema, shape: &Shape, value: &Value) -> bool {
    match (shape, value) {
        (_, Value::Null) => false,
        (Shape::Any | Shape::Deduced | Shape::FieldsV1, _)
        | (Shape::Bool, Value::Bool(_))
        | (Shape::String | Shape::IntOrString, Value::String(_)) => true,
        (Shape::Int32 | Shape::IntOrString, Value::Number(n)) => n.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
        (Shape::Int64, Value::Number(n)) => n.is_i64(),
        (Shape::Time, Value::String(text)) => text.len() == TIME_BYTES && time::parse(text).is_ok(),
        (Shape::MicroTime, Value::String(text)) => text.len() == MICRO_TIME_BYTES && time::parse_micro(text).is_ok(),
        (Shape::Quantity, Value::String(text)) => scalar::quantity(text).as_ref() == Ok(value),
        (Shape::Struct(id), Value::Object(object)) => object_fits(schema, schema.get(*id), object),
        (Shape::Map(map), Value::Object(entries)) => entries.values().all(|value| fits(schema, &map.value, value)),
        (Shape::List(list), Value::Array(items)) => items.iter().all(|item| fits(schema, &list.item, item)),
        _ => false,
    }
}
