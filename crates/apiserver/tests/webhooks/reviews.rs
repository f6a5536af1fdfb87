//! What webhooks are asked, and what becomes of their answers.

use crate::support::cluster::admin;
use crate::world::{DEFINITIONS, MAPS, MUTATING, PODS, VALIDATING, World, definition, map, pod, version};
use apiserver::Config;
use apiserver::authn::UserInfo;
use serde_json::{Value, json};
use std::time::Duration;

/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to deny pod and configmap creation
#[tokio::test]
async fn denial() {
    let world = World::start().await;
    let hooks = vec![
        world.hook("pods.test.io", "/deny", "pods", json!({})),
        world.hook("maps.test.io", "/deny-unwanted", "configmaps", json!({})),
        world.hook("secrets.test.io", "/deny-forbidden", "secrets", json!({})),
    ];
    world.configure(VALIDATING, "c", hooks).await;
    let denied = world.cluster.post(PODS, pod("p")).await;
    assert_eq!(denied.code, 400);
    assert_eq!(denied.value["reason"], "this is not wanted");
    assert_eq!(denied.message(), "admission webhook \"pods.test.io\" denied the request: this is not wanted");
    let denied = world.cluster.post(MAPS, map("m", json!({"unwanted": "1"}))).await;
    assert_eq!(denied.message(), "admission webhook \"maps.test.io\" denied the request without explanation");
    world.cluster.made(MAPS, map("m", json!({"fine": "1"}))).await;
    // An update and a patch are asked about too, with the object before.
    for (method, value) in [("PUT", map("m", json!({"unwanted": "1"}))), ("PATCH", json!({"data": {"unwanted": "1"}}))]
    {
        let denied = world.cluster.send(&admin(), method, &format!("{MAPS}/m"), Some(&value)).await;
        assert_eq!(denied.code, 400, "{method}");
        let request = world.last_request();
        assert_eq!(request["oldObject"]["data"], json!({"fine": "1"}));
        assert_eq!(
            request["oldObject"]["metadata"]["resourceVersion"],
            request["object"]["metadata"]["resourceVersion"]
        );
        assert_eq!(request["options"]["kind"], "UpdateOptions");
    }
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
    let denied = world.cluster.post("/api/v1/namespaces/a/secrets", secret).await;
    assert_eq!((denied.code, denied.value["reason"].as_str()), (403, Some("Forbidden")));
    assert_eq!(denied.value["details"]["causes"][0]["field"], "data");
    // Namespaces that are not chosen are left alone.
    world.forget();
    world.cluster.made("/api/v1/namespaces/b/pods", pod("p")).await;
    assert!(world.seen.lock().is_empty());
}

