//! Rules of the sources of persistent volumes: those of [`super::volume_sources`], and those that differ.

use super::pod;
use super::volume_sources::{self, Source, all_required, exactly_one, is_iscsi_too_long, secret_with, shared, source};
use crate::hooks::check::Node;
use api_core::field::Errors;
use api_core::names;
use serde_json::Value;

/// In upstream's order.
const SOURCES: &[Source] = &[
    shared("hostPath"),
    shared("gcePersistentDisk"),
    shared("awsElasticBlockStore"),
    source("glusterfs", glusterfs),
    shared("flocker"),
    shared("nfs"),
    shared("rbd"),
    shared("quobyte"),
    shared("cephfs"),
    source("iscsi", |s, e| {
        volume_sources::iscsi(s, e);
        secret_with(s, &["name"], e);
    }),
    source("cinder", |s, e| {
        all_required(s, &["volumeID"], e);
        secret_with(s, &["name", "namespace"], e);
    }),
    shared("fc"),
    Source { another: None, ..shared("flexVolume") },
    source("azureFile", |s, e| {
        all_required(s, &["secretName", "shareName"], e);
        if s.has("secretNamespace") {
            s.at("secretNamespace").required(e);
        }
    }),
    shared("vsphereVolume"),
    shared("photonPersistentDisk"),
    shared("portworxVolume"),
    shared("azureDisk"),
    shared("scaleIO"),
    source("local", local),
    source("storageos", |s, e| {
        volume_sources::storage_os(s, e);
        secret_with(s, &["name", "namespace"], e);
    }),
    source("csi", csi),
];

/// Checks that a volume's spec has one source, and that by its rules.
pub(super) fn validate(spec: &Node<'_, '_>, name: &str, e: &mut Errors) {
    exactly_one(spec, &[SOURCES], e);
    let iscsi = spec.at("iscsi");
    if is_iscsi_too_long(iscsi.value, name) {
        let why = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
        e.invalid(&iscsi.path.child("targetportal"), iscsi.get("targetPortal"), why);
    }
}

/// The fields of all sources.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    SOURCES.iter().map(|s| s.field)
}

/// All sources of a volume, to be compared.
pub(super) fn of<'v>(spec: &Node<'v, '_>) -> Vec<&'v Value> {
    SOURCES.iter().map(|s| spec.get(s.field)).collect()
}

fn glusterfs(source: &Node<'_, '_>, e: &mut Errors) {
    all_required(source, &["endpoints", "path"], e);
    let namespace = source.at("endpointsNamespace");
    if namespace.present() && namespace.is_empty() {
        namespace.invalid("if the endpointnamespace is set, it must be a valid namespace name", e);
    }
    namespace.text_if_any(names::is_dns1123_label, e);
}

fn local(source: &Node<'_, '_>, e: &mut Errors) {
    let path = source.at("path");
    if path.required(e) {
        pod::no_backsteps(&path, e);
    }
}

fn csi(source: &Node<'_, '_>, e: &mut Errors) {
    volume_sources::csi_driver_name(&source.at("driver"), e);
    source.at("volumeHandle").required(e);
    for field in
        ["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"]
    {
        let secret = source.at(field);
        if secret.present() {
            secret.at("name").required_text(names::is_dns1123_subdomain, e);
            secret.at("namespace").required_text(names::is_dns1123_label, e);
        }
    }
}
