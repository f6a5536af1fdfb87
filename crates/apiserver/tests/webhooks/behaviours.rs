//! Conformance behaviours of webhooks that take several steps.

use crate::support::cluster::admin;
use crate::world::{DEFINITIONS, MAPS, MUTATING, VALIDATING, World, definition, map, version};
use serde_json::{Value, json};

const THINGS: &str = "/apis/test.io/v1/namespaces/a/things";

fn thing(name: &str, data: Value) -> Value {
    json!({"apiVersion": "test.io/v1", "kind": "Thing", "metadata": {"name": name}, "data": data})
}

async fn with_things() -> World {
    let world = World::start().await;
    world.cluster.made(DEFINITIONS, definition(json!([version("v1", true), version("v2", false)]))).await;
    world.until_established("things.test.io").await;
    world
}

/// Ten configurations with a label are listed by it and deleted by it, in effect as long as they are there.
/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] listing validating webhooks should work
/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] listing mutating webhooks should work
#[tokio::test]
async fn configurations_are_listed_and_deleted_by_label() {
    let world = World::start().await;
    for (collection, path) in [(VALIDATING, "/deny"), (MUTATING, "/first")] {
        let tag = path.trim_start_matches('/');
        for n in 0..10 {
            let name = format!("{tag}-{n}");
            world.configure(collection, &name, vec![world.hook("w.test.io", path, "configmaps", json!({}))]).await;
            let label = json!({"metadata": {"labels": {"e2e-list": tag}}});
            let patched = world.cluster.send(&admin(), "PATCH", &format!("{collection}/{name}"), Some(&label)).await;
            assert_eq!(patched.code, 200, "{}", patched.value);
        }
        let labelled = format!("{collection}?labelSelector=e2e-list%3D{tag}");
        assert_eq!(world.cluster.get(&labelled).await["items"].as_array().map(Vec::len), Some(10));
        let acts = async |name: &str| {
            let made = world.cluster.post(MAPS, map(name, json!({"k": "v"}))).await;
            made.code == 400 || made.value["data"]["first"] == "yes"
        };
        assert!(acts(&format!("{tag}-before")).await, "{path}");
        assert_eq!(world.cluster.send(&admin(), "DELETE", &labelled, None).await.code, 200);
        assert_eq!(world.cluster.get(&labelled).await["items"], json!([]));
        assert!(!acts(&format!("{tag}-after")).await, "{path}");
    }
}

/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to deny custom resource creation, update and deletion
#[tokio::test]
async fn custom_resources_are_denied() {
    let world = with_things().await;
    let hook = world.hook("deny.test.io", "/deny-unwanted", "test.io:things", json!({}));
    world.configure(VALIDATING, "deny", vec![hook]).await;
    let why = "admission webhook \"deny.test.io\" denied the request without explanation";
    let denied = world.cluster.post(THINGS, thing("bad", json!({"unwanted": "1"}))).await;
    assert_eq!((denied.code, denied.message()), (400, why));
    world.cluster.made(THINGS, thing("good", json!({"first": "1"}))).await;
    let path = format!("{THINGS}/good");
    let unwanted = json!({"data": {"unwanted": "1"}});
    assert_eq!(world.cluster.send(&admin(), "PATCH", &path, Some(&unwanted)).await.message(), why);
    let mut whole = world.cluster.get(&path).await;
    whole["data"]["unwanted"] = "1".into();
    assert_eq!(world.cluster.send(&admin(), "PUT", &path, Some(&whole)).await.message(), why);
    // One that came in before the webhook was there cannot be deleted while it is.
    let configuration = format!("{VALIDATING}/deny");
    let saved = world.cluster.get(&configuration).await;
    world.cluster.send(&admin(), "DELETE", &configuration, None).await;
    world.cluster.made(THINGS, thing("bad", json!({"unwanted": "1"}))).await;
    world.configure(VALIDATING, "deny", vec![saved["webhooks"][0].clone()]).await;
    let bad = format!("{THINGS}/bad");
    assert_eq!(world.cluster.send(&admin(), "DELETE", &bad, None).await.message(), why);
    let mended = json!({"data": {"unwanted": null}});
    assert_eq!(world.cluster.send(&admin(), "PATCH", &bad, Some(&mended)).await.code, 200);
    assert_eq!(world.cluster.send(&admin(), "DELETE", &bad, None).await.code, 200);
}

/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate custom resource with different stored version
#[tokio::test]
async fn mutation_lives_through_a_change_of_the_stored_version() {
    let world = with_things().await;
    let hook = world.hook("first.test.io", "/first", "test.io:things", json!({}));
    world.configure(MUTATING, "first", vec![hook]).await;
    let made = world.cluster.made(THINGS, thing("t", json!({"nested": {"kept": "1"}}))).await;
    assert_eq!(made["data"]["first"], "yes");
    let stored = json!([{"op": "replace", "path": "/spec/versions/0/storage", "value": false},
        {"op": "replace", "path": "/spec/versions/1/storage", "value": true}]);
    let name = format!("{DEFINITIONS}/things.test.io");
    assert_eq!(world.cluster.send(&admin(), "PATCH", &name, Some(&stored)).await.code, 200);
    // The change is in effect once the status names the new version too.
    world.until(&format!("{DEFINITIONS}?watch=true"), |d| d["status"]["storedVersions"] == json!(["v1", "v2"])).await;
    let path = format!("{THINGS}/t");
    let patched = world.cluster.send(&admin(), "PATCH", &path, Some(&json!({"data": {"second": "2"}}))).await;
    assert_eq!(patched.code, 200, "{}", patched.value);
    let expected = json!({"nested": {"kept": "1"}, "first": "yes", "second": "2", "filled": "yes"});
    assert_eq!(patched.value["data"], expected);
    let other = world.cluster.get("/apis/test.io/v2/namespaces/a/things/t").await;
    assert_eq!((&other["apiVersion"], &other["data"]), (&json!("test.io/v2"), &expected));
}
