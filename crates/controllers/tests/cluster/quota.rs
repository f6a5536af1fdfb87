//! Quotas and limit ranges, each test with the conformance behaviours that it shows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::future::join_all;
use k8s_openapi::Resource as _;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{
    ConfigMap, LimitRange, PersistentVolumeClaim, Pod, ReplicationController, ResourceQuota, Secret, Service,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::world::World;

async fn limit(world: &World, name: &str, spec: Value) {
    let quota = json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec});
    world.create::<ResourceQuota>(quota).await;
}

fn used(quota: Option<&ResourceQuota>) -> BTreeMap<String, String> {
    let used = quota.and_then(|quota| quota.status.as_ref()?.used.clone()).unwrap_or_default();
    used.into_iter().map(|(name, amount)| (name, amount.0)).collect()
}

/// Waits until the quota says that so much is used; less and more names may be there.
async fn settles(world: &World, name: &str, wanted: Value) {
    let wanted: BTreeMap<String, String> = serde_json::from_value(wanted).unwrap();
    let holds = move |quota: Option<&ResourceQuota>| {
        let used = used(quota);
        wanted.iter().all(|(name, amount)| used.get(name) == Some(amount))
    };
    world.until(&world.in_default::<ResourceQuota>(), name, holds).await;
}

fn pod(name: &str, spec: Value) -> Value {
    let mut pod = json!({"metadata": {"name": name, "namespace": "default"},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "i"}]}});
    spec.as_object().unwrap().iter().for_each(|(key, value)| pod["spec"][key] = value.clone());
    pod
}

fn sized(name: &str, resources: Value) -> Value {
    pod(name, json!({"containers": [{"name": "c", "image": "i", "resources": resources}]}))
}

async fn refused(world: &World, object: Value) -> String {
    let pod: Pod = serde_json::from_value(object).unwrap();
    match world.in_default::<Pod>().create(&PostParams::default(), &pod).await {
        Err(kube::Error::Api(status)) if status.code == 403 => status.message,
        other => panic!("not refused: {other:?}"),
    }
}

