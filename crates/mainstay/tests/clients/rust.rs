//! kube-rs as an operator uses it: its watcher, its controller runtime, a CRD, apply, and leader election by a Lease.

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::runtime::controller::Action;
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{Controller, watcher as watch};
use serde_json::json;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use testbed::{ApiServer, ServerOptions};

const PATIENCE: Duration = Duration::from_secs(60);

fn with_server<F: Future<Output = ()>>(test: impl FnOnce(kube::Client) -> F) {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let server = ApiServer::start(env!("CARGO_BIN_EXE_mainstay"), ServerOptions::default()).expect("a server");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = client::from_kubeconfig(&server.kubeconfig()).await.expect("a client");
        tokio::time::timeout(PATIENCE, test(client)).await.expect("it takes no longer than that");
    });
}

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"k": "v"}})).expect("a config map")
}

/// The names of the events, up to `count`.
async fn names(config: watch::Config, maps: Api<ConfigMap>, count: usize) -> Vec<String> {
    let mut seen = Vec::new();
    let mut events = std::pin::pin!(watcher::watcher(maps, config));
    while let Some(event) = events.try_next().await.expect("an event") {
        let name = |o: ConfigMap| o.metadata.name.unwrap_or_default();
        match event {
            Event::InitApply(o) => seen.push(format!("init {}", name(o))),
            Event::InitDone => seen.push("done".into()),
            Event::Apply(o) => seen.push(format!("apply {}", name(o))),
            Event::Delete(o) => seen.push(format!("delete {}", name(o))),
            Event::Init => {}
        }
        if seen.len() >= count {
            break;
        }
    }
    seen
}

#[test]
fn its_watcher_lists_pages_and_streams() {
    with_server(|client| async move {
        let maps: Api<ConfigMap> = Api::namespaced(client, "default");
        for i in 0..5 {
            maps.create(&PostParams::default(), &map(&format!("m{i}"))).await.expect("made");
        }
        let ours = "metadata.name!=kube-root-ca.crt";
        let paged = watch::Config::default().fields(ours).page_size(2);
        let streamed = watch::Config::default().fields(ours).streaming_lists();
        for config in [paged, streamed] {
            let got = names(config, maps.clone(), 6).await;
            assert_eq!(got, ["init m0", "init m1", "init m2", "init m3", "init m4", "done"]);
        }
        let watching = tokio::spawn(names(watch::Config::default().fields("metadata.name=late"), maps.clone(), 3));
        maps.create(&PostParams::default(), &map("late")).await.expect("made");
        maps.delete("late", &Default::default()).await.expect("deleted");
        let got = watching.await.expect("no panic");
        assert!(got.last().is_some_and(|last| last == "delete late"), "{got:?}");
    });
}

fn definition() -> CustomResourceDefinition {
    serde_json::from_value(json!({
        "metadata": {"name": "gadgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "gadgets", "kind": "Gadget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {"size": {"type": "integer"}}},
                    "status": {"type": "object", "properties": {"seen": {"type": "integer"}}}}}}}]}
    }))
    .expect("a definition")
}

#[test]
fn its_controller_runs_on_a_custom_resource() {
    with_server(|client| async move {
        let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
        let apply = PatchParams::apply("operator").force();
        definitions.patch("gadgets.example.com", &apply, &Patch::Apply(definition_with_kind())).await.expect("applied");
        await_condition(definitions, "gadgets.example.com", conditions::is_crd_established())
            .await
            .expect("established");
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v1", "Gadget"));
        let gadgets: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &kind);
        let running = Controller::new_with(gadgets.clone(), watch::Config::default(), kind.clone())
            .run(reconcile, |_, _, _| Action::requeue(Duration::from_secs(1)), Arc::new(gadgets.clone()))
            .for_each(|_| std::future::ready(()));
        let running = tokio::spawn(running);
        let gadget = DynamicObject::new("g", &kind).data(json!({"spec": {"size": 7}}));
        gadgets.create(&PostParams::default(), &gadget).await.expect("made");
        let seen = |o: Option<&DynamicObject>| o.is_some_and(|o| o.data["status"]["seen"] == 7);
        await_condition(gadgets.clone(), "g", seen).await.expect("reconciled");
        running.abort();
        let page = gadgets.list_metadata(&ListParams::default().limit(1)).await.expect("metadata");
        assert_eq!(page.items[0].metadata.name.as_deref(), Some("g"));
    });
}

fn definition_with_kind() -> serde_json::Value {
    let mut value = serde_json::to_value(definition()).expect("JSON");
    value["apiVersion"] = json!("apiextensions.k8s.io/v1");
    value["kind"] = json!("CustomResourceDefinition");
    value
}

async fn reconcile(gadget: Arc<DynamicObject>, gadgets: Arc<Api<DynamicObject>>) -> Result<Action, Infallible> {
    let status = json!({"status": {"seen": gadget.data["spec"]["size"]}});
    let name = gadget.metadata.name.clone().unwrap_or_default();
    // What fails is tried again when the object is seen again.
    match gadgets.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await {
        Ok(_) => Ok(Action::await_change()),
        Err(_) => Ok(Action::requeue(Duration::from_secs(1))),
    }
}

#[test]
fn one_of_two_holds_a_lease() {
    with_server(|client| async move {
        let leases: Api<Lease> = Api::namespaced(client, "default");
        let lease = |holder: &str, seconds: i32, version: Option<&str>| -> Lease {
            serde_json::from_value(json!({"metadata": {"name": "lock", "resourceVersion": version},
                "spec": {"holderIdentity": holder, "leaseDurationSeconds": seconds}}))
            .expect("a lease")
        };
        let first = leases.create(&PostParams::default(), &lease("a", 15, None)).await.expect("made");
        let taken = leases.create(&PostParams::default(), &lease("b", 15, None)).await.expect_err("taken");
        assert!(matches!(&taken, kube::Error::Api(s) if s.reason == "AlreadyExists"), "{taken}");
        let version = first.metadata.resource_version.as_deref();
        leases.replace("lock", &PostParams::default(), &lease("a", 20, version)).await.expect("renewed");
        let late = leases.replace("lock", &PostParams::default(), &lease("b", 15, version)).await.expect_err("late");
        assert!(matches!(&late, kube::Error::Api(s) if s.reason == "Conflict"), "{late}");
        let made =
            leases.replace("other", &PostParams::default(), &Lease { metadata: named("other"), spec: None }).await;
        assert!(made.is_ok(), "a lease may be made by an update: {made:?}");
    });
}

fn named(name: &str) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
    k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta { name: Some(name.into()), ..Default::default() }
}
