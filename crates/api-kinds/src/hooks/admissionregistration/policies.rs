//! Rules of validating admission policies and of their bindings.

use super::rules::{self, compiles};
use crate::admission::expressions::{self, Names};
use crate::hooks::check::Node;
use crate::hooks::labels;
use api_cel::{Env, Type};
use api_core::field::Errors;
use api_core::names;
use serde_json::Value;
use std::collections::BTreeSet;

const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];
const AUDIT_ANNOTATIONS_MAX: usize = 20;
const AUDIT_VALUE_BYTES_MAX: usize = 5 * 1024;

/// What expressions of a policy may name.
struct Scope {
    /// All there is.
    env: Env,
    /// All but `authorizer`, for messages.
    plain: Env,
}

pub(super) fn validate_policy(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    let spec = root.at("spec");
    let failure = spec.at("failurePolicy");
    if failure.present() {
        failure.one_of(&FAILURE_POLICIES, e)
    } else {
        failure.path_required("", e)
    }
    let params = spec.has("paramKind");
    if params {
        param_kind(&spec.at("paramKind"), e);
    }
    let constraints = spec.at("matchConstraints");
    if constraints.present() {
        rules::match_resources(&constraints, e);
        constraints.at("resourceRules").required(e);
    } else {
        constraints.path_required("", e);
    }
    rules::match_conditions(&spec.at("matchConditions"), params, e);
    let plain = expressions::env(Names { params, authorizer: false });
    let env = expressions::env(Names { params, authorizer: true });
    let mut variables = Vec::new();
    for variable in spec.at("variables").items() {
        declare(&variable, &env, &mut variables, e);
    }
    // Where there are no variables, their name means nothing.
    let scope = match spec.at("variables").is_empty() {
        true => Scope { plain, env },
        false => Scope {
            plain: expressions::with_variables(plain, &variables),
            env: expressions::with_variables(env, &variables),
        },
    };
    let (validations, annotations) = (spec.at("validations"), spec.at("auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        for list in [validations, annotations] {
            list.path_required("validations or auditAnnotations must contain at least one item", e);
        }
        return;
    }
    for item in validations.items() {
        validation(&item, &scope, e);
    }
    audit_annotations(&annotations, root.at("metadata").text("name"), &scope, e);
}

fn param_kind(node: &Node<'_, '_>, e: &mut Errors) {
    let api_version = node.at("apiVersion");
    if api_version.required(e) {
        let text = api_version.str();
        let (group, version) = text.split_once('/').unwrap_or(("", text));
        if version.contains('/') {
            api_version.invalid(&format!("unexpected GroupVersion string: {text}"), e);
        } else {
            let mut joined = |value: &str, wrong: Vec<String>| {
                if !wrong.is_empty() {
                    e.invalid(&api_version.path, value, &wrong.join(","));
                }
            };
            if !group.is_empty() {
                joined(group, names::is_dns1123_subdomain(group));
            }
            if version.is_empty() {
                joined(text, vec!["version must be specified".into()]);
            } else {
                joined(version, names::is_dns1035_label(version));
            }
        }
    }
    let kind = node.at("kind");
    if kind.required(e) {
        let wrong = names::is_dns1035_label(&kind.str().to_lowercase());
        if !wrong.is_empty() {
            kind.invalid(&format!("may have mixed case, but should otherwise match: {}", wrong.join(",")), e);
        }
    }
}

/// Checks a variable and makes it known to what comes after it.
fn declare(node: &Node<'_, '_>, env: &Env, known: &mut Vec<(String, Type)>, e: &mut Errors) {
    let (name, expression) = (node.at("name"), node.at("expression"));
    if name.str().trim().is_empty() {
        name.path_required("name is not specified", e);
    } else if !api_cel::is_identifier(name.str()) {
        name.invalid("name is not a valid CEL identifier", e);
    }
    if expression.str().trim().is_empty() {
        expression.path_required("expression is not specified", e);
        return;
    }
    // What cannot be compiled is declared all the same, so that it is reported once.
    let ty = match expressions::with_variables(env.clone(), known).compile(expression.str()) {
        Ok(program) => program.output().clone(),
        Err(issues) => {
            expression.invalid(&format!("compilation failed: {issues}"), e);
            Type::Dyn
        }
    };
    known.push((name.str().to_owned(), ty));
}