/// What a webhook is told of a request.
#[tokio::test]
async fn the_review() {
    let world = World::start().await;
    world.configure(VALIDATING, "c", vec![world.hook("w.test.io", "/warn", "configmaps", json!({}))]).await;
    world
        .configure(
            MUTATING,
            "c",
            vec![world.hook("m.test.io", "/", "configmaps", json!({"admissionReviewVersions": ["v2", "v1beta1"]}))],
        )
        .await;
    let mut user = admin();
    user.uid = "u1".into();
    user.extra.insert("scopes".into(), vec!["x".into()]);
    let path = format!("{MAPS}?fieldManager=me&dryRun=All");
    let made = world.cluster.send(&user, "POST", &path, Some(&map("m", json!({"k": "v"})))).await;
    assert_eq!(made.code, 201, "{}", made.value);
    assert_eq!(made.warnings, ["299 - \"careful\""]);
    let reviews: Vec<Value> = world.seen.lock().clone();
    assert_eq!(reviews[0]["apiVersion"], "admission.k8s.io/v1beta1");
    assert_eq!(reviews[1]["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(reviews[0]["request"]["object"]["metadata"].get("uid"), None, "set after mutation");
    let mut request = reviews[1]["request"].clone();
    assert!(!request["object"]["metadata"]["uid"].is_null());
    for made_up in ["uid", "object"] {
        assert!(!request[made_up].is_null());
        request.as_object_mut().expect("object").remove(made_up);
    }
    assert_eq!(
        request,
        json!({"kind": {"group": "", "version": "v1", "kind": "ConfigMap"},
            "resource": {"group": "", "version": "v1", "resource": "configmaps"},
            "requestKind": {"group": "", "version": "v1", "kind": "ConfigMap"},
            "requestResource": {"group": "", "version": "v1", "resource": "configmaps"},
            "name": "m", "namespace": "a", "operation": "CREATE", "oldObject": null, "dryRun": true,
            "userInfo": {"username": "admin", "uid": "u1", "groups": ["system:masters", "system:authenticated"],
                "extra": {"scopes": ["x"]}},
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "dryRun": ["All"], "fieldManager": "me"}})
    );
    let metrics = world.cluster.get("/metrics").await;
    let text = metrics.as_str().expect("text");
    for line in [
        "apiserver_admission_webhook_request_total{code=\"200\",name=\"w.test.io\",operation=\"CREATE\",rejected=\"false\",type=\"validating\"} 1",
        "apiserver_admission_webhook_admission_duration_seconds_count{name=\"m.test.io\",operation=\"CREATE\",rejected=\"false\",type=\"admit\"} 1",
    ] {
        assert!(text.contains(line), "{line}");
    }
}

/// Also the order and repetition of several webhooks.
/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate configmap
#[tokio::test]
async fn mutation_and_reinvocation() {
    let world = World::start().await;
    let needed = json!({"reinvocationPolicy": "IfNeeded"});
    // By the names of configurations: `second` is asked before `first`, and again after it has changed the object.
    world.configure(MUTATING, "a", vec![world.hook("second.test.io", "/second", "configmaps", needed)]).await;
    world.configure(MUTATING, "b", vec![world.hook("first.test.io", "/first", "configmaps", json!({}))]).await;
    let made = world.cluster.made(MAPS, map("m", json!({"start": "yes"}))).await;
    assert_eq!(made["data"], json!({"start": "yes", "first": "yes", "second": "yes"}));
    let stored = world.cluster.get(&format!("{MAPS}/m")).await;
    assert_eq!(stored["data"], made["data"]);
    assert_eq!(world.seen.lock().len(), 3);
    // Without the policy it is asked once.
    world.cluster.send(&admin(), "DELETE", &format!("{MUTATING}/a"), None).await;
    world.configure(MUTATING, "a", vec![world.hook("second.test.io", "/second", "configmaps", json!({}))]).await;
    let made = world.cluster.made(MAPS, map("n", json!({"start": "yes"}))).await;
    assert_eq!(made["data"], json!({"start": "yes", "first": "yes"}));
}

/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate pod and apply defaults after mutation
#[tokio::test]
async fn mutated_objects_get_defaults() {
    let world = World::start().await;
    world.configure(MUTATING, "c", vec![world.hook("w.test.io", "/sidecar", "pods", json!({}))]).await;
    let made = world.cluster.made(PODS, pod("p")).await;
    let init = &made["spec"]["initContainers"][0];
    assert_eq!(init["name"], "webhook-added-init-container");
    assert_eq!((&init["terminationMessagePolicy"], &init["imagePullPolicy"]), (&json!("File"), &json!("Always")));
    // What a service account gives to containers, it gives to the new one too.
    assert_eq!(made["spec"]["initContainers"][0]["volumeMounts"], made["spec"]["containers"][0]["volumeMounts"]);
}

/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should unconditionally reject operations on fail closed webhook
/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should honor timeout
#[tokio::test]
async fn failures() {
    let world = World::start().await;
    let cases = [
        (
            "/broken",
            json!({}),
            "failed to call webhook: an error on the server (\"oh no\") has prevented the request from succeeding",
        ),
        (
            "/slow",
            json!({"timeoutSeconds": 1}),
            "failed to call webhook: Post \"https://w.hook.svc:443/slow?timeout=1s\": context deadline exceeded",
        ),
        (
            "/not-a-review",
            json!({}),
            "failed to call webhook: Object 'apiVersion' is missing in '{\"kind\":\"Status\"}'",
        ),
        ("/bad-uid", json!({}), "received invalid webhook response: expected response.uid="),
        (
            "/no-patch-type",
            json!({}),
            "received invalid webhook response: validating webhook may not return response.patch",
        ),
        (
            "/",
            json!({"admissionReviewVersions": ["v9", "v1"], "clientConfig": {"url": "https://127.0.0.1:1/x"}}),
            "failed to call webhook: Post \"https://127.0.0.1:1/x?timeout=10s\": dial tcp 127.0.0.1:1: connect: connection refused",
        ),
        (
            "/",
            json!({"clientConfig": {"service": {"namespace": "hook", "name": "absent"}}}),
            "failed to call webhook: Post \"https://absent.hook.svc:443?timeout=10s\": service \"absent\" not found",
        ),
    ];
    for (path, extra, expected) in cases {
        let mut open = extra.clone();
        open["failurePolicy"] = "Ignore".into();
        world.configure(VALIDATING, "c", vec![world.hook("w.test.io", path, "configmaps", extra)]).await;
        let failed = world.cluster.post(MAPS, map("m", json!({}))).await;
        assert_eq!((failed.code, failed.value["reason"].as_str()), (500, Some("InternalError")), "{path}");
        let whole = format!("Internal error occurred: failed calling webhook \"w.test.io\": {expected}");
        assert!(failed.message().starts_with(&whole), "{}", failed.message());
        world.cluster.send(&admin(), "DELETE", &format!("{VALIDATING}/c"), None).await;
        world.configure(VALIDATING, "c", vec![world.hook("w.test.io", path, "configmaps", open)]).await;
        world.cluster.made(MAPS, map("m", json!({}))).await;
        world.cluster.send(&admin(), "DELETE", &format!("{MAPS}/m"), None).await;
        world.cluster.send(&admin(), "DELETE", &format!("{VALIDATING}/c"), None).await;
    }
    // A patch that does not apply is an error whatever the policy says.
    let hook = world.hook("w.test.io", "/bad-patch", "configmaps", json!({"failurePolicy": "Ignore"}));
    world.configure(MUTATING, "c", vec![hook]).await;
    let failed = world.cluster.post(MAPS, map("m", json!({}))).await;
    let why = "Internal error occurred: remove operation does not apply: doc is missing path: \"/data/absent\": missing value";
    assert_eq!((failed.code, failed.message()), (500, why));
    // What may have side effects is not asked about dry runs.
    world.cluster.send(&admin(), "DELETE", &format!("{MUTATING}/c"), None).await;
    let mut hook = world.hook("w.test.io", "/", "configmaps", json!({"admissionReviewVersions": ["v1beta1"]}));
    hook["sideEffects"] = "NoneOnDryRun".into();
    world.configure(VALIDATING, "c", vec![hook]).await;
    let dry = world.cluster.post(&format!("{MAPS}?dryRun=All"), map("m", json!({}))).await;
    assert_eq!(dry.code, 201);
}

/// What is told of it before the rules of updates, of each of a collection, and with a refusal.
#[tokio::test]
async fn what_upstream_tells_webhooks_and_clients() {
    let world = World::start().await;
    world.cluster.made(MAPS, map("m", json!({"k": "v"}))).await;
    let hook = |name: &str, path: &str| world.hook(name, path, "configmaps", json!({}));
    world.configure(MUTATING, "c", vec![hook("w.test.io", "/warn")]).await;
    world.configure(VALIDATING, "c", vec![hook("d.test.io", "/deny")]).await;
    let refused = world.cluster.send(&admin(), "PUT", &format!("{MAPS}/m"), Some(&map("m", json!({"k": "w"})))).await;
    assert_eq!((refused.code, refused.warnings.as_slice()), (400, ["299 - \"careful\"".to_owned()].as_slice()));
    let reviews: Vec<Value> = world.seen.lock().clone();
    let metadata = &reviews[0]["request"]["object"]["metadata"];
    assert_eq!((metadata.get("uid"), metadata.get("creationTimestamp")), (None, Some(&Value::Null)));
    assert!(reviews[1]["request"]["object"]["metadata"]["uid"].is_string());
    world.cluster.send(&admin(), "DELETE", &format!("{VALIDATING}/c"), None).await;
    world.forget();
    world.cluster.send(&admin(), "DELETE", MAPS, None).await;
    assert_eq!(world.last_request().get("name"), None);
}

/// Also other subresources.
/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to deny attaching pod
#[tokio::test]
async fn subresources() {
    let world = World::start().await;
    let for_sub = |name: &str, path: &str, resource: &str, operation: &str| {
        let mut hook = world.hook(name, path, resource, json!({}));
        hook["rules"][0]["operations"] = json!([operation]);
        hook
    };
    let hooks = vec![
        for_sub("attach.test.io", "/deny", "pods/attach", "CONNECT"),
        for_sub("evict.test.io", "/deny", "pods/eviction", "CREATE"),
        for_sub("bind.test.io", "/deny", "pods/binding", "CREATE"),
        for_sub("status.test.io", "/deny", "pods/status", "UPDATE"),
        for_sub("scale.test.io", "/deny-none", "apps:deployments/scale", "UPDATE"),
        for_sub("delete.test.io", "/deny", "configmaps", "DELETE"),
    ];
    world.configure(VALIDATING, "c", hooks).await;
    world.configure(MUTATING, "c", vec![for_sub("up.test.io", "/scale-up", "apps:deployments/scale", "UPDATE")]).await;
    world.cluster.made(PODS, pod("p")).await;
    let denied = |name: &str| format!("admission webhook \"{name}\" denied the request: this is not wanted");
    let attach = world.cluster.post(&format!("{PODS}/p/attach?stdin=true&container=c"), json!({})).await;
    assert_eq!(attach.message(), denied("attach.test.io"));
    let request = world.last_request();
    assert_eq!(
        request["object"],
        json!({"kind": "PodAttachOptions", "apiVersion": "v1", "stdin": true, "container": "c"})
    );
    assert_eq!(
        (&request["operation"], &request["subResource"], &request["name"]),
        (&json!("CONNECT"), &json!("attach"), &json!("p"))
    );
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p", "namespace": "a"}});
    let evicted = world.cluster.post(&format!("{PODS}/p/eviction"), eviction).await;
    assert_eq!(evicted.message(), denied("evict.test.io"));
    assert_eq!(world.last_request()["kind"], json!({"group": "policy", "version": "v1", "kind": "Eviction"}));
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    let bound = world.cluster.post(&format!("{PODS}/p/binding"), binding).await;
    assert_eq!(bound.message(), denied("bind.test.io"));
    let status = json!({"status": {"phase": "Running"}});
    let status = world.cluster.send(&admin(), "PATCH", &format!("{PODS}/p/status"), Some(&status)).await;
    assert_eq!(status.message(), denied("status.test.io"));

    let labels = json!({"app": "d"});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod("x")["spec"]}}});
    let deployments = "/apis/apps/v1/namespaces/a/deployments";
    world.cluster.made(deployments, deployment).await;
    let scale = json!({"spec": {"replicas": 3}});
    let scaled = world.cluster.send(&admin(), "PATCH", &format!("{deployments}/d/scale"), Some(&scale)).await;
    assert_eq!((scaled.code, &scaled.value["spec"]["replicas"]), (200, &json!(5)), "{}", scaled.value);
    let request = world.last_request();
    assert_eq!((&request["kind"]["kind"], &request["oldObject"]["spec"]["replicas"]), (&json!("Scale"), &json!(1)));

    // Deletions, one by one and of a collection, with the object as it was.
    world.cluster.made(MAPS, map("m", json!({"k": "v"}))).await;
    for path in [format!("{MAPS}/m"), MAPS.to_owned()] {
        let options = json!({"propagationPolicy": "Background"});
        let deleted = world.cluster.send(&admin(), "DELETE", &path, Some(&options)).await;
        assert_eq!(deleted.message(), denied("delete.test.io"), "{path}");
        let request = world.last_request();
        assert_eq!((&request["object"], &request["oldObject"]["data"]["k"]), (&Value::Null, &json!("v")));
        assert_eq!(request["options"]["propagationPolicy"], "Background");
    }
}

