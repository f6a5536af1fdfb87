//! What a default object that is there lacks: pure functions of what was found and what is wanted.

use crate::authz::rbac::Rule;
use serde_json::Value;

/// Annotation by which a user keeps their hands on a role of ours.
const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
/// The same for flow schemas and priority levels.
const AUTO_UPDATE_SPEC: &str = "apf.kubernetes.io/autoupdate-spec";

/// Leaves what is there as it is.
pub fn keep(_: &Value, _: &Value) -> Option<Value> {
    None
}

/// Adds the rules, subjects, labels and annotations that are missing; takes nothing away.
pub fn role(found: &Value, wanted: &Value) -> Option<Value> {
    if found["metadata"]["annotations"][AUTO_UPDATE] == "false" {
        return None;
    }
    let mut out = found.clone();
    for field in ["labels", "annotations"] {
        if let Some(entries) = wanted["metadata"][field].as_object() {
            for (key, value) in entries {
                if out["metadata"][field][key].is_null() {
                    out["metadata"][field][key] = value.clone();
                }
            }
        }
    }
    // The rules of a role that is put together from others are a controller's.
    if wanted.get("aggregationRule").is_some() {
        add(
            &mut out["aggregationRule"]["clusterRoleSelectors"],
            &wanted["aggregationRule"]["clusterRoleSelectors"],
            |a, b| a == b,
        );
    } else if let Some(rules) = wanted["rules"].as_array() {
        let missing = |rule: &Value| !covers(&found["rules"], rule);
        let missing: Vec<Value> = rules.iter().filter(|r| missing(r)).cloned().collect();
        add(&mut out["rules"], &Value::Array(missing), |_, _| false);
    }
    if wanted.get("subjects").is_some() {
        let same = |a: &Value, b: &Value| ["kind", "name", "namespace"].iter().all(|f| a[*f] == b[*f]);
        add(&mut out["subjects"], &wanted["subjects"], same);
    }
    (out != *found).then_some(out)
}

/// Appends the items of `wanted` that are not the same as one in `list`.
fn add(list: &mut Value, wanted: &Value, same: fn(&Value, &Value) -> bool) {
    let Some(wanted) = wanted.as_array().filter(|w| !w.is_empty()) else { return };
    if !list.is_array() {
        *list = Value::Array(Vec::new());
    }
    let Value::Array(items) = list else { return };
    for item in wanted {
        if !items.iter().any(|have| same(have, item)) {
            items.push(item.clone());
        }
    }
}

fn covers(rules: &Value, wanted: &Value) -> bool {
    let owned: Vec<Rule> = rules.as_array().into_iter().flatten().map(Rule::read).collect();
    crate::authz::rbac::covers(&owned, &[Rule::read(wanted)])
}

/// Puts the wanted `spec` in place as long as the annotation says so. Without the annotation, an object that was never
/// changed is ours, and one that was is the user's; the annotation is then written.
pub fn maintained_spec(found: &Value, wanted: &Value) -> Option<Value> {
    let mut out = found.clone();
    let ours = match found["metadata"]["annotations"][AUTO_UPDATE_SPEC].as_str() {
        Some(text) if text == "true" || text == "false" => text == "true",
        _ => {
            let ours = found["metadata"]["generation"] == 1;
            out["metadata"]["annotations"][AUTO_UPDATE_SPEC] = ours.to_string().into();
            ours
        }
    };
    if ours && !holds(&found["spec"], &wanted["spec"]) {
        out["spec"] = wanted["spec"].clone();
    }
    (out != *found).then_some(out)
}

/// Puts everything but `metadata` in place, and adds labels; for objects that say where this server is.
pub fn fields(found: &Value, wanted: &Value) -> Option<Value> {
    let mut out = found.clone();
    for (field, value) in wanted.as_object()? {
        if field == "metadata" {
            for (key, label) in wanted["metadata"]["labels"].as_object().into_iter().flatten() {
                out["metadata"]["labels"][key] = label.clone();
            }
        } else if !holds(&found[field], value) {
            put(&mut out[field], value);
        }
    }
    (out != *found).then_some(out)
}

/// Writes `wanted` over `found`, field by field; lists are replaced.
fn put(found: &mut Value, wanted: &Value) {
    match wanted.as_object() {
        Some(fields) if found.is_object() => {
            for (field, value) in fields {
                put(&mut found[field], value);
            }
        }
        _ => *found = wanted.clone(),
    }
}

/// Whether `found` has all that `wanted` says; what else it has (defaults, times) does not count.
pub fn holds(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(k, v)| found.get(k).is_some_and(|f| holds(f, v)))
        }
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(f, w)| holds(f, w))
        }
        (found, wanted) => found == wanted,
    }
}

/// The conditions to write if those that are there lack one of `wanted`; what others say stays.
pub fn conditions(found: &Value, wanted: &[Value], now: &str) -> Option<Vec<Value>> {
    let mut out: Vec<Value> = found.as_array().cloned().unwrap_or_default();
    let mut changed = false;
    for condition in wanted {
        if out.iter().any(|have| holds(have, condition)) {
            continue;
        }
        changed = true;
        out.retain(|have| have["type"] != condition["type"]);
        let mut condition = condition.clone();
        condition["lastTransitionTime"] = now.into();
        out.push(condition);
    }
    changed.then_some(out)
}
