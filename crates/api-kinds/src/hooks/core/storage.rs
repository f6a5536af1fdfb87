//! Persistent volumes and claims.

use super::{claim, persistent_sources, pod, resources, volume};
use crate::hooks::check::Node;
use crate::hooks::fill::Fill;
use crate::hooks::meta;
use api_core::field::{BadValue, Errors, Path};
use api_core::{names, time};
use api_schema::row::{Hooks, WriteContext};
use serde_json::{Value, json};

pub(super) static VOLUME: Hooks = Hooks {
    default: Some(volume::default_persistent_volume),
    prepare_create: Some(prepare_volume),
    prepare_update: Some(prepare_volume_update),
    validate: Some(validate_volume),
    validate_update: Some(update_volume),
    warnings: Some(volume_warnings),
    ..Hooks::NONE
};

pub(super) static CLAIM: Hooks = Hooks {
    default: Some(volume::default_claim),
    prepare_create: Some(prepare_claim),
    prepare_update: Some(prepare_claim_update),
    validate: Some(validate_claim),
    validate_update: Some(update_claim),
    warnings: Some(claim_warnings),
    ..Hooks::NONE
};

/// What upstream says of a field that an inline volume may not have.
const INLINE: &str = "may not be specified in the context of inline volumes";
/// The secret that a volume's driver needs to expand it.
const EXPAND_SECRET: &str = "controllerExpandSecretRef";
/// A field of a feature that is off in this version.
const ATTRIBUTES_CLASS: &str = "volumeAttributesClassName";

/// When a volume's phase changed last; who changes the phase may say when.
const SINCE: &str = "lastPhaseTransitionTime";

/// Takes a field away unless it was there before.
fn drop_new(of: &mut Value, field: &str, was: &Value) {
    if was.lacks(field)
        && let Some(map) = of.as_object_mut()
    {
        map.remove(field);
    }
}

fn prepare_volume(context: &WriteContext<'_>, volume: &mut Value) {
    let now = time::format_unix_s(context.now_unix_s);
    volume["status"] = json!({"phase": "Pending", "lastPhaseTransitionTime": now});
}

fn prepare_volume_update(context: &WriteContext<'_>, new: &mut Value, old: &Value) {
    if context.subresource != "status" {
        return;
    }
    let (status, was) = (new.make("status"), &old["status"]);
    let said = !status.lacks(SINCE) && status[SINCE] != was[SINCE];
    if status["phase"] != was["phase"] {
        if !said {
            status[SINCE] = time::format_unix_s(context.now_unix_s).into();
        }
    } else if status.lacks(SINCE) {
        status.adopt(SINCE, was);
    }
}

fn validate_volume(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    volume_spec(&root.at("spec"), root.at("metadata").text("name"), e);
}

/// The spec of a persistent volume of that name.
fn volume_spec(spec: &Node<'_, '_>, name: &str, e: &mut Errors) {
    let (modes, capacity) = (spec.at("accessModes"), spec.at("capacity"));
    modes.required(e);
    claim::access_modes(&modes, e);
    capacity.required(e);
    if !capacity.has("storage") || capacity.len() > 1 {
        let none = || BadValue("core.ResourceList(nil)".into());
        let bad = if capacity.present() { capacity.value.into() } else { none() };
        e.not_supported(&capacity.path, bad, &["storage"]);
    }
    for (_, amount) in capacity.entries() {
        resources::positive(&amount, e);
    }
    let policy = spec.at("persistentVolumeReclaimPolicy");
    if !policy.is_empty() {
        policy.one_of(&["Delete", "Recycle", "Retain"], e);
    }
    let affinity = spec.at("nodeAffinity");
    let required = affinity.at("required");
    if required.present() {
        pod::node_selector(&required, e);
    } else if affinity.present() {
        required.path_required("must specify required node constraints", e);
    }
    persistent_sources::validate(spec, name, e);
    if first_source(spec) == Some("local") && !affinity.present() {
        affinity.path_required("Local volume requires node affinity", e);
    }
    let host_path = spec.at("hostPath");
    if is_root(host_path.text("path")) && policy.str() == "Recycle" {
        policy.forbidden("may not be 'recycle' for a hostPath mount of '/'", e);
    }
    spec.at("storageClassName").text_if_any(names::is_dns1123_subdomain, e);
    spec.at("volumeMode").one_of_if_any(&["Block", "Filesystem"], e);
}

