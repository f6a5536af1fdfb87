//! Limit ranges: default requests and limits of containers, and bounds of containers, pods and claims.

use super::{items, text};
use crate::quota::{Amounts, peak, read};
use api_core::quantity::Quantity;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Gives the containers of a new pod the defaults of the namespace's limit ranges, and notes what the last of them set.
pub fn default_pod(pod: &mut Value, ranges: &[Value]) {
    for range in ranges {
        let mut notes = Vec::new();
        let (mut limits, mut requests) = (Map::new(), Map::new());
        for limit in items(&range["spec"], "limits").filter(|l| text(l, "type") == "Container") {
            for (field, into) in [("default", &mut limits), ("defaultRequest", &mut requests)] {
                for (key, value) in limit[field].as_object().into_iter().flatten() {
                    into.insert(key.clone(), value.clone());
                }
            }
        }
        for (list, kind) in [("containers", "container"), ("initContainers", "init container")] {
            for container in pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                let name = text(container, "name").to_owned();
                for (field, defaults, word) in [("requests", &requests, "request"), ("limits", &limits, "limit")] {
                    let set = fill(container, field, defaults);
                    if !set.is_empty() {
                        notes.push(format!("{} {word} for {kind} {name}", set.join(", ")));
                    }
                }
            }
        }
        if !notes.is_empty() {
            pod["metadata"]["annotations"]["kubernetes.io/limit-ranger"] =
                format!("LimitRanger plugin set: {}", notes.join("; ")).into();
        }
    }
}

/// Adds what is missing; returns the names of what was set, sorted.
fn fill(container: &mut Value, field: &str, defaults: &Map<String, Value>) -> Vec<String> {
    let mut set = Vec::new();
    for (key, value) in defaults {
        if container["resources"][field].get(key).is_none() {
            if !container["resources"].is_object() {
                container["resources"] = json!({});
            }
            container["resources"][field][key] = value.clone();
            set.push(key.clone());
        }
    }
    set.sort();
    set
}

/// What in a pod is out of the namespace's bounds.
pub fn check_pod(pod: &Value, ranges: &[Value]) -> Vec<String> {
    let mut errors = Vec::new();
    for limit in ranges.iter().flat_map(|r| items(&r["spec"], "limits")) {
        match text(limit, "type") {
            "Container" => {
                for container in ["containers", "initContainers"].into_iter().flat_map(|l| items(&pod["spec"], l)) {
                    let resources = &container["resources"];
                    check(limit, &read(&resources["requests"]), &read(&resources["limits"]), &mut errors);
                }
            }
            "Pod" => check(limit, &peak(pod, "requests"), &peak(pod, "limits"), &mut errors),
            _ => {}
        }
    }
    // What is wrong with several containers is said once.
    let mut said = BTreeSet::new();
    errors.retain(|error| said.insert(error.clone()));
    errors
}

/// What in a claim is out of the namespace's bounds.
pub fn check_claim(claim: &Value, ranges: &[Value]) -> Vec<String> {
    let mut errors = Vec::new();
    let requests = read(&claim["spec"]["resources"]["requests"]);
    let limits = ranges.iter().flat_map(|r| items(&r["spec"], "limits"));
    for limit in limits.filter(|l| text(l, "type") == "PersistentVolumeClaim") {
        for (name, bound) in read(&limit["min"]) {
            errors.extend(too_small("PersistentVolumeClaim", &name, bound, requests.get(&name), None));
        }
        for (name, bound) in read(&limit["max"]) {
            let base = format!("maximum {name} usage per PersistentVolumeClaim is {bound}");
            match requests.get(&name) {
                None => errors.push(format!("{base}.  No request is specified")),
                Some(request) if *request > bound => errors.push(format!("{base}, but request is {request}")),
                Some(_) => {}
            }
        }
    }
    errors
}

fn check(limit: &Value, requests: &Amounts, limits: &Amounts, errors: &mut Vec<String>) {
    let kind = text(limit, "type");
    for (name, bound) in read(&limit["min"]) {
        errors.extend(too_small(kind, &name, bound, requests.get(&name), limits.get(&name)));
    }
    for (name, bound) in read(&limit["max"]) {
        errors.extend(too_large(kind, &name, bound, requests.get(&name), limits.get(&name)));
    }
    for (name, bound) in read(&limit["maxLimitRequestRatio"]) {
        errors.extend(too_wide(kind, &name, bound, requests.get(&name), limits.get(&name)));
    }
}

