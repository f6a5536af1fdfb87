//! Sockets of cluster DNS: UDP and TCP on one address.

use super::answer::{Outcome, Zone, failure, for_udp};
use super::forward;
use super::source::Source;
use hickory_proto::op::{Message, ResponseCode};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Questions at once that wait for other resolvers; more are answered with SERVFAIL.
const FORWARDING_MAX: usize = 1000;
/// TCP connections at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 500;
/// A TCP client that says nothing for this long is cut off.
const IDLE: Duration = Duration::from_secs(10);
const UDP_BYTES_MAX: usize = 4096;

/// What cluster DNS must know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen, UDP and TCP.
    pub listen: SocketAddr,
    /// Address of the DNS service, which is not asked in turn.
    pub service_ip: IpAddr,
    /// The cluster's domain, such as `cluster.local`.
    pub domain: String,
    /// Where the machine's resolvers are listed.
    pub resolv_conf: PathBuf,
}

/// Why cluster DNS cannot work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken or not ours.
    #[error("cannot listen for DNS on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The domain is no name.
    #[error("{0:?} is not a DNS domain")]
    Domain(String),
    /// Receiving failed for good.
    #[error("the DNS socket failed")]
    Socket(#[source] io::Error),
}

struct Server {
    zone: Zone,
    source: Source,
    resolvers: Vec<SocketAddr>,
    forwarding: Semaphore,
}

/// Answers until `stop` is cancelled.
///
/// # Errors
/// If the address cannot be listened on.
pub async fn run(source: Source, config: Config, stop: CancellationToken) -> Result<(), Error> {
    let listen = |source| Error::Listen { address: config.listen, source };
    let udp = Arc::new(UdpSocket::bind(config.listen).await.map_err(listen)?);
    let tcp = TcpListener::bind(config.listen).await.map_err(listen)?;
    let zone = Zone::new(&config.domain).ok_or_else(|| Error::Domain(config.domain.clone()))?;
    let resolvers = forward::resolvers(&config.resolv_conf, config.service_ip).unwrap_or_else(|error| {
        tracing::warn!(%error, path = %config.resolv_conf.display(), "no resolvers; only cluster names have answers");
        Vec::new()
    });
    let server = Arc::new(Server { zone, source, resolvers, forwarding: Semaphore::new(FORWARDING_MAX) });
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        ended = server.clone().packets(udp) => ended,
        ended = server.connections(tcp) => ended,
    }
}

impl Server {
    async fn packets(self: Arc<Self>, socket: Arc<UdpSocket>) -> Result<(), Error> {
        let mut buffer = vec![0; UDP_BYTES_MAX];
        loop {
            let (length, peer) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                // An ICMP error about an earlier answer: that client is gone.
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(e) => return Err(Error::Socket(e)),
            };
            let packet = buffer[..length].to_vec();
            let Ok(request) = Message::from_vec(&packet) else { continue };
            match self.zone.decide(&request, &self.source) {
                Outcome::Answer(answer) => send(&socket, peer, for_udp(&answer)).await,
                Outcome::Ignore => {}
                outcome => {
                    let (server, socket) = (self.clone(), socket.clone());
                    tokio::spawn(async move {
                        let answer = server.resolve(outcome, &request, &packet, false).await;
                        send(&socket, peer, answer).await;
                    });
                }
            }
        }
    }

    async fn connections(self: Arc<Self>, listener: TcpListener) -> Result<(), Error> {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else { return Ok(()) };
            let (stream, _) = listener.accept().await.map_err(Error::Socket)?;
            let server = self.clone();
            tokio::spawn(async move {
                if let Err(error) = server.converse(stream).await {
                    tracing::debug!(%error, "a DNS connection ended");
                }
                drop(slot);
            });
        }
    }

    async fn converse(&self, mut stream: TcpStream) -> io::Result<()> {
        loop {
            let Ok(length) = tokio::time::timeout(IDLE, stream.read_u16()).await else { return Ok(()) };
            let mut packet = vec![0; usize::from(length?)];
            tokio::time::timeout(IDLE, stream.read_exact(&mut packet)).await??;
            let request = Message::from_vec(&packet).map_err(io::Error::other)?;
            let outcome = self.zone.decide(&request, &self.source);
            let Some(answer) = self.resolve(outcome, &request, &packet, true).await else { return Ok(()) };
            let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
            stream.write_all(&[&length.to_be_bytes(), answer.as_slice()].concat()).await?;
        }
    }

    /// The answer's bytes, asking others where that is needed.
    async fn resolve(&self, outcome: Outcome, request: &Message, packet: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let bytes = |message: &Message| if tcp { message.to_vec().ok() } else { for_udp(message) };
        let unable = || bytes(&failure(request, ResponseCode::ServFail));
        let Ok(_slot) = self.forwarding.try_acquire() else { return unable() };
        match outcome {
            Outcome::Answer(answer) => bytes(&answer),
            Outcome::Ignore => None,
            Outcome::Forward => match forward::ask(&self.resolvers, packet, tcp).await {
                Some(answer) => Some(answer),
                None => unable(),
            },
            Outcome::FollowAlias(mut answer, target) => {
                let kind = request.queries.first()?.query_type();
                if let Some(found) = self.follow(target, kind).await {
                    answer.add_answers(found.answers);
                }
                bytes(&answer)
            }
        }
    }

    /// An alias may lead back into the cluster's zone, once.
    async fn follow(&self, target: hickory_proto::rr::Name, kind: hickory_proto::rr::RecordType) -> Option<Message> {
        let mut request = Message::query();
        request.add_query(hickory_proto::op::Query::query(target.clone(), kind));
        match self.zone.decide(&request, &self.source) {
            Outcome::Answer(answer) | Outcome::FollowAlias(answer, _) => Some(answer),
            Outcome::Forward => forward::follow(&self.resolvers, target, kind).await,
            Outcome::Ignore => None,
        }
    }
}

async fn send(socket: &UdpSocket, peer: SocketAddr, answer: Option<Vec<u8>>) {
    let Some(answer) = answer else { return };
    if let Err(error) = socket.send_to(&answer, peer).await {
        tracing::debug!(%error, %peer, "cannot send a DNS answer");
    }
}
