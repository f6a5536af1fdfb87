//! Hundreds of definitions: what is done for one is not done for all. It is counted, not timed.

use super::api::{Api, DEFINITIONS, condition};
use futures::future::join_all;
use http_body_util::BodyExt;
use serde_json::{Value, json};

const GROUPS: usize = 10;
const DEFINED: usize = 300;

fn schema(field: &str) -> Value {
    json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {field: {"type": "string"}}}}})
}

fn place(i: usize) -> (String, String) {
    (format!("g{}.example.com", i % GROUPS), format!("k{i}s"))
}

fn name(i: usize) -> String {
    let (group, plural) = place(i);
    format!("{plural}.{group}")
}

fn definition(i: usize) -> Value {
    let ((group, plural), kind) = (place(i), format!("K{i}"));
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema("a")}});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": name(i)}, "spec": {"group": group, "scope": "Cluster", "versions": [version],
        "names": {"plural": plural, "singular": format!("k{i}"), "kind": kind, "listKind": format!("{kind}List")}}})
}

async fn metric(api: &Api, name: &str) -> usize {
    let answer = api.raw("GET", "/metrics", &[], apiserver::body::empty()).await;
    let bytes = answer.into_body().collect().await.expect("body").to_bytes();
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.expect("a metric").parse().expect("a number")
}

/// How many versions of custom resources are compiled, and how many were described for OpenAPI.
async fn counted(api: &Api) -> (usize, usize) {
    let compiled = metric(api, "mainstay_custom_resource_schemas_compiled").await;
    (compiled, metric(api, "mainstay_custom_resource_openapi_made_total").await)
}

async fn create(api: &Api, i: usize, object: &str) {
    let ((group, plural), kind) = (place(i), format!("K{i}"));
    let object =
        json!({"apiVersion": format!("{group}/v1"), "kind": kind, "metadata": {"name": object}, "spec": {"a": "b"}});
    api.post(&format!("/apis/{group}/v1/{plural}"), &object).await.ok(201);
}

fn type_name(i: usize) -> String {
    format!("com.example.g{}.v1.K{i}", i % GROUPS)
}

async fn v2(api: &Api) -> (String, Value) {
    let answer = api.raw("GET", "/openapi/v2", &[], apiserver::body::empty()).await;
    assert_eq!(answer.status(), 200);
    let tag = answer.headers()["etag"].to_str().expect("text").to_owned();
    let bytes = answer.into_body().collect().await.expect("body").to_bytes();
    (tag, serde_json::from_slice(&bytes).expect("json"))
}

async fn discovered(api: &Api) -> usize {
    let form = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let all = api.send("GET", "/apis", &[("accept", form)], None).await.ok(200);
    let groups = all["items"].as_array().expect("groups").iter();
    let ours = groups.filter(|g| g["metadata"]["name"].as_str().is_some_and(|n| n.ends_with(".example.com")));
    ours.flat_map(|g| g["versions"].as_array().expect("versions"))
        .map(|v| v["resources"].as_array().expect("resources").len())
        .sum()
}

