//! Rules of a container's environment.

use super::downward;
use crate::hooks::check::Node;
use api_core::field::Errors;
use api_core::names;

const ONE_ONLY: &str = "may not have more than one field specified at a time";

/// `env`.
pub(super) fn variables(list: &Node<'_, '_>, e: &mut Errors) {
    for variable in list.items() {
        variable.at("name").required_text(names::is_env_var_name, e);
        let from = variable.at("valueFrom");
        if from.present() {
            value_from(&from, variable.text("value"), e);
        }
    }
}

fn value_from(from: &Node<'_, '_>, value: &str, e: &mut Errors) {
    let mut sources = 0;
    let mut source = |field: &'static str, check: fn(&Node<'_, '_>, &mut Errors)| {
        if from.has(field) {
            sources += 1;
            check(&from.at(field), e);
        }
    };
    source("fieldRef", |node, e| downward::field(node, downward::ENV_FIELDS, e));
    source("resourceFieldRef", |node, e| downward::resource(node, false, e));
    source("configMapKeyRef", key_selector);
    source("secretKeyRef", key_selector);
    if sources == 0 {
        let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`";
        e.invalid(&from.path, "", why);
    } else if !value.is_empty() {
        e.invalid(&from.path, "", "may not be specified when `value` is not empty");
    } else if sources > 1 {
        e.invalid(&from.path, "", ONE_ONLY);
    }
}

fn key_selector(node: &Node<'_, '_>, e: &mut Errors) {
    node.at("name").text_is(names::is_dns1123_subdomain, e);
    node.at("key").required_text(names::is_config_map_key, e);
}

/// `envFrom`.
pub(super) fn sources(list: &Node<'_, '_>, e: &mut Errors) {
    for from in list.items() {
        from.at("prefix").text_if_any(names::is_env_var_name, e);
        let present: Vec<&str> = ["configMapRef", "secretRef"].into_iter().filter(|f| from.has(f)).collect();
        for field in &present {
            // As a prefix of a name, as upstream has it: it may end in a dash.
            from.at(field).at("name").required_text(|name| names::name_is_dns_subdomain(name, true), e);
        }
        match present.len() {
            0 => e.invalid(&list.path, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => e.invalid(&list.path, "", ONE_ONLY),
        }
    }
}
