//! Kinds of the group networking.k8s.io.

use super::meta;
use api_core::field::Errors;
use api_schema::row::{Generation, Hooks, WriteContext};
use serde_json::Value;

mod defaults;
mod ingress;
mod policy;

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    match kind {
        "Ingress" => &INGRESS,
        "IngressClass" => &INGRESS_CLASS,
        "NetworkPolicy" => &NETWORK_POLICY,
        _ => &Hooks::NONE,
    }
}

static INGRESS: Hooks = Hooks {
    generation: Generation::SPEC,
    validate: Some(ingress::create),
    validate_update: Some(ingress::update),
    warnings: Some(ingress::warnings),
    ..Hooks::NONE
};

static INGRESS_CLASS: Hooks = Hooks {
    default: Some(defaults::ingress_class),
    generation: Generation::SPEC,
    validate: Some(ingress::class),
    validate_update: Some(ingress::class_update),
    ..Hooks::NONE
};

static NETWORK_POLICY: Hooks = Hooks {
    default: Some(defaults::network_policy),
    generation: Generation::SPEC,
    validate: Some(policy::validate),
    validate_update: Some(policy_update),
    ..Hooks::NONE
};

fn policy_update(_: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    meta::again_on_create(new, e);
    policy::validate(new, e);
    meta::again_on_update(new, old, e);
    policy::validate(new, e);
}