/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should not be able to mutate or prevent deletion of webhook configuration objects
#[tokio::test]
async fn configurations_are_never_reviewed() {
    let world = World::start().await;
    let all = |path: &str| {
        let mut hook = world.hook("w.test.io", path, "admissionregistration.k8s.io:*", json!({}));
        hook["namespaceSelector"] = json!({});
        hook
    };
    world.configure(VALIDATING, "deny", vec![all("/deny")]).await;
    world.configure(MUTATING, "first", vec![all("/first")]).await;
    let dummy = world.configure(VALIDATING, "dummy", Vec::new()).await;
    assert_eq!(dummy.get("data"), None);
    let deleted = world.cluster.send(&admin(), "DELETE", &format!("{VALIDATING}/dummy"), None).await;
    assert_eq!(deleted.code, 200, "{}", deleted.value);
    assert!(world.seen.lock().is_empty());
}

/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should deny crd creation
/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate custom resource
/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate custom resource with pruning
#[tokio::test]
async fn custom_resources() {
    let world = World::start().await;
    let mut hook = world.hook("crd.test.io", "/deny", "apiextensions.k8s.io:customresourcedefinitions", json!({}));
    hook["namespaceSelector"] = json!({});
    hook["objectSelector"] = json!({"matchLabels": {"unwanted": "yes"}});
    world.configure(VALIDATING, "crd", vec![hook]).await;
    let wanted = definition(json!([version("v1", true), version("v2", false)]));
    let mut unwanted = wanted.clone();
    unwanted["metadata"]["labels"] = json!({"unwanted": "yes"});
    let denied = world.cluster.post(DEFINITIONS, unwanted).await;
    assert_eq!(denied.message(), "admission webhook \"crd.test.io\" denied the request: this is not wanted");
    world.cluster.made(DEFINITIONS, wanted).await;
    let things = |version: &str| format!("/apis/test.io/{version}/namespaces/a/things");
    let thing = |name: &str, version: &str, data: Value| json!({"apiVersion": format!("test.io/{version}"), "kind": "Thing", "metadata": {"name": name}, "data": data});
    world.until_established("things.test.io").await;
    let one_version = |name: &str, path: &str, version: &str| {
        let mut hook = world.hook(name, path, "test.io:things", json!({}));
        hook["rules"][0]["apiVersions"] = json!([version]);
        hook
    };
    world
        .configure(VALIDATING, "deny", vec![world.hook("deny.test.io", "/deny-unwanted", "test.io:things", json!({}))])
        .await;
    let denied = world.cluster.post(&things("v1"), thing("t", "v1", json!({"unwanted": "1"}))).await;
    assert_eq!(denied.code, 400, "{}", denied.value);
    world.configure(MUTATING, "first", vec![one_version("first.test.io", "/first", "v1")]).await;
    world.configure(MUTATING, "nested", vec![one_version("nested.test.io", "/unknown-field", "v1")]).await;
    world.forget();
    // Asked for in v2; the rule names v1 and takes equivalents.
    let made = world.cluster.made(&things("v2"), thing("t", "v2", json!({"second": "1"}))).await;
    assert_eq!(made["apiVersion"], "test.io/v2");
    assert_eq!(made["data"], json!({"first": "yes", "second": "1", "filled": "yes", "nested": {"kept": "1"}}));
    let first = world.seen.lock()[0]["request"].clone();
    assert_eq!((&first["kind"]["version"], &first["requestKind"]["version"]), (&json!("v1"), &json!("v2")));
    assert_eq!(first["object"]["apiVersion"], "test.io/v1");
    let last = world.last_request();
    assert_eq!((&last["kind"]["version"], &last["object"]["apiVersion"]), (&json!("v2"), &json!("test.io/v2")));
    let path = format!("{}/t", things("v1"));
    let denied = world.cluster.send(&admin(), "PATCH", &path, Some(&json!({"data": {"unwanted": "1"}}))).await;
    assert_eq!(denied.code, 400);
    // That a webhook changes it makes no thing of what is none.
    for other in [json!({"kind": "Other"}), json!({"apiVersion": "test.io/v2"})] {
        let mut change = other.clone();
        change["data"] = json!({"first": "no"});
        let refused = world.cluster.send(&admin(), "PATCH", &path, Some(&change)).await;
        assert_eq!(refused.code, 422, "{other}: {}", refused.value);
    }
    // Posted to a name, which is what is told; made is what it is called.
    let path = format!("{}/elsewhere?dryRun=All", things("v1"));
    let made = world.cluster.made(&path, thing("here", "v1", json!({}))).await;
    assert_eq!((&made["metadata"]["name"], &world.last_request()["name"]), (&json!("here"), &json!("elsewhere")));
}

