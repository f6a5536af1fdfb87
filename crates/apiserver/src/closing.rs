//! Connections that are not kept: those of clients that show no credentials, over which many requests would come cheaply,
//! and, while a server ends that says so, those of new requests, which are told to come again, to another server.
//!
//! `Connection: close` says it over HTTP/2 too: whoever owns the socket takes it for the wish to close.

use crate::RemoteAddr;
use crate::body::{self, Body};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};

/// Seconds after which a client may come again.
const RETRY_AFTER_S: u32 = 5;
/// Who looks after the server may look to its end.
const STILL_SERVED: [&str; 4] = ["/readyz", "/livez", "/healthz", "/metrics"];

/// The answer to a request that comes when the server takes no more; `None` if it is served all the same.
pub(crate) fn turn_away(request: &Request<Body>) -> Option<Response<Body>> {
    // What this process asks of itself is part of what is under way.
    let from_outside = request.extensions().get::<RemoteAddr>().is_some();
    if !from_outside || STILL_SERVED.iter().any(|prefix| request.uri().path().starts_with(prefix)) {
        return None;
    }
    let why = "The apiserver is shutting down, please try again later.";
    let mut response = body::error(StatusCode::TOO_MANY_REQUESTS, why);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    Some(response)
}

/// Whether requests of this kind come many to a connection, so that one without credentials shall be the last on its own.
pub(crate) fn is_shared(parts: &Parts) -> bool {
    parts.version == Version::HTTP_2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_late_is_told_to_come_again() {
        let ask = |path: &str, outside: bool| {
            let mut request = Request::get(path).body(body::empty()).expect("a request");
            if outside {
                request.extensions_mut().insert(RemoteAddr(([127, 0, 0, 1], 5).into()));
            }
            turn_away(&request)
        };
        let refused = ask("/api/v1/pods", true).expect("refused");
        assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].as_bytes()), (429, &b"5"[..]));
        assert_eq!(refused.headers()["connection"], "close");
        assert!(ask("/api/v1/pods", false).is_none());
        for path in ["/readyz", "/readyz/etcd", "/livez?verbose", "/metrics"] {
            assert!(ask(path, true).is_none(), "{path}");
        }
    }
}
