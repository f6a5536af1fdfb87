//! A request for an extension server, and its answer on the way back. Who asks is known and may ask; the extension server
//! is told by headers, which it believes because of this server's client certificate.

use super::Remote;
use super::remote::{at, authority};
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
    let response = passed?;
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
    let seen = request.uri().path().to_owned();
    let path = request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    let uri = at(authority, path).map_err(ApiError::internal)?;
    let upgrading = is_upgrade(request.headers());
    let client = upgrading.then(|| hyper::upgrade::on(&mut request));
    prepare(&mut request, uri, authority, Some(&seen), upgrading).map_err(ApiError::internal)?;
    request_header::write(request.headers_mut(), user).map_err(ApiError::internal)?;
    let response = match server.aggregation.send(&remote.trust, request).await {
        Ok(response) => response,
        Err(why) => return Ok(unreachable(&why)),
    };
    if response.status().is_redirection() && response.headers().contains_key(header::LOCATION) {
        let words = "the backend attempted to redirect this request, which is not permitted";
        return Ok(body::text(StatusCode::BAD_GATEWAY, words));
    }
    let mut response = answer(server, response, client);
    drop_cors(response.headers_mut());
    Ok(response)
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
