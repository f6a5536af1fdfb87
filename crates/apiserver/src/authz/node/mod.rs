//! The Node authorizer: a node agent may do what any node agent may, and reads only what its own pods refer to.

mod graph;

pub use graph::Graph;

use super::attributes::{Attributes, Decision, ResourceTarget, Target};
use super::rbac::{Rule, allows};
use api_kinds::names;
use graph::Kind;

const NODE_LEASE_NAMESPACE: &str = "kube-node-lease";

/// Decides for node agents; `rules` are what all of them may do.
pub fn authorize(graph: &Graph, rules: &[Rule], attributes: &Attributes<'_>) -> Decision {
    let Some(node) = attributes.user.node() else { return Decision::NoOpinion(String::new()) };
    if let Target::Resource(target) = attributes.target
        && let Some(answer) = special(graph, node, attributes.verb, &target)
    {
        return match answer {
            Ok(()) => Decision::Allow(String::new()),
            Err(reason) => Decision::NoOpinion(reason),
        };
    }
    if rules.iter().any(|rule| allows(rule, attributes)) {
        return Decision::Allow(String::new());
    }
    Decision::NoOpinion(String::new())
}

/// An answer for the resources that are told apart by object; `None` for all others.
fn special(graph: &Graph, node: &str, verb: &str, t: &ResourceTarget<'_>) -> Option<Result<(), String>> {
    let related = |kind: Kind| {
        if graph.reaches(node, kind, t.namespace, t.name) {
            Ok(())
        } else {
            Err(format!("no relationship found between node '{node}' and this object"))
        }
    };
    let named = |kind: Kind| if t.name.is_empty() { Err("No Object name found".to_owned()) } else { related(kind) };
    let get = |kind: Kind| {
        refuse(verb != "get", "can only get individual resources of this type")?;
        refuse(!t.subresource.is_empty(), "cannot get subresource")?;
        named(kind)
    };
    let read = |kind: Kind| {
        refuse(!matches!(verb, "get" | "list" | "watch"), "can only read resources of this type")?;
        refuse(!t.subresource.is_empty(), "cannot read subresource")?;
        refuse(t.namespace.is_empty(), "can only read namespaced object of this type")?;
        named(kind)
    };
    Some(match (t.group, t.resource) {
        ("", names::SECRETS) => read(Kind::Secret),
        ("", names::CONFIG_MAPS) => read(Kind::ConfigMap),
        ("", "persistentvolumeclaims") if t.subresource == "status" => {
            refuse(!matches!(verb, "update" | "patch"), "can only get/update/patch this type")
                .and_then(|()| named(Kind::Claim))
        }
        ("", "persistentvolumeclaims") => get(Kind::Claim),
        ("", "persistentvolumes") => get(Kind::Volume),
        ("storage.k8s.io", "volumeattachments") => get(Kind::Attachment),
        ("", "serviceaccounts") => token(verb, t).and_then(|()| related(Kind::ServiceAccount)),
        ("coordination.k8s.io", names::LEASES) => lease(node, verb, t),
        ("storage.k8s.io", "csinodes") => csi_node(node, verb, t),
        _ => return None,
    })
}

fn refuse(is: bool, why: &str) -> Result<(), String> {
    if is { Err(why.to_owned()) } else { Ok(()) }
}

fn token(verb: &str, t: &ResourceTarget<'_>) -> Result<(), String> {
    refuse(verb != "create" || t.name.is_empty(), "can only create tokens for individual service accounts")?;
    refuse(t.subresource != "token", "can only create token subresource of serviceaccount")
}

const OWN_VERBS: [&str; 5] = ["get", "create", "update", "patch", "delete"];

fn lease(node: &str, verb: &str, t: &ResourceTarget<'_>) -> Result<(), String> {
    refuse(!OWN_VERBS.contains(&verb), "can only get, create, update, patch, or delete a node lease")?;
    refuse(
        t.namespace != NODE_LEASE_NAMESPACE,
        &format!("can only access leases in the {NODE_LEASE_NAMESPACE:?} system namespace"),
    )?;
    // On create the name is in the body, where admission looks at it.
    refuse(verb != "create" && t.name != node, "can only access node lease with the same name as the requesting node")
}

fn csi_node(node: &str, verb: &str, t: &ResourceTarget<'_>) -> Result<(), String> {
    refuse(!OWN_VERBS.contains(&verb), "can only get, create, update, patch, or delete a CSINode")?;
    refuse(!t.subresource.is_empty(), "cannot authorize CSINode subresources")?;
    refuse(verb != "create" && t.name != node, "can only access CSINode with the same name as the requesting node")
}

#[cfg(test)]
mod tests;
