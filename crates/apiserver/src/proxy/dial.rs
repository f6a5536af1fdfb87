//! Goes to a kubelet, a pod or a service endpoint with one request. What is changed of request and answer on the way is
//! in [`super::pass`].

use super::pass::{answer, is_upgrade, prepare};
use crate::Body;
use crate::config::Config;
use crate::server::Inner;
use crate::webhook;
use api_core::ApiError;
use futures::future::BoxFuture;
use http::{Request, Response, Uri};
use hyper::client::conn::http1;
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
            let uri = path.parse::<Uri>().map_err(|e| failed(&e))?;
            prepare(&mut request, uri, &to.authority(), seen, upgrading).map_err(|e| failed(&e))?;
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
