//! Several API servers on one store: the `kubernetes` service leads to all that live.

use apiserver::authn::UserInfo;
use apiserver::{Config, Server, body};
use http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tower::{Service, ServiceExt};

async fn start(store: &Arc<store::Embedded>, last: u8) -> Server {
    let config = Config {
        advertise_address: [10, 0, 0, last].into(),
        secure_port: 6443,
        host_name: format!("master-{last}"),
        ..Config::default()
    };
    let server = Server::build(config, store.clone()).await.expect("server");
    server.ready().await;
    server
}

async fn get(server: &Server, path: &str) -> Value {
    let mut request = Request::builder().method(Method::GET).uri(path).body(body::empty()).expect("request");
    request.extensions_mut().insert(UserInfo::new("admin", &["system:masters"]));
    let mut service = server.service();
    let response = service.ready().await.expect("ready").call(request).await.expect("answer");
    let bytes = response.into_body().collect().await.expect("body").to_bytes();
    serde_json::from_slice(&bytes).expect("JSON")
}

/// Waits until `read` of the server's answer to `path` is `wanted`.
async fn until(server: &Server, path: &str, read: fn(&Value) -> Vec<String>, wanted: &[&str]) {
    let mut last = Value::Null;
    for _ in 0..200 {
        last = get(server, path).await;
        if read(&last) == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{path} never says {wanted:?}: {last}");
}

fn strings<'v>(values: impl Iterator<Item = &'v Value>) -> Vec<String> {
    values.filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

fn endpoints(object: &Value) -> Vec<String> {
    strings(object["subsets"][0]["addresses"].as_array().into_iter().flatten().map(|a| &a["ip"]))
}

fn slice(object: &Value) -> Vec<String> {
    strings(object["endpoints"].as_array().into_iter().flatten().map(|e| &e["addresses"][0]))
}

fn hosts(list: &Value) -> Vec<String> {
    let mut hosts = strings(
        list["items"].as_array().into_iter().flatten().map(|l| &l["metadata"]["labels"]["kubernetes.io/hostname"]),
    );
    hosts.sort();
    hosts
}

#[tokio::test]
async fn the_service_leads_to_the_servers_that_live() {
    const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints/kubernetes";
    const SLICE: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
    const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases?labelSelector=apiserver.kubernetes.io/identity=kube-apiserver";
    let directory = tempfile::tempdir().expect("directory");
    let store = store::Embedded::open(directory.path().join("store"), store::Limits::default()).expect("store");
    let store = Arc::new(store);
    let first = start(&store, 1).await;
    until(&first, ENDPOINTS, endpoints, &["10.0.0.1"]).await;
    let second = start(&store, 2).await;
    for server in [&first, &second] {
        until(server, ENDPOINTS, endpoints, &["10.0.0.1", "10.0.0.2"]).await;
        until(server, SLICE, slice, &["10.0.0.1", "10.0.0.2"]).await;
        until(server, LEASES, hosts, &["master-1", "master-2"]).await;
    }
    assert!(first.shutdown().await, "the server drains");
    until(&second, ENDPOINTS, endpoints, &["10.0.0.2"]).await;
    until(&second, SLICE, slice, &["10.0.0.2"]).await;
    assert!(second.shutdown().await, "the server drains");
}
