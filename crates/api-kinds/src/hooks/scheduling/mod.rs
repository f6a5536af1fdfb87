//! Kinds of the group scheduling.k8s.io.

use super::check::Node;
use super::fill::Fill;
use super::meta;
use api_core::field::Errors;
use api_core::meta::Meta;
use api_schema::row::{Generation, Hooks, WriteContext};
use serde_json::Value;

/// Highest value that is not the system's own.
const USER_VALUE_MAX: i64 = 1_000_000_000;
/// The classes of the system, with their values.
const SYSTEM: [(&str, i64); 2] = [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    match kind {
        "PriorityClass" => &PRIORITY_CLASS,
        _ => &Hooks::NONE,
    }
}

static PRIORITY_CLASS: Hooks = Hooks {
    default: Some(default_priority_class),
    generation: Generation { starts: true, ..Generation::NONE },
    validate: Some(validate),
    validate_update: Some(update),
    ..Hooks::NONE
};

fn default_priority_class(object: &mut Value) {
    object.fill("preemptionPolicy", "PreemptLowerPriority");
}

fn validate(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    let value = root.at("value");
    if let Some(own) = object.name().strip_prefix("system-") {
        let known = SYSTEM.iter().any(|(name, known)| {
            *name == object.name() && value.int() == Some(*known) && !root.at("globalDefault").is_true()
        });
        if !known {
            let why = format!("priority class names with 'system-' prefix are reserved for system use only: {own}");
            root.at("metadata").at("name").forbidden(&why, e);
        }
    } else if value.int_or_zero() > USER_VALUE_MAX {
        value.forbidden(&format!("maximum allowed value of a user defined priority is {USER_VALUE_MAX}"), e);
    }
    let policy = root.at("preemptionPolicy");
    if policy.present() {
        policy.required_one_of(&["PreemptLowerPriority", "Never"], e);
    }
}

fn update(_: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    meta::again_on_update(new, old, e);
    let (root, old_root) = (Node::root(new), Node::root(old));
    if root.get("value") != old_root.get("value") {
        root.at("value").forbidden("may not be changed in an update.", e);
    }
    root.at("preemptionPolicy").immutable(&old_root.at("preemptionPolicy"), e);
}
