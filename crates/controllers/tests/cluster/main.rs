//! Controllers and scheduler against the real API server, in one process: what a user does, and what comes of it.

mod aggregation;
mod certificates;
mod policies;
mod quota;
mod tokens;
mod world;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Event, Namespace, Node, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use world::World;

fn deployment(name: &str, replicas: i32) -> Value {
    json!({"metadata": {"name": name, "namespace": "default"}, "spec": {"replicas": replicas,
        "selector": {"matchLabels": {"app": name}}, "template": {"metadata": {"labels": {"app": name}},
            "spec": {"terminationGracePeriodSeconds": 1,
                "containers": [{"name": "c", "image": "v1", "ports": [{"containerPort": 8080}]}]}}}})
}

fn available(deployment: Option<&Deployment>, wanted: i32) -> bool {
    let Some(status) = deployment.and_then(|deployment| deployment.status.as_ref()) else { return false };
    let generation = deployment.and_then(|deployment| deployment.metadata.generation);
    status.available_replicas.unwrap_or(0) == wanted
        && status.updated_replicas.unwrap_or(0) == wanted
        && status.replicas.unwrap_or(0) == wanted
        && status.observed_generation == generation
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_rolls_scales_and_is_reached_through_its_service() {
    let world = World::start(3).await;
    let (deployments, slices) = (world.in_default::<Deployment>(), world.in_default::<EndpointSlice>());
    world.until(&world.in_default::<ServiceAccount>(), "default", |account| account.is_some()).await;
    let map = world.until(&world.in_default::<ConfigMap>(), "kube-root-ca.crt", |map| map.is_some()).await.unwrap();
    assert_eq!(map.data.unwrap()["ca.crt"], "the root");
    let has_range = |node: Option<&Node>| node.is_some_and(|node| node.spec.as_ref().unwrap().pod_cidr.is_some());
    world.until(&world.api::<Node>(), "node-2", has_range).await;

    world.create::<Deployment>(deployment("web", 3)).await;
    let service = json!({"metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}});
    world.create::<Service>(service).await;
    world.until(&deployments, "web", |found| available(found, 3)).await;
    let reached = |endpoints: Option<&Endpoints>| {
        let subsets = endpoints.and_then(|endpoints| endpoints.subsets.clone()).unwrap_or_default();
        subsets.iter().flat_map(|subset| subset.addresses.iter().flatten()).count() == 3
    };
    world.until(&world.in_default::<Endpoints>(), "web", reached).await;
    let of_web = ListParams::default().labels("kubernetes.io/service-name=web");
    let slice = slices.list(&of_web).await.unwrap().items.remove(0);
    let full = |slice: Option<&EndpointSlice>| slice.is_some_and(|slice| slice.endpoints.len() == 3);
    world.until(&slices, &slice.metadata.name.unwrap(), full).await;
    let pods = world.in_default::<Pod>().list(&ListParams::default()).await.unwrap().items;
    let mut nodes: Vec<String> = pods.into_iter().map(|pod| pod.spec.unwrap().node_name.unwrap()).collect();
    nodes.sort();
    assert_eq!(nodes, ["node-0", "node-1", "node-2"], "one on each");

    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "v2"}]}}}});
    deployments.patch("web", &PatchParams::default(), &Patch::Strategic(&image)).await.unwrap();
    let rolled = world.until(&deployments, "web", |found| available(found, 3)).await.unwrap();
    assert_eq!(rolled.metadata.annotations.unwrap()["deployment.kubernetes.io/revision"], "2");
    let sets = world.in_default::<ReplicaSet>().list(&ListParams::default()).await.unwrap().items;
    assert_eq!(sets.len(), 2);
    let size = json!({"spec": {"replicas": 5}});
    deployments.patch("web", &PatchParams::default(), &Patch::Merge(&size)).await.unwrap();
    world.until(&deployments, "web", |found| available(found, 5)).await;

    let events = world.in_default::<Event>().list(&ListParams::default()).await.unwrap().items;
    let reasons: Vec<String> = events.into_iter().filter_map(|event| event.reason).collect();
    for reason in ["ScalingReplicaSet", "SuccessfulCreate", "SuccessfulDelete", "Scheduled"] {
        assert!(reasons.iter().any(|have| have == reason), "no {reason} in {reasons:?}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_goes_with_all_it_contains() {
    let world = World::start(1).await;
    world.create::<Namespace>(json!({"metadata": {"name": "gone"}})).await;
    let maps: Api<ConfigMap> = Api::namespaced(world.admin.clone(), "gone");
    world.until(&maps, "kube-root-ca.crt", |map| map.is_some()).await;
    let accounts: Api<ServiceAccount> = Api::namespaced(world.admin.clone(), "gone");
    world.until(&accounts, "default", |account| account.is_some()).await;
    let mut inside = deployment("web", 2);
    inside["metadata"]["namespace"] = "gone".into();
    world.create::<Deployment>(inside).await;
    let deployments: Api<Deployment> = Api::namespaced(world.admin.clone(), "gone");
    world.until(&deployments, "web", |found| available(found, 2)).await;
    let namespaces = world.api::<Namespace>();
    drop(namespaces.delete("gone", &DeleteParams::default()).await.unwrap());
    world.until(&namespaces, "gone", |namespace| namespace.is_none()).await;
    assert!(maps.list(&ListParams::default()).await.unwrap().items.is_empty());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_succeed_fail_and_go_away() {
    let world = World::start(1).await;
    let job = |name: &str, code: &str, spec: Value| {
        let mut job = json!({"metadata": {"name": name, "namespace": "default"}, "spec": {"backoffLimit": 0, "template": {
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i", "command": ["exit", code]}]}}}});
        spec.as_object().unwrap().iter().for_each(|(key, value)| job["spec"][key] = value.clone());
        job
    };
    let jobs = world.in_default::<Job>();
    let has = |kind: &'static str| {
        move |job: Option<&Job>| {
            let conditions = job.and_then(|job| job.status.as_ref()?.conditions.as_ref());
            conditions.is_some_and(|all| all.iter().any(|one| one.type_ == kind && one.status == "True"))
        }
    };
    world
        .create::<Job>(job("good", "0", json!({"completions": 5, "parallelism": 2, "completionMode": "Indexed"})))
        .await;
    let done = world.until(&jobs, "good", has("Complete")).await.unwrap().status.unwrap();
    assert_eq!((done.succeeded, done.completed_indexes.as_deref()), (Some(5), Some("0-4")));
    world.create::<Job>(job("bad", "1", json!({}))).await;
    let failed = world.until(&jobs, "bad", has("Failed")).await.unwrap().status.unwrap();
    assert_eq!(failed.failed, Some(1));
    world.create::<Job>(job("brief", "0", json!({"ttlSecondsAfterFinished": 0}))).await;
    world.until(&jobs, "brief", |job| job.is_none()).await;
    drop(jobs.delete("good", &DeleteParams::background()).await.unwrap());
    let of_good = ListParams::default().labels("job-name=good");
    for pod in world.in_default::<Pod>().list(&of_good).await.unwrap().items {
        world.until(&world.in_default::<Pod>(), &pod.metadata.name.unwrap(), |pod| pod.is_none()).await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn daemons_stateful_pods_and_budgets() {
    let world = World::start(2).await;
    let template = |name: &str| {
        json!({"metadata": {"labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "v1"}]}})
    };
    let daemon = json!({"metadata": {"name": "agent", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "agent"}}, "template": template("agent")}});
    world.create::<DaemonSet>(daemon).await;
    let everywhere = |set: Option<&DaemonSet>| {
        let status = set.and_then(|set| set.status.clone()).unwrap_or_default();
        status.number_available == Some(2) && status.updated_number_scheduled == Some(2)
    };
    let daemons = world.in_default::<DaemonSet>();
    world.until(&daemons, "agent", everywhere).await;
    let stateful = json!({"metadata": {"name": "db", "namespace": "default"}, "spec": {"replicas": 2, "serviceName": "db",
        "selector": {"matchLabels": {"app": "db"}}, "template": template("db")}});
    world.create::<StatefulSet>(stateful).await;
    let rolled = |wanted: i32| {
        move |set: Option<&StatefulSet>| {
            let Some((set, status)) = set.and_then(|set| Some((set, set.status.as_ref()?))) else { return false };
            status.updated_replicas == Some(wanted)
                && status.available_replicas == Some(wanted)
                && status.current_revision == status.update_revision
                && status.observed_generation == set.metadata.generation
        }
    };
    let sets = world.in_default::<StatefulSet>();
    world.until(&sets, "db", rolled(2)).await;
    let budget = json!({"metadata": {"name": "db", "namespace": "default"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "db"}}}});
    world.create::<PodDisruptionBudget>(budget).await;
    let allows = |budget: Option<&PodDisruptionBudget>| {
        budget.and_then(|budget| budget.status.as_ref()).is_some_and(|status| status.disruptions_allowed == 1)
    };
    world.until(&world.in_default::<PodDisruptionBudget>(), "db", allows).await;
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "v2"}]}}}});
    sets.patch("db", &PatchParams::default(), &Patch::Strategic(&image)).await.unwrap();
    daemons.patch("agent", &PatchParams::default(), &Patch::Strategic(&image)).await.unwrap();
    world.until(&sets, "db", rolled(2)).await;
    let second = |set: Option<&DaemonSet>| {
        set.is_some_and(|set| set.status.as_ref().unwrap().observed_generation == Some(2)) && everywhere(set)
    };
    world.until(&daemons, "agent", second).await;
    let pod = world.in_default::<Pod>().get("db-0").await.unwrap();
    assert_eq!(pod.spec.unwrap().containers[0].image.as_deref(), Some("v2"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_goes_as_it_was_asked_to() {
    let world = World::start(1).await;
    let (deployments, sets) = (world.in_default::<Deployment>(), world.in_default::<ReplicaSet>());
    let mut names = Vec::new();
    for name in ["background", "foreground", "orphan"] {
        world.create::<Deployment>(deployment(name, 2)).await;
        world.until(&deployments, name, |found| available(found, 2)).await;
        let list = sets.list(&ListParams::default().labels(&format!("app={name}"))).await.unwrap();
        names.push(list.items[0].metadata.name.clone().unwrap());
    }
    drop(deployments.delete("background", &DeleteParams::background()).await.unwrap());
    world.until(&sets, &names[0], |set| set.is_none()).await;
    drop(deployments.delete("foreground", &DeleteParams::foreground()).await.unwrap());
    world.until(&deployments, "foreground", |found| found.is_none()).await;
    assert!(sets.get_opt(&names[1]).await.unwrap().is_none(), "dependents first");
    drop(deployments.delete("orphan", &DeleteParams::orphan()).await.unwrap());
    world.until(&deployments, "orphan", |found| found.is_none()).await;
    let kept = sets.get(&names[2]).await.unwrap();
    assert!(kept.metadata.owner_references.is_none_or(|owners| owners.is_empty()));
    let pods = world.in_default::<Pod>().list(&ListParams::default().labels("app=orphan")).await.unwrap().items;
    assert_eq!(pods.len(), 2);
    for pod in world.in_default::<Pod>().list(&ListParams::default().labels("app=background")).await.unwrap().items {
        world.until(&world.in_default::<Pod>(), &pod.metadata.name.unwrap(), |pod| pod.is_none()).await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_in_use_stay_until_their_pod_is_gone() {
    use k8s_openapi::api::core::v1::PersistentVolumeClaim;
    let world = World::start(1).await;
    let claim = |name: &str| {
        json!({"metadata": {"name": name, "namespace": "default"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}})
    };
    let claims = world.in_default::<PersistentVolumeClaim>();
    world.create::<PersistentVolumeClaim>(claim("used")).await;
    world.create::<PersistentVolumeClaim>(claim("free")).await;
    let pod = json!({"metadata": {"name": "p", "namespace": "default"}, "spec": {"nodeName": "node-0",
        "containers": [{"name": "c", "image": "i"}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "used"}}]}});
    world.create::<Pod>(pod).await;
    for name in ["used", "free"] {
        claims.delete(name, &DeleteParams::default()).await.map(drop).unwrap();
    }
    world.until(&claims, "free", |claim| claim.is_none()).await;
    let held = claims.get("used").await.unwrap();
    assert!(held.metadata.deletion_timestamp.is_some());
    world.in_default::<Pod>().delete("p", &DeleteParams::default().grace_period(0)).await.map(drop).unwrap();
    world.until(&claims, "used", |claim| claim.is_none()).await;
    world.stop().await;
}
