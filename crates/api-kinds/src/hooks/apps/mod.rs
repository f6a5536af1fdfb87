//! Kinds of the group apps.

use crate::hooks::check::Node;
use crate::hooks::core::pod;
use crate::hooks::core::storage::claim_spec_warnings;
use crate::hooks::fill::Fill;
use crate::hooks::workload;
use api_core::names;
use api_schema::row::{Generation, Hooks, KeptMetadata, MissingScale, WriteContext};
use serde_json::Value;

mod defaults;
mod stateful;
pub(super) mod validate;

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    match kind {
        "ControllerRevision" => &CONTROLLER_REVISION,
        "DaemonSet" => &DAEMON_SET,
        "Deployment" => &DEPLOYMENT,
        "ReplicaSet" => &REPLICA_SET,
        "StatefulSet" => &STATEFUL_SET,
        _ => &Hooks::NONE,
    }
}

/// What all workloads of this group have in common.
const WORKLOAD: Hooks = Hooks {
    prepare_create: Some(prepare_create),
    prepare_update: Some(prepare_update),
    generation: Generation::SPEC,
    warnings: Some(warnings),
    ..Hooks::NONE
};

static CONTROLLER_REVISION: Hooks = Hooks {
    validate: Some(validate::controller_revision),
    validate_update: Some(validate::controller_revision_update),
    ..Hooks::NONE
};

static DAEMON_SET: Hooks = Hooks {
    default: Some(defaults::daemon_set),
    validate: Some(validate::daemon_set),
    validate_update: Some(validate::daemon_set_update),
    prepare_create: Some(prepare_daemon_set),
    prepare_update: Some(prepare_daemon_set_update),
    warnings: Some(daemon_set_warnings),
    hidden_annotations: &[TEMPLATE_GENERATION],
    ..WORKLOAD
};

static DEPLOYMENT: Hooks = Hooks {
    default: Some(defaults::deployment),
    warnings: Some(named_warnings),
    generation: Generation { metadata: &["annotations"], ..Generation::SPEC },
    status_keeps: KeptMetadata::Fields(&["labels"]),
    reset_fields: Some(|subresource| match subresource {
        "status" => &[&["spec"], &["metadata", "labels"]],
        _ => &[&["status"]],
    }),
    validate: Some(validate::deployment),
    validate_update: Some(validate::deployment_update),
    hidden_annotations: &["deprecated.deployment.rollback.to"],
    ..WORKLOAD
};

static REPLICA_SET: Hooks = Hooks {
    default: Some(defaults::replica_set),
    warnings: Some(named_warnings),
    validate: Some(validate::replica_set),
    validate_update: Some(validate::replica_set_update),
    ..WORKLOAD
};

static STATEFUL_SET: Hooks = Hooks {
    default: Some(defaults::stateful_set),
    validate: Some(stateful::validate),
    validate_update: Some(stateful::update),
    prepare_create: Some(prepare_stateful_set),
    prepare_update: Some(|context, new, _| prepare_stateful_set(context, new)),
    validate_name: Some(names::name_is_dns_label),
    warnings: Some(stateful_set_warnings),
    missing_scale: MissingScale::Object,
    ..WORKLOAD
};

fn prepare_create(_: &WriteContext<'_>, object: &mut Value) {
    object.with_path(&["spec", "template", "spec"], pod::drop_disabled);
}

fn prepare_update(_: &WriteContext<'_>, new: &mut Value, _: &Value) {
    new.with_path(&["spec", "template", "spec"], pod::drop_disabled);
}

fn prepare_stateful_set(context: &WriteContext<'_>, object: &mut Value) {
    prepare_create(context, object);
    // A feature that is off in this version.
    object.with_path(&["spec", "updateStrategy", "rollingUpdate"], |rolling| {
        rolling.as_object_mut().map(|map| map.remove("maxUnavailable"));
    });
}

fn warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let root = Node::root(new);
    let spec = root.at("spec");
    if workload::is_new_generation(new, old) { pod::template_warnings(&spec.at("template")) } else { Vec::new() }
}

fn named_warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let name = old.is_none().then(|| workload::name_warning(new)).flatten();
    name.into_iter().chain(warnings(new, old)).collect()
}

/// An update is warned about if it changes the template.
fn daemon_set_warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let count = |of: &Value| of["metadata"]["annotations"].text(TEMPLATE_GENERATION).to_owned();
    if old.is_some_and(|old| count(old) == count(new)) {
        return Vec::new();
    }
    warnings(new, None)
}

fn stateful_set_warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let mut found = warnings(new, old);
    let root = Node::root(new);
    let spec = root.at("spec");
    for claim in spec.at("volumeClaimTemplates").items() {
        // Upstream names the spec with a capital letter in an update, and not at all before.
        let path = if old.is_some() { claim.path.child("Spec") } else { claim.path };
        claim_spec_warnings(&Node::new(claim.get("spec"), path), &mut found);
    }
    found
}

/// Where the count of a daemon set's templates is kept since its field is gone.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

fn prepare_daemon_set(context: &WriteContext<'_>, object: &mut Value) {
    prepare_create(context, object);
    object.make("metadata").make("annotations")[TEMPLATE_GENERATION] = "1".into();
}

fn prepare_daemon_set_update(context: &WriteContext<'_>, new: &mut Value, old: &Value) {
    prepare_update(context, new, old);
    let was = old["metadata"]["annotations"].text(TEMPLATE_GENERATION).parse::<u64>().unwrap_or(0);
    let changed = new["spec"]["template"] != old["spec"]["template"];
    new.make("metadata").make("annotations")[TEMPLATE_GENERATION] = (was + u64::from(changed)).to_string().into();
}
