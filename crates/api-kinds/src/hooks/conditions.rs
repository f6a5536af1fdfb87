//! Rules of conditions in a status: those of the common type, and those of the groups that have their own.

use super::check::Node;
use api_core::field::Errors;
use api_core::names;
use regex::Regex;
use std::collections::HashSet;
use std::sync::LazyLock;

const REASON_BYTES_MAX: usize = 1024;
const MESSAGE_BYTES_MAX: usize = 32 * 1024;
pub(super) const STATUSES: &[&str] = &["False", "True", "Unknown"];

/// A list of `meta/v1` conditions.
pub(super) fn validate(list: &Node<'_, '_>, e: &mut Errors) {
    let mut seen = HashSet::new();
    for condition in list.items() {
        let kind = condition.at("type");
        if !seen.insert(kind.str()) {
            kind.duplicate(e);
        }
        kind.text_is(names::is_qualified_name, e);
        condition.at("status").one_of(STATUSES, e);
        condition.at("observedGeneration").non_negative(e);
        condition.at("lastTransitionTime").required_because("must be set", e);
        reason(&condition.at("reason"), e);
        let message = condition.at("message");
        if message.str().len() > MESSAGE_BYTES_MAX {
            message.too_long(MESSAGE_BYTES_MAX, e);
        }
    }
}

fn reason(reason: &Node<'_, '_>, e: &mut Errors) {
    static FORMAT: LazyLock<Regex> =
        LazyLock::new(|| Regex::new("^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$").expect("a pattern"));
    if !reason.required_because("must be set", e) {
        return;
    }
    if !FORMAT.is_match(reason.str()) {
        let why = "a condition reason must start with alphabetic character, optionally followed by a string of \
                   alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or \
                   'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is \
                   '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";
        reason.invalid(why, e);
    }
    if reason.str().len() > REASON_BYTES_MAX {
        reason.too_long(REASON_BYTES_MAX, e);
    }
}

/// A list of conditions of which no more is asked than that each has a type of its own.
pub(super) fn validate_types(list: &Node<'_, '_>, e: &mut Errors) {
    let mut seen = HashSet::new();
    for condition in list.items() {
        let kind = condition.at("type");
        if !seen.insert(kind.str()) {
            kind.duplicate(e);
        }
        kind.required(e);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_condition_is_whole_and_there_once() {
        let good =
            json!({"type": "Ready", "status": "True", "lastTransitionTime": "t", "reason": "Why", "message": ""});
        for (field, value, expected) in [
            ("type", json!("Ready"), vec!["FieldValueDuplicate [1].type"]),
            ("type", json!("a b"), vec!["FieldValueInvalid [1].type"]),
            ("status", json!("yes"), vec!["FieldValueNotSupported [1].status"]),
            ("observedGeneration", json!(-1), vec!["FieldValueInvalid [1].observedGeneration"]),
            ("lastTransitionTime", json!(null), vec!["FieldValueRequired [1].lastTransitionTime"]),
            ("reason", json!(""), vec!["FieldValueRequired [1].reason"]),
            ("reason", json!("1st"), vec!["FieldValueInvalid [1].reason"]),
        ] {
            let mut second = good.clone();
            second["type"] = "Other".into();
            second[field] = value;
            let list = json!([good, second]);
            let mut e = Errors::new();
            validate(&Node::root(&list), &mut e);
            let causes: Vec<String> = e.0.iter().map(|e| format!("{} {}", e.kind.reason(), e.field)).collect();
            assert_eq!(causes, expected, "{field}");
        }
    }
}
