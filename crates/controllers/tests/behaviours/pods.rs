//! Pods and their templates as objects of the API, and what admission and the scheduler make of runtime classes.

use crate::kit::{STRATEGIC, condition, name, names, pod, template, with};
use serde_json::{Value, json};

/// [sig-node] PodTemplates should delete a collection of pod templates
#[test]
fn templates_are_deleted_by_label() {
    with(async |api| {
        let path = api.core("podtemplates");
        for n in 0..3 {
            let meta = json!({"name": format!("t{n}"), "labels": {"podtemplate-set": "true"}});
            api.post(&path, json!({"metadata": meta, "template": template(&json!({"a": "b"}), "i")})).await;
        }
        assert_eq!(api.items(&path, "podtemplate-set=true").await.len(), 3);
        api.delete(&format!("{path}?labelSelector=podtemplate-set=true")).await;
        assert!(api.items(&path, "podtemplate-set=true").await.is_empty());
    });
}

/// [sig-node] PodTemplates should replace a pod template
#[test]
fn a_template_is_replaced() {
    with(async |api| {
        let path = api.core("podtemplates");
        api.post(&path, json!({"metadata": {"name": "t"}, "template": template(&json!({"a": "b"}), "i")})).await;
        let updated =
            api.update(&format!("{path}/t"), |t| t["metadata"]["annotations"] = json!({"updated": "true"})).await;
        assert_eq!(updated["metadata"]["annotations"]["updated"], "true");
        assert_eq!(updated["template"]["spec"]["containers"][0]["image"], "i");
    });
}

/// [sig-node] Pods Extended Pods Set QOS Class should be set on Pods with matching resource requests and limits for memory and cpu
#[test]
fn a_pod_has_its_class_of_service() {
    with(async |api| {
        let amounts = json!({"cpu": "100m", "memory": "100Mi"});
        let containers = json!([{"name": "c", "image": "i", "resources": {"limits": amounts, "requests": amounts}}]);
        let made = api.post(&api.core("pods"), pod("p", json!({}), json!({"containers": containers}))).await;
        assert_eq!(made["status"]["qosClass"], "Guaranteed");
    });
}

/// [sig-node] Pods should delete a collection of pods
#[test]
fn pods_are_deleted_by_label() {
    with(async |api| {
        let path = api.core("pods");
        for n in 0..3 {
            api.post(&path, pod(&format!("p{n}"), json!({"type": "Testing"}), json!({}))).await;
        }
        assert_eq!(names(&api.items(&path, "type=Testing").await), ["p0", "p1", "p2"]);
        api.delete(&format!("{path}?labelSelector=type=Testing")).await;
        api.until_list(&path, "type=Testing", <[Value]>::is_empty).await;
    });
}

/// [sig-node] Pods should patch a pod status
#[test]
fn the_status_of_a_pod_is_patched() {
    with(async |api| {
        api.post(&api.core("pods"), pod("p", json!({}), json!({}))).await;
        api.until(&api.core("pods/p"), |p| condition(p, "Ready", "True")).await;
        let patch = json!({"metadata": {"annotations": {"patchedstatus": "true"}},
            "status": {"message": "Patched by e2e test", "reason": "E2E"}});
        let patched = api.patch(&api.core("pods/p/status"), STRATEGIC, patch).await;
        let status = &patched["status"];
        assert_eq!((&status["message"], &status["reason"]), (&json!("Patched by e2e test"), &json!("E2E")));
        assert_eq!(patched["metadata"]["annotations"]["patchedstatus"], "true");
        assert_eq!(status["phase"], "Running");
    });
}

/// [sig-node] Pods should run through the lifecycle of Pods and PodStatus
#[test]
fn a_pod_lives() {
    with(async |api| {
        let path = api.core("pods");
        let mut watch = api.watch(&path, "labelSelector=test-pod-static=true").await;
        api.post(&path, pod("p", json!({"test-pod-static": "true"}), json!({"terminationGracePeriodSeconds": 1})))
            .await;
        watch.see("ADDED", |p| name(p) == "p").await;
        watch.see("MODIFIED", |p| condition(p, "Ready", "True") && p["status"]["phase"] == "Running").await;
        let own = format!("{path}/p");
        let patch = json!({"metadata": {"labels": {"test-pod": "patched"}},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "other"}]}});
        let patched = api.patch(&own, STRATEGIC, patch).await;
        assert_eq!(patched["spec"]["containers"][0]["image"], "other");
        watch.see("MODIFIED", |p| p["metadata"]["labels"]["test-pod"] == "patched").await;
        let replaced = api
            .update(&format!("{own}/status"), |p| {
                let conditions = p["status"]["conditions"].as_array_mut().unwrap();
                conditions.iter_mut().filter(|c| c["type"] == "Ready").for_each(|c| c["status"] = "False".into());
            })
            .await;
        assert!(condition(&replaced, "Ready", "False"));
        watch.see("MODIFIED", |p| condition(p, "Ready", "False")).await;
        assert!(condition(&api.get(&format!("{own}/status")).await, "Ready", "False"));
        api.delete(&format!("{path}?labelSelector=test-pod-static=true")).await;
        watch.see("DELETED", |p| name(p) == "p").await;
    });
}

