//! Kinds of the group scheduling.k8s.io.

use super::fill::Fill;
use api_schema::row::Hooks;
use serde_json::Value;

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    match kind {
        "PriorityClass" => &const { Hooks { default: Some(default_priority_class), ..Hooks::NONE } },
        _ => &Hooks::NONE,
    }
}

fn default_priority_class(object: &mut Value) {
    object.fill("preemptionPolicy", "PreemptLowerPriority");
}
