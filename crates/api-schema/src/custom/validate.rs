//! Whether an object fits its structural schema. Kinds of errors, their order and wording are upstream's.
//!
//! On an update, what has not changed is not held against the object (ratcheting): a part that equals its old one is not
//! looked at. Parts correspond by field, and in lists of type `map` by key.

use super::format;
use super::structural::{Additional, Structural};
use api_core::field::{BadValue, ErrorKind, Errors, Path};
use serde_json::{Map, Value};

/// Up to here a double without a fraction is an integer to upstream.
const WHOLE_MAX: f64 = 9_007_199_254_740_991.0;

/// Checks `value`; fields are reported below `path`, or from the object itself if there is none.
pub(super) fn validate(
    schema: &Structural,
    value: &Value,
    old: Option<&Value>,
    path: Option<&Path<'_>>,
    errors: &mut Errors,
) {
    let found = check(schema, value, old, Place { path: Path::ROOT, root: true, dotted: false });
    for wrong in found.wrong {
        let at = wrong.at.trim_start_matches('.');
        match (path, at) {
            (Some(path), "") => errors.push(wrong.kind, path, wrong.value, &wrong.detail),
            (Some(path), at) => errors.push(wrong.kind, &path.child(at), wrong.value, &wrong.detail),
            (None, "") => errors.push(wrong.kind, &Path::ROOT, wrong.value, &wrong.detail),
            (None, at) => errors.push(wrong.kind, &Path::new(at), wrong.value, &wrong.detail),
        }
    }
}

/// A value as an error shows it: Go's syntax for what is no scalar.
pub(super) fn shown(value: &Value) -> BadValue {
    match value {
        Value::Null => BadValue::from("null"),
        Value::Array(_) | Value::Object(_) => BadValue(api_core::go::syntax(value)),
        Value::Number(n) if n.is_f64() => BadValue(api_core::go::double(n.as_f64().unwrap_or_default())),
        scalar => BadValue::from(scalar),
    }
}

/// Where a value stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    path: Path<'a>,
    /// Nothing is above it.
    root: bool,
    /// An additional property of the root is above it, or it is one: upstream puts a dot before it.
    dotted: bool,
}

impl Place<'_> {
    fn text(&self) -> String {
        if self.root {
            return String::new();
        }
        let dot = if self.dotted { "." } else { "" };
        format!("{dot}{}", self.path)
    }
}

struct Wrong {
    kind: ErrorKind,
    at: String,
    value: Option<BadValue>,
    detail: String,
}

/// What a check found. `matches` says how much fits; of several alternatives the closest is reported.
#[derive(Default)]
struct Found {
    wrong: Vec<Wrong>,
    matches: usize,
}

impl Found {
    fn fits(&self) -> bool {
        self.wrong.is_empty()
    }

    fn merge(&mut self, other: Found) {
        self.wrong.extend(other.wrong);
        self.matches += other.matches;
    }

    fn push(&mut self, kind: ErrorKind, place: Place<'_>, value: Option<BadValue>, detail: String) {
        self.wrong.push(Wrong { kind, at: place.text(), value, detail });
    }

    fn invalid(&mut self, place: Place<'_>, value: BadValue, why: &str) {
        let at = place.text();
        let detail = format!("{at} in body {why}");
        self.wrong.push(Wrong { kind: ErrorKind::Invalid, at, value: Some(value), detail });
    }

    /// What is said of the whole value names no field.
    fn whole(&mut self, place: Place<'_>, why: &str) {
        let detail = format!("{:?} {why}", place.text());
        self.wrong.push(Wrong { kind: ErrorKind::Invalid, at: String::new(), value: Some(BadValue::from("")), detail });
    }
}

