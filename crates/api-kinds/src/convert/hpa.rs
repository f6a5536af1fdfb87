//! Horizontal pod autoscalers: v1 knows only a CPU target; the rest travels in annotations.

use super::hpa_metrics::{Form, from_v1, to_v1};
use super::{begins, finish};
use api_core::Gvk;
use api_core::meta::Meta;
use serde_json::{Map, Value, json};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const TARGET: &str = "targetCPUUtilizationPercentage";
const CURRENT_CPU: &str = "currentCPUUtilizationPercentage";

/// Between v1 and v2.
pub fn convert(value: &mut Value, to: &Gvk) {
    let Value::Object(object) = value else { return };
    if !begins(object, to) {
        return;
    }
    if to.version == "v1" {
        older(value)
    } else {
        newer(value)
    }
    finish(value, to);
}

fn section<'a>(value: &'a mut Value, name: &str) -> Option<&'a mut Map<String, Value>> {
    value.get_mut(name)?.as_object_mut()
}

fn take_list(section: &mut Map<String, Value>, field: &str) -> Vec<Value> {
    match section.remove(field) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

/// The CPU share of a metric that v1 has a field for.
fn cpu_share(metric: &Value, inner: &str) -> Option<i64> {
    let is_cpu = metric["type"] == "Resource" && metric["resource"]["name"] == "cpu";
    metric["resource"][inner]["averageUtilization"].as_i64().filter(|_| is_cpu)
}

fn older(value: &mut Value) {
    let mut notes: Vec<(&str, String)> = Vec::new();
    if let Some(spec) = section(value, "spec") {
        let mut others = Vec::new();
        for metric in take_list(spec, "metrics") {
            match cpu_share(&metric, "target") {
                Some(share) => drop(spec.insert(TARGET.into(), share.into())),
                None => others.push(to_v1(&metric, Form::Wanted)),
            }
        }
        if !others.is_empty() {
            notes.push((METRICS, format!("[{}]", others.join(","))));
        }
        if let Some(behavior) = spec.remove("behavior") {
            notes.push((BEHAVIOR, ordered_behavior(&behavior)));
        }
    }
    if let Some(status) = section(value, "status") {
        let current = take_list(status, "currentMetrics");
        status.entry("currentReplicas").or_insert(0.into());
        if !current.is_empty() {
            let all: Vec<String> = current.iter().map(|m| to_v1(m, Form::Measured)).collect();
            notes.push((CURRENT, format!("[{}]", all.join(","))));
        }
        if let Some(share) = current.iter().find_map(|m| cpu_share(m, "current")) {
            status.insert(CURRENT_CPU.into(), share.into());
        }
        let conditions = take_list(status, "conditions");
        if !conditions.is_empty() {
            notes.push((CONDITIONS, format!("[{}]", conditions.iter().map(condition).collect::<Vec<_>>().join(","))));
        }
    }
    if notes.is_empty() {
        return;
    }
    let annotations = value.metadata_mut().entry("annotations").or_insert_with(|| json!({}));
    if let Value::Object(annotations) = annotations {
        annotations.extend(notes.into_iter().map(|(key, text)| (key.to_owned(), text.into())));
    }
}

fn newer(value: &mut Value) {
    let mut taken = |key: &str| -> Option<Value> {
        let annotations = value.metadata_mut().get_mut("annotations")?.as_object_mut()?;
        serde_json::from_str(annotations.remove(key)?.as_str()?).ok()
    };
    let (metrics, current, conditions, behavior) = (taken(METRICS), taken(CURRENT), taken(CONDITIONS), taken(BEHAVIOR));
    let list = |v: &Option<Value>| v.as_ref().and_then(Value::as_array).cloned().unwrap_or_default();
    if let Some(spec) = section(value, "spec") {
        let mut all: Vec<Value> = list(&metrics).iter().map(|m| from_v1(m, Form::Wanted)).collect();
        if let Some(share) = spec.remove(TARGET).filter(|v| !v.is_null()) {
            all.push(json!({"type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": share}}}));
        }
        if !all.is_empty() {
            spec.insert("metrics".into(), all.into());
        }
        if let Some(behavior) = behavior {
            spec.insert("behavior".into(), read_behavior(behavior));
        }
    }
    if let Some(status) = section(value, "status") {
        let mut all: Vec<Value> = list(&current).iter().map(|m| from_v1(m, Form::Measured)).collect();
        let share = status.remove(CURRENT_CPU).filter(|v| !v.is_null());
        if let (true, Some(share)) = (all.is_empty(), share) {
            all.push(json!({"type": "Resource",
                "resource": {"name": "cpu", "current": {"averageUtilization": share}}}));
        }
        let current = if all.is_empty() { Value::Null } else { all.into() };
        status.insert("currentMetrics".into(), current);
        status.retain(|field, v| field != "currentReplicas" || *v != 0);
        if let Some(conditions) = conditions {
            status.insert("conditions".into(), conditions);
        }
    }
}

/// Fields of a condition in the order in which upstream writes them.
fn condition(condition: &Value) -> String {
    in_order(condition, &["type", "status", "lastTransitionTime", "reason", "message"])
}

/// Scaling rules as the annotation has them: with the names that fields have in upstream's own form, in its order.
fn ordered_behavior(behavior: &Value) -> String {
    let rules = |rules: &Value| {
        let policy = |p: &Value| {
            format!("{{\"Type\":{},\"Value\":{},\"PeriodSeconds\":{}}}", p["type"], p["value"], p["periodSeconds"])
        };
        let policies = match rules["policies"].as_array() {
            Some(list) => format!("[{}]", list.iter().map(policy).collect::<Vec<_>>().join(",")),
            None => "null".to_owned(),
        };
        let (window, select) = (&rules["stabilizationWindowSeconds"], &rules["selectPolicy"]);
        format!("{{\"StabilizationWindowSeconds\":{window},\"SelectPolicy\":{select},\"Policies\":{policies}}}")
    };
    let direction = |field: &str| behavior.get(field).filter(|v| !v.is_null()).map_or("null".to_owned(), rules);
    format!("{{\"ScaleUp\":{},\"ScaleDown\":{}}}", direction("scaleUp"), direction("scaleDown"))
}

/// Fields of scaling rules, whose names an annotation may write in any case.
const RULE_FIELDS: &[&str] = &[
    "scaleUp",
    "scaleDown",
    "stabilizationWindowSeconds",
    "selectPolicy",
    "policies",
    "type",
    "value",
    "periodSeconds",
];

/// Scaling rules out of the annotation; what is null is left out, and so is what is not known.
fn read_behavior(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let known = |name: &str| RULE_FIELDS.iter().find(|f| f.eq_ignore_ascii_case(name));
            let fields = fields.into_iter().filter(|(_, v)| !v.is_null());
            fields.filter_map(|(k, v)| Some(((*known(&k)?).to_owned(), read_behavior(v)))).collect()
        }
        Value::Array(list) => list.into_iter().map(read_behavior).collect(),
        other => other,
    }
}

/// An object's fields in this order; the others are left out.
pub fn in_order(object: &Value, fields: &[&str]) -> String {
    let parts = fields.iter().filter_map(|field| Some(format!("{field:?}:{}", object.get(*field)?)));
    format!("{{{}}}", parts.collect::<Vec<_>>().join(","))
}
