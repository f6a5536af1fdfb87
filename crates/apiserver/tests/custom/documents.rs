//! Discovery and OpenAPI of custom resources: the conformance behaviours called "CustomResourcePublishOpenAPI" and those
//! of discovery that name them.

use super::api::{Api, DEFINITIONS, definition};
use serde_json::{Value, json};

async fn v2(api: &Api) -> Value {
    api.get("/openapi/v2").await.ok(200)
}

fn schema() -> Value {
    json!({"type": "object", "description": "Foo CRD for Testing", "properties": {"spec": {"type": "object", "description": "Specification of Foo",
        "properties": {"bars": {"type": "array", "description": "List of Bars", "items": {"type": "object", "required": ["name"],
            "properties": {"name": {"type": "string"}, "age": {"type": "string"}}}}}}}})
}

/// [sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD with validation schema
#[tokio::test]
async fn publish_openapi_works_for_crd_with_validation_schema() {
    let api = Api::start().await;
    let before = api.get("/openapi/v3").await.ok(200);
    api.define(&definition("foos", "Foo", schema())).await;
    let published = v2(&api).await["definitions"]["com.example.v1.Foo"].clone();
    assert_eq!(published["properties"]["spec"], schema()["properties"]["spec"]);
    assert_eq!(
        published["x-kubernetes-group-version-kind"],
        json!([{"group": "example.com", "kind": "Foo", "version": "v1"}])
    );
    let index = api.get("/openapi/v3").await.ok(200);
    assert_ne!(index, before);
    let url = index["paths"]["apis/example.com/v1"]["serverRelativeURL"].as_str().expect("url");
    let document = api.get(url).await.ok(200);
    let foo = &document["components"]["schemas"]["com.example.v1.Foo"];
    assert_eq!(foo["properties"]["spec"]["properties"]["bars"]["items"]["required"], json!(["name"]));
    assert!(foo["properties"]["apiVersion"]["description"].as_str().expect("text").starts_with("APIVersion defines"));
}

/// [sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD without validation schema
/// [sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD preserving unknown fields at the schema root
#[tokio::test]
async fn publish_openapi_works_for_crd_preserving_unknown_fields_at_the_schema_root() {
    let api = Api::start().await;
    api.define(&definition("foos", "Foo", json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})))
        .await;
    let published = v2(&api).await["definitions"]["com.example.v1.Foo"].clone();
    assert_eq!((&published["type"], published.get("properties")), (&json!("object"), None));
}

/// [sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD preserving unknown fields in an embedded object
#[tokio::test]
async fn publish_openapi_works_for_crd_preserving_unknown_fields_in_an_embedded_object() {
    let api = Api::start().await;
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "description": "open"});
    api.define(&definition("foos", "Foo", json!({"type": "object", "properties": {"spec": open}}))).await;
    let published = v2(&api).await["definitions"]["com.example.v1.Foo"].clone();
    assert_eq!(
        published["properties"]["spec"],
        json!({"x-kubernetes-preserve-unknown-fields": true, "description": "open"})
    );
}

/// [sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for multiple CRDs of different groups
/// [sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for multiple CRDs of same group and version but different kinds
/// [sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for multiple CRDs of same group but different versions
#[tokio::test]
async fn publish_openapi_works_for_multiple_crds() {
    let api = Api::start().await;
    api.define(&definition("foos", "Foo", schema())).await;
    api.define(&definition("bars", "Bar", schema())).await;
    let mut other = definition("foos", "Foo", schema());
    other["metadata"]["name"] = "foos.other.example.org".into();
    other["spec"]["group"] = "other.example.org".into();
    other["spec"]["versions"] = json!([
        {"name": "v4", "served": true, "storage": false, "schema": {"openAPIV3Schema": schema()}},
        {"name": "v5", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema()}}]);
    api.define(&other).await;
    let definitions = v2(&api).await["definitions"].clone();
    for name in ["com.example.v1.Foo", "com.example.v1.Bar", "org.example.other.v4.Foo", "org.example.other.v5.FooList"]
    {
        assert!(definitions[name].is_object(), "{name}");
    }
}

