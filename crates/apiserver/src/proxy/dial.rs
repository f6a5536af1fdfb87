//! Goes to a kubelet, a pod or a service endpoint, and passes one request through. An upgraded connection (SPDY, WebSocket)
//! is passed through as bytes, whatever is spoken on it.

use crate::config::Config;
use crate::server::Inner;
use crate::webhook;
use crate::{Body, BoxError, RemoteAddr};
use api_core::ApiError;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How the other side is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Without TLS.
    Plain,
    /// TLS, whatever its certificate, as upstream does for pods and services.
    Anyone,
    /// TLS, verified by the kubelets' CA if there is one, and with our client certificate.
    Kubelet,
}

/// Where to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Address or name.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How to speak.
    pub trust: Trust,
}

impl Destination {
    /// `host:port`.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    fn url(&self, path: &str) -> String {
        let scheme = if self.trust == Trust::Plain { "http" } else { "https" };
        format!("{scheme}://{}{path}", self.authority())
    }
}

/// Makes connections.
pub struct Dialer {
    kubelets: TlsConnector,
    anyone: TlsConnector,
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer").finish_non_exhaustive()
    }
}

/// Whether a request wants to speak another protocol.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    let tokens = headers.get_all(header::CONNECTION).iter().filter_map(|v| v.to_str().ok());
    headers.contains_key(header::UPGRADE)
        && tokens.flat_map(|v| v.split(',')).any(|t| t.trim().eq_ignore_ascii_case("upgrade"))
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Dialer {
    /// Reads the client certificate and the kubelets' CA.
    pub fn new(config: &Config) -> Result<Self, String> {
        let bad = |e: &dyn std::fmt::Display| format!("kubelet client: {e}");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = || {
            ClientConfig::builder_with_provider(provider.clone())
                .with_safe_default_protocol_versions()
                .map_err(|e| bad(&e))
        };
        let unverified = || {
            builder()
                .map(|b| b.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider.clone()))))
        };
        let kubelets = if config.kubelet_ca_pem.is_empty() {
            unverified()?
        } else {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(config.kubelet_ca_pem.as_bytes()) {
                roots.add(certificate.map_err(|e| bad(&e))?).map_err(|e| bad(&e))?;
            }
            builder()?.with_root_certificates(roots)
        };
        let kubelets = if config.kubelet_client_cert_pem.is_empty() {
            kubelets.with_no_client_auth()
        } else {
            let chain = CertificateDer::pem_slice_iter(config.kubelet_client_cert_pem.as_bytes());
            let chain = chain.collect::<Result<Vec<_>, _>>().map_err(|e| bad(&e))?;
            let key = PrivateKeyDer::from_pem_slice(config.kubelet_client_key_pem.as_bytes()).map_err(|e| bad(&e))?;
            kubelets.with_client_auth_cert(chain, key).map_err(|e| bad(&e))?
        };
        let anyone = unverified()?.with_no_client_auth();
        Ok(Self { kubelets: Arc::new(kubelets).into(), anyone: Arc::new(anyone).into() })
    }

    async fn connect(&self, to: &Destination) -> std::io::Result<Box<dyn Io>> {
        let stream = TcpStream::connect((to.host.as_str(), to.port)).await?;
        stream.set_nodelay(true)?;
        let tls = match to.trust {
            Trust::Plain => return Ok(Box::new(stream)),
            Trust::Anyone => &self.anyone,
            Trust::Kubelet => &self.kubelets,
        };
        let name = ServerName::try_from(to.host.clone()).map_err(std::io::Error::other)?;
        Ok(Box::new(tls.connect(name, stream).await?))
    }

    /// Sends a request to `path` there, and gives its answer. `seen` is the path that a proxied server is told it is
    /// reached by.
    pub fn forward<'a>(
        &'a self,
        server: &'a Inner,
        to: &'a Destination,
        path: &'a str,
        request: Request<Body>,
        seen: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Response<Body>, ApiError>> {
        Box::pin(async move { self.send(server, to, path, request, seen).await.map_err(ApiError::internal) })
    }

    /// The same; says what failed in the words of upstream's HTTP client.
    pub(crate) fn send<'a>(
        &'a self,
        server: &'a Inner,
        to: &'a Destination,
        path: &'a str,
        mut request: Request<Body>,
        seen: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Response<Body>, String>> {
        Box::pin(async move {
            let method = request.method().clone();
            let failed = |why: &dyn std::fmt::Display| {
                let verb = title(method.as_str());
                format!("{verb} \"{}\": {why}", to.url(path))
            };
            let upgrading = is_upgrade(request.headers());
            let client = upgrading.then(|| hyper::upgrade::on(&mut request));
            prepare(&mut request, to, path, seen, upgrading).map_err(|e| failed(&e))?;
            let io = tokio::time::timeout(CONNECT_TIMEOUT, self.connect(to)).await;
            let io = io
                .map_err(|_| failed(&"dial timed out"))?
                .map_err(|e| failed(&format!("dial tcp {}: {}", to.authority(), webhook::transport::reason(&e))))?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(|e| failed(&e))?;
            let drain = server.drain.clone();
            server.tasks.spawn(async move {
                let ended = async {
                    if let Err(error) = connection.with_upgrades().await {
                        tracing::debug!(%error, "a proxied connection broke off");
                    }
                };
                tokio::select! { () = ended => {}, () = drain.cancelled() => {} }
            });
            let response = sender.send_request(request).await.map_err(|e| failed(&e))?;
            Ok(answer(server, response, client))
        })
    }
}

