//! The rules of `metadata` that hold for every kind.
//!
//! On an update upstream checks metadata twice itself, and its kinds once or twice again; clients see every finding in
//! `details.causes`, so the findings are repeated here as often.

use api_core::field::{BadValue, Errors, Path};
use api_core::gvk::split_api_version;
use api_core::meta::Meta;
use api_core::names;
use api_schema::row::Row;
use serde_json::{Map, Value};

const ANNOTATIONS_BYTES_MAX: usize = 256 << 10;
const META: Path<'static> = Path::new("metadata");

/// Checks the metadata of an object that is created.
pub(crate) fn check_create(row: &Row, object: &Value, errors: &mut Errors) {
    check(row, object, errors, row.hooks.validate_name.unwrap_or(names::name_is_dns_subdomain));
    check_finalizer_names(row, object, errors);
}

/// Checks the metadata of an object that is updated.
pub(crate) fn check_update(row: &Row, new: &Value, old: &Value, errors: &mut Errors) {
    check(row, new, errors, names::name_is_path_segment);
    for _ in 0..2 {
        check_change(row, new, old, errors);
    }
    check_finalizer_names(row, new, errors);
    check(row, new, errors, row.hooks.validate_name.unwrap_or(names::name_is_dns_subdomain));
    check_finalizer_names(row, new, errors);
}

fn check(row: &Row, object: &Value, errors: &mut Errors, validate_name: fn(&str, bool) -> Vec<String>) {
    let generate = object.meta_str("generateName");
    if !generate.is_empty() {
        for why in validate_name(generate, true) {
            errors.invalid(&META.child("generateName"), generate, &why);
        }
    }
    let name = object.name();
    if name.is_empty() {
        errors.required(&META.child("name"), "name or generateName is required");
    } else {
        for why in validate_name(name, false) {
            errors.invalid(&META.child("name"), name, &why);
        }
    }
    check_namespace(row, object.namespace(), errors);
    let generation = object.metadata().and_then(|m| m.get("generation")).and_then(Value::as_i64).unwrap_or(0);
    if generation < 0 {
        errors.invalid(&META.child("generation"), generation, "must be greater than or equal to 0");
    }
    check_labels(object, errors);
    check_annotations(object, errors);
    check_owners(object, errors);
    check_finalizers(object, errors);
}

fn check_namespace(row: &Row, namespace: &str, errors: &mut Errors) {
    let path = META.child("namespace");
    match (row.namespaced, namespace.is_empty()) {
        (true, true) => errors.required(&path, ""),
        (true, false) => {
            for why in names::is_dns1123_label(namespace) {
                errors.invalid(&path, namespace, &why);
            }
        }
        (false, false) => errors.forbidden(&path, "not allowed on this type"),
        (false, true) => {}
    }
}

fn map<'a>(object: &'a Value, field: &str) -> Option<&'a Map<String, Value>> {
    object.metadata()?.get(field)?.as_object()
}

fn check_labels(object: &Value, errors: &mut Errors) {
    let path = META.child("labels");
    for (key, value) in map(object, "labels").into_iter().flatten() {
        for why in names::is_qualified_name(key) {
            errors.invalid(&path, key.as_str(), &why);
        }
        let value = value.as_str().unwrap_or("");
        for why in names::is_label_value(value) {
            errors.invalid(&path, value, &why);
        }
    }
}

fn check_annotations(object: &Value, errors: &mut Errors) {
    let path = META.child("annotations");
    let mut bytes = 0;
    for (key, value) in map(object, "annotations").into_iter().flatten() {
        for why in names::is_qualified_name(&key.to_lowercase()) {
            errors.invalid(&path, key.as_str(), &why);
        }
        bytes += key.len() + value.as_str().map_or(0, str::len);
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        errors.too_long(&path, ANNOTATIONS_BYTES_MAX);
    }
}

fn check_owners(object: &Value, errors: &mut Errors) {
    let path = META.child("ownerReferences");
    let owners = object.metadata().and_then(|m| m.get("ownerReferences")).and_then(Value::as_array);
    let mut controller: Option<&Value> = None;
    for owner in owners.into_iter().flatten() {
        let text = |field: &str| owner.get(field).and_then(Value::as_str).unwrap_or("");
        let api_version = text("apiVersion");
        if split_api_version(api_version).1.is_empty() {
            errors.invalid(&path.child("apiVersion"), api_version, "version must not be empty");
        }
        for field in ["kind", "name", "uid"] {
            if text(field).is_empty() {
                errors.invalid(&path.child(field), "", &format!("{field} must not be empty"));
            }
        }
        if owner.get("controller").and_then(Value::as_bool) != Some(true) {
            continue;
        }
        if let Some(first) = controller.replace(owner) {
            let name = |v: &Value| v.get("name").and_then(Value::as_str).unwrap_or("").to_owned();
            let why = format!(
                "Only one reference can have Controller set to true. Found \"true\" in references for {} and {}",
                name(first),
                name(owner)
            );
            errors.invalid(&path, BadValue::from(&Value::Array(owners.cloned().unwrap_or_default())), &why);
        }
    }
}

fn check_finalizers(object: &Value, errors: &mut Errors) {
    let path = META.child("finalizers");
    let all = object.finalizers();
    for name in &all {
        for why in names::is_qualified_name(name) {
            errors.invalid(&path, *name, &why);
        }
    }
    if all.contains(&"orphan") && all.contains(&"foregroundDeletion") {
        let why = "finalizer foregroundDeletion and finalizer orphan cannot be both set";
        errors.invalid(&path, BadValue(format!("{all:?}")), why);
    }
}

/// Names without a domain are only the old ones; custom resources are not checked for it.
fn check_finalizer_names(row: &Row, object: &Value, errors: &mut Errors) {
    if row.storage_prefix.matches('/').count() > 2 && row.gvr.group.contains('.') && !row.gvr.group.ends_with(".k8s.io")
    {
        return;
    }
    let path = META.child("finalizers");
    for (i, name) in object.finalizers().into_iter().enumerate() {
        if !name.contains('/') && !matches!(name, "kubernetes" | "orphan" | "foregroundDeletion") {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            errors.invalid(&path.index(i), name, why);
        }
    }
}

fn check_change(_row: &Row, new: &Value, old: &Value, errors: &mut Errors) {
    if old.is_deleting() {
        let known = old.finalizers();
        let added: Vec<&str> = new.finalizers().into_iter().filter(|f| !known.contains(f)).collect();
        if !added.is_empty() {
            let shown: Vec<String> = added.iter().map(|f| format!("{f:?}")).collect();
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                shown.join(", ")
            );
            errors.forbidden(&META.child("finalizers"), &why);
        }
    }
    for field in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let value = |v: &Value| v.metadata().and_then(|m| m.get(field)).cloned().unwrap_or(Value::Null);
        let now = value(new);
        if now != value(old) {
            errors.invalid(&META.child(field), &now, "field is immutable");
        }
    }
    check_labels(new, errors);
    check_annotations(new, errors);
    check_owners(new, errors);
}
