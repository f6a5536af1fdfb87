//! Rules of what a container mounts, and of paths inside volumes.

use super::spec::PodContext;
use crate::hooks::check::Node;
use api_core::field::Errors;
use std::collections::HashSet;

/// `volumeMounts`.
pub(super) fn mounts(container: &Node<'_, '_>, pod: &PodContext<'_>, e: &mut Errors) {
    let list = container.at("volumeMounts");
    let devices = container.at("volumeDevices");
    let mut paths = HashSet::new();
    for mount in list.items() {
        let (name, path) = (mount.at("name"), mount.at("mountPath"));
        name.required(e);
        if !pod.volumes.iter().any(|(volume, _)| *volume == name.str()) {
            e.not_found(&name.path, name.str());
        }
        path.required(e);
        if !paths.insert(path.str()) {
            path.invalid("must be unique", e);
        }
        if devices.items().any(|d| d.text("name") == name.str()) {
            name.invalid("must not already exist in volumeDevices", e);
        }
        if devices.items().any(|d| d.text("devicePath") == path.str()) {
            path.invalid("must not already exist as a path in volumeDevices", e);
        }
        sub_paths(&mount, &list, e);
        propagation(&mount, &list, container, e);
    }
}

/// Upstream names these fields without the index of the mount.
fn sub_paths(mount: &Node<'_, '_>, list: &Node<'_, '_>, e: &mut Errors) {
    let unindexed = Node::new(mount.value, list.path);
    let (path, expression) = (unindexed.at("subPath"), unindexed.at("subPathExpr"));
    if !path.is_empty() {
        local_descending(&path, e);
    }
    if !expression.is_empty() {
        if !path.is_empty() {
            mount.at("subPathExpr").invalid("subPathExpr and subPath are mutually exclusive", e);
        }
        local_descending(&expression, e);
    }
}

fn propagation(mount: &Node<'_, '_>, list: &Node<'_, '_>, container: &Node<'_, '_>, e: &mut Errors) {
    let unindexed = Node::new(mount.value, list.path);
    let mode = unindexed.at("mountPropagation");
    if !mode.present() {
        return;
    }
    mode.one_of(&["Bidirectional", "HostToContainer", "None"], e);
    if mode.str() == "Bidirectional" && !container.at("securityContext").at("privileged").is_true() {
        mode.forbidden("Bidirectional mount propagation is available only to privileged containers", e);
    }
}

/// `volumeDevices`.
pub(super) fn devices(container: &Node<'_, '_>, pod: &PodContext<'_>, e: &mut Errors) {
    let mounts = container.at("volumeMounts");
    let (mut names, mut paths) = (HashSet::new(), HashSet::new());
    for device in container.at("volumeDevices").items() {
        let (name, path) = (device.at("name"), device.at("devicePath"));
        name.required(e);
        if names.contains(name.str()) {
            name.invalid("must be unique", e);
        }
        match pod.volumes.iter().find(|(volume, _)| *volume == name.str()) {
            None => e.not_found(&name.path, name.str()),
            Some((_, v)) if v.get("persistentVolumeClaim").is_none() && v.get("ephemeral").is_none() => {
                let why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                name.invalid(why, e);
            }
            Some(_) => {}
        }
        path.required(e);
        if paths.contains(path.str()) {
            path.invalid("must be unique", e);
        }
        if has_backsteps(path.str()) {
            path.invalid("can not contain backsteps ('..')", e);
        } else {
            paths.insert(path.str());
        }
        if mounts.items().any(|m| m.text("name") == name.str()) {
            name.invalid("must not already exist in volumeMounts", e);
        }
        if mounts.items().any(|m| m.text("mountPath") == path.str()) {
            path.invalid("must not already exist as a path in volumeMounts", e);
        }
        if !name.is_empty() {
            names.insert(name.str());
        }
    }
}

/// A relative path that does not climb.
pub(super) fn local_descending(node: &Node<'_, '_>, e: &mut Errors) {
    if node.str().starts_with('/') {
        node.invalid("must be a relative path", e);
    }
    no_backsteps(node, e);
}

/// The same, and no name that the node agent keeps for itself.
pub(super) fn local_not_reserved(node: &Node<'_, '_>, e: &mut Errors) {
    local_descending(node, e);
    if node.str().starts_with("..") && !node.str().starts_with("../") && node.str() != ".." {
        node.invalid("must not start with '..'", e);
    }
}

/// A path without `..`.
pub(in crate::hooks) fn no_backsteps(node: &Node<'_, '_>, e: &mut Errors) {
    if has_backsteps(node.str()) {
        node.invalid("must not contain '..'", e);
    }
}

fn has_backsteps(path: &str) -> bool {
    path.split('/').any(|part| part == "..")
}