fn too_small(
    kind: &str,
    name: &str,
    bound: Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let base = format!("minimum {name} usage per {kind} is {bound}");
    match (request, limit) {
        (None, _) => Some(format!("{base}.  No request is specified")),
        (Some(request), _) if *request < bound => Some(format!("{base}, but request is {request}")),
        (_, Some(limit)) if *limit < bound => Some(format!("{base}, but limit is {limit}")),
        _ => None,
    }
}

fn too_large(
    kind: &str,
    name: &str,
    bound: Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let base = format!("maximum {name} usage per {kind} is {bound}");
    match (request, limit) {
        (_, None) => Some(format!("{base}.  No limit is specified")),
        (_, Some(limit)) if *limit > bound => Some(format!("{base}, but limit is {limit}")),
        (Some(request), _) if *request > bound => Some(format!("{base}, but request is {request}")),
        _ => None,
    }
}

fn too_wide(
    kind: &str,
    name: &str,
    bound: Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let base = format!("{name} max limit to request ratio per {kind} is {bound}, but");
    let Some(request) = request.filter(|q| !q.is_zero()) else {
        return Some(format!("{base} no request is specified or request is 0"));
    };
    let Some(limit) = limit.filter(|q| !q.is_zero()) else {
        return Some(format!("{base} no limit is specified or limit is 0"));
    };
    let ratio = limit.as_f64() / request.as_f64();
    (ratio > bound.as_f64()).then(|| format!("{base} provided ratio is {ratio:.6}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(limit: Value) -> [Value; 1] {
        [json!({"spec": {"limits": [limit]}})]
    }

    #[test]
    fn containers_get_defaults_and_a_note() {
        let mut pod = json!({"metadata": {}, "spec": {"containers": [
            {"name": "a"}, {"name": "b", "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}}]}});
        default_pod(
            &mut pod,
            &range(
                json!({"type": "Container", "default": {"cpu": "500m", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}}),
            ),
        );
        assert_eq!(
            pod["spec"]["containers"][0]["resources"],
            json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "500m", "memory": "1Gi"}})
        );
        assert_eq!(
            pod["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
            "LimitRanger plugin set: cpu request for container a; cpu, memory limit for container a; memory limit for container b"
        );
    }

    #[test]
    fn bounds() {
        let pod = |resources: Value| json!({"spec": {"containers": [{"name": "a", "resources": resources}]}});
        let container = |field: &str, v: &str| json!({"type": "Container", field: {"cpu": v}});
        let both = |request: &str, limit: &str| json!({"requests": {"cpu": request}, "limits": {"cpu": limit}});
        let table = [
            (container("min", "100m"), both("50m", "1"), "minimum cpu usage per Container is 100m, but request is 50m"),
            (container("min", "100m"), json!({}), "minimum cpu usage per Container is 100m.  No request is specified"),
            (container("max", "1"), both("1", "2"), "maximum cpu usage per Container is 1, but limit is 2"),
            (
                container("max", "1"),
                json!({"requests": {"cpu": "1"}}),
                "maximum cpu usage per Container is 1.  No limit is specified",
            ),
            (
                container("maxLimitRequestRatio", "2"),
                both("100m", "500m"),
                "cpu max limit to request ratio per Container is 2, but provided ratio is 5.000000",
            ),
            (container("max", "2"), both("1", "2"), ""),
            (
                json!({"type": "Pod", "maxLimitRequestRatio": {"cpu": "2"}}),
                json!({"limits": {"cpu": "2"}}),
                "cpu max limit to request ratio per Pod is 2, but no request is specified or request is 0",
            ),
            (
                json!({"type": "Pod", "max": {"cpu": "1"}}),
                both("1", "2"),
                "maximum cpu usage per Pod is 1, but limit is 2",
            ),
        ];
        for (limit, resources, want) in table {
            assert_eq!(check_pod(&pod(resources), &range(limit)).join("; "), want);
        }
        let claim = json!({"spec": {"resources": {"requests": {"storage": "5Gi"}}}});
        let limit = json!({"type": "PersistentVolumeClaim", "max": {"storage": "2Gi"}});
        assert_eq!(
            check_claim(&claim, &range(limit)),
            ["maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 5Gi"]
        );
    }
}
