//! Services, endpoints and slices: what the API and its controllers do about them.

use crate::kit::{Api, STRATEGIC, condition, name, pod, with};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Instant;

fn service(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name, "labels": {"test": name}}, "spec": spec})
}

fn slices_of(service: &str) -> String {
    format!("kubernetes.io/service-name={service}")
}

fn addresses(slices: &[Value]) -> Vec<&str> {
    let endpoints = slices.iter().flat_map(|s| s["endpoints"].as_array().into_iter().flatten());
    endpoints.flat_map(|e| e["addresses"].as_array().into_iter().flatten()).filter_map(Value::as_str).collect()
}

/// [sig-network] EndpointSlice should have Endpoints and EndpointSlices pointing to API Server
/// [sig-network] Services should provide secure master service
#[test]
fn the_api_server_is_a_service() {
    with(async |api| {
        let service = api.get("/api/v1/namespaces/default/services/kubernetes").await;
        let port = service["spec"]["ports"][0].clone();
        assert_eq!((&port["name"], &port["port"], &port["protocol"]), (&json!("https"), &json!(443), &json!("TCP")));
        let endpoints = api.until("/api/v1/namespaces/default/endpoints/kubernetes", Value::is_object).await;
        let subset = &endpoints["subsets"][0];
        let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
        let slices = api.until_list(slices, &slices_of("kubernetes"), |all| !all.is_empty()).await;
        assert_eq!(slices.len(), 1);
        assert_eq!(addresses(&slices), [subset["addresses"][0]["ip"].as_str().unwrap()]);
        assert_eq!(slices[0]["ports"][0]["port"], subset["ports"][0]["port"]);
        assert_eq!(subset["ports"][0]["name"], "https");
    });
}

/// [sig-network] EndpointSlice should create and delete Endpoints and EndpointSlices for a Service with a selector specified
#[test]
fn a_selector_makes_endpoints() {
    with(async |api| {
        let spec = json!({"selector": {"does-not-match-anything": "endpoints-and-endpoint-slices-should-still-be-created"},
            "ports": [{"name": "example", "port": 80, "protocol": "TCP"}]});
        api.post(&api.core("services"), service("empty", spec)).await;
        let endpoints = api.until(&api.core("endpoints/empty"), Value::is_object).await;
        assert_eq!(endpoints.get("subsets"), None);
        let slices = api.of("discovery.k8s.io/v1", "endpointslices");
        let made = api.until_list(&slices, &slices_of("empty"), |all| !all.is_empty()).await;
        assert_eq!(made.len(), 1);
        assert_eq!(
            made[0]["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"],
            "endpointslice-controller.k8s.io"
        );
        let owners = made[0]["metadata"]["ownerReferences"].as_array().unwrap();
        assert!(owners.len() == 1 && owners[0]["kind"] == "Service" && owners[0]["name"] == "empty", "{owners:?}");
        api.delete(&api.core("services/empty")).await;
        api.gone(&api.core("endpoints/empty")).await;
        api.until_list(&slices, &slices_of("empty"), <[Value]>::is_empty).await;
    });
}

