//! Budgets of disruptions, and evictions that they hold up.

use crate::kit::{Answer, Api, STRATEGIC, condition, name, names, pod, with};
use serde_json::{Value, json};

fn budget(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name, "labels": {"pdb": name}}, "spec": spec})
}

fn selecting(field: &str, amount: Value) -> Value {
    json!({"selector": {"matchLabels": {"foo": "bar"}}, field: amount})
}

async fn budgets(api: &Api, spec: Value) -> String {
    api.post(&api.of("policy/v1", "poddisruptionbudgets"), budget("foo", spec)).await;
    let path = api.of("policy/v1", "poddisruptionbudgets/foo");
    api.until(&path, |b| b["status"]["observedGeneration"] == b["metadata"]["generation"]).await;
    path
}

async fn running(api: &Api, count: usize) {
    for n in 0..count {
        api.post(&api.core("pods"), pod(&format!("p{n}"), json!({"foo": "bar"}), json!({}))).await;
    }
    api.until_list(&api.core("pods"), "foo=bar", |pods| {
        pods.len() == count && pods.iter().all(|p| condition(p, "Ready", "True"))
    })
    .await;
}

async fn evict(api: &Api, pod: &str) -> Answer {
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}});
    api.try_post(&api.core(&format!("pods/{pod}/eviction")), eviction).await
}

/// [sig-apps] DisruptionController should create a PodDisruptionBudget
#[test]
fn a_budget_lives() {
    with(async |api| {
        let path = budgets(&api, selecting("minAvailable", json!("1%"))).await;
        assert_eq!(api.get(&path).await["spec"]["minAvailable"], "1%");
        let updated = api.update(&path, |b| b["spec"]["minAvailable"] = "2%".into()).await;
        assert_eq!((&updated["spec"]["minAvailable"], &updated["metadata"]["generation"]), (&json!("2%"), &json!(2)));
        let patched = api.patch(&path, STRATEGIC, json!({"spec": {"minAvailable": "3%"}})).await;
        assert_eq!(patched["spec"]["minAvailable"], "3%");
        api.delete(&path).await;
        api.absent(&path).await;
    });
}

/// [sig-apps] DisruptionController should observe PodDisruptionBudget status updated
#[test]
fn a_budget_counts_pods() {
    with(async |api| {
        let path = budgets(&api, selecting("minAvailable", json!(1))).await;
        running(&api, 3).await;
        let told = api.until(&path, |b| b["status"]["disruptionsAllowed"] == 2).await;
        let status = &told["status"];
        let counts = (&status["currentHealthy"], &status["desiredHealthy"], &status["expectedPods"]);
        assert_eq!(counts, (&json!(3), &json!(1), &json!(3)));
        assert!(condition(&told, "DisruptionAllowed", "True"));
    });
}

/// [sig-apps] DisruptionController should update/patch PodDisruptionBudget status
#[test]
fn the_status_of_a_budget_lives() {
    with(async |api| {
        let path = budgets(&api, selecting("minAvailable", json!(1))).await;
        running(&api, 1).await;
        api.until(&path, |b| b["status"]["currentHealthy"] == 1).await;
        let disrupted = json!({"old": "2020-01-01T00:00:00Z"});
        let updated = api.update(&format!("{path}/status"), |b| b["status"]["disruptedPods"] = disrupted.clone()).await;
        assert_eq!(updated["status"]["disruptedPods"], disrupted);
        let patch = json!({"metadata": {"annotations": {"patched": "yes"}}, "status": {"disruptedPods": {"old": null, "new": "2020-01-01T00:00:00Z"}}});
        let patched = api.merge(&format!("{path}/status"), patch).await;
        assert_eq!(patched["status"]["disruptedPods"].get("old"), None);
        assert!(patched["status"]["disruptedPods"]["new"].is_string());
    });
}

/// [sig-apps] DisruptionController Listing PodDisruptionBudgets for all namespaces should list and delete a collection of PodDisruptionBudgets
#[test]
fn budgets_are_listed_and_deleted_by_label() {
    with(async |api| {
        let path = api.of("policy/v1", "poddisruptionbudgets");
        for n in 0..3 {
            let mut budget = budget(&format!("b{n}"), selecting("minAvailable", json!("1%")));
            budget["metadata"]["labels"] = json!({"set": api.ns});
            api.post(&path, budget).await;
        }
        let everywhere = api.items("/apis/policy/v1/poddisruptionbudgets", &format!("set={}", api.ns)).await;
        assert_eq!(names(&everywhere), ["b0", "b1", "b2"]);
        api.delete(&format!("{path}?labelSelector=set={}", api.ns)).await;
        assert!(api.items(&path, "").await.is_empty());
    });
}

/// [sig-apps] DisruptionController should block an eviction until the PDB is updated to allow it
#[test]
fn an_eviction_waits_for_its_budget() {
    with(async |api| {
        running(&api, 3).await;
        let path = budgets(&api, selecting("minAvailable", json!(3))).await;
        let full = |allowed: i32| {
            move |b: &Value| b["status"]["disruptionsAllowed"] == allowed && b["status"]["currentHealthy"] == 3
        };
        api.until(&path, full(0)).await;
        let said =
            evict(&api, "p0").await.refused(429, "Cannot evict pod as it would violate the pod's disruption budget.");
        assert_eq!(
            (&said["reason"], &said["details"]["causes"][0]["reason"]),
            (&json!("TooManyRequests"), &json!("DisruptionBudget"))
        );
        api.update(&path, |b| b["spec"]["minAvailable"] = 2.into()).await;
        api.until(&path, full(1)).await;
        evict(&api, "p0").await.done();
        api.gone(&api.core("pods/p0")).await;
        api.until(&path, |b| b["status"]["currentHealthy"] == 2).await;
        evict(&api, "p1").await.refused(429, "Cannot evict pod");
        let loose = json!({"spec": {"minAvailable": null, "maxUnavailable": "100%"}});
        api.merge(&path, loose).await;
        api.until(&path, |b| b["spec"].get("minAvailable").is_none()).await;
        api.delete(&path).await;
        assert_eq!(evict(&api, "p1").await.code, 201);
        api.gone(&api.core("pods/p1")).await;
        assert_eq!(names(&api.items(&api.core("pods"), "foo=bar").await), ["p2"]);
        assert_eq!(name(&api.get(&api.core("pods/p2")).await), "p2");
    });
}
