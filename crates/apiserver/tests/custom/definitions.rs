//! The life of a definition.

use super::api::{Api, DEFINITIONS, WAIT, WIDGETS, condition, definition, widget, widgets};
use serde_json::{Value, json};
use std::time::Duration;
use store::{Op, Range, Store, Txn};

fn any() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// [sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] Simple CustomResourceDefinition creating/deleting custom resource definition objects works
#[tokio::test]
async fn simple_custom_resource_definition_creating_deleting_works() {
    let api = Api::start().await;
    let wanted = widgets(any());
    api.define(&wanted).await;
    let path = format!("{DEFINITIONS}/widgets.example.com");
    let made = api.get(&path).await.ok(200);
    assert_eq!(made["metadata"].get("finalizers"), None, "nothing holds back what is not deleted");
    assert_eq!(made["status"]["acceptedNames"]["plural"], "widgets");
    assert_eq!(made["status"]["storedVersions"], json!(["v1"]));
    let mut held = widget("held", json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    api.post(WIDGETS, &held).await.ok(201);
    api.post(WIDGETS, &widget("free", json!({}))).await.ok(201);
    let deleted = api.delete(&path).await.ok(200);
    assert_eq!(deleted["metadata"]["finalizers"], json!(["customresourcecleanup.apiextensions.k8s.io"]));
    assert_eq!(condition(&deleted, "Terminating"), "True");
    api.until(&format!("{WIDGETS}/held"), |w| w["metadata"]["deletionTimestamp"].is_string()).await;
    api.post(WIDGETS, &widget("late", json!({})))
        .await
        .refused(405, "create not allowed while custom resource definition is terminating");
    api.merge(&format!("{WIDGETS}/held"), &json!({"metadata": {"finalizers": null}})).await.ok(200);
    api.until_gone(&path).await;
    // What is served follows the definitions.
    let follow = async {
        let mut left = api.get(WIDGETS).await;
        while left.code == 200 {
            tokio::task::yield_now().await;
            left = api.get(WIDGETS).await;
        }
        left
    };
    let left = tokio::time::timeout(Duration::from_secs(10), follow).await.expect("in time");
    assert_eq!(left.code, 404, "{}", left.value);
    api.define(&wanted).await;
    assert_eq!(api.get(WIDGETS).await.ok(200)["items"], json!([]));
}

/// [sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] Simple CustomResourceDefinition getting/updating/patching custom resource definition status sub-resource works
#[tokio::test]
async fn simple_custom_resource_definition_status_sub_resource_works() {
    let api = Api::start().await;
    api.define(&widgets(any())).await;
    let path = format!("{DEFINITIONS}/widgets.example.com/status");
    let mut got = api.get(&path).await.ok(200);
    let added = json!({"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from an e2e test"});
    got["status"]["conditions"].as_array_mut().expect("conditions").push(added);
    let put = api.put(&path, &got).await.ok(200);
    assert_eq!(condition(&put, "StatusUpdate"), "True");
    let mut conditions = put["status"]["conditions"].clone();
    conditions.as_array_mut().expect("list").push(json!({"type": "StatusPatched", "status": "True"}));
    let patched = api.merge(&path, &json!({"status": {"conditions": conditions}})).await.ok(200);
    assert_eq!(condition(&patched, "StatusPatched"), "True");
    assert_eq!(condition(&patched, "Established"), "True");
}

/// [sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] Simple CustomResourceDefinition listing custom resource definition objects works
#[tokio::test]
async fn simple_custom_resource_definition_listing_works() {
    let api = Api::start().await;
    for i in 0..10 {
        let mut d = definition(&format!("things{i}"), &format!("Thing{i}"), any());
        d["metadata"]["labels"] = json!({"run": if i < 8 { "x" } else { "y" }});
        api.define(&d).await;
    }
    let listed = api.get(&format!("{DEFINITIONS}?labelSelector=run=x")).await.ok(200);
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(8));
    api.delete(&format!("{DEFINITIONS}?labelSelector=run=x")).await.ok(200);
    for i in 0..8 {
        api.until_gone(&format!("{DEFINITIONS}/things{i}.example.com")).await;
    }
    assert_eq!(api.get(DEFINITIONS).await.ok(200)["items"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn names_go_to_who_came_first() {
    let api = Api::start().await;
    api.define(&widgets(any())).await;
    let second = definition("gadgets", "Widget", any());
    api.post(DEFINITIONS, &second).await.ok(201);
    let path = format!("{DEFINITIONS}/gadgets.example.com");
    let denied = api.until(&path, |d| condition(d, "NamesAccepted") == "False").await;
    assert_eq!(condition(&denied, "Established"), "False");
    assert_eq!(api.get("/apis/example.com/v1/namespaces/a/gadgets").await.code, 404);
    api.delete(&format!("{DEFINITIONS}/widgets.example.com")).await.ok(200);
    api.until(&path, |d| condition(d, "Established") == "True").await;
    api.get("/apis/example.com/v1/namespaces/a/gadgets").await.ok(200);
}

#[tokio::test]
async fn what_is_established_keeps_its_scope_and_kind() {
    let api = Api::start().await;
    api.define(&widgets(any())).await;
    let path = format!("{DEFINITIONS}/widgets.example.com");
    api.merge(&path, &json!({"spec": {"scope": "Cluster"}}))
        .await
        .refused(422, "spec.scope: Invalid value: \"Cluster\"");
    api.merge(&path, &json!({"spec": {"names": {"kind": "Other"}}})).await.refused(422, "spec.names.kind");
    let renamed = json!({"spec": {"names": {"shortNames": ["wd"], "categories": ["all"]}}});
    api.merge(&path, &renamed).await.ok(200);
    api.until(&path, |d| d["status"]["acceptedNames"]["shortNames"] == json!(["wd"])).await;
    let resources = api.get("/apis/example.com/v1").await.ok(200);
    assert_eq!(resources["resources"][0]["shortNames"], json!(["wd"]));
}

#[tokio::test]
async fn objects_are_there_after_a_restart() {
    let api = Api::start().await;
    api.define(&widgets(any())).await;
    api.post(WIDGETS, &widget("x", json!({"a": 1}))).await.ok(201);
    let api = api.restart().await;
    assert_eq!(api.get(&format!("{WIDGETS}/x")).await.ok(200)["spec"], json!({"a": 1}));
}

/// Another server may have stored a definition that this one would have refused.
#[tokio::test]
async fn what_a_definition_makes_whose_schema_cannot_be_used() {
    let api = Api::start().await;
    api.define(&widgets(any())).await;
    api.post(WIDGETS, &widget("x", json!({"a": 1}))).await.ok(201);
    let key = "/registry/apiextensions.k8s.io/customresourcedefinitions/widgets.example.com";
    let found = api.store.range(Range::key(key)).await.expect("read").kvs.remove(0);
    let mut stored: Value = serde_json::from_slice(&found.value).expect("JSON");
    let mut deep = json!({"type": "string"});
    for _ in 0..70 {
        deep = json!({"type": "array", "items": deep});
    }
    stored["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"] =
        json!({"deep": deep});
    stored["metadata"]["generation"] = 2.into();
    let put = Op::Put { key: key.into(), value: stored.to_string().into(), lease: 0 };
    api.store.txn(Txn { compare: vec![], success: vec![put], failure: vec![] }).await.expect("written");

    let why = "Internal error occurred: the schema is nested more than 64 levels deep";
    let dry = format!("{WIDGETS}?dryRun=All");
    let followed = async {
        while api.post(&dry, &widget("probe", json!({}))).await.code == 201 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WAIT, followed).await.expect("in time");
    let refused = async |api: &Api| {
        api.post(WIDGETS, &widget("y", json!({}))).await.refused(500, why);
        api.put(&format!("{WIDGETS}/x"), &widget("x", json!({}))).await.refused(500, why);
        api.merge(&format!("{WIDGETS}/x"), &json!({"spec": {"a": 2}})).await.refused(500, why);
        // Nothing is lost, and what is there can be looked at, and be deleted.
        assert_eq!(api.get(&format!("{WIDGETS}/x")).await.ok(200)["spec"], json!({"a": 1}));
    };
    refused(&api).await;
    let api = api.restart().await;
    refused(&api).await;
    api.delete(&format!("{WIDGETS}/x")).await.ok(200);
    let usable = json!({"spec": {"versions": widgets(any())["spec"]["versions"]}});
    api.merge(&format!("{DEFINITIONS}/widgets.example.com"), &usable).await.ok(200);
    let mended = async {
        while api.post(WIDGETS, &widget("y", json!({"a": 3}))).await.code != 201 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WAIT, mended).await.expect("in time");
}
