//! Custom resources: definitions, schemas, printer columns, patterns.

use crate::source::{Source, json, parts, texts};
use api_core::field::{Errors, Path};
use api_kinds::{custom, resource};
use api_schema::codec::{FieldValidation, Media, decode, decode_as, decode_value, encode};
use api_schema::custom::{JsonPath, Structural, compile_pattern, has_duplicates, has_unknown, validate_value};
use api_schema::row::Row;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Levels of schemas that are made up.
const DEPTH_MAX: usize = 6;

/// A schema on the first line, an object on the second, the one before it on the third: what was pruned and defaulted
/// stays so, and what fits fits itself.
pub fn custom_schema(data: &[u8]) {
    let [schema, object, old] = parts(data);
    let schema = serde_json::from_slice(schema).unwrap_or_else(|_| made_up(&mut Source::new(schema), DEPTH_MAX));
    let object = json(object);
    let path = Path::new("spec");
    let mut errors = Errors::new();
    validate_value(&schema, &object, &path, &mut errors);
    has_duplicates(&schema, &object, &path, &mut errors);
    has_unknown(&schema, &object);
    if Structural::read(&schema).is_err() {
        return;
    }
    let definition = definition(&schema);
    let is_accepted = accepts(&definition);
    let definition = stored(&definition).unwrap_or(definition);
    let rows = custom::rows_of(&definition, definition.to_string().into());
    let Some(row) = rows.first().filter(|_| are_usable(&rows)) else { return };
    let mut whole = json!({"kind": "A", "apiVersion": "example.com/v1", "metadata": {"name": "x"}});
    if let (Value::Object(whole), Value::Object(fields)) = (&mut whole, object) {
        whole.extend(
            fields.into_iter().filter(|(name, _)| !matches!(name.as_str(), "kind" | "apiVersion" | "metadata")),
        );
    }
    check_object(row, &whole, &json(old), is_accepted);
}

fn definition(schema: &Value) -> Value {
    json!({"kind": "CustomResourceDefinition", "apiVersion": "apiextensions.k8s.io/v1",
        "metadata": {"name": "as.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "as", "singular": "a", "kind": "A", "listKind": "AList"}, "versions": [{"name": "v1",
        "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}},
        "additionalPrinterColumns": [{"name": "B", "type": "string", "jsonPath": ".spec.a"}]}]}})
}

/// Whether the schemas of what is served can be used.
fn are_usable(rows: &[Arc<Row>]) -> bool {
    let mut customs = rows.iter().filter_map(|row| row.custom.as_ref());
    customs.all(|custom| custom.family.usable(&custom.version).is_ok())
}

/// A definition as it is read from the store; `None` if it cannot be stored.
fn stored(definition: &Value) -> Option<Value> {
    let row = resource(&custom::definitions())?;
    let decoded = decode_value(row, definition.clone(), FieldValidation::Ignore).ok()?;
    decode(row, &encode(&decoded.value), Media::Json, FieldValidation::Ignore).ok().map(|decoded| decoded.value)
}

/// Whether a definition would be stored; what is done with others must only not panic.
fn accepts(definition: &Value) -> bool {
    let Some(row) = resource(&custom::definitions()) else { return false };
    let Ok(decoded) = decode_value(row, definition.clone(), FieldValidation::Ignore) else { return false };
    let (mut value, mut errors) = (decoded.value, Errors::new());
    if let (Some(default), Some(validate)) = (row.hooks.default, row.hooks.validate) {
        default(&mut value);
        validate(&value, &mut errors);
    }
    errors.is_empty()
}

fn check_object(row: &Row, object: &Value, old: &Value, is_accepted: bool) {
    let Some(custom) = &row.custom else { return };
    // As bodies are read, and what is stored.
    let (schema, root) = custom.family.loose();
    let read = |bytes: &[u8]| decode_as(schema, *root, &row.kind, bytes, Media::Json, FieldValidation::Ignore);
    let nothing = json!({"kind": "A", "apiVersion": "example.com/v1", "metadata": {"name": "x"}});
    if let Ok(decoded) = read(nothing.to_string().as_bytes()) {
        let mut defaults = decoded.value;
        custom.default(&mut defaults);
        let again = read(&encode(&defaults)).map(|decoded| decoded.value);
        assert!(!is_accepted || again.as_ref().ok() == Some(&defaults), "{defaults} is decoded as {again:?}");
    }
    let Ok(decoded) = read(object.to_string().as_bytes()) else { return };
    let mut value = decoded.value;
    custom.prune(&mut value);
    custom.drop_nulls(&mut value);
    custom.default(&mut value);
    let mut again = value.clone();
    custom.default(&mut again);
    assert!(!is_accepted || again == value, "defaults of defaults are no others: {value} and {again}");
    let mut pruned = value.clone();
    custom.prune(&mut pruned);
    custom.drop_nulls(&mut pruned);
    custom.default(&mut pruned);
    assert!(!is_accepted || pruned == value, "what was pruned and defaulted stays so: {value} and {pruned}");
    for old in [None, Some(old)] {
        let mut errors = Errors::new();
        custom.validate(&value, old, &mut errors);
        custom.validate_lists(&value, &mut errors);
        if let Some(rules) = custom.rules() {
            rules.validate(&value, old, &mut errors, &mut Vec::new());
        }
    }
    let mut unchanged = Errors::new();
    custom.validate(&value, Some(&value), &mut unchanged);
    custom.validate_status(&value, Some(&value), &mut unchanged);
    drop(custom.cells(&value));
    custom.embedded(&value, &mut |path, _| drop(path.to_string()));
    // By what is written: 1.5e9 has no fraction there, and what has none is read as an integer.
    let written = encode(&value);
    let again = read(&written).map(|decoded| encode(&decoded.value));
    assert!(!is_accepted || again.as_ref().ok() == Some(&written), "{value} is decoded as {again:?}");
}

