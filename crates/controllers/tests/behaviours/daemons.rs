//! Daemon sets, and their revisions.

use crate::kit::{Api, STRATEGIC, condition, name, names, template, with};
use serde_json::{Value, json};

const HASH: &str = "controller-revision-hash";

fn set(labels: &Value) -> Value {
    json!({"metadata": {"name": "ds", "labels": labels}, "spec": {"selector": {"matchLabels": labels}, "template": template(labels, "old")}})
}

async fn create(api: &Api) -> String {
    api.post(&api.apps("daemonsets"), set(&json!({"daemonset-name": "ds"}))).await;
    api.until(&api.apps("daemonsets/ds"), everywhere).await;
    api.apps("daemonsets/ds")
}

/// Whether all nodes that should run the newest pod do.
fn everywhere(set: &Value) -> bool {
    let status = &set["status"];
    let wanted = &status["desiredNumberScheduled"];
    wanted.as_i64().is_some_and(|n| n > 0)
        && [&status["numberReady"], &status["updatedNumberScheduled"], &status["numberAvailable"]]
            .iter()
            .all(|n| *n == wanted)
        && status["observedGeneration"] == set["metadata"]["generation"]
}

async fn pods(api: &Api) -> Vec<Value> {
    api.items(&api.core("pods"), "daemonset-name=ds").await
}

async fn set_image(api: &Api, own: &str, image: &str, command: Value) {
    let container = json!({"name": "c", "image": image, "command": command});
    api.update(own, |s| s["spec"]["template"]["spec"]["containers"][0] = container.clone()).await;
}

/// [sig-apps] Daemon set [Serial] should run and stop simple daemon
#[test]
fn a_daemon_runs_everywhere_and_comes_back() {
    with(async |api| {
        create(&api).await;
        let first = pods(&api).await;
        assert_eq!(first.len(), 2);
        api.delete(&api.core(&format!("pods/{}", name(&first[0])))).await;
        let uid = first[0]["metadata"]["uid"].clone();
        api.until_list(&api.core("pods"), "daemonset-name=ds", |pods| {
            pods.len() == 2 && pods.iter().all(|p| p["metadata"]["uid"] != uid && condition(p, "Ready", "True"))
        })
        .await;
    });
}

/// [sig-apps] Daemon set [Serial] should run and stop complex daemon
#[test]
fn a_daemon_follows_labels_of_nodes() {
    with(async |api| {
        let (key, labels) = (format!("color-{}", api.ns), json!({"daemonset-name": "ds"}));
        let mut wanted = set(&labels);
        wanted["spec"]["template"]["spec"]["nodeSelector"] = json!({&key: "blue"});
        api.post(&api.apps("daemonsets"), wanted).await;
        let own = api.apps("daemonsets/ds");
        api.until(&own, |s| s["status"]["observedGeneration"] == 1).await;
        assert!(pods(&api).await.is_empty());
        let paint = async |color: &str| {
            api.merge("/api/v1/nodes/node-1", json!({"metadata": {"labels": {&key: color}}})).await;
        };
        paint("blue").await;
        let on_node = |pods: &[Value]| {
            pods.len() == 1 && pods[0]["spec"]["nodeName"] == "node-1" && condition(&pods[0], "Ready", "True")
        };
        api.until_list(&api.core("pods"), "daemonset-name=ds", on_node).await;
        paint("green").await;
        api.until_list(&api.core("pods"), "daemonset-name=ds", <[Value]>::is_empty).await;
        api.update(&own, |s| {
            s["spec"]["template"]["spec"]["nodeSelector"][&key] = "green".into();
            s["spec"]["updateStrategy"] = json!({"type": "RollingUpdate"});
        })
        .await;
        api.until_list(&api.core("pods"), "daemonset-name=ds", on_node).await;
    });
}

/// [sig-apps] Daemon set [Serial] should retry creating failed daemon pods
#[test]
fn a_failed_daemon_is_made_again() {
    with(async |api| {
        create(&api).await;
        let failed = &pods(&api).await[0];
        let status = json!({"status": {"phase": "Failed"}});
        api.merge(&api.core(&format!("pods/{}/status", name(failed))), status).await;
        api.gone(&api.core(&format!("pods/{}", name(failed)))).await;
        api.until_list(&api.core("pods"), "daemonset-name=ds", |pods| {
            pods.len() == 2 && pods.iter().all(|p| condition(p, "Ready", "True"))
        })
        .await;
    });
}

