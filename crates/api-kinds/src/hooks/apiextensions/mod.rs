//! Kinds of the group apiextensions.k8s.io.

use super::fill::Fill;
use api_core::names;
use api_schema::row::{Generation, Hooks, WriteContext};
use serde_json::{Value, json};

mod definition;
mod openapi;
mod rules;
mod structural;

pub(crate) use definition::approval_of;
pub(crate) use structural::errors_of as structural_errors;

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    match kind {
        "CustomResourceDefinition" => {
            &const {
                Hooks {
                    default: Some(default_definition),
                    prepare_create: Some(prepare_create),
                    prepare_update: Some(prepare_update),
                    validate: Some(definition::validate),
                    validate_update: Some(definition::validate_update),
                    validate_name: Some(names::name_is_dns_subdomain),
                    mark_deleted: Some(mark_deleted),
                    returns_deleted: true,
                    generation: Generation::SPEC,
                    unconditional_update: false,
                    reset_fields: Some(super::meta::reset_by_status),
                    ..Hooks::NONE
                }
            }
        }
        _ => &Hooks::NONE,
    }
}

fn default_definition(object: &mut Value) {
    let spec = object.make("spec");
    let names = spec.make("names");
    let kind = names.text("kind").to_owned();
    for (field, value) in [("singular", kind.to_lowercase()), ("listKind", format!("{kind}List"))] {
        if !kind.is_empty() && names.text(field).is_empty() {
            names[field] = value.into();
        }
    }
    let stored: Vec<Value> = {
        let versions = spec.get("versions").and_then(Value::as_array).into_iter().flatten();
        versions.filter(|v| v["storage"] == true).map(|v| v.text("name").into()).take(1).collect()
    };
    if spec.lacks("conversion") {
        spec["conversion"] = json!({"strategy": "None"});
    }
    spec.with("conversion", |conversion| {
        conversion.with("webhook", |webhook| {
            webhook.with("clientConfig", |client| client.with("service", |service| service.fill("port", 443)));
        });
    });
    object.with("status", |status| {
        if status["storedVersions"].as_array().is_none_or(Vec::is_empty) {
            status["storedVersions"] = stored.into();
        }
    });
}

/// The first DELETE holds the definition back until its objects are gone.
fn mark_deleted(object: &mut Value, now: &str) {
    use api_core::meta::Meta;
    let cleanup = crate::custom::CLEANUP;
    if !object.finalizers().contains(&cleanup) {
        let mut all: Vec<Value> = object.finalizers().into_iter().map(Value::from).collect();
        all.push(cleanup.into());
        object.metadata_mut().insert("finalizers".into(), all.into());
    }
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    crate::custom::set_condition(object, ["Terminating", "True", "InstanceDeletionPending", message], now);
}

/// Fields to select by need a feature that is off in this version.
fn drop_disabled(object: &mut Value) {
    object.with("spec", |spec| {
        spec.each_mut("versions", |version| drop(version.as_object_mut().map(|map| map.remove("selectableFields"))));
    });
}

/// Nothing is accepted yet, and what is stored will be stored in one version.
fn prepare_create(_: &WriteContext<'_>, object: &mut Value) {
    let mut status = json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}});
    status["storedVersions"] = storage_versions(object).map(Value::from).collect();
    object["status"] = status;
    drop_disabled(object);
}

fn prepare_update(context: &WriteContext<'_>, new: &mut Value, _: &Value) {
    if context.subresource == "status" {
        return;
    }
    drop_disabled(new);
    let stored: Vec<String> = storage_versions(new).map(str::to_owned).collect();
    let Some(Value::Array(known)) = new.pointer_mut("/status/storedVersions") else { return };
    for version in stored {
        if !known.iter().any(|v| *v == version) {
            known.push(version.into());
        }
    }
}

/// The first one; that there is only one is found out later.
fn storage_versions(object: &Value) -> impl Iterator<Item = &str> {
    let versions = object.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten();
    versions.filter(|v| v["storage"] == true).map(|v| v.text("name")).take(1)
}
