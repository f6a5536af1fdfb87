//! Discovery and OpenAPI with what the extension server has.

use crate::support::cluster::admin;
use crate::world::{API_SERVICES, NAME, World, eventually};
use apiserver::{Config, body};
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::{Service, ServiceExt};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

impl World {
    async fn accepted(&self, path: &str, accept: &str) -> Value {
        let mut request = Request::get(path).header("accept", accept).body(body::empty()).expect("request");
        request.extensions_mut().insert(admin());
        let answer = self.cluster.server.service().ready().await.expect("ready").call(request).await.expect("answer");
        assert_eq!(answer.status(), 200, "{path}");
        serde_json::from_slice(&answer.into_body().collect().await.expect("body").to_bytes()).expect("json")
    }

    /// What the aggregated form says of the extension server's group version.
    async fn version(&self) -> Value {
        let list = self.accepted("/apis", AGGREGATED).await;
        let groups = list["items"].as_array().expect("groups");
        let group = groups.iter().find(|g| g["metadata"]["name"] == "wardle.example.com");
        group.map_or(Value::Null, |g| g["versions"][0].clone())
    }
}

async fn discovery(aggregated: bool) {
    let world = World::with(Config { bootstrap: false, ..Config::default() }, aggregated).await;
    let cluster = &world.cluster;
    assert_eq!(world.version().await, Value::Null);
    world.join().await;
    let group = cluster.get("/apis/wardle.example.com").await;
    assert_eq!(group["preferredVersion"]["groupVersion"], "wardle.example.com/v1alpha1");
    let all = cluster.get("/apis").await;
    let names: Vec<&str> =
        all["groups"].as_array().expect("groups").iter().filter_map(|g| g["name"].as_str()).collect();
    assert_eq!((names[0], names[1]), ("apiregistration.k8s.io", "apps"));
    assert_eq!(names.last(), Some(&"wardle.example.com"), "its priority is below those of built-in groups");
    let list = cluster.get("/apis/wardle.example.com/v1alpha1").await;
    assert_eq!(list["resources"][0]["name"], "flunders");
    let paths = cluster.get("/").await;
    assert!(paths["paths"].as_array().expect("paths").contains(&json!("/apis/wardle.example.com/v1alpha1")));
    let version = eventually(async || Some(world.version().await).filter(|v| v["freshness"] == "Current")).await;
    let resource = &version["resources"][0];
    assert_eq!((&resource["resource"], &resource["scope"]), (&json!("flunders"), &json!("Namespaced")));
    assert_eq!(resource["subresources"][0]["subresource"], "status");
    assert_eq!(resource["shortNames"], json!(["fl"]));

    cluster.endpoints("w", None).await;
    world.becomes("MissingEndpoints").await;
    let version = eventually(async || Some(world.version().await).filter(|v| v["freshness"] == "Stale")).await;
    assert_eq!(version, json!({"version": "v1alpha1", "freshness": "Stale"}));
    assert!(cluster.get("/apis").await.to_string().contains("wardle.example.com"), "the group stays");
    cluster.endpoints("w", Some(world.extension.backend.port)).await;
    world.becomes("Passed").await;
    eventually(async || Some(world.version().await).filter(|v| v["freshness"] == "Current")).await;
    assert_eq!(cluster.send(&admin(), "DELETE", &format!("{API_SERVICES}/{NAME}"), None).await.code, 200);
    eventually(async || Some(world.version().await).filter(Value::is_null)).await;
    assert_eq!(cluster.send(&admin(), "GET", "/apis/wardle.example.com", None).await.code, 404);
}

#[tokio::test]
async fn discovery_has_what_a_server_says_in_the_older_form() {
    discovery(false).await;
}

#[tokio::test]
async fn discovery_has_what_a_server_says_in_the_aggregated_form() {
    discovery(true).await;
}

