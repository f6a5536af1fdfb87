//! Cells of volumes and of what provides them.

use super::Cells;
use super::access::{age, at, count, flag, has, list, name, set_text_or, text, text_or};
use super::text::{access_modes, or_none};
use api_schema::row::Cell;
use serde_json::Value;

/// How a kind's cells are made.
pub fn cells(kind: &str) -> Option<Cells> {
    Some(match kind {
        "CSIDriver" => driver,
        "CSINode" => |o| vec![name(o), count(o, "spec.drivers").into(), age(o)],
        "PersistentVolume" => volume,
        "PersistentVolumeClaim" => claim,
        "StorageClass" => class,
        "VolumeAttachment" => attachment,
        _ => return None,
    })
}

fn phase(o: &Value) -> &str {
    if has(o, "metadata.deletionTimestamp") { "Terminating" } else { text(o, "status.phase") }
}

/// The storage class: an annotation of old goes before the field.
fn class_of(o: &Value) -> &str {
    let annotation = at(o, "metadata.annotations").get("volume.beta.kubernetes.io/storage-class");
    annotation.and_then(Value::as_str).unwrap_or_else(|| text(o, "spec.storageClassName"))
}

fn volume(o: &Value) -> Vec<Cell> {
    let claim = match has(o, "spec.claimRef") {
        true => format!("{}/{}", text(o, "spec.claimRef.namespace"), text(o, "spec.claimRef.name")),
        false => String::new(),
    };
    vec![
        name(o),
        text_or(o, "spec.capacity.storage", "0").into(),
        access_modes(list(o, "spec.accessModes")).into(),
        text(o, "spec.persistentVolumeReclaimPolicy").into(),
        phase(o).into(),
        claim.into(),
        class_of(o).into(),
        set_text_or(o, "spec.volumeAttributesClassName", "<unset>").into(),
        text(o, "status.reason").into(),
        age(o),
        set_text_or(o, "spec.volumeMode", "<unset>").into(),
    ]
}

fn claim(o: &Value) -> Vec<Cell> {
    let bound = !text(o, "spec.volumeName").is_empty();
    let capacity = if bound { text_or(o, "status.capacity.storage", "0") } else { "" };
    let modes = if bound { access_modes(list(o, "status.accessModes")) } else { String::new() };
    vec![
        name(o),
        phase(o).into(),
        text(o, "spec.volumeName").into(),
        capacity.into(),
        modes.into(),
        class_of(o).into(),
        set_text_or(o, "spec.volumeAttributesClassName", "<unset>").into(),
        age(o),
        set_text_or(o, "spec.volumeMode", "<unset>").into(),
    ]
}

fn class(o: &Value) -> Vec<Cell> {
    const DEFAULT: [&str; 2] =
        ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
    let annotations = at(o, "metadata.annotations");
    let mut shown = text(o, "metadata.name").to_owned();
    if DEFAULT.iter().any(|key| annotations.get(*key).is_some_and(|v| v == "true")) {
        shown.push_str(" (default)");
    }
    vec![
        shown.into(),
        text(o, "provisioner").into(),
        set_text_or(o, "reclaimPolicy", "Delete").into(),
        set_text_or(o, "volumeBindingMode", "Immediate").into(),
        flag(o, "allowVolumeExpansion").into(),
        age(o),
    ]
}

fn driver(o: &Value) -> Vec<Cell> {
    let audiences = list(o, "spec.tokenRequests").iter().map(|r| text(r, "audience")).collect::<Vec<_>>().join(",");
    let tokens = if has(o, "spec.tokenRequests") { audiences } else { "<unset>".into() };
    let modes = list(o, "spec.volumeLifecycleModes").iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",");
    vec![
        name(o),
        at(o, "spec.attachRequired").as_bool().unwrap_or(true).into(),
        flag(o, "spec.podInfoOnMount").into(),
        flag(o, "spec.storageCapacity").into(),
        tokens.into(),
        flag(o, "spec.requiresRepublish").into(),
        or_none(modes).into(),
        age(o),
    ]
}

fn attachment(o: &Value) -> Vec<Cell> {
    vec![
        name(o),
        text(o, "spec.attacher").into(),
        text(o, "spec.source.persistentVolumeName").into(),
        text(o, "spec.nodeName").into(),
        flag(o, "status.attached").into(),
        age(o),
    ]
}