/// [sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] updates the published spec when one version gets renamed
/// [sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] removes definition from spec when one version gets changed to not be served
#[tokio::test]
async fn publish_openapi_follows_versions() {
    let api = Api::start().await;
    let mut d = definition("foos", "Foo", schema());
    let versions = |second: &str, served: bool| {
        json!([
        {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema()}},
        {"name": second, "served": served, "storage": false, "schema": {"openAPIV3Schema": schema()}}])
    };
    d["spec"]["versions"] = versions("v2", true);
    api.define(&d).await;
    let etag = |answer: http::Response<apiserver::Body>| answer.headers()["etag"].to_str().expect("text").to_owned();
    let first = etag(api.raw("GET", "/openapi/v2", &[], apiserver::body::empty()).await);
    let path = format!("{DEFINITIONS}/foos.example.com");
    for (versions, wanted, gone) in [
        (versions("v3", true), "com.example.v3.Foo", "com.example.v2.Foo"),
        (versions("v3", false), "com.example.v1.Foo", "com.example.v3.Foo"),
    ] {
        api.merge(&path, &json!({"spec": {"versions": versions}})).await.ok(200);
        loop {
            let definitions = v2(&api).await["definitions"].clone();
            if definitions[wanted].is_object() && definitions.get(gone).is_none() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    let last = etag(api.raw("GET", "/openapi/v2", &[], apiserver::body::empty()).await);
    assert_ne!(first, last);
    let protobuf = [("accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")];
    let answer = api.raw("GET", "/openapi/v2", &protobuf, apiserver::body::empty()).await;
    assert_eq!(answer.status(), 200);
}

/// [sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] should include custom resource definition resources in discovery documents
/// [sig-api-machinery] AggregatedDiscovery should support aggregated discovery interface for CRDs
/// [sig-api-machinery] AggregatedDiscovery should support raw aggregated discovery request for CRDs
#[tokio::test]
async fn discovery_has_custom_resources() {
    let api = Api::start().await;
    let groups = api.get("/apis").await.ok(200);
    let named =
        |groups: &Value, name: &str| groups["groups"].as_array().expect("groups").iter().any(|g| g["name"] == name);
    assert!(named(&groups, "apiextensions.k8s.io"));
    let own = api.get("/apis/apiextensions.k8s.io/v1").await.ok(200);
    assert!(own["resources"].as_array().expect("resources").iter().any(|r| r["name"] == "customresourcedefinitions"));
    let mut d = definition("foos", "Foo", schema());
    d["spec"]["versions"] = json!([
        {"name": "v1beta1", "served": true, "storage": false, "schema": {"openAPIV3Schema": schema()}},
        {"name": "v1", "served": true, "storage": true, "subresources": {"status": {}}, "schema": {"openAPIV3Schema": schema()}}]);
    api.define(&d).await;
    let group = api.get("/apis/example.com").await.ok(200);
    assert_eq!(group["preferredVersion"]["version"], "v1");
    let resources = api.get("/apis/example.com/v1").await.ok(200);
    assert_eq!(resources["resources"][0]["kind"], "Foo");
    assert!(resources["resources"][0]["storageVersionHash"].is_string());
    let accept = ("accept", "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList");
    let all = api.send("GET", "/apis", &[accept], None).await.ok(200);
    let ours =
        all["items"].as_array().expect("items").iter().find(|i| i["metadata"]["name"] == "example.com").expect("group");
    assert_eq!(ours["versions"][0]["version"], "v1");
    assert_eq!(
        ours["versions"][0]["resources"][0]["responseKind"],
        json!({"group": "example.com", "version": "v1", "kind": "Foo"})
    );
    assert_eq!(ours["versions"][0]["resources"][0]["subresources"][0]["subresource"], "status");
}
