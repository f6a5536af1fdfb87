//! A watch over WebSocket (RFC 6455), as browsers ask for it: each event is a message, text for JSON and binary for
//! protobuf. What the client sends is read only to answer pings and to see it go.
//!
//! Knows nothing of what the events are about. The handshake's sums and the frames are tested below, a whole watch in
//! `mainstay/tests/surface.rs`.

use crate::body::{self, Body};
use crate::proxy::pass::is_upgrade;
use api_core::ApiError;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

/// What every server adds to the client's key.
const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Protocol by which a browser sends a token; it is not one that anybody speaks.
const TOKEN_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";
/// Answers to pings that wait to be sent; more pings are left unanswered.
const PONGS_MAX: usize = 8;
/// Most bytes of a ping or a close.
const CONTROL_BYTES_MAX: u64 = 125;
/// The end in good order.
const CLOSE_NORMAL: [u8; 2] = 1000u16.to_be_bytes();

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A client's wish to go on over WebSocket.
#[derive(Debug)]
pub(crate) struct Handshake {
    accept: HeaderValue,
    protocol: Option<HeaderValue>,
    upgrade: OnUpgrade,
}

impl Handshake {
    /// Reads the request's wish, if it has one; a 400 if it makes no sense.
    pub(crate) fn read(parts: &mut Parts) -> Result<Option<Self>, ApiError> {
        let wanted = parts.headers.get(header::UPGRADE).and_then(|v| v.to_str().ok()).unwrap_or("");
        if !is_upgrade(&parts.headers) || !wanted.eq_ignore_ascii_case("websocket") {
            return Ok(None);
        }
        let version = parts.headers.get(header::SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes);
        let key = parts.headers.get(header::SEC_WEBSOCKET_KEY).cloned();
        let (Some(b"13"), Some(key)) = (version, key) else {
            return Err(ApiError::bad_request("a WebSocket of version 13 needs a Sec-WebSocket-Key"));
        };
        let upgrade = parts.extensions.remove::<OnUpgrade>();
        let upgrade = upgrade.ok_or_else(|| ApiError::bad_request("this connection cannot become a WebSocket"))?;
        let accept = HeaderValue::from_str(&accept(key.as_bytes())).map_err(ApiError::internal)?;
        Ok(Some(Self { accept, protocol: protocol(&parts.headers), upgrade }))
    }

    /// Goes on over WebSocket with what `watch` was going to answer.
    pub(crate) fn answer(self, watch: Response<Body>, tasks: &TaskTracker) -> Response<Body> {
        let (parts, events) = watch.into_parts();
        let is_text =
            parts.headers.get(header::CONTENT_TYPE).is_none_or(|v| v.as_bytes().starts_with(b"application/json"));
        let upgrade = self.upgrade;
        tasks.spawn(async move {
            match upgrade.await {
                Ok(socket) => speak(TokioIo::new(socket), events, is_text).await,
                Err(error) => tracing::debug!(%error, "a client went before its WebSocket began"),
            }
        });
        let mut response = Response::new(body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept);
        if let Some(protocol) = self.protocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        response
    }
}

/// The proof that a server speaks WebSocket.
fn accept(key: &[u8]) -> String {
    let mut sum = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    sum.update(key);
    sum.update(MAGIC);
    STANDARD.encode(sum.finish())
}

/// The first protocol that the client names beside its token; a client that names some wants to be told one of them.
fn protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let all = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|v| v.to_str().ok());
    let mut named = all.flat_map(|v| v.split(',')).map(str::trim).filter(|p| !p.is_empty());
    let chosen = named.find(|p| !p.starts_with(TOKEN_PROTOCOL))?;
    HeaderValue::from_str(chosen).ok()
}

/// Sends events until they end or the client goes.
async fn speak<S: AsyncRead + AsyncWrite + Send>(socket: S, events: Body, is_text: bool) {
    let (read, write) = tokio::io::split(socket);
    let (pong, pongs) = mpsc::channel(PONGS_MAX);
    let ended = tokio::select! {
        ended = listen(read, pong) => ended,
        ended = tell(write, events, is_text, pongs) => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a WebSocket ended");
    }
}

async fn tell(
    mut write: impl AsyncWrite + Unpin,
    mut events: Body,
    is_text: bool,
    mut pongs: mpsc::Receiver<Vec<u8>>,
) -> io::Result<()> {
    // What has come of a line so far; the watch may send a long one in parts.
    let mut line = Vec::new();
    loop {
        tokio::select! {
            Some(payload) = pongs.recv() => send(&mut write, PONG, &payload).await?,
            piece = events.frame() => match piece {
                Some(Ok(frame)) => {
                    line.extend_from_slice(&frame.into_data().unwrap_or_default());
                    if is_text && line.last().is_some_and(|b| *b != b'\n') {
                        continue;
                    }
                    for message in messages(&line, is_text) {
                        send(&mut write, if is_text { TEXT } else { BINARY }, message).await?;
                    }
                    line.clear();
                }
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => {
                    send(&mut write, CLOSE, &CLOSE_NORMAL).await?;
                    return write.shutdown().await;
                }
            },
        }
    }
}