fn check(schema: &Structural, value: &Value, old: Option<&Value>, place: Place<'_>) -> Found {
    let mut found = Found::default();
    if old == Some(value) {
        return found;
    }
    if has_type(schema) {
        match type_error(schema, value) {
            Some((expected, is)) => {
                let detail = format!("{} in body must be of type {expected}: {is:?}", place.text());
                found.push(ErrorKind::TypeInvalid, place, Some(is.into()), detail);
            }
            None => found.matches += 1,
        }
        found.matches += 1;
    }
    if value.is_null() {
        one_of_values(schema, value, place, &mut found);
        found.matches = 0;
        return found;
    }
    junctors(schema, value, old, place, &mut found);
    match value {
        Value::String(text) => string(schema, text, place, &mut found),
        Value::Number(_) => number(schema, value, place, &mut found),
        Value::Array(list) => array(schema, list, old, place, &mut found),
        _ => {}
    }
    one_of_values(schema, value, place, &mut found);
    if let Value::Object(map) = value {
        object(schema, map, old, place, &mut found);
    }
    found.matches += 3;
    found
}

fn has_type(schema: &Structural) -> bool {
    !schema.kind.is_empty() || schema.int_or_string || !schema.format.is_empty()
}

/// Type and, for numbers, width of a value as Go reads it.
fn type_of(value: &Value) -> (&'static str, &'static str) {
    match value {
        Value::Null => ("null", ""),
        Value::Bool(_) => ("boolean", ""),
        Value::Number(n) if n.is_i64() => ("integer", "int64"),
        Value::Number(_) => ("number", "float64"),
        Value::String(_) => ("string", ""),
        Value::Array(_) => ("array", ""),
        Value::Object(_) => ("object", ""),
    }
}

/// The type that is expected and the one that the value has, if it does not fit.
fn type_error<'s>(schema: &'s Structural, value: &Value) -> Option<(&'s str, &'static str)> {
    let (is, width) = type_of(value);
    let expected = if schema.int_or_string { "integer,string" } else { schema.kind.as_str() };
    let has =
        |kind: &str| if schema.int_or_string { matches!(kind, "integer" | "string") } else { schema.kind == kind };
    if value.is_null() {
        return (!expected.is_empty() && !schema.nullable).then_some((expected, "null"));
    }
    let whole = value.as_f64().is_some_and(|f| f.fract() == 0.0 && f.abs() <= WHOLE_MAX);
    let fits = has(is) || (is == "number" && whole && has("integer")) || (is == "integer" && has("number"));
    let format = schema.format.as_str();
    let textual = matches!(value, Value::String(_) | Value::Array(_));
    if !format.is_empty() && !textual && !fits {
        return Some((format, width));
    }
    if !format.is_empty() && textual && !has("number") && !has("integer") {
        return None;
    }
    (!fits).then_some((expected, is))
}

/// Upstream converts the value to the type of the allowed one before it compares.
fn same(value: &Value, allowed: &Value) -> bool {
    match (value, allowed) {
        (Value::Number(a), Value::Number(b)) => match (b.as_i64(), a.as_i64()) {
            (Some(b), Some(a)) => a == b,
            (Some(b), None) => a.as_f64().is_some_and(|a| a.trunc() == i64_as_f64(b)),
            (None, _) => a.as_f64() == b.as_f64(),
        },
        (a, b) => a == b,
    }
}

#[expect(clippy::cast_precision_loss, reason = "numbers are compared as doubles, as upstream does")]
fn i64_as_f64(n: i64) -> f64 {
    n as f64
}

fn one_of_values(schema: &Structural, value: &Value, place: Place<'_>, found: &mut Found) {
    if schema.values.is_empty() || schema.values.iter().any(|allowed| same(value, allowed)) {
        return;
    }
    let print = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    let quoted: Vec<String> = schema.values.iter().map(|v| api_core::go::quote(&print(v))).collect();
    let detail = format!("supported values: {}", quoted.join(", "));
    found.push(ErrorKind::NotSupported, place, Some(shown(value)), detail);
}

fn string(schema: &Structural, text: &str, place: Place<'_>, found: &mut Found) {
    let length = text.chars().count();
    if let Some(max) = schema.length.1.filter(|max| length > *max) {
        found.push(ErrorKind::TooLong, place, None, format!("may not be longer than {max}"));
    } else if let Some(min) = schema.length.0.filter(|min| length < *min) {
        found.invalid(place, text.into(), &format!("should be at least {min} chars long"));
    } else if let Some((pattern, _)) = schema.pattern.as_ref().filter(|(_, regex)| !regex.is_match(text)) {
        found.invalid(place, text.into(), &format!("should match '{pattern}'"));
    }
    found.matches += 1;
    if schema.format.is_empty() {
        return;
    }
    found.matches += 1;
    if !format::fits(&schema.format, text) {
        let shown = api_core::go::quote(text);
        let detail = format!("{} in body must be of type {}: {shown}", place.text(), schema.format);
        found.push(ErrorKind::TypeInvalid, place, Some(text.into()), detail);
    }
}

