//! Kinds of the group flowcontrol.apiserver.k8s.io.

use super::check::Node;
use super::conditions;
use super::fill::Fill;
use super::meta;
use api_core::field::Errors;
use api_schema::row::{Generation, Hooks, KeptMetadata, WriteContext};
use serde_json::{Map, Value};

mod flow_schema;
mod priority_level;

const BASE: Hooks = Hooks {
    prepare_create: Some(drop_status),
    status_keeps: KeptMetadata::All,
    reset_fields: Some(meta::reset_by_status),
    generation: Generation::SPEC,
    ..Hooks::NONE
};

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    match kind {
        "FlowSchema" => {
            &const {
                Hooks {
                    default: Some(default_flow_schema),
                    table_order: Some(|o| o["spec"]["matchingPrecedence"].as_i64().unwrap_or(0)),
                    validate: Some(flow_schema::validate),
                    validate_update: Some(|context, new, _, e| update(context, new, flow_schema::validate, e)),
                    ..BASE
                }
            }
        }
        "PriorityLevelConfiguration" => {
            &const {
                Hooks {
                    default: Some(default_priority_level),
                    validate: Some(priority_level::validate),
                    validate_update: Some(|context, new, _, e| update(context, new, priority_level::validate, e)),
                    ..BASE
                }
            }
        }
        _ => &Hooks::NONE,
    }
}

fn update(context: &WriteContext<'_>, new: &Value, validate: fn(&Value, &mut Errors), e: &mut Errors) {
    if context.subresource != "status" {
        meta::again_on_create(new, e);
        return validate(new, e);
    }
    let root = Node::root(new);
    conditions::validate_types(&root.at("status").at("conditions"), e);
}

fn default_flow_schema(object: &mut Value) {
    object.make("spec").fill_zero("matchingPrecedence", 1000);
}

fn default_priority_level(object: &mut Value) {
    let Some(spec) = object.at_mut("spec") else { return };
    spec.with("limited", |limited| {
        limited.fill("nominalConcurrencyShares", 30);
        limited.fill("lendablePercent", 0);
        limited.with("limitResponse", |response| {
            response.with("queuing", |queuing| {
                queuing.fill_zero("queues", 64);
                queuing.fill_zero("handSize", 8);
                queuing.fill_zero("queueLengthLimit", 50);
            });
        });
    });
    spec.with("exempt", |exempt| {
        exempt.fill("nominalConcurrencyShares", 0);
        exempt.fill("lendablePercent", 0);
    });
}

fn drop_status(_: &WriteContext<'_>, object: &mut Value) {
    object["status"] = Value::Object(Map::new());
}
