//! Rules of events. What is written through the core group may be of the older kind, of which little is asked; what is
//! written through events.k8s.io may not.

use crate::hooks::check::{IMMUTABLE, Node};
use crate::hooks::meta;
use api_core::field::{BadValue, Errors};
use api_core::names;
use api_schema::row::{Hooks, WriteContext};
use serde_json::Value;

/// Longest action, reason or reporting instance, in bytes.
const WORD_BYTES_MAX: usize = 128;
const NOTE_BYTES_MAX: usize = 1024;
/// What only the series of an event may change, in upstream's order; it looks at the reason twice.
const IMMUTABLE_FIELDS: [&str; 14] = [
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "reason",
    "type",
    "eventTime",
    "action",
    "related",
    REPORTER,
    "reportingInstance",
];
/// The controller that reports, as it is stored and as the core group names it; events.k8s.io names it otherwise.
const REPORTER: &str = "reportingComponent";
const REPORTER_SHOWN: &str = "reportingController";

/// Event of the core group.
pub(super) static EVENT: Hooks = Hooks {
    validate: Some(|event, e| validate(event, REPORTER, e)),
    validate_update: Some(|_, new, _, e| validate(new, REPORTER, e)),
    validate_name: Some(names::name_is_path_segment),
    metadata_last: true,
    create_on_update: true,
    expires: true,
    ..Hooks::NONE
};

/// Event of events.k8s.io, in the form in which it is stored.
pub(super) static NEW_EVENT: Hooks = Hooks { validate: Some(validate_new), validate_update: Some(update_new), ..EVENT };

fn validate(object: &Value, reporter: &str, e: &mut Errors) {
    let root = Node::root(object);
    let involved = root.at("involvedObject");
    let about = involved.at("namespace");
    let namespace = root.at("metadata").text("namespace");
    let is_new = !root.at("eventTime").is_empty();
    let fits = match (about.str(), namespace) {
        ("", "default") => true,
        ("", other) => other == if is_new { "kube-system" } else { "" },
        (about, namespace) => is_new || about == namespace,
    };
    if !fits {
        e.invalid(&about.path, about.str(), "does not match event.namespace");
    }
    if is_new {
        reported(&root, reporter, e);
    }
    for why in names::is_dns1123_subdomain(namespace) {
        e.invalid(&root.path.child("namespace"), namespace, &why);
    }
}

/// What an event of the newer kind says of who reports it.
fn reported(root: &Node<'_, '_>, reporter: &str, e: &mut Errors) {
    let controller = Node::new(root.get(REPORTER), root.path.child(reporter));
    controller.required(e);
    controller.text_is(names::is_qualified_name, e);
    for field in ["reportingInstance", "action", "reason"] {
        let at = root.at(field);
        at.required(e);
        if at.str().len() > WORD_BYTES_MAX {
            e.invalid(&at.path, "", "can have at most 128 characters");
        }
    }
    if root.text("message").len() > NOTE_BYTES_MAX {
        e.invalid(&root.path.child("message"), "", "can have at most 1024 characters");
    }
}

fn validate_new(object: &Value, e: &mut Errors) {
    validate(object, REPORTER_SHOWN, e);
    meta::again_with_name(object, names::name_is_dns_subdomain, e);
    let root = Node::root(object);
    series(&root, e);
    root.at("eventTime").required(e);
    let kind = root.at("type");
    if !["Normal", "Warning"].contains(&kind.str()) {
        e.invalid(&kind.path, "", &format!("has invalid value: {}", kind.str()));
    }
    let unset = "needs to be unset";
    for field in ["firstTimestamp", "lastTimestamp"] {
        if !root.at(field).is_empty() {
            e.invalid(&root.path.child(field), "", unset);
        }
    }
    if root.at("count").int_or_zero() != 0 {
        e.invalid(&root.path.child("count"), "", unset);
    }
    let source = root.at("source");
    if !source.text("component").is_empty() || !source.text("host").is_empty() {
        e.invalid(&source.path, "", unset);
    }
}

fn series(root: &Node<'_, '_>, e: &mut Errors) {
    let series = root.at("series");
    if !series.present() {
        return;
    }
    if series.at("count").int_or_zero() < 2 {
        e.invalid(&series.path.child("count"), "", "should be at least 2");
    }
    series.at("lastObservedTime").required(e);
}

fn update_new(_: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    validate(new, REPORTER_SHOWN, e);
    meta::again_on_update(new, old, e);
    let (root, old_root) = (Node::root(new), Node::root(old));
    if root.get("series") != old_root.get("series") {
        series(&root, e);
    }
    for field in IMMUTABLE_FIELDS {
        if root.get(field) != old_root.get(field) {
            let shown = if field == REPORTER { REPORTER_SHOWN } else { field };
            let (at, path) = (root.at(field), root.path.child(shown));
            match field {
                "eventTime" | "firstTimestamp" | "lastTimestamp" => {
                    e.invalid(&path, BadValue(api_core::go::time(at.str())), IMMUTABLE);
                }
                "count" => e.invalid(&path, at.int_or_zero(), IMMUTABLE),
                "involvedObject" | "source" | "related" => Node::new(at.value, path).changed(IMMUTABLE, e),
                _ => e.invalid(&path, at.str(), IMMUTABLE),
            }
        }
    }
}