/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] patching/updating a validating webhook should work
/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] patching/updating a mutating webhook should work
/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should include webhook resources in discovery documents
#[tokio::test]
async fn configurations_are_followed() {
    let world = World::start().await;
    for (collection, path) in [(VALIDATING, "/deny"), (MUTATING, "/first")] {
        let is_in_effect = async |name: &str| {
            let made = world.cluster.post(MAPS, map(name, json!({"k": "v"}))).await;
            made.code == 400 || made.value["data"]["first"] == "yes"
        };
        world.configure(collection, "c", vec![world.hook("w.test.io", path, "configmaps", json!({}))]).await;
        let tag = path.trim_start_matches('/');
        assert!(is_in_effect(&format!("{tag}-1")).await, "{path}");
        let mut changed = world.cluster.get(&format!("{collection}/c")).await;
        changed["webhooks"][0]["rules"][0]["operations"] = json!(["UPDATE"]);
        world.cluster.send(&admin(), "PUT", &format!("{collection}/c"), Some(&changed)).await;
        assert!(!is_in_effect(&format!("{tag}-2")).await, "{path}");
        let patch = json!([{"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["CREATE"]}]);
        let patched = world.cluster.send(&admin(), "PATCH", &format!("{collection}/c"), Some(&patch)).await;
        assert_eq!(patched.code, 200, "{}", patched.value);
        assert!(is_in_effect(&format!("{tag}-3")).await, "{path}");
        world.cluster.send(&admin(), "DELETE", collection, None).await;
        assert!(!is_in_effect(&format!("{tag}-4")).await, "{path}");
    }
    let resources = world.cluster.get("/apis/admissionregistration.k8s.io/v1").await;
    let names: Vec<&str> =
        resources["resources"].as_array().expect("list").iter().filter_map(|r| r["name"].as_str()).collect();
    assert!(names.contains(&"mutatingwebhookconfigurations") && names.contains(&"validatingwebhookconfigurations"));
}

/// A webhook that is down for long does not lock the cluster, and people see it; nobody else gets past it.
#[tokio::test]
async fn the_cluster_lives_without_a_webhook_that_is_down() {
    let mut config = Config { bootstrap: false, ..Config::default() };
    config.limits.webhook_down_after = Duration::ZERO;
    let world = World::with(config).await;
    let mut hook = world.hook("w.test.io", "/", "*", json!({"timeoutSeconds": 1}));
    hook["namespaceSelector"] = json!({});
    hook["rules"][0]["apiGroups"] = json!(["*"]);
    world.configure(VALIDATING, "c", vec![hook]).await;
    world.cluster.endpoints("w", None).await;
    let manager = UserInfo::new("system:kube-controller-manager", &["system:masters"]);
    let post = async |user: &UserInfo, namespace: &str, name: &str| {
        let path = format!("/api/v1/namespaces/{namespace}/configmaps");
        world.cluster.send(user, "POST", &path, Some(&map(name, json!({})))).await
    };
    let words = "Internal error occurred: failed calling webhook \"w.test.io\": failed to call webhook: Post \
                 \"https://w.hook.svc:443/?timeout=1s\": no endpoints available for service \"w\"";
    // Two failures are not yet enough to call it down, not even for a component.
    for name in ["m1", "m2"] {
        assert_eq!(post(&manager, "kube-system", name).await.message(), words);
    }
    for namespace in ["kube-system", "hook"] {
        let passed = post(&manager, namespace, "m").await;
        assert_eq!(passed.code, 201, "{}", passed.value);
        assert!(
            passed.warnings[0].contains("admission webhook \\\"w.test.io\\\" of \\\"c\\\" is down"),
            "{:?}",
            passed.warnings
        );
    }
    // Elsewhere it waits like everybody; everybody else waits everywhere.
    assert_eq!(post(&manager, "a", "m").await.message(), words);
    for namespace in ["kube-system", "hook", "a"] {
        assert_eq!(post(&admin(), namespace, "n").await.message(), words);
    }
    let events = "/apis/events.k8s.io/v1/namespaces/default/events";
    let seen = async |reason: &str| {
        let watch = world.cluster.raw(&admin(), "GET", &format!("{events}?watch=true"), None).await;
        let mut frames = watch.into_body();
        loop {
            let frame = http_body_util::BodyExt::frame(&mut frames).await.expect("a frame").expect("bytes");
            // Events that happen together come in one frame.
            let events = serde_json::Deserializer::from_slice(frame.data_ref().expect("data")).into_iter::<Value>();
            let found = events.map(|event| event.expect("an event")).find(|event| event["object"]["reason"] == reason);
            if let Some(event) = found {
                return event["object"].clone();
            }
        }
    };
    let event = seen("WebhookDown").await;
    assert_eq!(
        (&event["regarding"]["kind"], &event["regarding"]["name"]),
        (&json!("ValidatingWebhookConfiguration"), &json!("c"))
    );
    let metrics = world.cluster.get("/metrics").await;
    let text = metrics.as_str().expect("text").to_owned();
    assert!(text.contains("mainstay_admission_webhook_down{configuration=\"c\",name=\"w.test.io\"} 1"));
    assert!(text.contains("mainstay_admission_webhook_passed_over_total{name=\"w.test.io\",type=\"validating\"}"));
    // When it is back, it is asked again.
    world.cluster.endpoints("w", Some(world._backend.port)).await;
    assert_eq!(post(&admin(), "a", "back").await.code, 201);
    assert_eq!(seen("WebhookUp").await["type"], "Normal");
    world.forget();
    assert_eq!(post(&manager, "kube-system", "asked").await.code, 201);
    assert_eq!(world.last_request()["name"], "asked");
}

/// A webhook changes no more of an object than the request that it is asked about may.
#[tokio::test]
async fn a_webhook_writes_what_the_request_writes() {
    let world = World::start().await;
    let hook = world.hook("w.test.io", "/both-halves", "pods", json!({}));
    let of_status = world.hook("s.test.io", "/both-halves", "pods/status", json!({}));
    world.configure(MUTATING, "c", vec![hook, of_status]).await;
    let written = |object: &Value| {
        let of = |path: &str| object.pointer(path).cloned().unwrap_or_default();
        [of("/metadata/labels/hooked"), of("/spec/activeDeadlineSeconds"), of("/status/message")]
    };
    let made = world.cluster.made(PODS, pod("p")).await;
    assert_eq!(written(&made), [json!("yes"), json!(5), Value::Null]);
    let path = format!("{PODS}/p");
    let put = world.cluster.send(&admin(), "PUT", &path, Some(&made)).await;
    assert_eq!(put.code, 200, "{}", put.value);
    assert_eq!(written(&put.value), [json!("yes"), json!(5), Value::Null]);
    // Without the webhook for pods, one is made that has nothing of it.
    world.cluster.send(&admin(), "DELETE", MUTATING, None).await;
    world.cluster.made(PODS, pod("q")).await;
    let of_status = world.hook("s.test.io", "/both-halves", "pods/status", json!({}));
    world.configure(MUTATING, "d", vec![of_status]).await;
    let path = format!("{PODS}/q/status");
    let patched = world.cluster.send(&admin(), "PATCH", &path, Some(&json!({"status": {"phase": "Running"}}))).await;
    assert_eq!(patched.code, 200, "{}", patched.value);
    assert_eq!(written(&patched.value), [json!("yes"), Value::Null, json!("hooked")]);
}