/// [sig-api-machinery] ResourceQuota should create a ResourceQuota and ensure its status is promptly calculated.
/// [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a configMap.
/// [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a secret.
/// [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a service.
/// [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a replica set.
/// [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a replication controller.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotas_follow_the_life_of_objects() {
    let world = World::start(0).await;
    let map = world.in_default::<ConfigMap>();
    world.until(&map, "kube-root-ca.crt", |map| map.is_some()).await;
    let hard = json!({"configmaps": "9", "secrets": "9", "services": "9", "services.nodeports": "2",
        "services.loadbalancers": "1", "count/replicasets.apps": "5", "replicationcontrollers": "5",
        "persistentvolumeclaims": "5", "requests.storage": "10Gi", "resourcequotas": "1",
        "gold.storageclass.storage.k8s.io/requests.storage": "5Gi"});
    let made = Instant::now();
    limit(&world, "q", json!({"hard": hard})).await;
    let none = json!({"configmaps": "1", "secrets": "0", "services": "1", "services.nodeports": "0",
        "services.loadbalancers": "0", "count/replicasets.apps": "0", "replicationcontrollers": "0",
        "persistentvolumeclaims": "0", "requests.storage": "0", "resourcequotas": "1",
        "gold.storageclass.storage.k8s.io/requests.storage": "0"});
    settles(&world, "q", none.clone()).await;
    assert!(made.elapsed() < Duration::from_secs(5), "{:?}", made.elapsed());
    let meta = json!({"name": "x", "namespace": "default"});
    let template = json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    world.create::<ConfigMap>(json!({"metadata": meta})).await;
    world.create::<Secret>(json!({"metadata": meta})).await;
    let service = json!({"metadata": meta, "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
    world.create::<Service>(service).await;
    let set = json!({"metadata": meta, "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "x"}}, "template": template}});
    world.create::<ReplicaSet>(set).await;
    let controller = json!({"metadata": meta, "spec": {"replicas": 0, "selector": {"app": "x"}, "template": template}});
    world.create::<ReplicationController>(controller).await;
    let claim = json!({"metadata": meta, "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "gold",
        "resources": {"requests": {"storage": "3Gi"}}}});
    world.create::<PersistentVolumeClaim>(claim).await;
    // The server charges each write in the write itself: no waiting here.
    let after = used(Some(&world.in_default::<ResourceQuota>().get("q").await.unwrap()));
    for (name, amount) in [
        ("configmaps", "2"),
        ("secrets", "1"),
        ("services", "2"),
        ("services.nodeports", "1"),
        ("count/replicasets.apps", "1"),
        ("replicationcontrollers", "1"),
        ("requests.storage", "3Gi"),
        ("gold.storageclass.storage.k8s.io/requests.storage", "3Gi"),
    ] {
        assert_eq!(after[name], amount, "{name}");
    }
    let more = json!({"spec": {"type": "NodePort", "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}, {"name": "c", "port": 82}]}});
    let services = world.in_default::<Service>();
    let failed = services.patch("x", &PatchParams::default(), &Patch::Merge(&more)).await.unwrap_err().to_string();
    let words =
        "exceeded quota: q, requested: services.nodeports=2, used: services.nodeports=1, limited: services.nodeports=2";
    assert!(failed.contains(words), "{failed}");
    let gone = DeleteParams::background();
    map.delete("x", &gone).await.map(drop).unwrap();
    world.in_default::<Secret>().delete("x", &gone).await.map(drop).unwrap();
    services.delete("x", &gone).await.map(drop).unwrap();
    world.in_default::<ReplicaSet>().delete("x", &gone).await.map(drop).unwrap();
    world.in_default::<ReplicationController>().delete("x", &gone).await.map(drop).unwrap();
    let mut left = none;
    left["persistentvolumeclaims"] = "1".into();
    left["requests.storage"] = "3Gi".into();
    left["gold.storageclass.storage.k8s.io/requests.storage"] = "3Gi".into();
    settles(&world, "q", left).await;
    world.stop().await;
}

/// [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a pod.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotas_follow_the_life_of_pods() {
    let world = World::start(1).await;
    let hard = json!({"pods": "3", "cpu": "1", "memory": "500Mi", "requests.ephemeral-storage": "50Gi",
        "requests.example.com/dongle": "3", "count/pods": "5"});
    limit(&world, "q", json!({"hard": hard})).await;
    settles(&world, "q", json!({"pods": "0", "cpu": "0", "count/pods": "0"})).await;
    let dongles = |n: &str| {
        json!({"requests": {"cpu": "500m", "memory": "252Mi", "ephemeral-storage": "30Gi", "example.com/dongle": n},
            "limits": {"example.com/dongle": n}})
    };
    world.create::<Pod>(sized("a", dongles("2"))).await;
    let full = json!({"pods": "1", "cpu": "500m", "memory": "252Mi", "requests.ephemeral-storage": "30Gi",
        "requests.example.com/dongle": "2", "count/pods": "1"});
    settles(&world, "q", full.clone()).await;
    let why = refused(&world, sized("b", json!({"requests": {"cpu": "600m", "memory": "100Mi"}}))).await;
    assert_eq!(why, "pods \"b\" is forbidden: exceeded quota: q, requested: cpu=600m, used: cpu=500m, limited: cpu=1");
    let why = refused(&world, sized("b", dongles("2"))).await;
    assert!(
        why.contains("requested: memory=252Mi,requests.ephemeral-storage=30Gi,requests.example.com/dongle=2"),
        "{why}"
    );
    let why = refused(&world, pod("b", json!({}))).await;
    assert_eq!(why, "pods \"b\" is forbidden: failed quota: q: must specify cpu for: c; memory for: c");
    let resize = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "100m"}}}]}});
    let pods = world.in_default::<Pod>();
    let error = pods.patch("a", &PatchParams::default(), &Patch::Strategic(&resize)).await.unwrap_err();
    assert!(matches!(&error, kube::Error::Api(status) if status.code == 422), "{error}");
    settles(&world, "q", full).await;
    // A pod that ends is no longer counted, but is still there.
    let mut brief = sized("brief", json!({"requests": {"cpu": "100m", "memory": "1Mi"}}));
    brief["spec"]["restartPolicy"] = "Never".into();
    brief["spec"]["containers"][0]["command"] = json!(["exit", "0"]);
    world.create::<Pod>(brief).await;
    settles(&world, "q", json!({"pods": "1", "cpu": "500m", "count/pods": "2"})).await;
    drop(pods.delete("a", &DeleteParams::default()).await.unwrap());
    settles(&world, "q", json!({"pods": "0", "cpu": "0", "requests.example.com/dongle": "0", "count/pods": "1"})).await;
    world.stop().await;
}

