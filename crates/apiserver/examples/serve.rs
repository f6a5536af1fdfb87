//! Serves the API over TLS with an embedded store, for trying it out: `serve DIR PORT`. Credentials are written to
//! `DIR/etc/kubernetes/admin.conf`.

use apiserver::{Body, Config, PeerCertificates, Server};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use std::error::Error;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tower::Service;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut arguments = std::env::args().skip(1);
    telemetry::logs::init("info,mainstay=debug", telemetry::logs::Format::Text)?;
    let (Some(directory), Some(port)) = (arguments.next(), arguments.next()) else {
        return Err("usage: serve DIR PORT".into());
    };
    let port: u16 = port.parse()?;
    rustls::crypto::aws_lc_rs::default_provider().install_default().map_err(|_| "two crypto providers")?;
    let root = std::path::PathBuf::from(&directory);
    std::fs::create_dir_all(&root)?;
    let spec = pki::ClusterSpec {
        root: root.clone(),
        dns_names: Vec::new(),
        ip_addresses: vec![[127, 0, 0, 1].into(), [10, 96, 0, 1].into()],
        server_url: format!("https://127.0.0.1:{port}"),
        cluster_domain: "cluster.local".into(),
        now_unix_s: i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?,
    };
    let pki = pki::Cluster::load_or_create(&spec)?;
    let store = store::Embedded::open(root.join("store"), store::Limits::default())?;
    let config = Config {
        secure_port: port,
        client_ca_pem: pki.ca.cert_pem.clone(),
        root_ca_pem: pki.ca.cert_pem.clone(),
        service_account_key_pem: pki.service_account.key_pem.clone(),
        service_account_public_keys_pem: vec![pki.service_account.cert_pem.clone()],
        ..Config::default()
    };
    let server = Server::build(config, Arc::new(store)).await?;
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls(&pki)?));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("serving on {port}");
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let (acceptor, service) = (acceptor.clone(), server.service());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(socket).await else { return };
            let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
            let peer = PeerCertificates(Arc::new(chain.iter().map(|c| c.to_vec()).collect()));
            let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
                let mut request = request.map(|b| -> Body { b.map_err(Into::into).boxed_unsync() });
                if !peer.0.is_empty() {
                    request.extensions_mut().insert(peer.clone());
                }
                service.clone().call(request)
            });
            let connection = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            if let Err(error) = connection.serve_connection_with_upgrades(TokioIo::new(stream), service).await {
                tracing::debug!(error, "connection ended");
            }
        });
    }
}

fn tls(pki: &pki::Cluster) -> Result<rustls::ServerConfig, Box<dyn Error + Send + Sync>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pki.ca.cert_pem.as_bytes())?)?;
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).allow_unauthenticated().build()?;
    let chain = vec![CertificateDer::from_pem_slice(pki.apiserver.cert_pem.as_bytes())?];
    let key = PrivateKeyDer::from_pem_slice(pki.apiserver.key_pem.as_bytes())?;
    let mut config =
        rustls::ServerConfig::builder().with_client_cert_verifier(verifier).with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
