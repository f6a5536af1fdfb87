//! A node agent writes only what belongs to its node.

use super::{Attributes, Context, Operation};
use api_core::meta::Meta;
use api_core::{ApiError, GroupResource};
use api_kinds::admission::node_restriction::{Write, check};
use api_kinds::names;
use serde_json::Value;

/// Checks a write by a node agent; it runs with the mutating plugins, as upstream's does.
pub fn mutate(context: &Context, a: &Attributes<'_>, object: &mut Value) -> Result<(), ApiError> {
    restrict(context, a, Some(object))
}

/// The same for deletions, which nothing mutates.
pub fn validate_delete(context: &Context, a: &Attributes<'_>) -> Result<(), ApiError> {
    restrict(context, a, None)
}

fn restrict(context: &Context, a: &Attributes<'_>, object: Option<&Value>) -> Result<(), ApiError> {
    let Some(node) = a.user.node() else { return Ok(()) };
    let gvr = a.resource;
    let slash = |a: &str, b: &str| match (a, b) {
        ("", b) => b.to_owned(),
        (a, "") => a.to_owned(),
        (a, b) => format!("{a}/{b}"),
    };
    let path = slash(&slash(&gvr.group, &gvr.resource), a.subresource);
    let pod_name = match path.as_str() {
        "pods/eviction" => Some(a.name).filter(|n| !n.is_empty()).or(object.map(Meta::name)),
        "serviceaccounts/token" => object.and_then(|o| o["spec"]["boundObjectRef"]["name"].as_str()),
        _ => None,
    };
    let pod = pod_name.and_then(|name| context.view.get("", names::PODS, a.namespace, name));
    if let ("pods/eviction", None, Some(name)) = (path.as_str(), &pod, pod_name) {
        // As the lister of pods says it.
        let kind = GroupResource { group: String::new(), resource: "pod".into() };
        return Err(ApiError::not_found(&kind, name));
    }
    let write = Write {
        node,
        operation: if a.operation == Operation::Connect { "CREATE" } else { a.operation.as_str() },
        path: &path,
        namespace: a.namespace,
        name: a.name,
        new: object,
        old: a.old,
        pod: pod.as_ref(),
    };
    check(&write).map_err(|why| a.forbidden(object, &why))
}
