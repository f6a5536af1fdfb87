//! Moving from client-side to server-side apply: `kubectl`, when it applies on the server, may overwrite what its own
//! annotation says it applied before, and keeps that annotation true.

use crate::fields::Set;
use crate::typed::{Type, check, compare, field_set};
use api_core::meta::Meta;
use api_schema::schema::Schema;
use serde_json::Value;

/// The one manager that this is for.
pub(super) const CLIENT: &str = "kubectl";
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// All annotations of an object together; beyond that the annotation is left out.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

/// What the annotation says was applied and still is as it says.
pub(super) fn allowed_conflicts(schema: &Schema, ty: Type<'_>, live: &Value, api_version: &str) -> Option<Set> {
    let text = live.annotation(ANNOTATION).filter(|text| !text.is_empty())?;
    let last: Value = serde_json::from_str(text).ok()?;
    if last.get("apiVersion").and_then(Value::as_str) != Some(api_version) {
        return None;
    }
    check(schema, ty, &last, false).ok()?;
    let comparison = compare(schema, ty, &last, live).ok()?;
    let set = field_set(schema, ty, &last);
    Some(set.difference(&comparison.modified).difference(&comparison.added).difference(&comparison.removed))
}

/// Writes the annotation anew from `applied` if the object has it.
pub(super) fn refresh(object: &mut Value, applied: &Value) {
    if object.annotation(ANNOTATION).is_none_or(str::is_empty) {
        return;
    }
    let mut applied = applied.clone();
    if let Some(Value::Object(annotations)) = applied.pointer_mut("/metadata/annotations") {
        annotations.remove(ANNOTATION);
        if annotations.is_empty() {
            applied.metadata_mut().remove("annotations");
        }
    }
    let Some(Value::Object(annotations)) = object.pointer_mut("/metadata/annotations") else { return };
    annotations.insert(ANNOTATION.to_owned(), Value::String(format!("{applied}\n")));
    let size: usize = annotations.iter().map(|(k, v)| k.len() + v.as_str().map_or(0, str::len)).sum();
    if size > ANNOTATIONS_BYTES_MAX {
        annotations.remove(ANNOTATION);
    }
}
