//! Rules of persistent volume claims, alone and as templates.

use super::resources;
use crate::hooks::check::Node;
use crate::hooks::labels;
use api_core::field::Errors;
use api_core::names;

pub(in crate::hooks) const ACCESS_MODES: &[&str] =
    &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// The template of an ephemeral volume: labels and annotations, nothing else in its metadata.
pub(in crate::hooks) fn ephemeral_template(template: &Node<'_, '_>, e: &mut Errors) {
    let metadata = template.at("metadata");
    labels::annotations(&metadata.at("annotations"), e);
    labels::labels(&metadata.at("labels"), e);
    for (field, _) in metadata.entries().filter(|(_, v)| !v.is_empty()) {
        if !matches!(field, "annotations" | "labels") {
            metadata.at(field).forbidden("cannot be set for an ephemeral volume", e);
        }
    }
    spec(&template.at("spec"), e);
}

/// The spec of a claim.
pub(in crate::hooks) fn spec(spec: &Node<'_, '_>, e: &mut Errors) {
    let modes = spec.at("accessModes");
    modes.required_because("at least 1 access mode is required", e);
    labels::selector(&spec.at("selector"), e);
    access_modes(&modes, e);
    storage_request(spec, e);
    let class = spec.at("storageClassName");
    class.text_if_any(names::is_dns1123_subdomain, e);
    spec.at("volumeMode").one_of_if_any(&["Block", "Filesystem"], e);
    data_sources(spec, e);
}

/// Access modes, each known, and the exclusive one alone.
pub(in crate::hooks) fn access_modes(modes: &Node<'_, '_>, e: &mut Errors) {
    for mode in modes.items() {
        if !ACCESS_MODES.contains(&mode.str()) {
            e.not_supported(&modes.path, mode.str(), ACCESS_MODES);
        }
    }
    let exclusive = modes.items().any(|m| m.str() == "ReadWriteOncePod");
    let others = modes.items().any(|m| ACCESS_MODES.contains(&m.str()) && m.str() != "ReadWriteOncePod");
    if exclusive && others {
        modes.forbidden("may not use ReadWriteOncePod with other access modes", e);
    }
}

fn storage_request(spec: &Node<'_, '_>, e: &mut Errors) {
    let all = spec.at("resources");
    let asked = Node::new(all.at("requests").get("storage"), all.path.key("storage"));
    if !asked.present() {
        asked.path_required("", e);
    } else if resources::positive(&asked, e) {
        resources::amount("storage", &asked, e);
    }
}

fn data_sources(spec: &Node<'_, '_>, e: &mut Errors) {
    let (source, reference) = (spec.at("dataSource"), spec.at("dataSourceRef"));
    for at in [&source, &reference] {
        if at.present() {
            data_source(at, e);
        }
    }
    reference.at("namespace").text_if_any(names::is_dns1123_label, e);
    if !(source.present() && reference.present()) {
        return;
    }
    if !reference.at("namespace").is_empty() {
        e.invalid(&spec.path, "dataSource", "may not be specified when dataSourceRef.namespace is specified");
    } else if ["apiGroup", "kind", "name"].iter().any(|f| source.text(f) != reference.text(f)) {
        e.invalid(&spec.path, "dataSource", "must match dataSourceRef");
    }
}

fn data_source(source: &Node<'_, '_>, e: &mut Errors) {
    source.at("name").required(e);
    source.at("kind").required(e);
    let group = source.at("apiGroup");
    if group.is_empty() && source.text("kind") != "PersistentVolumeClaim" {
        let why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        e.invalid(&source.path, source.text("kind"), why);
    }
    group.text_if_any(names::is_dns1123_subdomain, e);
}
