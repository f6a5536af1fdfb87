//! Rules of the schemas in a definition that hold before they are seen as structural.

use super::rules;
use crate::hooks::check::Node;
use api_core::field::Errors;
use serde_json::Value;
use std::collections::BTreeSet;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// What may stand at the root if `status` is a subresource.
const AT_ROOT: [&str; 24] = [
    "description",
    "type",
    "format",
    "title",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "multipleOf",
    "required",
    "items",
    "properties",
    "externalDocs",
    "example",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
    "nullable",
    "default",
];

/// Checks what a version's schema says at its root.
pub(super) fn validate_root(schema: &Node<'_, '_>, status_subresource: bool, e: &mut Errors) {
    if status_subresource {
        let kind = schema.at("type");
        if !kind.is_empty() && kind.str() != "object" {
            let why =
                "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
            kind.invalid(why, e);
        }
        let fields = schema.value.as_object().into_iter().flatten();
        if fields.into_iter().any(|(name, _)| !AT_ROOT.contains(&name.as_str())) {
            let why = format!(
                "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
                AT_ROOT[..22].join(" ")
            );
            schema.invalid(&why, e);
        }
    }
    if schema.at("nullable").is_true() {
        schema.at("nullable").forbidden("nullable cannot be true at the root", e);
    }
}

/// Checks the schema of a version.
pub(super) fn validate(schema: &Node<'_, '_>, e: &mut Errors) {
    let mut walk = Walk { e: Errors::new() };
    walk.schema(schema, Place { root: true, in_meta: false, no_defaults: "" });
    e.extend(walk.e);
}

/// Where a schema stands.
#[derive(Clone, Copy)]
struct Place {
    root: bool,
    /// In the metadata, kind or version of a resource.
    in_meta: bool,
    /// Why defaults are not allowed here; empty if they are.
    no_defaults: &'static str,
}

/// A field anywhere in a schema that structural schemas have no place for, as upstream names it.
pub(super) fn unstructured(schema: &Value) -> Option<&'static str> {
    const FIELDS: [(&str, &str); 7] = [
        ("id", "id"),
        ("$schema", "schema"),
        ("$ref", "$ref"),
        ("patternProperties", "patternProperties"),
        ("dependencies", "dependencies"),
        ("additionalItems", "additionalItems"),
        ("definitions", "definitions"),
    ];
    let is_set = |field: &str| match schema.get(field) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Object(fields)) => !fields.is_empty(),
        Some(_) => true,
    };
    let own = FIELDS.iter().find(|(field, _)| is_set(field)).map(|(_, name)| *name);
    let all = |field: &str| schema.get(field).and_then(Value::as_object).into_iter().flat_map(|m| m.values());
    let one = ["items", "additionalProperties", "not"].into_iter().filter_map(|field| schema.get(field));
    let many = ["allOf", "oneOf", "anyOf"].into_iter().filter_map(|field| schema.get(field)?.as_array()).flatten();
    own.or_else(|| all("properties").chain(one).chain(many).filter(|s| s.is_object()).find_map(unstructured))
}

struct Walk {
    e: Errors,
}

impl Walk {
    fn schema(&mut self, schema: &Node<'_, '_>, place: Place) {
        self.standard(schema, place);
        if schema.at("uniqueItems").is_true() {
            let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            schema.at("uniqueItems").forbidden(why, &mut self.e);
        }
        self.children(schema, place);
        self.extensions(schema);
        self.map_keys(schema);
        let validations = schema.at("x-kubernetes-validations");
        for rule in validations.items() {
            rules::validate(&rule, schema, &mut self.e);
        }
    }

