//! Objects of a custom resource.

use super::api::{Api, DEFINITIONS, WIDGETS, definition, widget, widgets};
use serde_json::{Value, json};

/// [sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] custom resource defaulting for requests and from storage works
#[tokio::test]
async fn custom_resource_defaulting_for_requests_and_from_storage_works() {
    let api = Api::start().await;
    let spec = |a: Value, b: Value| json!({"type": "object", "properties": {"a": a, "b": b, "c": {"type": "string"}}});
    let text = json!({"type": "string"});
    api.define(&widgets(spec(text.clone(), text.clone()))).await;
    api.post(WIDGETS, &widget("old", json!({"c": "x"}))).await.ok(201);
    let path = format!("{DEFINITIONS}/widgets.example.com");
    let mut d = api.get(&path).await.ok(200);
    let schema = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
    *d.pointer_mut(schema).expect("spec") = spec(json!({"type": "string", "default": "A"}), text.clone());
    api.put(&path, &d).await.ok(200);
    api.until(&format!("{WIDGETS}/old"), |w| w["spec"]["a"] == "A").await;
    assert_eq!(api.get(&format!("{WIDGETS}/old")).await.ok(200)["spec"], json!({"a": "A", "c": "x"}));
    let new = api.post(WIDGETS, &widget("new", json!({}))).await.ok(201);
    assert_eq!(new["spec"], json!({"a": "A"}));
    let mut d = api.get(&path).await.ok(200);
    *d.pointer_mut(schema).expect("spec") = spec(text, json!({"type": "string", "default": "B"}));
    api.put(&path, &d).await.ok(200);
    let kept = api.until(&format!("{WIDGETS}/new"), |w| w["spec"]["b"] == "B").await;
    assert_eq!(kept["spec"], json!({"a": "A", "b": "B"}), "what was stored with a default keeps it");
}

#[tokio::test]
async fn objects_are_validated_by_their_schema() {
    let api = Api::start().await;
    api.define(&widgets(
        json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "minimum": 1},
        "s": {"type": "string", "maxLength": 3}}}),
    ))
    .await;
    api.post(WIDGETS, &widget("w", json!({"n": 0, "s": "long"}))).await.refused(
        422,
        "Widget.example.com \"w\" is invalid: [spec.n: Invalid value: 0: spec.n in body should be greater than or equal to 1, \
         spec.s: Too long: may not be longer than 3]",
    );
    api.post(WIDGETS, &widget("w", json!({}))).await.refused(422, "spec.n: Required value");
    api.post(WIDGETS, &widget("w", json!({"n": "1"})))
        .await
        .refused(422, "spec.n: Invalid value: \"string\": spec.n in body must be of type integer: \"string\"");
    api.post(WIDGETS, &widget("Bad_Name", json!({"n": 1}))).await.refused(422, "metadata.name");
    api.post(WIDGETS, &widget("w", json!({"n": 1}))).await.ok(201);
    let path = format!("{DEFINITIONS}/widgets.example.com");
    let stricter = json!([{"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/n/minimum", "value": 5}]);
    api.send("PATCH", &path, &[("content-type", "application/json-patch+json")], Some(&stricter)).await.ok(200);
    let path = format!("{WIDGETS}/w");
    let mut n = 1;
    let last = loop {
        // Rows follow their definition in a moment.
        n = 3 - n;
        let answer = api.merge(&path, &json!({"spec": {"n": n}})).await;
        if answer.code != 200 {
            break answer;
        }
    };
    last.refused(422, "greater than or equal to 5");
    api.merge(&format!("{WIDGETS}/w"), &json!({"spec": {"s": "abc"}})).await.ok(200);
}

