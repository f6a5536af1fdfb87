//! Asking the machine's own resolvers. Answers are passed on as they are, byte for byte.

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

/// Longest that one resolver may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Largest message over UDP.
const UDP_BYTES_MAX: usize = 4096;

/// The resolvers of a `resolv.conf`, without `own`; at most three, as the C library takes.
pub fn resolvers(path: &Path, own: IpAddr) -> io::Result<Vec<SocketAddr>> {
    Ok(parse_resolvers(&std::fs::read_to_string(path)?, own))
}

pub(super) fn parse_resolvers(text: &str, own: IpAddr) -> Vec<SocketAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse::<IpAddr>().ok()).flatten()
    });
    servers.filter(|ip| *ip != own).take(3).map(|ip| SocketAddr::new(ip, 53)).collect()
}

/// Sends `request` to each resolver in turn until one answers; `None` if none does.
pub async fn ask(resolvers: &[SocketAddr], request: &[u8], tcp: bool) -> Option<Vec<u8>> {
    for resolver in resolvers {
        let answered =
            async { if tcp { over_tcp(*resolver, request).await } else { over_udp(*resolver, request).await } };
        match tokio::time::timeout(TIMEOUT, answered).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => tracing::debug!(%resolver, %error, "a resolver does not answer"),
            Err(_) => tracing::debug!(%resolver, "a resolver takes too long"),
        }
    }
    None
}

/// What the resolvers say of `name`, for the answer about an alias of it.
pub async fn follow(resolvers: &[SocketAddr], name: Name, kind: RecordType) -> Option<Message> {
    let mut request = Message::query();
    request.metadata.recursion_desired = true;
    request.add_query(Query::query(name, kind));
    Message::from_vec(&ask(resolvers, &request.to_vec().ok()?, false).await?).ok()
}

async fn over_udp(resolver: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = if resolver.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(resolver).await?;
    socket.send(request).await?;
    let mut buffer = vec![0; UDP_BYTES_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Another id is a late answer to somebody else, or a forgery.
        if length >= 2 && buffer[..2] == request[..2] {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn over_tcp(resolver: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(resolver).await?;
    let length = u16::try_from(request.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), request].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_address_is_no_resolver() {
        let text = "# x\nsearch a\nnameserver 10.96.0.10\nnameserver 192.0.2.1\nnameserver nonsense\n";
        let own = "10.96.0.10".parse().expect("an address");
        assert_eq!(parse_resolvers(text, own), ["192.0.2.1:53".parse().expect("an address")]);
    }
}
