//! Labels, annotations and label selectors, wherever they stand.

use super::check::{Node, TextCheck};
use api_core::field::Errors;
use api_core::names;

/// All keys and values of an object's annotations together, in bytes.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

/// Labels; what is wrong with one is reported for all of them together.
pub(super) fn labels(node: &Node<'_, '_>, e: &mut Errors) {
    for (key, value) in node.entries() {
        report(node, key, names::is_qualified_name, e);
        report(node, value.str(), names::is_label_value, e);
    }
}

/// Annotations.
pub(super) fn annotations(node: &Node<'_, '_>, e: &mut Errors) {
    let mut bytes = 0;
    for (key, value) in node.entries() {
        for why in names::is_qualified_name(&key.to_lowercase()) {
            e.invalid(&node.path, key, &why);
        }
        bytes += key.len() + value.str().len();
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        node.too_long(ANNOTATIONS_BYTES_MAX, e);
    }
}

fn report(node: &Node<'_, '_>, text: &str, check: TextCheck, e: &mut Errors) {
    for why in check(text) {
        e.invalid(&node.path, text, &why);
    }
}

/// A `metav1.LabelSelector`.
pub(super) fn selector(node: &Node<'_, '_>, e: &mut Errors) {
    labels(&node.at("matchLabels"), e);
    for requirement in node.at("matchExpressions").items() {
        selector_requirement(&requirement, e);
    }
}

fn selector_requirement(node: &Node<'_, '_>, e: &mut Errors) {
    let values = node.at("values");
    match node.text("operator") {
        "In" | "NotIn" => {
            values.required_because("must be specified when `operator` is 'In' or 'NotIn'", e);
        }
        "Exists" | "DoesNotExist" => {
            if !values.is_empty() {
                values.forbidden("may not be specified when `operator` is 'Exists' or 'DoesNotExist'", e);
            }
        }
        _ => node.at("operator").invalid("not a valid selector operator", e),
    }
    node.at("key").text_is(names::is_qualified_name, e);
    for value in values.items() {
        value.text_is(names::is_label_value, e);
    }
}

/// Whether a selector can be held against labels.
pub(super) fn is_valid_selector(node: &Node<'_, '_>) -> bool {
    let mut own = Errors::new();
    selector(node, &mut own);
    own.is_empty()
}

/// Whether a selector selects everything.
pub(super) fn is_empty_selector(node: &Node<'_, '_>) -> bool {
    node.at("matchLabels").is_empty() && node.at("matchExpressions").is_empty()
}

/// Whether a valid selector matches the labels.
pub(super) fn matches(selector: &Node<'_, '_>, labels: &Node<'_, '_>) -> bool {
    let have = |key: &str| labels.get(key).as_str();
    let equal = selector.at("matchLabels").entries().all(|(key, value)| have(key) == Some(value.str()));
    equal
        && selector.at("matchExpressions").items().all(|r| {
            let found = have(r.text("key"));
            let listed = found.is_some_and(|f| r.at("values").items().any(|v| v.str() == f));
            match r.text("operator") {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
}