#[tokio::test]
async fn a_change_of_one_definition_is_made_for_one() {
    let api = Api::start().await;
    let definitions: Vec<Value> = (0..DEFINED).map(definition).collect();
    for answer in join_all(definitions.iter().map(|d| api.post(DEFINITIONS, d))).await {
        answer.ok(201);
    }
    for i in 0..DEFINED {
        api.until(&format!("{DEFINITIONS}/{}", name(i)), |d| condition(d, "Established") == "True").await;
    }
    assert_eq!(discovered(&api).await, DEFINED);
    assert_eq!(counted(&api).await, (0, 0), "nobody has used them");
    create(&api, 17, "first").await;
    assert_eq!(counted(&api).await, (1, 0));
    let (tag, document) = v2(&api).await;
    assert!((0..DEFINED).all(|i| document["definitions"][type_name(i)].is_object()));
    assert_eq!(counted(&api).await, (1, DEFINED));
    let known = api.raw("GET", "/openapi/v2", &[("if-none-match", &tag)], apiserver::body::empty()).await;
    assert_eq!(known.status(), 304);

    let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema("new")}});
    let path = format!("{DEFINITIONS}/{}", name(21));
    api.merge(&path, &json!({"spec": {"versions": [version]}})).await.ok(200);
    let changed = loop {
        let (changed, document) = v2(&api).await;
        if document["definitions"][type_name(21)]["properties"]["spec"]["properties"]["new"].is_object() {
            break changed;
        }
        tokio::task::yield_now().await;
    };
    assert_ne!(tag, changed);
    assert_eq!(counted(&api).await, (1, DEFINED + 1), "what is said of the others stays");
    let (group, _) = place(21);
    let document = api.get(&format!("/openapi/v3/apis/{group}/v1")).await.ok(200);
    let schemas = document["components"]["schemas"].as_object().expect("types");
    assert!(schemas.contains_key("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"));
    assert!(schemas[&type_name(21)]["properties"]["spec"]["properties"]["new"].is_object());
    assert_eq!(counted(&api).await, (1, DEFINED + 1 + DEFINED / GROUPS), "a document of v3 is of one group version");

    api.delete(&format!("{DEFINITIONS}/{}", name(33))).await.ok(200);
    api.until_gone(&format!("{DEFINITIONS}/{}", name(33))).await;
    while discovered(&api).await == DEFINED {
        tokio::task::yield_now().await;
    }
    let (tag, document) = v2(&api).await;
    assert!(document["definitions"][type_name(33)].is_null() && document["definitions"][type_name(3)].is_object());
    assert_eq!(counted(&api).await, (1, DEFINED + 1 + DEFINED / GROUPS));
    after_a_restart(api, &tag).await;
}

async fn after_a_restart(api: Api, tag: &str) {
    let api = api.restart().await;
    assert_eq!(discovered(&api).await, DEFINED - 1, "all are served at once");
    create(&api, 42, "second").await;
    create(&api, 17, "second").await;
    assert_eq!(counted(&api).await, (2, 0), "those that have objects, and no other");
    let known = api.raw("GET", "/openapi/v2", &[("if-none-match", tag)], apiserver::body::empty()).await;
    assert_eq!(known.status(), 304);
    assert_eq!(counted(&api).await, (2, 0), "what a client knows needs not be made again");
    api.define(&definition(DEFINED)).await;
    create(&api, DEFINED, "first").await;
    assert_eq!(counted(&api).await, (3, 0));
}

#[tokio::test]
async fn a_name_is_given_once_among_many_that_want_it() {
    let api = Api::start().await;
    let wants = |i: usize| {
        let mut definition = definition(i * GROUPS);
        definition["spec"]["names"]["kind"] = "Same".into();
        definition
    };
    let definitions: Vec<Value> = (0..20).map(wants).collect();
    for answer in join_all(definitions.iter().map(|d| api.post(DEFINITIONS, d))).await {
        answer.ok(201);
    }
    let mut given = Vec::new();
    for definition in &definitions {
        let path = format!("{DEFINITIONS}/{}", definition["metadata"]["name"].as_str().expect("name"));
        let settled = api.until(&path, |d| !condition(d, "NamesAccepted").is_empty()).await;
        if condition(&settled, "NamesAccepted") == "True" {
            given.push(path);
        }
    }
    assert_eq!(given.len(), 1);
    api.delete(&given[0]).await.ok(200);
    let others = definitions.iter().map(|d| format!("{DEFINITIONS}/{}", d["metadata"]["name"].as_str().expect("name")));
    let others: Vec<String> = others.filter(|path| *path != given[0]).collect();
    let next = others.iter().map(|path| Box::pin(api.until(path, |d| condition(d, "Established") == "True")));
    futures::future::select_all(next).await;
}