/// [sig-api-machinery] ResourceQuota should verify ResourceQuota with terminating scopes.
/// [sig-api-machinery] ResourceQuota should verify ResourceQuota with best effort scope.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotas_count_what_their_scopes_cover() {
    let world = World::start(1).await;
    let scopes = ["Terminating", "NotTerminating", "BestEffort", "NotBestEffort"];
    for scope in scopes {
        limit(&world, &scope.to_lowercase(), json!({"hard": {"pods": "5"}, "scopes": [scope]})).await;
    }
    let sized =
        json!([{"name": "c", "image": "i", "resources": {"requests": {"cpu": "500m"}, "limits": {"cpu": "1"}}}]);
    let table = [
        (json!({}), ["0", "1", "1", "0"]),
        (json!({"containers": sized}), ["0", "1", "0", "1"]),
        (json!({"activeDeadlineSeconds": 3600, "containers": sized}), ["1", "0", "0", "1"]),
    ];
    let all = async |wanted: [&str; 4]| {
        for (scope, pods) in scopes.iter().zip(wanted) {
            settles(&world, &scope.to_lowercase(), json!({"pods": pods})).await;
        }
    };
    for (spec, wanted) in table {
        all(["0"; 4]).await;
        world.create::<Pod>(pod("p", spec)).await;
        all(wanted).await;
        drop(world.in_default::<Pod>().delete("p", &DeleteParams::default()).await.unwrap());
        world.until(&world.in_default::<Pod>(), "p", |pod| pod.is_none()).await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_creates_never_go_past_a_quota() {
    let world = World::start(0).await;
    limit(&world, "q", json!({"hard": {"secrets": "10"}})).await;
    settles(&world, "q", json!({"secrets": "0"})).await;
    let secrets = world.in_default::<Secret>();
    for round in 0..3 {
        let creates = (0..40).map(|n| {
            let secrets = secrets.clone();
            let secret: Secret =
                serde_json::from_value(json!({"metadata": {"name": format!("s-{round}-{n}")}})).unwrap();
            async move { secrets.create(&PostParams::default(), &secret).await.is_ok() }
        });
        let made = join_all(creates).await.into_iter().filter(|ok| *ok).count();
        assert_eq!(made, 10, "round {round}");
        assert_eq!(secrets.list(&ListParams::default()).await.unwrap().items.len(), 10);
        secrets.delete_collection(&DeleteParams::default(), &ListParams::default()).await.map(drop).unwrap();
        settles(&world, "q", json!({"secrets": "0"})).await;
    }
    // A write that fails for another reason uses nothing up.
    let secret: Secret = serde_json::from_value(json!({"metadata": {"name": "twice"}})).unwrap();
    secrets.create(&PostParams::default(), &secret).await.unwrap();
    secrets.create(&PostParams::default(), &secret).await.unwrap_err();
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let other: Secret = serde_json::from_value(json!({"metadata": {"name": "dry"}})).unwrap();
    secrets.create(&dry, &other).await.unwrap();
    assert_eq!(used(Some(&world.in_default::<ResourceQuota>().get("q").await.unwrap()))["secrets"], "1");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_resources_are_counted() {
    let world = World::start(0).await;
    // The quota comes first: its resource is counted as soon as there is one.
    limit(&world, "q", json!({"hard": {"count/widgets.example.com": "1"}})).await;
    let definition = json!({"metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    world.create::<CustomResourceDefinition>(definition).await;
    settles(&world, "q", json!({"count/widgets.example.com": "0"})).await;
    let widgets = ApiResource {
        group: "example.com".into(),
        version: "v1".into(),
        api_version: "example.com/v1".into(),
        kind: "Widget".into(),
        plural: "widgets".into(),
    };
    let api: Api<DynamicObject> = Api::namespaced_with(world.admin.clone(), "default", &widgets);
    let widget = |name: &str| DynamicObject::new(name, &widgets);
    api.create(&PostParams::default(), &widget("a")).await.unwrap();
    let refused = api.create(&PostParams::default(), &widget("b")).await.unwrap_err().to_string();
    assert!(
        refused
            .contains("exceeded quota: q, requested: count/widgets.example.com=1, used: count/widgets.example.com=1")
    );
    drop(api.delete("a", &DeleteParams::default()).await.unwrap());
    settles(&world, "q", json!({"count/widgets.example.com": "0"})).await;
    world.stop().await;
}

/// [sig-api-machinery] ResourceQuota should be able to update and delete ResourceQuota.
/// [sig-api-machinery] ResourceQuota should manage the lifecycle of a ResourceQuota
/// [sig-api-machinery] ResourceQuota should apply changes to a resourcequota status
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotas_change_and_go() {
    let world = World::start(0).await;
    let quotas = world.in_default::<ResourceQuota>();
    let hard = |cpu: &str| json!({"hard": {"cpu": cpu, "memory": "500Mi"}});
    let quota = json!({"metadata": {"name": "q", "namespace": "default", "labels": {"e2e": "yes"}}, "spec": hard("1")});
    world.create::<ResourceQuota>(quota).await;
    let says = |cpu: &'static str| {
        move |quota: Option<&ResourceQuota>| {
            let hard = quota.and_then(|quota| quota.status.as_ref()?.hard.clone()).unwrap_or_default();
            hard.get("cpu").is_some_and(|amount| amount.0 == cpu)
        }
    };
    world.until(&quotas, "q", says("1")).await;
    let merge = |body: Value| Patch::Merge(body);
    quotas.patch("q", &PatchParams::default(), &merge(json!({"spec": hard("2")}))).await.unwrap();
    world.until(&quotas, "q", says("2")).await;
    // What others write into the status is put right, and never changes the spec.
    quotas.patch_status("q", &PatchParams::default(), &merge(json!({"status": hard("7")}))).await.unwrap();
    let quota = world.until(&quotas, "q", says("2")).await.unwrap();
    assert_eq!(quota.spec.unwrap().hard.unwrap()["cpu"].0, "2");
    let labelled = ListParams::default().labels("e2e=yes");
    assert_eq!(world.api::<ResourceQuota>().list(&labelled).await.unwrap().items.len(), 1);
    quotas.delete_collection(&DeleteParams::default(), &labelled).await.map(drop).unwrap();
    assert!(quotas.get_opt("q").await.unwrap().is_none());
    world.stop().await;
}

/// [sig-scheduling] LimitRange should create a LimitRange with defaults and ensure pod has those defaults applied.
/// [sig-scheduling] LimitRange should list, patch and delete a LimitRange by collection
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limit_ranges_give_defaults_and_bounds() {
    let world = World::start(0).await;
    let account = world.in_default::<k8s_openapi::api::core::v1::ServiceAccount>();
    world.until(&account, "default", |account| account.is_some()).await;
    let range = json!({"metadata": {"name": "r", "namespace": "default", "labels": {"e2e": "yes"}}, "spec": {"limits": [{
        "type": "Container", "min": {"cpu": "50m", "memory": "100Mi", "ephemeral-storage": "100Gi"},
        "max": {"cpu": "500m", "memory": "500Mi", "ephemeral-storage": "500Gi"},
        "default": {"cpu": "500m", "memory": "500Mi", "ephemeral-storage": "500Gi"},
        "defaultRequest": {"cpu": "100m", "memory": "200Mi", "ephemeral-storage": "200Gi"}}]}});
    world.create::<LimitRange>(range).await;
    let resources = |pod: &Pod| serde_json::to_value(&pod.spec.as_ref().unwrap().containers[0].resources).unwrap();
    let plain = world.create::<Pod>(pod("plain", json!({}))).await;
    assert_eq!(
        resources(&plain),
        json!({"limits": {"cpu": "500m", "memory": "500Mi", "ephemeral-storage": "500Gi"},
            "requests": {"cpu": "100m", "memory": "200Mi", "ephemeral-storage": "200Gi"}})
    );
    let part =
        world.create::<Pod>(sized("part", json!({"limits": {"cpu": "300m"}, "requests": {"memory": "150Mi"}}))).await;
    assert_eq!(
        resources(&part),
        json!({"limits": {"cpu": "300m", "memory": "500Mi", "ephemeral-storage": "500Gi"},
            "requests": {"cpu": "300m", "memory": "150Mi", "ephemeral-storage": "200Gi"}})
    );
    let why = refused(&world, sized("small", json!({"requests": {"cpu": "10m"}}))).await;
    assert_eq!(why, "pods \"small\" is forbidden: minimum cpu usage per Container is 50m, but request is 10m");
    let why = refused(&world, sized("large", json!({"limits": {"cpu": "600m"}, "requests": {"cpu": "10m"}}))).await;
    assert_eq!(
        why,
        "pods \"large\" is forbidden: [minimum cpu usage per Container is 50m, but request is 10m, maximum cpu usage per \
         Container is 500m, but limit is 600m]"
    );
    let ranges = world.in_default::<LimitRange>();
    let lower = json!({"spec": {"limits": [{"type": "Container", "min": {"cpu": "10m"}, "max": {"cpu": "1"}}]}});
    ranges.patch("r", &PatchParams::default(), &Patch::Strategic(&lower)).await.unwrap();
    world.create::<Pod>(sized("small", json!({"limits": {"cpu": "20m"}}))).await;
    let labelled = ListParams::default().labels("e2e=yes");
    assert_eq!(world.api::<LimitRange>().list(&labelled).await.unwrap().items.len(), 1, "{}", LimitRange::KIND);
    ranges.delete_collection(&DeleteParams::default(), &labelled).await.map(drop).unwrap();
    assert!(ranges.get_opt("r").await.unwrap().is_none());
    world.stop().await;
}