/// The spec of a volume that a volume attachment carries with it.
pub(in crate::hooks) fn inline_volume_spec(spec: &Node<'_, '_>, e: &mut Errors) {
    for field in ["claimRef", "capacity"] {
        if !spec.at(field).is_empty() || (field == "claimRef" && spec.has(field)) {
            spec.at(field).forbidden(INLINE, e);
        }
    }
    if !spec.has("csi") {
        spec.at("csi").path_required("has to be specified in the context of inline volumes", e);
    }
    let modes = spec.at("accessModes");
    modes.required(e);
    claim::access_modes(&modes, e);
    if !matches!(spec.text("persistentVolumeReclaimPolicy"), "" | "Retain") {
        let why = "may only be Retain in the context of inline volumes";
        spec.at("persistentVolumeReclaimPolicy").forbidden(why, e);
    }
    if spec.has("nodeAffinity") {
        spec.at("nodeAffinity").forbidden(INLINE, e);
    }
    persistent_sources::validate(spec, "", e);
    if !spec.at("storageClassName").is_empty() {
        spec.at("storageClassName").forbidden(INLINE, e);
    }
    if spec.has("volumeMode") && spec.text("volumeMode") != "Filesystem" {
        let why = "may not specify volumeMode other than Filesystem in the context of inline volumes";
        spec.at("volumeMode").forbidden(why, e);
    }
}

fn first_source<'v>(spec: &Node<'v, '_>) -> Option<&'static str> {
    persistent_sources::names().find(|field| spec.has(field))
}

/// Whether a path leads to the root directory, written in whatever way.
fn is_root(path: &str) -> bool {
    path.starts_with('/') && path.split('/').all(|part| part.is_empty() || part == ".")
}

fn update_volume(context: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    if context.subresource == "status" {
        meta::again_on_update(new, old, e);
        return;
    }
    for _ in 0..2 {
        meta::again_on_create(new, e);
        validate_volume(new, e);
    }
    let (root, old_root) = (Node::root(new), Node::root(old));
    let (spec, old_spec) = (root.at("spec"), old_root.at("spec"));
    if !same_source(&spec, &old_spec) {
        let why = "spec.persistentvolumesource is immutable after creation";
        spec.at("persistentvolumesource").forbidden(why, e);
    }
    same_mode(&spec, &old_spec, e);
    if old_spec.has("nodeAffinity") && !same_affinity(spec.get("nodeAffinity"), old_spec.get("nodeAffinity")) {
        let path = Path::new("nodeAffinity");
        let why = "field is immutable, except for updating from beta label to GA";
        Node::new(spec.get("nodeAffinity"), path).changed(why, e);
    }
    let class = spec.at(ATTRIBUTES_CLASS);
    if class.value != old_spec.get(ATTRIBUTES_CLASS) {
        class.forbidden("update is forbidden when the VolumeAttributesClass feature gate is disabled", e);
    }
}

/// Labels of nodes that have a newer name, to which a volume may move.
const RENAMED: [(&str, &str); 5] = [
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
];

