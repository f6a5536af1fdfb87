//! OpenAPI of custom resources: their schemas with what every object has, their lists, their paths.
//!
//! The v2 document says less than a schema does: clients that read it cannot do with alternatives, nor with fields beside
//! unknown ones. What is left out is what upstream leaves out.

use super::descriptions::Descriptions;
use super::{Definitions, api};
use api_schema::openapi::{Api, document_v2, frame_v3, paths, paths_v3, referred, types_of};
use api_schema::row::Row;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::sync::LazyLock;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
/// Keywords that are published.
const KEYWORDS: [&str; 34] = [
    "type",
    "nullable",
    "description",
    "title",
    "default",
    "items",
    "properties",
    "additionalProperties",
    "format",
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
    "enum",
    "maxProperties",
    "minProperties",
    "required",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
];
const RULES: &str = "x-kubernetes-validations";

/// A built-in kind, and one with the metadata of lists: what all kinds have is described as theirs.
const ANY: &str = "io.k8s.api.core.v1.ConfigMap";
const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";

/// Which document a schema is for.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    V2,
    V3,
}

/// What is said of the fields that all kinds have; kept, since it is little.
static COMMON: LazyLock<Common> = LazyLock::new(|| {
    let texts = Descriptions::load();
    let of = |name: &str, field: &str| texts.of(name, Some(field)).unwrap_or_default().to_owned();
    Common {
        api_version: of(ANY, "apiVersion"),
        kind: of(ANY, "kind"),
        metadata: of(ANY, "metadata"),
        list_metadata: of(STATUS, "metadata"),
    }
});

struct Common {
    api_version: String,
    kind: String,
    metadata: String,
    list_metadata: String,
}

impl Form {
    fn reference(self, name: &str) -> Value {
        match self {
            Self::V2 => json!({"$ref": format!("#/definitions/{name}")}),
            Self::V3 => json!({"allOf": [{"$ref": format!("#/components/schemas/{name}")}]}),
        }
    }

    fn described(self, name: &str, description: &str) -> Value {
        let mut out = self.reference(name);
        out["description"] = description.into();
        out
    }

    fn item(self, name: &str) -> Value {
        match self {
            Self::V2 => self.reference(name),
            Self::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
        }
    }
}

