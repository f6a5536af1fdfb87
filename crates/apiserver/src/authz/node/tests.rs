//! Tables of (graph, request, decision).

use super::*;
use crate::authn::UserInfo;
use serde_json::json;

fn graph() -> Graph {
    let mut graph = Graph::default();
    graph.put_pod(&json!({"metadata": {"name": "web", "namespace": "ns"}, "spec": {
        "nodeName": "one", "serviceAccountName": "bot", "imagePullSecrets": [{"name": "pull"}],
        "containers": [{"envFrom": [{"secretRef": {"name": "from"}}], "env": [{"valueFrom": {"configMapKeyRef": {"name": "cm"}}}]}],
        "volumes": [{"secret": {"secretName": "vol"}}, {"persistentVolumeClaim": {"claimName": "data"}},
            {"name": "tmp", "ephemeral": {}}, {"projected": {"sources": [{"configMap": {"name": "root"}}]}}]}}));
    graph.put_pod(
        &json!({"metadata": {"name": "mirror", "namespace": "ns", "annotations": {"kubernetes.io/config.mirror": "x"}},
        "spec": {"nodeName": "one", "volumes": [{"secret": {"secretName": "stolen"}}]}}),
    );
    graph.put_volume(&json!({"metadata": {"name": "pv"}, "spec": {"claimRef": {"namespace": "ns", "name": "data"},
        "csi": {"nodeStageSecretRef": {"namespace": "kube-system", "name": "stage"}}}}));
    graph.put_attachment(&json!({"metadata": {"name": "va"}, "spec": {"nodeName": "one"}}));
    graph
}

/// Verb, group, resource/subresource, namespace, name, reason of a refusal.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str, Option<&'static str>);

#[test]
fn decisions() {
    let (graph, rules) = (graph(), [Rule::read(&json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}))]);
    let unrelated = "no relationship found between node 'one' and this object";
    let table: &[Row] = &[
        ("get", "", "secrets", "ns", "vol", None),
        ("watch", "", "secrets", "ns", "from", None),
        ("get", "", "secrets", "ns", "pull", None),
        ("get", "", "secrets", "kube-system", "stage", None),
        ("get", "", "secrets", "ns", "other", Some(unrelated)),
        ("get", "", "secrets", "ns", "stolen", Some(unrelated)),
        ("list", "", "secrets", "ns", "", Some("No Object name found")),
        ("list", "", "secrets", "", "", Some("can only read namespaced object of this type")),
        ("update", "", "secrets", "ns", "vol", Some("can only read resources of this type")),
        ("get", "", "configmaps", "ns", "cm", None),
        ("get", "", "configmaps", "ns", "root", None),
        ("get", "", "persistentvolumeclaims", "ns", "data", None),
        ("get", "", "persistentvolumeclaims", "ns", "web-tmp", None),
        ("patch", "", "persistentvolumeclaims/status", "ns", "data", None),
        ("list", "", "persistentvolumeclaims", "ns", "", Some("can only get individual resources of this type")),
        ("get", "", "persistentvolumes", "", "pv", None),
        ("get", "storage.k8s.io", "volumeattachments", "", "va", None),
        ("get", "storage.k8s.io", "volumeattachments", "", "vb", Some(unrelated)),
        ("create", "", "serviceaccounts/token", "ns", "bot", None),
        ("create", "", "serviceaccounts/token", "ns", "admin", Some(unrelated)),
        ("get", "", "serviceaccounts", "ns", "bot", Some("can only create tokens for individual service accounts")),
        ("update", "coordination.k8s.io", "leases", "kube-node-lease", "one", None),
        ("create", "coordination.k8s.io", "leases", "kube-node-lease", "", None),
        (
            "update",
            "coordination.k8s.io",
            "leases",
            "kube-node-lease",
            "two",
            Some("can only access node lease with the same name as the requesting node"),
        ),
        (
            "get",
            "coordination.k8s.io",
            "leases",
            "ns",
            "one",
            Some("can only access leases in the \"kube-node-lease\" system namespace"),
        ),
        ("get", "storage.k8s.io", "csinodes", "", "one", None),
        (
            "get",
            "storage.k8s.io",
            "csinodes",
            "",
            "two",
            Some("can only access CSINode with the same name as the requesting node"),
        ),
        ("list", "", "pods", "", "", None),
        ("delete", "", "pods", "ns", "web", Some("")),
    ];
    let node = UserInfo::authenticated("system:node:one", ["system:nodes"]);
    for (verb, group, path, namespace, name, refusal) in table {
        let (resource, subresource) = path.split_once('/').unwrap_or((path, ""));
        let target = ResourceTarget { group, version: "v1", resource, subresource, namespace, name };
        let decision = authorize(&graph, &rules, &Attributes::resource(&node, verb, target));
        let want = match refusal {
            None => Decision::Allow(String::new()),
            Some(reason) => Decision::NoOpinion((*reason).to_owned()),
        };
        assert_eq!(decision, want, "{verb} {path} {namespace}/{name}");
    }
}

#[test]
fn access_ends_with_the_last_pod() {
    let mut graph = graph();
    graph.put_pod(&json!({"metadata": {"name": "second", "namespace": "ns"}, "spec": {"nodeName": "one",
        "volumes": [{"secret": {"secretName": "vol"}}]}}));
    graph.remove_pod("ns", "web");
    assert!(graph.reaches("one", Kind::Secret, "ns", "vol"));
    assert!(!graph.reaches("one", Kind::Claim, "ns", "data"));
    assert!(!graph.reaches("one", Kind::Secret, "kube-system", "stage"));
    graph.remove_pod("ns", "second");
    assert!(!graph.reaches("one", Kind::Secret, "ns", "vol"));
}

#[test]
fn others_are_not_its_business() {
    let user = UserInfo::authenticated("ann", ["x"]);
    let target = ResourceTarget { resource: "secrets", namespace: "ns", name: "vol", ..ResourceTarget::default() };
    assert_eq!(
        authorize(&graph(), &[], &Attributes::resource(&user, "get", target)),
        Decision::NoOpinion(String::new())
    );
}
