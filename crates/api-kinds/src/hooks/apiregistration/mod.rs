//! Kinds of the group apiregistration.k8s.io.

use super::check::Node;
use super::fill::Fill;
use super::meta;
use api_core::field::Errors;
use api_core::{names, time};
use api_schema::row::{Hooks, KeptMetadata, WriteContext};
use serde_json::{Value, json};

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    match kind {
        "APIService" => {
            &const {
                Hooks {
                    default: Some(default_api_service),
                    prepare_create: Some(prepare_create),
                    status_keeps: KeptMetadata::USUAL,
                    validate: Some(validate),
                    validate_update: Some(update),
                    // The name of the core group's service, `v1.`, is no DNS name.
                    validate_name: Some(names::name_is_path_segment),
                    unconditional_update: false,
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

/// What this server answers itself is available at once.
fn prepare_create(context: &WriteContext<'_>, object: &mut Value) {
    object["status"] = if object["spec"].lacks("service") {
        json!({"conditions": [{
            "type": "Available", "status": "True", "lastTransitionTime": time::format_unix_s(context.now_unix_s),
            "reason": "Local", "message": "Local APIServices are always available",
        }]})
    } else {
        json!({})
    };
}

fn update(context: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    meta::again_on_update(new, old, e);
    meta::again_on_create(new, e);
    validate(new, e);
    if context.subresource == "status" {
        let root = Node::root(new);
        let status = root.at("status");
        for condition in status.at("conditions").items() {
            condition.at("status").one_of(&["True", "False", "Unknown"], e);
        }
    }
}

fn validate(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    let (meta, spec) = (root.at("metadata"), root.at("spec"));
    let (group, version) = (spec.at("group"), spec.at("version"));
    let name = format!("{}.{}", version.str(), group.str());
    for field in ["generateName", "name"] {
        let given = meta.at(field);
        if !given.is_empty() && names::is_path_segment(given.str()).is_empty() && given.str() != name {
            given.invalid(&format!("must be `spec.version+\".\"+spec.group`: {name:?}"), e);
        }
    }
    if group.is_empty() && version.str() != "v1" {
        group.path_required("only v1 may have an empty group and it better be legacy kube", e);
    }
    group.text_if_any(names::is_dns1123_subdomain, e);
    for why in names::is_dns1035_label(version.str()) {
        e.invalid(&version.path, version.str(), &why);
    }
    for (field, max) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let priority = spec.at(field);
        if !(1..=max).contains(&priority.int_or_zero()) {
            e.invalid(&priority.path, priority.int_or_zero(), &format!("must be positive and less than {max}"));
        }
    }
    service(&spec, e);
}

fn service(spec: &Node<'_, '_>, e: &mut Errors) {
    let (service, bundle, insecure) = (spec.at("service"), spec.at("caBundle"), spec.at("insecureSkipTLSVerify"));
    if !service.present() {
        if !bundle.is_empty() {
            let bytes = bundle.str().trim_end_matches('=').len() * 3 / 4;
            e.invalid(&bundle.path, format!("{bytes} bytes").as_str(), "local APIServices may not have a caBundle");
        }
        if insecure.is_true() {
            insecure.invalid("local APIServices may not have insecureSkipTLSVerify", e);
        }
        return;
    }
    service.at("namespace").required(e);
    service.at("name").required(e);
    let port = service.at("port");
    let wrong = names::is_port_number(port.int_or_zero());
    if !wrong.is_empty() {
        e.invalid(&port.path, port.int_or_zero(), &format!("port is not valid: {}", wrong.join(", ")));
    }
    if insecure.is_true() && !bundle.is_empty() {
        insecure.invalid("may not be true if caBundle is present", e);
    }
}
