//! Cells of the core group's kinds, but for volumes.

use super::access::{age, at, count, flag, has, int, list, moment, name, since, text, text_or};
use super::text::{containers, joined, labels, or_none, selector_or_none, some_of};
use super::{Cells, network, pod};
use api_schema::row::Cell;
use serde_json::Value;
use std::collections::BTreeSet;

/// How a kind's cells are made.
pub fn cells(kind: &str) -> Option<Cells> {
    Some(match kind {
        "ComponentStatus" => component_status,
        "ConfigMap" => |o| vec![name(o), (count(o, "data") + count(o, "binaryData")).into(), age(o)],
        "Endpoints" => |o| vec![name(o), endpoints(o).into(), age(o)],
        "Event" => event,
        "Namespace" => |o| vec![name(o), text(o, "status.phase").into(), age(o)],
        "Node" => node,
        "Pod" => pod::cells,
        "PodTemplate" => pod_template,
        "ReplicationController" => replication_controller,
        "ResourceQuota" => resource_quota,
        "Secret" => |o| vec![name(o), text(o, "type").into(), count(o, "data").into(), age(o)],
        "Service" => network::service,
        "ServiceAccount" => |o| vec![name(o), count(o, "secrets").into(), age(o)],
        _ => return None,
    })
}

fn component_status(o: &Value) -> Vec<Cell> {
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

fn event(o: &Value) -> Vec<Cell> {
    let first = match text(o, "firstTimestamp") {
        time if moment(time).is_some() => since(time),
        _ => since(text(o, "eventTime")),
    };
    let mut last = match text(o, "lastTimestamp") {
        time if moment(time).is_some() => since(time),
        _ => first.clone(),
    };
    let mut times = int(o, "count");
    if has(o, "series") {
        last = since(text(o, "series.lastObservedTime"));
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
        last,
        text(o, "type").into(),
        text(o, "reason").into(),
        target.into(),
        text(o, "involvedObject.fieldPath").into(),
        source.into(),
        text(o, "message").trim().into(),
        first,
        times.into(),
        name(o),
    ]
}

fn node(o: &Value) -> Vec<Cell> {
    // Of several conditions upstream takes the last.
    let mut status = match list(o, "status.conditions").iter().rfind(|c| text(c, "type") == "Ready") {
        Some(ready) if text(ready, "status") == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if flag(o, "spec.unschedulable") {
        status.push_str(",SchedulingDisabled");
    }
    let address = |kind: &str| {
        let found = list(o, "status.addresses").iter().find(|a| text(a, "type") == kind);
        Cell::from(found.map_or("<none>", |a| text(a, "address")))
    };
    let info = |field: &str| text_or(at(o, "status.nodeInfo"), field, "<unknown>").into();
    vec![
        name(o),
        status.into(),
        or_none(roles(o)).into(),
        age(o),
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

fn pod_template(o: &Value) -> Vec<Cell> {
    let [names, images] = containers(at(o, "template.spec"));
    vec![name(o), names, images, labels(at(o, "template.metadata.labels")).into()]
}

/// Desired, current and ready replicas.
pub fn replicas(o: &Value) -> [Cell; 3] {
    ["spec.replicas", "status.replicas", "status.readyReplicas"].map(|path| int(o, path).into())
}

fn replication_controller(o: &Value) -> Vec<Cell> {
    let mut cells = vec![name(o)];
    cells.extend(replicas(o));
    cells.push(age(o));
    cells.extend(containers(at(o, "spec.template.spec")));
    cells.push(labels(at(o, "spec.selector")).into());
    cells
}

fn resource_quota(o: &Value) -> Vec<Cell> {
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for (resource, hard) in at(o, "status.hard").as_object().into_iter().flatten() {
        let used = at(o, "status.used").get(resource).and_then(Value::as_str).unwrap_or("0");
        let part = format!("{resource}: {used}/{}", hard.as_str().unwrap_or("0"));
        if resource.starts_with("limits.") { limits.push(part) } else { requests.push(part) }
    }
    vec![name(o), age(o), requests.join(", ").into(), limits.join(", ").into()]
}

/// Containers, images and selector: the wide columns of most workloads.
pub fn wide(o: &Value, template: &str, selector: &str) -> Vec<Cell> {
    let mut cells = Vec::from(containers(at(at(o, template), "spec")));
    cells.push(selector_or_none(at(o, selector)).into());
    cells
}

/// Users, groups and service accounts among subjects.
pub fn subjects(o: &Value) -> Vec<Cell> {
    let of = |kind: &str| {
        let found: Vec<Value> = list(o, "subjects").iter().filter(|s| text(s, "kind") == kind).cloned().collect();
        found
    };
    let accounts = of("ServiceAccount");
    let accounts: Vec<String> =
        accounts.iter().map(|s| format!("{}/{}", text(s, "namespace"), text(s, "name"))).collect();
    vec![
        joined(&of("User"), "name", ", ").into(),
        joined(&of("Group"), "name", ", ").into(),
        accounts.join(", ").into(),
    ]
}