#[tokio::test]
async fn who_has_the_aggregated_document_is_not_sent_it_again() {
    let world = World::start().await;
    let ask = async |known: &str| {
        let request = Request::get("/apis").header("accept", AGGREGATED).header("if-none-match", known);
        let mut request = request.body(body::empty()).expect("request");
        request.extensions_mut().insert(admin());
        let answer = world.cluster.server.service().ready().await.expect("ready").call(request).await.expect("answer");
        (answer.status().as_u16(), answer.headers()["etag"].to_str().expect("text").to_owned())
    };
    let (code, tag) = ask("\"another\"").await;
    assert_eq!(code, 200);
    assert_eq!(ask(&tag).await, (304, tag.clone()));
    world.cluster.made(API_SERVICES, world.api_service()).await;
    eventually(async || (ask(&tag).await.0 == 200).then_some(())).await;
}

#[tokio::test]
async fn priorities_order_groups_and_versions() {
    let world = World::start().await;
    for (group, version, group_priority, version_priority) in [
        ("b.example.com", "v1", 100, 10),
        ("b.example.com", "v2", 100, 20),
        ("b.example.com", "v3beta1", 100, 20),
        ("a.example.com", "v1beta1", 100, 10),
        ("first.example.com", "v1", 19_000, 10),
    ] {
        let name = format!("{version}.{group}");
        let object = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": name},
            "spec": {"group": group, "version": version, "groupPriorityMinimum": group_priority,
                "versionPriority": version_priority, "service": {"name": "none", "namespace": "hook"}}});
        world.cluster.made(API_SERVICES, object).await;
    }
    let all = eventually(async || {
        let all = world.cluster.get("/apis").await;
        (all["groups"][1]["name"] == "first.example.com").then_some(all)
    })
    .await;
    let text: Vec<String> = all["groups"]
        .as_array()
        .expect("groups")
        .iter()
        .map(|group| {
            let versions = group["versions"].as_array().expect("versions").iter().filter_map(|v| v["version"].as_str());
            format!("{} {}", group["name"].as_str().expect("name"), versions.collect::<Vec<_>>().join(","))
        })
        .collect();
    // As upstream orders lists of groups: by the objects' names where priorities are the same.
    assert_eq!(text[text.len() - 2..], ["b.example.com v2,v3beta1,v1", "a.example.com v1beta1"]);
    let aggregated = world.accepted("/apis", AGGREGATED).await;
    let names: Vec<&str> =
        aggregated["items"].as_array().expect("items").iter().filter_map(|g| g["metadata"]["name"].as_str()).collect();
    assert_eq!(names[names.len() - 2..], ["a.example.com", "b.example.com"]);
}

/// A v2 document: flunders, with a type that is here too, one that is here under the same name, and one of its own.
fn document() -> Value {
    let meta = "io.k8s.apimachinery.pkg.apis.meta.v1.";
    let schema = json!({"$ref": "#/definitions/com.example.wardle.Flunder"});
    let operation = json!({"operationId": "listFlunders", "produces": ["application/json"],
        "parameters": [{"$ref": "#/parameters/pretty-tJGM1-ng"}],
        "responses": {"200": {"description": "OK", "schema": schema}}});
    json!({"swagger": "2.0", "info": {"title": "wardle", "version": "v1"},
        "paths": {"/apis/wardle.example.com/v1alpha1/flunders": {"get": operation}, "/apis/": {"get": {}}},
        "parameters": {"pretty-tJGM1-ng": {"name": "pretty", "in": "query", "type": "string"}},
        "definitions": {
            "com.example.wardle.Flunder": {"type": "object", "properties": {
                "range": {"$ref": format!("#/definitions/{meta}GroupVersionForDiscovery")},
                "patch": {"$ref": format!("#/definitions/{meta}Patch")}}},
            format!("{meta}Patch"): {"description": "A patch.", "type": "object"},
            format!("{meta}GroupVersionForDiscovery"): {"type": "object", "properties": {"other": {"type": "string"}}}}})
}

