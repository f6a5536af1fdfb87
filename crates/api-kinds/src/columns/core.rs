//! Cells of the core group's kinds, but for volumes.

use super::access::{age, at, condition, count, flag, has, holds, int, list, name, since, text, text_or};
use super::text::{containers, joined, labels, or_none, selector_or_none, some_of};
use super::{Cells, network, pod};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// How a kind's cells are made.
pub fn cells(kind: &str) -> Option<Cells> {
    Some(match kind {
        "ComponentStatus" => component_status,
        "ConfigMap" => |o, now| vec![name(o), (count(o, "data") + count(o, "binaryData")).into(), age(o, now)],
        "Endpoints" => |o, now| vec![name(o), endpoints(o).into(), age(o, now)],
        "Event" => event,
        "Namespace" => |o, now| vec![name(o), text(o, "status.phase").into(), age(o, now)],
        "Node" => node,
        "Pod" => pod::cells,
        "PodTemplate" => pod_template,
        "ReplicationController" => replication_controller,
        "ResourceQuota" => resource_quota,
        "Secret" => |o, now| vec![name(o), text(o, "type").into(), count(o, "data").into(), age(o, now)],
        "Service" => network::service,
        "ServiceAccount" => |o, now| vec![name(o), count(o, "secrets").into(), age(o, now)],
        _ => return None,
    })
}

fn component_status(o: &Value, _now: i64) -> Vec<Value> {
    let healthy = list(o, "conditions").iter().find(|c| text(c, "type") == "Healthy");
    let status = match healthy.map(|c| text(c, "status")) {
        Some("True") => "Healthy",
        Some(_) => "Unhealthy",
        None => "Unknown",
    };
    let part = |field| healthy.map_or("", |c| text(c, field));
    vec![name(o), status.into(), part("message").into(), part("error").into()]
}

/// Most endpoints that are shown.
const ENDPOINTS_SHOWN_MAX: usize = 3;

fn endpoints(o: &Value) -> String {
    let mut shown = Vec::new();
    let mut total = 0;
    for subset in list(o, "subsets") {
        let addresses = list(subset, "addresses").iter().map(|a| text(a, "ip"));
        let ports = list(subset, "ports");
        let all: Vec<String> = match ports {
            [] => addresses.map(str::to_owned).collect(),
            _ => ports.iter().flat_map(|p| addresses.clone().map(|a| host_port(a, int(p, "port")))).collect(),
        };
        total += all.len();
        shown.extend(all.into_iter().take(ENDPOINTS_SHOWN_MAX - shown.len()));
    }
    if list(o, "subsets").is_empty() { "<none>".into() } else { some_of(&shown, total) }
}

fn host_port(host: &str, port: i64) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn event(o: &Value, now: i64) -> Vec<Value> {
    let first = match has(o, "firstTimestamp") {
        true => since(text(o, "firstTimestamp"), now),
        false => since(text(o, "eventTime"), now),
    };
    let mut last = match has(o, "lastTimestamp") {
        true => since(text(o, "lastTimestamp"), now),
        false => first.clone(),
    };
    let mut times = int(o, "count");
    if has(o, "series") {
        last = since(text(o, "series.lastObservedTime"), now);
        times = int(o, "series.count");
    } else if times == 0 {
        times = 1;
    }
    let kind = text(o, "involvedObject.kind").to_lowercase();
    let target = match text(o, "involvedObject.name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    let component = text_or(o, "source.component", text(o, "reportingComponent"));
    let source = match text_or(o, "source.host", text(o, "reportingInstance")) {
        "" => component.to_owned(),
        instance => format!("{component}, {instance}"),
    };
    vec![
        last.into(),
        text(o, "type").into(),
        text(o, "reason").into(),
        target.into(),
        text(o, "involvedObject.fieldPath").into(),
        source.into(),
        text(o, "message").trim().into(),
        first.into(),
        times.into(),
        name(o),
    ]
}

fn node(o: &Value, now: i64) -> Vec<Value> {
    let mut status = match condition(o, "Ready") {
        Some(_) if holds(o, "Ready") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if flag(o, "spec.unschedulable") {
        status.push_str(",SchedulingDisabled");
    }
    let address = |kind: &str| {
        let found = list(o, "status.addresses").iter().find(|a| text(a, "type") == kind);
        Value::from(found.map_or("<none>", |a| text(a, "address")))
    };
    let info = |field: &str| text_or(at(o, "status.nodeInfo"), field, "<unknown>").into();
    vec![
        name(o),
        status.into(),
        or_none(roles(o)).into(),
        age(o, now),
        text(o, "status.nodeInfo.kubeletVersion").into(),
        address("InternalIP"),
        address("ExternalIP"),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}

fn roles(o: &Value) -> String {
    let mut roles = BTreeSet::new();
    for (key, value) in at(o, "metadata.labels").as_object().into_iter().flatten() {
        let role = match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => role,
            None if key == "kubernetes.io/role" => value.as_str().unwrap_or(""),
            None => "",
        };
        if !role.is_empty() {
            roles.insert(role);
        }
    }
    roles.into_iter().collect::<Vec<_>>().join(",")
}

fn pod_template(o: &Value, _now: i64) -> Vec<Value> {
    let [names, images] = containers(at(o, "template.spec"));
    vec![name(o), names, images, labels(at(o, "template.metadata.labels")).into()]
}

/// Desired, current and ready replicas.
pub fn replicas(o: &Value) -> [Value; 3] {
    ["spec.replicas", "status.replicas", "status.readyReplicas"].map(|path| int(o, path).into())
}

fn replication_controller(o: &Value, now: i64) -> Vec<Value> {
    let mut cells = vec![name(o)];
    cells.extend(replicas(o));
    cells.push(age(o, now));
    cells.extend(containers(at(o, "spec.template.spec")));
    cells.push(labels(at(o, "spec.selector")).into());
    cells
}

fn resource_quota(o: &Value, now: i64) -> Vec<Value> {
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for (resource, hard) in at(o, "status.hard").as_object().into_iter().flatten() {
        let used = at(o, "status.used").get(resource).and_then(Value::as_str).unwrap_or("0");
        let part = format!("{resource}: {used}/{}", hard.as_str().unwrap_or("0"));
        if resource.starts_with("limits.") { limits.push(part) } else { requests.push(part) }
    }
    vec![name(o), age(o, now), requests.join(", ").into(), limits.join(", ").into()]
}

/// Containers, images and selector: the wide columns of most workloads.
pub fn wide(o: &Value, template: &str, selector: &str) -> Vec<Value> {
    let mut cells = containers(at(at(o, template), "spec")).to_vec();
    cells.push(selector_or_none(at(o, selector)).into());
    cells
}

/// Users, groups and service accounts among subjects.
pub fn subjects(o: &Value) -> Vec<Value> {
    let of = |kind: &str| {
        let found: Vec<Value> = list(o, "subjects").iter().filter(|s| text(s, "kind") == kind).cloned().collect();
        found
    };
    let accounts = of("ServiceAccount");
    let accounts: Vec<String> =
        accounts.iter().map(|s| format!("{}/{}", text(s, "namespace"), text(s, "name"))).collect();
    vec![
        json!(joined(&of("User"), "name", ", ")),
        json!(joined(&of("Group"), "name", ", ")),
        json!(accounts.join(", ")),
    ]
}
