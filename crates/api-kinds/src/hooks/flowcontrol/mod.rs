//! Kinds of the group flowcontrol.apiserver.k8s.io.

use super::fill::Fill;
use api_schema::row::Hooks;
use serde_json::Value;

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    match kind {
        "FlowSchema" => &const { Hooks { default: Some(default_flow_schema), ..Hooks::NONE } },
        "PriorityLevelConfiguration" => &const { Hooks { default: Some(default_priority_level), ..Hooks::NONE } },
        _ => &Hooks::NONE,
    }
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
