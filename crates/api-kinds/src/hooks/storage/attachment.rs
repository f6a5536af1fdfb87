//! Rules of volume attachments.

use crate::hooks::check::Node;
use crate::hooks::core::storage::inline_volume_spec;
use crate::hooks::core::volume_sources::csi_driver_name;
use crate::hooks::meta;
use api_core::field::Errors;
use api_core::names;
use api_schema::row::WriteContext;
use serde_json::{Value, json};

const METADATA_ENTRIES_BYTES_MAX: usize = 256 * 1024;

pub(super) fn prepare_create(_: &WriteContext<'_>, object: &mut Value) {
    object["status"] = json!({"attached": false});
}

pub(super) fn validate(object: &Value, e: &mut Errors) {
    common(object, e);
    let root = Node::root(object);
    let spec = root.at("spec");
    csi_driver_name(&spec.at("attacher"), e);
    let source = spec.at("source");
    let volume = source.at("persistentVolumeName");
    if volume.present() {
        volume.text_is(names::is_dns1123_subdomain, e);
    }
}

fn common(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    let spec = root.at("spec");
    spec.at("attacher").required(e);
    let source = spec.at("source");
    let (volume, inline) = (source.at("persistentVolumeName"), source.at("inlineVolumeSpec"));
    let why = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (volume.present(), inline.present()) {
        (false, false) => source.path_required(why, e),
        (true, true) => source.forbidden(why, e),
        (true, false) => {
            volume.required_because("must specify non empty persistentVolumeName", e);
        }
        (false, true) => inline_volume_spec(&inline, e),
    }
    spec.at("nodeName").text_is(names::is_dns1123_subdomain, e);
    let status = root.at("status");
    let metadata = status.at("attachmentMetadata");
    let bytes: usize = metadata.entries().map(|(key, value)| key.len() + value.str().len()).sum();
    if bytes > METADATA_ENTRIES_BYTES_MAX {
        metadata.too_long(METADATA_ENTRIES_BYTES_MAX, e);
    }
}

pub(super) fn update(_: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    for _ in 0..2 {
        meta::again_on_create(new, e);
        common(new, e);
    }
    let (root, old_root) = (Node::root(new), Node::root(old));
    let spec = root.at("spec");
    if spec.value != old_root.get("spec") {
        spec.invalid("field is immutable", e);
    }
}
