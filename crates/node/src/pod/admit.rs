//! Whether this node takes a pod that was bound to it: room, ports, selectors, operating system, sysctls. Pure.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, NodeSelectorTerm, Pod};

use super::{resources, spec};
use crate::quantity;

/// A refusal: the pod's phase becomes Failed with this reason and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// A word, such as `OutOfcpu`.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

fn refuse(reason: &str, message: impl Into<String>) -> Refusal {
    Refusal { reason: reason.into(), message: message.into() }
}

/// Sysctls that are confined to a pod and harmless.
const SAFE_SYSCTLS: [&str; 10] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
];

/// Decides about `pod` on `node` beside the `others` that it runs.
pub fn admit(pod: &Pod, others: &[Arc<Pod>], node: &Node, unsafe_sysctls: &[String]) -> Result<(), Refusal> {
    check_os(pod)?;
    check_sysctls(pod, unsafe_sysctls)?;
    check_selectors(pod, node)?;
    check_ports(pod, others)?;
    check_resources(pod, others, node)
}

fn check_os(pod: &Pod) -> Result<(), Refusal> {
    match spec::spec(pod).os.as_ref().map(|os| os.name.as_str()) {
        None | Some("linux") => Ok(()),
        Some(_) => Err(refuse("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")),
    }
}

fn check_sysctls(pod: &Pod, allowed: &[String]) -> Result<(), Refusal> {
    let sysctls = spec::spec(pod).security_context.as_ref().and_then(|c| c.sysctls.as_deref()).unwrap_or_default();
    for sysctl in sysctls {
        let name = sysctl.name.replace('/', ".");
        let permitted =
            allowed.iter().any(|a| a.strip_suffix('*').map_or(*a == name, |prefix| name.starts_with(prefix)));
        if !SAFE_SYSCTLS.contains(&name.as_str()) && !permitted {
            return Err(refuse("SysctlForbidden", format!("forbidden sysctl: \"{name}\" not allowlisted")));
        }
    }
    Ok(())
}

fn check_selectors(pod: &Pod, node: &Node) -> Result<(), Refusal> {
    let s = spec::spec(pod);
    let labels = node.metadata.labels.clone().unwrap_or_default();
    let selected = s.node_selector.iter().flatten().all(|(k, v)| labels.get(k) == Some(v));
    let required = s
        .affinity
        .as_ref()
        .and_then(|a| a.node_affinity.as_ref())
        .and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let affine = required.is_none_or(|r| r.node_selector_terms.iter().any(|t| term_matches(t, &labels, name)));
    if selected && affine {
        return Ok(());
    }
    Err(refuse("NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"))
}

fn term_matches(term: &NodeSelectorTerm, labels: &std::collections::BTreeMap<String, String>, name: &str) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let holds = |value: Option<&str>, operator: &str, values: &[String]| match operator {
        "In" => value.is_some_and(|v| values.iter().any(|x| x == v)),
        "NotIn" => value.is_none_or(|v| !values.iter().any(|x| x == v)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" | "Lt" => {
            let bound = values.first().and_then(|v| v.parse::<i64>().ok());
            let value = value.and_then(|v| v.parse::<i64>().ok());
            value.zip(bound).is_some_and(|(v, b)| if operator == "Gt" { v > b } else { v < b })
        }
        _ => false,
    };
    expressions
        .iter()
        .all(|r| holds(labels.get(&r.key).map(String::as_str), &r.operator, r.values.as_deref().unwrap_or_default()))
        && fields.iter().all(|r| {
            holds((r.key == "metadata.name").then_some(name), &r.operator, r.values.as_deref().unwrap_or_default())
        })
}

fn host_ports(pod: &Pod) -> impl Iterator<Item = (i32, &str, &str)> {
    let ports = spec::containers(pod).iter().flat_map(|c| c.ports.iter().flatten());
    ports.filter_map(|p| {
        let port = p.host_port.filter(|h| *h > 0)?;
        Some((
            port,
            p.protocol.as_deref().unwrap_or("TCP"),
            p.host_ip.as_deref().filter(|ip| !ip.is_empty()).unwrap_or("0.0.0.0"),
        ))
    })
}

fn check_ports(pod: &Pod, others: &[Arc<Pod>]) -> Result<(), Refusal> {
    let taken: Vec<_> = others.iter().flat_map(|p| host_ports(p)).collect();
    let clash = host_ports(pod).any(|(port, protocol, ip)| {
        taken.iter().any(|(p, proto, other)| {
            *p == port && *proto == protocol && (ip == *other || ip == "0.0.0.0" || *other == "0.0.0.0")
        })
    });
    if clash {
        Err(refuse(
            "NodePorts",
            "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
        ))
    } else {
        Ok(())
    }
}

fn check_resources(pod: &Pod, others: &[Arc<Pod>], node: &Node) -> Result<(), Refusal> {
    let allocatable = node.status.as_ref().and_then(|s| s.allocatable.as_ref());
    let Some(allocatable) = allocatable else { return Ok(()) };
    let pods = quantity::amount(Some(allocatable), "pods").unwrap_or(i64::MAX);
    let count = i64::try_from(others.len()).unwrap_or(i64::MAX);
    if count + 1 > pods {
        return Err(out_of("pods", 1, count, pods));
    }
    let mut names: Vec<&str> = allocatable.keys().map(String::as_str).filter(|n| *n != "pods").collect();
    names.sort_unstable();
    for name in names {
        let wanted = resources::pod_request(pod, name);
        let capacity = quantity::amount(Some(allocatable), name).unwrap_or(0);
        let used: i64 = others.iter().map(|p| resources::pod_request(p, name)).sum();
        if wanted > 0 && used + wanted > capacity && !spec::is_critical(pod) {
            return Err(out_of(name, wanted, used, capacity));
        }
    }
    Ok(())
}

fn out_of(name: &str, requested: i64, used: i64, capacity: i64) -> Refusal {
    let message =
        format!("Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}");
    refuse(&format!("OutOf{name}"), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
    }

    #[test]
    fn refusals() {
        let node: Node = serde_json::from_value(serde_json::json!({"metadata": {"name": "n", "labels": {"zone": "a"}},
            "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "2"}}}))
        .unwrap();
        let big = serde_json::json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 80}], "resources": {"requests": {"cpu": "1500m"}}}]});
        let other = Arc::new(pod(big.clone()));
        let small = serde_json::json!({"containers": [{"name": "c"}]});
        let affinity = |value: &str| {
            serde_json::json!({"containers": [], "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": [value]}]}]}}}})
        };
        for (spec, others, want) in [
            (small.clone(), 1, None),
            (small.clone(), 2, Some("OutOfpods")),
            (
                serde_json::json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}),
                1,
                Some("OutOfcpu"),
            ),
            (big, 1, Some("NodePorts")),
            (serde_json::json!({"containers": [], "nodeSelector": {"zone": "b"}}), 0, Some("NodeAffinity")),
            (affinity("a"), 0, None),
            (affinity("b"), 0, Some("NodeAffinity")),
            (serde_json::json!({"containers": [], "os": {"name": "windows"}}), 0, Some("PodOSNotSupported")),
            (
                serde_json::json!({"containers": [], "securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}),
                0,
                Some("SysctlForbidden"),
            ),
        ] {
            let others = vec![other.clone(); others];
            let got = admit(&pod(spec.clone()), &others, &node, &[]).err().map(|r| r.reason);
            assert_eq!(got.as_deref(), want, "{spec}");
        }
    }
}
