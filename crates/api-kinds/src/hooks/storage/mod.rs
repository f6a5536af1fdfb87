//! Kinds of the group storage.k8s.io.

use api_schema::row::Hooks;

mod defaults;

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    match kind {
        "CSIDriver" => &const { Hooks { default: Some(defaults::csi_driver), ..Hooks::NONE } },
        "StorageClass" => &const { Hooks { default: Some(defaults::storage_class), ..Hooks::NONE } },
        "VolumeAttachment" => &const { Hooks { default: Some(defaults::volume_attachment), ..Hooks::NONE } },
        _ => &Hooks::NONE,
    }
}