/// [sig-network] EndpointSlice should create Endpoints and EndpointSlices for Pods matching a Service
#[test]
fn matching_pods_are_endpoints() {
    with(async |api| {
        let ports =
            |n: i32| json!([{"name": "c", "image": "i", "ports": [{"name": "example-name", "containerPort": n}]}]);
        for (n, port) in [(1, 3000), (2, 3001)] {
            let labels = json!({"foo": "bar", "shared": "yes", "both": n.to_string()});
            api.post(&api.core("pods"), pod(&format!("p{n}"), labels, json!({"containers": ports(port)}))).await;
        }
        let by_number = json!({"selector": {"both": "1"}, "publishNotReadyAddresses": true,
            "ports": [{"name": "example", "port": 80, "targetPort": 3000, "protocol": "TCP"}]});
        api.post(&api.core("services"), service("int-port", by_number)).await;
        let by_name = json!({"selector": {"shared": "yes"},
            "ports": [{"name": "http", "port": 80, "targetPort": "example-name", "protocol": "TCP"}]});
        api.post(&api.core("services"), service("named-port", by_name)).await;
        let mut ips = BTreeMap::new();
        for n in [1, 2] {
            let ready = api.until(&api.core(&format!("pods/p{n}")), |p| condition(p, "Ready", "True")).await;
            ips.insert(n, ready["status"]["podIP"].as_str().unwrap().to_owned());
        }
        let slices = api.of("discovery.k8s.io/v1", "endpointslices");
        let one = api.until_list(&slices, &slices_of("int-port"), |all| addresses(all) == [ips[&1].as_str()]).await;
        let endpoint = &one[0]["endpoints"][0];
        assert_eq!((&endpoint["targetRef"]["kind"], &endpoint["targetRef"]["name"]), (&json!("Pod"), &json!("p1")));
        assert_eq!(endpoint["conditions"], json!({"ready": true, "serving": true, "terminating": false}));
        assert_eq!(one[0]["ports"], json!([{"name": "example", "port": 3000, "protocol": "TCP"}]));
        // The port of this name differs, so each pod is in a slice of its own.
        let two =
            api.until_list(&slices, &slices_of("named-port"), |all| all.len() == 2 && addresses(all).len() == 2).await;
        let mut found: Vec<(i64, &str)> = two
            .iter()
            .map(|s| (s["ports"][0]["port"].as_i64().unwrap(), addresses(std::slice::from_ref(s))[0]))
            .collect();
        found.sort_unstable();
        assert_eq!(found, [(3000, ips[&1].as_str()), (3001, ips[&2].as_str())]);
        let full = |e: &Value| e["subsets"].as_array().is_some_and(|s| s.len() == 2);
        let endpoints = api.until(&api.core("endpoints/named-port"), full).await;
        for subset in endpoints["subsets"].as_array().unwrap() {
            assert_eq!(subset["addresses"].as_array().unwrap().len(), 1);
            assert_eq!(subset["ports"][0]["name"], "http");
        }
    });
}

/// [sig-network] EndpointSliceMirroring should mirror a custom Endpoints resource through create update and delete
#[test]
fn own_endpoints_are_mirrored() {
    with(async |api| {
        let spec = json!({"ports": [{"name": "example", "port": 80, "protocol": "TCP"}]});
        api.post(&api.core("services"), service("custom", spec)).await;
        let endpoints = |ip: &str| json!({"metadata": {"name": "custom"}, "subsets": [{"addresses": [{"ip": ip}], "ports": [{"port": 80}]}]});
        let slices = api.of("discovery.k8s.io/v1", "endpointslices");
        api.post(&api.core("endpoints"), endpoints("10.1.2.3")).await;
        let made = api.until_list(&slices, &slices_of("custom"), |all| addresses(all) == ["10.1.2.3"]).await;
        assert_eq!(made[0]["ports"][0]["port"], 80);
        api.put(&api.core("endpoints/custom"), &endpoints("10.2.3.4")).await;
        api.until_list(&slices, &slices_of("custom"), |all| all.len() == 1 && addresses(all) == ["10.2.3.4"]).await;
        api.delete(&api.core("endpoints/custom")).await;
        api.until_list(&slices, &slices_of("custom"), <[Value]>::is_empty).await;
    });
}

/// [sig-network] Services should test the lifecycle of an Endpoint
#[test]
fn endpoints_live() {
    with(async |api| {
        let path = api.core("endpoints");
        let mut watch = api.watch(&path, "labelSelector=test=yes").await;
        let subsets =
            |ip: &str| json!([{"addresses": [{"ip": ip}], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}]);
        api.post(&path, json!({"metadata": {"name": "e", "labels": {"test": "yes"}}, "subsets": subsets("10.0.0.24")}))
            .await;
        watch.see("ADDED", |e| e["subsets"][0]["addresses"][0]["ip"] == "10.0.0.24").await;
        assert_eq!(api.items("/api/v1/endpoints", "test=yes").await.len(), 1);
        let own = format!("{path}/e");
        api.update(&own, |e| e["metadata"]["labels"]["updated"] = "true".into()).await;
        watch.see("MODIFIED", |e| e["metadata"]["labels"]["updated"] == "true").await;
        let patch = json!({"metadata": {"labels": {"patched": "true"}}, "subsets": subsets("10.0.0.25")});
        let patched = api.patch(&own, STRATEGIC, patch).await;
        watch.see("MODIFIED", |e| e["metadata"]["labels"]["patched"] == "true").await;
        assert_eq!(patched["subsets"][0]["addresses"], json!([{"ip": "10.0.0.25"}]));
        api.delete(&format!("{path}?labelSelector=test=yes")).await;
        watch.see("DELETED", |e| name(e) == "e").await;
        api.absent(&own).await;
    });
}

