//! Kinds of the group coordination.k8s.io.

use super::check::{Node, POSITIVE};
use super::meta;
use api_core::field::Errors;
use api_schema::row::{Hooks, WriteContext};
use serde_json::Value;

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    match kind {
        "Lease" => &LEASE,
        _ => &Hooks::NONE,
    }
}

static LEASE: Hooks = Hooks {
    validate: Some(validate),
    validate_update: Some(update),
    unconditional_update: false,
    create_on_update: true,
    ..Hooks::NONE
};

fn validate(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    let spec = root.at("spec");
    let duration = spec.at("leaseDurationSeconds");
    if duration.int().is_some_and(|seconds| seconds <= 0) {
        duration.invalid(POSITIVE, e);
    }
    spec.at("leaseTransitions").non_negative(e);
}

fn update(_: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    meta::again_on_update(new, old, e);
    validate(new, e);
}