/// [sig-apps] Daemon set [Serial] should update pod when spec was updated and update strategy is RollingUpdate
#[test]
fn a_template_rolls_out() {
    with(async |api| {
        let own = create(&api).await;
        let revisions = api.apps("controllerrevisions");
        let first = api.items(&revisions, "daemonset-name=ds").await;
        assert_eq!((first.len(), &first[0]["revision"]), (1, &json!(1)));
        let hash = first[0]["metadata"]["labels"][HASH].clone();
        assert!(pods(&api).await.iter().all(|p| p["metadata"]["labels"][HASH] == hash));
        set_image(&api, &own, "new", Value::Null).await;
        api.until(&own, everywhere).await;
        let second = api.until_list(&revisions, "daemonset-name=ds", |all| all.len() == 2).await;
        let newest = second.iter().find(|r| r["revision"] == 2).unwrap();
        let hash = &newest["metadata"]["labels"][HASH];
        for pod in pods(&api).await {
            assert_eq!(
                (&pod["metadata"]["labels"][HASH], &pod["spec"]["containers"][0]["image"]),
                (hash, &json!("new"))
            );
        }
    });
}

/// [sig-apps] Daemon set [Serial] should rollback without unnecessary restarts
#[test]
fn a_rollback_restarts_nothing_else() {
    with(async |api| {
        let own = create(&api).await;
        let uids = |pods: &[Value]| -> Vec<Value> { pods.iter().map(|p| p["metadata"]["uid"].clone()).collect() };
        let before = uids(&pods(&api).await);
        set_image(&api, &own, "foo:non-existent", json!(["never"])).await;
        let bad = |p: &Value| p["spec"]["containers"][0]["image"] == "foo:non-existent";
        let mixed = api
            .until_list(&api.core("pods"), "daemonset-name=ds", |pods| pods.len() == 2 && pods.iter().any(bad))
            .await;
        let kept: Vec<Value> = uids(&mixed).into_iter().filter(|uid| before.contains(uid)).collect();
        assert_eq!(kept.len(), 1, "one at a time");
        set_image(&api, &own, "old", Value::Null).await;
        api.until(&own, everywhere).await;
        let after = uids(&pods(&api).await);
        assert!(after.len() == 2 && kept.iter().all(|uid| after.contains(uid)), "{kept:?} {after:?}");
    });
}

/// [sig-apps] Daemon set [Serial] should list and delete a collection of DaemonSets
#[test]
fn daemon_sets_are_deleted_by_label() {
    with(async |api| {
        create(&api).await;
        assert!(names(&api.items("/apis/apps/v1/daemonsets", "daemonset-name=ds").await).contains(&"ds"));
        api.delete(&api.apps("daemonsets?labelSelector=daemonset-name=ds")).await;
        assert!(api.items(&api.apps("daemonsets"), "").await.is_empty());
        api.until_list(&api.core("pods"), "daemonset-name=ds", <[Value]>::is_empty).await;
    });
}

/// [sig-apps] Daemon set [Serial] should verify changes to a daemon set status
#[test]
fn the_status_of_a_daemon_set_lives() {
    with(async |api| {
        let status = format!("{}/status", create(&api).await);
        assert_eq!(api.get(&status).await["status"]["numberReady"], 2);
        let mut watch = api.watch(&api.apps("daemonsets"), "labelSelector=daemonset-name=ds").await;
        let told = json!([{"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}]);
        api.update(&status, |s| s["status"]["conditions"] = told.clone()).await;
        watch.see("MODIFIED", |s| condition(s, "StatusUpdate", "True")).await;
        api.merge(&status, json!({"status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}})).await;
        watch.see("MODIFIED", |s| condition(s, "StatusPatched", "True")).await;
    });
}

/// [sig-apps] ControllerRevision [Serial] should manage the lifecycle of a ControllerRevision
#[test]
fn a_revision_lives() {
    with(async |api| {
        create(&api).await;
        let path = api.apps("controllerrevisions");
        let all = api.items("/apis/apps/v1/controllerrevisions", "daemonset-name=ds").await;
        let own = all.iter().find(|r| r["metadata"]["namespace"] == api.ns.as_str()).unwrap();
        let own = format!("{path}/{}", name(own));
        let patch = json!({"metadata": {"labels": {"patched": "yes"}}});
        let initial = api.patch(&own, STRATEGIC, patch).await;
        assert_eq!(initial["metadata"]["labels"]["patched"], "yes");
        let copy = json!({"metadata": {"name": "copy", "labels": {"daemonset-name": "ds", "copy": "yes"},
            "ownerReferences": initial["metadata"]["ownerReferences"]}, "data": initial["data"], "revision": 5});
        let made = api.post(&path, copy).await;
        assert_eq!((&made["revision"], &made["data"]), (&json!(5), &initial["data"]));
        let updated = api.update(&own, |r| r["metadata"]["labels"]["updated"] = "yes".into()).await;
        assert_eq!(updated["metadata"]["labels"]["updated"], "yes");
        api.delete(&format!("{path}/copy")).await;
        api.gone(&format!("{path}/copy")).await;
        api.delete(&format!("{path}?labelSelector=updated=yes")).await;
        api.gone(&own).await;
        // The set needs one for its template, and makes it.
        api.until_list(&path, "daemonset-name=ds", |all| {
            all.len() == 1 && all[0]["metadata"]["labels"].get("updated").is_none()
        })
        .await;
    });
}