/// [sig-network] Services should find a service from listing all namespaces
#[test]
fn services_are_listed_everywhere() {
    with(async |api| {
        let services = api.items("/api/v1/services", "").await;
        let known = |s: &Value| name(s) == "kubernetes" && s["metadata"]["namespace"] == "default";
        assert!(services.iter().any(known), "{services:?}");
    });
}

/// [sig-network] Services should delete a collection of services
#[test]
fn services_are_deleted_by_label() {
    with(async |api| {
        for n in 0..3 {
            let labels = if n == 1 { json!({"keep": "yes"}) } else { json!({"testService": "yes"}) };
            let spec = json!({"type": "ClusterIP", "ports": [{"name": "http", "port": 80 + n, "protocol": "TCP"}]});
            let service = json!({"metadata": {"name": format!("s{n}"), "labels": labels}, "spec": spec});
            api.post(&api.core("services"), service).await;
        }
        assert_eq!(api.items(&api.core("services"), "testService=yes").await.len(), 2);
        api.delete(&api.core("services?labelSelector=testService=yes")).await;
        let left = api.items(&api.core("services"), "").await;
        assert_eq!(crate::kit::names(&left), ["s1"]);
    });
}

/// [sig-network] Services should complete a service status lifecycle
#[test]
fn the_status_of_a_service_lives() {
    with(async |api| {
        let spec = json!({"type": "LoadBalancer", "ports": [{"name": "http", "port": 80, "targetPort": 80, "protocol": "TCP"}]});
        let mut watch = api.watch(&api.core("services"), "labelSelector=test=lb").await;
        api.post(&api.core("services"), service("lb", spec)).await;
        watch.see("ADDED", |s| name(s) == "lb").await;
        let (own, status) = (api.core("services/lb"), api.core("services/lb/status"));
        assert_eq!(api.get(&status).await["status"], json!({"loadBalancer": {}}));
        let patch = json!({"metadata": {"annotations": {"patchedstatus": "true"}},
            "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}});
        let patched = api.merge(&status, patch).await;
        assert_eq!(patched["status"]["loadBalancer"]["ingress"][0]["ip"], "203.0.113.1");
        assert_eq!(patched["metadata"]["annotations"]["patchedstatus"], "true");
        let set = json!([{"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test",
            "lastTransitionTime": null}]);
        let updated = api.update(&status, |s| s["status"]["conditions"] = set.clone()).await;
        assert!(condition(&updated, "StatusUpdate", "True"), "{updated}");
        watch.see("MODIFIED", |s| condition(s, "StatusUpdate", "True")).await;
        let patch = json!({"metadata": {"labels": {"service": "patched"}}});
        let patched = api.patch(&own, STRATEGIC, patch).await;
        assert_eq!(patched["metadata"]["labels"]["service"], "patched");
        watch.see("MODIFIED", |s| s["metadata"]["labels"]["service"] == "patched").await;
        api.delete(&own).await;
        watch.see("DELETED", |s| name(s) == "lb").await;
    });
}

async fn settles(api: &Api, service: &str) {
    let filled = |e: &Value| e["subsets"].as_array().is_some_and(|s| !s.is_empty());
    api.until(&api.core(&format!("endpoints/{service}")), filled).await;
}

/// [sig-network] Service endpoints latency should not be very high
#[test]
fn endpoints_come_soon() {
    with(async |api| {
        api.post(&api.core("pods"), pod("backend", json!({"name": "backend"}), json!({}))).await;
        api.until(&api.core("pods/backend"), |p| condition(p, "Ready", "True")).await;
        let mut took: Vec<_> = Vec::new();
        for n in 0..50 {
            let service = service(&format!("s{n}"), json!({"selector": {"name": "backend"}, "ports": [{"port": 80}]}));
            let started = Instant::now();
            api.post(&api.core("services"), service).await;
            settles(&api, &format!("s{n}")).await;
            took.push(started.elapsed());
        }
        took.sort_unstable();
        assert!(took[25].as_secs() < 20 && took[44].as_secs() < 50, "{took:?}");
    });
}
