//! Paths that are no resource: who serves which. Some are routes, which take GET alone and a slash at their end; the others
//! are names, which are served exactly as they stand, whatever the method.

use crate::body::{self, Body};
use crate::negotiate::{Form, Offer};
use crate::pipeline::not_found_page;
use crate::server::{ApiRequest, Inner};
use crate::{discovery, fairness, health, openapi, tokens};
use api_core::ApiError;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};

/// Names that are listed, beside those of health checks.
const NAMES: [&str; 4] = ["/metrics", "/metrics/slis", "/openapi/v2", "/openapi/v3"];
/// Routes that are listed, beside those of groups and versions. Two are listed with a slash too.
const ROUTES: [&str; 7] =
    ["/.well-known/openid-configuration", "/api", "/apis", "/apis/", "/openapi/v3/", "/openid/v1/jwks", "/version"];

/// Serves a path that is no resource.
pub(crate) async fn serve(server: &Inner, request: ApiRequest) -> Result<Response<Body>, ApiError> {
    let path = request.info.path.clone();
    if let Some(response) = health::serve(server, &path, &request.query.clone()).await {
        return Ok(response);
    }
    if let Some(response) = fairness::dump(&server.fairness, &path, &request.query) {
        return Ok(response);
    }
    match path.as_str() {
        "/" | "/index.html" => Ok(pretty(&root(server))),
        "/metrics" => server.metrics.answer(server).await,
        "/metrics/slis" => server.metrics.indicators.answer(),
        "/openapi/v2" | "/openapi/v3" => openapi::serve(server, &path, request).await,
        _ if path.starts_with("/openapi/v3/") => openapi::serve(server, &path, request).await,
        _ => route(server, path.strip_suffix('/').unwrap_or(&path), &request),
    }
}

fn route(server: &Inner, path: &str, request: &ApiRequest) -> Result<Response<Body>, ApiError> {
    let below = |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if below("/api") || below("/apis") {
        return discovery::serve(server, path, request);
    }
    for (root, answer) in [
        ("/version", version as fn(&Inner) -> Response<Body>),
        ("/openid/v1/jwks", tokens::jwks),
        ("/.well-known/openid-configuration", tokens::openid_configuration),
    ] {
        if path == root {
            get_only(request)?;
            return Ok(answer(server));
        }
        if below(root) {
            return Err(ApiError::no_such_resource());
        }
    }
    Ok(not_found_page())
}

/// Whether the path is that of all health checks of an endpoint.
pub(crate) fn is_checked(path: &str) -> bool {
    matches!(path, "/healthz" | "/livez" | "/readyz")
}

/// 405 for another method than GET.
pub(crate) fn get_only(request: &ApiRequest) -> Result<(), ApiError> {
    if request.parts.method == Method::GET { Ok(()) } else { Err(ApiError::method_not_allowed()) }
}

/// A document in the media type that was asked for.
pub(crate) fn value(request: &ApiRequest, value: &Value) -> Result<Response<Body>, ApiError> {
    let form = Form::negotiate(&request.parts.headers, Offer::Plain, false)?;
    crate::render::bytes(form.media, StatusCode::OK, value.to_string().into())
}

/// An answer with an entity tag; 304 if the client has it.
pub(crate) fn tagged(request: &ApiRequest, hash: &str, answer: impl FnOnce() -> Response<Body>) -> Response<Body> {
    let headers = &request.parts.headers;
    let tag = format!("\"{hash}\"");
    let known = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()).unwrap_or("");
    let mut response = if known.split(',').any(|t| t.trim().trim_start_matches("W/") == tag) {
        let mut response = Response::new(body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        answer()
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    response
}

/// What `/version` says, in upstream's order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Version {
    pub(crate) major: &'static str,
    pub(crate) minor: &'static str,
    pub(crate) git_version: &'static str,
    pub(crate) git_commit: &'static str,
    pub(crate) git_tree_state: &'static str,
    pub(crate) build_date: &'static str,
    pub(crate) go_version: &'static str,
    pub(crate) compiler: &'static str,
    pub(crate) platform: &'static str,
}

/// The version whose behaviour the server has. It is not built with Go, and says nothing of when it was built.
pub(crate) const VERSION: Version = Version {
    major: "1",
    minor: "30",
    git_version: crate::KUBERNETES_VERSION,
    git_commit: "",
    git_tree_state: "clean",
    build_date: "1970-01-01T00:00:00Z",
    go_version: "",
    compiler: "rustc",
    platform: if cfg!(target_arch = "x86_64") { "linux/amd64" } else { "linux/arm64" },
};

fn version(_: &Inner) -> Response<Body> {
    pretty(&VERSION)
}

/// Indented JSON, as upstream writes what people read.
fn pretty(value: &impl Serialize) -> Response<Body> {
    match serde_json::to_string_pretty(value) {
        Ok(text) => body::answer(StatusCode::OK, "application/json", body::full(text)),
        Err(error) => body::error(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// All paths, sorted.
fn root(server: &Inner) -> Value {
    let mut paths: Vec<String> = NAMES.into_iter().chain(ROUTES).map(String::from).collect();
    paths.extend(discovery::paths(server));
    paths.extend(health::paths());
    paths.sort_unstable();
    paths.dedup();
    json!({"paths": paths})
}
