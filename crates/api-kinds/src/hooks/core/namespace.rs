//! Namespace: rules, finalizers, phase.

use crate::hooks::check::Node;
use crate::hooks::fill::Fill;
use crate::hooks::meta;
use api_core::field::Errors;
use api_core::meta::Meta as _;
use api_core::names;
use api_schema::row::{Hooks, WriteContext};
use serde_json::{Value, json};

/// The finalizer under which a namespace's content is deleted.
const FINALIZER: &str = "kubernetes";
/// The label that says a namespace's name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

pub(super) static NAMESPACE: Hooks = Hooks {
    default: Some(super::defaults::namespace),
    prepare_create: Some(prepare_create),
    prepare_update: Some(prepare_update),
    validate: Some(validate),
    validate_update: Some(update),
    validate_name: Some(names::name_is_dns_label),
    has_spec_finalizers: true,
    ..Hooks::NONE
};

fn prepare_create(_: &WriteContext<'_>, namespace: &mut Value) {
    namespace["status"] = json!({"phase": "Active"});
    // A name that was generated was not there yet when defaults were filled in.
    let name = namespace.name().to_owned();
    if !name.is_empty() && !namespace.meta_str("generateName").is_empty() {
        namespace.make("metadata").make("labels")[NAME_LABEL] = name.into();
    }
    let spec = namespace.make("spec");
    spec.fill("finalizers", json!([]));
    if let Some(list) = spec["finalizers"].as_array_mut()
        && !list.iter().any(|f| f == FINALIZER)
    {
        list.push(FINALIZER.into());
    }
}

fn prepare_update(context: &WriteContext<'_>, new: &mut Value, old: &Value) {
    if context.subresource.is_empty() {
        new.adopt("spec", old);
    }
}

fn validate(object: &Value, e: &mut Errors) {
    finalizers(object, false, e);
}

/// Upstream says which one is wrong only when they are written by themselves (`indexed`).
fn finalizers(object: &Value, indexed: bool, e: &mut Errors) {
    let root = Node::root(object);
    let spec = root.at("spec");
    let finalizers = spec.at("finalizers");
    for finalizer in finalizers.items() {
        let path = if indexed { &finalizer.path } else { &finalizers.path };
        for why in names::is_qualified_name(finalizer.str()) {
            e.invalid(path, finalizer.value, &why);
        }
        if !finalizer.str().contains('/') && finalizer.str() != FINALIZER {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            e.invalid(path, finalizer.value, why);
        }
    }
}

fn update(context: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    if context.subresource.is_empty() {
        meta::again_on_create(new, e);
        validate(new, e);
    }
    meta::again_on_update(new, old, e);
    match context.subresource {
        "finalize" => finalizers(new, true, e),
        "status" => {
            let root = Node::root(new);
            let deleting = root.at("metadata").has("deletionTimestamp");
            let status = root.at("status");
            let phase = Node::new(status.get("phase"), status.path.child("Phase"));
            if deleting != (phase.str() == "Terminating") {
                let (only, when) = if deleting { ("Terminating", "not empty") } else { ("Active", "empty") };
                phase.invalid(&format!("may only be '{only}' if `deletionTimestamp` is {when}"), e);
            }
        }
        _ => {}
    }
}