/// Paths and definitions of a row, as the v2 document has them.
pub fn v2(row: &Row) -> (Map<String, Value>, Map<String, Value>) {
    let definitions: Map<String, Value> = definitions(row, Form::V2).into_iter().collect();
    let mut document = document_v2("", &paths([row], &CUSTOM_API), Map::new(), definitions, &[]);
    let mut take = |field: &str| match document[field].take() {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    (take("paths"), take("definitions"))
}

/// What a v3 document has of a row.
#[derive(Debug)]
pub struct V3 {
    /// Its paths.
    pub paths: Map<String, Value>,
    /// Its types.
    pub schemas: Map<String, Value>,
    /// Names of the built-in types that these refer to.
    pub shared: BTreeSet<String>,
}

/// What the v3 document of a group version has of a row.
pub fn v3(row: &Row) -> V3 {
    let schemas: Map<String, Value> = definitions(row, Form::V3).into_iter().collect();
    let paths = paths_v3(paths([row], &CUSTOM_API));
    let mut shared = referred(paths.values().chain(schemas.values()));
    shared.retain(|name| !schemas.contains_key(name));
    V3 { paths, schemas, shared }
}

/// Built-in types of these names for a v3 document, with all that they refer to.
pub fn shared_v3(names: &BTreeSet<String>) -> Map<String, Value> {
    let builtin = Definitions::load();
    types_of(names, &|name| builtin.of(name))
}

/// What stands around the paths and types of a v3 document.
pub fn frame() -> [String; 3] {
    frame_v3("Kubernetes CRD Swagger", "v0.1.0")
}

/// Names of the types of a row.
pub fn names(row: &Row) -> [String; 2] {
    [name_of(row, &row.kind.kind), name_of(row, &row.list_kind)]
}

/// All that the documents say of a row follows from this, as long as the program is the same.
pub fn origin(row: &Row, feed: &mut dyn FnMut(&[u8])) {
    let Row { gvr, kind, list_kind, namespaced, verbs, subresources, .. } = row;
    feed(format!("{:?}", (gvr, kind, list_kind, namespaced, verbs, subresources)).as_bytes());
    if let Some(custom) = &row.custom {
        custom.family.schemas.with_text(&custom.version, |text| feed(text.as_bytes()));
    }
}

static CUSTOM_API: LazyLock<Api> = LazyLock::new(|| {
    let all = api();
    let (parameters, field_manager) = (all.parameters.clone(), all.field_manager.clone());
    Api { parameters, field_manager, options: Vec::new(), built_in: false }
});

/// `com.example.v1.Widget`.
fn name_of(row: &Row, kind: &str) -> String {
    let mut parts: Vec<&str> = row.gvr.group.split('.').rev().collect();
    parts.extend([row.gvr.version.as_str(), kind]);
    parts.join(".")
}

fn definitions(row: &Row, form: Form) -> Vec<(String, Value)> {
    let Some(custom) = &row.custom else { return Vec::new() };
    let name = name_of(row, &row.kind.kind);
    let schema = custom.family.schemas.schema(&custom.version);
    let mut object = object(&schema, form);
    object["x-kubernetes-group-version-kind"] = kinds(row, &row.kind.kind);
    vec![(name.clone(), object), (name_of(row, &row.list_kind), list(row, &name, form))]
}

fn kinds(row: &Row, kind: &str) -> Value {
    json!([{"group": row.gvr.group, "kind": kind, "version": row.gvr.version}])
}

fn object(schema: &Value, form: Form) -> Value {
    let open = schema["x-kubernetes-preserve-unknown-fields"] == true;
    if !schema.is_object() || form == Form::V2 && open {
        // With any property here, kubectl would refuse all others.
        return json!({"type": "object"});
    }
    let mut out = convert(schema, form);
    let properties = &mut out["properties"];
    properties["apiVersion"] = json!({"type": "string", "description": COMMON.api_version});
    properties["kind"] = json!({"type": "string", "description": COMMON.kind});
    properties["metadata"] = form.described(&format!("{META}ObjectMeta"), &COMMON.metadata);
    out
}

fn list(row: &Row, name: &str, form: Form) -> Value {
    let (kind, plural) = (&row.kind.kind, &row.gvr.resource);
    // The page that tells of the metadata of lists tells of lists.
    let more = COMMON
        .list_metadata
        .split_once(". ")
        .map_or("", |(_, more)| more.split_once('#').map_or(more, |(page, _)| page));
    let of_list = format!("List of {plural}. {more}");
    json!({
        "description": format!("{} is a list of {kind}", row.list_kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": json!({"type": "string", "description": COMMON.api_version}),
            "kind": json!({"type": "string", "description": COMMON.kind}),
            "metadata": form.described(&format!("{META}ListMeta"), &COMMON.list_metadata),
            "items": {"type": "array", "description": of_list, "items": form.item(name)},
        },
        "x-kubernetes-group-version-kind": kinds(row, &row.list_kind),
    })
}

/// A schema as a document has it.
fn convert(schema: &Value, form: Form) -> Value {
    let Value::Object(given) = schema else { return schema.clone() };
    let mut out: Map<String, Value> = given
        .iter()
        .filter(|(k, _)| KEYWORDS.contains(&k.as_str()) || *k == RULES)
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    for flag in ["nullable", "uniqueItems", "exclusiveMaximum", "exclusiveMinimum"] {
        if out.get(flag) == Some(&Value::Bool(false)) {
            out.remove(flag);
        }
    }
    if form == Form::V2 {
        simplify(&mut out);
    } else if out.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) && !out.contains_key("anyOf") {
        let both = json!([{"type": "integer"}, {"type": "string"}]);
        let stated = out.get("allOf").and_then(|all| all.get(0)).is_some_and(|first| first["anyOf"] == both);
        if !stated {
            out.insert("anyOf".into(), both);
        }
    }
    if let Some(Value::Object(properties)) = out.get_mut("properties") {
        properties.values_mut().for_each(|p| *p = convert(p, form));
    }
    for field in ["items", "additionalProperties"] {
        if let Some(inner) = out.get_mut(field) {
            *inner = convert(inner, form);
        }
    }
    embed(&mut out, form);
    Value::Object(out)
}

/// Takes away what clients of the v2 document cannot do with.
fn simplify(schema: &mut Map<String, Value>) {
    let is = |schema: &Map<String, Value>, field: &str| schema.get(field) == Some(&Value::Bool(true));
    for field in ["allOf", "oneOf", "anyOf", "not"] {
        schema.remove(field);
    }
    let nullable = |v: &Value| v["nullable"] == true;
    if is(schema, "nullable") {
        ["type", "nullable", "items", "properties"].iter().for_each(|f| drop(schema.remove(*f)));
    }
    let open = is(schema, "x-kubernetes-preserve-unknown-fields");
    if open {
        ["items", "properties"].iter().for_each(|f| drop(schema.remove(*f)));
    }
    let kind = schema.get("type").and_then(Value::as_str).unwrap_or("").to_owned();
    if kind == "array" && !schema.contains_key("items") || kind == "object" && open {
        schema.remove("type");
    }
    let may_be_null: Vec<String> = schema
        .get("properties")
        .and_then(Value::as_object)
        .map(|p| p.iter().filter(|(_, v)| nullable(v)).map(|(k, _)| k.clone()).collect())
        .unwrap_or_default();
    if let Some(Value::Array(required)) = schema.get_mut("required") {
        required.retain(|name| !name.as_str().is_some_and(|n| may_be_null.iter().any(|m| m == n)));
    }
    let empty = schema.get("required").and_then(Value::as_array).is_some_and(Vec::is_empty);
    if empty || schema.get("additionalProperties").is_some_and(nullable) {
        schema.remove("required");
    }
}