/// The events in a piece of a watch's body: lines, or messages with their length before them.
fn messages(bytes: &[u8], is_text: bool) -> Vec<&[u8]> {
    if is_text {
        return bytes.split_inclusive(|b| *b == b'\n').collect();
    }
    let (mut all, mut rest) = (Vec::new(), bytes);
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let (message, after) = after.split_at(length.min(after.len()));
        all.push(message);
        rest = after;
    }
    all
}

async fn send(write: &mut (impl AsyncWrite + Unpin), kind: u8, payload: &[u8]) -> io::Result<()> {
    let mut head = vec![0x80 | kind];
    match payload.len() {
        length @ 0..=125 => head.push(length as u8),
        length @ 126..=0xffff => {
            head.push(126);
            head.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            head.push(127);
            head.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    write.write_all(&head).await?;
    write.write_all(payload).await?;
    write.flush().await
}

/// Reads what the client sends until it wants to end.
async fn listen(mut read: impl AsyncRead + Unpin, pong: mpsc::Sender<Vec<u8>>) -> io::Result<()> {
    loop {
        let [kind, length] = [read.read_u8().await? & 0x0f, read.read_u8().await?];
        let is_masked = length & 0x80 != 0;
        let length = match length & 0x7f {
            126 => u64::from(read.read_u16().await?),
            127 => read.read_u64().await?,
            length => u64::from(length),
        };
        let mut mask = [0; 4];
        if is_masked {
            read.read_exact(&mut mask).await?;
        }
        if kind < CLOSE {
            // Nobody has asked to be told anything.
            tokio::io::copy(&mut (&mut read).take(length), &mut tokio::io::sink()).await?;
            continue;
        }
        if length > CONTROL_BYTES_MAX {
            return Err(io::Error::other("a control frame that is too long"));
        }
        let mut payload = vec![0; length as usize];
        read.read_exact(&mut payload).await?;
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
        match kind {
            CLOSE => return Ok(()),
            PING if pong.try_send(payload).is_err() => tracing::debug!("a client pings faster than it reads"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn the_proof_is_that_of_the_standard() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_protocol_is_chosen_that_is_no_token() {
        let mut headers = HeaderMap::new();
        assert_eq!(protocol(&headers), None);
        let offered = "base64url.bearer.authorization.k8s.io.dG9rZW4, base64.binary.k8s.io";
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(offered));
        assert_eq!(protocol(&headers).expect("a protocol"), "base64.binary.k8s.io");
    }

    #[test]
    fn pieces_are_taken_apart() {
        assert_eq!(messages(b"{1}\n{2}\n", true), [b"{1}\n", b"{2}\n"]);
        assert_eq!(messages(b"\0\0\0\x02ab\0\0\0\x01c", false), [b"ab".as_slice(), b"c"]);
    }

    #[tokio::test]
    async fn events_are_frames_and_pings_are_answered() {
        let (client, server) = tokio::io::duplex(1 << 20);
        let long = format!("{}\n", "x".repeat(70_000));
        let (sender, pieces) = futures::channel::mpsc::unbounded::<Result<Bytes, crate::BoxError>>();
        sender.unbounded_send(Ok("short\n".into())).expect("sent");
        for part in [&long[..7], &long[7..70_000], &long[70_000..]] {
            sender.unbounded_send(Ok(part.to_owned().into())).expect("sent");
        }
        let speaking = tokio::spawn(speak(server, body::stream(pieces), true));
        let (mut read, mut write) = tokio::io::split(client);
        let mut head = [0; 2];
        read.read_exact(&mut head).await.expect("a head");
        assert_eq!(head, [0x81, 6]);
        let mut text = vec![0; 6];
        read.read_exact(&mut text).await.expect("a text");
        assert_eq!(text, b"short\n");
        read.read_exact(&mut head).await.expect("a head");
        assert_eq!((head, read.read_u64().await.expect("a length")), ([0x81, 127], 70_001));
        let mut text = vec![0; 70_001];
        read.read_exact(&mut text).await.expect("a text");
        // A message, which is ignored, and a ping of "hi", both masked.
        write
            .write_all(&[0x81, 0x83, 1, 2, 3, 4, 9, 9, 9, 0x89, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2])
            .await
            .expect("sent");
        read.read_exact(&mut head).await.expect("a head");
        let mut text = vec![0; 2];
        read.read_exact(&mut text).await.expect("a pong");
        assert_eq!((head, text.as_slice()), ([0x8a, 2], b"hi".as_slice()));
        drop(sender);
        let mut rest = Vec::new();
        read.read_to_end(&mut rest).await.expect("the end");
        assert_eq!(rest, [0x88, 2, 3, 0xe8]);
        speaking.await.expect("no panic");
    }
}
