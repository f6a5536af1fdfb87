//! Cells of workloads, autoscalers and disruption budgets.

use super::Cells;
use super::access::{age, at, has, holds, int, list, name, set_text_or, since, text};
use super::core::{replicas, wide};
use super::duration::human;
use super::text::{containers, labels, selector};
use api_core::gvk::split_api_version;
use api_core::time::parse_unix_s;
use api_schema::row::Cell;
use serde_json::Value;

/// How a kind's cells are made.
pub fn cells(kind: &str) -> Option<Cells> {
    Some(match kind {
        "ControllerRevision" => controller_revision,
        "CronJob" => cron_job,
        "DaemonSet" => daemon_set,
        "Deployment" => deployment,
        "HorizontalPodAutoscaler" => autoscaler,
        "Job" => job,
        "PodDisruptionBudget" => disruption_budget,
        "ReplicaSet" => replica_set,
        "StatefulSet" => stateful_set,
        _ => return None,
    })
}

fn controller_revision(o: &Value) -> Vec<Cell> {
    let owner = list(o, "metadata.ownerReferences").iter().find(|r| r["controller"] == true);
    let owner = owner.map_or_else(
        || "<none>".to_owned(),
        |r| {
            let kind = match split_api_version(text(r, "apiVersion")) {
                ("", _) => text(r, "kind").to_owned(),
                (group, _) => format!("{}.{group}", text(r, "kind")),
            };
            format!("{}/{}", kind.to_lowercase(), text(r, "name"))
        },
    );
    vec![name(o), owner.into(), int(o, "revision").into(), age(o)]
}

fn cron_job(o: &Value) -> Vec<Cell> {
    let suspend = match at(o, "spec.suspend") {
        Value::Bool(true) => "True",
        Value::Bool(false) => "False",
        _ => "<unset>",
    };
    let last = match has(o, "status.lastScheduleTime") {
        true => since(text(o, "status.lastScheduleTime")),
        false => "<none>".into(),
    };
    let mut cells = vec![
        name(o),
        text(o, "spec.schedule").into(),
        set_text_or(o, "spec.timeZone", "<none>").into(),
        suspend.into(),
        list(o, "status.active").len().into(),
        last,
        age(o),
    ];
    cells.extend(wide(o, "spec.jobTemplate.spec.template", "spec.jobTemplate.spec.selector"));
    cells
}

fn daemon_set(o: &Value) -> Vec<Cell> {
    let mut cells = vec![name(o)];
    let counts = [
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    ];
    cells.extend(counts.iter().map(|field| Cell::from(int(at(o, "status"), field))));
    cells.push(labels(at(o, "spec.template.spec.nodeSelector")).into());
    cells.push(age(o));
    cells.extend(wide(o, "spec.template", "spec.selector"));
    cells
}

/// `ready/desired`.
fn ready(o: &Value) -> Cell {
    format!("{}/{}", int(o, "status.readyReplicas"), int(o, "spec.replicas")).into()
}

fn deployment(o: &Value) -> Vec<Cell> {
    let mut cells = vec![
        name(o),
        ready(o),
        int(o, "status.updatedReplicas").into(),
        int(o, "status.availableReplicas").into(),
        age(o),
    ];
    cells.extend(containers(at(o, "spec.template.spec")));
    cells.push(selector(at(o, "spec.selector")).unwrap_or_else(|| "<invalid>".into()).into());
    cells
}

fn replica_set(o: &Value) -> Vec<Cell> {
    let mut cells = vec![name(o)];
    cells.extend(replicas(o));
    cells.push(age(o));
    cells.extend(wide(o, "spec.template", "spec.selector"));
    cells
}

fn stateful_set(o: &Value) -> Vec<Cell> {
    let mut cells = vec![name(o), ready(o), age(o)];
    cells.extend(containers(at(o, "spec.template.spec")));
    cells
}

