//! Paths that are no resource: who serves which.

use crate::body::{self, Body};
use crate::negotiate::{Form, Offer};
use crate::server::{ApiRequest, Inner};
use crate::{discovery, fairness, health, openapi, tokens};
use api_core::ApiError;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Value, json};

/// The version that the server reports, and whose behaviour it has.
const GIT_VERSION: &str = "v1.30.3";

/// Serves a path that is no resource.
pub(crate) async fn serve(server: &Inner, request: ApiRequest) -> Result<Response<Body>, ApiError> {
    let method = &request.parts.method;
    if method != Method::GET && method != Method::HEAD {
        return Err(ApiError::method_not_allowed());
    }
    let path = request.info.path.trim_end_matches('/').to_owned();
    if let Some(response) = health::serve(server, &path, &request.query.clone()).await {
        return Ok(response);
    }
    if let Some(response) = fairness::dump(&server.fairness, &path, &request.query) {
        return Ok(response);
    }
    match path.as_str() {
        "" => Ok(body::json(StatusCode::OK, &root(server))),
        "/version" => Ok(body::json(StatusCode::OK, &version())),
        "/metrics" => server.metrics.answer(server).await,
        "/openid/v1/jwks" => Ok(tokens::jwks(server)),
        "/.well-known/openid-configuration" => Ok(tokens::openid_configuration(server)),
        _ if path == "/api" || path.starts_with("/api/") || path == "/apis" || path.starts_with("/apis/") => {
            discovery::serve(server, &path, &request)
        }
        _ if path == "/openapi/v2" || path == "/openapi/v3" || path.starts_with("/openapi/v3/") => {
            openapi::serve(server, &path, &request)
        }
        _ => Ok(crate::pipeline::not_found_page()),
    }
}

/// A document in the media type that was asked for.
pub(crate) fn value(request: &ApiRequest, value: &Value) -> Result<Response<Body>, ApiError> {
    let form = Form::negotiate(&request.parts.headers, Offer::Plain, false)?;
    let mut response = crate::render::bytes(form.media, StatusCode::OK, value.to_string().into())?;
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    Ok(response)
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

fn version() -> Value {
    let arch = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    json!({
        "major": "1", "minor": "30", "gitVersion": GIT_VERSION, "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc", "platform": format!("linux/{arch}"),
    })
}

/// All paths, sorted.
fn root(server: &Inner) -> Value {
    let mut paths: Vec<String> = [
        "/.well-known/openid-configuration",
        "/api",
        "/apis",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/openid/v1/jwks",
        "/version",
    ]
    .map(String::from)
    .to_vec();
    paths.extend(discovery::paths(server));
    paths.extend(health::paths());
    paths.sort_unstable();
    paths.dedup();
    json!({"paths": paths})
}
