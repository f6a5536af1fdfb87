//! Services in, `nft` commands out.

use super::*;
use crate::proxy::script::{Present, difference};
use expect_test::{Expect, expect};
use serde_json::{Value, json};

fn slice(endpoints: &[(&str, &str, bool)]) -> Vec<Arc<EndpointSlice>> {
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|(ip, node, ready)| json!({"addresses": [ip], "nodeName": node, "conditions": {"ready": ready}}))
        .collect();
    let value = json!({
        "metadata": {"name": "s"}, "addressType": "IPv4", "endpoints": endpoints,
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "dns", "port": 5353, "protocol": "UDP"}]
    });
    vec![Arc::new(serde_json::from_value(value).expect("a slice"))]
}

fn web(extra: Value) -> Service {
    let mut spec = json!({
        "clusterIP": "10.96.0.20", "clusterIPs": ["10.96.0.20"],
        "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]
    });
    for (k, v) in extra.as_object().expect("an object") {
        spec[k] = v.clone();
    }
    serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec}))
        .expect("a service")
}

fn node() -> Node {
    Node { name: "a".into() }
}

fn check(service_: &Service, slices: &[Arc<EndpointSlice>], expected: Expect) {
    let new = service(service_, slices, &node());
    expected.assert_eq(&difference(&Contribution::default(), &new, &mut Present::default()));
}

