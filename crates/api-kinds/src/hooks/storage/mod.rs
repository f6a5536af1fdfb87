//! Kinds of the group storage.k8s.io.

use super::meta;
use api_schema::row::{Generation, Hooks, KeptMetadata};

mod attachment;
mod class;
mod csi;
mod defaults;

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    match kind {
        "CSIDriver" => &CSI_DRIVER,
        "CSINode" => &CSI_NODE,
        "CSIStorageCapacity" => &CSI_STORAGE_CAPACITY,
        "StorageClass" => &STORAGE_CLASS,
        "VolumeAttachment" => &VOLUME_ATTACHMENT,
        _ => &Hooks::NONE,
    }
}

static STORAGE_CLASS: Hooks = Hooks {
    default: Some(defaults::storage_class),
    validate: Some(class::validate),
    validate_update: Some(class::update),
    warnings: Some(class::warnings),
    ..Hooks::NONE
};

static CSI_DRIVER: Hooks = Hooks {
    default: Some(defaults::csi_driver),
    validate: Some(csi::driver),
    generation: Generation { starts: false, ..Generation::SPEC },
    validate_update: Some(csi::driver_update),
    unconditional_update: false,
    ..Hooks::NONE
};

static CSI_NODE: Hooks = Hooks {
    validate: Some(csi::node),
    validate_update: Some(csi::node_update),
    unconditional_update: false,
    ..Hooks::NONE
};

static CSI_STORAGE_CAPACITY: Hooks = Hooks {
    validate: Some(csi::capacity),
    validate_update: Some(csi::capacity_update),
    unconditional_update: false,
    ..Hooks::NONE
};

static VOLUME_ATTACHMENT: Hooks = Hooks {
    default: Some(defaults::volume_attachment),
    prepare_create: Some(attachment::prepare_create),
    status_keeps: KeptMetadata::USUAL,
    reset_fields: Some(meta::reset_by_status),
    validate: Some(attachment::validate),
    validate_update: Some(attachment::update),
    unconditional_update: false,
    ..Hooks::NONE
};
