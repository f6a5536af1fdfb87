//! The life of a request, in one function: [`handle`] names the stages in their order.

use crate::audit::{Annotations, Record};
use crate::authn::impersonate::{Wish, WishError};
use crate::authn::user::ANONYMOUS;
use crate::authn::{self, UserInfo};
use crate::authz::Attributes;
use crate::body::{self, Body};
use crate::fairness::{Asked, Within};
use crate::negotiate::Media;
use crate::query::Query;
use crate::request_info::RequestInfo;
use crate::request_labels::Summary;
use crate::request_metrics::Terminated;
use crate::server::{ApiRequest, Inner};
use crate::{aggregation, closing, deadline, nonresource, pretty, proxy, registry, render, reviews, tokens};
use api_core::status::Details;
use api_core::{ApiError, Reason};
use futures::future::BoxFuture;
use http::{HeaderValue, Request, Response, StatusCode, header};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Answers a request. Never fails: a failure is an answer too.
pub(crate) fn handle(server: Arc<Inner>, request: Request<Body>) -> BoxFuture<'static, Response<Body>> {
    Box::pin(answer(server, request))
}

async fn answer(server: Arc<Inner>, request: Request<Body>) -> Response<Body> {
    let started = Instant::now();
    let (mut parts, body) = request.into_parts();
    let annotations = Annotations::default();
    parts.extensions.insert(annotations.clone());
    let audit_id = audit_id(&parts.headers);
    parts.headers.insert("audit-id", audit_id.clone());
    let media = Media::of_failure(&parts.headers);
    let query = Query::parse(parts.uri.query());
    let info = RequestInfo::new(&parts.method, parts.uri.path(), &query);
    let summary = Summary::new(&info, &query, &parts.headers);
    let long_running = info.is_long_running(&query);
    let limit_max = server.config.limits.request_timeout;
    let deadline = if long_running { Ok(None) } else { deadline::of(&query, limit_max).map(Some) };
    let shared = closing::is_shared(&parts);
    let indented =
        pretty::is_wanted(&parts, &info, &query) && server.aggregation.remote_of(&server.registry, &info).is_none();
    let mut anonymous = false;
    let mut record = server.audit.begin(&parts, &info);
    let request = ApiRequest { parts, body, info, query, user: UserInfo::default(), served: None };

    let outcome = match deadline {
        Ok(None) => stages(server.clone(), request, None, &mut record, &mut anonymous).await,
        Ok(Some(limit)) => {
            let stages = stages(server.clone(), request, Some(limit), &mut record, &mut anonymous);
            tokio::time::timeout(limit, stages).await.unwrap_or_else(|_| Ok(timed_out(media)))
        }
        Err(e) => Err(e),
    };
    let mut response = outcome.unwrap_or_else(|e| failure(&e, media));
    if indented {
        response = pretty::indented(response).await;
    }
    record.annotate(&annotations);
    let taken = server.audit.end(record, audit_id.to_str().unwrap_or(""), response.status().as_u16(), long_running);
    server.metrics.stages.audited(taken);
    let headers = response.headers_mut();
    headers.insert("audit-id", audit_id);
    if shared && anonymous {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
    aggregation::proxy::Doubled::put_back(&mut response);
    server.metrics.requests.answered(&server, &summary, &response, started.elapsed());
    response
}

/// authenticate → impersonate → priority and fairness → authorize → route; `record` is told who, and what was decided.
/// Without a `limit` the request is a long-running one; `anonymous` is told whether it comes without credentials that count.
async fn stages(
    server: Arc<Inner>,
    mut request: ApiRequest,
    limit: Option<Duration>,
    record: &mut Record,
    anonymous: &mut bool,
) -> Result<Response<Body>, ApiError> {
    *anonymous = true;
    let known = server.metrics.stages.authenticate(|| server.authenticator.authenticate(&request.parts))?;
    let (user, remarks) = known.ok_or_else(ApiError::unauthorized)?;
    *anonymous = user.name == ANONYMOUS;
    record.user(&user, &user);
    let impersonating = Instant::now();
    request.user = match Wish::read(&request.parts.headers) {
        Ok(wish) => match authn::impersonate(&server, &user, wish) {
            Err(e) if e.code == 403 => return Ok(forbidden(&e, Media::of_failure(&request.parts.headers))),
            impersonated => impersonated?,
        },
        Err(why) => return Ok(nonsense(&request.parts.uri, &why)),
    };
    record.user(&user, &request.user);
    server.metrics.stages.filter("impersonation", impersonating);
    let media = Media::of_failure(&request.parts.headers);
    let within = request.parts.extensions.get::<Within>().is_some();
    let asked = Asked { user: &request.user, info: &request.info, query: &request.query, limit, within };
    let waiting = Instant::now();
    let entered = server.fairness.enter(&server, asked).await;
    server.metrics.stages.filter("priorityandfairness", waiting);
    let mut passage = match entered {
        Ok(passage) => passage,
        Err(busy) => return Ok(*busy),
    };
    let work = async {
        let allowed = authorize(&server, &request.user, &request.info, record).await;
        let remembered = remarks.annotations.into_iter().map(|(key, words)| (key.to_owned(), words));
        Annotations::of(&request.parts.extensions).add(remembered);
        if let Err(e) = allowed {
            return Ok(forbidden(&e, media));
        }
        let mut response = route(&server, request).await?;
        if let Some(warning) = remarks.warning {
            registry::call::add_warnings(response.headers_mut(), &[warning.to_owned()]);
        }
        Ok(response)
    };
    let answer = passage.drive(pin!(work)).await.unwrap_or_else(|e| failure(&e, media));
    Ok(passage.finish(answer))
}

async fn authorize(server: &Inner, user: &UserInfo, info: &RequestInfo, record: &mut Record) -> Result<(), ApiError> {
    let attributes = Attributes::new(user, info);
    let decision = server.metrics.stages.authorize(server.authorizer.decide(&attributes)).await;
    record.decision(decision.is_allowed(), decision.reason());
    if decision.is_allowed() { Ok(()) } else { Err(attributes.forbidden(decision.reason())) }
}

/// Hands the request to whoever serves it. What they need room for is theirs: the room of this one is moved with each request.
async fn route(server: &Arc<Inner>, mut request: ApiRequest) -> Result<Response<Body>, ApiError> {
    // What the server asks itself is about what it serves itself.
    let own = request.parts.extensions.get::<Within>().is_some();
    if let Some(remote) = server.aggregation.remote_of(&server.registry, &request.info).filter(|_| !own) {
        return Box::pin(aggregation::proxy::serve(server, &remote, request)).await;
    }
    if !request.info.is_resource {
        return Box::pin(nonresource::serve(server, request)).await;
    }
    let info = &request.info;
    let served = server.registry.lookup(&info.api_group, &info.api_version, &info.resource);
    let Some(served) = served else { return absent(server, &info.api_group) };
    if registry::routing::is_nowhere(&served, info) {
        return Ok(not_found_page());
    }
    if let Err(error) = registry::routing::check(&served, info, &request.parts.method) {
        // What a definition says of its version, upstream tells before it looks whether there is such a subresource.
        let told: Vec<String> = served.row.custom.iter().filter_map(|custom| custom.deprecation.clone()).collect();
        return registry::call::with_warnings(Err(error), Media::of_failure(&request.parts.headers), &told);
    }
    if let Some(release) = api_kinds::removed_release(&served.row.gvr) {
        let said = [("k8s.io/deprecated", "true"), ("k8s.io/removed-release", release)];
        let said = said.into_iter().filter(|(_, what)| !what.is_empty());
        Annotations::of(&request.parts.extensions).add(said.map(|(key, what)| (key.to_owned(), what.to_owned())));
    }
    request.served = Some(served.clone());
    match request.info.subresource.as_str() {
        "" if served.row.storage_prefix.is_empty() => {
            let Some((taker, subresource)) = server.registry.taker_of(&served.row.kind) else {
                return Box::pin(reviews::serve(server, request)).await;
            };
            request.info.resource.clone_from(&taker.row.gvr.resource);
            request.info.subresource = subresource;
            registry::routing::serve(server.clone(), taker, request).await
        }
        "token" => Box::pin(tokens::create(server, request)).await,
        sub if proxy::SUBRESOURCES.contains(&sub) => Box::pin(proxy::connect(server, request)).await,
        _ => {
            let custom = served.row.custom.is_some().then(|| served.row.gvr.clone());
            let answer = registry::routing::serve(server.clone(), served, request).await;
            let Some(gvr) = custom.filter(|_| answer.as_ref().is_err_and(|e| e.code == 503)) else { return answer };
            // Its definition may have gone while it was looked at.
            let gone = server.registry.lookup(&gvr.group, &gvr.version, &gvr.resource).is_none();
            if gone { absent(server, &gvr.group) } else { answer }
        }
    }
}

/// The answer to a resource that is not served. Of what definitions make, upstream says no more than that of any other path.
fn absent(server: &Inner, group: &str) -> Result<Response<Body>, ApiError> {
    if server.registry.is_built_in(group) { Err(ApiError::no_such_resource()) } else { Ok(not_found_page()) }
}

/// The answer to a path that nothing is behind.
pub(crate) fn not_found_page() -> Response<Body> {
    body::error(StatusCode::NOT_FOUND, "404 page not found")
}

/// A failure as an answer.
pub(crate) fn failure(error: &ApiError, media: Media) -> Response<Body> {
    let code = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let bytes = api_schema::codec::encode(&error.to_status());
    let mut response = render::bytes(media, code, bytes.clone()).unwrap_or_else(|cause| {
        tracing::error!(%cause, "a failure cannot be told in the form that was asked for");
        body::answer(code, "application/json", body::full(bytes))
    });
    let retry = error.details.as_ref().map_or(0, |d| d.retry_after_seconds);
    if retry > 0 {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry));
    }
    response
}

