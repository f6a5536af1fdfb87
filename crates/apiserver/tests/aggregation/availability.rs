//! What API services say of the servers behind them.

use crate::support::cluster::admin;
use crate::world::{API_SERVICES, Lines, NAME, World, eventually, in_time};
use apiserver::Config;
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn each_obstacle_has_its_reason_and_goes_when_it_is_gone() {
    let world = World::start().await;
    let cluster = &world.cluster;
    let mut wanted = world.api_service();
    wanted["spec"]["service"]["name"] = "later".into();
    cluster.made(API_SERVICES, wanted).await;
    let condition = world.becomes("ServiceNotFound").await;
    assert_eq!(condition["message"], "service/later in \"hook\" is not present");
    assert_eq!(condition["status"], "False");
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "later"},
        "spec": {"ports": [{"name": "web", "port": 80}]}});
    cluster.made("/api/v1/namespaces/hook/services", service).await;
    assert_eq!(
        world.becomes("ServicePortError").await["message"],
        "service/later in \"hook\" is not listening on port 443"
    );
    let ports = json!({"spec": {"ports": [{"port": 443}]}});
    cluster.send(&admin(), "PATCH", "/api/v1/namespaces/hook/services/later", Some(&ports)).await;
    world.becomes("EndpointsNotFound").await;
    cluster.endpoints("later", None).await;
    let condition = world.becomes("MissingEndpoints").await;
    assert_eq!(condition["message"], "endpoints for service/later in \"hook\" have no addresses with port name \"\"");
    let metrics = world.metrics().await;
    assert!(metrics.contains(&format!("aggregator_unavailable_apiservice{{name=\"{NAME}\"}} 1")), "{metrics}");
    *world.extension.state.broken.lock() = 500;
    cluster.endpoints("later", Some(world.extension.backend.port)).await;
    let condition = world.becomes("FailedDiscoveryCheck").await;
    assert!(condition["message"].as_str().expect("text").ends_with("/apis/wardle.example.com/v1alpha1: 500"));
    // Nothing tells of this but asking again.
    *world.extension.state.broken.lock() = 0;
    assert_eq!(world.becomes("Passed").await["message"], "all checks passed");
    let metrics = world.metrics().await;
    assert!(metrics.contains(&format!("aggregator_unavailable_apiservice{{name=\"{NAME}\"}} 0")), "{metrics}");
    cluster.endpoints("later", None).await;
    world.becomes("MissingEndpoints").await;
    let lost = format!("aggregator_unavailable_apiservice_total{{name=\"{NAME}\",reason=\"MissingEndpoints\"}} 1");
    // It is counted once the condition is written, so the condition may be seen first.
    eventually(async || world.metrics().await.contains(&lost).then_some(())).await;

    // Any write is a reason to look again, long before it is time to.
    cluster.endpoints("later", Some(world.extension.backend.port)).await;
    world.becomes("Passed").await;
    *world.extension.state.broken.lock() = 500;
    let note = json!({"metadata": {"annotations": {"a": "b"}}});
    cluster.send(&admin(), "PATCH", &format!("{API_SERVICES}/{NAME}"), Some(&note)).await;
    let found = tokio::time::timeout(Duration::from_secs(15), world.becomes("FailedDiscoveryCheck")).await;
    found.expect("it was not asked again");
    let wrong = json!({"status": {"conditions": [{"type": "Available", "status": "Maybe"}]}});
    let refused = cluster.send(&admin(), "PATCH", &format!("{API_SERVICES}/{NAME}/status"), Some(&wrong)).await;
    assert!(refused.message().ends_with("supported values: \"True\", \"False\", \"Unknown\""), "{}", refused.value);

    // What is served here is available.
    let local = json!({"spec": {"service": null, "caBundle": null}});
    cluster.send(&admin(), "PATCH", &format!("{API_SERVICES}/{NAME}"), Some(&local)).await;
    assert_eq!(world.becomes("Local").await["status"], "True");
    assert_eq!(cluster.send(&admin(), "DELETE", &format!("{API_SERVICES}/{NAME}"), None).await.code, 200);
}

fn definition(group: &str, served: bool) -> Value {
    let version = |name: &str, served: bool, storage: bool| {
        json!({"name": name, "served": served, "storage": storage,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
    };
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("widgets.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [version("v1", true, true), version("v2", served, false)]}})
}

#[tokio::test]
async fn custom_resources_have_api_services_for_as_long_as_they_are_served() {
    let world = World::with(Config::default(), false).await;
    world.cluster.server.ready().await;
    let cluster = &world.cluster;
    let built_in = cluster.get(&format!("{API_SERVICES}/v1.apps")).await;
    assert_eq!(built_in["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "onstart");
    assert_eq!(built_in["status"]["conditions"][0]["reason"], "Local");
    let watch = cluster
        .raw(
            &admin(),
            "GET",
            &format!("{API_SERVICES}?watch=true&sendInitialEvents=false&resourceVersionMatch=NotOlderThan"),
            None,
        )
        .await;
    let mut lines = Lines::new(watch.into_body());
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    cluster.made(definitions, definition("example.com", true)).await;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let event = in_time("an API service", lines.next()).await.expect("event");
        if event["object"]["spec"]["group"] == "example.com" && event["type"] == "ADDED" {
            let object = &event["object"];
            assert_eq!(object["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "true");
            assert_eq!(object["spec"]["groupPriorityMinimum"], 1000);
            seen.push(object["metadata"]["name"].as_str().expect("name").to_owned());
        }
    }
    seen.sort();
    assert_eq!(seen, ["v1.example.com", "v2.example.com"]);
    let one = format!("{definitions}/widgets.example.com");
    let fewer = json!({"spec": definition("example.com", false)["spec"]});
    assert_eq!(cluster.send(&admin(), "PATCH", &one, Some(&fewer)).await.code, 200);
    gone(&mut lines, "v2.example.com").await;
    assert_eq!(cluster.send(&admin(), "DELETE", &one, None).await.code, 200);
    gone(&mut lines, "v1.example.com").await;
    // One that is taken away while it is needed comes back.
    cluster.made(definitions, definition("example.org", false)).await;
    let path = format!("{API_SERVICES}/v1.example.org");
    added(&mut lines, "v1.example.org").await;
    assert_eq!(cluster.send(&admin(), "DELETE", &path, None).await.code, 200);
    added(&mut lines, "v1.example.org").await;
}

async fn gone(lines: &mut Lines, name: &str) {
    happens(lines, "DELETED", name).await;
}

async fn added(lines: &mut Lines, name: &str) {
    happens(lines, "ADDED", name).await;
}

async fn happens(lines: &mut Lines, kind: &str, name: &str) {
    loop {
        let event = in_time(name, lines.next()).await.expect("event");
        if event["type"] == kind && event["object"]["metadata"]["name"] == name {
            return;
        }
    }
}
