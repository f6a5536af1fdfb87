//! Whether a schema is structural: every field has one type, and what junctors speak of is specified outside of them.

use crate::hooks::check::Node;
use api_cel::validations::{Budget, Rules};
use api_core::field::Errors;
use serde_json::Value;

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Field,
    Item,
}

const JUNCTORS: [&str; 3] = ["anyOf", "allOf", "oneOf"];

/// What is not structural in the definition's schemas, in one line; `None` if nothing is.
pub(crate) fn errors_of(definition: &Value) -> Option<String> {
    let mut e = Errors::new();
    let root = Node::root(definition);
    let (spec, versions);
    spec = root.at("spec");
    versions = spec.at("versions");
    for version in versions.items() {
        let schema = version.at("schema");
        let schema = schema.at("openAPIV3Schema");
        if schema.value.is_object() {
            e.extend(validate(&schema));
        }
    }
    let texts: Vec<String> = e.0.iter().map(ToString::to_string).collect();
    match texts.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(format!("[{}]", many.join(", "))),
    }
}

/// Checks the schema of a version. One that cannot be seen as structural at all is reported elsewhere. Upstream sorts what it finds
/// by the text.
pub(super) fn validate(schema: &Node<'_, '_>) -> Errors {
    let mut e = Errors::new();
    if is_convertible(schema.value) {
        invariants(schema, Level::Root, &mut e);
        complete(schema, &mut e);
        e.0.sort_by_cached_key(ToString::to_string);
    }
    e
}

fn is_convertible(schema: &Value) -> bool {
    let here = schema["x-kubernetes-preserve-unknown-fields"] != false && !schema["items"].is_array();
    let properties = schema["properties"].as_object().into_iter().flatten().map(|(_, property)| property);
    let mut children = ["items", "additionalProperties"].into_iter().map(|f| &schema[f]).chain(properties);
    here && children.all(|child| !child.is_object() || is_convertible(child))
}

fn invariants(schema: &Node<'_, '_>, level: Level, e: &mut Errors) {
    let (kind, items) = (schema.at("type"), schema.at("items"));
    if kind.str() == "array" && !items.value.is_object() {
        items.path_required("must be specified", e);
    }
    if items.value.is_object() {
        invariants(&items, Level::Item, e);
    }
    let properties = schema.at("properties");
    for (_, property) in properties.entries() {
        invariants(&property, Level::Field, e);
    }
    let additional = schema.at("additionalProperties");
    if additional.present() {
        if level == Level::Root {
            additional.forbidden("must not be used at the root", e);
        }
        if additional.value.is_object() {
            invariants(&additional, Level::Field, e);
        }
    }
    let (any_kind, preserve) = (flag(schema, "int-or-string"), flag(schema, "preserve-unknown-fields"));
    let embedded = flag(schema, "embedded-resource");
    for (set, field) in [(preserve, "preserve-unknown-fields"), (embedded, "embedded-resource")] {
        if any_kind && set {
            let name = format!("x-kubernetes-{field}");
            schema.at(&name).invalid("must be false if x-kubernetes-int-or-string is true", e);
        }
    }
    let skip_any = is_int_or_string(schema.get("anyOf"));
    let skip_first = schema.get("allOf").get(0).is_some_and(|first| is_int_or_string(&first["anyOf"]));
    junctors(schema, skip_any, skip_first, e);
    types(schema, level, any_kind || preserve, embedded, e);
    resource(schema, level, embedded, e);
}

fn flag(schema: &Node<'_, '_>, name: &str) -> bool {
    schema.get(&format!("x-kubernetes-{name}")) == &Value::Bool(true)
}

fn types(schema: &Node<'_, '_>, level: Level, open: bool, embedded: bool, e: &mut Errors) {
    let kind = schema.at("type");
    let why = "must be object if x-kubernetes-embedded-resource is true";
    match (embedded, kind.str()) {
        (true, "") => kind.path_required(why, e),
        (true, text) if text != "object" => kind.invalid(why, e),
        (false, "") if !open => {
            let what = match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            };
            kind.path_required(what, e);
        }
        _ => {}
    }
    if level == Level::Root && !kind.is_empty() && kind.str() != "object" {
        kind.invalid("must be object at the root", e);
    }
}

/// What stands at the root, and what is embedded, is an object of the API.
fn resource(schema: &Node<'_, '_>, level: Level, embedded: bool, e: &mut Errors) {
    if embedded && schema.has("additionalProperties") {
        let why = "must not be used if x-kubernetes-embedded-resource is set";
        schema.at("additionalProperties").forbidden(why, e);
    }
    let properties = schema.at("properties");
    if embedded && !flag(schema, "preserve-unknown-fields") && properties.is_empty() {
        let why = "must not be empty if x-kubernetes-embedded-resource is true without \
                   x-kubernetes-preserve-unknown-fields";
        properties.path_required(why, e);
    }
    if level != Level::Root && !embedded {
        return;
    }
    for (name, wanted) in [("kind", "string"), ("apiVersion", "string"), ("metadata", "object")] {
        let property = properties.key(name);
        if property.present() && property.text("type") != wanted {
            property.at("type").invalid(&format!("must be {wanted}"), e);
        }
    }
    let metadata = properties.key("metadata");
    if level == Level::Root && says_more_than_names(metadata.value) {
        let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        metadata.forbidden(why, e);
    }
}

