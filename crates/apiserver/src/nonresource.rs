//! Paths that are no resource: discovery, OpenAPI, health, version, metrics.

use crate::body::{self, Body};
use crate::server::{ApiRequest, Inner};
use crate::tokens;
use api_core::ApiError;
use http::{Response, StatusCode};

/// Serves a path that is no resource.
pub(crate) async fn serve(server: &Inner, request: ApiRequest) -> Result<Response<Body>, ApiError> {
    match request.info.path.trim_end_matches('/') {
        "/healthz" | "/livez" | "/readyz" => Ok(body::text(StatusCode::OK, "ok")),
        "/openid/v1/jwks" => Ok(tokens::jwks(server)),
        "/.well-known/openid-configuration" => Ok(tokens::openid_configuration(server)),
        _ => Ok(body::text(StatusCode::NOT_FOUND, "404 page not found\n")),
    }
}
