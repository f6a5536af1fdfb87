//! Metrics of autoscalers between the form of v2 and the flat form that v1 keeps in annotations.

use super::hpa::in_order;
use serde_json::{Map, Value, json};

/// What a metric says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The target of a spec.
    Wanted,
    /// What was measured, in a status.
    Measured,
}

/// Sources of metrics: `type` and field.
const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
    ("External", "external"),
];

/// Fields of a flat source, in the order in which upstream writes them.
fn order(field: &str, form: Form) -> &'static [&'static str] {
    match (field, form) {
        ("object", Form::Wanted) => &["target", "metricName", "targetValue", "selector", "averageValue"],
        ("object", Form::Measured) => &["target", "metricName", "currentValue", "selector", "averageValue"],
        ("pods", Form::Wanted) => &["metricName", "targetAverageValue", "selector"],
        ("pods", Form::Measured) => &["metricName", "currentAverageValue", "selector"],
        ("external", Form::Wanted) => &["metricName", "metricSelector", "targetValue", "targetAverageValue"],
        ("external", Form::Measured) => &["metricName", "metricSelector", "currentValue", "currentAverageValue"],
        (_, Form::Wanted) => &["name", "targetAverageUtilization", "targetAverageValue", "container"],
        (_, Form::Measured) => &["name", "currentAverageUtilization", "currentAverageValue", "container"],
    }
}

/// Names of the flat fields for a share, an average and a value.
fn amounts(field: &str, form: Form) -> [&'static str; 3] {
    match (field, form) {
        ("object", Form::Wanted) => ["", "averageValue", "targetValue"],
        ("object", Form::Measured) => ["", "averageValue", "currentValue"],
        (_, Form::Wanted) => ["targetAverageUtilization", "targetAverageValue", "targetValue"],
        (_, Form::Measured) => ["currentAverageUtilization", "currentAverageValue", "currentValue"],
    }
}

const AMOUNTS: [&str; 3] = ["averageUtilization", "averageValue", "value"];

fn inner(form: Form) -> &'static str {
    if form == Form::Wanted { "target" } else { "current" }
}

fn selector_name(field: &str) -> &'static str {
    if field == "external" { "metricSelector" } else { "selector" }
}

/// The flat form, as JSON.
pub fn to_v1(metric: &Value, form: Form) -> String {
    let kind = metric["type"].as_str().unwrap_or("");
    let Some((_, field)) = SOURCES.iter().find(|(name, _)| *name == kind) else {
        return json!({"type": kind}).to_string();
    };
    let source = &metric[*field];
    let mut flat = Map::new();
    let mut put = |name: &str, value: &Value| {
        if !name.is_empty() && !value.is_null() {
            flat.insert(name.into(), value.clone());
        }
    };
    put("name", &source["name"]);
    put("container", &source["container"]);
    put("metricName", &source["metric"]["name"]);
    put(selector_name(field), &source["metric"]["selector"]);
    put("target", &source["describedObject"]);
    for (name, flat_name) in AMOUNTS.iter().zip(amounts(field, form)) {
        put(flat_name, &source[inner(form)][*name]);
    }
    if *field == "object" {
        // These are no pointers to upstream, so they are always there.
        put(amounts(field, form)[2], &source[inner(form)].get("value").cloned().unwrap_or_else(|| "0".into()));
    } else if form == Form::Measured {
        let (name, at) = if *field == "external" { ("value", 2) } else { ("averageValue", 1) };
        put(amounts(field, form)[at], &source[inner(form)].get(name).cloned().unwrap_or_else(|| "0".into()));
    }
    format!("{{\"type\":{},{field:?}:{}}}", json!(kind), in_order(&Value::Object(flat), order(field, form)))
}

/// The form of v2.
pub fn from_v1(flat: &Value, form: Form) -> Value {
    let kind = flat["type"].as_str().unwrap_or("");
    let Some((_, field)) = SOURCES.iter().find(|(name, _)| *name == kind) else { return json!({"type": kind}) };
    let old = &flat[*field];
    let mut amount = Map::new();
    for (name, flat_name) in AMOUNTS.iter().zip(amounts(field, form)) {
        if let Some(value) = old.get(flat_name).filter(|_| !flat_name.is_empty()) {
            amount.insert((*name).into(), value.clone());
        }
    }
    if amount.contains_key("averageValue") {
        amount.remove("value");
    }
    if form == Form::Wanted {
        let target = if amount.contains_key("averageUtilization") {
            "Utilization"
        } else if amount.contains_key("averageValue") {
            "AverageValue"
        } else {
            "Value"
        };
        amount.insert("type".into(), target.into());
    }
    let mut source = Map::new();
    source.insert(inner(form).into(), Value::Object(amount));
    for name in ["name", "container"] {
        if let Some(value) = old.get(name) {
            source.insert(name.into(), value.clone());
        }
    }
    if let Some(name) = old.get("metricName") {
        let mut metric = json!({"name": name});
        if let Some(selector) = old.get(selector_name(field)) {
            metric["selector"] = selector.clone();
        }
        source.insert("metric".into(), metric);
    }
    if let Some(target) = old.get("target") {
        source.insert("describedObject".into(), target.clone());
    }
    let mut out = Map::new();
    out.insert("type".into(), kind.into());
    out.insert((*field).into(), Value::Object(source));
    Value::Object(out)
}
