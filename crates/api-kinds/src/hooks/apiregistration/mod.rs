//! Kinds of the group apiregistration.k8s.io.

use super::fill::Fill;
use api_core::names;
use api_schema::row::Hooks;
use serde_json::Value;

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    match kind {
        // The name of the core group's service, `v1.`, is no DNS name.
        "APIService" => {
            &const {
                Hooks {
                    default: Some(default_api_service),
                    validate_name: Some(names::name_is_path_segment),
                    ..Hooks::NONE
                }
            }
        }
        _ => &Hooks::NONE,
    }
}

fn default_api_service(object: &mut Value) {
    object.with("spec", |spec| spec.with("service", |service| service.fill("port", 443)));
}
