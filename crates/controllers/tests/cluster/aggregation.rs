//! Groups that cannot be asked, or not yet: what is stored here is deleted and collected all the same.

use crate::world::World;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt};
use serde_json::json;

const NAME: &str = "v1alpha1.wardle.example.com";

/// An API service whose service does not exist.
async fn break_a_group(world: &World) {
    let spec = json!({"group": "wardle.example.com", "version": "v1alpha1", "groupPriorityMinimum": 2000,
        "versionPriority": 200, "insecureSkipTLSVerify": true, "service": {"name": "none", "namespace": "default"}});
    world.create::<APIService>(json!({"metadata": {"name": NAME}, "spec": spec})).await;
    let is_down = |service: Option<&APIService>| {
        let status = service.and_then(|service| service.status.as_ref());
        status.and_then(|status| status.conditions.as_ref()).is_some_and(|all| all.iter().any(|c| c.status == "False"))
    };
    world.until(&world.api::<APIService>(), NAME, is_down).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_says_which_group_it_waits_for_and_goes_when_that_is_gone() {
    let world = World::start(0).await;
    break_a_group(&world).await;
    world.create::<Namespace>(json!({"metadata": {"name": "full"}})).await;
    let maps: Api<ConfigMap> = Api::namespaced(world.admin.clone(), "full");
    world.until(&maps, "kube-root-ca.crt", |map| map.is_some()).await;
    world.create::<ConfigMap>(json!({"metadata": {"name": "one", "namespace": "full"}})).await;
    let namespaces = world.api::<Namespace>();
    namespaces.delete("full", &DeleteParams::default()).await.unwrap();
    world.until(&maps, "one", |map| map.is_none()).await;
    let condition = |namespace: Option<&Namespace>, kind: &str| {
        let conditions = namespace?.status.as_ref()?.conditions.as_ref()?;
        conditions.iter().find(|c| c.type_ == kind).cloned()
    };
    let is_told = |namespace: Option<&Namespace>| {
        let told = |kind: &str, status: &str| condition(namespace, kind).is_some_and(|c| c.status == status);
        told("NamespaceDeletionDiscoveryFailure", "True") && told("NamespaceContentRemaining", "False")
    };
    let found = world.until(&namespaces, "full", is_told).await;
    let found = condition(found.as_ref(), "NamespaceDeletionDiscoveryFailure").unwrap();
    assert_eq!(found.reason.as_deref(), Some("DiscoveryFailed"));
    assert_eq!(
        found.message.as_deref(),
        Some(
            "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: \
             wardle.example.com/v1alpha1: the server is currently unable to handle the request"
        )
    );
    world.api::<APIService>().delete(NAME, &DeleteParams::default()).await.unwrap();
    world.until(&namespaces, "full", |namespace| namespace.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_lost_its_owner_is_collected_while_a_group_is_down_and_once_it_can_be_asked() {
    let world = World::start(0).await;
    break_a_group(&world).await;
    let maps = world.in_default::<ConfigMap>();
    let owner = world.create::<ConfigMap>(json!({"metadata": {"name": "owner", "namespace": "default"}})).await;
    let reference = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.uid()});
    let owned = |name: &str, reference| json!({"metadata": {"name": name, "namespace": "default", "ownerReferences": [reference]}});
    world.create::<ConfigMap>(owned("owned", reference)).await;
    // Whether this one's owner is there nobody can say.
    let away = json!({"apiVersion": "wardle.example.com/v1alpha1", "kind": "Flunder", "name": "f", "uid": "u"});
    world.create::<ConfigMap>(owned("of-a-flunder", away)).await;
    maps.delete("owner", &DeleteParams::background()).await.unwrap();
    world.until(&maps, "owned", |map| map.is_none()).await;
    assert!(maps.get_opt("of-a-flunder").await.unwrap().is_some());

    // The kind comes to be served, and has no such object.
    world.api::<APIService>().delete(NAME, &DeleteParams::default()).await.unwrap();
    let schema = json!({"openAPIV3Schema": {"type": "object"}});
    let definition = json!({"metadata": {"name": "flunders.wardle.example.com"}, "spec": {"group": "wardle.example.com",
        "scope": "Namespaced", "names": {"plural": "flunders", "kind": "Flunder"},
        "versions": [{"name": "v1alpha1", "served": true, "storage": true, "schema": schema}]}});
    world.create::<CustomResourceDefinition>(definition).await;
    world.until(&maps, "of-a-flunder", |map| map.is_none()).await;
}