/// A resource inside of a resource has what every object has.
fn embed(schema: &mut Map<String, Value>, form: Form) {
    let is = |field: &str| schema.get(field) == Some(&Value::Bool(true));
    if !is("x-kubernetes-embedded-resource") || form == Form::V2 && is("x-kubernetes-preserve-unknown-fields") {
        return;
    }
    let properties = schema.entry("properties").or_insert_with(|| json!({}));
    properties["apiVersion"] = json!({"type": "string", "description": COMMON.api_version});
    properties["kind"] = json!({"type": "string", "description": COMMON.kind});
    properties["metadata"] = form.described(&format!("{META}ObjectMeta"), &COMMON.metadata);
    let required = schema.entry("required").or_insert_with(|| json!([]));
    if let Some(required) = required.as_array_mut() {
        for name in ["kind", "apiVersion"] {
            if !required.iter().any(|r| r == name) {
                required.push(name.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn rows(schema: Value) -> Vec<Arc<Row>> {
        let definition = json!({"metadata": {"name": "ws.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "ws", "singular": "w", "kind": "W", "listKind": "WList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}}}]}});
        crate::custom::rows_of(&definition, definition.to_string().into())
    }

    #[test]
    fn schemas_are_published_in_both_forms() {
        let rows = rows(json!({"type": "object", "description": "A W.", "properties": {"spec": {"type": "object",
            "required": ["n", "ios"], "properties": {
                "n": {"type": "integer", "nullable": true, "minimum": 1}, "ios": {"x-kubernetes-int-or-string": true},
                "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {"type": "string"}}},
                "one": {"type": "object", "oneOf": [{"required": ["a"]}], "example": 1}}}}}));
        let row = &rows[0];
        let (paths, definitions) = v2(row);
        let spec = &definitions["com.example.v1.W"]["properties"]["spec"];
        assert_eq!(
            *spec,
            json!({"type": "object", "required": ["ios"], "properties": {
                "n": {"minimum": 1}, "ios": {"x-kubernetes-int-or-string": true},
                "any": {"x-kubernetes-preserve-unknown-fields": true}, "one": {"type": "object"}}})
        );
        let list = &definitions["com.example.v1.WList"]["properties"];
        for (field, said) in [("items", "List of ws. "), ("metadata", "Standard list metadata. ")] {
            let text = list[field]["description"].as_str().unwrap_or("");
            assert!(text.starts_with(said) && text.contains("api-conventions.md"), "{field}: {}", list[field]);
        }
        assert_eq!(
            definitions["com.example.v1.W"]["x-kubernetes-group-version-kind"],
            json!([{"group": "example.com", "kind": "W", "version": "v1"}])
        );
        assert_eq!(definitions["com.example.v1.WList"]["required"], json!(["items"]));
        let mut names: Vec<&str> = paths.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "/apis/example.com/v1/namespaces/{namespace}/ws",
                "/apis/example.com/v1/namespaces/{namespace}/ws/{name}",
                "/apis/example.com/v1/namespaces/{namespace}/ws/{name}/scale",
                "/apis/example.com/v1/namespaces/{namespace}/ws/{name}/status",
                "/apis/example.com/v1/ws",
            ]
        );
        let one = &paths["/apis/example.com/v1/namespaces/{namespace}/ws/{name}"];
        assert_eq!(one["patch"]["operationId"], "patchExampleComV1NamespacedW");
        assert_eq!(
            one["patch"]["consumes"],
            json!(["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"])
        );
        assert_eq!(one["get"]["produces"], json!(["application/json", "application/yaml"]));
        assert_eq!(one["get"]["responses"]["200"]["schema"]["$ref"], "#/definitions/com.example.v1.W");
        let mut document = v3(row);
        document.schemas.extend(shared_v3(&document.shared));
        let schemas = &document.schemas;
        assert_eq!(
            schemas["com.example.v1.W"]["properties"]["spec"]["properties"]["ios"]["anyOf"][0]["type"],
            "integer"
        );
        for name in [
            "com.example.v1.WList",
            "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
            "io.k8s.api.autoscaling.v1.Scale",
        ] {
            assert!(schemas[name].is_object(), "{name}");
        }
    }

    #[test]
    fn what_may_hold_anything_has_no_properties_for_old_clients() {
        let rows = rows(
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"spec": {"type": "object"}}}),
        );
        let (_, definitions) = v2(&rows[0]);
        assert_eq!(
            definitions["com.example.v1.W"],
            json!({"type": "object", "x-kubernetes-group-version-kind": [{"group": "example.com", "kind": "W", "version": "v1"}]})
        );
        let schema = &v3(&rows[0]).schemas["com.example.v1.W"];
        assert!(schema["properties"]["spec"].is_object() && schema["properties"]["apiVersion"].is_object());
    }
}
