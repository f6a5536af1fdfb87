//! Rules of `metadata` that hold for every kind.
//!
//! The registry calls [`validate_create`] before a kind's `validate`, and [`validate_update`] before its
//! `validate_update`; what both find goes into one answer. Upstream runs some of these rules again from a kind's own
//! update rules, and each run makes causes of its own: [`again_on_update`] and [`again_on_create`] are those runs.

use super::check::{IMMUTABLE, Node};
use super::labels;
use api_core::field::{BadValue, Errors, Path};
use api_core::names;
use api_schema::row::Row;
use serde_json::Value;
use std::collections::HashSet;

/// A check of a name (`false`) or of what a name is generated from (`true`).
pub(super) type NameCheck = fn(&str, bool) -> Vec<String>;

/// Checks the metadata of an object to be created, its namespace and name filled in.
pub fn validate_create(row: &Row, object: &Value, errors: &mut Errors) {
    if row.hooks.metadata_last {
        return;
    }
    let meta =
        Meta { namespaced: Some(row.namespaced), kube_finalizers: !is_generic(&row.gvr.group) && row.custom.is_none() };
    meta.check(object, row.hooks.validate_name.unwrap_or(names::name_is_dns_subdomain), errors);
}

/// Checks the metadata of a new object of a kind whose own rules do not, when nothing else is wrong with it.
pub fn validate_create_last(row: &Row, object: &Value, errors: &mut Errors) {
    if row.hooks.metadata_last && errors.is_empty() {
        let meta = Meta { namespaced: Some(row.namespaced), kube_finalizers: false };
        meta.check(object, names::name_is_path_segment, errors);
    }
}

/// Checks the metadata of an update. `metadata` of both has its server-set fields in place.
pub fn validate_update(new: &Value, old: &Value, errors: &mut Errors) {
    Meta { namespaced: None, kube_finalizers: false }.check(new, names::name_is_path_segment, errors);
    update(new, old, errors);
}

/// Groups whose kinds lack the rule that a finalizer without a domain must be a known one.
fn is_generic(group: &str) -> bool {
    matches!(
        group,
        "admissionregistration.k8s.io"
            | "apiextensions.k8s.io"
            | "apiregistration.k8s.io"
            | "coordination.k8s.io"
            | "node.k8s.io"
            | "policy"
    )
}

/// The group and the kind that an object says it is of.
fn kind_of(object: &Value) -> (&str, &str) {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or("");
    (api_core::gvk::split_api_version(text("apiVersion")).0, text("kind"))
}

/// What a kind's own update rules find in metadata once more.
pub(super) fn again_on_update(new: &Value, old: &Value, e: &mut Errors) {
    update(new, old, e);
    if !is_generic(kind_of(new).0) {
        kube_finalizers(new, e);
    }
}

/// What a kind's own rules for a new object find in metadata, when an update runs them.
pub(super) fn again_on_create(new: &Value, e: &mut Errors) {
    let (group, kind) = kind_of(new);
    let name_check = super::for_kind(group, kind).validate_name.unwrap_or(names::name_is_dns_subdomain);
    Meta { namespaced: None, kube_finalizers: !is_generic(group) }.check(new, name_check, e);
}

/// What a write of the status leaves as it is where it may not touch the metadata.
pub(super) fn reset_by_status(subresource: &str) -> &'static [&'static [&'static str]] {
    match subresource {
        "status" => &[&["spec"], &["metadata"]],
        _ => &[&["status"]],
    }
}

/// The same with a check of the name, and of the namespace of a kind that has one.
pub(super) fn again_with_name(new: &Value, name_check: NameCheck, e: &mut Errors) {
    Meta { namespaced: Some(true), kube_finalizers: true }.check(new, name_check, e);
}