#[tokio::test]
async fn status_and_scale_are_apart() {
    let api = Api::start().await;
    let mut d = widgets(json!({"type": "object", "properties": {"n": {"type": "integer"}}}));
    d["spec"]["versions"][0]["subresources"] = json!({"status": {}, "scale": {"specReplicasPath": ".spec.n",
        "statusReplicasPath": ".status.n", "labelSelectorPath": ".status.selector"}});
    api.define(&d).await;
    let mut given = widget("w", json!({"n": 2}));
    given["status"] = json!({"n": 9});
    let made = api.post(WIDGETS, &given).await.ok(201);
    assert_eq!(made.get("status"), None);
    assert_eq!(made["metadata"]["generation"], 1);
    let path = format!("{WIDGETS}/w");
    let status = json!({"status": {"n": 1, "selector": "a=b"}, "spec": {"n": 7}, "metadata": {"labels": {"x": "y"}}});
    let written = api.merge(&format!("{path}/status"), &status).await.ok(200);
    assert_eq!((&written["spec"]["n"], &written["status"]["n"]), (&json!(2), &json!(1)));
    assert_eq!(written["metadata"].get("labels"), None);
    assert_eq!(written["metadata"]["generation"], 1);
    let scale = api.get(&format!("{path}/scale")).await.ok(200);
    assert_eq!(
        (&scale["spec"], &scale["status"]),
        (&json!({"replicas": 2}), &json!({"replicas": 1, "selector": "a=b"}))
    );
    api.merge(&format!("{path}/scale"), &json!({"spec": {"replicas": 5}})).await.ok(200);
    let scaled = api.get(&path).await.ok(200);
    assert_eq!((&scaled["spec"]["n"], &scaled["metadata"]["generation"]), (&json!(5), &json!(2)));
    api.merge(&format!("{path}/status"), &json!({"status": {"n": "x"}})).await.refused(422, "must be of type integer");
    api.merge(&path, &json!({"spec": {"n": -1}}))
        .await
        .refused(422, ".spec.n: Invalid value: -1: should be a non-negative integer");
}

#[tokio::test]
async fn a_table_has_the_columns_of_the_definition() {
    let api = Api::start().await;
    let mut d = widgets(json!({"type": "object", "properties": {"n": {"type": "integer"}, "at": {"type": "string"}}}));
    d["spec"]["versions"][0]["additionalPrinterColumns"] = json!([
        {"name": "N", "type": "integer", "jsonPath": ".spec.n"},
        {"name": "At", "type": "date", "jsonPath": ".spec.at", "priority": 1, "description": "When."}]);
    api.define(&d).await;
    api.post(WIDGETS, &widget("w", json!({"n": 3, "at": "nonsense"}))).await.ok(201);
    let accept = ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let table = api.send("GET", WIDGETS, &[accept], None).await.ok(200);
    assert_eq!(table["rows"][0]["cells"], json!(["w", 3, "<invalid>"]));
    let columns = &table["columnDefinitions"];
    assert_eq!(columns[1]["description"], "Custom resource definition column (in JSONPath format): .spec.n");
    assert_eq!((&columns[2]["priority"], &columns[2]["description"]), (&json!(1), &json!("When.")));
}

#[tokio::test]
async fn what_custom_resources_do_not_speak_is_refused() {
    let api = Api::start().await;
    api.define(&widgets(json!({"type": "object"}))).await;
    api.post(WIDGETS, &widget("w", json!({}))).await.ok(201);
    let path = format!("{WIDGETS}/w");
    let strategic = [("content-type", "application/strategic-merge-patch+json")];
    assert_eq!(api.send("PATCH", &path, &strategic, Some(&json!({}))).await.code, 415);
    let protobuf = [("content-type", "application/vnd.kubernetes.protobuf")];
    assert_eq!(api.send("POST", WIDGETS, &protobuf, Some(&json!({}))).await.code, 415);
    assert_eq!(api.send("GET", &path, &[("accept", "application/vnd.kubernetes.protobuf")], None).await.code, 406);
    let either = [("accept", "application/vnd.kubernetes.protobuf,application/json")];
    api.send("GET", &path, &either, None).await.ok(200);
    api.get(&format!("{path}/status")).await.refused(404, "widgets.example.com \"w\" not found");
    api.get(&format!("{WIDGETS}?fieldSelector=spec.n=1")).await.refused(400, "field label not supported: spec.n");
    let one = api.get(&format!("{WIDGETS}?fieldSelector=metadata.name=w")).await.ok(200);
    assert_eq!(one["items"].as_array().map(Vec::len), Some(1));
    let mut unconditional = widget("w", json!({}));
    unconditional["metadata"]["finalizers"] = json!(["x"]);
    api.put(&path, &unconditional)
        .await
        .refused(422, "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update");
    let warned = api.merge(&path, &json!({"metadata": {"finalizers": ["x"]}})).await;
    assert!(warned.warnings[0].contains("prefer a domain-qualified finalizer name"), "{:?}", warned.warnings);
}

