//! Match conditions of webhooks.

use crate::support::cluster::admin;
use crate::world::{MAPS, MUTATING, VALIDATING, World, map};
use apiserver::authn::UserInfo;
use serde_json::{Value, json};

/// A list of conditions that have those expressions.
fn conditions(expressions: &[&str]) -> Value {
    let named = |(i, e): (usize, &&str)| json!({"name": format!("c{i}"), "expression": e});
    json!({"matchConditions": expressions.iter().enumerate().map(named).collect::<Vec<_>>()})
}

/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate everything except 'skip-me' configmaps
#[tokio::test]
async fn what_conditions_exclude_is_left_alone() {
    let world = World::start().await;
    let skip = conditions(&["object.metadata.name != 'skip-me'"]);
    world.configure(MUTATING, "c", vec![world.hook("w.test.io", "/first", "configmaps", skip)]).await;
    let skipped = world.cluster.made(MAPS, map("skip-me", json!({"start": "yes"}))).await;
    assert_eq!(skipped["data"], json!({"start": "yes"}));
    assert!(world.seen.lock().is_empty());
    let other = world.cluster.made(MAPS, map("other", json!({"start": "yes"}))).await;
    assert_eq!(other["data"], json!({"start": "yes", "first": "yes"}));
    let metrics = world.cluster.get("/metrics").await;
    // The second round, after a webhook has changed the object, looks at them again.
    let labels = "{kind=\"webhook\",name=\"w.test.io\",operation=\"CREATE\",type=\"admit\"}";
    for line in [
        format!("apiserver_admission_match_condition_exclusions_total{labels} 1"),
        format!("apiserver_admission_match_condition_evaluation_seconds_count{labels} 3"),
    ] {
        assert!(metrics.as_str().expect("text").contains(&line), "{line}");
    }
}

/// What was sent is stored, and an update is in effect.
/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to create and update validating webhook configurations with match conditions
/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to create and update mutating webhook configurations with match conditions
#[tokio::test]
async fn conditions_are_stored_and_followed() {
    let world = World::start().await;
    for (collection, path) in [(VALIDATING, "/deny"), (MUTATING, "/first")] {
        let tag = path.trim_start_matches('/');
        let all = conditions(&["request.operation == 'CREATE'", "'start' in object.data"]);
        world.configure(collection, "c", vec![world.hook("w.test.io", path, "configmaps", all.clone())]).await;
        let mut stored = world.cluster.get(&format!("{collection}/c")).await;
        assert_eq!(stored["webhooks"][0]["matchConditions"], all["matchConditions"], "{path}");
        let acts = async |name: &str, data: Value| {
            let made = world.cluster.post(MAPS, map(name, data)).await;
            made.code == 400 || made.value["data"]["first"] == "yes"
        };
        assert!(acts(&format!("{tag}-1"), json!({"start": "yes"})).await, "{path}");
        assert!(!acts(&format!("{tag}-2"), json!({"k": "v"})).await, "{path}");
        let changed = conditions(&["'k' in object.data"]);
        stored["webhooks"][0]["matchConditions"] = changed["matchConditions"].clone();
        let put = world.cluster.send(&admin(), "PUT", &format!("{collection}/c"), Some(&stored)).await;
        assert_eq!(put.code, 200, "{}", put.value);
        assert_eq!(put.value["webhooks"][0]["matchConditions"], changed["matchConditions"], "{path}");
        assert!(!acts(&format!("{tag}-3"), json!({"start": "yes"})).await, "{path}");
        assert!(acts(&format!("{tag}-4"), json!({"k": "v"})).await, "{path}");
        world.cluster.send(&admin(), "DELETE", &format!("{collection}/c"), None).await;
    }
}

/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should reject validating webhook configurations with invalid match conditions
/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should reject mutating webhook configurations with invalid match conditions
#[tokio::test]
async fn conditions_must_compile() {
    let world = World::start().await;
    for (collection, kind) in
        [(VALIDATING, "ValidatingWebhookConfiguration"), (MUTATING, "MutatingWebhookConfiguration")]
    {
        for (expression, why) in [
            ("... [}", "compilation failed: ERROR: <input>:1:2: Syntax error"),
            ("other == 1", "compilation failed: ERROR: <input>:1:1: undeclared reference to 'other' (in container '')"),
            ("params.x == 1", "compilation failed: ERROR: <input>:1:1: undeclared reference to 'params'"),
            ("request.operation", "must evaluate to bool"),
            (
                "request.operation == 1",
                "compilation failed: ERROR: <input>:1:19: found no matching overload for '_==_' applied to '(string, int)'",
            ),
            ("request.userinfo.username == 'a'", "compilation failed: ERROR: <input>:1:8: undefined field 'userinfo'"),
        ] {
            let hook = world.hook("w.test.io", "/deny", "configmaps", conditions(&[expression]));
            let configuration = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
                "metadata": {"name": "c"}, "webhooks": [hook]});
            let refused = world.cluster.post(collection, configuration).await;
            assert_eq!(refused.code, 422, "{expression}");
            let cause = &refused.value["details"]["causes"][0];
            assert_eq!(cause["field"], "webhooks[0].matchConditions[0].expression");
            let message = cause["message"].as_str().expect("text");
            assert!(message.starts_with(&format!("Invalid value: {expression:?}: {why}")), "{message}");
        }
    }
}

