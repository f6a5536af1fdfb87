//! The objects that every cluster has: default roles and bindings, flow schemas and priority levels, as upstream's server
//! of this version makes them. `data/defaults.txt` holds a digest of each, made of what a real server answers: all but
//! its status, uid, versions, times and managed fields, with sorted keys.

mod support;

use apiserver::Config;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use support::cluster::Cluster;

const DEFAULTS: &str = include_str!("data/defaults.txt");
const COLLECTIONS: [(&str, &str); 6] = [
    ("clusterroles", "/apis/rbac.authorization.k8s.io/v1/clusterroles"),
    ("clusterrolebindings", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"),
    ("roles", "/apis/rbac.authorization.k8s.io/v1/roles"),
    ("rolebindings", "/apis/rbac.authorization.k8s.io/v1/rolebindings"),
    ("flowschemas", "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"),
    ("prioritylevelconfigurations", "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations"),
];
/// What Mainstay's own parts need beside: the cluster's name server, and the service proxy as kubeadm binds it.
const OWN: [&str; 3] = [
    "clusterroles//system:coredns",
    "clusterrolebindings//system:coredns",
    "clusterrolebindings//kubeadm:node-proxier",
];

/// With sorted keys.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let sorted: BTreeMap<&String, Value> = fields.iter().map(|(k, v)| (k, self::sorted(v))).collect();
            sorted.into_iter().map(|(k, v)| (k.clone(), v)).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// What does not depend on when and where it was made.
fn lasting(object: &Value) -> Value {
    let mut kept = object.clone();
    let fields = kept.as_object_mut().expect("an object");
    for field in ["kind", "apiVersion", "status"] {
        fields.remove(field);
    }
    let metadata = fields["metadata"].as_object_mut().expect("metadata");
    metadata.retain(|field, _| ["name", "namespace", "labels", "annotations"].contains(&field.as_str()));
    sorted(&kept)
}

#[tokio::test]
async fn default_objects_are_those_of_upstream() {
    let cluster = Cluster::start(Config::default(), 1).await;
    cluster.server.ready().await;
    let mut found = BTreeMap::new();
    let mut shown = BTreeMap::new();
    for (resource, path) in COLLECTIONS {
        for object in cluster.get(path).await["items"].as_array().expect("items") {
            let metadata = &object["metadata"];
            let text = |field: &str| metadata[field].as_str().unwrap_or("").to_owned();
            let name = format!("{resource}/{}/{}", text("namespace"), text("name"));
            let kept = lasting(object).to_string();
            let digest: String = Sha256::digest(&kept).iter().take(8).map(|b| format!("{b:02x}")).collect();
            shown.insert(name.clone(), kept);
            found.insert(name, digest);
        }
    }
    let wanted: BTreeMap<String, String> =
        DEFAULTS.lines().filter_map(|l| l.rsplit_once(' ')).map(|(n, d)| (n.to_owned(), d.to_owned())).collect();
    let missing: Vec<&String> = wanted.keys().filter(|n| !found.contains_key(*n)).collect();
    let more: Vec<&str> =
        found.keys().map(String::as_str).filter(|n| !wanted.contains_key(*n) && !OWN.contains(n)).collect();
    assert!(missing.is_empty() && more.is_empty(), "missing: {missing:?}; not upstream's: {more:?}");
    let differ: Vec<&String> = wanted.iter().filter(|(n, d)| found[*n] != **d).map(|(n, _)| &shown[n]).collect();
    assert!(differ.is_empty(), "{differ:#?}");
    assert_eq!(wanted.len(), 64 + 45 + 7 + 7 + 13 + 8);
}