/// A schema with all keywords there are.
fn made_up(source: &mut Source<'_>, depth: usize) -> Value {
    let types = ["object", "array", "string", "integer", "number", "boolean", "x"];
    let mut schema = Map::new();
    let kind = types[source.below(types.len())];
    schema.insert("type".into(), kind.into());
    for _ in 0..source.below(6) {
        let (key, value) = keyword(source, depth);
        schema.insert(key.into(), value);
    }
    if depth > 0 && kind == "object" {
        let properties: Map<_, _> = (0..source.below(4)).map(|_| (source.text(), made_up(source, depth - 1))).collect();
        schema.insert("properties".into(), properties.into());
    }
    if depth > 0 && kind == "array" {
        schema.insert("items".into(), made_up(source, depth - 1));
    }
    Value::Object(schema)
}

fn keyword(source: &mut Source<'_>, depth: usize) -> (&'static str, Value) {
    let numbers =
        ["minimum", "maximum", "multipleOf", "minLength", "maxLength", "minItems", "maxItems", "maxProperties"];
    let flags = [
        "nullable",
        "uniqueItems",
        "exclusiveMinimum",
        "x-kubernetes-int-or-string",
        "exclusiveMaximum",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-embedded-resource",
    ];
    let formats =
        ["date", "date-time", "duration", "byte", "ipv4", "ipv6", "cidr", "uuid", "email", "uri", "int32", "hostname"];
    let inner = |source: &mut Source<'_>| if depth == 0 { json!({}) } else { made_up(source, depth - 1) };
    match source.below(16) {
        0..=2 => (numbers[source.below(numbers.len())], source.json()),
        3..=5 => (flags[source.below(flags.len())], true.into()),
        6 => ("format", formats[source.below(formats.len())].into()),
        7 => ("default", source.json()),
        8 => ("enum", (0..source.below(3)).map(|_| source.json()).collect()),
        9 => ("pattern", source.text().into()),
        10 => ("required", json!([source.text()])),
        11 => ("x-kubernetes-list-type", ["set", "map", "atomic", "x"][source.below(4)].into()),
        12 => ("x-kubernetes-list-map-keys", json!([source.text(), "name"])),
        13 => ("additionalProperties", inner(source)),
        14 => (["anyOf", "oneOf", "allOf"][source.below(3)], json!([inner(source), inner(source)])),
        _ => ("not", inner(source)),
    }
}

/// A definition as text, or one around a schema that is made up, and everything that is made of it.
pub fn custom_definition(data: &[u8]) {
    let gvr = custom::definitions();
    let Some(row) = resource(&gvr) else { return };
    let said = serde_json::from_slice::<Value>(data).ok().filter(|v| v["spec"].is_object());
    let object = said.unwrap_or_else(|| definition(&made_up(&mut Source::new(data), DEPTH_MAX)));
    let Ok(decoded) = decode_value(row, object, FieldValidation::Ignore) else { return };
    let mut value = decoded.value;
    if let Some(default) = row.hooks.default {
        default(&mut value);
    }
    let mut errors = Errors::new();
    if let Some(validate) = row.hooks.validate {
        validate(&value, &mut errors);
    }
    let now = "2027-01-01T00:00:00Z";
    let schemas = custom::Schemas::of(&value);
    if let Some(next) = custom::next(&value, &[], &schemas, now) {
        assert_eq!(custom::next(&next, &[], &schemas, now), None, "the status settles at once");
    }
    custom::finalizers_without_cleanup(&value);
    let rows = custom::rows_of(&value, value.to_string().into());
    if !are_usable(&rows) {
        assert!(!errors.is_empty(), "a definition that is accepted can be used: {value}");
        return;
    }
    for row in &rows {
        drop(api_kinds::openapi::custom::v2(row));
        drop(api_kinds::openapi::custom::v3(row));
    }
}

/// A path on the first line, a document on the second.
pub fn json_path(data: &[u8]) {
    let Some([path, doc]) = texts(data) else { return };
    let Some(read) = JsonPath::parse(path) else { return };
    let doc = json(doc.as_bytes());
    let found = read.find(&doc);
    assert!(found.len() <= 10_000, "{path:?} finds {}", found.len());
    if !path.contains(['{', '}']) {
        let braced = JsonPath::parse(&format!("{{{}}}", path.trim()));
        assert_eq!(braced.as_ref(), Some(&read), "{path:?} is the same in braces");
    }
}

/// A regular expression as schemas have them.
pub fn pattern(data: &[u8]) {
    let Some([pattern, text]) = texts(data) else { return };
    match compile_pattern(pattern) {
        Ok(regex) => drop(regex.is_match(text)),
        Err(why) => assert!(!why.is_empty()),
    }
}
