//! What an object of a custom resource must be: its schema, its embedded resources, its lists, its scale.

use crate::hooks::meta;
use api_core::field::{BadValue, ErrorKind, Errors, Path};
use api_core::names;
use api_schema::custom::{self, Custom};
use api_schema::row::Row;
use serde_json::Value;

/// Checks an object; `old` is `None` on create. Rules of metadata are checked elsewhere. Gives warnings.
#[must_use]
pub fn validate(row: &Row, subresource: &str, new: &Value, old: Option<&Value>, errors: &mut Errors) -> Vec<String> {
    let Some(custom) = &row.custom else { return Vec::new() };
    let status = subresource == "status";
    if status {
        custom.validate_status(new, old, errors);
    } else {
        if let Some(old) = old {
            // The second time, as upstream does it.
            meta::update(new, old, errors);
        }
        custom.validate(new, old, errors);
        scale_part(custom, new, false, errors);
    }
    scale_part(custom, new, true, errors);
    if !status {
        custom.embedded(new, &mut |path, value| embedded(path, value, errors));
    }
    lists(custom, new, old, errors);
    rules(custom, new, old, errors)
}

/// Lists that were wrong before may stay so.
fn lists(custom: &Custom, new: &Value, old: Option<&Value>, errors: &mut Errors) {
    let mut found = Errors::new();
    custom.validate_lists(new, &mut found);
    if found.is_empty() {
        return;
    }
    let mut before = Errors::new();
    if let Some(old) = old {
        custom.validate_lists(old, &mut before);
    }
    if before.is_empty() {
        errors.extend(found);
    }
}

/// Whether rules of expressions can be evaluated in spite of these errors.
fn blocks_rules(errors: &Errors) -> bool {
    let blocking = |kind| {
        matches!(
            kind,
            ErrorKind::NotSupported
                | ErrorKind::Required
                | ErrorKind::TooLong
                | ErrorKind::TooMany
                | ErrorKind::TypeInvalid
        )
    };
    errors.0.iter().any(|e| blocking(e.kind))
}

fn rules(custom: &Custom, new: &Value, old: Option<&Value>, errors: &mut Errors) -> Vec<String> {
    let mut warnings = Vec::new();
    let Some(rules) = custom.rules() else { return warnings };
    if blocks_rules(errors) {
        let why = "some validation rules were not checked because the object was invalid; correct the existing errors to \
                   complete validation";
        errors.invalid(&Path::ROOT, BadValue::from("null"), why);
    } else {
        rules.validate(new, old, errors, &mut warnings);
    }
    warnings
}

/// Numbers that the `scale` subresource shows.
fn scale_part(custom: &Custom, object: &Value, status: bool, errors: &mut Errors) {
    let Some(scale) = &custom.scale else { return };
    let path = if status { &scale.status } else { &scale.spec };
    let dotted = format!(".{}", path.join("."));
    let at = Path::new(&dotted);
    number(&at, path, object, errors);
    if !status || scale.selector.is_empty() {
        return;
    }
    let dotted = format!(".{}", scale.selector.join("."));
    let why = match custom::reach(object, &scale.selector) {
        Ok(None | Some(Value::String(_))) => return,
        Ok(Some(other)) => custom::misfit(&scale.selector, other, "string"),
        Err(why) => why,
    };
    errors.invalid(&Path::new(&dotted), "", &why);
}

fn number(at: &Path<'_>, path: &[String], object: &Value, errors: &mut Errors) {
    let found = match custom::reach(object, path) {
        Ok(found) => found,
        Err(why) => return errors.invalid(at, 0, &why),
    };
    match found {
        None => {}
        Some(Value::Number(n)) if n.is_i64() => match n.as_i64().unwrap_or(0) {
            n if n < 0 => errors.invalid(at, n, "should be a non-negative integer"),
            n if n > i64::from(i32::MAX) => {
                errors.invalid(at, n, &format!("should be less than or equal to {}", i32::MAX));
            }
            _ => {}
        },
        Some(other) => {
            errors.invalid(at, 0, &custom::misfit(path, other, "int64"));
        }
    }
}

