//! Resources inside of resources (`x-kubernetes-embedded-resource`): their kind and metadata.

use super::structural::{Additional, Structural};
use api_core::field::Path;
use serde_json::Value;

/// Reads metadata as its type says; gives what is unknown in it.
pub type Typed<'a> = &'a dyn Fn(&Value) -> Result<(Value, Vec<String>), String>;

/// Brings the metadata of all embedded resources into form. The object's own is not one of them.
pub(super) fn coerce(schema: &Structural, object: &mut Value, typed: Typed<'_>) -> Result<Vec<String>, String> {
    let mut unknown = Vec::new();
    walk(schema, object, &Path::ROOT, typed, &mut unknown)?;
    unknown.sort();
    Ok(unknown)
}

fn walk(
    schema: &Structural,
    value: &mut Value,
    path: &Path<'_>,
    typed: Typed<'_>,
    unknown: &mut Vec<String>,
) -> Result<(), String> {
    if schema.embedded && value.is_object() {
        one(value, path, typed, unknown)?;
    }
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                match (schema.properties.get(name), &schema.additional) {
                    (Some(property), _) => walk(property, value, &path.child(name), typed, unknown)?,
                    (None, Some(Additional::Schema(schema))) => walk(schema, value, &path.key(name), typed, unknown)?,
                    _ => {}
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = &schema.items {
                for (i, item) in list.iter_mut().enumerate() {
                    walk(items, item, &path.index(i), typed, unknown)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn one(value: &mut Value, path: &Path<'_>, typed: Typed<'_>, unknown: &mut Vec<String>) -> Result<(), String> {
    for field in ["apiVersion", "kind"] {
        if let Some(wrong) = value.get(field).filter(|v| !v.is_string()) {
            return Err(format!("{}: Invalid value: {wrong}: must be a string", path.child(field)));
        }
    }
    let Some(metadata) = value.get("metadata") else { return Ok(()) };
    let refused = |why: String| format!("{}: Invalid value: {metadata}: {why}", path.child("metadata"));
    let (mut new, fields) = typed(metadata).map_err(refused)?;
    if new["creationTimestamp"].is_null()
        && let Some(new) = new.as_object_mut()
    {
        new.remove("creationTimestamp");
    }
    unknown.extend(fields.into_iter().map(|field| format!("{}.{field}", path.child("metadata"))));
    value["metadata"] = new;
    Ok(())
}

/// Visits every embedded resource with its path.
pub(super) fn visit(schema: &Structural, value: &Value, path: &Path<'_>, each: &mut dyn FnMut(&Path<'_>, &Value)) {
    if schema.embedded && value.is_object() {
        each(path, value);
    }
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                match (schema.properties.get(name), &schema.additional) {
                    (Some(property), _) => visit(property, value, &path.child(name), each),
                    (None, Some(Additional::Schema(schema))) => visit(schema, value, &path.key(name), each),
                    _ => {}
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = &schema.items {
                list.iter().enumerate().for_each(|(i, item)| visit(items, item, &path.index(i), each));
            }
        }
        _ => {}
    }
}
