//! What a node agent may write: its own node, lease and CSI node, the status of its pods, mirror pods, their tokens.

use super::{items, text};
use api_core::meta::Meta;
use serde_json::Value;
use std::collections::BTreeSet;

/// A write by a node agent.
#[derive(Debug, Clone, Copy)]
pub struct Write<'a> {
    /// The node that writes.
    pub node: &'a str,
    /// `CREATE`, `UPDATE` or `DELETE`.
    pub operation: &'a str,
    /// `resource` or `resource/subresource`, with the group in front unless it is the core group.
    pub path: &'a str,
    /// Namespace of the request.
    pub namespace: &'a str,
    /// Name of the request; empty on some creates.
    pub name: &'a str,
    /// What is written.
    pub new: Option<&'a Value>,
    /// What was there.
    pub old: Option<&'a Value>,
    /// The pod that an eviction or a token request is about, if there is one.
    pub pod: Option<&'a Value>,
}

const NULL: Value = Value::Null;

/// Whether a node agent may do it; if not, the words of the refusal.
pub fn check(w: &Write<'_>) -> Result<(), String> {
    let new = w.new.unwrap_or(&NULL);
    match w.path {
        "pods" => match w.operation {
            "CREATE" => create_pod(w.node, new),
            "DELETE" => own_pod(
                w.old,
                || format!("node {:?} can only delete pods with spec.nodeName set to itself", w.node),
                w.node,
            ),
            _ => Err(format!(
                "unexpected operation {:?}, node {:?} can only create and delete mirror pods",
                w.operation, w.node
            )),
        },
        "pods/status" => pod_status(w, new),
        "pods/eviction" => {
            own_pod(w.pod, || format!("node {} can only evict pods with spec.nodeName set to itself", w.node), w.node)
        }
        "nodes" | "nodes/status" => node(w, new),
        "persistentvolumeclaims/status" if w.operation == "UPDATE" => claim_status(w, new),
        "serviceaccounts/token" => token(w, new),
        "coordination.k8s.io/leases" => lease(w, new),
        "storage.k8s.io/csinodes" => {
            let name = if w.operation == "CREATE" { new.name() } else { w.name };
            same(name, w.node, || "can only access CSINode with the same name as the requesting node".into())
        }
        _ => Ok(()),
    }
}

fn same(a: &str, b: &str, refusal: impl FnOnce() -> String) -> Result<(), String> {
    if a == b { Ok(()) } else { Err(refusal()) }
}

fn own_pod(pod: Option<&Value>, refusal: impl FnOnce() -> String, node: &str) -> Result<(), String> {
    // One that is not there is answered with 404 further on.
    pod.map_or(Ok(()), |pod| same(text(&pod["spec"], "nodeName"), node, refusal))
}

