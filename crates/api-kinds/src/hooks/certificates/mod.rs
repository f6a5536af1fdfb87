//! Kinds of the group certificates.k8s.io.

use api_core::names;
use api_schema::row::Hooks;

mod rules;
mod strategy;

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    match kind {
        "CertificateSigningRequest" => {
            &const {
                Hooks {
                    prepare_create: Some(strategy::prepare_create),
                    prepare_update: Some(strategy::prepare_update),
                    reset_fields: Some(strategy::reset_fields),
                    validate: Some(rules::validate),
                    validate_update: Some(rules::validate_update),
                    validate_name: Some(names::name_is_path_segment),
                    ..Hooks::NONE
                }
            }
        }
        _ => &Hooks::NONE,
    }
}
