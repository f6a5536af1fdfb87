//! Rules of a pod's volumes: those that only pods have. Those shared with persistent volumes are in
//! [`crate::hooks::core::volume_sources`].

use super::downward;
use super::mounts::{local_descending, local_not_reserved};
use crate::hooks::check::Node;
use crate::hooks::core::claim;
use crate::hooks::core::volume_sources::{
    self, Source, all_required, exactly_one, is_iscsi_too_long, secret_with, shared, source,
};
use api_core::field::Errors;
use api_core::names;
use serde_json::Value;
use std::collections::HashSet;

/// The sources of a pod's volume, in upstream's order.
const SOURCES: &[Source] = &[
    source("emptyDir", empty_dir),
    shared("hostPath"),
    source("gitRepo", git_repo),
    shared("gcePersistentDisk"),
    shared("awsElasticBlockStore"),
    source("secret", secret),
    shared("nfs"),
    source("iscsi", volume_sources::iscsi),
    source("glusterfs", |s, e| all_required(s, &["endpoints", "path"], e)),
    shared("flocker"),
    source("persistentVolumeClaim", |s, e| all_required(s, &["claimName"], e)),
    shared("rbd"),
    source("cinder", |s, e| {
        all_required(s, &["volumeID"], e);
        secret_with(s, &["name"], e);
    }),
    shared("cephfs"),
    shared("quobyte"),
    // The name is upstream's.
    Source { another: Some("downwarAPI"), ..source("downwardAPI", downward_api) },
    shared("fc"),
    shared("flexVolume"),
    source("configMap", config_map),
    source("azureFile", |s, e| all_required(s, &["secretName", "shareName"], e)),
    shared("vsphereVolume"),
    shared("photonPersistentDisk"),
    shared("portworxVolume"),
    shared("azureDisk"),
    source("storageos", |s, e| {
        volume_sources::storage_os(s, e);
        secret_with(s, &["name"], e);
    }),
    source("projected", projected),
    shared("scaleIO"),
    source("csi", csi),
    source("ephemeral", ephemeral),
];

/// Checks all volumes. Answers with the names of the good ones, since mounts may name only those.
pub(super) fn validate<'v>(list: &Node<'v, '_>, pod_name: &str, e: &mut Errors) -> Vec<(&'v str, &'v Value)> {
    let mut good: Vec<(&str, &Value)> = Vec::new();
    for volume in list.items() {
        let mut own = Errors::new();
        exactly_one(&volume, &[SOURCES], &mut own);
        let name = volume.at("name");
        if is_iscsi_too_long(volume.get("iscsi"), name.str()) {
            let why = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
            name.invalid(why, &mut own);
        }
        name.required_text(names::is_dns1123_label, &mut own);
        if volume.has("ephemeral") && !pod_name.is_empty() && !name.is_empty() {
            let claim = format!("{pod_name}-{}", name.str());
            for why in names::is_dns1123_subdomain(&claim) {
                name.invalid(&format!("PVC name {claim:?}: {why}"), &mut own);
            }
        }
        if good.iter().any(|(other, _)| *other == name.str()) {
            name.duplicate(&mut own);
        }
        if own.is_empty() {
            good.push((name.str(), volume.value));
        }
        e.extend(own);
    }
    good
}

fn empty_dir(dir: &Node<'_, '_>, e: &mut Errors) {
    if dir.at("sizeLimit").quantity().is_some_and(|q| q.sign() < 0) {
        dir.at("sizeLimit").forbidden("SizeLimit field must be a valid resource quantity", e);
    }
}

fn git_repo(repo: &Node<'_, '_>, e: &mut Errors) {
    repo.at("repository").required(e);
    local_descending(&repo.at("directory"), e);
}

fn secret(source: &Node<'_, '_>, e: &mut Errors) {
    source.at("secretName").required(e);
    mode(&source.at("defaultMode"), e);
    keys_to_paths(&source.at("items"), e);
}

fn config_map(source: &Node<'_, '_>, e: &mut Errors) {
    source.at("name").required(e);
    mode(&source.at("defaultMode"), e);
    keys_to_paths(&source.at("items"), e);
}

