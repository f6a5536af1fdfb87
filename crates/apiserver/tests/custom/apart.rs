//! Versions and schemas that are apart from each other, and what is owned through them, as a real server has it.

use super::api::{Api, DEFINITIONS, WAIT, WIDGETS, definition, widget};
use super::steps::walk;
use serde_json::{Value, json};

fn schema(spec: &Value) -> Value {
    let text = json!({"type": "string"});
    let status = json!({"type": "object", "properties": {"x": text}});
    json!({"openAPIV3Schema": {"type": "object", "properties": {
        "spec": {"type": "object", "properties": spec}, "status": status}}})
}

fn versions(v1: &Value, v2: &Value) -> Value {
    let mut d = definition("widgets", "Widget", json!({}));
    d["spec"]["versions"] = json!([
        {"name": "v1", "served": true, "storage": true, "schema": schema(v1), "subresources": {"status": {}}},
        {"name": "v2", "served": true, "storage": false, "schema": schema(v2), "deprecated": true}]);
    d
}

const FIELDS: &str = r#"
    POST /apis/example.com/v1/namespaces/a/widgets?fieldManager=one
    {"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"x"},"spec":{"a":"1"}}
    => 201

    PATCH /apis/example.com/v2/namespaces/a/widgets/x?fieldManager=two +merge
    {"spec":{"a":"2"}}
    => 200
    => /metadata/managedFields/1/manager "two"

    PATCH /apis/example.com/v2/namespaces/a/widgets/x?fieldManager=two +merge
    {"spec":{"two":"2"}}
    => 200
    => /metadata/managedFields null

    PATCH /apis/example.com/v1/namespaces/a/widgets/x?fieldManager=one +apply
    {"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"x"},"spec":{"one":"1"}}
    => 200
    => /metadata/managedFields/1/manager "before-first-apply"

    PATCH /apis/example.com/v2/namespaces/a/widgets/x?fieldManager=two +apply
    {"apiVersion":"example.com/v2","kind":"Widget","metadata":{"name":"x"},"spec":{"two":"1"}}
    => 500
    => failed to convert new object: .spec.two: field not declared in schema

    PATCH /apis/example.com/v1/namespaces/a/widgets/x/status?fieldManager=three +merge
    {"metadata":{"labels":{"l":"1"}},"spec":{"a":"9"},"status":{"x":"1"}}
    => 200
    => /metadata/labels null
    => /spec/a "2"
    => /metadata/managedFields/2/fieldsV1 {"f:metadata":{"f:labels":{".":{},"f:l":{}}},"f:status":{".":{},"f:x":{}}}

    GET /apis/example.com/v2/namespaces/a/widgets/x/status
    => 404
    => ~example.com/v2 Widget is deprecated

    PUT /apis/example.com/v2/namespaces/a/widgets
    {"apiVersion":"example.com/v2","kind":"Widget","metadata":{"name":"x"}}
    => 400
    => name must be provided
    => ~example.com/v2 Widget is deprecated

    PATCH /apis/example.com/v2/namespaces/a/widgets/x +strategic
    {}
    => 415
    => ~example.com/v2 Widget is deprecated

    GET /apis/example.com/v1/namespaces/a/others
    => 404
"#;

#[tokio::test]
async fn fields_that_another_version_does_not_have() {
    let api = Api::start().await;
    let text = json!({"type": "string"});
    api.define(&versions(&json!({"a": text, "one": text}), &json!({"a": text, "two": text}))).await;
    walk(&api, FIELDS).await;
    let nothing = api.get("/apis/example.com/v1/namespaces/a/others").await;
    assert_eq!(nothing.value["kind"], Value::Null, "what is no resource of a definition is no path");
}

/// What does not fit the schema of now has no owners; what is one owner's as a whole now is owned as a whole.
#[tokio::test]
async fn a_schema_that_changes() {
    let api = Api::start().await;
    let spec = |fields: Value| {
        let mut d = definition("widgets", "Widget", json!({}));
        d["spec"]["versions"][0]["schema"] = schema(&fields);
        d
    };
    let open = json!({"type": "object", "properties": {"x": {"type": "string"}}});
    api.define(&spec(json!({"o": open, "n": {"type": "integer"}}))).await;
    let made = api.post(WIDGETS, &widget("w", json!({"o": {"x": "1"}, "n": 1}))).await.ok(201);
    assert_eq!(made["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:o"], json!({".": {}, "f:x": {}}));
    let change = async |fields: Value, probe: Value| {
        let path = format!("{DEFINITIONS}/widgets.example.com");
        let mut d = api.get(&path).await.ok(200);
        d["spec"]["versions"][0]["schema"] = schema(&fields);
        api.put(&path, &d).await.ok(200);
        let followed = async {
            // What the new schema refuses tells that it is in force.
            while api.post(&format!("{WIDGETS}?dryRun=All"), &widget("probe", probe.clone())).await.code != 422 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(WAIT, followed).await.expect("in time");
    };
    let mut atomic = open.clone();
    atomic["x-kubernetes-map-type"] = "atomic".into();
    let least = json!({"type": "integer", "minimum": 1});
    change(json!({"o": atomic, "n": least}), json!({"n": 0})).await;
    let path = format!("{WIDGETS}/w");
    let whole = api.merge(&path, &json!({"metadata": {"labels": {"l": "1"}}})).await.ok(200);
    assert_eq!(whole["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:o"], json!({}));
    change(json!({"o": {"type": "string"}, "n": least}), json!({"o": {}})).await;
    let applied = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"labels": {"m": "1"}}});
    let headers = [("content-type", "application/apply-patch+yaml")];
    let refused = api.send("PATCH", &format!("{path}?fieldManager=m"), &headers, Some(&applied)).await;
    refused.refused(
        500,
        "failed to create typed live object (a/w; example.com/v1, Kind=Widget): .spec.o: expected string",
    );
    let mended = api.merge(&path, &json!({"spec": {"o": "text"}})).await.ok(200);
    assert_eq!(mended["metadata"]["managedFields"], Value::Null);
}

/// Of a definition's status, what is stored is for who migrates objects to say; nothing else of it changes through it.
#[tokio::test]
async fn the_status_of_a_definition() {
    let api = Api::start().await;
    api.define(&versions(&json!({}), &json!({}))).await;
    let path = format!("{DEFINITIONS}/widgets.example.com/status");
    for (stored, kept) in [(json!(["v9"]), json!(["v9"])), (json!([]), json!(["v1"])), (json!(["v1"]), json!(["v1"]))] {
        let patch = json!({"metadata": {"labels": {"l": "1"}}, "status": {"storedVersions": stored}});
        let changed = api.merge(&path, &patch).await.ok(200);
        assert_eq!(changed["status"]["storedVersions"], kept);
        let owners = changed["metadata"]["managedFields"].to_string();
        assert!(!owners.contains("f:labels"), "{owners}");
    }
}
