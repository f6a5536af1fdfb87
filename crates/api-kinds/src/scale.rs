//! What upstream calls the `scale` of an object that is not there: each kind in its own way.

use api_core::{GroupResource, Gvr};

/// The resource that a client is told is missing, for a built-in resource that has a scale.
pub fn missing(gvr: &Gvr) -> GroupResource {
    let scale = format!("{}/scale", gvr.resource);
    let (group, resource) = match gvr.resource.as_str() {
        "replicationcontrollers" => ("autoscaling", scale),
        "statefulsets" => (gvr.group.as_str(), gvr.resource.clone()),
        _ => (gvr.group.as_str(), scale),
    };
    GroupResource { group: group.to_owned(), resource }
}
