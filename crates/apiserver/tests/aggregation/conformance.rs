//! What upstream's conformance suite asks of the aggregator, with the extension server of these tests in place of its
//! sample.

use crate::support::cluster::admin;
use crate::world::{API_SERVICES, FLUNDERS, NAME, World, eventually, flunder};
use apiserver::Config;
use serde_json::json;

/// [sig-api-machinery] Aggregator Should be able to support the 1.17 Sample API Server using the current Aggregator
#[tokio::test]
async fn the_sample_api_server_is_supported() {
    let world = World::with(Config::default(), false).await;
    world.cluster.server.ready().await;
    world.join().await;
    its_objects_live_as_others_do(&world).await;
    discovery_knows_them(&world).await;
    the_api_service_is_an_object(&world).await;
    conditions_of_others_stay(&world).await;
    it_is_replaced_found_by_its_label_and_deleted(&world).await;
}

async fn its_objects_live_as_others_do(world: &World) {
    world.must("POST", FLUNDERS, Some(flunder("test-flunder"))).await;
    assert_eq!(world.must("GET", FLUNDERS, None).await["items"].as_array().map(Vec::len), Some(1));
    world.must("DELETE", &format!("{FLUNDERS}/test-flunder"), None).await;
    assert_eq!(world.must("GET", FLUNDERS, None).await["items"], json!([]));
    world.must("POST", FLUNDERS, Some(flunder("dynamic-flunder"))).await;
    let patched =
        world.must("PATCH", &format!("{FLUNDERS}/dynamic-flunder"), Some(json!({"spec": {"reference": "z"}}))).await;
    assert_eq!(patched["spec"]["reference"], "z");
    world.must("DELETE", FLUNDERS, None).await;
    assert_eq!(world.must("GET", FLUNDERS, None).await["items"], json!([]));
}

async fn discovery_knows_them(world: &World) {
    let groups = world.must("GET", "/apis", None).await;
    let group = groups["groups"].as_array().expect("groups").iter().find(|g| g["name"] == "wardle.example.com");
    assert_eq!(
        group.expect("the group")["versions"],
        json!([{"groupVersion": "wardle.example.com/v1alpha1", "version": "v1alpha1"}])
    );
    let list = world.must("GET", "/apis/wardle.example.com/v1alpha1", None).await;
    assert_eq!((&list["resources"][0]["name"], &list["resources"][0]["kind"]), (&json!("flunders"), &json!("Flunder")));
}

async fn the_api_service_is_an_object(world: &World) {
    let one = format!("{API_SERVICES}/{NAME}");
    let status = world.must("GET", &format!("{one}/status"), None).await;
    assert_eq!((&status["kind"], &status["spec"]["service"]["port"]), (&json!("APIService"), &json!(443)));
    assert_eq!(status["status"]["conditions"][0]["type"], "Available");
    world.must("PATCH", &one, Some(json!({"spec": {"versionPriority": 400}}))).await;
    let all = world.must("GET", API_SERVICES, None).await;
    let named = all["items"].as_array().expect("items").iter().find(|s| s["metadata"]["name"] == NAME);
    assert_eq!(named.expect("listed")["spec"]["versionPriority"], 400);
    let labelled =
        world.must("PATCH", &one, Some(json!({"metadata": {"labels": {"e2e-apiservice": "patched"}}}))).await;
    assert_eq!(labelled["metadata"]["labels"]["e2e-apiservice"], "patched");
}

/// What the server found out is written again if it is lost.
async fn conditions_of_others_stay(world: &World) {
    let one = format!("{API_SERVICES}/{NAME}");
    let condition = |kind: &str| {
        json!({"type": kind, "status": "True", "reason": "E2E", "message": "Set from e2e test",
        "lastTransitionTime": "2024-01-01T00:00:00Z"})
    };
    let mut live = world.must("GET", &one, None).await;
    live["status"]["conditions"].as_array_mut().expect("conditions").push(condition("StatusUpdated"));
    let updated = world.must("PUT", &format!("{one}/status"), Some(live)).await;
    assert_eq!(updated["status"]["conditions"][1]["type"], "StatusUpdated");
    let only = json!({"status": {"conditions": [condition("StatusPatched")]}});
    let patched = world.must("PATCH", &format!("{one}/status"), Some(only)).await;
    assert_eq!(patched["status"]["conditions"][0]["type"], "StatusPatched");
    let kinds = eventually(async || {
        let live = world.cluster.get(&one).await;
        let conditions = live["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let kinds: Vec<String> = conditions.iter().filter_map(|c| Some(c["type"].as_str()?.to_owned())).collect();
        kinds.contains(&"Available".to_owned()).then_some(kinds)
    })
    .await;
    assert_eq!(kinds, ["StatusPatched", "Available"]);
    world.must("GET", FLUNDERS, None).await;
}

async fn it_is_replaced_found_by_its_label_and_deleted(world: &World) {
    let one = format!("{API_SERVICES}/{NAME}");
    let mut live = world.must("GET", &one, None).await;
    live["metadata"]["labels"] = json!({"e2e-apiservice": "updated"});
    world.must("PUT", &one, Some(live)).await;
    let selected = format!("{API_SERVICES}?labelSelector=e2e-apiservice%3Dupdated");
    assert_eq!(world.must("GET", &selected, None).await["items"].as_array().map(Vec::len), Some(1));
    world.must("DELETE", &selected, None).await;
    eventually(async || (world.cluster.get(&selected).await["items"] == json!([])).then_some(())).await;
    let gone = eventually(async || {
        let answer = world.cluster.send(&admin(), "GET", FLUNDERS, None).await;
        (answer.code == 404).then_some(answer.value)
    })
    .await;
    assert_eq!(gone, "404 page not found\n");
    let listed = async || world.cluster.get("/apis").await.to_string().contains("wardle.example.com");
    eventually(async || (!listed().await).then_some(())).await;
}
