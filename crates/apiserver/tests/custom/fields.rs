//! Unknown and duplicate fields: the conformance behaviours called "FieldValidation".

use super::api::{Api, WIDGETS, definition, widgets};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/json");
const APPLY: (&str, &str) = ("content-type", "application/apply-patch+yaml");

fn ports() -> Value {
    json!({"type": "object", "properties": {"knownField1": {"type": "string"}, "ports": {"type": "array",
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["containerPort", "protocol"], "items": {"type": "object",
            "required": ["containerPort", "protocol"], "properties": {"containerPort": {"type": "integer"}, "protocol": {"type": "string"},
            "hostPort": {"type": "integer"}, "hostIP": {"type": "string"}, "name": {"type": "string"}}}}}})
}

fn applied(extra: &str) -> String {
    format!(
        "apiVersion: example.com/v1\nkind: Widget\nmetadata:\n  name: w\n  finalizers: [test/finalizer]\nspec:\n  knownField1: val1\n{extra}  ports:\n  - name: x\n    containerPort: 8080\n    protocol: TCP\n"
    )
}

/// [sig-api-machinery] FieldValidation should create/apply a CR with unknown fields for CRD with no validation schema
#[tokio::test]
async fn create_apply_a_cr_with_unknown_fields_for_crd_with_no_validation_schema() {
    let api = Api::start().await;
    api.define(&definition(
        "widgets",
        "Widget",
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
    ))
    .await;
    let path = format!("{WIDGETS}/w?fieldManager=m&fieldValidation=Strict");
    let done = api.text("PATCH", &path, &[APPLY], &applied("  unknown: u\n")).await.ok(201);
    assert_eq!(done["spec"]["unknown"], "u");
}

/// [sig-api-machinery] FieldValidation should create/apply a valid CR for CRD with validation schema
#[tokio::test]
async fn create_apply_a_valid_cr_for_crd_with_validation_schema() {
    let api = Api::start().await;
    api.define(&widgets(ports())).await;
    let path = format!("{WIDGETS}/w?fieldManager=m&fieldValidation=Strict");
    let done = api.text("PATCH", &path, &[APPLY], &applied("")).await.ok(201);
    assert_eq!(done["spec"]["ports"][0]["containerPort"], 8080);
    let other = "apiVersion: example.com/v1\nkind: Widget\nspec:\n  knownField1: val2\n";
    let path = format!("{WIDGETS}/w?fieldManager=other");
    api.text("PATCH", &path, &[APPLY], other).await.refused(409, "conflict with \"m\": .spec.knownField1");
    api.text("PATCH", &format!("{path}&force=true"), &[APPLY], other).await.ok(200);
    let more = "apiVersion: example.com/v1\nkind: Widget\nspec:\n  ports:\n  - {containerPort: 80, protocol: TCP}\n";
    let both = api.text("PATCH", &path, &[APPLY], more).await.ok(200);
    assert_eq!(both["spec"]["ports"].as_array().map(Vec::len), Some(2), "items of a map are merged by key");
}

/// [sig-api-machinery] FieldValidation should create/apply an invalid CR with extra properties for CRD with validation schema
#[tokio::test]
async fn create_apply_an_invalid_cr_with_extra_properties_for_crd_with_validation_schema() {
    let api = Api::start().await;
    api.define(&widgets(ports())).await;
    let path = format!("{WIDGETS}/w?fieldManager=m&fieldValidation=Strict");
    let answer = api.text("PATCH", &path, &[APPLY], &applied("  unknownField: u\n")).await;
    answer.refused(500, ".spec.unknownField: field not declared in schema");
    let body = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"unknownField": 1, "knownField1": "x"}});
    let strict = format!("{WIDGETS}?fieldValidation=Strict");
    let why = "Widget in version \"v1\" cannot be handled as a Widget: strict decoding error: unknown field \"spec.unknownField\"";
    api.post(&strict, &body).await.refused(400, why);
    let warned = api.post(WIDGETS, &body).await;
    assert_eq!(warned.warnings, ["unknown field \"spec.unknownField\""]);
    assert_eq!(warned.ok(201)["spec"], json!({"knownField1": "x"}));
    let silent = api.merge(&format!("{WIDGETS}/w?fieldValidation=Ignore"), &json!({"spec": {"z": 1}})).await;
    assert!(silent.warnings.is_empty() && silent.code == 200);
    let path = format!("{WIDGETS}/w?fieldValidation=Strict");
    let strict = api.merge(&path, &json!({"spec": {"z": 1}})).await;
    strict.refused(422, "}\": strict decoding error: unknown field \"spec.z\"");
}

/// [sig-api-machinery] FieldValidation should detect duplicates in a CR when preserving unknown fields
#[tokio::test]
async fn detect_duplicates_in_a_cr_when_preserving_unknown_fields() {
    let api = Api::start().await;
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}});
    api.define(&definition("widgets", "Widget", schema)).await;
    let body = r#"{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"w"},"spec":{"unknown":"a","dup":1,"dup":2}}"#;
    let strict = format!("{WIDGETS}?fieldValidation=Strict");
    api.text("POST", &strict, &[JSON], body).await.refused(400, "strict decoding error: duplicate field \"spec.dup\"");
    let warned = api.text("POST", WIDGETS, &[JSON], body).await;
    assert_eq!(warned.warnings, ["duplicate field \"spec.dup\""]);
    assert_eq!(warned.ok(201)["spec"], json!({"unknown": "a", "dup": 2}));
}

/// [sig-api-machinery] FieldValidation should detect unknown metadata fields in both the root and embedded object of a CR
#[tokio::test]
async fn detect_unknown_metadata_fields_in_both_the_root_and_embedded_object_of_a_cr() {
    let api = Api::start().await;
    api.define(&widgets(json!({"type": "object", "properties": {"template": {"type": "object", "x-kubernetes-embedded-resource": true,
        "properties": {"metadata": {"type": "object", "properties": {"name": {"type": "string"}}}, "spec": {"type": "object"}}}}})))
    .await;
    let body = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w", "unknownMeta": "u"},
        "spec": {"template": {"apiVersion": "foo/v1", "kind": "Sub", "metadata": {"unknownSubMeta": "u", "name": "s", "namespace": "my-ns"}}}});
    let strict = format!("{WIDGETS}?fieldValidation=Strict");
    let answer = api.post(&strict, &body).await;
    answer.refused(
        400,
        "strict decoding error: unknown field \"metadata.unknownMeta\", unknown field \"spec.template.metadata.unknownSubMeta\"",
    );
    let warned = api.post(WIDGETS, &body).await;
    assert_eq!(
        warned.warnings,
        ["unknown field \"metadata.unknownMeta\"", "unknown field \"spec.template.metadata.unknownSubMeta\""]
    );
    let made = warned.ok(201);
    assert_eq!(made["spec"]["template"]["metadata"], json!({"name": "s", "namespace": "my-ns"}));
}
