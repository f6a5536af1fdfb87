//! Quotas against objects: what counts, for whom, and the words of a refusal.

use super::*;
use serde_json::json;

const NOW: i64 = 1_700_000_000;

fn core(resource: &str) -> GroupResource {
    GroupResource { group: String::new(), resource: resource.into() }
}

fn quota(spec: Value, used: Value) -> Value {
    let hard = spec["hard"].clone();
    json!({"metadata": {"name": "q"}, "spec": spec, "status": {"hard": hard, "used": used}})
}

#[track_caller]
fn counts(resource: &str, object: Value, wanted: Value) {
    assert_eq!(write(&Facts::of(&core(resource), &object).amounts(NOW)), wanted);
}

#[test]
fn what_objects_count_for() {
    counts("secrets", json!({}), json!({"count/secrets": "1", "secrets": "1"}));
    counts(
        "services",
        json!({"spec": {"type": "LoadBalancer", "ports": [{"port": 1}, {"port": 2}]}}),
        json!({"count/services": "1", "services": "1", "services.nodeports": "2", "services.loadbalancers": "1"}),
    );
    counts(
        "services",
        json!({"spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false,
            "ports": [{"port": 1, "nodePort": 30000}, {"port": 2}]}}),
        json!({"count/services": "1", "services": "1", "services.nodeports": "1", "services.loadbalancers": "1"}),
    );
    counts(
        "persistentvolumeclaims",
        json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1500m"}}}}),
        json!({"count/persistentvolumeclaims": "1", "persistentvolumeclaims": "1", "requests.storage": "2",
            "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "1",
            "gold.storageclass.storage.k8s.io/requests.storage": "2"}),
    );
}

#[test]
fn pods_count_their_peak_until_they_end() {
    let mut pod = json!({"spec": {
        "overhead": {"cpu": "10m", "memory": "1Mi"},
        "initContainers": [
            {"name": "sidecar", "restartPolicy": "Always", "resources": {"requests": {"cpu": "100m"}}},
            {"name": "init", "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "64Mi"}}}],
        "containers": [
            {"name": "a", "resources": {"requests": {"cpu": "200m", "example.com/dongle": "2"}, "limits": {"memory": "32Mi"}}},
            {"name": "b", "resources": {"requests": {"cpu": "300m"}}}]}});
    let all = json!({"count/pods": "1", "pods": "1", "cpu": "1110m", "requests.cpu": "1110m", "memory": "1Mi",
        "requests.memory": "1Mi", "limits.memory": "65Mi", "requests.example.com/dongle": "2"});
    counts("pods", pod.clone(), all.clone());
    pod["metadata"] =
        json!({"deletionTimestamp": api_core::time::format_unix_s(NOW), "deletionGracePeriodSeconds": 30});
    counts("pods", pod.clone(), all);
    assert_eq!(Facts::of(&core("pods"), &pod).changes_at(NOW), Some(NOW + 30));
    pod["metadata"]["deletionTimestamp"] = api_core::time::format_unix_s(NOW - 31).into();
    counts("pods", pod.clone(), json!({"count/pods": "1"}));
    pod["metadata"] = json!({});
    pod["status"] = json!({"phase": "Succeeded"});
    counts("pods", pod, json!({"count/pods": "1"}));
}

#[test]
fn scopes() {
    let pod = |spec: Value| Facts::of(&core("pods"), &json!({"spec": spec}));
    let plain = json!({"containers": [{"name": "a"}]});
    let sized = json!({"activeDeadlineSeconds": 5, "priorityClassName": "high",
        "containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}}}]});
    let far = json!({"containers": [], "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution":
        [{"podAffinityTerm": {"namespaceSelector": {}}}]}}});
    let class = |operator: &str, values: Value| json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": operator, "values": values}]}});
    let table = [
        (json!({}), [true, true, true]),
        (json!({"scopes": ["Terminating"]}), [false, true, false]),
        (json!({"scopes": ["NotTerminating", "BestEffort"]}), [true, false, true]),
        (json!({"scopes": ["NotBestEffort"]}), [false, true, false]),
        (json!({"scopes": ["CrossNamespacePodAffinity"]}), [false, false, true]),
        (class("In", json!(["high", "low"])), [false, true, false]),
        (class("NotIn", json!(["high"])), [true, false, true]),
        (class("Exists", Value::Null), [false, true, false]),
        (class("DoesNotExist", Value::Null), [true, false, true]),
    ];
    for (spec, wanted) in table {
        let quota = json!({"spec": spec});
        let got = [&plain, &sized, &far].map(|spec| pod(spec.clone()).is_in_scope(&quota));
        assert_eq!(got, wanted, "{quota}");
    }
    let secret = Facts::of(&core("secrets"), &json!({}));
    assert!(!secret.is_in_scope(&json!({"spec": {"scopes": ["NotTerminating"]}})), "scopes are of pods");
}

#[track_caller]
fn check(quota: Value, resource: &str, object: Value, old: Option<Value>, wanted: Result<Value, &str>) {
    let resource = core(resource);
    let write = Write { resource: &resource, object: &object, old: old.as_ref(), now_unix_s: NOW };
    let got = charge(&[quota], &write);
    let used = got.map(|changed| changed.first().map_or(Value::Null, |(_, q)| q["status"]["used"].clone()));
    assert_eq!(used, wanted.map_err(str::to_owned));
}

#[test]
fn writes_are_charged_or_refused() {
    let pod = |cpu: &str| json!({"spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": cpu}}}]}});
    let compute = |used: Value| quota(json!({"hard": {"cpu": "2", "pods": "3", "secrets": "9"}}), used);
    let used = json!({"cpu": "1500m", "pods": "1", "secrets": "0"});
    check(compute(used.clone()), "pods", pod("500m"), None, Ok(json!({"cpu": "2", "pods": "2", "secrets": "0"})));
    check(
        compute(used.clone()),
        "pods",
        pod("600m"),
        None,
        Err("exceeded quota: q, requested: cpu=600m, used: cpu=1500m, limited: cpu=2"),
    );
    check(
        compute(json!({"cpu": "2", "pods": "3", "secrets": "0"})),
        "pods",
        pod("1"),
        None,
        Err("exceeded quota: q, requested: cpu=1,pods=1, used: cpu=2,pods=3, limited: cpu=2,pods=3"),
    );
    let bare = json!({"spec": {"containers": [{"name": "b"}, {"name": "a"}]}});
    check(compute(used.clone()), "pods", bare, None, Err("failed quota: q: must specify cpu for: a,b"));
    check(
        compute(json!({"cpu": "0"})),
        "pods",
        pod("1"),
        None,
        Err("status unknown for quota: q, resources: cpu,pods"),
    );
    check(compute(used), "configmaps", json!({}), None, Ok(Value::Null));
}