/// Checks the metadata of a resource inside of another one, at `path`. It may have no name.
pub(crate) fn validate_embedded(metadata: &Value, path: &Path<'_>, e: &mut Errors) {
    let meta = Node::new(metadata, *path);
    for field in ["generateName", "name"] {
        let name = meta.at(field);
        if !name.is_empty() {
            for why in names::name_is_path_segment(name.str(), field == "generateName") {
                name.invalid(&why, e);
            }
        }
    }
    let namespace = meta.at("namespace");
    if !namespace.is_empty() {
        namespace.required_text(names::is_dns1123_label, e);
    }
    meta.at("generation").non_negative(e);
    labels::labels(&meta.at("labels"), e);
    labels::annotations(&meta.at("annotations"), e);
    owner_references(&meta.at("ownerReferences"), e);
    finalizers(&meta.at("finalizers"), e);
}

/// Checks a map of labels or annotations (`field`) on its own.
pub(crate) fn validate_texts(field: &str, value: &Value, e: &mut Errors) {
    let metadata = Path::new("metadata");
    match field {
        "labels" => labels::labels(&Node::new(value, metadata.child("labels")), e),
        _ => labels::annotations(&Node::new(value, metadata.child("annotation")), e),
    }
}

struct Meta {
    /// `None` when nothing about namespaces is to be checked.
    namespaced: Option<bool>,
    kube_finalizers: bool,
}

impl Meta {
    fn check(&self, object: &Value, name_check: NameCheck, e: &mut Errors) {
        let root = Node::root(object);
        let meta = root.at("metadata");
        names_of(&meta, name_check, e);
        let namespace = meta.at("namespace");
        match self.namespaced {
            Some(true) => namespace.required_text(names::is_dns1123_label, e),
            Some(false) if !namespace.is_empty() => namespace.forbidden("not allowed on this type", e),
            _ => {}
        }
        meta.at("generation").non_negative(e);
        labels::labels(&meta.at("labels"), e);
        labels::annotations(&meta.at("annotations"), e);
        owner_references(&meta.at("ownerReferences"), e);
        finalizers(&meta.at("finalizers"), e);
        if self.kube_finalizers {
            kube_finalizers(object, e);
        }
    }
}

fn names_of(meta: &Node<'_, '_>, name_check: NameCheck, e: &mut Errors) {
    let prefix = meta.at("generateName");
    if !prefix.is_empty() {
        for why in name_check(prefix.str(), true) {
            prefix.invalid(&why, e);
        }
    }
    let name = meta.at("name");
    if name.required_because("name or generateName is required", e) {
        for why in name_check(name.str(), false) {
            name.invalid(&why, e);
        }
    }
}

fn owner_references(list: &Node<'_, '_>, e: &mut Errors) {
    let mut controllers: Vec<String> = Vec::new();
    for reference in list.items() {
        // Upstream names the field without its index.
        let at = Node::new(reference.value, list.path);
        let api_version = at.text("apiVersion");
        let version = api_version.split_once('/').map_or(api_version, |(_, version)| version);
        if version.is_empty() || version.contains('/') {
            e.invalid(&list.path.child("apiVersion"), api_version, "version must not be empty");
        }
        for field in ["kind", "name", "uid"] {
            if at.text(field).is_empty() {
                e.invalid(&list.path.child(field), at.text(field), &format!("{field} must not be empty"));
            }
        }
        if api_version == "v1" && at.text("kind") == "Event" {
            list.invalid("/v1, Kind=Event is disallowed from being an owner", e);
        }
        if at.at("controller").is_true() {
            controllers.push(format!("{}/{}", at.text("kind"), at.text("name")));
            if let [.., one, other] = controllers.as_slice() {
                let found = format!("Found \"true\" in references for {one} and {other}");
                list.invalid(&format!("Only one reference can have Controller set to true. {found}"), e);
            }
        }
    }
}

fn finalizers(list: &Node<'_, '_>, e: &mut Errors) {
    for finalizer in list.items() {
        for why in names::is_qualified_name(finalizer.str()) {
            e.invalid(&list.path, finalizer.value, &why);
        }
    }
    let has = |name: &str| list.items().any(|f| f.str() == name);
    if has("orphan") && has("foregroundDeletion") {
        list.invalid("finalizer orphan and foregroundDeletion cannot be both set", e);
    }
}