#[tokio::test]
async fn a_cluster_scoped_resource_has_no_namespaces() {
    let api = Api::start().await;
    let mut d = definition("things", "Thing", json!({"type": "object"}));
    d["spec"]["scope"] = "Cluster".into();
    api.define(&d).await;
    let thing = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t"}});
    api.post("/apis/example.com/v1/things", &thing).await.ok(201);
    assert_eq!(api.get("/apis/example.com/v1/namespaces/a/things").await.code, 404);
    for i in 0..5 {
        let thing = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": format!("t{i}")}});
        api.post("/apis/example.com/v1/things", &thing).await.ok(201);
    }
    let page = api.get("/apis/example.com/v1/things?limit=4").await.ok(200);
    assert_eq!(page["items"][0]["kind"], "Thing", "items of a custom resource's list say what they are");
    let token = page["metadata"]["continue"].as_str().expect("token");
    let rest = api.get(&format!("/apis/example.com/v1/things?limit=4&continue={token}")).await.ok(200);
    assert_eq!(rest["items"].as_array().map(Vec::len), Some(2));
    api.delete("/apis/example.com/v1/things").await.ok(200);
    assert_eq!(api.get("/apis/example.com/v1/things").await.ok(200)["items"], json!([]));
}

#[tokio::test]
async fn rules_hold_for_objects_and_transitions() {
    let api = Api::start().await;
    api.define(&widgets(json!({"type": "object", "x-kubernetes-validations": [
            {"rule": "self.min <= self.max", "message": "min is over max", "reason": "FieldValueForbidden", "fieldPath": ".min"},
            {"rule": "self.name == oldSelf.name", "messageExpression": "'name was ' + oldSelf.name"}],
        "properties": {"min": {"type": "integer"}, "max": {"type": "integer"}, "name": {"type": "string", "maxLength": 9}}})))
    .await;
    let good = json!({"min": 1, "max": 2, "name": "a"});
    let refused = api.post(WIDGETS, &widget("w", json!({"min": 3, "max": 2, "name": "a"}))).await;
    refused.refused(422, "spec.min: Forbidden: min is over max");
    api.post(WIDGETS, &widget("w", good)).await.ok(201);
    let path = format!("{WIDGETS}/w");
    api.merge(&path, &json!({"spec": {"name": "b"}})).await.refused(422, "name was a");
    api.merge(&path, &json!({"spec": {"max": 5}})).await.ok(200);
    let mut bad = definition(
        "gadgets",
        "Gadget",
        json!({"type": "object", "properties": {"l": {"type": "array", "items": {"type": "string"}}},
        "x-kubernetes-validations": [{"rule": "self.none == 1"}]}),
    );
    api.post(DEFINITIONS, &bad).await.refused(422, "undefined field 'none'");
    bad["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["x-kubernetes-validations"] =
        json!([{"rule": "self.l.all(a, self.l.all(b, self.l.all(c, a + b == c)))"}]);
    api.post(DEFINITIONS, &bad).await.refused(422, "exceeds budget by factor of");
}
