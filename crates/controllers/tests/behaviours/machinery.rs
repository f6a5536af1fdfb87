//! Behaviours of the API itself that the scripts of `mainstay/tests/clients` do not show.

use crate::kit::{condition, name, with};
use serde_json::{Value, json};

/// [sig-api-machinery] API priority and fairness should support PriorityLevelConfiguration API operations
#[test]
fn priority_levels_have_all_operations() {
    with(async |api| {
        let path = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations";
        let listed = api.get("/apis/flowcontrol.apiserver.k8s.io/v1").await;
        let names: Vec<&str> =
            listed["resources"].as_array().unwrap().iter().filter_map(|r| r["name"].as_str()).collect();
        assert!(
            names.contains(&"prioritylevelconfigurations") && names.contains(&"prioritylevelconfigurations/status")
        );
        let make = |n: &str| {
            json!({"metadata": {"name": format!("{n}-{}", api.ns), "labels": {"t": api.ns}},
                "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}}}})
        };
        let made = api.post(path, make("a")).await;
        let own = format!("{path}/{}", name(&made));
        assert_eq!(made["spec"]["limited"]["lendablePercent"], 0);
        let list = api.get(&format!("{path}?labelSelector=t={}", api.ns)).await;
        let from = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        let mut watch = api.watch(path, &format!("labelSelector=t={}&resourceVersion={from}", api.ns)).await;
        let patched = api
            .merge(
                &own,
                json!({"metadata": {"annotations": {"patched": "true"}},
            "spec": {"limited": {"nominalConcurrencyShares": 4}}}),
            )
            .await;
        assert_eq!(patched["spec"]["limited"]["nominalConcurrencyShares"], 4);
        watch.see("MODIFIED", |o| o["metadata"]["annotations"]["patched"] == "true").await;
        let updated = api.update(&own, |o| o["metadata"]["annotations"]["updated"] = "true".into()).await;
        assert_eq!(updated["metadata"]["annotations"]["updated"], "true");
        let status = api.get(&format!("{own}/status")).await;
        assert_eq!(status["spec"], updated["spec"]);
        let told = json!({"type": "PatchStatusFailed", "status": "False", "reason": "Patched", "message": "m"});
        let patch = json!({"status": {"conditions": [told]}});
        let patched = api.merge(&format!("{own}/status"), patch).await;
        assert!(condition(&patched, "PatchStatusFailed", "False"));
        let replaced =
            api.update(&format!("{own}/status"), |o| o["status"]["conditions"][0]["reason"] = "Put".into()).await;
        assert_eq!(replaced["status"]["conditions"][0]["reason"], "Put");
        api.delete(&own).await;
        watch.see("DELETED", |_| true).await;
        api.absent(&own).await;
        for n in ["b", "c"] {
            api.post(path, make(n)).await;
        }
        api.delete(&format!("{path}?labelSelector=t={}", api.ns)).await;
        assert!(api.items(path, &format!("t={}", api.ns)).await.is_empty());
    });
}

/// [sig-api-machinery] CustomResourceDefinition Watch [Privileged:ClusterAdmin] CustomResourceDefinition Watch watch on custom resource definition objects
#[test]
fn custom_objects_are_watched_by_name() {
    with(async |api| {
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        api.post(definitions, json!({"metadata": {"name": "noxus.watch.example.com"}, "spec": {"group": "watch.example.com",
            "scope": "Cluster", "names": {"plural": "noxus", "singular": "noxu", "kind": "Noxu", "listKind": "NoxuList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": open}}]}}))
            .await;
        let path = format!("{definitions}/noxus.watch.example.com");
        api.until(&path, |d| condition(d, "Established", "True")).await;
        let noxus = "/apis/watch.example.com/v1/noxus";
        let mut first = api.watch(noxus, "fieldSelector=metadata.name=name1").await;
        let mut second = api.watch(noxus, "fieldSelector=metadata.name=name2").await;
        for (name, watch) in [("name1", &mut first), ("name2", &mut second)] {
            api.post(noxus, json!({"apiVersion": "watch.example.com/v1", "kind": "Noxu", "metadata": {"name": name}}))
                .await;
            watch.see("ADDED", |o| o["metadata"]["name"] == name).await;
        }
        for (name, watch) in [("name1", &mut first), ("name2", &mut second)] {
            api.merge(&format!("{noxus}/{name}"), json!({"dummy": "test"})).await;
            watch.see("MODIFIED", |o| o["metadata"]["name"] == name && o["dummy"] == "test").await;
        }
        for (name, watch) in [("name1", &mut first), ("name2", &mut second)] {
            api.delete(&format!("{noxus}/{name}")).await;
            let last = watch.next().await;
            assert_eq!((&last["type"], &last["object"]["metadata"]["name"]), (&json!("DELETED"), &json!(name)));
        }
        api.delete(&path).await;
        api.gone(&path).await;
    });
}

/// [sig-architecture] Conformance Tests should have at least two untainted nodes
#[test]
fn two_nodes_take_pods() {
    with(async |api| {
        let nodes = api.items("/api/v1/nodes", "").await;
        let open = |n: &&Value| {
            let taints = n["spec"]["taints"].as_array().map_or(0, Vec::len);
            condition(n, "Ready", "True") && n["spec"]["unschedulable"] != true && taints == 0
        };
        assert!(nodes.iter().filter(open).count() >= 2, "{nodes:#?}");
    });
}