fn keys_to_paths(items: &Node<'_, '_>, e: &mut Errors) {
    for item in items.items() {
        item.at("key").required(e);
        item.at("path").required(e);
        local_not_reserved(&item.at("path"), e);
        mode(&item.at("mode"), e);
    }
}

fn mode(mode: &Node<'_, '_>, e: &mut Errors) {
    if mode.int().is_some_and(|bits| !(0..=0o777).contains(&bits)) {
        mode.invalid("must be a number between 0 and 0777 (octal), both inclusive", e);
    }
}

fn downward_api(source: &Node<'_, '_>, e: &mut Errors) {
    mode(&source.at("defaultMode"), e);
    for item in source.at("items").items() {
        downward_file(&Node::new(item.value, source.path), e);
    }
}

/// Upstream names the fields of a file as if the list had only one.
fn downward_file(file: &Node<'_, '_>, e: &mut Errors) {
    file.at("path").required(e);
    local_not_reserved(&file.at("path"), e);
    if file.has("fieldRef") {
        downward::field(&file.at("fieldRef"), downward::VOLUME_FIELDS, e);
        if file.has("resourceFieldRef") {
            e.invalid(&file.path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously");
        }
    } else if file.has("resourceFieldRef") {
        downward::resource(&file.at("resourceFieldRef"), true, e);
    } else {
        file.path_required("one of fieldRef and resourceFieldRef is required", e);
    }
    mode(&file.at("mode"), e);
}

fn projected(projected: &Node<'_, '_>, e: &mut Errors) {
    mode(&projected.at("defaultMode"), e);
    let mut paths = HashSet::new();
    let sources = projected.at("sources");
    for source in sources.items() {
        let mut kinds = 0;
        for field in ["secret", "configMap"] {
            let at = source.at(field);
            if at.present() {
                kinds += 1;
                at.at("name").required(e);
                keys_to_paths(&at.at("items"), e);
                for item in at.at("items").items() {
                    let path = item.text("path");
                    if !path.is_empty() && !paths.insert(path) {
                        e.invalid(&projected.path, at.text("name"), DUPLICATE_PATH);
                    }
                }
            }
        }
        let downward = source.at("downwardAPI");
        if downward.present() {
            kinds += 1;
            for item in downward.at("items").items() {
                downward_file(&Node::new(item.value, downward.path), e);
                let path = item.text("path");
                if !path.is_empty() && !paths.insert(path) {
                    e.invalid(&projected.path, path, DUPLICATE_PATH);
                }
            }
        }
        let token = source.at("serviceAccountToken");
        if token.present() {
            kinds += 1;
            token_source(&token, projected, e);
        }
        if kinds > 1 {
            source.forbidden("may not specify more than 1 volume type", e);
        }
    }
}

const DUPLICATE_PATH: &str = "conflicting duplicate paths";

/// Upstream does not look whether another source has the token's path.
fn token_source(token: &Node<'_, '_>, projected: &Node<'_, '_>, e: &mut Errors) {
    let expiration = token.at("expirationSeconds");
    if expiration.int().is_some_and(|s| s < 600) {
        expiration.invalid("may not specify a duration less than 10 minutes", e);
    }
    if expiration.int().is_some_and(|s| s > 1 << 32) {
        expiration.invalid("may not specify a duration larger than 2^32 seconds", e);
    }
    if token.at("path").is_empty() {
        e.required(&projected.path.child("path"), "");
    } else {
        local_not_reserved(&token.at("path"), e);
    }
}

fn csi(source: &Node<'_, '_>, e: &mut Errors) {
    volume_sources::csi_driver_name(&source.at("driver"), e);
    let secret = source.at("nodePublishSecretRef");
    let name = secret.at("name");
    if secret.present() && name.required(e) {
        for why in names::is_dns1123_subdomain(name.str()) {
            e.invalid(&source.path.child("name"), name.str(), &why);
        }
    }
}

fn ephemeral(source: &Node<'_, '_>, e: &mut Errors) {
    let template = source.at("volumeClaimTemplate");
    if !template.present() {
        template.path_required("", e);
        return;
    }
    claim::ephemeral_template(&template, e);
}
