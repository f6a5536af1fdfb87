//! Defaults of storage classes, CSI drivers and volume attachments.

use crate::hooks::core::volume::default_inline_volume;
use crate::hooks::fill::Fill;
use serde_json::{Value, json};

pub(super) fn storage_class(object: &mut Value) {
    object.fill("reclaimPolicy", "Delete");
    object.fill("volumeBindingMode", "Immediate");
}

pub(super) fn csi_driver(object: &mut Value) {
    let spec = object.make("spec");
    spec.fill("attachRequired", true);
    spec.fill("podInfoOnMount", false);
    spec.fill("storageCapacity", false);
    spec.fill("fsGroupPolicy", "ReadWriteOnceWithFSType");
    spec.fill("requiresRepublish", false);
    spec.fill("seLinuxMount", false);
    if spec["volumeLifecycleModes"].as_array().is_none_or(Vec::is_empty) {
        spec["volumeLifecycleModes"] = json!(["Persistent"]);
    }
}

pub(super) fn volume_attachment(object: &mut Value) {
    object.with("spec", |spec| {
        spec.with("source", |source| source.with("inlineVolumeSpec", default_inline_volume));
    });
}
