//! Cells of services, ingresses, endpoint slices and policies.

use super::Cells;
use super::access::{age, at, has, int, list, name, set_text_or, text, text_or};
use super::text::{labels, or_none, selector_or_none, some_of};
use api_schema::row::Cell;
use serde_json::Value;
use std::collections::BTreeSet;

/// How a kind's cells are made.
pub fn cells(kind: &str) -> Option<Cells> {
    Some(match kind {
        "EndpointSlice" => endpoint_slice,
        "Ingress" => ingress,
        "IngressClass" => ingress_class,
        "NetworkPolicy" => |o| vec![name(o), selector_or_none(at(o, "spec.podSelector")).into(), age(o)],
        _ => return None,
    })
}

/// Name, type, addresses, ports, age, selector.
pub fn service(o: &Value) -> Vec<Cell> {
    let internal = list(o, "spec.clusterIPs").first().and_then(Value::as_str).unwrap_or("<none>");
    vec![
        name(o),
        text(o, "spec.type").into(),
        internal.into(),
        external(o).into(),
        or_none(list(o, "spec.ports").iter().map(port).collect::<Vec<_>>().join(",")).into(),
        age(o),
        labels(at(o, "spec.selector")).into(),
    ]
}

fn port(port: &Value) -> String {
    let (number, protocol) = (int(port, "port"), text(port, "protocol"));
    match int(port, "nodePort") {
        ..=0 => format!("{number}/{protocol}"),
        node_port => format!("{number}:{node_port}/{protocol}"),
    }
}

fn external(o: &Value) -> String {
    let given: Vec<&str> = list(o, "spec.externalIPs").iter().filter_map(Value::as_str).collect();
    match text(o, "spec.type") {
        "ClusterIP" | "NodePort" => or_none(given.join(",")),
        "ExternalName" => text(o, "spec.externalName").into(),
        "LoadBalancer" => {
            let balancer = balancer(o);
            let all: Vec<&str> = Some(balancer.as_str()).into_iter().filter(|b| !b.is_empty()).chain(given).collect();
            if all.is_empty() { "<pending>".into() } else { all.join(",") }
        }
        _ => "<unknown>".into(),
    }
}

/// Addresses of a load balancer, sorted, each once.
fn balancer(o: &Value) -> String {
    let ingress = list(o, "status.loadBalancer.ingress").iter();
    let all: BTreeSet<&str> =
        ingress.map(|i| text_or(i, "ip", text(i, "hostname"))).filter(|a| !a.is_empty()).collect();
    all.into_iter().collect::<Vec<_>>().join(",")
}

/// Most hosts, ports or endpoints that are shown.
const SHOWN_MAX: usize = 3;

fn ingress(o: &Value) -> Vec<Cell> {
    let rules = list(o, "spec.rules");
    let hosts = rules.iter().enumerate().map(|(place, rule)| (place, text(rule, "host")));
    let hosts: Vec<_> = hosts.filter(|(_, host)| !host.is_empty()).take(SHOWN_MAX).collect();
    let shown = hosts.iter().map(|(_, host)| *host).collect::<Vec<_>>().join(",");
    let hosts = match hosts.get(SHOWN_MAX - 1) {
        // Rules without a host count, if they come later.
        Some((last, _)) if last + 1 < rules.len() => format!("{shown} + {} more...", rules.len() - SHOWN_MAX),
        _ if shown.is_empty() => "*".into(),
        _ => shown,
    };
    vec![
        name(o),
        set_text_or(o, "spec.ingressClassName", "<none>").into(),
        hosts.into(),
        balancer(o).into(),
        if list(o, "spec.tls").is_empty() { "80" } else { "80, 443" }.into(),
        age(o),
    ]
}

fn ingress_class(o: &Value) -> Vec<Cell> {
    let of = at(o, "spec.parameters");
    let parameters = match (has(o, "spec.parameters"), at(of, "apiGroup").as_str()) {
        (false, _) => "<none>".into(),
        (true, None) => format!("{}/{}", text(of, "kind"), text(of, "name")),
        (true, Some(group)) => format!("{}.{group}/{}", text(of, "kind"), text(of, "name")),
    };
    vec![name(o), text(o, "spec.controller").into(), parameters.into(), age(o)]
}

fn endpoint_slice(o: &Value) -> Vec<Cell> {
    let ports = list(o, "ports").iter().map(|p| match at(p, "port").as_i64() {
        Some(number) => number.to_string(),
        None => set_text_or(p, "name", "*").to_owned(),
    });
    let endpoints = list(o, "endpoints").iter().flat_map(|e| list(e, "addresses"));
    let endpoints = endpoints.filter_map(Value::as_str).map(str::to_owned);
    vec![
        name(o),
        text(o, "addressType").into(),
        limited(ports.collect()).into(),
        limited(endpoints.collect()).into(),
        age(o),
    ]
}

fn limited(all: Vec<String>) -> String {
    let shown = some_of(&all[..all.len().min(SHOWN_MAX)], all.len());
    if shown.is_empty() { "<unset>".into() } else { shown }
}