/// A resource inside of a resource says what it is, and its metadata is good.
fn embedded(path: &Path<'_>, value: &Value, errors: &mut Errors) {
    for field in ["apiVersion", "kind"] {
        match value.get(field) {
            None => errors.required(&path.child(field), "must not be empty"),
            Some(Value::String(text)) if text.is_empty() => errors.invalid(&path.child(field), "", "must not be empty"),
            Some(Value::String(text)) => type_text(path, field, text, errors),
            Some(other) => errors.invalid(&path.child(field), other, "must be a string"),
        }
    }
    if let Some(metadata) = value.get("metadata") {
        meta::validate_embedded(metadata, &path.child("metadata"), errors);
    }
}

fn type_text(path: &Path<'_>, field: &str, text: &str, errors: &mut Errors) {
    if field == "apiVersion" {
        if text.matches('/').count() > 1 {
            errors.invalid(&path.child(field), text, &format!("unexpected GroupVersion string: {text}"));
        }
        return;
    }
    let wrong = names::is_dns1035_label(&text.to_lowercase());
    if !wrong.is_empty() {
        let why = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
        errors.invalid(&path.child(field), text, &why);
    }
}

/// Warnings of a write: finalizers that others may use too.
pub(super) fn warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    use api_core::meta::Meta;
    let had: Vec<&str> = old.map(Meta::finalizers).unwrap_or_default();
    let mut added: Vec<&str> = new.finalizers().into_iter().filter(|f| !had.contains(f)).collect();
    added.sort_unstable();
    added.dedup();
    let mut warnings = Vec::new();
    for name in added {
        for why in names::is_qualified_name(name) {
            warnings.push(format!("metadata.finalizers: {name:?}: {why}"));
        }
        if !name.contains('/') && !["kubernetes", "orphan", "foregroundDeletion"].contains(&name) {
            warnings.push(format!(
                "metadata.finalizers: {name:?}: prefer a domain-qualified finalizer name to avoid accidental conflicts with \
                 other finalizer writers"
            ));
        }
    }
    warnings
}

