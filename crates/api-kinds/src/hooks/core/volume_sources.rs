//! Rules of the volume sources that pods and persistent volumes share, as a table by field.

use super::pod::no_backsteps;
use crate::hooks::check::Node;
use api_core::field::Errors;
use api_core::names;

type Rule = fn(&Node<'_, '_>, &mut Errors);
/// The field of a source and its rules.
pub(super) type Source = (&'static str, Rule);

/// Each source with its rules.
pub(super) const SHARED: &[Source] = &[
    ("hostPath", host_path),
    ("gcePersistentDisk", |s, e| disk(s, "pdName", e)),
    ("awsElasticBlockStore", |s, e| disk(s, "volumeID", e)),
    ("nfs", nfs),
    ("iscsi", iscsi),
    ("glusterfs", |s, e| all_required(s, &["endpoints", "path"], e)),
    ("flocker", flocker),
    ("rbd", |s, e| all_required(s, &["monitors", "image"], e)),
    ("cinder", |s, e| with_secret(s, &["volumeID"], e)),
    ("cephfs", |s, e| all_required(s, &["monitors"], e)),
    ("quobyte", quobyte),
    ("fc", fibre_channel),
    ("flexVolume", flex_volume),
    ("azureFile", |s, e| all_required(s, &["secretName", "shareName"], e)),
    ("vsphereVolume", |s, e| all_required(s, &["volumePath"], e)),
    ("azureDisk", azure_disk),
    ("photonPersistentDisk", |s, e| all_required(s, &["pdID"], e)),
    ("portworxVolume", |s, e| all_required(s, &["volumeID"], e)),
    ("scaleIO", |s, e| all_required(s, &["gateway", "system", "volumeName"], e)),
    ("storageos", storage_os),
];

const BYTE_RANGE: &str = "must be between 0 and 255, inclusive";

fn all_required(source: &Node<'_, '_>, fields: &[&str], e: &mut Errors) {
    for field in fields {
        source.at(field).required(e);
    }
}

fn with_secret(source: &Node<'_, '_>, fields: &[&str], e: &mut Errors) {
    all_required(source, fields, e);
    let secret = source.at("secretRef");
    if secret.present() {
        secret.at("name").required(e);
    }
}

fn byte(node: &Node<'_, '_>, e: &mut Errors) {
    if !(0..=255).contains(&node.int_or_zero()) {
        node.invalid(BYTE_RANGE, e);
    }
}

fn disk(source: &Node<'_, '_>, id: &str, e: &mut Errors) {
    source.at(id).required(e);
    byte(&source.at("partition"), e);
}

fn host_path(source: &Node<'_, '_>, e: &mut Errors) {
    let path = source.at("path");
    if path.required(e) {
        no_backsteps(&path, e);
    }
    let types = ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    source.at("type").one_of_if_any(&types, e);
}

fn nfs(source: &Node<'_, '_>, e: &mut Errors) {
    source.at("server").required(e);
    let path = source.at("path");
    path.required(e);
    if !path.str().starts_with('/') {
        e.invalid(&path.path, path.str(), "must be an absolute path");
    }
}

fn iscsi(source: &Node<'_, '_>, e: &mut Errors) {
    source.at("targetPortal").required(e);
    let name_ok = |s: &str| ["iqn", "eui", "naa"].iter().any(|p| s.starts_with(p));
    let iqn = source.at("iqn");
    if iqn.required(e) && !name_ok(iqn.str()) {
        iqn.invalid("must be valid format starting with iqn, eui, or naa", e);
    }
    byte(&source.at("lun"), e);
    let chap = source.at("chapAuthDiscovery").is_true() || source.at("chapAuthSession").is_true();
    let secret = source.at("secretRef");
    if chap && !secret.present() {
        secret.path_required("", e);
    }
    if secret.present() {
        secret.at("name").required(e);
    }
    let initiator = source.at("initiatorName");
    if initiator.present() && !name_ok(initiator.str()) {
        initiator.invalid("must be valid format starting with iqn, eui, or naa", e);
    }
}

fn flocker(source: &Node<'_, '_>, e: &mut Errors) {
    let (name, uuid) = (source.at("datasetName"), source.at("datasetUUID"));
    if name.is_empty() && uuid.is_empty() {
        source.path_required("one of datasetName and datasetUUID is required", e);
    }
    if !name.is_empty() && !uuid.is_empty() {
        e.invalid(&source.path, "resource", "datasetName and datasetUUID can not be specified simultaneously");
    }
    if name.str().contains('/') {
        name.invalid("must not contain '/'", e);
    }
}

fn quobyte(source: &Node<'_, '_>, e: &mut Errors) {
    let registry = source.at("registry");
    if registry.is_empty() {
        registry.path_required("must be a host:port pair or multiple pairs separated by commas", e);
    } else if source.text("tenant").len() >= 65 {
        source.at("tenant").path_required("must be a UUID and may not exceed a length of 64 characters", e);
    } else if registry.str().split(',').any(|pair| !pair.contains(':')) {
        registry.invalid("must be a host:port pair or multiple pairs separated by commas", e);
    }
    source.at("volume").required(e);
}

fn fibre_channel(source: &Node<'_, '_>, e: &mut Errors) {
    let (targets, wide) = (source.at("targetWWNs"), source.at("wwids"));
    match (targets.is_empty(), wide.is_empty()) {
        (true, true) => targets.path_required("must specify either targetWWNs or wwids, but not both", e),
        (false, false) => targets.invalid("targetWWNs and wwids can not be specified simultaneously", e),
        (false, true) if !source.has("lun") => {
            source.at("lun").path_required("lun is required if targetWWNs is specified", e);
        }
        (false, true) => byte(&source.at("lun"), e),
        (true, false) => {}
    }
}

fn flex_volume(source: &Node<'_, '_>, e: &mut Errors) {
    source.at("driver").required(e);
    for (key, at) in source.at("options").entries() {
        let domain = key.split('/').next().unwrap_or(key).to_lowercase();
        let reserved = ["kubernetes.io", "k8s.io"].iter().any(|r| domain == *r || domain.ends_with(&format!(".{r}")));
        if key.contains('/') && reserved {
            e.invalid(&at.path, key, "kubernetes.io and k8s.io namespaces are reserved");
        }
    }
}

fn azure_disk(source: &Node<'_, '_>, e: &mut Errors) {
    all_required(source, &["diskName", "diskURI"], e);
    source.at("cachingMode").one_of_if_any(&["None", "ReadOnly", "ReadWrite"], e);
    source.at("kind").one_of_if_any(&["Dedicated", "Managed", "Shared"], e);
    let (kind, uri) = (source.text("kind"), source.at("diskURI"));
    if kind == "Managed" && !uri.str().starts_with('/') {
        uri.not_supported(
            &["/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"],
            e,
        );
    }
    if !kind.is_empty() && kind != "Managed" && !uri.str().starts_with("https://") {
        uri.not_supported(&["https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"], e);
    }
}

fn storage_os(source: &Node<'_, '_>, e: &mut Errors) {
    source.at("volumeName").required_text(names::is_dns1123_label, e);
    source.at("volumeNamespace").text_if_any(names::is_dns1123_label, e);
    let secret = source.at("secretRef");
    if secret.present() {
        secret.at("name").required(e);
    }
}

/// Whether text may be the name of a CSI driver.
pub(in crate::hooks) fn is_csi_driver_name(name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if name.len() > 63 {
        wrong.push("must be no more than 63 characters".to_owned());
    }
    wrong.extend(names::is_dns1123_subdomain(&name.to_lowercase()));
    wrong
}

/// The name of a CSI driver.
pub(in crate::hooks) fn csi_driver_name(name: &Node<'_, '_>, e: &mut Errors) {
    name.required(e);
    if name.str().len() > 63 {
        name.too_long(63, e);
    }
    for why in names::is_dns1123_subdomain(&name.str().to_lowercase()) {
        e.invalid(&name.path, name.str(), &why);
    }
}
