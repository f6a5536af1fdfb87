//! Kinds of the group admissionregistration.k8s.io.

use crate::hooks::check::Node;
use crate::hooks::conditions;
use crate::hooks::meta;
use api_core::field::Errors;
use api_schema::row::{Generation, Hooks, KeptMetadata, WriteContext};
use serde_json::Value;

mod defaults;
mod policies;
mod rules;
pub(super) mod webhooks;

const BASE: Hooks = Hooks { generation: Generation::SPEC, unconditional_update: false, ..Hooks::NONE };

const WITH_STATUS: Hooks = Hooks {
    prepare_create: Some(drop_status),
    status_keeps: KeptMetadata::USUAL,
    reset_fields: Some(meta::reset_by_status),
    ..BASE
};

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    match kind {
        "MutatingWebhookConfiguration" => {
            &const {
                Hooks {
                    default: Some(defaults::mutating_webhooks),
                    validate: Some(webhooks::validate_mutating),
                    validate_update: Some(|_, new, _, e| again(new, webhooks::validate_mutating, e)),
                    ..BASE
                }
            }
        }
        "ValidatingAdmissionPolicy" => {
            &const {
                Hooks {
                    default: Some(defaults::policy),
                    validate: Some(policies::validate_policy),
                    validate_update: Some(update_policy),
                    ..WITH_STATUS
                }
            }
        }
        "ValidatingAdmissionPolicyBinding" => {
            &const {
                Hooks {
                    default: Some(defaults::policy_binding),
                    validate: Some(policies::validate_binding),
                    validate_update: Some(|_, new, _, e| again(new, policies::validate_binding, e)),
                    ..BASE
                }
            }
        }
        "ValidatingWebhookConfiguration" => {
            &const {
                Hooks {
                    default: Some(defaults::validating_webhooks),
                    validate: Some(webhooks::validate_validating),
                    validate_update: Some(|_, new, _, e| again(new, webhooks::validate_validating, e)),
                    ..BASE
                }
            }
        }
        _ => &Hooks::NONE,
    }
}

fn drop_status(_: &WriteContext<'_>, object: &mut Value) {
    object["status"] = Value::Object(serde_json::Map::new());
}

/// An update is checked as a new object is.
fn again(new: &Value, validate: fn(&Value, &mut Errors), e: &mut Errors) {
    meta::again_on_create(new, e);
    validate(new, e);
}

fn update_policy(context: &WriteContext<'_>, new: &Value, _: &Value, e: &mut Errors) {
    if context.subresource != "status" {
        return again(new, policies::validate_policy, e);
    }
    let root = Node::root(new);
    let status = root.at("status");
    let checking = status.at("typeChecking");
    for warning in checking.at("expressionWarnings").items() {
        warning.at("warning").required(e);
        warning.at("fieldRef").required(e);
    }
    conditions::validate(&status.at("conditions"), e);
}
