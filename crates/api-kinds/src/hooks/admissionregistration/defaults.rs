//! Defaults of webhooks and of admission policies.

use crate::hooks::fill::Fill;
use serde_json::Value;

pub(super) fn validating_webhooks(object: &mut Value) {
    object.each_mut("webhooks", default_webhook);
}

pub(super) fn mutating_webhooks(object: &mut Value) {
    object.each_mut("webhooks", |webhook| {
        default_webhook(webhook);
        webhook.fill("reinvocationPolicy", "Never");
    });
}

fn default_webhook(webhook: &mut Value) {
    webhook.fill("failurePolicy", "Fail");
    webhook.fill("timeoutSeconds", 10);
    default_match(webhook);
    webhook.each_mut("rules", |rule| rule.fill("scope", "*"));
    webhook.with("clientConfig", |client| client.with("service", |service| service.fill("port", 443)));
}

pub(super) fn policy(object: &mut Value) {
    let spec = object.make("spec");
    spec.fill("failurePolicy", "Fail");
    spec.with("matchConstraints", default_match_resources);
}

pub(super) fn policy_binding(object: &mut Value) {
    object.with("spec", |spec| spec.with("matchResources", default_match_resources));
}

fn default_match_resources(resources: &mut Value) {
    default_match(resources);
    for list in ["resourceRules", "excludeResourceRules"] {
        resources.each_mut(list, |rule| rule.fill("scope", "*"));
    }
}

fn default_match(of: &mut Value) {
    of.fill("matchPolicy", "Equivalent");
    of.make("namespaceSelector");
    of.make("objectSelector");
}
