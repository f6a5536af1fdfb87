//! What is changed of a request and its answer when they are passed through: headers that are between two sides only,
//! credentials, who asks. An upgraded connection (SPDY, WebSocket) is passed through as bytes, whatever is spoken on it.

use crate::server::Inner;
use crate::{Body, BoxError, RemoteAddr};
use http::header::AsHeaderName;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

/// Whether a request wants to speak another protocol.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    let tokens = headers.get_all(header::CONNECTION).iter().filter_map(|v| v.to_str().ok());
    headers.contains_key(header::UPGRADE)
        && tokens.flat_map(|v| v.split(',')).any(|t| t.trim().eq_ignore_ascii_case("upgrade"))
}

const FORWARDED_FOR: &str = "x-forwarded-for";

/// Headers that are between us and one side only, or that carry the client's credentials.
const NOT_FORWARDED: [&str; 11] = [
    "authorization",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "host",
];

/// Makes the client's request one for `uri` on the other side, which is known as `authority`. `seen` is the path that it is
/// told it is reached by.
pub(crate) fn prepare(
    request: &mut Request<Body>,
    uri: Uri,
    authority: &str,
    seen: Option<&str>,
    upgrading: bool,
) -> Result<(), http::Error> {
    let upgrade = request.headers().get(header::UPGRADE).cloned();
    let host = request.headers().get(header::HOST).cloned();
    let remote = request.extensions().get::<RemoteAddr>().map(|r| r.0.ip().to_string());
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_11;
    // Some servers insist on it where there may be a body.
    let is_empty =
        matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH) && request.body().is_end_stream();
    let headers = request.headers_mut();
    let takes_trailers = named(headers, header::TE).any(|coding| coding.eq_ignore_ascii_case("trailers"));
    drop_named_by_connection(headers);
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
    headers.insert(header::HOST, HeaderValue::from_str(authority)?);
    if takes_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if is_empty {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
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
            let way: Vec<&str> = named(headers, FORWARDED_FOR).chain([remote.as_str()]).collect();
            let way = HeaderValue::from_str(&way.join(", "))?;
            headers.insert(FORWARDED_FOR, way);
        }
    }
    // An identity of this process means nothing elsewhere.
    request.extensions_mut().clear();
    Ok(())
}

/// What a header lists.
fn named(headers: &HeaderMap, header: impl AsHeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(header).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).map(str::trim)
}

/// Takes out what the other side has said to be between it and us only.
fn drop_named_by_connection(headers: &mut HeaderMap) {
    let named: Vec<String> = named(headers, header::CONNECTION).map(str::to_ascii_lowercase).collect();
    for name in named {
        headers.remove(name);
    }
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
pub(crate) fn answer(server: &Inner, mut response: Response<Incoming>, client: Option<OnUpgrade>) -> Response<Body> {
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
    drop_named_by_connection(&mut parts.headers);
    for name in ["connection", "keep-alive", "proxy-authenticate", "transfer-encoding", "upgrade"] {
        parts.headers.remove(name);
    }
    parts.version = http::Version::default();
    Response::from_parts(parts, body.map_err(BoxError::from).boxed_unsync())
}
