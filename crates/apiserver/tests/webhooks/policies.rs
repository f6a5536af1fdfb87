//! Validating admission policies: the conformance behaviours, and writes that are no plain objects.

use crate::support::cluster::admin;
use crate::world::{MAPS, PODS, World, map, pod};
use serde_json::{Value, json};

pub const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
pub const BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";

/// Makes a policy for all writes of a resource, given as group, version and name.
pub async fn policy(world: &World, name: &str, resource: (&str, &str, &str), spec: Value) -> Value {
    let rule = json!({"apiGroups": [resource.0], "apiVersions": [resource.1], "resources": [resource.2],
        "operations": ["*"]});
    let mut all = json!({"matchConstraints": {"resourceRules": [rule]}});
    all.as_object_mut().expect("object").extend(spec.as_object().cloned().expect("object"));
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name}, "spec": all});
    world.cluster.made(POLICIES, policy).await
}

/// Binds a policy; it denies unless `spec` says otherwise.
pub async fn binding(world: &World, name: &str, policy: &str, spec: Value) -> Value {
    let mut all = json!({"policyName": policy, "validationActions": ["Deny"]});
    all.as_object_mut().expect("object").extend(spec.as_object().cloned().expect("object"));
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name}, "spec": all});
    world.cluster.made(BINDINGS, binding).await
}

fn workload(kind: &str, name: &str, replicas: i64) -> Value {
    let labels = json!({"app": name});
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": {"replicas": replicas,
        "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod("x")["spec"]}}})
}

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/a/deployments";

/// [sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should validate against a Deployment
#[tokio::test]
async fn deployments_are_validated() {
    let world = World::start().await;
    let spec = json!({"validations": [{"expression": "object.spec.replicas > 1",
        "messageExpression": "'wants replicas > 1, got ' + object.spec.replicas"}]});
    policy(&world, "p", ("apps", "v1", "deployments"), spec).await;
    let chosen = json!({"matchResources": {"namespaceSelector": {"matchLabels": {"on": "yes"}}}});
    binding(&world, "b", "p", chosen).await;
    let denied = world.cluster.post(DEPLOYMENTS, workload("Deployment", "marker", 1)).await;
    assert_eq!((denied.code, &denied.value["reason"]), (422, &json!("Invalid")), "{}", denied.value);
    // The message expression confuses types, and so says nothing.
    let prefix =
        "deployments.apps \"marker\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request";
    assert_eq!(denied.message(), format!("{prefix}: failed expression: object.spec.replicas > 1"));
    world.cluster.made(DEPLOYMENTS, workload("Deployment", "replicated", 2)).await;
    world.cluster.made("/apis/apps/v1/namespaces/a/replicasets", workload("ReplicaSet", "single", 1)).await;
    world.cluster.made("/apis/apps/v1/namespaces/b/deployments", workload("Deployment", "elsewhere", 1)).await;
}

/// [sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should allow expressions to refer variables.
#[tokio::test]
async fn expressions_refer_to_variables() {
    let world = World::start().await;
    let spec = json!({"variables": [{"name": "replicas", "expression": "object.spec.replicas"},
            {"name": "oddReplicas", "expression": "variables.replicas % 2 == 1"}],
        "validations": [{"expression": "variables.replicas > 1"}, {"expression": "variables.oddReplicas"}]});
    policy(&world, "p", ("apps", "v1", "deployments"), spec).await;
    binding(&world, "b", "p", json!({})).await;
    for (replicas, wrong) in [(1, "variables.replicas > 1"), (2, "variables.oddReplicas"), (3, "")] {
        let answer = world.cluster.post(DEPLOYMENTS, workload("Deployment", "d", replicas)).await;
        assert_eq!(answer.code == 201, wrong.is_empty(), "{replicas}: {}", answer.value);
        assert!(answer.message().ends_with(wrong), "{}", answer.value);
    }
}