/// The answer to who may not ask, which no browser shall take for anything else.
fn forbidden(error: &ApiError, media: Media) -> Response<Body> {
    let mut response = failure(error, media);
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn timed_out(media: Media) -> Response<Body> {
    let why = "Timeout: request did not complete within the allotted timeout";
    let mut response = failure(&ApiError::new(504, Reason::Timeout, why).with_details(Details::default()), media);
    response.extensions_mut().insert(Terminated);
    response
}

/// The answer to `Impersonate-*` headers that make no sense.
fn nonsense(uri: &http::Uri, why: &WishError) -> Response<Body> {
    let asked = uri.path_and_query().map_or("/", |p| p.as_str());
    let text = format!("Internal Server Error: {asked:?}: {why}");
    let harmless = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    body::error(StatusCode::INTERNAL_SERVER_ERROR, &harmless)
}

/// The client's `Audit-Id`, or a new one.
fn audit_id(headers: &http::HeaderMap) -> HeaderValue {
    headers
        .get("audit-id")
        .filter(|v| !v.is_empty())
        .cloned()
        .or_else(|| HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()).ok())
        .unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;

    /// What a request needs to be served, in whatever way, is moved before it is first looked at: a way that needs more room
    /// than others has it apart.
    #[test]
    fn a_request_moves_little() {
        fn room<A, B, F: Future>(_: impl FnOnce(A, B) -> F) -> usize {
            size_of::<F>()
        }
        let room = room(answer);
        assert!(room < 6 << 10, "{room} bytes");
    }
}
