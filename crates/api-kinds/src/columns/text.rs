//! Lists, selectors and labels as text.

use super::access::{at, list, text};
use api_schema::row::Cell;
use serde_json::Value;

/// A list, cut after some entries: `a,b + 2 more...`.
pub fn some_of(shown: &[String], total: usize) -> String {
    let joined = shown.join(",");
    if total > shown.len() { format!("{joined} + {} more...", total - shown.len()) } else { joined }
}

/// One field of each of some objects, joined.
pub fn joined(objects: &[Value], field: &str, separator: &str) -> String {
    objects.iter().map(|o| text(o, field)).collect::<Vec<_>>().join(separator)
}

/// `a=b,c=d`, or `<none>`.
pub fn labels(labels: &Value) -> String {
    let pairs = labels.as_object().into_iter().flatten();
    or_none(pairs.map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or(""))).collect::<Vec<_>>().join(","))
}

/// A label selector as its text form; empty if it selects everything or nothing.
pub fn selector(selector: &Value) -> String {
    let mut parts: Vec<(String, String)> = Vec::new();
    for (key, value) in at(selector, "matchLabels").as_object().into_iter().flatten() {
        parts.push((key.clone(), format!("{key}={}", value.as_str().unwrap_or(""))));
    }
    for expression in list(selector, "matchExpressions") {
        let key = text(expression, "key");
        let mut values: Vec<&str> = list(expression, "values").iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        let part = match text(expression, "operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        };
        parts.push((key.to_owned(), part));
    }
    parts.sort_by(|a, b| a.0.cmp(&b.0));
    parts.into_iter().map(|(_, part)| part).collect::<Vec<_>>().join(",")
}

/// A label selector, or `<none>`.
pub fn selector_or_none(value: &Value) -> String {
    or_none(selector(value))
}

/// `<none>` for empty text.
pub fn or_none(text: String) -> String {
    if text.is_empty() { "<none>".into() } else { text }
}

/// Names and images of the containers of a pod spec.
pub fn containers(pod_spec: &Value) -> [Cell; 2] {
    let containers = list(pod_spec, "containers");
    [joined(containers, "name", ",").into(), joined(containers, "image", ",").into()]
}

/// Access modes in their fixed order, each once.
pub fn access_modes(modes: &[Value]) -> String {
    const MODES: [(&str, &str); 4] =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let present = MODES.iter().filter(|(mode, _)| modes.iter().any(|m| m == mode));
    present.map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}