fn number(schema: &Structural, value: &Value, place: Place<'_>, found: &mut Found) {
    let Some(n) = value.as_f64() else { return };
    // A whole number is compared with whole limits.
    let is_int = value.is_i64();
    let limit = |limit: f64| if is_int { limit.trunc() } else { limit };
    found.matches += 2;
    if let Some(factor) = schema.multiple_of.map(limit) {
        if factor <= 0.0 {
            let why = format!(
                "factor MultipleOf declared for {} must be positive: {}",
                place.text(),
                api_core::go::double(factor)
            );
            found.push(ErrorKind::Invalid, place, Some(BadValue(api_core::go::double(factor))), why);
        } else {
            let quotient = if factor < 1.0 { 1.0 / factor * n } else { n / factor };
            if (quotient - quotient.round()).abs() > 1e-9 {
                found.invalid(
                    place,
                    shown(value),
                    &format!("should be a multiple of {}", api_core::go::double(factor)),
                );
            }
        }
    }
    if let Some((min, exclusive)) = schema.minimum.map(|(min, exclusive)| (limit(min), exclusive))
        && (n < min || exclusive && n <= min)
    {
        let or_equal = if exclusive { "" } else { " or equal to" };
        found.invalid(place, shown(value), &format!("should be greater than{or_equal} {}", api_core::go::double(min)));
    }
    if let Some((max, exclusive)) = schema.maximum.map(|(max, exclusive)| (limit(max), exclusive))
        && (n > max || exclusive && n >= max)
    {
        let or_equal = if exclusive { "" } else { " or equal to" };
        found.invalid(place, shown(value), &format!("should be less than{or_equal} {}", api_core::go::double(max)));
    }
}

fn array(schema: &Structural, list: &[Value], old: Option<&Value>, place: Place<'_>, found: &mut Found) {
    if let Some(items) = &schema.items {
        for (i, item) in list.iter().enumerate() {
            let below = Place { path: place.path.index(i), root: false, ..place };
            found.merge(check(items, item, counterpart(schema, item, old), below));
        }
    }
    if let Some(min) = schema.item_count.0.filter(|min| list.len() < *min) {
        found.invalid(place, BadValue(list.len().to_string()), &format!("should have at least {min} items"));
    }
    if let Some(max) = schema.item_count.1.filter(|max| list.len() > *max) {
        too_many(list.len(), max, place, found);
    }
    if schema.unique && list.iter().enumerate().any(|(i, item)| list[..i].contains(item)) {
        found.invalid(place, BadValue::from(""), "shouldn't contain duplicates");
    }
    found.matches += 2;
}

/// The item of the old list that has the same keys.
fn counterpart<'v>(schema: &Structural, item: &Value, old: Option<&'v Value>) -> Option<&'v Value> {
    if schema.list_type != "map" {
        return None;
    }
    let default = |key: &str| schema.items.as_ref()?.properties.get(key)?.default.as_ref();
    let key_of = |v: &Value, key: &str| v.get(key).or(default(key)).cloned();
    old?.as_array()?.iter().find(|o| schema.list_keys.iter().all(|key| key_of(o, key) == key_of(item, key)))
}

fn too_many(actual: usize, max: usize, place: Place<'_>, found: &mut Found) {
    let detail = format!("must have at most {max} items");
    found.push(ErrorKind::TooMany, place, Some(BadValue(actual.to_string())), detail);
}

