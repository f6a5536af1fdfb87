//! JSON and values.

use crate::functions::times;
use crate::schema::escape;
use crate::types::{Decl, Type};
use crate::value::{Key, List, Value};
use base64::Engine as _;
use serde_json::Value as Json;
use std::sync::Arc;

/// A value of which no type is known.
pub fn from_json(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(i), _) => Value::Int(i),
            (None, Some(u)) => Value::Uint(u),
            _ => Value::Double(n.as_f64().unwrap_or(0.0)),
        },
        Json::String(s) => Value::text(s),
        Json::Array(items) => Value::list(items.iter().map(from_json).collect()),
        Json::Object(fields) => Value::map(fields.iter().map(|(k, v)| (k.as_str(), from_json(v)))),
    }
}

/// A value of a declared type: fields have the names that CEL gives them, texts of a format are what they say.
pub fn to_typed(json: &Json, decl: &Decl) -> Value {
    match (json, &decl.ty) {
        (Json::Object(fields), Type::Object(object)) => {
            let known = fields.iter().filter_map(|(k, v)| {
                // Upstream takes a null for a field that is not there.
                let name = escape(k).filter(|_| !v.is_null())?;
                let field = object.fields.get(&name)?;
                Some((Key::String(name.into()), to_typed(v, field)))
            });
            Value::Map(Arc::new(known.collect()))
        }
        (Json::Object(fields), Type::Map(..)) => {
            let any = Decl::any();
            let item = decl.item.as_ref().unwrap_or(&any);
            Value::Map(Arc::new(
                fields.iter().map(|(k, v)| (Key::String(k.as_str().into()), to_typed(v, item))).collect(),
            ))
        }
        (Json::Array(items), Type::List(_)) => {
            let any = Decl::any();
            let item = decl.item.as_ref().unwrap_or(&any);
            let items = items.iter().map(|v| to_typed(v, item)).collect();
            Value::List(Arc::new(List { items, kind: decl.list.clone() }))
        }
        #[allow(clippy::cast_precision_loss)]
        (Json::Number(n), Type::Double) => Value::Double(n.as_f64().unwrap_or(0.0)),
        (Json::String(s), Type::Timestamp) => {
            let text = if s.len() == 10 { format!("{s}T00:00:00Z") } else { s.clone() };
            times::parse_time(&text).map_or_else(|| Value::text(s), Value::Timestamp)
        }
        (Json::String(s), Type::Duration) => times::parse_duration(s).map_or_else(|| Value::text(s), Value::Duration),
        (Json::String(s), Type::Bytes) => match base64::engine::general_purpose::STANDARD.decode(s) {
            Ok(bytes) => Value::Bytes(bytes.into()),
            Err(_) => Value::text(s),
        },
        _ => from_json(json),
    }
}

/// A value as JSON, as far as there is such a thing.
pub fn to_json(value: &Value) -> Json {
    match value {
        Value::Bool(b) => (*b).into(),
        Value::Int(i) => (*i).into(),
        Value::Uint(u) => (*u).into(),
        Value::Double(d) => (*d).into(),
        Value::String(s) => (&**s).into(),
        Value::Bytes(b) => base64::engine::general_purpose::STANDARD.encode(b).into(),
        Value::Timestamp(ns) => times::show(*ns).into(),
        Value::Duration(ns) => times::show_duration(*ns).into(),
        Value::List(list) => list.items.iter().map(to_json).collect::<Vec<_>>().into(),
        Value::Map(map) => {
            let text = |key: &Key| match key {
                Key::String(s) => s.to_string(),
                Key::Bool(b) => b.to_string(),
                Key::Int(i) => i.to_string(),
                Key::Uint(u) => u.to_string(),
            };
            Json::Object(map.iter().map(|(k, v)| (text(k), to_json(v))).collect())
        }
        Value::Optional(Some(inner)) => to_json(inner),
        Value::Quantity(q) => q.to_string().into(),
        Value::Null | Value::Optional(None) | Value::Type(_) | Value::Url(_) | Value::Authz(_) => Json::Null,
    }
}
