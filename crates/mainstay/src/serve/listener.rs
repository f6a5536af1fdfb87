//! Sockets of the API server: accept, TLS, HTTP/1.1 and HTTP/2 with upgrades, and a drain that lets requests finish.

use super::pace::Turns;
use anyhow::{Context as _, Result, anyhow, bail};
use apiserver::{Body, PeerCertificates, RemoteAddr, Service};
use http::header;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use telemetry::metrics::{self, IntCounter, Registry};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service as _;

/// More connections than this wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 10_000;
/// A client that does not finish its TLS handshake in this time is dropped.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// What a connection encrypts before its socket has to take it. The HTTP library gathers 16 events of a watch, of which this
/// is enough for most pods; the end of what does not fit costs a call and a packet of its own.
const ENCRYPTED_BYTES: usize = 96 << 10;
/// Requests at once on one HTTP/2 connection.
const HTTP2_STREAMS_MAX: u32 = 250;
/// Headers of one request, as many as upstream takes; more are answered 431.
const HEADER_BYTES_MAX: u32 = 1 << 20;
/// Their number over HTTP/1.1: somebody may be impersonated with hundreds of groups, each of which is one.
const HEADERS_MAX: usize = 1000;
/// Silence on an HTTP/2 connection after which it is probed.
const HTTP2_KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Pause after the kernel refused to accept a connection.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// Longest that a drain waits for open requests.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(15);

/// A bound socket, so that a taken port is found before anything is started.
///
/// # Errors
/// One sentence that names the address and, if it is taken, says what to do.
pub async fn bind(address: IpAddr, port: u16) -> Result<TcpListener> {
    let address = SocketAddr::new(address, port);
    TcpListener::bind(address).await.map_err(|e| match e.kind() {
        io::ErrorKind::AddrInUse => {
            anyhow!("port {port} is already in use on this machine; stop what uses it or choose another --secure-port")
        }
        io::ErrorKind::PermissionDenied => anyhow!("no permission to listen on port {port}; run as root"),
        io::ErrorKind::AddrNotAvailable => anyhow!("this machine does not have the address {}", address.ip()),
        _ => anyhow!("cannot listen on {address}: {e}"),
    })
}

/// The server side of TLS: our certificate, and client certificates if they are given and chain to one of `client_cas`.
///
/// # Errors
/// If a PEM text is not what it should be.
pub fn tls(serving: &pki::Pair, client_cas: &[&str]) -> Result<TlsAcceptor> {
    let mut roots = RootCertStore::empty();
    for pem in client_cas {
        for cert in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            roots.add(cert.context("a client authority is not a PEM certificate")?)?;
        }
    }
    if roots.is_empty() {
        bail!("there is no authority to verify client certificates with");
    }
    let chain = CertificateDer::pem_slice_iter(serving.cert_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .context("the serving certificate is not PEM")?;
    let key = PrivateKeyDer::from_pem_slice(serving.key_pem.as_bytes()).context("the serving key is not PEM")?;
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).allow_unauthenticated().build()?;
    let mut config = rustls::ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .context("the serving certificate does not fit its key")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Counts clients that do not get as far as HTTP, under upstream's name.
///
/// # Errors
/// If the registry has a metric of this name.
pub fn handshake_errors(registry: &Registry) -> Result<IntCounter> {
    let name = "apiserver_tls_handshake_errors_total";
    Ok(metrics::counter(registry, name, "TLS handshakes that failed.", &[])?.with_label_values::<&str>(&[]))
}

/// The threads that write long answers: one processor is left for what is short.
///
/// # Errors
/// If the system starts no thread.
pub fn turns() -> Result<Turns> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Turns::new(processors - 1, &Handle::current()).context("cannot start a thread")
}

/// Serves until `stop` is cancelled, then lets open requests finish, for [`DRAIN_TIMEOUT`] at most.
pub async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    turns: Turns,
    service: Service,
    failed: IntCounter,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let turns = Arc::new(turns);
    loop {
        let slot = tokio::select! {
            () = stop.cancelled() => break,
            slot = slots.clone().acquire_owned() => slot,
        };
        let Ok(slot) = slot else { break };
        let (stream, peer) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: give connections time to end.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                    continue;
                }
            },
        };
        let (tls, service, stop, turns) = (tls.clone(), service.clone(), stop.clone(), turns.clone());
        let failed = failed.clone();
        connections.spawn(async move {
            match handshake(stream, peer, tls).await {
                Ok(stream) => connection(stream, peer, &turns, service, stop).await,
                Err(error) => {
                    failed.inc();
                    tracing::debug!(%error, %peer, "TLS handshake failed");
                }
            }
            drop(slot);
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(DRAIN_TIMEOUT, connections.wait()).await.is_err() {
        tracing::warn!(open = connections.len(), "connections still open at the end of the drain");
    }
}

async fn handshake(stream: TcpStream, peer: SocketAddr, tls: TlsAcceptor) -> io::Result<TlsStream<TcpStream>> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, %peer, "cannot set TCP_NODELAY");
    }
    let accepted = tls.accept_with(stream, |session| session.set_buffer_limit(Some(ENCRYPTED_BYTES)));
    tokio::time::timeout(HANDSHAKE_TIMEOUT, accepted).await?
}

async fn connection(
    stream: TlsStream<TcpStream>,
    peer: SocketAddr,
    turns: &Turns,
    service: Service,
    stop: CancellationToken,
) {
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let certificates = PeerCertificates(Arc::new(chain.iter().map(|c| c.to_vec()).collect()));
    // Cancelled when this connection shall end although the server goes on.
    let last = CancellationToken::new();
    let closer = last.clone();
    let handler = hyper::service::service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(RemoteAddr(peer));
        request.extensions_mut().insert(certificates.clone());
        let is_http2 = request.version() == http::Version::HTTP_2;
        let request = request.map(|body| Body::new(body.map_err(|e| -> apiserver::BoxError { Box::new(e) })));
        let (answer, closer) = (service.clone().call(request), closer.clone());
        async move {
            let mut response = answer.await?;
            // There is no such header in HTTP/2; a frame says that no request after this one is taken.
            if is_http2 && response.headers_mut().remove(header::CONNECTION).is_some_and(|v| v == "close") {
                closer.cancel();
            }
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let (stream, place) = turns.join(stream);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).max_buf_size(HEADER_BYTES_MAX as usize).max_headers(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .keep_alive_interval(HTTP2_KEEP_ALIVE);
    let until_end = async move {
        let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), handler);
        tokio::pin!(serving);
        tokio::select! {
            ended = serving.as_mut() => ended,
            () = async { tokio::select! { () = stop.cancelled() => {}, () = last.cancelled() => {} } } => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        }
    };
    let ended = place.drive(until_end).await;
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "connection ended");
    }
}
