//! The kubelet API: logs, exec, attach, port-forward, stats, metrics and what runs. TLS; callers need a client
//! certificate of the cluster or a token that the API server accepts, and the right to use the node's subresource.

mod auth;
mod logs;
mod metrics;
mod route;
mod stats;
mod stream;
pub mod tls;

pub(crate) use logs::{read_line, read_options};
pub(crate) use route::decode;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::agent::Agent;
use crate::config::Config;
use crate::pod::manager::Manager;

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 1024;
/// How long a TLS handshake and the head of a request may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Wait after the kernel refused a connection, as when descriptors ran out.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Why the kubelet API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken.
    #[error("listen on {address}")]
    Listen {
        /// Which address.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Certificate, key or CA are no good.
    #[error(transparent)]
    Tls(#[from] tls::Error),
}

/// Body of an answer.
type Body = BoxBody<Bytes, std::io::Error>;

/// What requests are answered from.
struct Kubelet {
    agent: Arc<Agent>,
    manager: Arc<Manager>,
    usage: stats::Usage,
}

/// A bound socket with its TLS configuration.
pub struct Bound {
    listener: TcpListener,
    acceptor: tokio_rustls::TlsAcceptor,
}

/// Binds the socket, if the configuration has a certificate.
pub async fn bind(config: &Config) -> Result<Option<Bound>, Error> {
    let Some(tls) = &config.tls else { return Ok(None) };
    let acceptor = tls::acceptor(tls, &config.client_ca_pem)?;
    let address = config.listen;
    let listener = TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
    Ok(Some(Bound { listener, acceptor }))
}

/// Serves until the future is dropped; connections end with it.
pub async fn serve(bound: Option<Bound>, agent: Arc<Agent>, manager: Arc<Manager>) {
    let Some(Bound { listener, acceptor }) = bound else { return std::future::pending().await };
    let kubelet = Arc::new(Kubelet { agent, manager, usage: stats::Usage::default() });
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    let ended = tokio_util::sync::CancellationToken::new();
    let _end_all = ended.clone().drop_guard();
    while let Ok(slot) = slots.clone().acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "connection to the kubelet API not accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let (kubelet, acceptor, ended) = (kubelet.clone(), acceptor.clone(), ended.clone());
        connections.spawn(ended.run_until_cancelled_owned(async move {
            let _slot = slot;
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                Ok(Ok(tls)) => connection(kubelet, tls).await,
                Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                Err(_) => tracing::debug!("TLS handshake took too long"),
            }
        }));
    }
}

async fn connection(kubelet: Arc<Kubelet>, tls: tokio_rustls::server::TlsStream<tokio::net::TcpStream>) {
    let certificate =
        tls.get_ref().1.peer_certificates().and_then(|c| c.first()).and_then(|c| auth::from_certificate(c));
    let service = service_fn(move |request| {
        let (kubelet, certificate) = (kubelet.clone(), certificate.clone());
        async move { Ok::<_, Infallible>(route::answer(&kubelet, certificate, request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(tls), service);
    if let Err(error) = served.with_upgrades().await {
        tracing::debug!(%error, "connection of the kubelet API broke off");
    }
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed()
}

/// A plain answer.
fn text(code: StatusCode, message: impl Into<String>) -> Response<Body> {
    typed(code, "text/plain; charset=utf-8", message.into())
}

fn json(value: &impl serde::Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => typed(StatusCode::OK, "application/json", bytes),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn typed(code: StatusCode, content_type: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(bytes));
    *response.status_mut() = code;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}
