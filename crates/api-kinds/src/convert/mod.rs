//! Conversion between the versions of a kind, where it has several.
//!
//! A conversion takes an object in any of the versions; its `apiVersion` says which.

mod definition;
mod event;
mod flowcontrol;
mod hpa;
mod hpa_metrics;
mod slice;

use crate::rows::{schema, type_of};
use api_core::Gvk;
use api_schema::normalize::normalize;
use serde_json::{Map, Value};

/// Converts an object to another version.
pub type Convert = fn(&mut Value, &Gvk);

/// The conversion of a kind; `None` if it has one version only.
pub fn for_kind(group: &str, kind: &str) -> Option<Convert> {
    Some(match (group, kind) {
        ("" | "events.k8s.io", "Event") => event::convert,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition::convert,
        ("discovery.k8s.io", "EndpointSlice") => slice::convert,
        ("autoscaling", "HorizontalPodAutoscaler") => hpa::convert,
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => flowcontrol::convert_schema,
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => flowcontrol::convert_level,
        _ => return None,
    })
}

/// Whether the object is not in that version yet; if so it is marked to be.
fn begins(object: &mut Map<String, Value>, to: &Gvk) -> bool {
    let wanted = to.api_version();
    let differs = object.get("apiVersion").and_then(Value::as_str) != Some(wanted.as_str());
    object.insert("apiVersion".into(), wanted.into());
    differs
}

/// Writes what the new version always has, and drops what it has not.
fn finish(object: &mut Value, to: &Gvk) {
    if let Some(root) = type_of(to) {
        normalize(schema(), root, object);
    }
}

/// Moves a field under another name.
fn rename(object: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = object.remove(from) {
        object.insert(to.into(), value);
    }
}

#[cfg(test)]
mod tests;
