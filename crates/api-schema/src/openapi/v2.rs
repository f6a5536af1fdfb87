//! The v2 document, made from v3 paths and definitions.

use super::{Parameter, SCHEMAS};
use serde_json::{Map, Value, json};

/// Marks a v3 parameter with the name it has in the v2 document; never sent.
pub(super) const REFERENCE: &str = "x-reference";

const DEFINITIONS: &str = "#/definitions/";
/// Shared parameters that hold a body: type, name, required.
const BODIES: [(&str, &str, bool); 2] = [
    ("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions", "body-2Y1dVQaQ", false),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Patch", "body-78PwaGsr", true),
];
/// Media types in the order in which the v2 document lists them.
const ORDER: [&str; 11] = [
    "*/*",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "text/plain",
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];

/// The document of v3 `paths` and v2 `definitions`; `extra` are paths that are in v2 form already.
pub fn document_v2(
    version: &str,
    paths: &Map<String, Value>,
    extra: Map<String, Value>,
    definitions: Map<String, Value>,
    parameters: &[Parameter],
) -> Value {
    let mut out: Map<String, Value> = paths.iter().map(|(path, item)| (path.clone(), path_item(item))).collect();
    out.extend(extra);
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": version},
        "paths": out,
        "definitions": definitions,
        "parameters": shared_parameters(parameters),
        "securityDefinitions": {"BearerToken": {"type": "apiKey", "name": "authorization", "in": "header",
            "description": "Bearer Token authentication"}},
        "security": [{"BearerToken": []}],
    })
}

/// Parameters that operations of the v2 document share, by their names there.
pub fn shared_parameters(parameters: &[Parameter]) -> Map<String, Value> {
    let mut shared: Map<String, Value> = parameters.iter().map(|p| (p.reference.clone(), plain(&p.v3()))).collect();
    for (name, reference, required) in BODIES {
        shared.insert(reference.into(), body_parameter(name, required));
    }
    shared
}

/// A v3 definition as v2 has it: references without wrapping, no defaults.
pub fn definition_v2(definition: &Value) -> Value {
    let Value::Object(keywords) = definition else { return definition.clone() };
    let mut out = Map::new();
    for (keyword, value) in keywords {
        match (keyword.as_str(), value) {
            ("default", _) => {}
            ("allOf", Value::Array(all)) => {
                for one in all {
                    if let Value::Object(inner) = definition_v2(one) {
                        out.extend(inner);
                    }
                }
            }
            ("$ref", Value::String(reference)) => {
                out.insert(keyword.clone(), reference.replacen(SCHEMAS, DEFINITIONS, 1).into());
            }
            ("properties", Value::Object(properties)) => {
                let converted = properties.iter().map(|(name, one)| (name.clone(), definition_v2(one)));
                out.insert(keyword.clone(), Value::Object(converted.collect()));
            }
            _ => {
                out.insert(keyword.clone(), definition_v2(value));
            }
        }
    }
    Value::Object(out)
}

fn path_item(item: &Value) -> Value {
    let Value::Object(item) = item else { return item.clone() };
    let mut out = Map::new();
    for (key, value) in item {
        let value = if key == "parameters" { parameters(value, None) } else { operation(value) };
        if value != json!([]) {
            out.insert(key.clone(), value);
        }
    }
    Value::Object(out)
}

fn operation(v3: &Value) -> Value {
    let mut out = Map::new();
    for (key, value) in v3.as_object().into_iter().flatten() {
        if key != "requestBody" && key != "responses" && key != "parameters" {
            out.insert(key.clone(), value.clone());
        }
    }
    out.insert("schemes".into(), json!(["https"]));
    let body = v3.get("requestBody");
    let answer = v3.pointer("/responses/200/content");
    let produces = media(answer);
    let consumes = match body {
        Some(body) => media(body.get("content")),
        None if v3.get("x-kubernetes-action").is_some() => json!(["*/*"]),
        None => produces.clone(),
    };
    out.insert("consumes".into(), consumes);
    out.insert("produces".into(), produces);
    let mut responses = Map::new();
    for (code, response) in v3["responses"].as_object().into_iter().flatten() {
        let mut one = json!({"description": response["description"]});
        if let Some(schema) = first_schema(response.get("content")) {
            one["schema"] = definition_v2(schema);
        }
        responses.insert(code.clone(), one);
    }
    out.insert("responses".into(), Value::Object(responses));
    let parameters = parameters(v3.get("parameters").unwrap_or(&Value::Null), body);
    if parameters != json!([]) {
        out.insert("parameters".into(), parameters);
    }
    Value::Object(out)
}

fn first_schema(content: Option<&Value>) -> Option<&Value> {
    content?.as_object()?.values().next()?.get("schema")
}

fn media(content: Option<&Value>) -> Value {
    let given = content.and_then(Value::as_object);
    ORDER.iter().filter(|m| given.is_some_and(|g| g.contains_key(**m))).map(|m| Value::from(*m)).collect()
}

fn parameters(list: &Value, body: Option<&Value>) -> Value {
    let mut out = Vec::new();
    if let Some(body) = body {
        let schema = first_schema(body.get("content")).and_then(|s| s["$ref"].as_str()).unwrap_or_default();
        let name = schema.trim_start_matches(SCHEMAS);
        out.push(match BODIES.iter().find(|(ty, ..)| *ty == name) {
            Some((_, reference, _)) => json!({"$ref": format!("#/parameters/{reference}")}),
            None => body_parameter(name, body["required"] == true),
        });
    }
    out.extend(list.as_array().into_iter().flatten().map(|p| match p.get(REFERENCE).and_then(Value::as_str) {
        Some(reference) => json!({"$ref": format!("#/parameters/{reference}")}),
        None => plain(p),
    }));
    out.into()
}

fn body_parameter(name: &str, required: bool) -> Value {
    let mut out = json!({"name": "body", "in": "body", "schema": {"$ref": format!("{DEFINITIONS}{name}")}});
    if required {
        out["required"] = true.into();
    }
    out
}

/// A parameter with its schema's keywords beside its name.
fn plain(v3: &Value) -> Value {
    let mut out = v3.as_object().cloned().unwrap_or_default();
    if let Some(Value::Object(schema)) = out.remove("schema") {
        out.extend(schema);
    }
    Value::Object(out)
}

/// Removes what only the conversion needs from v3 paths.
pub(super) fn clean(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove(REFERENCE);
            map.values_mut().for_each(clean);
        }
        Value::Array(list) => list.iter_mut().for_each(clean),
        _ => {}
    }
}
