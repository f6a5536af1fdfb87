//! Kinds of the group apiregistration.k8s.io.

use super::fill::Fill;
use api_schema::row::Hooks;
use serde_json::Value;

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    match kind {
        "APIService" => &const { Hooks { default: Some(default_api_service), ..Hooks::NONE } },
        _ => &Hooks::NONE,
    }
}

fn default_api_service(object: &mut Value) {
    object.with("spec", |spec| spec.with("service", |service| service.fill("port", 443)));
}
