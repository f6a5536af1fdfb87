//! Resources that are questions, not objects: access reviews, token reviews, who am I. They are never stored.

use crate::Body;
use crate::server::{ApiRequest, Inner};
use api_core::ApiError;
use http::Response;

/// Any verb of a resource that has no storage (its row's `storage_prefix` is empty).
pub(crate) async fn serve(_server: &Inner, _request: ApiRequest) -> Result<Response<Body>, ApiError> {
    Err(ApiError::no_such_resource())
}