fn validation(node: &Node<'_, '_>, scope: &Scope, e: &mut Errors) {
    let expression = node.at("expression");
    if expression.str().trim().is_empty() {
        expression.path_required("expression is not specified", e);
    } else {
        compiles(&expression, &scope.env, &[Type::Bool], e);
    }
    let made = node.at("messageExpression");
    if !made.is_empty() {
        if made.str().trim().is_empty() {
            made.invalid("must be non-empty if specified", e);
        } else {
            compiles(&made, &scope.plain, &[Type::String], e);
        }
    }
    let message = node.at("message");
    if !message.is_empty() && message.str().trim().is_empty() {
        message.invalid("message must be non-empty if specified", e);
    } else if message.str().trim().contains(['\n', '\r']) {
        message.invalid("message must not contain line breaks", e);
    }
    node.at("reason").one_of_if_any(&REASONS, e);
}

fn audit_annotations(list: &Node<'_, '_>, policy: &str, scope: &Scope, e: &mut Errors) {
    if list.len() > AUDIT_ANNOTATIONS_MAX {
        list.invalid(&format!("must not have more than {AUDIT_ANNOTATIONS_MAX} auditAnnotations"), e);
    }
    let mut seen = BTreeSet::new();
    for item in list.items() {
        let (key, value) = (item.at("key"), item.at("valueExpression"));
        if policy.is_empty() {
            key.invalid("requires metadata.name be non-empty", e);
        } else {
            let whole = format!("{policy}/{}", key.str());
            for why in names::is_qualified_name(&whole) {
                e.invalid(&key.path, &whole, &why);
            }
        }
        let trimmed = value.str().trim();
        if trimmed.is_empty() {
            value.path_required("valueExpression is not specified", e);
        } else if trimmed.len() > AUDIT_VALUE_BYTES_MAX {
            value.too_long(AUDIT_VALUE_BYTES_MAX, e);
        } else {
            compiles(&value, &scope.env, &[Type::String, Type::Null], e);
        }
        if !seen.insert(key.str()) {
            key.duplicate(e);
        }
    }
}

pub(super) fn validate_binding(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    let spec = root.at("spec");
    let policy = spec.at("policyName");
    if policy.required(e) {
        policy.text_is(names::is_dns1123_subdomain, e);
    }
    param_ref(&spec.at("paramRef"), e);
    // The path is misspelt upstream too.
    rules::match_resources(&Node::new(spec.get("matchResources"), spec.path.child("matchResouces")), e);
    actions(&spec.at("validationActions"), e);
}

fn param_ref(node: &Node<'_, '_>, e: &mut Errors) {
    if !node.present() {
        return;
    }
    const EXCLUSIVE: &str = "name and selector are mutually exclusive";
    let (name, selector) = (node.at("name"), node.at("selector"));
    if !name.is_empty() {
        name.text_is(names::is_path_segment, e);
        if selector.present() {
            name.forbidden(EXCLUSIVE, e);
        }
    }
    if selector.present() {
        labels::selector(&selector, e);
        if !name.is_empty() {
            selector.forbidden(EXCLUSIVE, e);
        }
    }
    if name.is_empty() && !selector.present() {
        node.path_required("one of name or selector must be specified", e);
    }
    node.at("parameterNotFoundAction").required_one_of(&["Deny", "Allow"], e);
}

fn actions(list: &Node<'_, '_>, e: &mut Errors) {
    let mut seen = BTreeSet::new();
    for action in list.items() {
        action.one_of(&ACTIONS, e);
        if !seen.insert(action.str()) {
            action.duplicate(e);
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API \
                   response and headers serves no purpose)";
        list.invalid(why, e);
    }
    if seen.is_empty() {
        list.path_required("at least one validation action is required", e);
    }
}
