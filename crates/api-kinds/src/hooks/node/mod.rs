//! Kinds of the group node.k8s.io.

use super::fill::Fill;
use api_schema::row::Hooks;
use serde_json::Value;

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    match kind {
        "RuntimeClass" => &const { Hooks { default: Some(default_runtime_class), ..Hooks::NONE } },
        _ => &Hooks::NONE,
    }
}

fn default_runtime_class(object: &mut Value) {
    object.with("overhead", |overhead| overhead.round_resources("podFixed"));
}
