//! Kinds of the group admissionregistration.k8s.io.

use api_schema::row::Hooks;

mod defaults;

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    match kind {
        "MutatingWebhookConfiguration" => {
            &const { Hooks { default: Some(defaults::mutating_webhooks), ..Hooks::NONE } }
        }
        "ValidatingAdmissionPolicy" => &const { Hooks { default: Some(defaults::policy), ..Hooks::NONE } },
        "ValidatingAdmissionPolicyBinding" => {
            &const { Hooks { default: Some(defaults::policy_binding), ..Hooks::NONE } }
        }
        "ValidatingWebhookConfiguration" => {
            &const { Hooks { default: Some(defaults::validating_webhooks), ..Hooks::NONE } }
        }
        _ => &Hooks::NONE,
    }
}
