//! Whether a value fits an `openAPIV3Schema`. Kinds of errors and their wording are upstream's.

use api_core::field::{BadValue, ErrorKind, Errors, Path};
use regex::Regex;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::HashMap;

/// Checks `value` against `schema`; fields are reported below `path`.
///
/// Both are taken as they are: nothing is defaulted or pruned. A pattern that is no regular expression holds for
/// everything, since a definition with one is refused.
pub fn validate(schema: &Value, value: &Value, path: &Path<'_>, errors: &mut Errors) {
    let mut found = Vec::new();
    check(schema, value, "", &mut found);
    for wrong in found {
        if wrong.at.is_empty() {
            errors.push(wrong.kind, path, wrong.value, &wrong.detail);
        } else {
            errors.push(wrong.kind, &path.child(&wrong.at), wrong.value, &wrong.detail);
        }
    }
}

struct Wrong {
    kind: ErrorKind,
    /// Relative, such as `spec.list[0].name`.
    at: String,
    value: Option<BadValue>,
    detail: String,
}

fn invalid(at: &str, value: &Value, why: &str) -> Wrong {
    Wrong {
        kind: ErrorKind::Invalid,
        at: at.to_owned(),
        value: Some(value.into()),
        detail: format!("{at} in body {why}"),
    }
}

fn below(at: &str, field: &str) -> String {
    if at.is_empty() { field.to_owned() } else { format!("{at}.{field}") }
}

fn list<'a>(schema: &'a Value, field: &str) -> &'a [Value] {
    schema.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn flag(schema: &Value, field: &str) -> bool {
    schema.get(field).and_then(Value::as_bool).unwrap_or(false)
}

fn check(schema: &Value, value: &Value, at: &str, out: &mut Vec<Wrong>) {
    if value.is_null() && flag(schema, "nullable") {
        return;
    }
    let wrong_type = type_error(schema, value);
    if let Some(expected) = wrong_type {
        let found = type_of(value);
        out.push(Wrong {
            kind: ErrorKind::TypeInvalid,
            at: at.to_owned(),
            value: Some(found.into()),
            detail: format!("{at} in body must be of type {expected}: {found:?}"),
        });
        return;
    }
    let allowed = list(schema, "enum");
    if !allowed.is_empty() && !allowed.contains(value) {
        let print = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
        let quoted: Vec<String> = allowed.iter().map(|v| format!("{:?}", print(v))).collect();
        let detail = format!("supported values: {}", quoted.join(", "));
        out.push(Wrong { kind: ErrorKind::NotSupported, at: at.to_owned(), value: Some(value.into()), detail });
    }
    match value {
        Value::Number(_) => number(schema, value, at, out),
        Value::String(text) => string(schema, text, value, at, out),
        Value::Array(items) => array(schema, items, value, at, out),
        Value::Object(map) => object(schema, map, value, at, out),
        Value::Null | Value::Bool(_) => {}
    }
    combined(schema, value, at, out);
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() && n.as_f64().is_some_and(|f| f.fract() != 0.0) => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The type that is expected, if the value has another one.
fn type_error<'a>(schema: &'a Value, value: &Value) -> Option<&'a str> {
    let found = type_of(value);
    if flag(schema, "x-kubernetes-int-or-string") {
        return (!matches!(found, "integer" | "string")).then_some("integer,string");
    }
    let expected = schema.get("type").and_then(Value::as_str).filter(|t| !t.is_empty())?;
    let fits = expected == found || expected == "number" && found == "integer";
    (!fits).then_some(expected)
}

fn number(schema: &Value, value: &Value, at: &str, out: &mut Vec<Wrong>) {
    let number = |v: &Value| v.as_f64();
    let Some(n) = number(value) else { return };
    let bound = |field: &str| schema.get(field).filter(|v| v.is_number());
    if let Some(max) = bound("maximum") {
        let exclusive = flag(schema, "exclusiveMaximum");
        let limit = number(max).unwrap_or(f64::MAX);
        if n > limit || exclusive && n >= limit {
            let or_equal = if exclusive { "" } else { " or equal to" };
            out.push(invalid(at, value, &format!("should be less than{or_equal} {max}")));
        }
    }
    if let Some(min) = bound("minimum") {
        let exclusive = flag(schema, "exclusiveMinimum");
        let limit = number(min).unwrap_or(f64::MIN);
        if n < limit || exclusive && n <= limit {
            let or_equal = if exclusive { "" } else { " or equal to" };
            out.push(invalid(at, value, &format!("should be greater than{or_equal} {min}")));
        }
    }
    if let Some(factor) = bound("multipleOf") {
        let quotient = n / number(factor).unwrap_or(1.0);
        if (quotient - quotient.round()).abs() > 1e-9 {
            out.push(invalid(at, value, &format!("should be a multiple of {factor}")));
        }
    }
    let in_format = match schema.get("format").and_then(Value::as_str) {
        Some("int32") => value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
        Some("int64") => value.is_i64(),
        _ => true,
    };
    if !in_format {
        let format = schema["format"].as_str().unwrap_or_default();
        out.push(invalid(at, value, &format!("must be of type {format}: {:?}", value.to_string())));
    }
}

