//! A request for an extension server, and its answer on the way back. Who asks is known and may ask; the extension server
//! is told by headers, which it believes because of this server's client certificate.

use super::Remote;
use super::remote::{at, authority};
use super::target;
use crate::authn::{UserInfo, request_header};
use crate::body::{self, Body};
use crate::proxy::pass::{answer, is_upgrade, prepare};
use crate::request_info::RequestInfo;
use crate::request_labels::Summary;
use crate::server::{ApiRequest, Inner};
use api_core::ApiError;
use futures::StreamExt;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use std::sync::Arc;
use std::time::Duration;

/// What is asked to find out what there is must be answered within this, so that one server cannot hold up clients.
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(5);

/// Passes a request on. What goes wrong is said in plain text, as upstream's aggregator says it.
pub(crate) async fn serve(
    server: &Arc<Inner>,
    remote: &Remote,
    request: ApiRequest,
) -> Result<Response<Body>, ApiError> {
    let aggregation = &server.aggregation;
    if !remote.service.available {
        return Ok(refusal(StatusCode::SERVICE_UNAVAILABLE, "service unavailable"));
    }
    if let Err(error) = aggregation.transport.check(&remote.trust) {
        return Ok(refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()));
    }
    let place = match remote.place(aggregation, &server.registry) {
        Ok(place) => place,
        Err(error) => {
            tracing::debug!(error, name = remote.service.name, "an extension server has no endpoint");
            return Ok(refusal(StatusCode::SERVICE_UNAVAILABLE, "service unavailable"));
        }
    };
    let long = request.info.is_long_running(&request.query);
    let summary = Summary::new(&request.info, &request.query, &request.parts.headers);
    let held = long.then(|| server.metrics.requests.long_running(&summary, true));
    let limit = is_discovery(&request.info).then_some(DISCOVERY_TIMEOUT);
    let user = request.user.clone();
    let authority = authority(&place);
    let passed = pass(server, remote, &user, &authority, request.into_http());
    let passed = match limit {
        Some(limit) => {
            let late = || Ok(unreachable("context deadline exceeded"));
            tokio::time::timeout(limit, passed).await.unwrap_or_else(|_| late())
        }
        None => passed.await,
    };
    let mut response = passed?;
    let doubled = Doubled::take(response.headers_mut());
    response.extensions_mut().insert(doubled);
    if !long || response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(response);
    }
    Ok(response.map(|body| {
        until_drain(server, body)
            .map_frame(move |frame| {
                // Counted for as long as the body lives.
                let _held = &held;
                frame
            })
            .boxed_unsync()
    }))
}

/// `/apis/GROUP/VERSION`.
fn is_discovery(info: &RequestInfo) -> bool {
    !info.is_resource && info.path.trim_matches('/').split('/').count() == 3
}

async fn pass(
    server: &Arc<Inner>,
    remote: &Remote,
    user: &UserInfo,
    authority: &str,
    mut request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let path = target::path(request.uri().path());
    let query = request.uri().query().map(target::query).filter(|query| !query.is_empty());
    let asked = query.map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
    let asked: PathAndQuery = asked.parse().map_err(ApiError::internal)?;
    let uri = at(authority, asked).map_err(ApiError::internal)?;
    let upgrading = is_upgrade(request.headers());
    let client = upgrading.then(|| hyper::upgrade::on(&mut request));
    prepare(&mut request, uri, authority, Some(&target::seen(&path)), upgrading).map_err(ApiError::internal)?;
    let host = HeaderValue::from_str(authority).map_err(ApiError::internal)?;
    request.headers_mut().insert("x-forwarded-host", host);
    request_header::write(request.headers_mut(), user).map_err(ApiError::internal)?;
    let response = match server.aggregation.send(&remote.trust, request).await {
        Ok(response) => response,
        Err(why) if upgrading => return Ok(refusal(StatusCode::SERVICE_UNAVAILABLE, &why)),
        Err(why) => return Ok(unreachable(&why)),
    };
    if upgrading {
        return Ok(upgraded(server, response, client));
    }
    if response.status().is_redirection() && response.headers().contains_key(header::LOCATION) {
        let words = "the backend attempted to redirect this request, which is not permitted";
        return Ok(body::text(StatusCode::BAD_GATEWAY, words));
    }
    let mut response = answer(server, response, client);
    drop_cors(response.headers_mut());
    Ok(response)
}

/// The answer to a request for another protocol: that it is spoken from here on, or why not.
fn upgraded(server: &Inner, response: Response<Incoming>, client: Option<OnUpgrade>) -> Response<Body> {
    let code = response.status();
    if code == StatusCode::SWITCHING_PROTOCOLS {
        return answer(server, response, client);
    }
    if code.as_u16() < 400 {
        let words = format!("invalid upgrade response: status code {}", code.as_u16());
        return refusal(StatusCode::SERVICE_UNAVAILABLE, &words);
    }
    let mut response = answer(server, response, client);
    // The client may have gone on in the other protocol.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Headers of an extension server's answer that this server has of its own: both are told, this server's first.
#[derive(Debug, Clone)]
pub(crate) struct Doubled(HeaderMap);

impl Doubled {
    const NAMES: [&str; 4] =
        ["audit-id", "cache-control", "x-kubernetes-pf-flowschema-uid", "x-kubernetes-pf-prioritylevel-uid"];

    /// Takes them out, until this server's own are there.
    fn take(headers: &mut HeaderMap) -> Self {
        let mut taken = HeaderMap::new();
        for name in Self::NAMES {
            let values = headers.get_all(name).iter().map(|value| (HeaderName::from_static(name), value.clone()));
            taken.extend(values.collect::<Vec<_>>());
            headers.remove(name);
        }
        Self(taken)
    }

    /// Puts them behind this server's own.
    pub(crate) fn put_back(response: &mut Response<Body>) {
        let Some(Self(taken)) = response.extensions_mut().remove() else { return };
        for (name, value) in &taken {
            response.headers_mut().append(name, value.clone());
        }
    }
}

/// Which pages of other sites may call is this server's own affair.
fn drop_cors(headers: &mut HeaderMap) {
    for name in ["origin", "credentials", "headers", "methods"] {
        headers.remove(format!("access-control-allow-{name}"));
    }
}

fn unreachable(why: &str) -> Response<Body> {
    refusal(StatusCode::SERVICE_UNAVAILABLE, &format!("error trying to reach service: {why}"))
}

fn refusal(code: StatusCode, words: &str) -> Response<Body> {
    let mut response = body::text(code, format!("{words}\n"));
    let name = HeaderName::from_static("x-content-type-options");
    response.headers_mut().insert(name, HeaderValue::from_static("nosniff"));
    response
}

/// The body, which ends when the server drains.
fn until_drain(server: &Inner, body: Body) -> Body {
    let frames = BodyStream::new(body).take_until(server.drain.clone().cancelled_owned());
    StreamBody::new(frames).boxed_unsync()
}