    fn standard(&mut self, schema: &Node<'_, '_>, place: Place) {
        let e = &mut self.e;
        let kind = schema.at("type");
        if !kind.is_empty() {
            kind.one_of(&TYPES, e);
        }
        if schema.has("default") && !place.no_defaults.is_empty() {
            schema.at("default").forbidden(&format!("must not be set {}", place.no_defaults), e);
        }
        for field in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
            if !schema.at(field).is_empty() {
                schema.at(field).forbidden(&format!("{field} is not supported"), e);
            }
        }
        if kind.str() == "null" {
            kind.forbidden("type cannot be set to null, use nullable as an alternative", e);
        }
        if schema.get("items").is_array() {
            schema.at("items").forbidden("items must be a schema object and not an array", e);
        }
        let embedded = schema.at("x-kubernetes-embedded-resource");
        if place.in_meta && embedded.is_true() {
            embedded.forbidden("must not be used inside of resource meta", e);
        }
    }

    fn children(&mut self, schema: &Node<'_, '_>, place: Place) {
        let below = Place { root: false, ..place };
        let additional = schema.at("additionalProperties");
        let properties = schema.at("properties");
        if additional.present() && !properties.is_empty() && !additional.is_true() {
            additional.forbidden("additionalProperties and properties are mutual exclusive", &mut self.e);
        }
        if additional.value.is_object() {
            let inside = "inside additionalProperties applying to object metadata";
            let no_defaults = if place.in_meta { inside } else { place.no_defaults };
            self.schema(&additional, Place { no_defaults, ..below });
        }
        let is_resource = place.root || schema.at("x-kubernetes-embedded-resource").is_true();
        for (name, property) in properties.entries() {
            let no_defaults = match name {
                "metadata" if place.root => "in top-level metadata",
                "apiVersion" if place.root => "in top-level apiVersion",
                "kind" if place.root => "in top-level kind",
                _ => place.no_defaults,
            };
            let in_meta = place.in_meta || is_resource && ["metadata", "apiVersion", "kind"].contains(&name);
            self.schema(&property, Place { no_defaults, in_meta, ..below });
        }
        if schema.get("not").is_object() {
            self.schema(&schema.at("not"), below);
        }
        for field in ["allOf", "oneOf", "anyOf"] {
            for item in schema.at(field).items() {
                self.schema(&item, below);
            }
        }
        if schema.get("items").is_object() {
            self.schema(&schema.at("items"), below);
        }
    }

    fn extensions(&mut self, schema: &Node<'_, '_>) {
        let e = &mut self.e;
        let preserve = schema.at("x-kubernetes-preserve-unknown-fields");
        if preserve.present() && !preserve.is_true() {
            preserve.invalid("must be true or undefined", e);
        }
        let kind = schema.at("type");
        let typed = |field: &str, wanted: &str, e: &mut Errors| {
            let why = format!("must be {wanted} if {field} is specified");
            match kind.str() {
                "" => kind.path_required(&why, e),
                other if other != wanted => kind.invalid(&why, e),
                _ => {}
            }
        };
        let map_type = schema.at("x-kubernetes-map-type");
        if map_type.present() {
            typed("x-kubernetes-map-type", "object", e);
            map_type.one_of(&["atomic", "granular"], e);
        }
        let list_type = schema.at("x-kubernetes-list-type");
        if list_type.present() {
            typed("x-kubernetes-list-type", "array", e);
            let items = schema.at("items");
            if kind.str() == "array" && list_type.str() == "set" && items.value.is_object() {
                items_of_set(&items, e);
            }
            list_type.one_of(&["atomic", "set", "map"], e);
        }
    }

    fn map_keys(&mut self, schema: &Node<'_, '_>) {
        let e = &mut self.e;
        let (list_type, keys) = (schema.at("x-kubernetes-list-type"), schema.at("x-kubernetes-list-map-keys"));
        let items = schema.at("items");
        if !keys.is_empty() {
            let why = "must be map if x-kubernetes-list-map-keys is non-empty";
            if !list_type.present() {
                list_type.path_required(why, e);
            } else if list_type.str() != "map" {
                list_type.invalid(why, e);
            }
        }
        if list_type.str() == "map" {
            if keys.is_empty() {
                keys.path_required("must not be empty if x-kubernetes-list-type is map", e);
            }
            item_keys(&keys, &items, e);
        }
        if ["set", "map"].contains(&list_type.str()) && items.value.is_object() {
            required_keys(list_type.str(), &keys, &items, e);
        }
    }
}

/// Keys must be scalar properties of the items, each named once.
fn item_keys(keys: &Node<'_, '_>, items: &Node<'_, '_>, e: &mut Errors) {
    if !items.present() {
        return items.path_required("must have a schema if x-kubernetes-list-type is map", e);
    }
    if !items.value.is_object() {
        return items.invalid("must only have a single schema if x-kubernetes-list-type is map", e);
    }
    let kind = items.at("type");
    if kind.str() != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        return e.invalid(&kind.path, kind.str(), why);
    }
    let properties = items.at("properties");
    let mut seen = BTreeSet::new();
    for key in keys.items() {
        let property = properties.key(key.str());
        if !property.present() {
            keys.invalid("entries must all be names of item properties", e);
        } else if ["array", "object"].contains(&property.text("type")) {
            let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            // Upstream shows the type of the item.
            e.invalid(&property.at("type").path, kind.str(), why);
        }
        if !seen.insert(key.str()) {
            keys.invalid("must not contain duplicate entries", e);
        }
    }
}

/// Items of a set are of one piece. Upstream shows their type of list, whatever they are.
fn items_of_set(items: &Node<'_, '_>, e: &mut Errors) {
    let of_lists = items.at("x-kubernetes-list-type");
    let path = match items.text("type") {
        "array" if of_lists.present() && of_lists.str() != "atomic" => of_lists.path,
        "object" if items.text("x-kubernetes-map-type") != "atomic" => items.path.child("x-kubernetes-map-type"),
        _ => return,
    };
    let shown = if of_lists.present() { of_lists.str() } else { "null" };
    e.invalid(&path, shown, "must be atomic as item of a list with x-kubernetes-list-type=set");
}

/// Items and keys may not be null, and keys may not be absent.
fn required_keys(list_type: &str, keys: &Node<'_, '_>, items: &Node<'_, '_>, e: &mut Errors) {
    let nullable = items.at("nullable");
    if nullable.is_true() {
        nullable.forbidden(&format!("cannot be nullable when x-kubernetes-list-type is {list_type}"), e);
    }
    if list_type != "map" {
        return;
    }
    let properties = items.at("properties");
    for key in keys.items() {
        let property = properties.key(key.str());
        if !property.present() {
            continue;
        }
        let required = items.at("required").items().any(|r| r.str() == key.str());
        let because = "this property is in x-kubernetes-list-map-keys, so it";
        if !required && !property.has("default") {
            let default = property.at("default");
            default.path_required(&format!("{because} must have a default or be a required property"), e);
        }
        if property.at("nullable").is_true() {
            property.at("nullable").forbidden(&format!("{because} cannot be nullable"), e);
        }
    }
}