#[test]
fn a_cluster_ip_with_two_endpoints() {
    let slices = slice(&[("10.244.0.2", "a", true), ("10.244.1.2", "b", true), ("10.244.1.3", "b", false)]);
    check(
        &web(json!({})),
        &slices,
        expect![[r#"
        add map ip mainstay cluster_endpoints_2 { type ipv4_addr . inet_proto . inet_service . mark : ipv4_addr . inet_service; }
        add chain ip mainstay cluster_2
        add rule ip mainstay cluster_2 meta mark set numgen random mod 2
        add rule ip mainstay cluster_2 meta l4proto tcp dnat ip to ip daddr . meta l4proto . th dport . meta mark map @cluster_endpoints_2
        add rule ip mainstay cluster_2 meta l4proto udp dnat ip to ip daddr . meta l4proto . th dport . meta mark map @cluster_endpoints_2
        add element ip mainstay cluster_endpoints_2 { 10.96.0.20 . tcp . 80 . 0x00000000 : 10.244.0.2 . 8080 }
        add element ip mainstay cluster_endpoints_2 { 10.96.0.20 . tcp . 80 . 0x00000001 : 10.244.1.2 . 8080 }
        add element ip mainstay services { 10.96.0.20 . tcp . 80 : goto cluster_2 }
        add element ip mainstay hairpin { 10.244.0.2 . 10.244.0.2 }
        add element ip mainstay hairpin { 10.244.1.2 . 10.244.1.2 }
    "#]],
    );
}

#[test]
fn without_endpoints_it_is_refused() {
    check(
        &web(json!({})),
        &slice(&[]),
        expect![[r#"
        add element ip mainstay without_endpoints { 10.96.0.20 . tcp . 80 : goto refuse }
    "#]],
    );
}

#[test]
fn a_node_port_that_keeps_the_source_uses_only_local_endpoints() {
    let slices = slice(&[("10.244.0.2", "a", true), ("10.244.1.2", "b", true)]);
    let mut service = web(json!({"type": "NodePort", "externalTrafficPolicy": "Local"}));
    service.spec.as_mut().expect("a spec").ports.as_mut().expect("ports")[0].node_port = Some(30080);
    check(
        &service,
        &slices,
        expect![[r#"
        add map ip mainstay cluster_endpoints_2 { type ipv4_addr . inet_proto . inet_service . mark : ipv4_addr . inet_service; }
        add chain ip mainstay cluster_2
        add rule ip mainstay cluster_2 meta mark set numgen random mod 2
        add rule ip mainstay cluster_2 meta l4proto tcp dnat ip to ip daddr . meta l4proto . th dport . meta mark map @cluster_endpoints_2
        add rule ip mainstay cluster_2 meta l4proto udp dnat ip to ip daddr . meta l4proto . th dport . meta mark map @cluster_endpoints_2
        add map ip mainstay node_port_endpoints_1 { type inet_proto . inet_service . mark : ipv4_addr . inet_service; }
        add chain ip mainstay node_port_local_1
        add rule ip mainstay node_port_local_1 meta mark set numgen random mod 1 offset 0
        add rule ip mainstay node_port_local_1 meta l4proto tcp dnat ip to meta l4proto . th dport . meta mark map @node_port_endpoints_1
        add rule ip mainstay node_port_local_1 meta l4proto udp dnat ip to meta l4proto . th dport . meta mark map @node_port_endpoints_1
        add chain ip mainstay node_port_cluster_1
        add rule ip mainstay node_port_cluster_1 meta mark set numgen random mod 1 offset 1073741824
        add rule ip mainstay node_port_cluster_1 meta l4proto tcp dnat ip to meta l4proto . th dport . meta mark map @node_port_endpoints_1
        add rule ip mainstay node_port_cluster_1 meta l4proto udp dnat ip to meta l4proto . th dport . meta mark map @node_port_endpoints_1
        add element ip mainstay cluster_endpoints_2 { 10.96.0.20 . tcp . 80 . 0x00000000 : 10.244.0.2 . 8080 }
        add element ip mainstay cluster_endpoints_2 { 10.96.0.20 . tcp . 80 . 0x00000001 : 10.244.1.2 . 8080 }
        add element ip mainstay node_port_endpoints_1 { tcp . 30080 . 0x00000000 : 10.244.0.2 . 8080 }
        add element ip mainstay node_ports { tcp . 30080 : goto node_port_local_1 }
        add element ip mainstay services { 10.96.0.20 . tcp . 80 : goto cluster_2 }
        add element ip mainstay hairpin { 10.244.0.2 . 10.244.0.2 }
        add element ip mainstay hairpin { 10.244.1.2 . 10.244.1.2 }
    "#]],
    );
}

#[test]
fn affinity_remembers_clients_for_each_endpoint() {
    let slices = slice(&[("10.244.0.2", "a", true), ("10.244.1.2", "b", true)]);
    check(
        &web(json!({"sessionAffinity": "ClientIP"})),
        &slices,
        expect![[r#"
        add set ip mainstay clients_svc_default_web_tcp_80_10_244_0_2_8080 { type ipv4_addr; flags dynamic,timeout; timeout 10800s; }
        add set ip mainstay clients_svc_default_web_tcp_80_10_244_1_2_8080 { type ipv4_addr; flags dynamic,timeout; timeout 10800s; }
        add chain ip mainstay svc_default_web_tcp_80
        add chain ip mainstay svc_default_web_tcp_80_10_244_0_2_8080
        add chain ip mainstay svc_default_web_tcp_80_10_244_1_2_8080
        flush chain ip mainstay svc_default_web_tcp_80
        add rule ip mainstay svc_default_web_tcp_80 ip saddr @clients_svc_default_web_tcp_80_10_244_0_2_8080 goto svc_default_web_tcp_80_10_244_0_2_8080
        add rule ip mainstay svc_default_web_tcp_80 ip saddr @clients_svc_default_web_tcp_80_10_244_1_2_8080 goto svc_default_web_tcp_80_10_244_1_2_8080
        add rule ip mainstay svc_default_web_tcp_80 numgen random mod 2 0 goto svc_default_web_tcp_80_10_244_0_2_8080
        add rule ip mainstay svc_default_web_tcp_80 goto svc_default_web_tcp_80_10_244_1_2_8080
        flush chain ip mainstay svc_default_web_tcp_80_10_244_0_2_8080
        add rule ip mainstay svc_default_web_tcp_80_10_244_0_2_8080 update @clients_svc_default_web_tcp_80_10_244_0_2_8080 { ip saddr }
        add rule ip mainstay svc_default_web_tcp_80_10_244_0_2_8080 meta l4proto tcp dnat to 10.244.0.2:8080
        flush chain ip mainstay svc_default_web_tcp_80_10_244_1_2_8080
        add rule ip mainstay svc_default_web_tcp_80_10_244_1_2_8080 update @clients_svc_default_web_tcp_80_10_244_1_2_8080 { ip saddr }
        add rule ip mainstay svc_default_web_tcp_80_10_244_1_2_8080 meta l4proto tcp dnat to 10.244.1.2:8080
        add element ip mainstay services { 10.96.0.20 . tcp . 80 : goto svc_default_web_tcp_80 }
        add element ip mainstay hairpin { 10.244.0.2 . 10.244.0.2 }
        add element ip mainstay hairpin { 10.244.1.2 . 10.244.1.2 }
    "#]],
    );
}

#[test]
fn headless_external_and_foreign_services_need_nothing() {
    let slices = slice(&[("10.244.0.2", "a", true)]);
    let mut foreign = web(json!({}));
    foreign.metadata.labels = Some([("service.kubernetes.io/service-proxy-name".to_owned(), "x".to_owned())].into());
    let cases = [web(json!({"clusterIP": "None"})), web(json!({"type": "ExternalName"})), foreign];
    for case in cases {
        assert_eq!(service(&case, &slices, &node()), Contribution::default());
    }
}

#[test]
fn the_way_from_one_state_to_another_and_back_leaves_nothing() {
    let two = service(&web(json!({})), &slice(&[("10.244.0.2", "a", true), ("10.244.1.2", "b", true)]), &node());
    let one = service(&web(json!({})), &slice(&[("10.244.0.2", "a", true)]), &node());
    let mut present = Present::default();
    assert_ne!(difference(&Contribution::default(), &two, &mut present), "");
    assert_eq!(difference(&two, &two, &mut present), "");
    let change = difference(&two, &one, &mut present);
    assert!(change.contains("delete element ip mainstay services"), "{change}");
    let gone = difference(&one, &Contribution::default(), &mut present);
    assert!(gone.lines().all(|l| l.starts_with("delete element")), "{gone}");
}

#[test]
fn endpoints_that_shut_down_serve_only_if_no_other_is_left() {
    let value = |ready: bool| {
        json!({"metadata": {"name": "s"}, "addressType": "IPv4", "ports": [{"name": "http", "port": 1}], "endpoints": [
            {"addresses": ["10.0.0.1"], "conditions": {"ready": false, "serving": true, "terminating": true}},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": ready}}
        ]})
    };
    let ips = |ready| {
        let slices = [Arc::new(serde_json::from_value(value(ready)).expect("a slice"))];
        targets(&slices, Some("http"), "TCP", None).iter().map(|t| t.ip.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(ips(true), ["10.0.0.2"]);
    assert_eq!(ips(false), ["10.0.0.1"]);
}

#[test]
fn host_ports_lead_to_the_pod() {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "ports": [
            {"containerPort": 80, "hostPort": 8080}, {"containerPort": 53, "hostPort": 53, "hostIP": "172.30.0.1", "protocol": "UDP"}
        ]}]},
        "status": {"phase": "Running", "podIP": "10.244.0.9"}
    }))
    .expect("a pod");
    let elements = host_ports(&pod).elements;
    assert_eq!(elements[&("host_ports_any", "tcp . 8080".to_owned())], "10.244.0.9 . 80");
    assert_eq!(elements[&("host_ports", "172.30.0.1 . udp . 53".to_owned())], "10.244.0.9 . 53");
}
