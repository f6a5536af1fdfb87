//! Where a service is, found from the objects alone: service → ready endpoints → address and port of a pod. No service
//! proxy is needed. Pure but for the view.

use super::transport::ServicePort;
use crate::view::View;
use api_core::meta::Meta;
use api_kinds::names;
use serde_json::Value;
use std::net::SocketAddr;

/// Address and port of one of the service's ready endpoints; `pick` chooses among them. Fails in upstream's words.
pub fn endpoint(view: &dyn View, wanted: &ServicePort, own: SocketAddr, pick: usize) -> Result<(String, u16), String> {
    let mut ready = endpoints(view, wanted, own)?;
    Ok(ready.swap_remove(pick % ready.len()))
}

/// All that [`endpoint`] chooses from; never empty.
pub fn endpoints(view: &dyn View, wanted: &ServicePort, own: SocketAddr) -> Result<Vec<(String, u16)>, String> {
    if (wanted.namespace.as_str(), wanted.name.as_str(), wanted.port) == ("default", "kubernetes", 443) {
        return Ok(vec![(own.ip().to_string(), own.port())]);
    }
    let service = view.get("", names::SERVICES, &wanted.namespace, &wanted.name);
    let service = service.ok_or_else(|| format!("service {:?} not found", wanted.name))?;
    let kind = service["spec"]["type"].as_str().unwrap_or("ClusterIP");
    if !matches!(kind, "ClusterIP" | "NodePort" | "LoadBalancer") {
        return Err(format!("unsupported service type {kind:?}"));
    }
    let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let port = ports.find(|p| p["port"].as_u64() == Some(u64::from(wanted.port)));
    let port = port.ok_or_else(|| format!("no service port {} found for service {:?}", wanted.port, wanted.name))?;
    let ready = ready(view, &service, port["name"].as_str().unwrap_or(""));
    if ready.is_empty() {
        return Err(format!("no endpoints available for service {:?}", wanted.name));
    }
    Ok(ready)
}

/// All that is ready behind a port of the service.
fn ready(view: &dyn View, service: &Value, port: &str) -> Vec<(String, u16)> {
    if let Some(endpoints) = view.get("", names::ENDPOINTS, service.namespace(), service.name()) {
        let subsets = endpoints["subsets"].as_array().into_iter().flatten();
        return subsets.flat_map(|s| pairs(addresses(s), s, port)).collect();
    }
    // Made by hand, without the older object.
    let mut slices = view.list("discovery.k8s.io", names::ENDPOINT_SLICES, service.namespace());
    slices.retain(|s| {
        let labels = s.metadata().and_then(|m| m.get("labels"));
        labels.and_then(|l| l.get("kubernetes.io/service-name")).and_then(Value::as_str) == Some(service.name())
    });
    slices.iter().flat_map(|s| pairs(slice_addresses(s), s, port)).collect()
}

fn addresses(subset: &Value) -> Vec<&str> {
    subset["addresses"].as_array().into_iter().flatten().filter_map(|a| a["ip"].as_str()).collect()
}

fn slice_addresses(slice: &Value) -> Vec<&str> {
    let endpoints = slice[names::ENDPOINTS].as_array().into_iter().flatten();
    let ready = endpoints.filter(|e| e["conditions"]["ready"] != false);
    ready.filter_map(|e| e["addresses"].get(0).and_then(Value::as_str)).collect()
}

/// The addresses, each with the number that `holder` gives the port.
fn pairs(addresses: Vec<&str>, holder: &Value, port: &str) -> Vec<(String, u16)> {
    let mut ports = holder["ports"].as_array().into_iter().flatten();
    let found = ports.find(|p| p["name"].as_str().unwrap_or("") == port).and_then(|p| p["port"].as_u64());
    let Some(number) = found.and_then(|n| u16::try_from(n).ok()) else { return Vec::new() };
    addresses.into_iter().map(|a| (a.to_owned(), number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::MapView;
    use serde_json::json;

    #[track_caller]
    fn check(view: &MapView, name: &str, port: u16, pick: usize, expected: &str) {
        let wanted = ServicePort { namespace: "n".into(), name: name.into(), port };
        let own = "192.0.2.9:6443".parse().expect("address");
        let got = endpoint(view, &wanted, own, pick).map_or_else(|e| e, |(host, port)| format!("{host}:{port}"));
        assert_eq!(got, expected);
    }

    #[test]
    fn services_lead_to_ready_endpoints() {
        let service = |name: &str, kind: &str| {
            json!({"metadata": {"name": name, "namespace": "n"},
                "spec": {"type": kind, "ports": [{"name": "other", "port": 80}, {"name": "tls", "port": 443}]}})
        };
        let ports = json!([{"name": "other", "port": 1}, {"name": "tls", "port": 9443}]);
        let view = MapView::default()
            .with("services", service("a", "ClusterIP"))
            .with(
                "endpoints",
                json!({"metadata": {"name": "a", "namespace": "n"}, "subsets": [
                {"addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}], "notReadyAddresses": [{"ip": "10.0.0.3"}],
                    "ports": ports}]}),
            )
            .with("services", service("b", "NodePort"))
            .with(
                "discovery.k8s.io/endpointslices",
                json!({
                "metadata": {"name": "b-1", "namespace": "n", "labels": {"kubernetes.io/service-name": "b"}},
                "ports": ports, "endpoints": [
                    {"addresses": ["10.0.1.1"], "conditions": {"ready": false}},
                    {"addresses": ["10.0.1.2"], "conditions": {"ready": true}}, {"addresses": ["10.0.1.3"]}]}),
            )
            .with("services", service("bare", "LoadBalancer"))
            .with("services", service("out", "ExternalName"));
        check(&view, "a", 443, 0, "10.0.0.1:9443");
        check(&view, "a", 443, 3, "10.0.0.2:9443");
        check(&view, "b", 443, 1, "10.0.1.3:9443");
        check(&view, "a", 444, 0, "no service port 444 found for service \"a\"");
        check(&view, "bare", 443, 0, "no endpoints available for service \"bare\"");
        check(&view, "out", 443, 0, "unsupported service type \"ExternalName\"");
        check(&view, "gone", 443, 0, "service \"gone\" not found");
    }
}
