//! Lists, selectors and labels as text.

use super::access::{at, list, text};
use api_core::selector::labels::Selector;
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

/// `a=b,c=d` in the order of these texts, or `<none>`.
pub fn labels(labels: &Value) -> String {
    let pairs = labels.as_object().into_iter().flatten();
    let mut pairs: Vec<String> = pairs.map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or(""))).collect();
    pairs.sort_unstable();
    or_none(pairs.join(","))
}

/// A label selector as its text form; empty if it selects everything or nothing, `None` if it is not valid.
pub fn selector(selector: &Value) -> Option<String> {
    Selector::from_object(Some(selector)).ok().map(|selector| selector.to_string())
}

/// A label selector, or `<none>`, or that it is not valid.
pub fn selector_or_none(value: &Value) -> String {
    selector(value).map_or_else(|| "<error>".into(), or_none)
}

/// A label selector as Go prints its message, as upstream has it where it formats none.
pub fn selector_as_go(selector: &Value) -> String {
    let labels = at(selector, "matchLabels").as_object().into_iter().flatten();
    let mut labels: Vec<(&str, &str)> = labels.map(|(k, v)| (k.as_str(), v.as_str().unwrap_or(""))).collect();
    labels.sort_unstable();
    let labels: String = labels.into_iter().map(|(key, value)| format!("{key}: {value},")).collect();
    let requirement = |e: &Value| {
        let values: Vec<&str> = list(e, "values").iter().filter_map(Value::as_str).collect();
        let (key, operator, values) = (text(e, "key"), text(e, "operator"), values.join(" "));
        format!("LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{values}],}},")
    };
    let requirements: String = list(selector, "matchExpressions").iter().map(requirement).collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},\
         MatchExpressions:[]LabelSelectorRequirement{{{requirements}}},}}"
    )
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
