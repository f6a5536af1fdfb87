//! An HTTPS server of a test's own: what webhooks and extension servers are played by.

#![allow(dead_code, reason = "each test uses the part it needs")]

pub mod cluster;
pub mod extension;
pub mod upgraded;

use apiserver::{Body, body};
use base64::Engine;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use std::future::pending;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What a server of a test answers.
pub enum Answer {
    /// A response.
    Response(Box<Response<Body>>),
    /// Nothing, ever.
    Never,
    /// The end of the connection.
    HangUp,
}

impl Answer {
    /// A document.
    pub fn json(value: &Value) -> Self {
        Self::Response(Box::new(body::json(StatusCode::OK, value)))
    }

    /// Text with a status.
    pub fn text(code: u16, text: &str) -> Self {
        Self::Response(Box::new(body::text(StatusCode::from_u16(code).expect("code"), text.to_owned())))
    }

    /// Nothing, ever.
    pub fn never() -> Self {
        Self::Never
    }

    /// The end of the connection.
    pub fn hang_up() -> Self {
        Self::HangUp
    }
}

/// An authority of this test alone.
pub fn authority() -> pki::Pair {
    pki::certificate_authority("test-ca", jiff::Timestamp::now().as_second(), 10).expect("ca")
}

/// As a `caBundle`.
pub fn bundle(ca: &pki::Pair) -> String {
    base64::engine::general_purpose::STANDARD.encode(&ca.cert_pem)
}

/// A server; ends with the value.
pub struct Backend {
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    connections: Arc<AtomicUsize>,
    hang_up: watch::Sender<usize>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Backend {
    /// Answers `(path and query, JSON body)` on a free port, with a certificate for `name` and 127.0.0.1.
    pub async fn start(
        ca: &pki::Pair,
        name: &str,
        answer: impl Fn(&str, &Value) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let answer = Arc::new(answer);
        Self::serve(ca, name, None, move |request: Request<Incoming>| {
            let answer = answer.clone();
            async move {
                let path = request.uri().to_string();
                let bytes = request.into_body().collect().await.expect("body").to_bytes();
                answer(&path, &serde_json::from_slice(&bytes).unwrap_or(Value::Null))
            }
        })
        .await
    }

    /// Serves requests as they are; clients must show a certificate of `clients` if there is one.
    pub async fn serve<F, R>(ca: &pki::Pair, name: &str, clients: Option<&pki::Pair>, handle: F) -> Self
    where
        F: Fn(Request<Incoming>) -> R + Send + Sync + 'static,
        R: Future<Output = Answer> + Send + 'static,
    {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config(ca, name, clients)));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("listen");
        let port = listener.local_addr().expect("address").port();
        let (connections, hang_up, handle) = (Arc::new(AtomicUsize::new(0)), watch::Sender::new(0), Arc::new(handle));
        let (counted, ends) = (connections.clone(), hang_up.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, handle, counted) = (acceptor.clone(), handle.clone(), counted.clone());
                let mut ended = ends.subscribe();
                tokio::spawn(async move {
                    // A client that does not trust us hangs up.
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    counted.fetch_add(1, Ordering::SeqCst);
                    let service = service_fn(move |request| {
                        let handle = handle.clone();
                        async move {
                            match handle(request).await {
                                Answer::Response(response) => Ok(*response),
                                Answer::Never => pending().await,
                                Answer::HangUp => Err(std::io::Error::other("told to")),
                            }
                        }
                    });
                    let connection =
                        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    let mut connection = std::pin::pin!(connection.with_upgrades());
                    tokio::select! {
                        // The client may go at any time.
                        _ = connection.as_mut() => {}
                        _ = ended.changed() => {
                            connection.as_mut().graceful_shutdown();
                            drop(connection.await);
                        }
                    }
                    drop(ended);
                });
            }
        });
        Self { port, connections, hang_up, accepting }
    }

    /// Handshakes so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Ends all connections; returns when they have ended.
    pub async fn hang_up(&self) {
        self.hang_up.send_modify(|n| *n += 1);
        self.hang_up.closed().await;
    }
}

fn config(ca: &pki::Pair, name: &str, clients: Option<&pki::Pair>) -> rustls::ServerConfig {
    let spec = pki::LeafSpec {
        common_name: name.into(),
        organizations: Vec::new(),
        dns_names: vec![name.into()],
        ip_addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        usage: pki::Usage::Server,
        valid_days: 1,
    };
    let serving = pki::leaf(ca, &spec, jiff::Timestamp::now().as_second()).expect("leaf");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = match clients {
        Some(clients) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(clients.cert_pem.as_bytes()).expect("ca")).expect("root");
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("verifier"))
        }
        None => builder.with_no_client_auth(),
    };
    let chain = vec![CertificateDer::from_pem_slice(serving.cert_pem.as_bytes()).expect("certificate")];
    let key = PrivateKeyDer::from_pem_slice(serving.key_pem.as_bytes()).expect("key");
    builder.with_single_cert(chain, key).expect("config")
}
