//! From a request for a resource to the verb that serves it.

use super::Served;
use crate::Body;
use crate::request_info::RequestInfo;
use crate::server::{ApiRequest, Inner};
use api_core::ApiError;
use http::Response;
use std::sync::Arc;
use std::time::Duration;

/// Whether the resource has the subresource and the verb, and is asked for in its scope.
pub(crate) fn check(served: &Served, info: &RequestInfo) -> Result<(), ApiError> {
    let verbs = if info.subresource.is_empty() {
        &served.row.verbs
    } else {
        &served.row.subresource(&info.subresource).ok_or_else(ApiError::no_such_resource)?.verbs
    };
    if verbs.contains(&info.verb) { Ok(()) } else { Err(ApiError::method_not_allowed()) }
}

/// Serves a verb.
pub(crate) async fn serve(
    _server: &Arc<Inner>,
    _served: &Arc<Served>,
    _request: ApiRequest,
) -> Result<Response<Body>, ApiError> {
    Err(ApiError::method_not_allowed())
}

/// A duration as Go writes one (`1h2m3.5s`), or a number of seconds.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = 0f64;
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += number
            * match &rest[..unit] {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    (!text.is_empty()).then(|| Duration::from_secs_f64(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, ms) in [("1m30s", Some(90_000)), ("1.5s", Some(1500)), ("0", Some(0)), ("5", None), ("", None)] {
            assert_eq!(parse_duration(text), ms.map(Duration::from_millis), "{text}");
        }
    }
}