/// Whether an affinity is what it was, but for labels in their newer name. Upstream takes an empty key for the newer
/// name of a label that has none; other rules refuse it.
fn same_affinity(new: &Value, old: &Value) -> bool {
    let mut new = new.clone();
    let list = |of: &Value, field: &str| of[field].as_array().map_or(0, Vec::len);
    for i in 0..list(&new["required"], "nodeSelectorTerms") {
        for j in 0..list(&new["required"]["nodeSelectorTerms"][i], "matchExpressions") {
            let was = &old["required"]["nodeSelectorTerms"][i]["matchExpressions"][j]["key"];
            let renamed = RENAMED.iter().find(|(name, _)| *name == *was).map_or("", |(_, name)| name);
            let key = &mut new["required"]["nodeSelectorTerms"][i]["matchExpressions"][j]["key"];
            if *key == renamed && !was.is_null() {
                *key = was.clone();
            }
        }
    }
    new == *old
}

/// Upstream names the field without its place.
fn same_mode(spec: &Node<'_, '_>, old: &Node<'_, '_>, e: &mut Errors) {
    let mode = Node::new(spec.get("volumeMode"), Path::new("volumeMode"));
    mode.immutable(&old.at("volumeMode"), e);
}

/// Whether the source is what it was. A CSI volume that names no secret for its expansion may get one.
fn same_source(new: &Node<'_, '_>, old: &Node<'_, '_>) -> bool {
    let may_get = old.has("csi") && !old.at("csi").has(EXPAND_SECRET);
    let comparable = |spec: &Node<'_, '_>| -> Vec<Value> {
        let mut all: Vec<Value> = persistent_sources::of(spec).into_iter().cloned().collect();
        if may_get {
            all.iter_mut().filter_map(Value::as_object_mut).for_each(|source| drop(source.remove(EXPAND_SECRET)));
        }
        all
    };
    comparable(new) == comparable(old)
}

fn volume_warnings(new: &Value, _: Option<&Value>) -> Vec<String> {
    let root = Node::root(new);
    let spec = root.at("spec");
    let mut found = Vec::new();
    let metadata = root.at("metadata");
    let annotations = metadata.at("annotations");
    if annotations.has("volume.beta.kubernetes.io/storage-class") {
        let path = annotations.key("volume.beta.kubernetes.io/storage-class").path.to_string();
        found.push(format!("{path}: deprecated since v1.8; use \"storageClassName\" attribute instead"));
    }
    if spec.text("persistentVolumeReclaimPolicy") == "Recycle" {
        found.push("spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".into());
    }
    for (field, why) in [
        ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
        ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
        ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
        ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
        ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
        ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
    ] {
        if spec.has(field) {
            let shown = if field == "storageos" { "storageOS" } else { field };
            found.push(format!("{}: {why}", spec.path.child(shown)));
        }
    }
    fraction(&spec.at("capacity"), &mut found);
    found
}

fn fraction(list: &Node<'_, '_>, found: &mut Vec<String>) {
    let storage = list.key("storage");
    if storage.quantity().is_some_and(|q| resources::is_fractional(&q)) {
        let text = storage.str();
        found.push(format!("{}: fractional byte value {text:?} is invalid, must be an integer", storage.path));
    }
}

fn prepare_claim(_: &WriteContext<'_>, claim: &mut Value) {
    claim["status"] = json!({"phase": "Pending"});
    let spec = claim.make("spec");
    drop_unknown_source(spec);
    drop_disabled(spec, &Value::Null);
    one_data_source(spec);
}

/// What is neither a claim nor a snapshot was never a source.
fn drop_unknown_source(spec: &mut Value) {
    let known = |s: &Value| match s.text("kind") {
        "PersistentVolumeClaim" => s.text("apiGroup").is_empty(),
        "VolumeSnapshot" => s.text("apiGroup") == "snapshot.storage.k8s.io",
        _ => false,
    };
    if !spec.lacks("dataSource") && !known(&spec["dataSource"]) {
        spec.as_object_mut().map(|map| map.remove("dataSource"));
    }
}

/// A source in another namespace, and a class of attributes, need features that are off in this version.
fn drop_disabled(spec: &mut Value, was: &Value) {
    if !spec["dataSourceRef"].text("namespace").is_empty() {
        drop_new(spec, "dataSourceRef", was);
    }
    drop_new(spec, ATTRIBUTES_CLASS, was);
}

