//! Stateful sets: order, partitions, rollbacks, subresources.

use crate::kit::{Api, STRATEGIC, condition, name, names, template, with};
use serde_json::{Value, json};

fn set(replicas: i32, image: &str) -> Value {
    let labels = json!({"foo": "bar", "baz": "blah"});
    json!({"metadata": {"name": "ss", "labels": labels}, "spec": {"serviceName": "test", "replicas": replicas,
        "selector": {"matchLabels": labels}, "template": template(&labels, image)}})
}

async fn create(api: &Api, set: Value) {
    let service = json!({"metadata": {"name": "test"},
        "spec": {"clusterIP": "None", "selector": {"foo": "bar"}, "ports": [{"port": 80}]}});
    api.post(&api.core("services"), service).await;
    api.post(&api.apps("statefulsets"), set).await;
}

fn ready(replicas: i32) -> impl Fn(&Value) -> bool {
    move |s| {
        let count = |field: &str| s["status"][field].as_i64().unwrap_or(0);
        count("readyReplicas") == i64::from(replicas)
            && count("replicas") == i64::from(replicas)
            && s["status"]["observedGeneration"] == s["metadata"]["generation"]
    }
}

fn rolled(replicas: i32) -> impl Fn(&Value) -> bool {
    move |s| ready(replicas)(s) && s["status"]["currentRevision"] == s["status"]["updateRevision"]
}

async fn pods(api: &Api) -> Vec<Value> {
    api.items(&api.core("pods"), "foo=bar").await
}

fn image(pod: &Value) -> &str {
    pod["spec"]["containers"][0]["image"].as_str().unwrap()
}

/// Images by ordinal.
async fn images(api: &Api) -> Vec<String> {
    let mut all = pods(api).await;
    all.sort_by(|a, b| name(a).cmp(name(b)));
    all.iter().map(|p| image(p).to_owned()).collect()
}

async fn heal(api: &Api, pod: &str, well: bool) {
    let status = if well { "True" } else { "False" };
    let conditions = json!([{"type": "Ready", "status": status}]);
    api.patch(&api.core(&format!("pods/{pod}/status")), STRATEGIC, json!({"status": {"conditions": conditions}})).await;
}

/// [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should perform rolling updates and roll backs of template modifications
#[test]
fn a_template_rolls_out_and_back() {
    with(async |api| {
        let own = api.apps("statefulsets/ss");
        create(&api, set(3, "old")).await;
        let first = api.until(&own, rolled(3)).await;
        let from = api.get(&api.core("pods")).await["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        let mut watch = api.watch(&api.core("pods"), &format!("labelSelector=foo=bar&resourceVersion={from}")).await;
        let to = async |image: &str| {
            let set_image = |s: &mut Value| s["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
            api.update(&own, set_image).await;
        };
        to("new").await;
        for ordinal in [2, 1, 0] {
            let deleted = watch.see("DELETED", |_| true).await;
            assert_eq!(name(&deleted), format!("ss-{ordinal}"), "from the last to the first");
            watch.see("ADDED", |p| image(p) == "new").await;
        }
        let second = api.until(&own, rolled(3)).await;
        assert_ne!(first["status"]["currentRevision"], second["status"]["currentRevision"]);
        to("old").await;
        let back = api
            .until(&own, |s| rolled(3)(s) && s["status"]["currentRevision"] == first["status"]["currentRevision"])
            .await;
        assert_eq!(back["status"]["updatedReplicas"], 3);
        assert_eq!(images(&api).await, ["old"; 3]);
    });
}

/// [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should perform canary updates and phased rolling updates of template modifications
#[test]
fn a_partition_holds_pods_back() {
    with(async |api| {
        let own = api.apps("statefulsets/ss");
        let mut wanted = set(3, "old");
        wanted["spec"]["updateStrategy"] = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 3}});
        create(&api, wanted).await;
        let first = api.until(&own, ready(3)).await;
        api.update(&own, |s| s["spec"]["template"]["spec"]["containers"][0]["image"] = "new".into()).await;
        let told = api.until(&own, |s| s["status"]["updateRevision"] != s["status"]["currentRevision"]).await;
        assert_eq!(told["status"]["currentRevision"], first["status"]["currentRevision"]);
        api.until(&own, ready(3)).await;
        assert_eq!(images(&api).await, ["old"; 3], "nothing is at or above the partition");
        let partition = async |n: i32| {
            api.merge(&own, json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": n}}}})).await;
        };
        partition(2).await;
        api.until(&own, |s| s["status"]["updatedReplicas"] == 1 && ready(3)(s)).await;
        assert_eq!(images(&api).await, ["old", "old", "new"]);
        for pod in ["ss-0", "ss-2"] {
            let uid = api.get(&api.core(&format!("pods/{pod}"))).await["metadata"]["uid"].clone();
            api.delete(&api.core(&format!("pods/{pod}"))).await;
            let again = |p: &Value| p["metadata"]["uid"] != uid && condition(p, "Ready", "True");
            api.until(&api.core(&format!("pods/{pod}")), again).await;
        }
        assert_eq!(images(&api).await, ["old", "old", "new"], "each comes back in its own revision");
        for n in [1, 0] {
            partition(n).await;
            api.until(&own, |s| s["status"]["updatedReplicas"] == 3 - n && ready(3)(s)).await;
        }
        api.until(&own, rolled(3)).await;
        assert_eq!(images(&api).await, ["new"; 3]);
    });
}

