//! Connections to HTTPS servers that extend the API: pooled for each kind of trust, kept alive, made anew when they end.
//!
//! A server that is a service is found at connect time ([`super::service`]); so a pool outlives the pods behind it. Knows
//! nothing of what is said on a connection.

use super::service;
use super::verify::Verifier;
use crate::view::View;
use crate::{Body, BoxError};
use futures::future::BoxFuture;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Pools at once. Past it the one used least recently goes, with its idle connections.
const POOLS_MAX: usize = 256;
/// Idle connections that are kept for each server.
const IDLE_CONNECTIONS_MAX: usize = 16;
/// How long an idle connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Whom a connection trusts, and who it is: what tells one pool from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Trust {
    /// Roots (PEM); empty means those of the system.
    pub ca_pem: Vec<u8>,
    /// Whether any certificate will do.
    pub insecure: bool,
    /// Whether the client certificate of the front proxy is shown.
    pub as_front_proxy: bool,
    /// Name that the certificate must have; empty means the URL's host.
    pub server_name: String,
    /// The service behind the URL's host, if it is one.
    pub service: Option<ServicePort>,
}

/// A service, and which of its ports.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServicePort {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The service's own port, not that of its pods.
    pub port: u16,
}

/// Why there is no connection; worded as upstream's client words it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConnectError(pub String);

/// A client whose connections share one trust.
pub(crate) type Pool = Client<Connector, Body>;

/// All pools.
pub struct Transport {
    view: Arc<dyn View>,
    /// Where this server itself is reached, for whoever names its own service.
    own: SocketAddr,
    provider: Arc<CryptoProvider>,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    system_roots: OnceLock<Vec<CertificateDer<'static>>>,
    pools: Mutex<Pools>,
}

#[derive(Default)]
struct Pools {
    by_trust: HashMap<Trust, (Pool, u64)>,
    uses: u64,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

impl Transport {
    /// `identity` is the front proxy's certificate and key (PEM), both empty if there is none.
    pub fn new(view: Arc<dyn View>, own: SocketAddr, identity: (&str, &str)) -> Result<Self, String> {
        let bad = |e: &dyn std::fmt::Display| format!("front-proxy client: {e}");
        let identity = if identity.0.is_empty() {
            None
        } else {
            let chain = CertificateDer::pem_slice_iter(identity.0.as_bytes()).collect::<Result<Vec<_>, _>>();
            let key = PrivateKeyDer::from_pem_slice(identity.1.as_bytes()).map_err(|e| bad(&e))?;
            Some((chain.map_err(|e| bad(&e))?, key))
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        Ok(Self { view, own, provider, identity, system_roots: OnceLock::new(), pools: Mutex::default() })
    }

    /// Sends a request on a pooled connection, or on a new one.
    pub async fn send(&self, trust: &Trust, request: Request<Body>) -> Result<Response<Incoming>, BoxError> {
        let pool = self.pool(trust)?;
        pool.request(request).await.map_err(BoxError::from)
    }

    /// Whether connections of this trust can be made at all; not whether anybody listens.
    pub fn check(&self, trust: &Trust) -> Result<(), ConnectError> {
        self.pool(trust).map(drop)
    }

    fn pool(&self, trust: &Trust) -> Result<Pool, ConnectError> {
        let mut pools = self.pools.lock();
        pools.uses += 1;
        let now = pools.uses;
        if let Some((pool, used)) = pools.by_trust.get_mut(trust) {
            *used = now;
            return Ok(pool.clone());
        }
        let connector = Connector(Arc::new(ConnectorInner {
            view: self.view.clone(),
            own: self.own,
            trust: trust.clone(),
            tls: self.tls(trust)?,
        }));
        let pool = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(connector);
        if pools.by_trust.len() >= POOLS_MAX {
            let oldest = pools.by_trust.iter().min_by_key(|(_, (_, used))| *used).map(|(trust, _)| trust.clone());
            oldest.map(|trust| pools.by_trust.remove(&trust));
        }
        pools.by_trust.insert(trust.clone(), (pool.clone(), now));
        Ok(pool)
    }

    fn tls(&self, trust: &Trust) -> Result<TlsConnector, ConnectError> {
        let bad = |e: &dyn std::fmt::Display| ConnectError(e.to_string());
        let verifier = if trust.insecure {
            Verifier::insecure(self.provider.clone())
        } else {
            Verifier::new(self.provider.clone(), self.roots(&trust.ca_pem)?)
        };
        let builder = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| bad(&e))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &self.identity {
            Some((chain, key)) if trust.as_front_proxy => {
                builder.with_client_auth_cert(chain.clone(), key.clone_key()).map_err(|e| bad(&e))?
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config).into())
    }