fn object(schema: &Structural, map: &Map<String, Value>, old: Option<&Value>, place: Place<'_>, found: &mut Found) {
    if let Some(min) = schema.property_count.0.filter(|min| map.len() < *min) {
        found.invalid(place, BadValue(map.len().to_string()), &format!("should have at least {min} properties"));
    }
    if let Some(max) = schema.property_count.1.filter(|max| map.len() > *max) {
        too_many(map.len(), max, place, found);
    }
    let old_field = |name: &str| old.and_then(|o| o.get(name));
    for (name, value) in map {
        let path = place.path.child(name);
        let below = Place { path, root: false, dotted: place.dotted };
        match (schema.properties.get(name), &schema.additional) {
            (Some(property), _) => found.merge(check(property, value, old_field(name), below)),
            (None, Some(Additional::Schema(schema))) => {
                let below = Place { dotted: place.dotted || place.root, ..below };
                found.merge(check(schema, value, old_field(name), below));
            }
            (None, Some(Additional::Forbidden)) => {
                let at = place.text();
                let detail = format!("{at}.{name} in body is a forbidden property");
                found.push(ErrorKind::Invalid, place, Some(name.into()), detail);
            }
            (None, _) => {}
        }
    }
    for name in schema.required.iter().filter(|name| !map.contains_key(*name)) {
        let below = Place { path: place.path.child(name), root: false, dotted: place.dotted };
        found.push(ErrorKind::Required, below, None, String::new());
    }
    found.matches += 1;
}

fn junctors(schema: &Structural, value: &Value, old: Option<&Value>, place: Place<'_>, found: &mut Found) {
    let all = |schemas: &[Structural]| schemas.iter().map(|s| check(s, value, old, place)).collect::<Vec<_>>();
    if !schema.any_of.is_empty() {
        let results = all(&schema.any_of);
        match results.iter().position(Found::fits) {
            Some(first) => found.matches += results[first].matches,
            None => {
                found.whole(place, "must validate at least one schema (anyOf)");
                found.merge(closest(results));
            }
        }
    }
    if !schema.one_of.is_empty() {
        let results = all(&schema.one_of);
        match results.iter().filter(|r| r.fits()).count() {
            1 => found.matches += results.iter().filter(|r| r.fits()).map(|r| r.matches).sum::<usize>(),
            0 => {
                found.whole(place, "must validate one and only one schema (oneOf). Found none valid");
                found.merge(closest(results));
            }
            n => {
                let why = format!("must validate one and only one schema (oneOf). Found {n} valid alternatives");
                found.whole(place, &why);
            }
        }
    }
    if !schema.all_of.is_empty() {
        let results = all(&schema.all_of);
        let fitting = results.iter().filter(|r| r.fits()).count();
        let count = results.len();
        results.into_iter().for_each(|r| found.merge(r));
        if fitting != count {
            let none = if fitting == 0 { ". None validated" } else { "" };
            found.whole(place, &format!("must validate all the schemas (allOf){none}"));
        }
    }
    if schema.not.as_ref().is_some_and(|not| check(not, value, old, place).fits()) {
        found.whole(place, "must not validate the schema (not)");
    }
    found.matches += 1;
}

