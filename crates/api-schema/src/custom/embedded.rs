//! Resources inside of resources (`x-kubernetes-embedded-resource`): their kind and metadata.

use super::structural::{Additional, Structural};
use api_core::field::{BadValue, Path};
use serde_json::Value;

/// Reads metadata as its type says; gives what is unknown in it.
pub(super) type Typed<'a> = &'a dyn Fn(&Value) -> Result<(Value, Vec<String>), String>;

/// What is done with an embedded resource at its path.
type Each<'a> = &'a mut dyn FnMut(&mut Value, &Path<'_>) -> Result<(), String>;

/// Brings the metadata of all embedded resources into form. The object's own is not one of them.
pub(super) fn coerce(schema: &Structural, object: &mut Value, typed: Typed<'_>) -> Result<Vec<String>, String> {
    let mut unknown = Vec::new();
    walk(schema, object, &Path::ROOT, &mut |value, path| one(value, path, typed, &mut unknown))?;
    unknown.sort();
    Ok(unknown)
}

/// The same with what is stored, of which what cannot be read is dropped.
pub(super) fn repair(schema: &Structural, object: &mut Value, typed: Typed<'_>) {
    let repaired = walk(schema, object, &Path::ROOT, &mut |value, _| {
        repair_one(value, typed);
        Ok(())
    });
    debug_assert!(repaired.is_ok(), "repairing does not fail");
}

fn walk(schema: &Structural, value: &mut Value, path: &Path<'_>, each: Each<'_>) -> Result<(), String> {
    if schema.embedded && value.is_object() {
        each(value, path)?;
    }
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                match (schema.properties.get(name), &schema.additional) {
                    (Some(property), _) => walk(property, value, &path.child(name), each)?,
                    (None, Some(Additional::Schema(schema))) => walk(schema, value, &path.key(name), each)?,
                    _ => {}
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = &schema.items {
                for (i, item) in list.iter_mut().enumerate() {
                    walk(items, item, &path.index(i), each)?;
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
            return Err(format!("{}: Invalid value: {}: must be a string", path.child(field), BadValue::from(wrong).0));
        }
    }
    let Some(metadata) = value.get("metadata") else { return Ok(()) };
    let refused = |why: String| format!("{}: Invalid value: {metadata}: {why}", path.child("metadata"));
    let (new, fields) = typed(metadata).map_err(refused)?;
    unknown.extend(fields.into_iter().map(|field| format!("{}.{field}", path.child("metadata"))));
    value["metadata"] = without_zero_time(new);
    Ok(())
}

fn without_zero_time(mut metadata: Value) -> Value {
    if metadata["creationTimestamp"].is_null()
        && let Some(fields) = metadata.as_object_mut()
    {
        fields.remove("creationTimestamp");
    }
    metadata
}

fn repair_one(value: &mut Value, typed: Typed<'_>) {
    let Some(fields) = value.as_object_mut() else { return };
    fields.retain(|name, value| !matches!(name.as_str(), "apiVersion" | "kind") || value.is_string());
    let Some(metadata) = fields.get_mut("metadata") else { return };
    if let Ok((new, _)) = typed(metadata) {
        *metadata = without_zero_time(new);
        return;
    }
    let Some(of_metadata) = metadata.as_object() else { return };
    // Each field for itself: those that cannot be read go.
    let readable = of_metadata.iter().filter_map(|(name, value)| {
        let (read, _) = typed(&Value::Object([(name.clone(), value.clone())].into_iter().collect())).ok()?;
        Some((name.clone(), read.get(name)?.clone()))
    });
    let readable = Value::Object(readable.collect());
    *metadata = without_zero_time(readable);
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn typed(metadata: &Value) -> Result<(Value, Vec<String>), String> {
        let fields = metadata.as_object().ok_or("it is no object")?;
        match fields.get("name") {
            Some(name) if !name.is_string() && !name.is_null() => return Err("it is no text".into()),
            _ => {}
        }
        let is_known = |name: &str| matches!(name, "name" | "creationTimestamp");
        let unknown = fields.keys().filter(|name| !is_known(name)).cloned().collect();
        let known = fields.iter().filter(|(name, value)| is_known(name) && (*name != "name" || !value.is_null()));
        let mut read: serde_json::Map<_, _> = known.map(|(name, value)| (name.clone(), value.clone())).collect();
        read.entry("creationTimestamp").or_insert(Value::Null);
        Ok((Value::Object(read), unknown))
    }

    #[test]
    fn what_is_stored_is_repaired_and_what_comes_is_refused() {
        let schema = json!({"type": "object", "properties": {"l": {"type": "array", "items": {"type": "object",
            "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}}}});
        let schema = Structural::read(&schema).expect("schema");
        for (item, repaired, refused) in [
            (
                json!({"kind": "A", "metadata": {"name": "a", "x": 1}}),
                json!({"kind": "A", "metadata": {"name": "a"}}),
                None,
            ),
            (json!({"metadata": {"name": null, "creationTimestamp": null}}), json!({"metadata": {}}), None),
            (
                json!({"kind": null, "metadata": {}}),
                json!({"metadata": {}}),
                Some("l[0].kind: Invalid value: \"null\": must be a string"),
            ),
            (
                json!({"metadata": {"name": 1, "creationTimestamp": "t"}}),
                json!({"metadata": {"creationTimestamp": "t"}}),
                Some("l[0].metadata: Invalid value: {\"creationTimestamp\":\"t\",\"name\":1}: it is no text"),
            ),
            (json!({"metadata": 1}), json!({"metadata": 1}), Some("l[0].metadata: Invalid value: 1: it is no object")),
        ] {
            let object = json!({"l": [item]});
            let mut stored = object.clone();
            repair(&schema, &mut stored, &typed);
            assert_eq!(stored, json!({"l": [repaired]}));
            let mut came = object.clone();
            assert_eq!(coerce(&schema, &mut came, &typed).err().as_deref(), refused);
        }
    }
}
