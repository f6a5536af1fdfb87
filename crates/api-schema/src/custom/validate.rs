//! Whether an object fits its structural schema. Wording is that of upstream's validation of custom resources.

use super::ROOT;
use super::structural::Structural;
use api_core::field::{BadValue, ErrorKind, Errors, Path};
use serde_json::Value;

/// Checks a whole object; kind and metadata are checked elsewhere.
pub(super) fn root(schema: &Structural, object: &Value, errors: &mut Errors) {
    check(schema, object, &ROOT, errors, true);
}

fn check(schema: &Structural, value: &Value, path: &Path<'_>, errors: &mut Errors, whole: bool) {
    if value.is_null() && schema.nullable {
        return;
    }
    if !has_type(schema, value) {
        let wanted = if schema.int_or_string { "integer,string" } else { &schema.kind };
        let found = type_of(value);
        let why = format!("{path} in body must be of type {wanted}: {found:?}");
        return errors.type_invalid(path, BadValue(format!("{found:?}")), &why);
    }
    if !schema.values.is_empty() && !schema.values.contains(value) {
        let shown = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
        let supported: Vec<String> = schema.values.iter().map(shown).collect();
        let supported: Vec<&str> = supported.iter().map(String::as_str).collect();
        errors.not_supported(path, BadValue::from(value), &supported);
    }
    match value {
        Value::String(text) => check_text(schema, text, path, errors),
        Value::Number(_) => check_number(schema, value, path, errors),
        Value::Array(list) => check_list(schema, list, path, errors),
        Value::Object(_) => check_map(schema, value, path, errors, whole),
        _ => {}
    }
    check_logic(schema, value, path, errors);
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn has_type(schema: &Structural, value: &Value) -> bool {
    if schema.int_or_string {
        return value.is_string() || value.as_i64().is_some();
    }
    match schema.kind.as_str() {
        "" => true,
        "integer" => value.as_i64().is_some() || value.as_f64().is_some_and(|f| f.fract() == 0.0),
        "number" => value.is_number(),
        other => type_of(value) == other,
    }
}

fn check_text(schema: &Structural, text: &str, path: &Path<'_>, errors: &mut Errors) {
    let length = text.chars().count();
    if let Some(max) = schema.length.1.filter(|max| length > *max) {
        errors.push(ErrorKind::TooLong, path, None, &format!("may not be longer than {max}"));
    }
    if let Some(min) = schema.length.0.filter(|min| length < *min) {
        errors.invalid(path, text, &format!("{path} in body should be at least {min} chars long"));
    }
    if let Some((pattern, regex)) = &schema.pattern
        && !regex.is_match(text)
    {
        errors.invalid(path, text, &format!("{path} in body should match '{pattern}'"));
    }
}

fn check_number(schema: &Structural, value: &Value, path: &Path<'_>, errors: &mut Errors) {
    let number = value.as_f64().unwrap_or(0.0);
    let mut refuse = |why: String| errors.invalid(path, BadValue(value.to_string()), &format!("{path} in body {why}"));
    match schema.minimum {
        Some((min, true)) if number <= min => refuse(format!("should be greater than {min}")),
        Some((min, false)) if number < min => refuse(format!("should be greater than or equal to {min}")),
        _ => {}
    }
    match schema.maximum {
        Some((max, true)) if number >= max => refuse(format!("should be less than {max}")),
        Some((max, false)) if number > max => refuse(format!("should be less than or equal to {max}")),
        _ => {}
    }
    if let Some(of) = schema.multiple_of.filter(|of| *of != 0.0 && (number / of).fract() != 0.0) {
        refuse(format!("should be a multiple of {of}"));
    }
}

fn check_list(schema: &Structural, list: &[Value], path: &Path<'_>, errors: &mut Errors) {
    if let Some(max) = schema.item_count.1.filter(|max| list.len() > *max) {
        errors.too_many(path, list.len(), max);
    }
    if let Some(min) = schema.item_count.0.filter(|min| list.len() < *min) {
        errors.invalid(
            path,
            BadValue(list.len().to_string()),
            &format!("{path} in body should have at least {min} items"),
        );
    }
    for (i, item) in list.iter().enumerate() {
        let path = path.index(i);
        if let Some(items) = &schema.items {
            check(items, item, &path, errors, items.embedded);
        }
        let same = |other: &Value| match schema.list_type.as_str() {
            "set" => other == item,
            "map" => schema.list_keys.iter().all(|key| other.get(key) == item.get(key)),
            _ => schema.unique && other == item,
        };
        if list[..i].iter().any(same) {
            errors.duplicate(&path, BadValue::from(item));
        }
    }
}

fn check_map(schema: &Structural, value: &Value, path: &Path<'_>, errors: &mut Errors, whole: bool) {
    let Value::Object(map) = value else { return };
    if let Some(max) = schema.property_count.1.filter(|max| map.len() > *max) {
        errors.too_many(path, map.len(), max);
    }
    if let Some(min) = schema.property_count.0.filter(|min| map.len() < *min) {
        let why = format!("{path} in body should have at least {min} properties");
        errors.invalid(path, BadValue(map.len().to_string()), &why);
    }
    for name in schema.required.iter().filter(|name| !map.contains_key(*name)) {
        errors.required(&path.child(name), "");
    }
    for (key, child) in map {
        if whole && matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
            continue;
        }
        if let Some(property) = schema.properties.get(key) {
            check(property, child, &path.child(key), errors, property.embedded);
        } else if let Some(additional) = &schema.additional {
            check(additional, child, &path.key(key), errors, additional.embedded);
        }
    }
}

