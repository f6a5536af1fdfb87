//! Kinds of the group autoscaling.

use api_schema::row::Hooks;

mod defaults;
mod validate;

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    match kind {
        "HorizontalPodAutoscaler" => &HORIZONTAL_POD_AUTOSCALER,
        _ => &Hooks::NONE,
    }
}

static HORIZONTAL_POD_AUTOSCALER: Hooks = Hooks {
    default: Some(defaults::horizontal_pod_autoscaler),
    validate: Some(validate::create),
    validate_update: Some(validate::update),
    ..Hooks::NONE
};
