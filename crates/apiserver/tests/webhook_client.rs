//! The webhook client against a real TLS server: who is trusted, what is answered, how long it may take.

mod support;

use apiserver::view::MapView;
use apiserver::webhook::{Client, Document, Target};
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use support::{Answer, Backend, authority};

/// What is wanted of the answers.
const WANTED: Document<'static> = Document { group: "g", version: "v1", kind: "K" };

async fn call(view: MapView, config: &Value, at_most: Duration) -> String {
    let own = "127.0.0.1:1".parse().expect("address");
    let client = Client::new(Arc::new(view), own).expect("client");
    match Target::read(config) {
        Ok(target) => match client.call(&target, Bytes::from_static(b"{\"n\":1}"), WANTED, 10, at_most).await {
            Ok(value) => value.to_string(),
            Err(error) => error.to_string(),
        },
        Err(error) => error.to_string(),
    }
}

fn backed(port: u16) -> MapView {
    MapView::default()
        .with("services", json!({"metadata": {"name": "w", "namespace": "n"}, "spec": {"ports": [{"port": 443}]}}))
        .with(
            "endpoints",
            json!({"metadata": {"name": "w", "namespace": "n"},
            "subsets": [{"addresses": [{"ip": "127.0.0.1"}], "ports": [{"port": port}]}]}),
        )
}

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn services_and_urls_are_called_with_their_name_and_authority() {
    let ca = authority();
    let backend = Backend::start(&ca, "w.n.svc", |path, body| Answer::json(&json!({"path": path, "sent": body}))).await;
    let service = json!({"service": {"namespace": "n", "name": "w", "path": "/p"}, "caBundle": support::bundle(&ca)});
    let got = call(backed(backend.port), &service, LONG).await;
    assert_eq!(got, r#"{"path":"/p?timeout=10s","sent":{"n":1}}"#);
    let url = json!({"url": format!("https://127.0.0.1:{}/p?a=b", backend.port), "caBundle": support::bundle(&ca)});
    assert_eq!(call(MapView::default(), &url, LONG).await, r#"{"path":"/p?a=b&timeout=10s","sent":{"n":1}}"#);

    let unknown = json!({"service": {"namespace": "n", "name": "w"}, "caBundle": support::bundle(&authority())});
    assert_eq!(
        call(backed(backend.port), &unknown, LONG).await,
        "Post \"https://w.n.svc:443?timeout=10s\": tls: failed to verify certificate: x509: certificate signed by unknown \
         authority"
    );
    let gone = call(MapView::default(), &service, LONG).await;
    assert_eq!(gone, "Post \"https://w.n.svc:443/p?timeout=10s\": service \"w\" not found");
    // Nobody listens on the port that the system has just given and taken back.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("port").local_addr().expect("address").port();
    let refused = call(backed(free), &service, LONG).await;
    let expected =
        format!("Post \"https://w.n.svc:443/p?timeout=10s\": dial tcp 127.0.0.1:{free}: connect: connection refused");
    assert_eq!(refused, expected);
}

#[tokio::test]
async fn a_connection_is_kept_and_made_anew() {
    let ca = authority();
    let backend = Backend::start(&ca, "w.n.svc", |_, _| Answer::json(&json!({}))).await;
    let own = "127.0.0.1:1".parse().expect("address");
    let client = Client::new(Arc::new(backed(backend.port)), own).expect("client");
    let config = json!({"service": {"namespace": "n", "name": "w"}, "caBundle": support::bundle(&ca)});
    let target = Target::read(&config).expect("target");
    for _ in 0..5 {
        client.call(&target, Bytes::from_static(b"{}"), WANTED, 10, LONG).await.expect("answer");
    }
    assert_eq!(backend.connections(), 1);
    backend.hang_up().await;
    client.call(&target, Bytes::from_static(b"{}"), WANTED, 10, LONG).await.expect("answer");
    assert_eq!(backend.connections(), 2);
}

#[tokio::test]
async fn failures_are_worded_as_upstream_words_them() {
    let ca = authority();
    let backend = Backend::start(&ca, "w.n.svc", |path, _| match path.split('?').next() {
        Some("/slow") => Answer::never(),
        Some("/error") => Answer::text(500, "broken"),
        Some("/missing") => Answer::text(404, "404 page not found"),
        Some("/text") => Answer::text(200, "hello"),
        Some("/long") => Answer::text(200, &" ".repeat(17 << 20)),
        _ => Answer::hang_up(),
    })
    .await;
    let cases = [
        ("/slow", "Post \"https://w.n.svc:443/slow?timeout=10s\": context deadline exceeded"),
        ("/error", "an error on the server (\"broken\") has prevented the request from succeeding"),
        ("/missing", "the server could not find the requested resource"),
        (
            "/text",
            "couldn't get version/kind; json parse error: json: cannot unmarshal string into Go value of type struct { \
             APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }",
        ),
        ("/long", "Request entity too large: limit is 16777216"),
        ("/hang-up", "Post \"https://w.n.svc:443/hang-up?timeout=10s\": EOF"),
    ];
    for (path, expected) in cases {
        let config =
            json!({"service": {"namespace": "n", "name": "w", "path": path}, "caBundle": support::bundle(&ca)});
        let at_most = if path == "/slow" { Duration::from_millis(300) } else { LONG };
        assert_eq!(call(backed(backend.port), &config, at_most).await, expected, "{path}");
    }
}
