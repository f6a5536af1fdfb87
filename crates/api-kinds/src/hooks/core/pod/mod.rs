//! Pod, and the pod template that the workloads carry.

use api_schema::row::Hooks;

mod affinity;
mod app_armor;
mod containers;
pub(in crate::hooks) mod defaults;
mod downward;
mod env;
mod mounts;
mod probes;
mod scheduling;
mod security;
mod spec;
pub(in crate::hooks) mod strategy;
mod update;
pub(in crate::hooks) mod volumes;
mod warnings;

pub(in crate::hooks) use affinity::node_selector;
pub(in crate::hooks) use mounts::no_backsteps;
pub(in crate::hooks) use scheduling::tolerations;
pub(in crate::hooks) use spec::validate_template;
pub(in crate::hooks) use strategy::drop_disabled;
pub(in crate::hooks) use warnings::template as template_warnings;

/// The lists of containers, in the order in which upstream goes over them.
const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// A pod.
pub(super) static HOOKS: Hooks = Hooks {
    default: Some(defaults::default_pod),
    warnings_as_asked: Some(app_armor::warnings),
    prepare_create: Some(strategy::prepare_create),
    prepare_update: Some(strategy::prepare_update),
    validate: Some(spec::validate_pod),
    validate_update: Some(update::validate),
    warnings: Some(warnings::pod),
    reset_fields: Some(strategy::reset_fields),
    default_grace_s: Some(strategy::default_grace_s),
    post_subresource: Some(strategy::bind),
    ..Hooks::NONE
};
