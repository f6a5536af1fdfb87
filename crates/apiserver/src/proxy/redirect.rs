//! Redirects of a proxied server point at itself; here they are made to point through the proxy.

use crate::Body;
use crate::body;
use http::{HeaderValue, Response, StatusCode, Uri, header};

/// To the same path with a slash at its end.
pub fn to_directory(uri: &Uri) -> Response<Body> {
    let query = uri.query().map(|q| format!("?{q}")).unwrap_or_default();
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(location) = HeaderValue::from_str(&format!("{}/{query}", uri.path())) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// Puts `prefix` before a redirect that stays on `authority`.
pub fn rewrite(response: &mut Response<Body>, authority: &str, prefix: &str) {
    let location = response.headers().get(header::LOCATION).and_then(|v| v.to_str().ok());
    let Some(new) = location.and_then(|l| through(l, authority, prefix)) else { return };
    if let Ok(value) = HeaderValue::from_str(&new) {
        response.headers_mut().insert(header::LOCATION, value);
    }
}

/// Reads a redirect; for `crate::fuzz`.
pub(super) fn read(location: &str) {
    let through = through(location, "a:80", "/prefix");
    assert!(through.is_none_or(|l| l.starts_with("/prefix")), "{location:?}");
}

fn through(location: &str, authority: &str, prefix: &str) -> Option<String> {
    if location.starts_with('/') && !location.starts_with("//") {
        return Some(format!("{prefix}{location}"));
    }
    let uri: Uri = location.parse().ok()?;
    if uri.authority()?.as_str() != authority {
        return None;
    }
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    Some(format!("{prefix}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations() {
        let table = [
            ("/a?b", Some("/p/a?b")),
            ("http://10.0.0.1:80/x", Some("/p/x")),
            ("http://example.com/x", None),
            ("relative", None),
        ];
        for (location, want) in table {
            assert_eq!(through(location, "10.0.0.1:80", "/p").as_deref(), want, "{location}");
        }
    }
}