/// [sig-node] Pods should be submitted and removed [NodeConformance]
#[test]
fn a_pod_is_submitted_and_removed() {
    with(async |api| {
        let path = api.core("pods");
        let before = api.get(&format!("{path}?labelSelector=time=now")).await;
        assert_eq!(before["items"], json!([]));
        let from = before["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        let mut watch = api.watch(&path, &format!("labelSelector=time=now&resourceVersion={from}")).await;
        api.post(&path, pod("p", json!({"time": "now"}), json!({}))).await;
        assert_eq!(api.items(&path, "time=now").await.len(), 1);
        watch.see("ADDED", |p| name(p) == "p").await;
        api.until(&format!("{path}/p"), |p| condition(p, "Ready", "True")).await;
        let grace = json!({"gracePeriodSeconds": 1});
        let deleted = api.send(http::Method::DELETE, &format!("{path}/p"), Some(&grace)).await.done();
        assert!(deleted["metadata"]["deletionTimestamp"].is_string());
        let last = watch.see("DELETED", |p| name(p) == "p").await;
        assert!(last["metadata"]["deletionTimestamp"].is_string() && last["spec"]["nodeName"].is_string());
        assert!(api.items(&path, "time=now").await.is_empty());
    });
}

/// [sig-node] Pods should be updated [NodeConformance]
#[test]
fn a_pod_is_updated() {
    with(async |api| {
        api.post(&api.core("pods"), pod("p", json!({"time": "then"}), json!({}))).await;
        api.until(&api.core("pods/p"), |p| condition(p, "Ready", "True")).await;
        api.update(&api.core("pods/p"), |p| p["metadata"]["labels"]["time"] = "now".into()).await;
        api.until(&api.core("pods/p"), |p| condition(p, "Ready", "True")).await;
        assert_eq!(names(&api.items(&api.core("pods"), "time=now").await), ["p"]);
    });
}

/// [sig-node] RuntimeClass should reject a Pod requesting a non-existent RuntimeClass [NodeConformance]
/// [sig-node] RuntimeClass should reject a Pod requesting a deleted RuntimeClass [NodeConformance]
#[test]
fn a_runtime_class_must_be_there() {
    with(async |api| {
        let class = format!("c-{}", api.ns);
        let wanting = pod("p", json!({}), json!({"runtimeClassName": class}));
        let why = format!("pod rejected: RuntimeClass \"{class}\" not found");
        api.try_post(&api.core("pods"), wanting.clone()).await.refused(403, &why);
        let classes = "/apis/node.k8s.io/v1/runtimeclasses";
        api.post(classes, json!({"metadata": {"name": class}, "handler": "h"})).await;
        api.post(&api.core("pods?dryRun=All"), wanting.clone()).await;
        api.delete(&format!("{classes}/{class}")).await;
        api.gone(&format!("{classes}/{class}")).await;
        api.try_post(&api.core("pods"), wanting).await.refused(403, &why);
    });
}

/// [sig-node] RuntimeClass should schedule a Pod requesting a RuntimeClass and initialize its Overhead [NodeConformance]
/// [sig-node] RuntimeClass should schedule a Pod requesting a RuntimeClass without PodOverhead [NodeConformance]
#[test]
fn a_runtime_class_says_its_overhead() {
    with(async |api| {
        for (kind, overhead) in
            [("with", json!({"podFixed": {"cpu": "10m", "memory": "1Mi"}})), ("without", Value::Null)]
        {
            let class = format!("{kind}-{}", api.ns);
            let body = json!({"metadata": {"name": class}, "handler": "h", "overhead": overhead});
            api.post("/apis/node.k8s.io/v1/runtimeclasses", body).await;
            let wanting = pod(kind, json!({}), json!({"runtimeClassName": class}));
            api.post(&api.core("pods"), wanting).await;
            let placed = api.until(&api.core(&format!("pods/{kind}")), |p| condition(p, "PodScheduled", "True")).await;
            assert_eq!(placed["spec"]["overhead"], overhead["podFixed"]);
        }
    });
}
