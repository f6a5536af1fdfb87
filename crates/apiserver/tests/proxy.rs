//! Streams through the server to a kubelet that is played here: logs, an upgraded connection, the node's own HTTP server.

mod support;

use apiserver::{Body, Config, Server, body};
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use support::cluster::admin;
use support::upgraded;
use tokio::net::TcpListener;
use tower::{Service, ServiceExt};

fn leaf(ca: &pki::Pair, name: &str, usage: pki::Usage, now: i64) -> pki::Pair {
    let spec = pki::LeafSpec {
        common_name: name.into(),
        organizations: vec!["system:masters".into()],
        dns_names: Vec::new(),
        ip_addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        usage,
        valid_days: 1,
    };
    pki::leaf(ca, &spec, now).expect("leaf")
}

/// Answers with what it was asked, or speaks an echo protocol; wants a client certificate of the CA.
async fn kubelet(ca: &pki::Pair, serving: &pki::Pair) -> u16 {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.cert_pem.as_bytes()).expect("ca")).expect("root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier.build().expect("verifier"))
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(serving.cert_pem.as_bytes()).expect("certificate")],
            PrivateKeyDer::from_pem_slice(serving.key_pem.as_bytes()).expect("key"),
        )
        .expect("config");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("listen");
    let port = listener.local_addr().expect("address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let stream = acceptor.accept(stream).await.expect("handshake");
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(play));
                // The client may hang up whenever it has its answer.
                drop(connection.with_upgrades().await);
            });
        }
    });
    port
}

async fn play(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let asked = request.uri().to_string();
    assert!(!request.headers().contains_key(header::AUTHORIZATION), "credentials are not passed on");
    if asked.contains("/waiting") {
        let mut response =
            Response::new(body::full("container \"c\" in pod \"waiting\" is waiting to start: ContainerCreating\n"));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(response);
    }
    if request.headers().contains_key(header::UPGRADE) {
        let mut response = upgraded::echo(request);
        response.headers_mut().insert("x-asked", asked.parse().expect("value"));
        return Ok(response);
    }
    Ok(Response::new(body::full(asked)))
}

async fn send(server: &Server, method: &str, path: &str, value: Option<&Value>) -> (u16, String) {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", if method == "PATCH" { "application/merge-patch+json" } else { "application/json" })
        .header("authorization", "Bearer x")
        .body(value.map_or_else(body::empty, |v| body::full(v.to_string())))
        .expect("request");
    request.extensions_mut().insert(admin());
    let response = server.service().ready().await.expect("ready").call(request).await.expect("answer");
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.expect("body").to_bytes();
    (code, String::from_utf8_lossy(&bytes).into_owned())
}

/// A server with a node, whose kubelet is [`kubelet`], and pods on it.
async fn start(directory: &std::path::Path) -> Server {
    let now = jiff::Timestamp::now().as_second();
    let ca = pki::certificate_authority("ca", now, 10).expect("ca");
    let client = leaf(&ca, "kube-apiserver-kubelet-client", pki::Usage::Client, now);
    let port = kubelet(&ca, &leaf(&ca, "system:node:n", pki::Usage::Server, now)).await;
    let store = store::Embedded::open(directory.join("store"), store::Limits::default()).expect("store");
    let config = Config {
        kubelet_ca_pem: ca.cert_pem,
        kubelet_client_cert_pem: client.cert_pem,
        kubelet_client_key_pem: client.key_pem,
        ..Config::default()
    };
    let server = Server::build(config, Arc::new(store)).await.expect("server");
    server.ready().await;
    let made = |answer: (u16, String)| assert!(answer.0 < 300, "{} {}", answer.0, answer.1);
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    made(send(&server, "POST", "/api/v1/namespaces/default/serviceaccounts", Some(&account)).await);
    made(
        send(
            &server,
            "POST",
            "/api/v1/nodes",
            Some(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})),
        )
        .await,
    );
    let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}});
    made(send(&server, "PATCH", "/api/v1/nodes/n/status", Some(&status)).await);
    for (name, node) in [("web", "n"), ("waiting", "n"), ("unplaced", "")] {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"containers": [{"name": "c", "image": "i"}]}});
        if !node.is_empty() {
            pod["spec"]["nodeName"] = node.into();
        }
        made(send(&server, "POST", "/api/v1/namespaces/default/pods", Some(&pod)).await);
    }
    server
}

#[tokio::test]
async fn logs_and_the_nodes_own_server() {
    let directory = tempfile::tempdir().expect("directory");
    let server = start(directory.path()).await;
    let pods = "/api/v1/namespaces/default/pods";
    let table = [
        (format!("{pods}/web/log?tailLines=3"), 200, "/containerLogs/default/web/c?tailLines=3"),
        (format!("{pods}/unplaced/log"), 204, ""),
        (
            format!("{pods}/waiting/log"),
            400,
            "container \\\"c\\\" in pod \\\"waiting\\\" is waiting to start: ContainerCreating\"",
        ),
        (format!("{pods}/absent/log"), 404, "pods \\\"absent\\\" not found"),
        (format!("{pods}/web/log?container=x"), 400, "container x is not valid for pod web"),
        ("/api/v1/nodes/n/proxy/stats/summary?a=b".to_owned(), 200, "/stats/summary?a=b"),
        ("/api/v1/nodes/absent/proxy/".to_owned(), 404, "nodes \\\"absent\\\" not found"),
        (
            "/api/v1/namespaces/default/services/kubernetes:nope/proxy/".to_owned(),
            503,
            "no service port \\\"nope\\\" found",
        ),
    ];
    for (path, code, want) in table {
        let (got, text) = send(&server, "GET", &path, None).await;
        assert_eq!(got, code, "{path}: {text}");
        assert!(text.contains(want), "{path}: {text}");
    }
    let (code, text) = send(&server, "POST", &format!("{pods}/unplaced/exec?command=sh&stdout=1"), None).await;
    assert_eq!(code, 400, "{text}");
    assert!(text.contains("pod unplaced does not have a host assigned"), "{text}");
}

#[tokio::test]
async fn an_upgraded_connection_is_passed_through() {
    let directory = tempfile::tempdir().expect("directory");
    let server = start(directory.path()).await;
    let path = "/api/v1/namespaces/default/pods/web/exec?command=cat&stdin=1&stdout=1";
    let headers = upgraded::hears_itself(&server, path).await;
    assert_eq!(headers["x-asked"], "/exec/default/web/c?input=1&output=1&command=cat");
}