/// [sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should support ValidatingAdmissionPolicy API operations
/// [sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should support ValidatingAdmissionPolicyBinding API operations
#[tokio::test]
async fn policies_and_bindings_have_all_verbs() {
    let world = World::start().await;
    let api = &world.cluster;
    let groups = api.get("/apis").await;
    let names: Vec<&Value> = groups["groups"].as_array().expect("list").iter().map(|g| &g["name"]).collect();
    assert!(names.contains(&&json!("admissionregistration.k8s.io")));
    let served = api.get("/apis/admissionregistration.k8s.io/v1").await;
    let served: Vec<&str> =
        served["resources"].as_array().expect("list").iter().filter_map(|r| r["name"].as_str()).collect();
    for name in
        ["validatingadmissionpolicies", "validatingadmissionpolicies/status", "validatingadmissionpolicybindings"]
    {
        assert!(served.contains(&name), "{name}");
    }
    for (collection, is_policy) in [(POLICIES, true), (BINDINGS, false)] {
        let make = async |name: &str| {
            if is_policy {
                policy(&world, name, ("apps", "v1", "deployments"), json!({"validations": [{"expression": "true"}]}))
                    .await
            } else {
                binding(&world, name, "p", json!({})).await
            }
        };
        let patch = async |path: &str, patch: Value| {
            let answer = api.send(&admin(), "PATCH", path, Some(&patch)).await;
            assert_eq!(answer.code, 200, "{path}: {}", answer.value);
            answer.value
        };
        let made = make("one").await;
        assert_eq!(made["metadata"]["generation"], 1);
        let one = format!("{collection}/one");
        assert_eq!(api.get(&one).await["spec"], made["spec"]);
        make("two").await;
        let label = json!({"metadata": {"labels": {"test": "yes"}}});
        for name in ["one", "two"] {
            patch(&format!("{collection}/{name}"), label.clone()).await;
        }
        let listed = api.get(&format!("{collection}?labelSelector=test%3Dyes")).await;
        assert_eq!(listed["items"].as_array().map(Vec::len), Some(2));
        let revision = listed["metadata"]["resourceVersion"].as_str().expect("a revision");
        let mut changed = api.get(&one).await;
        changed["metadata"]["annotations"] = json!({"updated": "true"});
        let put = api.send(&admin(), "PUT", &one, Some(&changed)).await;
        assert_eq!((put.code, &put.value["metadata"]["annotations"]["updated"]), (200, &json!("true")));
        let watch = format!("{collection}?watch=true&resourceVersion={revision}&fieldSelector=metadata.name%3Done");
        let mut frames = api.raw(&admin(), "GET", &watch, None).await.into_body();
        let frame = http_body_util::BodyExt::frame(&mut frames).await.expect("a frame").expect("bytes");
        let text = String::from_utf8_lossy(frame.data_ref().expect("data")).into_owned();
        assert!(text.starts_with("{\"type\":\"MODIFIED\""), "{text}");
        if is_policy {
            let status = format!("{one}/status");
            let condition = json!({"type": "Known", "status": "True", "reason": "Test", "message": "",
                "lastTransitionTime": "2024-01-01T00:00:00Z"});
            patch(&status, json!({"status": {"conditions": [condition.clone()]}})).await;
            assert_eq!(api.get(&status).await["status"]["conditions"][0], condition);
            let mut whole = api.get(&status).await;
            whole["status"]["observedGeneration"] = 1.into();
            assert_eq!(api.send(&admin(), "PUT", &status, Some(&whole)).await.code, 200);
            assert_eq!(api.get(&one).await["status"]["observedGeneration"], 1);
        }
        assert_eq!(api.send(&admin(), "DELETE", &one, None).await.code, 200);
        assert_eq!(api.send(&admin(), "GET", &one, None).await.code, 404);
        let all = format!("{collection}?labelSelector=test%3Dyes");
        assert_eq!(api.send(&admin(), "DELETE", &all, None).await.code, 200);
        assert_eq!(api.get(&all).await["items"], json!([]));
    }
}

