//! Endpoint slices: `v1beta1`, which upstream still stores, has a map where `v1` has a field for the zone.

use super::{begins, finish};
use api_core::Gvk;
use serde_json::{Map, Value};

/// From `v1beta1` to `v1`.
pub fn convert(value: &mut Value, to: &Gvk) {
    let Value::Object(object) = value else { return };
    if !begins(object, to) {
        return;
    }
    for endpoint in object.get_mut("endpoints").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Value::Object(endpoint) = endpoint
            && let Some(Value::Object(topology)) = endpoint.remove("topology")
        {
            take_apart(endpoint, topology);
        }
    }
    finish(value, to);
}

fn take_apart(endpoint: &mut Map<String, Value>, mut topology: Map<String, Value>) {
    const ZONE: &str = "topology.kubernetes.io/zone";
    const HOST: &str = "kubernetes.io/hostname";
    if let Some(zone) = topology.remove(ZONE) {
        endpoint.insert("zone".into(), zone);
    }
    // The node is said in its own field too, unless the two differ.
    if topology.contains_key(HOST) && topology.get(HOST) == endpoint.get("nodeName") {
        topology.remove(HOST);
    }
    if !topology.is_empty() {
        endpoint.insert("deprecatedTopology".into(), topology.into());
    }
}