fn check_logic(schema: &Structural, value: &Value, path: &Path<'_>, errors: &mut Errors) {
    let fits = |schema: &Structural| {
        let mut errors = Errors::new();
        check(schema, value, path, &mut errors, true);
        errors.is_empty()
    };
    for all in &schema.all_of {
        check(all, value, path, errors, true);
    }
    let shown = || BadValue::from(value);
    if !schema.any_of.is_empty() && !schema.any_of.iter().any(fits) {
        errors.invalid(path, shown(), &format!("{path} in body must validate at least one schema (anyOf)"));
    }
    if !schema.one_of.is_empty() && schema.one_of.iter().filter(|s| fits(s)).count() != 1 {
        errors.invalid(path, shown(), &format!("{path} in body must validate one and only one schema (oneOf)"));
    }
    if schema.not.as_ref().is_some_and(|not| fits(not)) {
        errors.invalid(path, shown(), &format!("{path} in body must not validate the schema (not)"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check_one(schema: Value, value: Value, expected: &[&str]) {
        let schema = json!({"type": "object", "properties": {"spec": schema}});
        let schema = Structural::read(&schema).expect("schema");
        let mut errors = Errors::new();
        root(&schema, &json!({"kind": "W", "spec": value}), &mut errors);
        let found: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn findings_are_worded_as_upstream_words_them() {
        check_one(
            json!({"type": "integer"}),
            json!("x"),
            &["spec: Invalid value: \"string\": spec in body must be of type integer: \"string\""],
        );
        check_one(
            json!({"type": "integer", "minimum": 1}),
            json!(0),
            &["spec: Invalid value: 0: spec in body should be greater than or equal to 1"],
        );
        check_one(
            json!({"type": "string", "enum": ["a", "b"]}),
            json!("c"),
            &["spec: Unsupported value: \"c\": supported values: \"a\", \"b\""],
        );
        check_one(
            json!({"type": "string", "pattern": "^a+$"}),
            json!("b"),
            &["spec: Invalid value: \"b\": spec in body should match '^a+$'"],
        );
        check_one(json!({"type": "object", "required": ["a"]}), json!({}), &["spec.a: Required value"]);
        check_one(
            json!({"x-kubernetes-int-or-string": true}),
            json!(true),
            &["spec: Invalid value: \"boolean\": spec in body must be of type integer,string: \"boolean\""],
        );
        check_one(
            json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}),
            json!(["a", "a"]),
            &["spec[1]: Duplicate value: \"a\""],
        );
        check_one(json!({"type": "object", "additionalProperties": {"type": "integer"}}), json!({"a": 1, "b": 2}), &[]);
    }
}
