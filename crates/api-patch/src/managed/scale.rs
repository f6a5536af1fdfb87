//! Managed fields seen through `scale`: who owns the replicas of an object owns `spec.replicas` of its scale.
//!
//! A scale has no managed fields of its own. For a write they are made of the object's, and what the write makes of them
//! goes back. On the way there, entries of updates get the scale's version, by which they are not found again on the way
//! back: they come back as new ones, without a time. Upstream does the same.

use super::entries::{Entries, Entry};
use crate::fields::{Element, Set};
use serde_json::Value;

/// `apiVersion` of a scale.
pub const SCALE_VERSION: &str = "autoscaling/v1";

/// Where versions of a resource have their replicas.
pub struct Replicas<'a> {
    /// The version that the request is in.
    pub api_version: &'a str,
    /// The path of field names in a version; `None` if there is no such version, empty if it has no scale.
    pub path_in: &'a dyn Fn(&str) -> Option<Vec<String>>,
}

impl std::fmt::Debug for Replicas<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replicas").field("api_version", &self.api_version).finish_non_exhaustive()
    }
}

impl Replicas<'_> {
    fn path(&self, api_version: &str) -> Option<Vec<Element>> {
        let path = (self.path_in)(api_version)?;
        Some(path.into_iter().map(Element::Field).collect())
    }
}

fn in_scale() -> Vec<Element> {
    ["spec", "replicas"].map(|name| Element::Field(name.to_owned())).to_vec()
}

fn only(path: &[Element]) -> Set {
    let mut set = Set::new();
    set.insert(path);
    set
}

/// `managedFields` of the scale of an object that has these.
///
/// # Errors
/// With why, if they cannot be read.
pub fn to_scale(object: Option<&Value>, replicas: &Replicas<'_>) -> Result<Option<Value>, String> {
    let mut entries = Entries::read(object)?;
    entries.0.retain_mut(|entry| {
        let owns = replicas.path(&entry.api_version).is_some_and(|path| entry.fields.to_set().contains(&path));
        entry.api_version = SCALE_VERSION.to_owned();
        entry.fields = only(&in_scale()).into();
        owns
    });
    Ok(entries.write())
}

/// `managedFields` of an object that had `object`, after a write of its scale that ended with `scale`.
///
/// # Errors
/// With why, if they cannot be read.
pub fn to_object(
    object: Option<&Value>,
    scale: Option<&Value>,
    replicas: &Replicas<'_>,
) -> Result<Option<Value>, String> {
    let mut left = Entries::read(scale)?;
    let mut merged = Entries::default();
    for mut entry in Entries::read(object)?.0 {
        let Some(path) = replicas.path(&entry.api_version) else { continue };
        if entry.fields.to_set().contains(&path) {
            match left.position(&entry) {
                Some(at) => drop(left.0.remove(at)),
                None => entry.fields.remove(&only(&path)),
            }
        }
        if !entry.fields.is_empty() {
            merged.0.push(entry);
        }
    }
    let path = replicas.path(replicas.api_version).unwrap_or_default();
    let back = left.0.into_iter().filter(|entry| entry.fields.to_set().contains(&in_scale()));
    merged.0.extend(back.map(|entry| Entry {
        api_version: replicas.api_version.to_owned(),
        fields: only(&path).into(),
        time: None,
        ..entry
    }));
    Ok(merged.write())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(manager: &str, operation: &str, sub: &str, fields: &Value) -> Value {
        let mut entry = json!({"manager": manager, "operation": operation, "apiVersion": "apps/v1",
            "time": "2024-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": fields});
        if !sub.is_empty() {
            entry["subresource"] = sub.into();
        }
        entry
    }

    /// `manager operation version subresource@time: fields`.
    fn shown(fields: Option<Value>) -> Vec<String> {
        let text = |e: &Value, f: &str| e[f].as_str().unwrap_or("-").to_owned();
        let line = |e: &Value| {
            let [manager, operation, version, sub] =
                ["manager", "operation", "apiVersion", "subresource"].map(|f| text(e, f));
            let time = if e["time"].is_null() { "never" } else { "then" };
            format!("{manager} {operation} {version} {sub} {time}: {}", e["fieldsV1"])
        };
        fields.as_ref().and_then(Value::as_array).into_iter().flatten().map(line).collect()
    }

    #[test]
    fn owners_go_to_the_scale_and_back() {
        let path_in = |version: &str| match version {
            "apps/v1" => Some(vec!["spec".to_owned(), "n".to_owned()]),
            "apps/none" => Some(Vec::new()),
            _ => None,
        };
        let replicas = Replicas { api_version: "apps/v1", path_in: &path_in };
        let mut gone = entry("gone", "Update", "", &json!({"f:spec": {"f:n": {}}}));
        gone["apiVersion"] = "apps/v0".into();
        let mut without = entry("without", "Update", "", &json!({"f:spec": {"f:n": {}}}));
        without["apiVersion"] = "apps/none".into();
        let object = json!([
            entry("applier", "Apply", "", &json!({"f:spec": {"f:n": {}, "f:x": {}}})),
            gone,
            entry("other", "Update", "", &json!({"f:spec": {"f:y": {}}})),
            entry("updater", "Update", "", &json!({"f:spec": {"f:n": {}}})),
            without,
        ]);
        let scale = to_scale(Some(&object), &replicas).unwrap();
        let replicas_of_scale = r#"{"f:spec":{"f:replicas":{}}}"#;
        assert_eq!(
            shown(scale.clone()),
            [
                format!("applier Apply autoscaling/v1 - then: {replicas_of_scale}"),
                format!("updater Update autoscaling/v1 - then: {replicas_of_scale}")
            ]
        );
        let kept = [
            r#"other Update apps/v1 - then: {"f:spec":{"f:y":{}}}"#,
            r#"without Update apps/none - then: {"f:spec":{"f:n":{}}}"#,
        ];
        let applied = r#"applier Apply apps/v1 - then: {"f:spec":{"f:n":{},"f:x":{}}}"#;
        let updated = r#"updater Update apps/v1 - never: {"f:spec":{"f:n":{}}}"#;
        let back = to_object(Some(&object), scale.as_ref(), &replicas).unwrap();
        assert_eq!(shown(back), [applied, updated, kept[0], kept[1]]);
        let new = json!([{"manager": "new", "operation": "Update", "apiVersion": "autoscaling/v1", "subresource": "scale",
            "time": "2024-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]);
        let taken = r#"applier Apply apps/v1 - then: {"f:spec":{"f:x":{}}}"#;
        let owner = r#"new Update apps/v1 scale never: {"f:spec":{"f:n":{}}}"#;
        let back = to_object(Some(&object), Some(&new), &replicas).unwrap();
        assert_eq!(shown(back), [taken, owner, kept[0], kept[1]]);
    }
}