fn title(method: &str) -> String {
    let lower = method.to_ascii_lowercase();
    let mut letters = lower.chars();
    letters.next().map(|c| c.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
}

/// Headers that are between us and one side only, or that carry the client's credentials.
const NOT_FORWARDED: [&str; 9] = [
    "authorization",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "host",
];

/// Makes the client's request one for the other side.
fn prepare(
    request: &mut Request<Body>,
    to: &Destination,
    path: &str,
    seen: Option<&str>,
    upgrading: bool,
) -> Result<(), http::Error> {
    let upgrade = request.headers().get(header::UPGRADE).cloned();
    let host = request.headers().get(header::HOST).cloned();
    let remote = request.extensions().get::<RemoteAddr>().map(|r| r.0.ip().to_string());
    *request.uri_mut() = path.parse::<Uri>()?;
    *request.version_mut() = http::Version::HTTP_11;
    let headers = request.headers_mut();
    for name in NOT_FORWARDED {
        headers.remove(name);
    }
    let vouched: Vec<HeaderName> = headers
        .keys()
        .filter(|n| n.as_str().starts_with("impersonate-") || n.as_str().starts_with("x-remote-"))
        .cloned()
        .collect();
    for name in vouched {
        headers.remove(name);
    }
    hide_token(headers);
    headers.insert(header::HOST, HeaderValue::from_str(&to.authority())?);
    if let (true, Some(upgrade)) = (upgrading, upgrade) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, upgrade);
    }
    if let Some(seen) = seen {
        headers.insert("x-forwarded-uri", HeaderValue::from_str(seen)?);
        headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
        if let Some(host) = host {
            headers.insert("x-forwarded-host", host);
        }
        if let Some(remote) = remote {
            headers.append("x-forwarded-for", HeaderValue::from_str(&remote)?);
        }
    }
    // An identity of this process means nothing elsewhere.
    request.extensions_mut().clear();
    Ok(())
}

/// Takes a bearer token out of a WebSocket's protocols.
fn hide_token(headers: &mut HeaderMap) {
    let protocols: Vec<String> = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(|p| p.trim().to_owned())
        .filter(|p| !p.starts_with("base64url.bearer.authorization.k8s.io."))
        .collect();
    headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
    if let Ok(value) = HeaderValue::from_str(&protocols.join(", "))
        && !protocols.is_empty()
    {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
}

/// The other side's answer as ours; after a 101 the two connections become one.
fn answer(server: &Inner, mut response: Response<hyper::body::Incoming>, client: Option<OnUpgrade>) -> Response<Body> {
    if let (StatusCode::SWITCHING_PROTOCOLS, Some(client)) = (response.status(), client) {
        let there = hyper::upgrade::on(&mut response);
        let drain = server.drain.clone();
        server.tasks.spawn(async move {
            let joined = async {
                let (client, there) = tokio::try_join!(client, there).map_err(std::io::Error::other)?;
                tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(there)).await
            };
            tokio::select! {
                // Either side may hang up at any time; that is how such a connection ends.
                ended = joined => if let Err(error) = ended { tracing::debug!(%error, "a stream ended") },
                () = drain.cancelled() => {}
            }
        });
        let (parts, _) = response.into_parts();
        let mut switched = Response::new(crate::body::empty());
        *switched.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *switched.headers_mut() = parts.headers;
        return switched;
    }
    let (mut parts, body) = response.into_parts();
    for name in ["connection", "keep-alive", "transfer-encoding", "trailer", "upgrade"] {
        parts.headers.remove(name);
    }
    parts.version = http::Version::default();
    Response::from_parts(parts, body.map_err(BoxError::from).boxed_unsync())
}

/// Takes any certificate.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