fn kube_finalizers(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    let meta = root.at("metadata");
    for finalizer in meta.at("finalizers").items() {
        let known = ["kubernetes", "orphan", "foregroundDeletion"].contains(&finalizer.str());
        if !finalizer.str().contains('/') && !known {
            finalizer.invalid("name is neither a standard finalizer name nor is it fully qualified", e);
        }
    }
}

/// What an update may not change in metadata, and what is looked at in those of any object.
pub(crate) fn update(new: &Value, old: &Value, e: &mut Errors) {
    let (new_root, old_root) = (Node::root(new), Node::root(old));
    let (meta, old_meta) = (new_root.at("metadata"), old_root.at("metadata"));
    if old_meta.has("deletionTimestamp") {
        no_new_finalizers(&meta, &old_meta, e);
    }
    if meta.at("generation").int_or_zero() < old_meta.at("generation").int_or_zero() {
        meta.at("generation").invalid("must not be decremented", e);
    }
    for field in ["name", "namespace", "uid", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let (new, old) = (meta.at(field), old_meta.at(field));
        if !new.is_empty() && new.value != old.value {
            match field {
                "deletionTimestamp" => e.invalid(&new.path, BadValue(api_core::go::time(new.str())), IMMUTABLE),
                _ => new.invalid(IMMUTABLE, e),
            }
        }
    }
    labels::labels(&meta.at("labels"), e);
    labels::annotations(&meta.at("annotations"), e);
    owner_references(&meta.at("ownerReferences"), e);
}

fn no_new_finalizers(meta: &Node<'_, '_>, old: &Node<'_, '_>, e: &mut Errors) {
    let had = old.get("finalizers");
    let list = meta.at("finalizers");
    let had: HashSet<&str> = had.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let is_new = |f: &Node<'_, '_>| !had.contains(f.str());
    let mut extra: Vec<String> = list.items().filter(is_new).map(|f| format!("{:?}", f.str())).collect();
    extra.sort_unstable();
    if !extra.is_empty() {
        let path: &Path<'_> = &list.path;
        let why = "no new finalizers can be added if the object is being deleted";
        e.forbidden(path, &format!("{why}, found new finalizers []string{{{}}}", extra.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn causes(e: &Errors) -> Vec<String> {
        e.0.iter().map(|e| format!("{} {}", e.kind.reason(), e.field)).collect()
    }

    #[test]
    fn bad_metadata_is_reported_by_field() {
        let object = json!({"metadata": {
            "generateName": "AB-", "namespace": "n", "labels": {"a/": "v", "b": "-"}, "annotations": {"UPPER": "x", "": "y"},
            "finalizers": ["x"], "ownerReferences": [{"apiVersion": "v1", "kind": "Event", "name": "e"}],
        }});
        let mut e = Errors::new();
        Meta { namespaced: Some(false), kube_finalizers: true }.check(&object, names::name_is_dns_subdomain, &mut e);
        assert_eq!(
            causes(&e),
            [
                "FieldValueInvalid metadata.generateName",
                "FieldValueRequired metadata.name",
                "FieldValueForbidden metadata.namespace",
                "FieldValueInvalid metadata.labels",
                "FieldValueInvalid metadata.labels",
                "FieldValueInvalid metadata.labels",
                "FieldValueInvalid metadata.annotations",
                "FieldValueInvalid metadata.annotations",
                "FieldValueInvalid metadata.ownerReferences.uid",
                "FieldValueInvalid metadata.ownerReferences",
                "FieldValueInvalid metadata.finalizers[0]",
            ]
        );
    }

    #[test]
    fn an_object_being_deleted_takes_no_new_finalizers() {
        let old = json!({"metadata": {"name": "a", "deletionTimestamp": "t", "finalizers": ["a/b"]}});
        let new = json!({"metadata": {"name": "a", "deletionTimestamp": "t", "finalizers": ["a/b", "a/c"]}});
        let mut e = Errors::new();
        update(&new, &old, &mut e);
        assert_eq!(causes(&e), ["FieldValueForbidden metadata.finalizers"]);
    }
}
