//! Rules of webhook configurations, and of the way to reach a webhook.

use super::rules::{self, MATCH_POLICIES};
use crate::hooks::check::Node;
use crate::hooks::{labels, url};
use api_core::field::Errors;
use api_core::names;
use serde_json::Value;
use std::collections::BTreeSet;

const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
const SIDE_EFFECTS: [&str; 2] = ["None", "NoneOnDryRun"];
const REINVOCATION: [&str; 2] = ["IfNeeded", "Never"];
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];

pub(super) fn validate_validating(object: &Value, e: &mut Errors) {
    webhooks(object, false, e);
}

pub(super) fn validate_mutating(object: &Value, e: &mut Errors) {
    webhooks(object, true, e);
}

fn webhooks(object: &Value, mutating: bool, e: &mut Errors) {
    let root = Node::root(object);
    let mut seen = BTreeSet::new();
    for hook in root.at("webhooks").items() {
        webhook(&hook, mutating, e);
        review_versions(&hook.at("admissionReviewVersions"), e);
        let name = hook.at("name");
        if !name.is_empty() && !seen.insert(name.str()) {
            name.duplicate(e);
        }
    }
}

fn webhook(hook: &Node<'_, '_>, mutating: bool, e: &mut Errors) {
    let name = hook.at("name");
    if name.required(e) {
        let wrong = names::is_fully_qualified_name(name.str());
        if !wrong.is_empty() {
            name.invalid(&wrong.join(","), e);
        }
    }
    for rule in hook.at("rules").items() {
        rules::rule(&rule, e);
    }
    hook.at("failurePolicy").one_of_if_any(&FAILURE_POLICIES, e);
    hook.at("matchPolicy").one_of_if_any(&MATCH_POLICIES, e);
    let side_effects = hook.at("sideEffects");
    if side_effects.present() {
        side_effects.one_of(&SIDE_EFFECTS, e);
    } else {
        side_effects.path_required("must specify one of None, NoneOnDryRun", e);
    }
    let timeout = hook.at("timeoutSeconds");
    if timeout.int().is_some_and(|s| !(1..=30).contains(&s)) {
        timeout.invalid("the timeout value must be between 1 and 30 seconds", e);
    }
    for selector in ["namespaceSelector", "objectSelector"] {
        labels::selector(&hook.at(selector), e);
    }
    if mutating {
        hook.at("reinvocationPolicy").one_of_if_any(&REINVOCATION, e);
    }
    let client = hook.at("clientConfig");
    let (url, service) = (client.at("url"), client.at("service"));
    match (url.present(), service.present()) {
        (true, false) => webhook_url(&url, e),
        (false, true) => webhook_service(&service, e),
        _ => client.path_required("exactly one of url or service is required", e),
    }
    rules::match_conditions(&hook.at("matchConditions"), false, e);
}

fn review_versions(list: &Node<'_, '_>, e: &mut Errors) {
    if list.is_empty() {
        return list.path_required("must specify one of v1, v1beta1", e);
    }
    let mut seen = BTreeSet::new();
    for version in list.items() {
        if seen.insert(version.str()) {
            version.text_is(names::is_dns1035_label, e);
        } else {
            version.invalid("duplicate version", e);
        }
    }
    if !seen.iter().any(|v| REVIEW_VERSIONS.contains(v)) {
        list.invalid("must include at least one of v1, v1beta1", e);
    }
}

/// A URL of a webhook: `https://host[/path]`.
pub(in crate::hooks) fn webhook_url(node: &Node<'_, '_>, e: &mut Errors) {
    const FORM: &str = "; desired format: https://host[/path]";
    let url = match url::parse(node.str()) {
        Ok(url) => url,
        Err(why) => return node.path_required(&format!("url must be a valid URL: {why}{FORM}"), e),
    };
    let mut invalid = |value: &str, why: &str| e.invalid(&node.path, value, why);
    if url.scheme != "https" {
        invalid(&url.scheme, &format!("'https' is the only allowed URL scheme{FORM}"));
    }
    if url.host.is_empty() {
        invalid(url.host, &format!("host must be specified{FORM}"));
    }
    if let Some(user) = &url.user {
        invalid(user, "user information is not permitted in the URL");
    }
    if !url.fragment.is_empty() {
        invalid(url.fragment, "fragments are not permitted in the URL");
    }
    if !url.query.is_empty() {
        invalid(url.query, "query parameters are not permitted in the URL");
    }
}

/// The service of a webhook.
pub(in crate::hooks) fn webhook_service(node: &Node<'_, '_>, e: &mut Errors) {
    // Upstream mixes the two up.
    for (field, other) in [("namespace", "name"), ("name", "namespace")] {
        if node.at(field).is_empty() {
            node.at(other).path_required(&format!("service {other} is required"), e);
        }
    }
    let port = node.at("port");
    let wrong = names::is_port_number(port.int_or_zero());
    if !wrong.is_empty() {
        e.invalid(&port.path, port.int_or_zero(), &format!("port is not valid: {}", wrong.join(",")));
    }
    let path = node.at("path");
    match path.str() {
        "" | "/" => {}
        "//" => path.invalid("segment[0] may not be empty", e),
        text => {
            if !text.starts_with('/') {
                path.invalid("must start with a '/'", e);
            }
            // Upstream drops the first character whatever it is.
            let rest = text.char_indices().nth(1).map_or("", |(i, _)| &text[i..]);
            for (i, step) in rest.strip_suffix('/').unwrap_or(rest).split('/').enumerate() {
                if step.is_empty() {
                    path.invalid(&format!("segment[{i}] may not be empty"), e);
                    continue;
                }
                for why in names::is_dns1123_subdomain(step) {
                    path.invalid(&format!("segment[{i}]: {why}"), e);
                }
            }
        }
    }
}
