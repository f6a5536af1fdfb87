//! Values as Go prints them: some answers quote them so.

use serde_json::{Map, Value};

/// A value as `%v` has it: `map[a:1 b:[x y]]`.
pub fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(s) => s.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(go_text).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => go_map(map),
        Value::Number(n) if n.is_f64() => api_core::go::double(n.as_f64().unwrap_or_default()),
        other => other.to_string(),
    }
}

/// The same of an object.
pub(crate) fn go_map(map: &Map<String, Value>) -> String {
    let entries: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{}", go_text(v))).collect();
    format!("map[{}]", entries.join(" "))
}
