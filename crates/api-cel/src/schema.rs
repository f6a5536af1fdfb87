//! Declarations from structural schemas.

use crate::lexer::RESERVED;
use crate::types::{Decl, Object, Type};
use crate::value::ListKind;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes that a request may have; nothing in it is larger.
pub(crate) const REQUEST_BYTES_MAX: u64 = 3 * 1024 * 1024;
/// Deepest nesting that is declared; below is anything.
const DEPTH_MAX: usize = 64;
const DURATION_BYTES: u64 = 32;
const DATE_BYTES: u64 = 12;
const DATE_TIME_BYTES: u64 = 32;

/// A property's name as CEL can name it; `None` if it cannot.
pub fn escape(name: &str) -> Option<String> {
    let start = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !start || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-/".contains(&b)) {
        return None;
    }
    if RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let dashes = name.replace("__", "__underscores__");
    Some(dashes.replace('.', "__dot__").replace('-', "__dash__").replace('/', "__slash__"))
}

/// The property that CEL names so.
pub fn unescape(name: &str) -> String {
    let reserved = name.strip_prefix("__").and_then(|n| n.strip_suffix("__"));
    if let Some(reserved) = reserved.filter(|n| RESERVED.contains(n)) {
        return reserved.to_owned();
    }
    let plain = name.replace("__dot__", ".").replace("__dash__", "-").replace("__slash__", "/");
    plain.replace("__underscores__", "__")
}

/// What the schema says of its values; `None` if they cannot be spoken of. `root` is that of an object or an embedded one.
pub fn declare(schema: &Value, root: bool, name: &str) -> Option<Arc<Decl>> {
    at_depth(schema, root, name, 0)
}

fn at_depth(schema: &Value, root: bool, name: &str, depth: usize) -> Option<Arc<Decl>> {
    if depth > DEPTH_MAX {
        return Some(Decl::any());
    }
    let flag = |key: &str| schema[key].as_bool().unwrap_or(false);
    if flag("x-kubernetes-int-or-string") {
        return Some(Arc::new(Decl { max: Some(REQUEST_BYTES_MAX - 2), ..Decl::of(Type::Dyn) }));
    }
    match schema["type"].as_str().unwrap_or("") {
        "array" => array(schema, name, depth),
        "object" => object(schema, root || flag("x-kubernetes-embedded-resource"), name, depth),
        "string" => Some(string(schema)),
        "boolean" => Some(Arc::new(Decl { min_json: 4, ..Decl::of(Type::Bool) })),
        "number" => Some(Arc::new(Decl::of(Type::Double))),
        "integer" => Some(Arc::new(Decl::of(Type::Int))),
        _ => None,
    }
}

fn array(schema: &Value, name: &str, depth: usize) -> Option<Arc<Decl>> {
    let items = at_depth(&schema["items"], false, &format!("{name}.@idx"), depth + 1)?;
    let max = limit(schema, "maxItems").unwrap_or((REQUEST_BYTES_MAX - 2) / (items.min_json + 1));
    let list = match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => ListKind::Set,
        Some("map") => {
            let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
            ListKind::Map(keys.filter_map(Value::as_str).map(str::to_owned).collect())
        }
        _ => ListKind::Atomic,
    };
    Some(Arc::new(Decl { max: Some(max), list, min_json: 2, ..(*Decl::list(items)).clone() }))
}

fn object(schema: &Value, root: bool, name: &str, depth: usize) -> Option<Arc<Decl>> {
    if schema["additionalProperties"].is_object() {
        let values = at_depth(&schema["additionalProperties"], false, &format!("{name}.@elem"), depth + 1)?;
        let max = limit(schema, "maxProperties").unwrap_or((REQUEST_BYTES_MAX - 2) / (values.min_json + 6));
        return Some(Arc::new(Decl { max: Some(max), min_json: 2, ..(*Decl::map(values)).clone() }));
    }
    let known = if root { with_object_meta(&schema["properties"]) } else { None };
    let properties = known.as_ref().or(schema["properties"].as_object());
    let mut fields = BTreeMap::new();
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut min_json = 2;
    for (property, child) in properties.into_iter().flatten() {
        let Some(decl) = at_depth(child, false, &format!("{name}.{property}"), depth + 1) else { continue };
        if required.contains(&property.as_str()) && child["default"].is_null() {
            min_json += property.len() as u64 + 4 + decl.min_json;
        }
        if let Some(escaped) = escape(property) {
            fields.insert(escaped, decl);
        }
    }
    let ty = Type::Object(Arc::new(Object { name: name.into(), fields }));
    Some(Arc::new(Decl { min_json, ..Decl::of(ty) }))
}

/// A bound of a schema.
fn limit(schema: &Value, key: &str) -> Option<u64> {
    schema[key].as_i64().map(|n| n.max(0).unsigned_abs())
}

/// Properties with those that every object has; `None` if they are there.
fn with_object_meta(properties: &Value) -> Option<serde_json::Map<String, Value>> {
    let is = |pointer: &str, ty: &str| properties.pointer(pointer).is_some_and(|p| p["type"] == ty);
    let names = ["/kind", "/apiVersion", "/metadata/properties/name", "/metadata/properties/generateName"];
    if is("/metadata", "object") && names.iter().all(|name| is(name, "string")) {
        return None;
    }
    let text = || json!({"type": "string"});
    let mut all = properties.as_object().cloned().unwrap_or_default();
    all.insert("kind".into(), text());
    all.insert("apiVersion".into(), text());
    let metadata = json!({"type": "object", "properties": {"name": text(), "generateName": text()}});
    all.insert("metadata".into(), metadata);
    Some(all)
}

fn string(schema: &Value) -> Arc<Decl> {
    let own = limit(schema, "maxLength");
    let decl = |ty: Type, max: u64, min_json: u64| Arc::new(Decl { max: Some(max), min_json, ..Decl::of(ty) });
    match schema["format"].as_str() {
        Some("byte") => decl(Type::Bytes, own.unwrap_or(REQUEST_BYTES_MAX - 2), 2),
        Some("duration") => decl(Type::Duration, DURATION_BYTES, 3),
        Some("date") => decl(Type::Timestamp, DATE_BYTES, DATE_BYTES),
        Some("date-time") => decl(Type::Timestamp, DATE_TIME_BYTES, 21),
        _ => {
            let longest = schema["enum"]
                .as_array()
                .filter(|values| !values.is_empty())
                .map(|values| values.iter().filter_map(Value::as_str).map(|v| v.len() as u64).max().unwrap_or(0));
            // A character takes up to four bytes.
            let max = own.map(|n| n.saturating_mul(4)).or(longest).unwrap_or(REQUEST_BYTES_MAX - 2);
            decl(Type::String, max, 2)
        }
    }
}
