//! Rules of events.

use crate::hooks::check::{IMMUTABLE, Node};
use api_core::field::Errors;
use api_core::names;
use api_schema::row::{Hooks, WriteContext};
use serde_json::Value;

/// Longest action, reason or reporting instance, in bytes.
const WORD_BYTES_MAX: usize = 128;
const NOTE_BYTES_MAX: usize = 1024;

pub(super) static EVENT: Hooks = Hooks {
    validate: Some(validate),
    validate_update: Some(update),
    validate_name: Some(names::name_is_path_segment),
    create_on_update: true,
    expires: true,
    ..Hooks::NONE
};

fn validate(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    let involved = root.at("involvedObject");
    let about = involved.at("namespace");
    let namespace = root.at("metadata").text("namespace");
    let fits = if about.is_empty() { matches!(namespace, "" | "default") } else { about.str() == namespace };
    if !fits {
        e.invalid(&about.path, about.str(), "does not match event.namespace");
    }
    if !root.at("eventTime").is_empty() {
        reported(&root, e);
    }
}

/// What an event of the newer kind says of who reports it.
fn reported(root: &Node<'_, '_>, e: &mut Errors) {
    let controller = Node::new(root.get("reportingComponent"), root.path.child("reportingController"));
    controller.required(e);
    controller.text_is(names::is_qualified_name, e);
    for field in ["reportingInstance", "action"] {
        let at = root.at(field);
        at.required(e);
        if at.str().len() > WORD_BYTES_MAX {
            at.invalid("can have at most 128 characters", e);
        }
    }
    let reason = root.at("reason");
    if reason.str().len() > WORD_BYTES_MAX {
        reason.invalid("can have at most 128 characters", e);
    }
    if root.text("message").len() > NOTE_BYTES_MAX {
        root.at("message").invalid("can have at most 1024 characters", e);
    }
}

fn update(_: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    validate(new, e);
    let root = Node::root(new);
    if root.at("eventTime").is_empty() {
        return;
    }
    for field in ["involvedObject", "reason", "reportingComponent", "reportingInstance", "action", "eventTime", "type"]
    {
        if root.get(field) != &old[field] {
            root.at(field).invalid(IMMUTABLE, e);
        }
    }
}
