//! Kinds of the group autoscaling.

use api_schema::row::Hooks;

mod defaults;

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    match kind {
        "HorizontalPodAutoscaler" => {
            &const { Hooks { default: Some(defaults::horizontal_pod_autoscaler), ..Hooks::NONE } }
        }
        _ => &Hooks::NONE,
    }
}
