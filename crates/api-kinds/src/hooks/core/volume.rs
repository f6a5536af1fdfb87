//! Defaults of volumes: those of a pod, and those a persistent volume or a volume attachment names.

use crate::hooks::fill::Fill;
use serde_json::{Value, json};

/// A volume of a pod: `{name, SOURCE: {...}}`; an empty directory if it names no source.
pub(in crate::hooks) fn default_volume_source(volume: &mut Value) {
    let has_source = volume.as_object().is_some_and(|v| v.iter().any(|(k, v)| k != "name" && v.is_object()));
    if !has_source {
        volume.make("emptyDir");
    }
    for field in ["secret", "configMap", "downwardAPI", "projected"] {
        volume.with(field, |source| source.fill("defaultMode", 0o644));
    }
    volume.with("downwardAPI", default_downward_items);
    volume.with("projected", |projected| {
        projected.each_mut("sources", |source| {
            source.with("serviceAccountToken", |token| token.fill("expirationSeconds", 3600));
            source.with("downwardAPI", default_downward_items);
        });
    });
    volume.with("ephemeral", |ephemeral| {
        ephemeral.with("volumeClaimTemplate", |template| default_claim_spec(template.make("spec")));
    });
    default_shared_sources(volume);
}

/// The sources that pods and persistent volumes share.
pub(in crate::hooks) fn default_shared_sources(volume: &mut Value) {
    volume.with("hostPath", |path| path.fill("type", ""));
    volume.with("iscsi", |iscsi| iscsi.fill("iscsiInterface", "default"));
    volume.with("rbd", |rbd| {
        rbd.fill("pool", "rbd");
        rbd.fill("user", "admin");
        rbd.fill("keyring", "/etc/ceph/keyring");
    });
    volume.with("azureDisk", |disk| {
        disk.fill("cachingMode", "ReadWrite");
        disk.fill("kind", "Shared");
        disk.fill("fsType", "ext4");
        disk.fill("readOnly", false);
    });
    volume.with("scaleIO", |scale_io| {
        scale_io.fill("storageMode", "ThinProvisioned");
        scale_io.fill("fsType", "xfs");
    });
}

/// The spec of a claim.
pub(in crate::hooks) fn default_claim_spec(spec: &mut Value) {
    spec.fill("volumeMode", "Filesystem");
    spec.with("resources", |resources| {
        resources.round_resources("limits");
        resources.round_resources("requests");
    });
}

/// A claim.
pub(in crate::hooks) fn default_claim(claim: &mut Value) {
    default_claim_spec(claim.make("spec"));
    let status = claim.make("status");
    status.fill("phase", "Pending");
    status.round_resources("capacity");
    status.round_resources("allocatedResources");
}

/// A persistent volume.
pub(in crate::hooks) fn default_persistent_volume(volume: &mut Value) {
    default_persistent_volume_spec(volume.make("spec"));
    volume.make("status").fill("phase", "Pending");
}

/// The spec of a persistent volume.
fn default_persistent_volume_spec(spec: &mut Value) {
    spec.fill("persistentVolumeReclaimPolicy", "Retain");
    spec.fill("volumeMode", "Filesystem");
    spec.round_resources("capacity");
    default_shared_sources(spec);
}

/// A volume attachment's inline spec of a persistent volume: its source and capacity only.
pub(in crate::hooks) fn default_inline_volume(spec: &mut Value) {
    spec.round_resources("capacity");
    default_shared_sources(spec);
}

fn default_downward_items(source: &mut Value) {
    source.each_mut("items", |item| item.with("fieldRef", |field| field.fill("apiVersion", json!("v1"))));
}