/// Whether a schema of metadata speaks of anything but names. Defaults are looked at elsewhere.
fn says_more_than_names(metadata: &Value) -> bool {
    let says = |(key, value): (&String, &Value)| match (key.as_str(), value) {
        ("type" | "default", _) | (_, Value::Null | Value::Bool(false)) => false,
        ("properties", Value::Object(known)) => {
            known.keys().any(|name| !["name", "generateName"].contains(&name.as_str()))
        }
        (_, Value::String(text)) => !text.is_empty(),
        (_, Value::Array(list)) => !list.is_empty(),
        // What a structural schema has no place for.
        ("externalDocs" | "example", _) => false,
        _ => true,
    };
    metadata.as_object().is_some_and(|fields| fields.iter().any(says))
}

/// `[{type: integer}, {type: string}]`.
fn is_int_or_string(any_of: &Value) -> bool {
    let only =
        |v: &Value, kind: &str| v.as_object().is_some_and(|m| m.len() == 1 && m.get("type") == Some(&kind.into()));
    matches!(any_of.as_array().map(Vec::as_slice), Some([a, b]) if only(a, "integer") && only(b, "string"))
}

fn junctors(schema: &Node<'_, '_>, skip_any: bool, skip_first: bool, e: &mut Errors) {
    for field in JUNCTORS {
        if field == "anyOf" && skip_any {
            continue;
        }
        for (i, item) in schema.at(field).items().enumerate() {
            nested(&item, field == "allOf" && skip_first && i == 0, e);
        }
    }
    if schema.get("not").is_object() {
        nested(&schema.at("not"), false, e);
    }
    let pattern = schema.at("pattern");
    if let Err(why) = api_schema::custom::compile_pattern(pattern.str()) {
        pattern.invalid(&format!("must be a valid regular expression, but isn't: {why}"), e);
    }
}

/// A schema inside of a junctor says nothing about types.
fn nested(schema: &Node<'_, '_>, skip_any: bool, e: &mut Errors) {
    junctors(schema, skip_any, false, e);
    if schema.get("items").is_object() {
        nested(&schema.at("items"), false, e);
    }
    let properties = schema.at("properties");
    for (_, property) in properties.entries() {
        nested(&property, false, e);
    }
    for (field, wanted) in [
        ("type", "empty"),
        ("additionalProperties", "undefined"),
        ("default", "undefined"),
        ("title", "empty"),
        ("description", "empty"),
        ("nullable", "false"),
        ("x-kubernetes-preserve-unknown-fields", "false"),
        ("x-kubernetes-embedded-resource", "false"),
        ("x-kubernetes-int-or-string", "false"),
        ("x-kubernetes-list-map-keys", "empty"),
        ("x-kubernetes-list-type", "undefined"),
        ("x-kubernetes-map-type", "undefined"),
        ("x-kubernetes-validations", "empty"),
    ] {
        let at = schema.at(field);
        if at.present() && *at.value != Value::Bool(false) && !(wanted == "empty" && at.is_empty()) {
            at.forbidden(&format!("must be {wanted} to be structural"), e);
        }
    }
    if properties.has("metadata") {
        properties.key("metadata").forbidden("must not be specified in a nested context", e);
    }
}

/// What junctors speak of must be specified outside of them.
fn complete(schema: &Node<'_, '_>, e: &mut Errors) {
    for field in JUNCTORS {
        for item in schema.at(field).items() {
            covered(&item, schema, e);
        }
    }
    if schema.get("not").is_object() {
        covered(&schema.at("not"), schema, e);
    }
    if schema.get("items").is_object() {
        complete(&schema.at("items"), e);
    }
    let properties = schema.at("properties");
    for (_, property) in properties.entries() {
        complete(&property, e);
    }
    if schema.get("additionalProperties").is_object() {
        complete(&schema.at("additionalProperties"), e);
    }
}

fn covered(inside: &Node<'_, '_>, outside: &Node<'_, '_>, e: &mut Errors) {
    for field in JUNCTORS {
        for item in inside.at(field).items() {
            covered(&item, outside, e);
        }
    }
    if inside.get("not").is_object() {
        covered(&inside.at("not"), outside, e);
    }
    let mut pair = |inside: &Node<'_, '_>, outside: &Node<'_, '_>| {
        if outside.value.is_object() {
            covered(inside, outside, e);
        } else {
            outside.path_required(&format!("because it is defined in {}", inside.path), e);
        }
    };
    if inside.get("items").is_object() {
        pair(&inside.at("items"), &outside.at("items"));
    }
    let (properties, known) = (inside.at("properties"), outside.at("properties"));
    for (name, property) in properties.entries() {
        let additional = outside.at("additionalProperties");
        match known.has(name) || !additional.value.is_object() {
            true => pair(&property, &known.key(name)),
            false => pair(&property, &additional),
        }
    }
}

/// What rules say of a default. A rule about a change has nothing to say.
fn default_rules(schema: &Node<'_, '_>, default: &Node<'_, '_>, root: bool, e: &mut Errors) {
    let root = root || schema.at("x-kubernetes-embedded-resource").is_true();
    if let Some(rules) = Rules::compile(schema.value, root) {
        rules.validate(&default.path, default.value, None, &mut Budget::request(), e, &mut Vec::new());
    }
}

/// Defaults must fit what they are defaults of.
pub(super) fn validate_defaults(schema: &Node<'_, '_>, root: bool, e: &mut Errors) {
    let default = schema.at("default");
    if default.present() {
        if api_schema::custom::has_unknown(schema.value, default.value) {
            default.invalid("must not have unknown fields", e);
        }
        let before = e.len();
        api_schema::custom::validate_value(schema.value, default.value, &default.path, e);
        if e.len() == before {
            default_rules(schema, &default, root, e);
        }
    }
    if schema.get("items").is_object() {
        validate_defaults(&schema.at("items"), false, e);
    }
    let properties = schema.at("properties");
    for (name, property) in properties.entries() {
        if !(root && name == "metadata") {
            validate_defaults(&property, false, e);
        }
    }
    // Below additional properties no default is checked, as upstream has it.
}