/// Checks labels or annotations that a conversion has set.
///
/// # Errors
/// What is wrong with them, in one line.
pub fn convertible_metadata(field: &str, value: &Value) -> Result<(), String> {
    let mut errors = Errors::new();
    meta::validate_texts(field, value, &mut errors);
    let texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
    match texts.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(format!("[{}]", many.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wrong(schema: Value, version: Value, subresource: &str, new: Value, old: Option<&Value>) -> Vec<String> {
        let mut v = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
        v.as_object_mut().expect("object").extend(version.as_object().expect("object").clone());
        let definition = json!({"metadata": {"name": "ws.e.com"}, "spec": {"group": "e.com", "scope": "Namespaced",
            "names": {"plural": "ws", "singular": "w", "kind": "W", "listKind": "WList"}, "versions": [v]}});
        let rows = crate::custom::rows_of(&definition, definition.to_string().into());
        let mut errors = Errors::new();
        drop(validate(&rows[0], subresource, &new, old, &mut errors));
        errors.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn embedded_resources_are_resources() {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-embedded-resource": true,
            "x-kubernetes-preserve-unknown-fields": true}}});
        let none = json!({});
        assert_eq!(
            wrong(
                schema.clone(),
                none.clone(),
                "",
                json!({"spec": {"kind": "A b", "metadata": {"name": "x/y", "labels": {"a": "-"}}}}),
                None
            ),
            [
                "spec.apiVersion: Required value: must not be empty",
                "spec.kind: Invalid value: \"A b\": may have mixed case, but should otherwise match: a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
                "spec.metadata.name: Invalid value: \"x/y\": may not contain '/'",
                "spec.metadata.labels: Invalid value: \"-\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
            ]
        );
        assert_eq!(wrong(schema, none, "", json!({"spec": {"kind": "A", "apiVersion": "v1"}}), None), [""; 0]);
    }

    #[test]
    fn a_scale_is_a_number() {
        let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let scale = json!({"subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}}});
        let object = json!({"spec": {"n": -1}, "status": {"n": "x"}});
        assert_eq!(
            wrong(schema.clone(), scale.clone(), "", object.clone(), None),
            [
                ".spec.n: Invalid value: -1: should be a non-negative integer",
                ".status.n: Invalid value: 0: .status.n accessor error: x is of the type string, expected int64",
            ]
        );
        assert_eq!(wrong(schema.clone(), scale.clone(), "status", object, None).len(), 1);
        let flat = json!({"spec": true, "status": {"n": null}});
        assert_eq!(
            wrong(schema.clone(), scale.clone(), "", flat, None),
            [
                ".spec.n: Invalid value: 0: .spec.n accessor error: true is of the type bool, expected map[string]interface{}",
                ".status.n: Invalid value: 0: .status.n accessor error: <nil> is of the type <nil>, expected int64",
            ]
        );
        assert_eq!(wrong(schema, scale, "", json!({"spec": null}), None), [""; 0]);
    }

    #[test]
    fn a_list_that_was_wrong_may_stay_so() {
        let schema = json!({"type": "object", "properties": {"l": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}}});
        let twice = json!({"l": ["a", "a"]});
        assert_eq!(wrong(schema.clone(), json!({}), "", twice.clone(), None).len(), 1);
        assert_eq!(wrong(schema.clone(), json!({}), "", json!({"l": ["a", "a", "b"]}), Some(&twice)).len(), 0);
        assert_eq!(wrong(schema, json!({}), "", twice, Some(&json!({"l": ["a"]}))).len(), 1);
    }

    #[test]
    fn rules_are_evaluated_on_what_is_otherwise_good() {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object",
            "x-kubernetes-validations": [{"rule": "self.min <= self.max", "message": "min over max", "fieldPath": ".min"}],
            "properties": {"min": {"type": "integer"}, "max": {"type": "integer"}, "fixed": {"type": "string",
                "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "fixed"}]}}}}});
        let none = json!({});
        let say = |new: Value, old: Option<&Value>| wrong(schema.clone(), none.clone(), "", new, old);
        assert_eq!(
            say(json!({"spec": {"min": 2, "max": 1}}), None),
            ["spec.min: Invalid value: \"object\": min over max"]
        );
        let old = json!({"spec": {"min": 1, "max": 2, "fixed": "a"}});
        assert_eq!(say(old.clone(), None), [""; 0]);
        assert_eq!(
            say(json!({"spec": {"min": 1, "max": 2, "fixed": "b"}}), Some(&old)),
            ["spec.fixed: Invalid value: \"string\": fixed"]
        );
        let found = say(json!({"spec": {"min": "x", "max": 1}}), None);
        assert_eq!(found.len(), 2);
        assert!(found[1].starts_with("<nil>: Invalid value: \"null\": some validation rules were not checked"));
    }

    #[test]
    fn a_status_that_was_wrong_may_stay_so() {
        let schema = json!({"type": "object", "properties": {"status": {"type": "object", "properties": {
            "phase": {"type": "string", "enum": ["On", "Off"]},
            "left": {"type": "integer", "x-kubernetes-validations": [{"rule": "self >= 0", "message": "too few"}]}}}}});
        let sub = json!({"subresources": {"status": {}}});
        let say = |new: Value, old: &Value| wrong(schema.clone(), sub.clone(), "status", new, Some(old));
        let old = json!({"status": {"phase": "Gone", "left": -1}});
        assert_eq!(say(json!({"status": {"phase": "Gone", "left": 2}}), &old), [""; 0]);
        assert_eq!(say(json!({"status": {"phase": "On", "left": -1}}), &old), [""; 0]);
        let found = say(json!({"status": {"phase": "Lost"}}), &old);
        assert_eq!(found[0], "phase: Unsupported value: \"Lost\": supported values: \"On\", \"Off\"");
        assert_eq!(say(json!({"status": {"left": -2}}), &old), ["status.left: Invalid value: \"integer\": too few"]);
    }

    #[test]
    fn finalizers_without_a_domain_are_warned_of() {
        let new = json!({"metadata": {"finalizers": ["a", "b.c/d", "orphan"]}});
        assert_eq!(
            warnings(&new, None),
            [
                "metadata.finalizers: \"a\": prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers"
            ]
        );
        assert_eq!(warnings(&new, Some(&new)), [""; 0]);
    }
}