fn limit(schema: &Value, field: &str) -> Option<usize> {
    usize::try_from(schema.get(field)?.as_i64()?).ok()
}

fn string(schema: &Value, text: &str, value: &Value, at: &str, out: &mut Vec<Wrong>) {
    let length = text.chars().count();
    if let Some(max) = limit(schema, "maxLength").filter(|max| length > *max) {
        let detail = format!("may not be longer than {max}");
        out.push(Wrong { kind: ErrorKind::TooLong, at: at.to_owned(), value: None, detail });
    }
    if let Some(min) = limit(schema, "minLength").filter(|min| length < *min) {
        out.push(invalid(at, value, &format!("should be at least {min} chars long")));
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
        && !matches(pattern, text)
    {
        out.push(invalid(at, value, &format!("should match '{pattern}'")));
    }
    if let Some(format) = schema.get("format").and_then(Value::as_str)
        && !super::format::fits(format, text)
    {
        let mut wrong = invalid(at, value, &format!("must be of type {format}: {text:?}"));
        wrong.kind = ErrorKind::TypeInvalid;
        out.push(wrong);
    }
}

/// Patterns that one thread keeps compiled; beyond that it starts anew.
const PATTERNS_MAX: usize = 256;

fn matches(pattern: &str, text: &str) -> bool {
    thread_local! {
        static COMPILED: RefCell<HashMap<String, Option<Regex>>> = RefCell::default();
    }
    COMPILED.with_borrow_mut(|compiled| {
        if compiled.len() >= PATTERNS_MAX && !compiled.contains_key(pattern) {
            compiled.clear();
        }
        let regex = compiled.entry(pattern.to_owned()).or_insert_with(|| Regex::new(pattern).ok());
        regex.as_ref().is_none_or(|r| r.is_match(text))
    })
}

fn array(schema: &Value, items: &[Value], value: &Value, at: &str, out: &mut Vec<Wrong>) {
    if let Some(max) = limit(schema, "maxItems").filter(|max| items.len() > *max) {
        too_many(at, items.len(), max, out);
    }
    if let Some(min) = limit(schema, "minItems").filter(|min| items.len() < *min) {
        out.push(invalid(at, value, &format!("should have at least {min} items")));
    }
    let item_schema = schema.get("items").filter(|s| s.is_object());
    for (i, item) in items.iter().enumerate() {
        if let Some(item_schema) = item_schema {
            check(item_schema, item, &format!("{at}[{i}]"), out);
        }
    }
    duplicates(schema, items, at, out);
}

/// Items of a set, or keys of a map's items, that are there twice.
fn duplicates(schema: &Value, items: &[Value], at: &str, out: &mut Vec<Wrong>) {
    let kind = schema.get("x-kubernetes-list-type").and_then(Value::as_str);
    let key = |item: &Value| match kind {
        Some("set") => Some(item.clone()),
        Some("map") => {
            let keys = list(schema, "x-kubernetes-list-map-keys").iter().filter_map(Value::as_str);
            let fields = keys.filter_map(|k| Some((k.to_owned(), item.get(k)?.clone())));
            Some(Value::Object(fields.collect()))
        }
        _ => None,
    };
    let mut seen: Vec<Value> = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let Some(key) = key(item) else { return };
        if seen.contains(&key) {
            let at = format!("{at}[{i}]");
            out.push(Wrong { kind: ErrorKind::Duplicate, at, value: Some((&key).into()), detail: String::new() });
        } else {
            seen.push(key);
        }
    }
}

fn too_many(at: &str, actual: usize, max: usize, out: &mut Vec<Wrong>) {
    out.push(Wrong {
        kind: ErrorKind::TooMany,
        at: at.to_owned(),
        value: Some(BadValue(actual.to_string())),
        detail: format!("must have at most {max} items"),
    });
}

