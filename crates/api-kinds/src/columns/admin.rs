//! Cells of what administers a cluster: roles, certificates, admission, flow control, leases, API services.

use super::Cells;
use super::access::{age, at, condition, count, flag, has, int, list, name, set_text_or, text};
use super::core::subjects;
use super::duration::human;
use super::text::selector_as_go;
use api_schema::row::Cell;
use serde_json::Value;

/// How a kind's cells are made.
pub fn cells(kind: &str) -> Option<Cells> {
    Some(match kind {
        "APIService" => api_service,
        "CertificateSigningRequest" => signing_request,
        "ClusterRoleBinding" | "RoleBinding" => binding,
        "FlowSchema" => flow_schema,
        "Lease" => |o| vec![name(o), text(o, "spec.holderIdentity").into(), age(o)],
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
            |o| vec![name(o), count(o, "webhooks").into(), age(o)]
        }
        "PriorityClass" => |o| vec![name(o), int(o, "value").into(), flag(o, "globalDefault").into(), age(o)],
        "PriorityLevelConfiguration" => priority_level,
        "RuntimeClass" => |o| vec![name(o), text(o, "handler").into(), age(o)],
        "ValidatingAdmissionPolicy" => policy,
        "ValidatingAdmissionPolicyBinding" => policy_binding,
        _ => return None,
    })
}

fn api_service(o: &Value) -> Vec<Cell> {
    let service = match has(o, "spec.service") {
        true => format!("{}/{}", text(o, "spec.service.namespace"), text(o, "spec.service.name")),
        false => "Local".into(),
    };
    let available = match condition(o, "Available") {
        None => "Unknown".into(),
        Some(c) if text(c, "status") == "True" => "True".to_owned(),
        Some(c) if text(c, "reason").is_empty() => text(c, "status").to_owned(),
        Some(c) => format!("{} ({})", text(c, "status"), text(c, "reason")),
    };
    vec![name(o), service.into(), available.into(), age(o)]
}

fn signing_request(o: &Value) -> Vec<Cell> {
    let has_condition = |kind: &str| condition(o, kind).is_some();
    let mut status = if has_condition("Denied") {
        "Denied"
    } else if has_condition("Approved") {
        "Approved"
    } else {
        "Pending"
    }
    .to_owned();
    if has_condition("Failed") {
        status.push_str(",Failed");
    }
    if !text(o, "status.certificate").is_empty() {
        status.push_str(",Issued");
    }
    let duration = at(o, "spec.expirationSeconds").as_i64().map_or_else(|| "<none>".into(), human);
    vec![
        name(o),
        age(o),
        text(o, "spec.signerName").into(),
        text(o, "spec.username").into(),
        duration.into(),
        status.into(),
    ]
}

fn binding(o: &Value) -> Vec<Cell> {
    let role = format!("{}/{}", text(o, "roleRef.kind"), text(o, "roleRef.name"));
    let mut cells = vec![name(o), role.into(), age(o)];
    cells.extend(subjects(o));
    cells
}

fn flow_schema(o: &Value) -> Vec<Cell> {
    let dangling = list(o, "status.conditions").iter().find(|c| text(c, "type") == "Dangling");
    vec![
        name(o),
        text(o, "spec.priorityLevelConfiguration.name").into(),
        int(o, "spec.matchingPrecedence").into(),
        set_text_or(o, "spec.distinguisherMethod.type", "<none>").into(),
        age(o),
        dangling.map_or("?", |c| text(c, "status")).into(),
    ]
}

fn priority_level(o: &Value) -> Vec<Cell> {
    let number = |path: &str| match at(o, path) {
        Value::Null => Cell::from("<none>"),
        found => found.clone().into(),
    };
    vec![
        name(o),
        text(o, "spec.type").into(),
        number("spec.limited.nominalConcurrencyShares"),
        number("spec.limited.limitResponse.queuing.queues"),
        number("spec.limited.limitResponse.queuing.handSize"),
        number("spec.limited.limitResponse.queuing.queueLengthLimit"),
        age(o),
    ]
}

fn policy(o: &Value) -> Vec<Cell> {
    let kind = match has(o, "spec.paramKind") {
        true => format!("{}/{}", text(o, "spec.paramKind.apiVersion"), text(o, "spec.paramKind.kind")),
        false => "<unset>".into(),
    };
    vec![name(o), count(o, "spec.validations").into(), kind.into(), age(o)]
}

fn policy_binding(o: &Value) -> Vec<Cell> {
    let of = at(o, "spec.paramRef");
    let param = match (text(of, "namespace"), text(of, "name")) {
        (_, "") if has(of, "selector") => selector_as_go(at(of, "selector")),
        (_, "") => "<unset>".into(),
        // Whether parameters have namespaces is not known here.
        ("", name) => format!("*/{name}"),
        (namespace, name) => format!("{namespace}/{name}"),
    };
    vec![name(o), text(o, "spec.policyName").into(), param.into(), age(o)]
}