/// [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] Scaling should happen in predictable order and halt if any stateful pod is unhealthy [Slow]
#[test]
fn scaling_keeps_order_and_waits_for_health() {
    with(async |api| {
        let own = api.apps("statefulsets/ss");
        let mut watch = api.watch(&api.core("pods"), "labelSelector=foo=bar").await;
        create(&api, set(1, "i")).await;
        api.until(&own, ready(1)).await;
        heal(&api, "ss-0", false).await;
        api.merge(&own, json!({"spec": {"replicas": 3}})).await;
        api.until(&own, |s| {
            s["status"]["observedGeneration"] == 2 && s["status"]["readyReplicas"].as_i64().unwrap_or(0) == 0
        })
        .await;
        assert_eq!(names(&pods(&api).await), ["ss-0"], "an unhealthy pod holds up those after it");
        heal(&api, "ss-0", true).await;
        api.until(&own, ready(3)).await;
        for ordinal in 0..3 {
            let added = watch.see("ADDED", |_| true).await;
            assert_eq!(name(&added), format!("ss-{ordinal}"));
        }
        heal(&api, "ss-0", false).await;
        api.until(&own, |s| s["status"]["readyReplicas"] == 2).await;
        api.merge(&own, json!({"spec": {"replicas": 0}})).await;
        api.until(&own, |s| s["status"]["observedGeneration"] == 3).await;
        heal(&api, "ss-0", true).await;
        api.until(&own, ready(0)).await;
        for ordinal in [2, 1, 0] {
            let deleted = watch.see("DELETED", |_| true).await;
            assert_eq!(name(&deleted), format!("ss-{ordinal}"));
        }
    });
}

/// [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] Burst scaling should run to completion even with unhealthy pods [Slow]
#[test]
fn bursts_wait_for_nobody() {
    with(async |api| {
        let own = api.apps("statefulsets/ss");
        let mut wanted = set(1, "i");
        wanted["spec"]["podManagementPolicy"] = "Parallel".into();
        create(&api, wanted).await;
        api.until(&own, ready(1)).await;
        heal(&api, "ss-0", false).await;
        api.merge(&own, json!({"spec": {"replicas": 3}})).await;
        api.until(&own, |s| s["status"]["replicas"] == 3 && s["status"]["readyReplicas"] == 2).await;
        heal(&api, "ss-1", false).await;
        api.merge(&own, json!({"spec": {"replicas": 0}})).await;
        api.until(&own, ready(0)).await;
        assert!(pods(&api).await.is_empty());
    });
}

/// [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] Should recreate evicted statefulset
#[test]
fn a_failed_pod_is_made_again() {
    with(async |api| {
        create(&api, set(1, "i")).await;
        let first = api.until(&api.core("pods/ss-0"), |p| condition(p, "Ready", "True")).await;
        let failed = json!({"status": {"phase": "Failed", "reason": "Evicted"}});
        api.patch(&api.core("pods/ss-0/status"), STRATEGIC, failed).await;
        let again = |p: &Value| p["metadata"]["uid"] != first["metadata"]["uid"] && condition(p, "Ready", "True");
        api.until(&api.core("pods/ss-0"), again).await;
    });
}

/// [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should have a working scale subresource
#[test]
fn a_stateful_set_has_a_scale() {
    with(async |api| {
        let own = api.apps("statefulsets/ss");
        create(&api, set(1, "i")).await;
        api.until(&own, ready(1)).await;
        assert_eq!(api.get(&format!("{own}/scale")).await["status"]["selector"], "baz=blah,foo=bar");
        let scaled = api.update(&format!("{own}/scale"), |s| s["spec"]["replicas"] = 2.into()).await;
        assert_eq!(scaled["spec"]["replicas"], 2);
        api.until(&own, ready(2)).await;
        let patched = api.patch(&format!("{own}/scale"), STRATEGIC, json!({"spec": {"replicas": 4}})).await;
        assert_eq!(patched["spec"]["replicas"], 4);
        api.until(&own, ready(4)).await;
    });
}

/// [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should list, patch and delete a collection of StatefulSets
#[test]
fn stateful_sets_are_deleted_by_label() {
    with(async |api| {
        let path = api.apps("statefulsets");
        create(&api, set(1, "i")).await;
        api.until(&format!("{path}/ss"), ready(1)).await;
        let patch = json!({"metadata": {"labels": {"test-ss": "patched"}},
            "spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "c", "image": "new"}]}}}});
        api.patch(&format!("{path}/ss"), STRATEGIC, patch).await;
        let patched = api.until(&format!("{path}/ss"), rolled(2)).await;
        assert_eq!(patched["metadata"]["labels"]["test-ss"], "patched");
        assert_eq!(images(&api).await, ["new"; 2]);
        let all = api.items("/apis/apps/v1/statefulsets", "test-ss=patched").await;
        assert_eq!(names(&all), ["ss"]);
        api.delete(&format!("{path}?labelSelector=test-ss=patched")).await;
        assert!(api.items(&path, "test-ss=patched").await.is_empty());
    });
}

/// [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should validate Statefulset Status endpoints
#[test]
fn the_status_of_a_stateful_set_lives() {
    with(async |api| {
        let (own, status) = (api.apps("statefulsets/ss"), api.apps("statefulsets/ss/status"));
        create(&api, set(1, "i")).await;
        api.until(&own, rolled(1)).await;
        assert_eq!(api.get(&status).await["status"]["readyReplicas"], 1);
        let mut watch = api.watch(&api.apps("statefulsets"), "labelSelector=foo=bar").await;
        let told = json!([{"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}]);
        api.update(&status, |s| s["status"]["conditions"] = told.clone()).await;
        watch.see("MODIFIED", |s| condition(s, "StatusUpdate", "True")).await;
        api.merge(&status, json!({"status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}})).await;
        watch.see("MODIFIED", |s| condition(s, "StatusPatched", "True")).await;
    });
}