    fn roots(&self, ca_pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
        if ca_pem.is_empty() {
            let load = || {
                let found = rustls_native_certs::load_native_certs();
                for error in &found.errors {
                    tracing::warn!(%error, "some of the system's roots cannot be read");
                }
                found.certs
            };
            return Ok(self.system_roots.get_or_init(load).clone());
        }
        let roots: Vec<_> = CertificateDer::pem_slice_iter(ca_pem).filter_map(Result::ok).collect();
        if roots.is_empty() {
            return Err(ConnectError("unable to load root certificates: unable to parse bytes as PEM block".into()));
        }
        Ok(roots)
    }
}

/// Makes connections of one trust.
#[derive(Clone)]
pub(crate) struct Connector(Arc<ConnectorInner>);

struct ConnectorInner {
    view: Arc<dyn View>,
    own: SocketAddr,
    trust: Trust,
    tls: TlsConnector,
}

impl tower::Service<Uri> for Connector {
    type Response = Secured;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Secured, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let inner = self.0.clone();
        Box::pin(async move {
            let connected = tokio::time::timeout(CONNECT_TIMEOUT, inner.connect(&uri)).await;
            connected.unwrap_or_else(|_| Err(ConnectError("net/http: TLS handshake timeout".into())))
        })
    }
}

impl ConnectorInner {
    async fn connect(&self, uri: &Uri) -> Result<Secured, ConnectError> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let (address, port) = match &self.trust.service {
            Some(service) => {
                let pick = rand::random::<u32>() as usize;
                service::endpoint(&*self.view, service, self.own, pick).map_err(ConnectError)?
            }
            None => (host.to_owned(), uri.port_u16().unwrap_or(443)),
        };
        let name = if self.trust.server_name.is_empty() { host } else { &self.trust.server_name };
        let name = ServerName::try_from(name.to_owned()).map_err(|e| ConnectError(e.to_string()))?;
        let stream = dial(&address, port).await?;
        match self.tls.connect(name, stream).await {
            Ok(stream) => Ok(Secured(TokioIo::new(stream))),
            Err(error) => Err(ConnectError(worded(&error))),
        }
    }
}

/// Why a connection did not come about, in the words of upstream's HTTP client.
pub(crate) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        std::io::ErrorKind::TimedOut => "connect: connection timed out".to_owned(),
        _ => error.to_string(),
    }
}

async fn dial(address: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let shown = if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") };
    let failed = |error: &std::io::Error| ConnectError(format!("dial tcp {shown}: {}", reason(error)));
    let found = tokio::net::lookup_host((address, port)).await;
    let found: Vec<SocketAddr> = match found {
        Ok(found) => found.collect(),
        Err(_) => return Err(ConnectError(format!("dial tcp: lookup {address}: no such host"))),
    };
    let stream = TcpStream::connect(&*found).await.map_err(|e| failed(&e))?;
    stream.set_nodelay(true).map_err(|e| failed(&e))?;
    Ok(stream)
}

/// A failed handshake in upstream's words.
fn worded(error: &std::io::Error) -> String {
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::General(why)) => why.clone(),
        Some(rustls::Error::InvalidMessage(_)) => "http: server gave HTTP response to HTTPS client".into(),
        Some(rustls::Error::AlertReceived(alert)) => format!("remote error: tls: {alert:?}"),
        _ if error.kind() == std::io::ErrorKind::UnexpectedEof => "EOF".into(),
        _ => error.to_string(),
    }
}

/// A connection with TLS on it.
pub(crate) struct Secured(TokioIo<TlsStream<TcpStream>>);

impl Connection for Secured {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for Secured {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl hyper::rt::Write for Secured {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
