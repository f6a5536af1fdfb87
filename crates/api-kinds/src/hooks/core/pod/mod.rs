//! Pod, and the pod template that the workloads carry.

use api_schema::row::Hooks;

mod affinity;
mod containers;
pub(in crate::hooks) mod defaults;
mod downward;
mod env;
mod mounts;
mod probes;
mod scheduling;
mod security;
mod spec;
pub(in crate::hooks) mod volumes;

pub(in crate::hooks) use affinity::node_selector;
pub(in crate::hooks) use mounts::no_backsteps;
pub(in crate::hooks) use scheduling::tolerations;
pub(in crate::hooks) use spec::validate_template;

pub(super) const HOOKS: Hooks =
    Hooks { default: Some(defaults::default_pod), validate: Some(spec::validate_pod), ..Hooks::NONE };
