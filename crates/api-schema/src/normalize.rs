//! An object as upstream would write it: unknown fields, nulls and zero values gone, what is always written there.
//!
//! Works on any object that fits the schema; a value of the wrong type is left for a decoder to refuse.

use crate::scalar;
use crate::schema::{Field, Schema, Shape, StructId, StructType};
use serde_json::{Map, Value};

/// Normalises `value`, an object of type `root`. Idempotent.
pub fn normalize(schema: &Schema, root: StructId, value: &mut Value) {
    if let Value::Object(object) = value {
        object_of(schema, schema.get(root), object);
    }
}

fn object_of(schema: &Schema, ty: &StructType, object: &mut Map<String, Value>) {
    object.retain(|key, value| match ty.field(key) {
        None => ty.preserve_unknown,
        Some(field) => {
            shape(schema, &field.shape, value);
            !reads_as_absent(field, value)
        }
    });
    finish(schema, ty, object);
}

fn shape(schema: &Schema, of: &Shape, value: &mut Value) {
    match (of, value) {
        (Shape::Struct(id) | Shape::StructOr(id), Value::Object(object)) => object_of(schema, schema.get(*id), object),
        (Shape::List(list), Value::Array(items)) => {
            for item in items {
                element(schema, &list.item, item);
            }
        }
        (Shape::Map(map), Value::Object(entries)) => {
            for entry in entries.values_mut() {
                element(schema, &map.value, entry);
            }
        }
        (Shape::Quantity, value @ (Value::String(_) | Value::Number(_))) => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if let Ok(canonical) = scalar::quantity(&text) {
                *value = canonical;
            }
        }
        (Shape::Number, value @ Value::Number(_)) => {
            if let Value::Number(n) = value.take() {
                *value = scalar::number(n);
            }
        }
        _ => {}
    }
}

/// Whether an empty list is anywhere in `value`: what [`normalize`] may have to drop of an object that was decoded.
pub fn has_empty_list(value: &Value) -> bool {
    match value {
        Value::Array(list) => list.is_empty() || list.iter().any(has_empty_list),
        Value::Object(map) => map.values().any(has_empty_list),
        _ => false,
    }
}

fn element(schema: &Schema, of: &Shape, value: &mut Value) {
    if value.is_null() {
        *value = zero_of(schema, of);
    } else {
        shape(schema, of, value);
    }
}

/// Whether a field with this value is as if it were not there. A list that is written as null when absent is so when
/// it is empty: on its way through the store's protobuf upstream cannot tell the two apart.
pub(crate) fn reads_as_absent(field: &Field, value: &Value) -> bool {
    match value {
        Value::Null => true,
        // An empty list that is raw JSON is some value.
        Value::Array(list) if list.is_empty() && matches!(field.shape, Shape::List(_)) => {
            field.zero_is_absent || field.default == Some(Value::Null)
        }
        Value::Object(map) if map.is_empty() && matches!(field.shape, Shape::Map(_)) => {
            field.zero_is_absent || field.default == Some(Value::Null)
        }
        value => field.zero_is_absent && is_zero(value),
    }
}

/// Adds what is always written.
pub(crate) fn finish(schema: &Schema, ty: &StructType, object: &mut Map<String, Value>) {
    for (field, default) in ty.fields.with_default() {
        if object.contains_key(&field.name) || field.zero_is_absent && is_zero(default) {
            continue;
        }
        let value = match (&field.shape, default) {
            (Shape::Struct(id), Value::Object(given)) if given.is_empty() => zero_of(schema, &Shape::Struct(*id)),
            _ => default.clone(),
        };
        object.insert(field.name.clone(), value);
    }
}

/// What a null among the items of a list or map becomes.
pub(crate) fn zero_of(schema: &Schema, shape: &Shape) -> Value {
    match shape {
        Shape::Struct(id) => {
            let mut object = Map::new();
            finish(schema, schema.get(*id), &mut object);
            Value::Object(object)
        }
        Shape::String | Shape::Bytes => Value::String(String::new()),
        Shape::Bool => Value::Bool(false),
        Shape::Int32 | Shape::Int64 | Shape::Number | Shape::IntOrString => Value::from(0),
        Shape::Quantity => Value::from("0"),
        _ => Value::Null,
    }
}

/// Whether Go's `omitempty` leaves it out.
pub(crate) fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
    }
}
