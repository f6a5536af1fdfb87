//! TLS of the kubelet API, and of probes, which do not verify certificates. Knows certificates only.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client};

/// What is wrong with a certificate, key or CA.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not PEM.
    #[error("read {0} as PEM")]
    Pem(&'static str, #[source] rustls::pki_types::pem::Error),
    /// Not usable.
    #[error("use certificate")]
    Certificate(#[source] rustls::Error),
    /// The CA cannot verify clients.
    #[error("use client CA")]
    ClientCa(#[source] rustls::server::VerifierBuilderError),
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// An acceptor that asks for client certificates of the cluster's CA but also lets callers in without one, who then
/// need a token.
pub fn acceptor(tls: &crate::Tls, client_ca_pem: &str) -> Result<TlsAcceptor, Error> {
    let certs = |pem: &str, what| {
        CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>().map_err(|e| Error::Pem(what, e))
    };
    let key = PrivateKeyDer::from_pem_slice(tls.key_pem.as_bytes()).map_err(|e| Error::Pem("key", e))?;
    let mut roots = RootCertStore::empty();
    for ca in certs(client_ca_pem, "client CA")? {
        roots.add(ca).map_err(Error::Certificate)?;
    }
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(Error::Certificate)?;
    let builder = if roots.is_empty() {
        builder.with_no_client_auth()
    } else {
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).allow_unauthenticated().build();
        builder.with_client_cert_verifier(verifier.map_err(Error::ClientCa)?)
    };
    let mut config = builder.with_single_cert(certs(&tls.cert_pem, "certificate")?, key).map_err(Error::Certificate)?;
    // Streaming needs HTTP/1.1 upgrades.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// TLS to a container that is probed, whatever its certificate.
pub async fn connect_unverified(stream: TcpStream, host: &str) -> std::io::Result<client::TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?;
    let config = builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate)).with_no_client_auth();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// A probe asks whether a container answers, not who it is; upstream skips verification as well.
#[derive(Debug)]
struct AnyCertificate;

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
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
