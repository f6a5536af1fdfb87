//! Admission rules of built-in kinds, as pure functions of objects. Their order, and what they read, is the server's.
//!
//! A function that changes returns nothing or the words of a refusal; whether it is a 403 or a 422 is the server's too.

pub mod certificates;
pub mod conditions;
pub mod expressions;
pub mod limit_ranges;
pub mod matching;
pub mod node_restriction;
pub mod pod_security;
pub mod pods;
pub mod policies;
pub mod service_account;
pub mod storage;
pub mod typecheck;
pub mod webhooks;

use serde_json::Value;

/// Items of a list field; none if it is absent.
pub(crate) fn items<'a>(parent: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    parent.get(field).and_then(Value::as_array).into_iter().flatten()
}

/// A list field for writing, made if it is absent.
fn list_mut<'a>(parent: &'a mut Value, field: &str) -> &'a mut Vec<Value> {
    if !parent[field].is_array() {
        parent[field] = Value::Array(Vec::new());
    }
    match &mut parent[field] {
        Value::Array(list) => list,
        _ => unreachable!("made an array above"),
    }
}

/// Text of a field; empty if it is absent.
pub(crate) fn text<'a>(parent: &'a Value, field: &str) -> &'a str {
    parent.get(field).and_then(Value::as_str).unwrap_or("")
}

/// The newest of the classes that `annotation` marks as default; of equally old ones, the first by name.
fn newest_default<'a>(classes: &'a [Value], annotations: &[&str]) -> Option<&'a Value> {
    use api_core::meta::Meta;
    let marked = |c: &&Value| annotations.iter().any(|a| c.annotation(a) == Some("true"));
    let mut found: Vec<&Value> = classes.iter().filter(marked).collect();
    let created = |v: &Value| v.meta_str("creationTimestamp").to_owned();
    found.sort_by(|a, b| created(b).cmp(&created(a)).then_with(|| a.name().cmp(b.name())));
    found.first().copied()
}