/// Scales, connections, evictions and bindings are validated as they are shown to webhooks.
#[tokio::test]
async fn subresources_are_validated() {
    let world = World::start().await;
    let deny = |expression: &str| json!({"validations": [{"expression": expression, "message": "not so"}]});
    for (name, resource, expression) in [
        (
            "scale",
            ("apps", "v1", "deployments/scale"),
            "object.kind == 'Scale' && object.spec.replicas < oldObject.spec.replicas + 3",
        ),
        (
            "attach",
            ("", "v1", "pods/attach"),
            "request.operation != 'CONNECT' || object.kind != 'PodAttachOptions' || !object.stdin",
        ),
        ("evict", ("", "v1", "pods/eviction"), "object.kind != 'Eviction' || request.name != 'p'"),
        ("bind", ("", "v1", "pods/binding"), "object.target.name != 'n'"),
    ] {
        policy(&world, name, resource, deny(expression)).await;
        binding(&world, name, name, json!({})).await;
    }
    world.cluster.made(DEPLOYMENTS, workload("Deployment", "d", 1)).await;
    world.cluster.made(PODS, pod("p")).await;
    let scale = async |replicas: i64| {
        let scale = json!({"spec": {"replicas": replicas}});
        world.cluster.send(&admin(), "PATCH", &format!("{DEPLOYMENTS}/d/scale"), Some(&scale)).await
    };
    assert_eq!(scale(3).await.code, 200);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p", "namespace": "a"}});
    let target = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"},
        "target": {"kind": "Node", "name": "n"}});
    for (what, answer) in [
        ("scale", scale(6).await),
        ("attach", world.cluster.post(&format!("{PODS}/p/attach?stdin=true&container=c"), json!({})).await),
        ("evict", world.cluster.post(&format!("{PODS}/p/eviction"), eviction).await),
        ("bind", world.cluster.post(&format!("{PODS}/p/binding"), target).await),
    ] {
        assert_eq!(answer.code, 422, "{what}: {}", answer.value);
        assert!(answer.message().contains(&format!("ValidatingAdmissionPolicy '{what}' with binding '{what}' denied")));
    }
}

/// Each row: the spec of a policy or a binding, and where it is wrong and why.
#[tokio::test]
async fn expressions_are_checked_when_they_are_written() {
    let world = World::start().await;
    let valid = json!([{"expression": "true"}]);
    for (spec, field, why) in [
        (
            json!({"validations": [{"expression": "object.x"}]}),
            "spec.validations[0].expression",
            "must evaluate to bool",
        ),
        (
            json!({"validations": [{"expression": "request.dryRun == 'x'"}]}),
            "spec.validations[0].expression",
            "compilation failed: ERROR: <input>:1:16: found no matching overload for '_==_' applied to '(bool, string)'",
        ),
        (
            json!({"validations": [{"expression": "true", "messageExpression": "1 + 1"}]}),
            "spec.validations[0].messageExpression",
            "must evaluate to string",
        ),
        (
            json!({"validations": [{"expression": "true", "messageExpression": "string(authorizer.path('/x').check('get').allowed())"}]}),
            "spec.validations[0].messageExpression",
            "compilation failed: ERROR: <input>:1:8: undeclared reference to 'authorizer'",
        ),
        (
            json!({"validations": valid, "auditAnnotations": [{"key": "k", "valueExpression": "1"}]}),
            "spec.auditAnnotations[0].valueExpression",
            "must evaluate to one of [string null_type]",
        ),
        (
            json!({"validations": valid, "variables": [{"name": "a", "expression": "variables.b"}]}),
            "spec.variables[0].expression",
            "compilation failed: ERROR: <input>:1:10: undefined field 'b'",
        ),
        (
            json!({"validations": [{"expression": "variables.n == 'x'"}], "variables": [{"name": "n", "expression": "1"}]}),
            "spec.validations[0].expression",
            "compilation failed: ERROR: <input>:1:13: found no matching overload for '_==_' applied to '(int, string)'",
        ),
        (
            json!({"validations": valid, "matchConditions": [{"name": "c", "expression": "params.x"}]}),
            "spec.matchConditions[0].expression",
            "compilation failed: ERROR: <input>:1:1: undeclared reference to 'params'",
        ),
    ] {
        let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["*"]});
        let mut all = json!({"matchConstraints": {"resourceRules": [rule]}});
        all.as_object_mut().expect("object").extend(spec.as_object().cloned().expect("object"));
        let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": "p"}, "spec": all});
        let refused = world.cluster.post(POLICIES, policy).await;
        let causes = refused.value["details"]["causes"].as_array().cloned().unwrap_or_default();
        assert_eq!((refused.code, causes.len()), (422, 1), "{spec}: {}", refused.value);
        assert_eq!(causes[0]["field"], field);
        let message = causes[0]["message"].as_str().expect("text");
        assert!(message.contains(&format!(": {why}")), "{message}");
    }
    world.cluster.made(MAPS, map("m", json!({}))).await;
}
