//! Kinds of the group apps.

use crate::hooks::check::Node;
use crate::hooks::core::pod;
use crate::hooks::fill::Fill;
use api_core::names;
use api_schema::row::{Hooks, WriteContext};
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
    has_generation: true,
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
    hidden_annotations: &[TEMPLATE_GENERATION],
    ..WORKLOAD
};

static DEPLOYMENT: Hooks = Hooks {
    default: Some(defaults::deployment),
    validate: Some(validate::deployment),
    validate_update: Some(validate::deployment_update),
    hidden_annotations: &["deprecated.deployment.rollback.to"],
    ..WORKLOAD
};

static REPLICA_SET: Hooks = Hooks {
    default: Some(defaults::replica_set),
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
    pod::template_warnings(&spec.at("template"), old.map(|old| &old["spec"]["template"]))
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