fn object(schema: &Value, map: &Map<String, Value>, value: &Value, at: &str, out: &mut Vec<Wrong>) {
    if let Some(max) = limit(schema, "maxProperties").filter(|max| map.len() > *max) {
        too_many(at, map.len(), max, out);
    }
    if let Some(min) = limit(schema, "minProperties").filter(|min| map.len() < *min) {
        out.push(invalid(at, value, &format!("should have at least {min} properties")));
    }
    for name in list(schema, "required").iter().filter_map(Value::as_str) {
        if !map.contains_key(name) {
            out.push(Wrong { kind: ErrorKind::Required, at: below(at, name), value: None, detail: String::new() });
        }
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    let additional = schema.get("additionalProperties");
    for (name, value) in map {
        let known = properties.and_then(|p| p.get(name));
        match (known, additional) {
            (Some(schema), _) => check(schema, value, &below(at, name), out),
            (None, Some(schema @ Value::Object(_))) => check(schema, value, &below(at, name), out),
            (None, Some(Value::Bool(false))) => {
                let at = below(at, name);
                let mut wrong = invalid(&at, value, "is a forbidden property");
                wrong.value = Some("".into());
                out.push(wrong);
            }
            _ => {}
        }
    }
}

fn combined(schema: &Value, value: &Value, at: &str, out: &mut Vec<Wrong>) {
    let errors_of = |schema: &Value| {
        let mut found = Vec::new();
        check(schema, value, at, &mut found);
        found
    };
    let mut fails = |why: &str| {
        let detail = format!("{at:?} {why}");
        out.push(Wrong { kind: ErrorKind::Invalid, at: at.to_owned(), value: Some(value.into()), detail });
    };
    let mut more = Vec::new();
    let any = list(schema, "anyOf");
    if !any.is_empty() {
        let mut best: Option<Vec<Wrong>> = None;
        for found in any.iter().map(errors_of) {
            if best.as_ref().is_none_or(|b| found.len() < b.len()) {
                best = Some(found);
            }
        }
        if let Some(best) = best.filter(|b| !b.is_empty()) {
            fails("must validate at least one schema (anyOf)");
            more.extend(best);
        }
    }
    let one = list(schema, "oneOf");
    if !one.is_empty() {
        let fitting = one.iter().filter(|s| errors_of(s).is_empty()).count();
        if fitting != 1 {
            let found = if fitting == 0 { "Found none valid" } else { "Found more than one valid" };
            fails(&format!("must validate one and only one schema (oneOf). {found}"));
        }
    }
    let all: Vec<Wrong> = list(schema, "allOf").iter().flat_map(errors_of).collect();
    if !all.is_empty() {
        fails("must validate all the schemas (allOf)");
        more.extend(all);
    }
    if schema.get("not").is_some_and(|not| not.is_object() && errors_of(not).is_empty()) {
        fails("must not validate the schema (not)");
    }
    out.extend(more);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wrong(schema: Value, value: Value) -> Vec<String> {
        let mut errors = Errors::new();
        validate(&schema, &value, &Path::new("spec"), &mut errors);
        errors.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn values() {
        let item =
            json!({"type": "object", "required": ["k"], "properties": {"k": {"type": "string", "enum": ["a", "b"]}}});
        let schema = json!({
            "type": "object", "required": ["n"], "maxProperties": 5,
            "properties": {
                "n": {"type": "integer", "minimum": 1, "maximum": 10, "exclusiveMaximum": true, "multipleOf": 2},
                "s": {"type": "string", "maxLength": 3, "minLength": 1, "pattern": "^[a-z]+$", "nullable": true},
                "l": {"type": "array", "maxItems": 3, "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]},
                "ios": {"x-kubernetes-int-or-string": true},
                "m": {"type": "object", "additionalProperties": {"type": "boolean"}},
                "one": {"oneOf": [{"required": ["a"]}, {"required": ["b"]}], "type": "object"},
            },
        });
        let good = json!({"n": 4, "s": null, "l": [{"k": "a"}, {"k": "b"}], "ios": "50%", "m": {"x": true}});
        assert_eq!(wrong(schema.clone(), good), [""; 0]);
        let bad = json!({"n": 11, "s": "A", "l": [{}, {"k": "c"}, {"k": "c"}], "ios": 1.5, "m": {"x": 1}, "one": {}});
        assert_eq!(
            wrong(schema, bad),
            [
                "spec: Too many: 6: must have at most 5 items",
                "spec.ios: Invalid value: \"number\": ios in body must be of type integer,string: \"number\"",
                "spec.l[0].k: Required value",
                "spec.l[1].k: Unsupported value: \"c\": supported values: \"a\", \"b\"",
                "spec.l[2].k: Unsupported value: \"c\": supported values: \"a\", \"b\"",
                "spec.l[2]: Duplicate value: {\"k\":\"c\"}",
                "spec.m.x: Invalid value: \"integer\": m.x in body must be of type boolean: \"integer\"",
                "spec.n: Invalid value: 11: n in body should be less than 10",
                "spec.n: Invalid value: 11: n in body should be a multiple of 2",
                "spec.one: Invalid value: {}: \"one\" must validate one and only one schema (oneOf). Found none valid",
                "spec.s: Invalid value: \"A\": s in body should match '^[a-z]+$'",
            ]
        );
        assert_eq!(
            wrong(json!({"type": "integer"}), json!("x")),
            ["spec: Invalid value: \"string\":  in body must be of type integer: \"string\""]
        );
    }
}
