//! Deployments: how they replace pods, and their subresources.

use crate::kit::{Api, STRATEGIC, condition, name, names, pod, template, with};
use serde_json::{Value, json};

const REVISION: &str = "deployment.kubernetes.io/revision";

fn deployment(name: &str, replicas: i32, image: &str) -> Value {
    let labels = json!({"name": name});
    json!({"metadata": {"name": name, "labels": labels},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template(&labels, image)}})
}

fn complete(replicas: i32) -> impl Fn(&Value) -> bool {
    move |d| {
        let status = &d["status"];
        let all = ["replicas", "updatedReplicas", "availableReplicas", "readyReplicas"];
        all.iter().all(|field| status[*field] == replicas)
            && status["observedGeneration"] == d["metadata"]["generation"]
    }
}

fn image_of(object: &Value) -> &str {
    object["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap()
}

async fn sets(api: &Api, name: &str) -> Vec<Value> {
    api.items(&api.apps("replicasets"), &format!("name={name}")).await
}

/// A replica set whose pods a deployment may adopt.
async fn older_set(api: &Api, name: &str, replicas: i32) {
    let mut set = deployment(name, replicas, "older");
    set["metadata"]["name"] = format!("{name}-controller").into();
    set["metadata"]["annotations"] = json!({REVISION: "3546343826724305832"});
    api.post(&api.apps("replicasets"), set).await;
    let own = api.apps(&format!("replicasets/{name}-controller"));
    api.until(&own, |s| s["status"]["readyReplicas"] == replicas).await;
}

/// [sig-apps] Deployment RollingUpdateDeployment should delete old pods and create new ones
#[test]
fn a_deployment_takes_over_an_older_set() {
    with(async |api| {
        older_set(&api, "x", 1).await;
        api.post(&api.apps("deployments"), deployment("x", 1, "new")).await;
        let done = api.until(&api.apps("deployments/x"), complete(1)).await;
        // The next one after the set that it found.
        assert_eq!(done["metadata"]["annotations"][REVISION], "3546343826724305833");
        let all = sets(&api, "x").await;
        let (old, new): (Vec<&Value>, Vec<&Value>) = all.iter().partition(|s| name(s) == "x-controller");
        assert_eq!((old.len(), new.len()), (1, 1));
        assert_eq!(
            (&old[0]["spec"]["replicas"], &old[0]["metadata"]["ownerReferences"][0]["name"]),
            (&json!(0), &json!("x"))
        );
        api.until_list(&api.core("pods"), "name=x", |pods| pods.len() == 1).await;
    });
}

/// [sig-apps] Deployment RecreateDeployment should delete old pods and create new ones
#[test]
fn recreate_never_mixes_pods() {
    with(async |api| {
        let mut first = deployment("x", 1, "old");
        first["spec"]["strategy"] = json!({"type": "Recreate"});
        api.post(&api.apps("deployments"), first).await;
        let own = api.apps("deployments/x");
        api.until(&own, complete(1)).await;
        let old = names(&api.items(&api.core("pods"), "name=x").await)[0].to_owned();
        let from = api.get(&api.core("pods")).await["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        let mut watch = api.watch(&api.core("pods"), &format!("labelSelector=name=x&resourceVersion={from}")).await;
        api.update(&own, |d| d["spec"]["template"]["spec"]["containers"][0]["image"] = "new".into()).await;
        let mut gone = false;
        loop {
            let event = watch.next().await;
            let (pod, kind) = (&event["object"], event["type"].as_str().unwrap());
            gone |= name(pod) == old && kind == "DELETED";
            assert!(gone || name(pod) == old, "a new pod while the old one is there");
            if name(pod) != old && condition(pod, "Ready", "True") {
                break;
            }
        }
        api.until(&own, complete(1)).await;
    });
}

/// [sig-apps] Deployment deployment should delete old replica sets
#[test]
fn history_is_limited() {
    with(async |api| {
        older_set(&api, "x", 1).await;
        let mut wanted = deployment("x", 1, "new");
        wanted["spec"]["revisionHistoryLimit"] = 0.into();
        api.post(&api.apps("deployments"), wanted).await;
        api.until_list(&api.apps("replicasets"), "name=x", |all| all.len() == 1 && image_of(&all[0]) == "new").await;
    });
}

/// [sig-apps] Deployment deployment should support rollover
#[test]
fn a_rollout_is_overtaken() {
    with(async |api| {
        older_set(&api, "x", 1).await;
        let mut wanted = deployment("x", 1, "never-ready");
        wanted["spec"]["minReadySeconds"] = 1.into();
        wanted["spec"]["strategy"] =
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}});
        wanted["spec"]["template"]["spec"]["containers"][0]["command"] = json!(["never"]);
        api.post(&api.apps("deployments"), wanted).await;
        let own = api.apps("deployments/x");
        api.until(&own, |d| d["status"]["updatedReplicas"] == 1 && d["status"]["replicas"] == 2).await;
        api.update(&own, |d| {
            d["spec"]["template"]["spec"]["containers"][0] = json!({"name": "c", "image": "good"});
        })
        .await;
        api.until(&own, complete(1)).await;
        for set in sets(&api, "x").await {
            assert_eq!(set["spec"]["replicas"] == 1, image_of(&set) == "good", "{set}");
        }
    });
}

