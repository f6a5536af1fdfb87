//! Connections through the server to a kubelet, a pod or a service: logs, exec, attach, port-forward, proxy.

use crate::Body;
use crate::server::{ApiRequest, Inner};
use api_core::ApiError;
use http::Response;

/// Subresources that are served here.
pub(crate) const SUBRESOURCES: &[&str] = &["log", "exec", "attach", "portforward", "proxy"];

/// Any method on one of [`SUBRESOURCES`]; the verb is checked already.
pub(crate) async fn connect(_server: &Inner, _request: ApiRequest) -> Result<Response<Body>, ApiError> {
    Err(ApiError::no_such_resource())
}