#[tokio::test]
async fn openapi_has_what_the_server_describes() {
    let world = World::start().await;
    let cluster = &world.cluster;
    let before = cluster.get("/openapi/v2").await;
    *world.extension.state.v2.lock() = document();
    world.join().await;
    let path = "/apis/wardle.example.com/v1alpha1/flunders";
    let v2 = eventually(async || Some(cluster.get("/openapi/v2").await).filter(|d| d["paths"][path].is_object())).await;
    let grown = |field: &str| {
        let count = |document: &Value| document[field].as_object().expect("a map").len();
        count(&v2) - count(&before)
    };
    assert_eq!(grown("paths"), 1);
    let discovery = "io.k8s.apimachinery.pkg.apis.meta.v1.GroupVersionForDiscovery";
    assert_eq!(v2["definitions"][discovery], before["definitions"][discovery]);
    let renamed = format!("{discovery}_v2");
    assert_eq!(v2["definitions"][&renamed]["properties"]["other"]["type"], "string");
    let flunder = &v2["definitions"]["com.example.wardle.Flunder"]["properties"];
    assert_eq!(flunder["range"]["$ref"], format!("#/definitions/{renamed}"));
    assert_eq!(flunder["patch"]["$ref"], "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.Patch");
    assert_eq!(grown("definitions"), 2);
    // It has no v3 documents, so one is made.
    let name = "apis/wardle.example.com/v1alpha1";
    let index = cluster.get("/openapi/v3").await;
    let url = index["paths"][name]["serverRelativeURL"].as_str().expect("an entry").to_owned();
    let v3 = cluster.get(&url).await;
    assert_eq!(v3["paths"][path]["get"]["operationId"], "listFlunders");
    assert!(v3["components"]["schemas"][discovery].is_object(), "a document of its own needs no other names");
    // Then it has.
    *world.extension.state.v3.lock() = json!({"openapi": "3.0.0", "its": "own"});
    *world.extension.state.v2.lock() = Value::Null;
    let nudge = json!({"spec": {"versionPriority": 201}});
    assert_eq!(cluster.send(&admin(), "PATCH", &format!("{API_SERVICES}/{NAME}"), Some(&nudge)).await.code, 200);
    let there = format!("/openapi/v3/{name}?hash=ABC");
    eventually(async || {
        let index = cluster.get("/openapi/v3").await;
        (index["paths"][name]["serverRelativeURL"] == there).then_some(())
    })
    .await;
    assert_eq!(cluster.get(&there).await["its"], "own");
    // So does what it has beside, unless this server has it.
    let index = cluster.get("/openapi/v3").await;
    let group = "/openapi/v3/apis/wardle.example.com";
    assert_eq!(index["paths"]["apis/wardle.example.com"]["serverRelativeURL"], format!("{group}?hash=G"));
    assert_eq!(cluster.get(group).await["its"], "group");
    assert_ne!(index["paths"]["version"]["serverRelativeURL"], "/x");
    assert!(cluster.get("/openapi/v3/version").await["openapi"].is_string());
    let last = world.extension.last("/openapi/v3/").expect("seen").line;
    assert!(last.ends_with("/apis/wardle.example.com"), "{last}");
    assert_eq!(world.extension.last("/openapi/v3/apis").expect("seen").headers["x-remote-user"], "admin");
    assert_eq!(cluster.get("/openapi/v2").await, before);
    what_it_said_holds_while_it_is_not_available(&world, name, &there).await;
    assert_eq!(cluster.send(&admin(), "DELETE", &format!("{API_SERVICES}/{NAME}"), None).await.code, 200);
    eventually(async || cluster.get("/openapi/v3").await["paths"].get(name).is_none().then_some(())).await;
}

async fn what_it_said_holds_while_it_is_not_available(world: &World, name: &str, there: &str) {
    for code in [500, 404] {
        *world.extension.state.broken.lock() = code;
        let label = json!({"metadata": {"labels": {"a": format!("b{code}")}}});
        world.must("PATCH", &format!("{API_SERVICES}/{NAME}"), Some(label)).await;
        let said = format!(": {code}");
        eventually(async || {
            let condition = world.becomes("FailedDiscoveryCheck").await;
            condition["message"].as_str().is_some_and(|message| message.ends_with(&said)).then_some(())
        })
        .await;
    }
    *world.extension.state.v3.lock() = json!({"openapi": "3.0.0", "its": "newer"});
    assert_eq!(world.cluster.get("/openapi/v3").await["paths"][name]["serverRelativeURL"], there);
    *world.extension.state.broken.lock() = 0;
    world.becomes("Passed").await;
    eventually(async || (world.cluster.get(there).await["its"] == "newer").then_some(())).await;
}