/// The first of the alternatives that fit best.
fn closest(results: Vec<Found>) -> Found {
    let most = results.iter().map(|r| r.matches).max().unwrap_or(0);
    results.into_iter().find(|r| r.matches == most).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wrong_update(schema: Value, value: Value, old: Option<&Value>) -> Vec<String> {
        let schema = Structural::read(&schema).expect("schema");
        let mut errors = Errors::new();
        validate(&schema, &value, old, None, &mut errors);
        errors.0.iter().map(ToString::to_string).collect()
    }

    fn wrong(schema: Value, value: Value) -> Vec<String> {
        wrong_update(schema, value, None)
    }

    #[test]
    fn findings_are_worded_as_upstream_words_them() {
        let item =
            json!({"type": "object", "required": ["k"], "properties": {"k": {"type": "string", "enum": ["a", "b"]}}});
        let schema = json!({"type": "object", "properties": {"spec": {
            "type": "object", "required": ["n"], "maxProperties": 5,
            "properties": {
                "n": {"type": "integer", "minimum": 1, "maximum": 10, "exclusiveMaximum": true, "multipleOf": 2},
                "s": {"type": "string", "maxLength": 3, "minLength": 1, "pattern": "^[a-z]+$", "nullable": true},
                "l": {"type": "array", "maxItems": 3, "items": item},
                "ios": {"x-kubernetes-int-or-string": true},
                "m": {"type": "object", "additionalProperties": {"type": "boolean"}},
                "one": {"oneOf": [{"required": ["a"]}, {"required": ["b"]}], "type": "object"},
            },
        }}});
        let good = json!({"spec": {"n": 4, "s": null, "l": [{"k": "a"}, {"k": "b"}], "ios": "50%", "m": {"x": true}}});
        assert_eq!(wrong(schema.clone(), good), [""; 0]);
        let bad = json!({"spec": {"n": 11, "s": "A", "l": [{}, {"k": "c"}], "ios": 1.5, "m": {"x": 1}, "one": {}}});
        assert_eq!(
            wrong(schema, bad),
            [
                "spec: Too many: 6: must have at most 5 items",
                "spec.ios: Invalid value: \"number\": spec.ios in body must be of type integer,string: \"number\"",
                "spec.l[0].k: Required value",
                "spec.l[1].k: Unsupported value: \"c\": supported values: \"a\", \"b\"",
                "spec.m.x: Invalid value: \"integer\": spec.m.x in body must be of type boolean: \"integer\"",
                "spec.n: Invalid value: 11: spec.n in body should be a multiple of 2",
                "spec.n: Invalid value: 11: spec.n in body should be less than 10",
                "<nil>: Invalid value: \"\": \"spec.one\" must validate one and only one schema (oneOf). Found none valid",
                "spec.one.a: Required value",
                "spec.s: Invalid value: \"A\": spec.s in body should match '^[a-z]+$'",
            ]
        );
    }

    #[test]
    fn single_findings() {
        for (schema, value, expected) in [
            (
                json!({"type": "integer"}),
                json!("x"),
                "<nil>: Invalid value: \"string\":  in body must be of type integer: \"string\"",
            ),
            (
                json!({"type": "string", "format": "date"}),
                json!(5),
                "<nil>: Invalid value: \"int64\":  in body must be of type date: \"int64\"",
            ),
            (
                json!({"type": "string", "format": "ipv4"}),
                json!("x"),
                "<nil>: Invalid value: \"x\":  in body must be of type ipv4: \"x\"",
            ),
            (
                json!({"type": "string", "nullable": false}),
                json!(null),
                "<nil>: Invalid value: \"null\":  in body must be of type string: \"null\"",
            ),
            (
                json!({"type": "array", "minItems": 1}),
                json!([]),
                "<nil>: Invalid value: 0:  in body should have at least 1 items",
            ),
            (
                json!({"type": "object", "additionalProperties": {"type": "string"}}),
                json!({"a": 1}),
                "a: Invalid value: \"integer\": .a in body must be of type string: \"integer\"",
            ),
            (
                json!({"type": "object", "not": {"required": ["a"]}}),
                json!({"a": 1}),
                "<nil>: Invalid value: \"\": \"\" must not validate the schema (not)",
            ),
            (
                json!({"type": "number", "maximum": 1.5}),
                json!(1.75),
                "<nil>: Invalid value: 1.75:  in body should be less than or equal to 1.5",
            ),
        ] {
            assert_eq!(wrong(schema, value), [expected]);
        }
        assert_eq!(wrong(json!({"type": "integer"}), json!(2.0)), [""; 0]);
        assert_eq!(wrong(json!({"type": "string", "format": "other"}), json!("x")), [""; 0]);
    }

    #[test]
    fn what_has_not_changed_is_not_held_against_an_update() {
        let schema = json!({"type": "object", "properties": {
            "a": {"type": "string", "maxLength": 1}, "b": {"type": "string", "maxLength": 1},
            "l": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items":
                {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "string", "maxLength": 1}}}}}});
        let old = json!({"a": "long", "b": "x", "l": [{"k": "1", "v": "long"}, {"k": "2", "v": "y"}]});
        let new = json!({"a": "long", "b": "long", "l": [{"k": "2", "v": "long"}, {"k": "1", "v": "long", "w": 1}]});
        assert_eq!(
            wrong_update(schema, new, Some(&old)),
            ["b: Too long: may not be longer than 1", "l[0].v: Too long: may not be longer than 1"]
        );
    }
}
