//! Service-account tokens: request, review, and the keys that verify them.

pub mod claims;
pub mod keys;

use crate::server::{ApiRequest, Inner};
use crate::{Body, body};
use api_core::ApiError;
use http::{Response, StatusCode};
use serde_json::json;

/// POST to a `token` subresource.
pub(crate) async fn create(_server: &Inner, _request: ApiRequest) -> Result<Response<Body>, ApiError> {
    Err(ApiError::no_such_resource())
}

/// `/openid/v1/jwks`.
pub(crate) fn jwks(_server: &Inner) -> Response<Body> {
    body::json(StatusCode::OK, &json!({"keys": []}))
}

/// `/.well-known/openid-configuration`.
pub(crate) fn openid_configuration(server: &Inner) -> Response<Body> {
    let issuer = &server.config.service_account_issuer;
    body::json(
        StatusCode::OK,
        &json!({"issuer": issuer, "jwks_uri": format!("{issuer}/openid/v1/jwks"),
        "response_types_supported": ["id_token"], "subject_types_supported": ["public"]}),
    )
}
