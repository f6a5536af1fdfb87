//! Kinds of the group discovery.k8s.io.

use super::fill::Fill;
use api_schema::row::Hooks;
use serde_json::Value;

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    match kind {
        "EndpointSlice" => &const { Hooks { default: Some(default_endpoint_slice), ..Hooks::NONE } },
        _ => &Hooks::NONE,
    }
}

fn default_endpoint_slice(object: &mut Value) {
    object.each_mut("ports", |port| {
        port.fill("name", "");
        port.fill("protocol", "TCP");
    });
}