/// `dataSource` and `dataSourceRef` are two names of the same, unless it lies in another namespace.
fn one_data_source(spec: &mut Value) {
    match (spec.lacks("dataSource"), spec.lacks("dataSourceRef")) {
        (false, true) => spec["dataSourceRef"] = spec["dataSource"].clone(),
        (true, false) if spec["dataSourceRef"].text("namespace").is_empty() => {
            spec["dataSource"] = spec["dataSourceRef"].clone();
        }
        _ => {}
    }
}

fn prepare_claim_update(context: &WriteContext<'_>, new: &mut Value, old: &Value) {
    if context.subresource == "status" {
        new.adopt("spec", old);
        for field in [
            "allocatedResources",
            "allocatedResourceStatuses",
            "currentVolumeAttributesClassName",
            "modifyVolumeStatus",
        ] {
            new.with("status", |status| drop_new(status, field, &old["status"]));
        }
        return;
    }
    new.adopt("status", old);
    if old["spec"].lacks("dataSource") {
        drop_unknown_source(new.make("spec"));
    }
    drop_disabled(new.make("spec"), &old["spec"]);
    one_data_source(new.make("spec"));
}

fn validate_claim(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    claim::spec(&root.at("spec"), e);
}

fn update_claim(context: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    let (root, old_root) = (Node::root(new), Node::root(old));
    if context.subresource == "status" {
        meta::again_on_update(new, old, e);
        let status = root.at("status");
        let capacity = status.at("capacity");
        for (_, amount) in capacity.entries() {
            if amount.quantity().is_some_and(|q| q.sign() < 0) {
                amount.invalid("must be a valid resource quantity", e);
            }
        }
        return;
    }
    meta::again_on_create(new, e);
    validate_claim(new, e);
    meta::again_on_update(new, old, e);
    meta::again_on_create(new, e);
    validate_claim(new, e);
    let (spec, old_spec) = (root.at("spec"), old_root.at("spec"));
    let mut same = spec.value.clone();
    if old_spec.at("volumeName").is_empty()
        && let Some(map) = same.as_object_mut()
    {
        map.remove("volumeName");
    }
    let bound = root.at("status").text("phase") == "Bound";
    let asked = |spec: &Node<'_, '_>| resources::get(&spec.get("resources")["requests"], "storage");
    if bound && same["resources"]["requests"]["storage"].is_string() {
        same["resources"]["requests"]["storage"] = old_spec.get("resources")["requests"]["storage"].clone();
    }
    if same != *old_spec.value {
        let why = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n";
        spec.forbidden(why, e);
    }
    let (now, before) = (asked(&spec), asked(&old_spec));
    if now.unwrap_or(api_core::quantity::Quantity::ZERO) < before.unwrap_or(api_core::quantity::Quantity::ZERO) {
        let (resources, requests) = (spec.at("resources"), "requests");
        let requests = resources.at(requests);
        requests.at("storage").forbidden("field can not be less than previous value", e);
    }
    same_mode(&spec, &old_spec, e);
}

fn claim_warnings(new: &Value, _: Option<&Value>) -> Vec<String> {
    let root = Node::root(new);
    let mut found = Vec::new();
    let (metadata, spec) = (root.at("metadata"), root.at("spec"));
    let annotations = metadata.at("annotations");
    if annotations.has("volume.beta.kubernetes.io/storage-class") {
        let path = annotations.key("volume.beta.kubernetes.io/storage-class").path.to_string();
        found.push(format!("{path}: deprecated since v1.8; use \"storageClassName\" attribute instead"));
    }
    claim_spec_warnings(&spec, &mut found);
    found
}

/// Warnings about the spec of a claim.
pub(in crate::hooks) fn claim_spec_warnings(spec: &Node<'_, '_>, found: &mut Vec<String>) {
    let resources = spec.at("resources");
    fraction(&resources.at("requests"), found);
    fraction(&resources.at("limits"), found);
}