#[test]
fn updates_are_charged_with_what_they_add() {
    let of = |kind: &str| json!({"spec": {"type": kind, "ports": [{"port": 1}]}});
    let limits = |used: &str| {
        quota(
            json!({"hard": {"services": "1", "services.nodeports": "1"}}),
            json!({"services": "1", "services.nodeports": used}),
        )
    };
    let after = json!({"services": "1", "services.nodeports": "1"});
    check(limits("0"), "services", of("NodePort"), Some(of("ClusterIP")), Ok(after));
    check(
        limits("1"),
        "services",
        of("NodePort"),
        Some(of("ClusterIP")),
        Err(
            "exceeded quota: q, requested: services.nodeports=1, used: services.nodeports=1, limited: services.nodeports=1",
        ),
    );
    check(limits("1"), "services", of("ClusterIP"), Some(of("NodePort")), Ok(Value::Null));
}

#[test]
fn a_recount_names_all_that_is_limited() {
    let quota = quota(json!({"hard": {"pods": "5", "requests.cpu": "1", "services": "2"}}), json!({}));
    let pods: Vec<Facts> = ["250m", "500m"]
        .map(|cpu| json!({"spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": cpu}}}]}}))
        .map(|pod| Facts::of(&core("pods"), &pod))
        .into();
    let used = used(&quota, &core("pods"), pods.iter(), NOW);
    assert_eq!(write(&used), json!({"pods": "2", "requests.cpu": "750m"}));
    assert_eq!(write(&super::used(&quota, &core("services"), [].into_iter(), NOW)), json!({"services": "0"}));
}

#[test]
fn names_tell_the_resource() {
    let table = [
        ("pods", "pods"),
        ("requests.cpu", "pods"),
        ("requests.example.com/dongle", "pods"),
        ("hugepages-2Mi", "pods"),
        ("services.nodeports", "services"),
        ("gold.storageclass.storage.k8s.io/requests.storage", "persistentvolumeclaims"),
        ("count/widgets.example.com", "widgets.example.com"),
        ("configmaps", "configmaps"),
        ("nonsense", ""),
    ];
    for (name, wanted) in table {
        assert_eq!(resource_of(name).map(|r| r.to_string()).unwrap_or_default(), wanted, "{name}");
    }
    assert!(handles(&core("services"), "", false) && handles(&core("pods"), "", true));
    assert!(!handles(&core("pods"), "", false) && !handles(&core("services"), "status", false));
    assert!(!handles(&core("events"), "", true));
}