/// What fails follows the failure policy, unless another condition is false.
#[tokio::test]
async fn conditions_that_fail() {
    const MISSING: &str = "configmaps \"m\" is forbidden: expression 'object.data.absent == 'x'' resulted in error: \
                           no such key: absent";
    let world = World::start().await;
    for (collection, step) in [(VALIDATING, "validate"), (MUTATING, "admit")] {
        for (policy, expressions, expected) in [
            ("Fail", &["object.data.absent == 'x'"][..], (403, MISSING)),
            ("Fail", &["object.data.absent == 'x'", "false"], (201, "")),
            ("Ignore", &["object.data.absent == 'x'", "true"], (201, "")),
        ] {
            let mut extra = conditions(expressions);
            extra["failurePolicy"] = policy.into();
            world.forget();
            world.configure(collection, "c", vec![world.hook("w.test.io", "/deny", "configmaps", extra)]).await;
            let path = format!("{MAPS}?dryRun=All");
            let answer = world.cluster.post(&path, map("m", json!({"k": "v"}))).await;
            assert_eq!((answer.code, answer.message()), expected, "{policy} {expressions:?}");
            if answer.code == 403 {
                assert_eq!(answer.value["reason"], "Forbidden");
                assert_eq!(answer.value["details"]["name"], "m");
            }
            assert!(world.seen.lock().is_empty(), "not asked");
            world.cluster.send(&admin(), "DELETE", &format!("{collection}/c"), None).await;
        }
        let metrics = world.cluster.get("/metrics").await;
        let line = format!(
            "apiserver_admission_match_condition_evaluation_errors_total\
             {{kind=\"webhook\",name=\"w.test.io\",operation=\"CREATE\",type=\"{step}\"}} 3"
        );
        assert!(metrics.as_str().expect("text").contains(&line), "{line}");
    }
}

/// Each row: a condition, and whether it holds of an update of a map by `ann`, who may update maps and nothing else.
#[tokio::test]
async fn what_conditions_may_name() {
    let world = World::start().await;
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "maps"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "update", "delete"]}]});
    world.cluster.made("/apis/rbac.authorization.k8s.io/v1/clusterroles", role).await;
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "maps"}, "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "ann"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "maps"}});
    world.cluster.made("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding).await;
    world.cluster.made(MAPS, map("m", json!({"k": "old"}))).await;
    let ann = UserInfo::new("ann", &["staff", "system:authenticated"]);
    for (condition, holds) in [
        ("oldObject.data.k == 'old' && object.data.k == 'new'", true),
        ("request.userInfo.username == 'ann' && 'staff' in request.userInfo.groups", true),
        ("request.namespace == 'a' && request.name == 'm' && request.resource.resource == 'configmaps'", true),
        ("request.operation == 'UPDATE' && request.dryRun && request.kind.kind == 'ConfigMap'", true),
        ("request.options.fieldManager == 'me' && request.options.kind == 'UpdateOptions'", true),
        ("authorizer.group('').resource('configmaps').namespace('a').check('update').allowed()", true),
        ("authorizer.group('').resource('secrets').namespace('a').check('get').allowed()", false),
        ("authorizer.requestResource.check('update').allowed()", true),
        ("authorizer.requestResource.check('patch').allowed()", false),
        ("authorizer.serviceAccount('a', 'default').requestResource == null", false),
        ("namespaceObject == null", true),
    ] {
        let mut extra = conditions(&[condition]);
        extra["sideEffects"] = "None".into();
        let hook = world.hook("w.test.io", "/deny", "configmaps", extra);
        let kind = "ValidatingWebhookConfiguration";
        let configuration = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
            "metadata": {"name": "c"}, "webhooks": [hook]});
        let made = world.cluster.post(VALIDATING, configuration).await;
        if condition.contains("serviceAccount") {
            assert_eq!(made.code, 422, "no such field of an authorizer");
            continue;
        }
        assert_eq!(made.code, 201, "{condition}: {}", made.value);
        let path = format!("{MAPS}/m?dryRun=All&fieldManager=me");
        let put = world.cluster.send(&ann, "PUT", &path, Some(&map("m", json!({"k": "new"})))).await;
        assert_eq!(put.code, if holds { 400 } else { 200 }, "{condition}: {}", put.value);
        world.cluster.send(&admin(), "DELETE", &format!("{VALIDATING}/c"), None).await;
    }
    // A deletion has no object.
    let only = conditions(&["object == null && oldObject.metadata.name == 'm'"]);
    world.configure(VALIDATING, "c", vec![world.hook("w.test.io", "/deny", "configmaps", only)]).await;
    assert_eq!(world.cluster.send(&ann, "DELETE", &format!("{MAPS}/m"), None).await.code, 400);
}

/// Conditions see the object in the version that the rule names, and the resource that was asked for.
#[tokio::test]
async fn conditions_see_the_version_of_the_rule() {
    let world = World::start().await;
    let scalers = |version: &str| format!("/apis/autoscaling/{version}/namespaces/a/horizontalpodautoscalers");
    let seen = conditions(&[
        "object.spec.targetCPUUtilizationPercentage == 50",
        "object.apiVersion == 'autoscaling/v1' && request.kind.version == 'v1'",
        "request.resource.version == 'v2' && request.requestResource.version == 'v2'",
    ]);
    let mut hook = world.hook("w.test.io", "/deny", "autoscaling:horizontalpodautoscalers", seen);
    hook["rules"][0]["apiVersions"] = json!(["v1"]);
    world.configure(VALIDATING, "c", vec![hook]).await;
    let scaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "s"},
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": 50}}}]}});
    let denied = world.cluster.post(&scalers("v2"), scaler).await;
    assert_eq!(denied.code, 400, "{}", denied.value);
    let request = world.last_request();
    assert_eq!(request["object"]["spec"]["targetCPUUtilizationPercentage"], 50);
    assert_eq!((&request["resource"]["version"], &request["requestResource"]["version"]), (&json!("v1"), &json!("v2")));
}
