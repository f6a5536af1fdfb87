//! Webhooks and policies that speak another version than the request does: custom resources that a webhook converts.

use crate::policies::{binding, policy};
use crate::support::cluster::admin;
use crate::world::{DEFINITIONS, MUTATING, VALIDATING, World};
use serde_json::{Value, json};

/// A world with `hosts.test.io`: `v1`, which is stored, has `spec.hostPort`, `v2` has `spec.host` and `spec.port`.
async fn world() -> World {
    let world = World::start().await;
    let schema = |fields: &[&str]| {
        let fields: Value = fields.iter().map(|f| ((*f).to_owned(), json!({"type": "string"}))).collect();
        json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}}})
    };
    let client = json!({"service": {"namespace": "hook", "name": "w", "path": "/convert"}, "caBundle": world.bundle});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "hosts.test.io"}, "spec": {"group": "test.io", "scope": "Namespaced",
            "names": {"plural": "hosts", "singular": "host", "kind": "Host", "listKind": "HostList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema(&["hostPort"])},
                {"name": "v2", "served": true, "storage": false, "schema": schema(&["host", "port"])}],
            "conversion": {"strategy": "Webhook",
                "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": client}}}});
    world.cluster.made(DEFINITIONS, definition).await;
    world.until_established("hosts.test.io").await;
    world
}

fn hosts(version: &str) -> String {
    format!("/apis/test.io/{version}/namespaces/a/hosts")
}

fn host(name: &str, version: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("test.io/{version}"), "kind": "Host", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn a_webhook_sees_the_version_that_its_rule_names() {
    let world = world().await;
    let for_v2 = |name: &str, path: &str, extra: Value| {
        let mut hook = world.hook(name, path, "test.io:hosts", extra);
        hook["rules"][0]["apiVersions"] = json!(["v2"]);
        hook
    };
    let condition =
        json!({"matchConditions": [{"name": "c", "expression": "object != null && object.spec.port == '1'"}]});
    world.configure(MUTATING, "c", vec![for_v2("m.test.io", "/port-9", condition)]).await;
    world.configure(VALIDATING, "c", vec![for_v2("v.test.io", "/", json!({}))]).await;
    let exact = json!({"matchPolicy": "Exact"});
    world.configure(VALIDATING, "exact", vec![for_v2("exact.test.io", "/deny", exact)]).await;
    let made = world.cluster.made(&hosts("v1"), host("h", "v1", json!({"hostPort": "a:1"}))).await;
    assert_eq!((&made["apiVersion"], &made["spec"]), (&json!("test.io/v1"), &json!({"hostPort": "a:9"})));
    let reviews: Vec<Value> = world.seen.lock().iter().map(|review| review["request"].clone()).collect();
    let shown: Vec<(&Value, &Value)> =
        reviews.iter().map(|r| (&r["object"]["apiVersion"], &r["object"]["spec"])).collect();
    let v2 = json!("test.io/v2");
    assert_eq!(
        shown,
        [(&v2, &json!({"host": "a", "port": "1"})), (&v2, &json!({"host": "a", "port": "9"}))],
        "before and after mutation"
    );
    assert_eq!(
        (
            &reviews[0]["resource"]["version"],
            &reviews[0]["requestResource"]["version"],
            &reviews[0]["requestKind"]["version"]
        ),
        (&json!("v2"), &json!("v1"), &json!("v1"))
    );
    // An update and a deletion show the object before in that version too.
    world.forget();
    let (path, change) = (format!("{}/h", hosts("v1")), json!({"spec": {"hostPort": "b:2"}}));
    assert_eq!(world.cluster.send(&admin(), "PATCH", &path, Some(&change)).await.code, 200);
    let request = world.last_request();
    assert_eq!(
        (&request["oldObject"]["spec"], &request["object"]["spec"]),
        (&json!({"host": "a", "port": "9"}), &json!({"host": "b", "port": "2"}))
    );
    assert_eq!(world.cluster.send(&admin(), "DELETE", &path, None).await.code, 200);
    let request = world.last_request();
    assert_eq!(
        (&request["operation"], &request["oldObject"]["spec"]),
        (&json!("DELETE"), &json!({"host": "b", "port": "2"}))
    );
}

#[tokio::test]
async fn a_policy_sees_the_version_that_its_rule_names() {
    let world = world().await;
    let spec = json!({"matchConditions": [{"name": "c", "expression": "object.spec.host != 'free'"}],
        "validations": [{"expression": "object.spec.port != '1' && (oldObject == null || oldObject.spec.port != '3') \
            && object.apiVersion == 'test.io/v2' && request.resource.version == 'v2' && request.requestKind.version == 'v1'",
            "message": "not this port"}]});
    policy(&world, "p", ("test.io", "v2", "hosts"), spec).await;
    binding(&world, "b", "p", json!({})).await;
    for (host_port, code) in [("a:1", 422), ("free:1", 201), ("a:2", 201), ("b:3", 201)] {
        let name = host_port.replace(':', "-");
        let answer = world.cluster.post(&hosts("v1"), host(&name, "v1", json!({"hostPort": host_port}))).await;
        assert_eq!(answer.code, code, "{host_port}: {}", answer.value);
    }
    let path = format!("{}/b-3", hosts("v1"));
    let refused = world.cluster.send(&admin(), "PATCH", &path, Some(&json!({"spec": {"hostPort": "b:4"}}))).await;
    assert!(refused.message().ends_with("denied request: not this port"), "{}", refused.value);
    let exact = json!([{"op": "replace", "path": "/spec/matchConstraints/matchPolicy", "value": "Exact"}]);
    let policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/p";
    assert_eq!(world.cluster.send(&admin(), "PATCH", policies, Some(&exact)).await.code, 200);
    world.cluster.made(&hosts("v1"), host("exact", "v1", json!({"hostPort": "a:1"}))).await;
}

#[tokio::test]
async fn custom_resources_are_parameters() {
    let world = world().await;
    world.cluster.made(&hosts("v1"), host("limits", "v1", json!({"hostPort": "h:7"}))).await;
    let spec = json!({"paramKind": {"apiVersion": "test.io/v2", "kind": "Host"},
        "validations": [{"expression": "object.data.port == params.spec.port && params.apiVersion == 'test.io/v2'",
            "messageExpression": "'wants ' + params.spec.port"}]});
    policy(&world, "p", ("", "v1", "configmaps"), spec).await;
    binding(&world, "b", "p", json!({"paramRef": {"name": "limits", "parameterNotFoundAction": "Deny"}})).await;
    let map = |port: &str| crate::world::map(&format!("m{port}"), json!({"port": port}));
    let refused = world.cluster.post(crate::world::MAPS, map("8")).await;
    assert!(refused.message().ends_with("denied request: wants 7"), "{}", refused.value);
    world.cluster.made(crate::world::MAPS, map("7")).await;
    // Parameters of another namespace are not there.
    let other = world.cluster.post("/api/v1/namespaces/b/configmaps", map("7")).await;
    assert!(other.message().contains("no params found for policy binding with `Deny`"), "{}", other.value);
}