/// [sig-apps] Deployment deployment should support proportional scaling
#[test]
fn a_rollout_is_scaled_in_proportion() {
    with(async |api| {
        let own = api.apps("deployments/x");
        let mut wanted = deployment("x", 10, "first");
        wanted["spec"]["strategy"] =
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2, "maxSurge": 3}});
        api.post(&api.apps("deployments"), wanted).await;
        api.until(&own, complete(10)).await;
        let bad = |d: &mut Value| {
            let container = &mut d["spec"]["template"]["spec"]["containers"][0];
            container["image"] = "webserver:404".into();
            container["command"] = json!(["never"]);
        };
        api.update(&own, bad).await;
        let sizes = |all: &[Value]| {
            let size = |image: &str| all.iter().find(|s| image_of(s) == image).map(|s| s["spec"]["replicas"].clone());
            (size("first").unwrap_or_default(), size("webserver:404").unwrap_or_default())
        };
        let path = api.apps("replicasets");
        api.until_list(&path, "name=x", |all| sizes(all) == (json!(8), json!(5))).await;
        api.until(&own, |d| d["status"]["replicas"] == 13 && d["status"]["availableReplicas"] == 8).await;
        api.merge(&format!("{own}/scale"), json!({"spec": {"replicas": 30}})).await;
        let scaled = api.until_list(&path, "name=x", |all| sizes(all) == (json!(20), json!(13))).await;
        assert_eq!(scaled.len(), 2);
    });
}

/// [sig-apps] Deployment Deployment should have a working scale subresource
#[test]
fn a_deployment_has_a_scale() {
    with(async |api| {
        let own = api.apps("deployments/x");
        api.post(&api.apps("deployments"), deployment("x", 1, "i")).await;
        api.until(&own, complete(1)).await;
        assert_eq!(api.get(&format!("{own}/scale")).await["status"]["selector"], "name=x");
        let scaled = api.update(&format!("{own}/scale"), |s| s["spec"]["replicas"] = 2.into()).await;
        assert_eq!(scaled["spec"]["replicas"], 2);
        api.until(&own, complete(2)).await;
        let patched = api.merge(&format!("{own}/scale"), json!({"spec": {"replicas": 4}})).await;
        assert_eq!(patched["spec"]["replicas"], 4);
        api.until(&own, complete(4)).await;
    });
}

/// [sig-apps] Deployment should run the lifecycle of a Deployment
#[test]
fn a_deployment_lives() {
    with(async |api| {
        let (path, own) = (api.apps("deployments"), api.apps("deployments/x"));
        let mut watch = api.watch(&path, "labelSelector=name=x").await;
        let made = api.post(&path, deployment("x", 1, "i")).await;
        watch.see("ADDED", |d| name(d) == "x").await;
        watch.see("MODIFIED", complete(1)).await;
        let patch = json!({"metadata": {"labels": {"test-deployment": "patched"}},
            "spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "c", "image": "other"}]}}}});
        api.patch(&own, STRATEGIC, patch).await;
        watch.see("MODIFIED", |d| d["metadata"]["labels"]["test-deployment"] == "patched").await;
        watch.see("MODIFIED", complete(2)).await;
        let listed = api.items("/apis/apps/v1/deployments", "test-deployment=patched").await;
        assert!(listed.iter().any(|d| d["metadata"]["uid"] == made["metadata"]["uid"] && image_of(d) == "other"));
        let updated = api.update(&own, |d| d["metadata"]["labels"]["test-deployment"] = "updated".into()).await;
        assert_eq!(updated["metadata"]["generation"], 2);
        watch.see("MODIFIED", |d| d["metadata"]["labels"]["test-deployment"] == "updated").await;
        let status = api.get(&format!("{own}/status")).await;
        assert_eq!(status["status"]["readyReplicas"], 2);
        api.delete(&format!("{path}?labelSelector=name=x")).await;
        watch.see("DELETED", |d| name(d) == "x").await;
        api.until_list(&api.core("pods"), "name=x", <[Value]>::is_empty).await;
    });
}

/// [sig-apps] Deployment should validate Deployment Status endpoints
#[test]
fn the_status_of_a_deployment_lives() {
    with(async |api| {
        let (own, status) = (api.apps("deployments/x"), api.apps("deployments/x/status"));
        api.post(&api.apps("deployments"), deployment("x", 1, "i")).await;
        api.until(&own, complete(1)).await;
        let mut watch = api.watch(&api.apps("deployments"), "labelSelector=name=x").await;
        let told = json!({"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"});
        let add = |d: &mut Value| d["status"]["conditions"].as_array_mut().unwrap().push(told.clone());
        api.update(&status, add).await;
        watch.see("MODIFIED", |d| condition(d, "StatusUpdate", "True")).await;
        let patch = json!({"metadata": {"annotations": {"patchedstatus": "true"}},
            "status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}});
        let patched = api.merge(&status, patch).await;
        assert_eq!(patched["metadata"]["annotations"]["patchedstatus"], "true");
        watch.see("MODIFIED", |d| condition(d, "StatusPatched", "True")).await;
    });
}

/// A pod that nobody owns is left alone by a deployment of another selector.
#[test]
fn strangers_are_left_alone() {
    with(async |api| {
        api.post(&api.core("pods"), pod("stranger", json!({"name": "y"}), json!({}))).await;
        api.post(&api.apps("deployments"), deployment("x", 1, "i")).await;
        api.until(&api.apps("deployments/x"), complete(1)).await;
        assert_eq!(api.get(&api.core("pods/stranger")).await["metadata"].get("ownerReferences"), None);
    });
}
