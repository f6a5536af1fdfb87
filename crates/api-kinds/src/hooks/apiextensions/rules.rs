//! Rules of `x-kubernetes-validations`: what a rule says, whether its expression can be compiled.

use crate::hooks::check::Node;
use api_core::field::Errors;
use serde_json::Value;

const REASONS: [&str; 4] = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

fn has_newline(text: &str) -> bool {
    text.contains(['\n', '\r'])
}

/// Checks a rule of `schema` but for its expressions.
pub(super) fn validate(node: &Node<'_, '_>, schema: &Node<'_, '_>, e: &mut Errors) {
    let (rule, message, made) = (node.at("rule"), node.at("message"), node.at("messageExpression"));
    let (rule_text, message_text) = (rule.str().trim(), message.str().trim());
    if rule_text.is_empty() {
        rule.path_required("rule is not specified", e);
    } else if !message.is_empty() && message_text.is_empty() {
        message.invalid("message must be non-empty if specified", e);
    } else if has_newline(message_text) {
        message.invalid("message must not contain line breaks", e);
    } else if has_newline(rule_text) && message_text.is_empty() {
        message.path_required("message must be specified if rule contains line breaks", e);
    }
    if !made.is_empty() && made.str().trim().is_empty() {
        made.path_required("messageExpression must be non-empty if specified", e);
    }
    node.at("reason").one_of_if_any(&REASONS, e);
    let path = node.at("fieldPath");
    if path.is_empty() {
        return;
    }
    if path.str().trim().is_empty() {
        path.invalid("fieldPath must be non-empty if specified", e);
    }
    if has_newline(path.str()) {
        path.invalid("fieldPath must not contain line breaks", e);
    }
    if !leads_somewhere(schema.value, path.str()) {
        path.invalid("fieldPath must be a valid path", e);
    }
}

/// Whether a path such as `.spec.size` or `.map['key']` names a field of the schema.
fn leads_somewhere(schema: &Value, path: &str) -> bool {
    let (mut at, mut rest) = (schema, path);
    while !rest.is_empty() {
        let (step, after) = if let Some(quoted) = rest.strip_prefix("['") {
            match quoted.split_once("']") {
                Some(parts) => parts,
                None => return false,
            }
        } else if let Some(named) = rest.strip_prefix('.') {
            named.split_at(named.find(['.', '[']).unwrap_or(named.len()))
        } else {
            return false;
        };
        let property = at.get("properties").and_then(|p| p.get(step));
        let Some(next) = property.or_else(|| at.get("additionalProperties").filter(|a| a.is_object())) else {
            return false;
        };
        (at, rest) = (next, after);
    }
    true
}

/// A rule as upstream's errors show it: a value of its language.
pub(super) fn shown(rule: &Value) -> String {
    let text = |field: &str| rule[field].as_str().unwrap_or("");
    // What a pointer points at is shown as an address, which is never the same twice.
    let pointer = |field: &str, kind: &str| {
        let value = if rule[field].is_null() { "nil" } else { "0x0" };
        format!("(*{kind})({value})")
    };
    format!(
        "apiextensions.ValidationRule{{Rule:{:?}, Message:{:?}, MessageExpression:{:?}, Reason:{}, FieldPath:{:?}, \
         OptionalOldSelf:{}}}",
        text("rule"),
        text("message"),
        text("messageExpression"),
        pointer("reason", "apiextensions.FieldValueErrorReason"),
        text("fieldPath"),
        pointer("optionalOldSelf", "bool"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn field_paths() {
        let schema = json!({"properties": {
            "a": {"properties": {"b.c": {"type": "string"}}}, "m": {"additionalProperties": {"type": "string"}},
        }});
        for (path, good) in [
            (".a", true),
            (".a['b.c']", true),
            (".m.x", true),
            (".m['x']", true),
            (".b", false),
            ("a", false),
            (".a['b", false),
        ] {
            assert_eq!(leads_somewhere(&schema, path), good, "{path}");
        }
    }
}
