//! Replica sets and replication controllers, which do the same.

use crate::kit::{Api, STRATEGIC, condition, find_condition, name, names, pod, template, with};
use serde_json::{Value, json};

/// The collection of either kind.
fn collection(api: &Api, plural: &str) -> String {
    if plural == "replicationcontrollers" { api.core(plural) } else { api.apps(plural) }
}

/// An object of either kind that selects `name=NAME`.
fn set(plural: &str, name: &str, replicas: i32) -> Value {
    let labels = json!({"name": name});
    let selector = if plural == "replicationcontrollers" { labels.clone() } else { json!({"matchLabels": labels}) };
    json!({"metadata": {"name": name, "labels": labels},
        "spec": {"replicas": replicas, "selector": selector, "template": template(&labels, "i")}})
}

fn ready(replicas: i32) -> impl Fn(&Value) -> bool {
    move |set| {
        set["status"]["readyReplicas"] == replicas
            && set["status"]["observedGeneration"] == set["metadata"]["generation"]
    }
}

fn owner(pod: &Value) -> Option<&str> {
    let owners = pod["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    owners.filter(|o| o["controller"] == true).find_map(|o| o["name"].as_str())
}

fn adopts_and_releases(plural: &str) {
    with(async |api| {
        api.post(&api.core("pods"), pod("orphan", json!({"name": "adopter"}), json!({}))).await;
        let sets = collection(&api, plural);
        api.post(&sets, set(plural, "adopter", 1)).await;
        let adopted = api.until(&api.core("pods/orphan"), |p| owner(p) == Some("adopter")).await;
        let all = api.until_list(&api.core("pods"), "name=adopter", |pods| pods.len() == 1).await;
        assert_eq!(all[0]["metadata"]["uid"], adopted["metadata"]["uid"]);
        api.merge(&api.core("pods/orphan"), json!({"metadata": {"labels": {"name": "released"}}})).await;
        api.until(&api.core("pods/orphan"), |p| owner(p).is_none()).await;
        let others = api.until_list(&api.core("pods"), "name=adopter", |pods| pods.len() == 1).await;
        assert_ne!(name(&others[0]), "orphan");
    });
}

/// [sig-apps] ReplicaSet should adopt matching pods on creation and release no longer matching pods
#[test]
fn a_replica_set_adopts_and_releases() {
    adopts_and_releases("replicasets");
}

/// [sig-apps] ReplicationController should adopt matching pods on creation
/// [sig-apps] ReplicationController should release no longer matching pods
#[test]
fn a_replication_controller_adopts_and_releases() {
    adopts_and_releases("replicationcontrollers");
}

fn scales(plural: &str) {
    with(async |api| {
        let own = format!("{}/x", collection(&api, plural));
        api.post(&collection(&api, plural), set(plural, "x", 1)).await;
        api.until(&own, ready(1)).await;
        let scale = api.get(&format!("{own}/scale")).await;
        assert_eq!((&scale["kind"], &scale["apiVersion"]), (&json!("Scale"), &json!("autoscaling/v1")));
        assert_eq!((&scale["spec"]["replicas"], &scale["status"]["selector"]), (&json!(1), &json!("name=x")));
        let scaled = api.update(&format!("{own}/scale"), |s| s["spec"]["replicas"] = 2.into()).await;
        assert_eq!(scaled["spec"]["replicas"], 2);
        api.until(&own, |s| s["spec"]["replicas"] == 2 && ready(2)(s)).await;
        let patched = api.merge(&format!("{own}/scale"), json!({"spec": {"replicas": 4}})).await;
        assert_eq!(patched["spec"]["replicas"], 4);
        api.until(&own, |s| s["spec"]["replicas"] == 4 && ready(4)(s)).await;
    });
}

/// [sig-apps] ReplicaSet Replicaset should have a working scale subresource
#[test]
fn a_replica_set_has_a_scale() {
    scales("replicasets");
}

/// [sig-apps] ReplicationController should get and update a ReplicationController scale
#[test]
fn a_replication_controller_has_a_scale() {
    scales("replicationcontrollers");
}

/// [sig-apps] ReplicaSet should list and delete a collection of ReplicaSets
#[test]
fn replica_sets_are_deleted_by_label() {
    with(async |api| {
        let sets = api.apps("replicasets");
        api.post(&sets, set("replicasets", "x", 3)).await;
        api.until(&format!("{sets}/x"), ready(3)).await;
        let listed = api.items("/apis/apps/v1/replicasets", "name=x").await;
        assert!(listed.iter().any(|s| s["metadata"]["namespace"] == api.ns.as_str()));
        api.delete(&format!("{sets}?labelSelector=name=x")).await;
        assert!(api.items(&sets, "name=x").await.is_empty());
        api.until_list(&api.core("pods"), "name=x", <[Value]>::is_empty).await;
    });
}

/// [sig-apps] ReplicaSet Replace and Patch tests
#[test]
fn a_replica_set_is_replaced_and_patched() {
    with(async |api| {
        let own = api.apps("replicasets/x");
        api.post(&api.apps("replicasets"), set("replicasets", "x", 1)).await;
        api.until(&own, ready(1)).await;
        let scaled = api.update(&format!("{own}/scale"), |s| s["spec"]["replicas"] = 2.into()).await;
        assert_eq!(scaled["spec"]["replicas"], 2);
        api.until(&own, ready(2)).await;
        let patch = json!({"metadata": {"labels": {"test-rs": "patched"}},
            "spec": {"replicas": 3, "template": {"spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "new"}]}}}});
        api.patch(&own, STRATEGIC, patch).await;
        let patched = api.until(&own, ready(3)).await;
        assert_eq!(patched["spec"]["template"]["spec"]["containers"][0]["image"], "new");
        assert_eq!(patched["metadata"]["labels"], json!({"name": "x", "test-rs": "patched"}));
    });
}

/// [sig-apps] ReplicaSet should validate Replicaset Status endpoints
#[test]
fn the_status_of_a_replica_set_lives() {
    with(async |api| {
        let (own, status) = (api.apps("replicasets/x"), api.apps("replicasets/x/status"));
        api.post(&api.apps("replicasets"), set("replicasets", "x", 1)).await;
        api.until(&own, ready(1)).await;
        assert_eq!(api.get(&status).await["status"]["replicas"], 1);
        let mut watch = api.watch(&api.apps("replicasets"), "labelSelector=name=x").await;
        let told = json!([{"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}]);
        api.update(&status, |s| s["status"]["conditions"] = told.clone()).await;
        watch.see("MODIFIED", |s| condition(s, "StatusUpdate", "True")).await;
        let patch = json!({"status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}});
        api.merge(&status, patch).await;
        watch.see("MODIFIED", |s| condition(s, "StatusPatched", "True")).await;
    });
}

/// [sig-apps] ReplicationController should surface a failure condition on a common issue like exceeded quota
#[test]
fn a_quota_is_told_in_a_condition() {
    with(async |api| {
        let quota = json!({"metadata": {"name": "condition-test"}, "spec": {"hard": {"pods": "2"}}});
        api.post(&api.core("resourcequotas"), quota).await;
        api.until(&api.core("resourcequotas/condition-test"), |q| q["status"]["hard"]["pods"] == "2").await;
        let own = api.core("replicationcontrollers/condition-test");
        api.post(&api.core("replicationcontrollers"), set("replicationcontrollers", "condition-test", 3)).await;
        let failed = api.until(&own, |c| condition(c, "ReplicaFailure", "True")).await;
        let told = find_condition(&failed, "ReplicaFailure");
        assert_eq!(told["reason"], "FailedCreate");
        assert!(told["message"].as_str().unwrap().contains("exceeded quota: condition-test"), "{told}");
        api.merge(&format!("{own}/scale"), json!({"spec": {"replicas": 2}})).await;
        let whole = api.until(&own, |c| find_condition(c, "ReplicaFailure").is_null()).await;
        assert_eq!(whole["status"]["replicas"], 2);
        assert_eq!(names(&api.items(&api.core("pods"), "name=condition-test").await).len(), 2);
    });
}