fn create_pod(node: &str, pod: &Value) -> Result<(), String> {
    const MIRROR: &str = "kubernetes.io/config.mirror";
    if pod.annotation(MIRROR).is_none() {
        return Err(format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"));
    }
    same(text(&pod["spec"], "nodeName"), node, || {
        format!("node {node:?} can only create pods with spec.nodeName set to itself")
    })?;
    let owners: Vec<&Value> = items(&pod["metadata"], "ownerReferences").collect();
    let [owner] = owners.as_slice() else {
        return if owners.is_empty() {
            Ok(())
        } else {
            Err(format!("node {node:?} can only create pods with a single owner reference set to itself"))
        };
    };
    let is_node = text(owner, "apiVersion") == "v1" && text(owner, "kind") == "Node" && text(owner, "name") == node;
    if !is_node {
        return Err(format!("node {node:?} can only create pods with an owner reference set to itself"));
    }
    if owner["controller"] != true {
        return Err(format!("node {node:?} can only create pods with a controller owner reference set to itself"));
    }
    if owner["blockOwnerDeletion"] == true {
        return Err(format!("node {node:?} must not set blockOwnerDeletion on an owner reference"));
    }
    let refers = items(&pod["spec"], "volumes")
        .any(|v| ["configMap", "secret", "persistentVolumeClaim"].iter().any(|kind| v.get(*kind).is_some()));
    if refers || !text(&pod["spec"], "serviceAccountName").is_empty() {
        return Err(format!("node {node:?} can not create pods that reference other objects"));
    }
    Ok(())
}

fn pod_status(w: &Write<'_>, new: &Value) -> Result<(), String> {
    let old = w.old.unwrap_or(&NULL);
    own_pod(
        w.old,
        || format!("node {:?} can only update pod status for pods with spec.nodeName set to itself", w.node),
        w.node,
    )?;
    if new["metadata"]["labels"] != old["metadata"]["labels"] {
        return Err(format!("node {:?} cannot update labels through pod status", w.node));
    }
    Ok(())
}

fn node(w: &Write<'_>, new: &Value) -> Result<(), String> {
    let name = if w.operation == "CREATE" { new.name() } else { w.name };
    same(name, w.node, || format!("node {:?} is not allowed to modify node {name:?}", w.node))?;
    let labels = |v: &Value, changed_from: &Value| -> BTreeSet<String> {
        let keys =
            [v, changed_from].into_iter().filter_map(|n| n["metadata"]["labels"].as_object()).flat_map(|l| l.keys());
        keys.filter(|k| v.label(k) != changed_from.label(k)).cloned().collect()
    };
    let list = |keys: Vec<&String>| keys.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    match (w.operation, w.old) {
        ("CREATE", _) => {
            let set = labels(new, &NULL);
            let bad: Vec<&String> = set.iter().filter(|k| is_forbidden_label(k)).collect();
            if !bad.is_empty() {
                return Err(format!("node {:?} is not allowed to set the following labels: {}", w.node, list(bad)));
            }
        }
        ("UPDATE", Some(old)) => {
            if new["spec"]["taints"] != old["spec"]["taints"] {
                return Err(format!("node {:?} is not allowed to modify taints", w.node));
            }
            let changed = labels(new, old);
            let bad: Vec<&String> = changed.iter().filter(|k| is_forbidden_label(k)).collect();
            if !bad.is_empty() {
                return Err(format!("is not allowed to modify labels: {}", list(bad)));
            }
            if new["metadata"]["ownerReferences"] != old["metadata"]["ownerReferences"] {
                return Err(format!("node {:?} is not allowed to modify ownerReferences", w.node));
            }
        }
        _ => {}
    }
    Ok(())
}

const NODE_LABELS: [&str; 12] = [
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "node.kubernetes.io/windows-build",
];

/// Whether a label is one of Kubernetes' own that a node may not give itself.
fn is_forbidden_label(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let within = |parent: &str| domain == parent || domain.ends_with(&format!(".{parent}"));
    if within("node-restriction.kubernetes.io") {
        return true;
    }
    let ours = within("kubernetes.io") || within("k8s.io");
    let allowed = NODE_LABELS.contains(&key) || within("kubelet.kubernetes.io") || within("node.kubernetes.io");
    ours && !allowed
}

fn claim_status(w: &Write<'_>, new: &Value) -> Result<(), String> {
    let without = |v: &Value| {
        let mut v = v.clone();
        for field in ["capacity", "conditions", "allocatedResources", "allocatedResourceStatuses", "resizeStatus"] {
            if let Some(status) = v["status"].as_object_mut() {
                status.remove(field);
            }
        }
        if let Some(metadata) = v["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        v
    };
    if w.old.is_some_and(|old| without(old) != without(new)) {
        return Err(format!(
            "node {:?} is not allowed to update fields other than status.quantity and status.conditions",
            w.node
        ));
    }
    Ok(())
}

fn token(w: &Write<'_>, new: &Value) -> Result<(), String> {
    let bound = &new["spec"]["boundObjectRef"];
    if text(bound, "apiVersion") != "v1" || text(bound, "kind") != "Pod" || text(bound, "name").is_empty() {
        return Err("node requested token not bound to a pod".into());
    }
    if text(bound, "uid").is_empty() {
        return Err("node requested token with a pod binding without a uid".into());
    }
    let Some(pod) = w.pod else { return Err(format!("pod {:?} not found", text(bound, "name"))) };
    if pod.uid() != text(bound, "uid") {
        return Err(format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
            text(bound, "uid")
        ));
    }
    same(text(&pod["spec"], "nodeName"), w.node, || {
        "node requested token bound to a pod scheduled on a different node".into()
    })
}

fn lease(w: &Write<'_>, new: &Value) -> Result<(), String> {
    const NAMESPACE: &str = "kube-node-lease";
    same(w.namespace, NAMESPACE, || format!("can only access leases in the {NAMESPACE:?} system namespace"))?;
    let name = if w.operation == "CREATE" { new.name() } else { w.name };
    same(name, w.node, || "can only access node lease with the same name as the requesting node".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const BASE: Write<'static> = Write {
        node: "one",
        operation: "UPDATE",
        path: "",
        namespace: "",
        name: "one",
        new: None,
        old: None,
        pod: None,
    };

    fn create<'a>(path: &'a str, new: &'a Value) -> Write<'a> {
        Write { operation: "CREATE", path, new: Some(new), ..BASE }
    }

    fn update<'a>(path: &'a str, new: &'a Value, old: &'a Value) -> Write<'a> {
        Write { path, new: Some(new), old: Some(old), ..BASE }
    }

    #[track_caller]
    fn judge(what: &str, write: Write<'_>, allowed: bool) {
        assert_eq!(check(&write).is_ok(), allowed, "{what}");
    }

    #[test]
    fn a_node_writes_its_own_pods() {
        let own = json!({"metadata": {"name": "p", "uid": "u"}, "spec": {"nodeName": "one"}});
        let foreign = json!({"metadata": {"name": "p", "uid": "u"}, "spec": {"nodeName": "two"}});
        let mark = json!({"kubernetes.io/config.mirror": "x"});
        let mirror = json!({"metadata": {"annotations": mark}, "spec": {"nodeName": "one"}});
        judge("mirror pod", create("pods", &mirror), true);
        judge("other pod", create("pods", &own), false);
        let delete = |old| Write { operation: "DELETE", path: "pods", old: Some(old), ..BASE };
        judge("delete own", delete(&own), true);
        judge("delete foreign", delete(&foreign), false);
        judge("status of own", update("pods/status", &own, &own), true);
        judge("status of foreign", update("pods/status", &foreign, &foreign), false);
        judge("evict foreign", Write { path: "pods/eviction", pod: Some(&foreign), ..BASE }, false);
        let reference = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"});
        let request = json!({"spec": {"boundObjectRef": reference}});
        let token = |pod| Write { pod: Some(pod), ..create("serviceaccounts/token", &request) };
        judge("token", token(&own), true);
        judge("token of foreign pod", token(&foreign), false);
        judge("unbound token", create("serviceaccounts/token", &own), false);
    }

    #[test]
    fn a_node_writes_itself() {
        let named = |name: &str| json!({"metadata": {"name": name}});
        let labelled = |key: &str| json!({"metadata": {"name": "one", "labels": {key: "x"}}});
        let (one, two) = (named("one"), named("two"));
        judge("own node", create("nodes", &one), true);
        judge("foreign node", create("nodes", &two), false);
        judge("own label", update("nodes", &labelled("kubernetes.io/os"), &one), true);
        judge("free label", update("nodes", &labelled("x"), &one), true);
        judge("role label", update("nodes", &labelled("node-role.kubernetes.io/control-plane"), &one), false);
        let lease = |new| Write { namespace: "kube-node-lease", ..create("coordination.k8s.io/leases", new) };
        judge("own lease", lease(&one), true);
        judge("foreign lease", lease(&two), false);
        judge("config maps are not its business", Write { path: "configmaps", ..BASE }, true);
    }
}
