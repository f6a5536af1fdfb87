//! Resources with several versions.

use super::api::{Api, DEFINITIONS, WAIT, WIDGETS, definition, widget};
use serde_json::{Value, json};

const V2: &str = "/apis/example.com/v2/namespaces/a/widgets";

/// `v1` with `spec.a`, `v2` with `spec.a` and `spec.b`; objects are stored in `stored`.
fn two_versions(stored: &str) -> Value {
    let mut d = definition("widgets", "Widget", json!({}));
    let schema = |fields: Value| json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}}});
    let text = json!({"type": "string"});
    d["spec"]["versions"] = json!([
        {"name": "v1", "served": true, "storage": stored == "v1", "schema": schema(json!({"a": text}))},
        {"name": "v2", "served": true, "storage": stored == "v2", "schema": schema(json!({"a": text, "b": {"type": "string", "default": "B"}}))}]);
    d
}

#[tokio::test]
async fn without_a_webhook_only_the_version_changes() {
    let api = Api::start().await;
    api.define(&two_versions("v1")).await;
    api.post(WIDGETS, &widget("x", json!({"a": "1"}))).await.ok(201);
    let seen = api.get(&format!("{V2}/x")).await.ok(200);
    assert_eq!((&seen["apiVersion"], &seen["spec"]), (&json!("example.com/v2"), &json!({"a": "1"})));
    let other = json!({"apiVersion": "example.com/v2", "kind": "Widget", "metadata": {"name": "y"}, "spec": {"a": "2", "b": "3"}});
    let made = api.post(V2, &other).await.ok(201);
    assert_eq!(made["spec"], json!({"a": "2"}), "the stored version has no b");
    let path = format!("{DEFINITIONS}/widgets.example.com");
    let mut d = api.get(&path).await.ok(200);
    d["spec"] = two_versions("v2")["spec"].clone();
    let changed = api.put(&path, &d).await.ok(200);
    assert_eq!(changed["status"]["storedVersions"], json!(["v1", "v2"]));
    // The definition's change is followed; until then v1 is stored, and `b` is lost.
    let attempt = format!("{V2}/x?dryRun=All");
    let follow = async {
        while api.merge(&attempt, &json!({"spec": {"b": "new"}})).await.ok(200)["spec"]["b"] != "new" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WAIT, follow).await.expect("in time");
    let all = api.get(V2).await.ok(200);
    assert!(all["items"].as_array().expect("items").iter().all(|i| i["apiVersion"] == "example.com/v2"));
    let put = api.merge(&format!("{V2}/x"), &json!({"spec": {"b": "new"}})).await.ok(200);
    assert_eq!(put["spec"], json!({"a": "1", "b": "new"}));
    let old = api.get(&format!("{WIDGETS}/x")).await.ok(200);
    assert_eq!((&old["apiVersion"], &old["spec"]), (&json!("example.com/v1"), &json!({"a": "1"})));
    let mut removed = api.get(&path).await.ok(200);
    removed["spec"]["versions"].as_array_mut().expect("versions").remove(0);
    api.put(&path, &removed)
        .await
        .refused(422, "status.storedVersions[0]: Invalid value: \"v1\": must appear in spec.versions");
}

#[tokio::test]
async fn old_versions_are_warned_of_and_can_be_withdrawn() {
    let api = Api::start().await;
    let mut d = two_versions("v2");
    d["spec"]["versions"][0]["deprecated"] = true.into();
    api.define(&d).await;
    let warned = api.get(WIDGETS).await;
    assert_eq!(warned.warnings, ["example.com/v1 Widget is deprecated; use example.com/v2 Widget"]);
    assert!(api.get(V2).await.warnings.is_empty());
    let path = format!("{DEFINITIONS}/widgets.example.com");
    let mut d = api.get(&path).await.ok(200);
    d["spec"]["versions"][0]["served"] = false.into();
    api.put(&path, &d).await.ok(200);
    // What follows the change is answered by the rows of the change.
    api.until(&path, |d| d["spec"]["versions"][0]["served"] == false).await;
    while api.get(WIDGETS).await.code != 404 {
        tokio::task::yield_now().await;
    }
    api.get(V2).await.ok(200);
}