fn job(o: &Value) -> Vec<Cell> {
    let succeeded = int(o, "status.succeeded");
    let completions = match (at(o, "spec.completions").as_i64(), int(o, "spec.parallelism")) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallelism @ 2..) => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let status = if holds(o, "Complete") {
        "Complete"
    } else if holds(o, "Failed") {
        "Failed"
    } else if has(o, "metadata.deletionTimestamp") {
        "Terminating"
    } else if holds(o, "Suspended") {
        "Suspended"
    } else if holds(o, "FailureTarget") {
        "FailureTarget"
    } else {
        "Running"
    };
    let time = |path: &str| parse_unix_s(text(o, path));
    let duration = match (time("status.startTime"), time("status.completionTime")) {
        (None, _) => "".into(),
        (Some(start), Some(end)) => human(end - start).into(),
        (Some(_), None) => since(text(o, "status.startTime")),
    };
    let mut cells = vec![name(o), status.into(), completions.into(), duration, age(o)];
    cells.extend(wide(o, "spec.template", "spec.selector"));
    cells
}

fn disruption_budget(o: &Value) -> Vec<Cell> {
    let bound = |path: &str| match at(o, path) {
        Value::String(text) => text.clone(),
        Value::Number(n) => n.to_string(),
        _ => "N/A".into(),
    };
    vec![
        name(o),
        bound("spec.minAvailable").into(),
        bound("spec.maxUnavailable").into(),
        int(o, "status.disruptionsAllowed").into(),
        age(o),
    ]
}

fn autoscaler(o: &Value) -> Vec<Cell> {
    let least = at(o, "spec.minReplicas").as_i64().map_or_else(|| "<unset>".into(), |n| n.to_string());
    let reference = format!("{}/{}", text(o, "spec.scaleTargetRef.kind"), text(o, "spec.scaleTargetRef.name"));
    vec![
        name(o),
        reference.into(),
        metrics(o).into(),
        least.into(),
        int(o, "spec.maxReplicas").into(),
        int(o, "status.currentReplicas").into(),
        age(o),
    ]
}

/// Most metrics that are shown.
const METRICS_SHOWN_MAX: usize = 2;

fn metrics(o: &Value) -> String {
    let specs = list(o, "spec.metrics");
    if specs.is_empty() {
        return "<none>".into();
    }
    let statuses = list(o, "status.currentMetrics");
    let shown: Vec<String> = specs
        .iter()
        .enumerate()
        .take(METRICS_SHOWN_MAX)
        .map(|(i, spec)| metric(spec, statuses.get(i).unwrap_or(&Value::Null)))
        .collect();
    let joined = shown.join(", ");
    match specs.len() - shown.len() {
        0 => joined,
        more => format!("{joined} + {more} more..."),
    }
}

/// An amount that is not there, as Go prints it.
const NIL: &str = "<nil>";

fn metric(spec: &Value, status: &Value) -> String {
    let (field, average) = match text(spec, "type") {
        "External" => ("external", " (avg)"),
        "Object" => ("object", " (avg)"),
        "Pods" => ("pods", ""),
        "Resource" => ("resource", ""),
        "ContainerResource" => ("containerResource", ""),
        _ => return "<unknown type>".into(),
    };
    let (target, current) = (at(at(spec, field), "target"), at(at(status, field), "current"));
    // Upstream looks for the average of External and Object before it prints it, and prints others even if they are nil.
    let looks = matches!(field, "external" | "object");
    let lacking = |kind: &str| {
        let unknown = !has(status, field) || looks && kind == "averageValue";
        if unknown { "<unknown>" } else { NIL }
    };
    let pair = |kind: &str| {
        let current = at(current, kind).as_str().unwrap_or_else(|| lacking(kind));
        format!("{current}/{}", at(target, kind).as_str().unwrap_or(NIL))
    };
    if has(target, "averageValue") || field == "pods" {
        let pair = pair("averageValue");
        return match field {
            "resource" | "containerResource" => format!("{}: {pair}", text(at(spec, field), "name")),
            _ => pair + average,
        };
    }
    if field == "external" || field == "object" {
        return pair("value");
    }
    let percent = |of: &Value, other: &str| {
        at(of, "averageUtilization").as_i64().map_or_else(|| other.to_owned(), |n| format!("{n}%"))
    };
    format!("{}: {}/{}", text(at(spec, field), "name"), percent(current, "<unknown>"), percent(target, "<auto>"))
}
