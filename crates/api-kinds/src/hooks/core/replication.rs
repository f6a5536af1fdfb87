//! Replication controllers and pod templates.

use super::{defaults, pod};
use crate::hooks::apps::validate::replica_set_status;
use crate::hooks::check::Node;
use crate::hooks::fill::Fill;
use crate::hooks::{meta, workload};
use api_core::field::Errors;
use api_schema::row::{Generation, Hooks, MissingScale, WriteContext};
use serde_json::Value;

pub(super) static CONTROLLER: Hooks = Hooks {
    default: Some(defaults::replication_controller),
    prepare_create: Some(|_, object| object.with("spec", drop_disabled)),
    prepare_update: Some(|_, new, _| new.with("spec", drop_disabled)),
    generation: Generation::SPEC,
    missing_scale: MissingScale::ScaleOf("autoscaling"),
    validate: Some(controller),
    validate_update: Some(controller_update),
    warnings: Some(controller_warnings),
    orphan_by_default: true,
    ..Hooks::NONE
};

pub(super) static TEMPLATE: Hooks = Hooks {
    default: Some(defaults::pod_template),
    prepare_create: Some(|_, object| drop_disabled(object)),
    prepare_update: Some(|_, new, _| drop_disabled(new)),
    generation: Generation::SPEC,
    validate: Some(|object, e| pod::validate_template(&Node::root(object).at("template"), e)),
    validate_update: Some(|_, new, old, e| {
        meta::again_on_update(new, old, e);
        pod::validate_template(&Node::root(new).at("template"), e);
    }),
    warnings: Some(|new, old| match workload::is_new_generation(new, old) {
        true => pod::template_warnings(&Node::root(new).at("template")),
        false => Vec::new(),
    }),
    ..Hooks::NONE
};

fn drop_disabled(of: &mut Value) {
    of.with("template", |template| template.with("spec", pod::drop_disabled));
}

/// Of an update, upstream warns about the template that there was.
fn controller_warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    if !workload::is_new_generation(new, old) {
        return Vec::new();
    }
    let root = Node::root(old.unwrap_or(new));
    let spec = root.at("spec");
    let name = old.is_none().then(|| workload::name_warning(new)).flatten();
    name.into_iter().chain(pod::template_warnings(&spec.at("template"))).collect()
}

fn controller(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    let spec = root.at("spec");
    spec.at("minReadySeconds").non_negative(e);
    let (selector, template) = (spec.at("selector"), spec.at("template"));
    selector.required(e);
    spec.at("replicas").non_negative(e);
    if !template.present() {
        template.path_required("", e);
        return;
    }
    let metadata = template.at("metadata");
    let labels = metadata.at("labels");
    if !selector.entries().all(|(key, value)| labels.get(key) == value.value) {
        e.invalid(&labels.path, workload::go_map(&labels), "`selector` does not match template `labels`");
    }
    workload::endless_template(&template, "ReplicationController", e);
    workload::read_only_disks(&template, spec.at("replicas").int_or_zero(), e);
}

fn controller_update(context: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    if context.subresource == "status" {
        meta::again_on_update(new, old, e);
        replica_set_status(new, e);
        return;
    }
    meta::again_on_create(new, e);
    controller(new, e);
    meta::again_on_update(new, old, e);
    controller(new, e);
}
