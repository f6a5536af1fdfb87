//! Requests of strangers and the machine's resolver configuration; see [`crate::fuzz`].

use super::answer::{Outcome, Zone, failure, for_udp};
use super::forward::parse_resolvers;
use super::zone::Cluster;
use hickory_proto::op::{Message, MessageType, ResponseCode};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};

/// Largest UDP answer to a client that does not say what it takes.
const PLAIN_BYTES_MAX: usize = 512;

static SERVICE: LazyLock<Arc<Service>> = LazyLock::new(|| {
    let service = json!({"metadata": {"name": "web", "namespace": "shop"},
        "spec": {"clusterIP": "None", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}});
    Arc::new(serde_json::from_value(service).expect("a service"))
});

static SLICE: LazyLock<Arc<EndpointSlice>> = LazyLock::new(|| {
    let endpoint = |n: u8| json!({"addresses": [format!("10.0.0.{n}")], "conditions": {"ready": true}});
    let slice = json!({"metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "endpoints": (1..60).map(endpoint).collect::<Vec<_>>(),
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]});
    Arc::new(serde_json::from_value(slice).expect("a slice"))
});

struct Shop;

impl Cluster for Shop {
    fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>> {
        (namespace == "shop" && name == "web").then(|| SERVICE.clone())
    }

    fn slices(&self, namespace: &str, name: &str) -> Vec<Arc<EndpointSlice>> {
        self.service(namespace, name).map(|_| SLICE.clone()).into_iter().collect()
    }

    fn has_namespace(&self, name: &str) -> bool {
        name == "shop"
    }

    fn services_at(&self, _: Ipv4Addr) -> Vec<Arc<Service>> {
        Vec::new()
    }

    fn slices_at(&self, ip: Ipv4Addr) -> Vec<Arc<EndpointSlice>> {
        (ip.octets()[..3] == [10, 0, 0]).then(|| SLICE.clone()).into_iter().collect()
    }
}

/// A packet: an answer repeats its question and id, is a response, fits, and can be read; a response has no answer.
pub fn dns_request(data: &[u8]) {
    let Ok(request) = Message::from_vec(data) else { return };
    let zone = Zone::new("cluster.local").expect("a zone");
    let answer = match zone.decide(&request, &Shop) {
        Outcome::Answer(answer) | Outcome::FollowAlias(answer, _) => answer,
        Outcome::Forward => failure(&request, ResponseCode::ServFail),
        Outcome::Ignore => return assert_ne!(request.metadata.message_type, MessageType::Query),
    };
    assert_eq!(answer.metadata.id, request.metadata.id);
    assert_eq!(answer.metadata.message_type, MessageType::Response, "what is answered is no question");
    if let Some(bytes) = for_udp(&answer) {
        let most = usize::from(request.max_payload()).max(PLAIN_BYTES_MAX);
        assert!(bytes.len() <= most || answer.queries.len() > 1, "{} bytes for one who takes {most}", bytes.len());
        let read = Message::from_vec(&bytes).unwrap_or_else(|e| panic!("{answer}: {e}"));
        assert_eq!(read.queries, answer.queries);
    }
}

/// A `resolv.conf`: no more than three resolvers, and never our own.
pub fn resolv_conf(data: &[u8]) {
    let own = IpAddr::from([10, 96, 0, 10]);
    let found = parse_resolvers(&String::from_utf8_lossy(data), own);
    assert!(found.len() <= 3 && found.iter().all(|a| a.ip() != own));
}
