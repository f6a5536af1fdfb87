//! Subresources that are not the object itself in part: scale, binding, eviction.

use super::call::{Call, body_media, fields};
use super::options::{Validation, WriteOptions};
use super::txn::Current;
use super::update::Absent;
use super::versions::Known;
use super::{create, eviction, scale, update};
use crate::admission::Operation;
use crate::body::Body;
use api_core::meta::Meta;
use api_core::{ApiError, Gvk};
use api_schema::codec;
use http::{Response, StatusCode};
use serde_json::{Value, json};

/// Whether the subresource is served here.
pub(crate) fn is_special(subresource: &str) -> bool {
    matches!(subresource, "scale" | "binding" | "eviction")
}

/// Serves any verb of one of them.
pub(crate) async fn serve(call: Call, body: Body) -> Result<Response<Body>, ApiError> {
    match (call.info.subresource.as_str(), call.info.verb.as_str()) {
        ("scale", _) => scale::serve(call, body).await,
        ("binding", "create") => post(call, body).await,
        ("eviction", "create") => eviction::evict(call, body).await,
        _ => Err(ApiError::method_not_allowed()),
    }
}

/// Decodes a body of another built-in kind.
pub(crate) fn decode_as(
    call: &Call,
    group: &str,
    kind: &str,
    bytes: &[u8],
    validation: Validation,
) -> Result<Value, ApiError> {
    let gvk = Gvk::new(group, "v1", kind);
    let root = api_kinds::type_of(&gvk).ok_or_else(ApiError::no_such_resource)?;
    let media = body_media(&call.headers)?;
    let decoded = codec::decode_as(api_kinds::schema(), root, &gvk, bytes, media, fields(validation))?;
    call.warn(decoded.warnings);
    Ok(decoded.value)
}

/// A POST that changes the object as its row says.
async fn post(mut call: Call, body: Body) -> Result<Response<Body>, ApiError> {
    let post = call.row().hooks.post_subresource.ok_or_else(ApiError::method_not_allowed)?;
    let options = WriteOptions::read(&call.query, "CreateOptions", false)?;
    let bytes = call.read_body(body).await?;
    let kind = call.row().subresource(&call.info.subresource).map(|s| s.kind.clone()).unwrap_or_default();
    let mut posted = decode_as(&call, &kind.group, &kind.kind, &bytes, options.validation)?;
    create::check_namespace(&call, &mut posted)?;
    if call.info.name.is_empty() {
        // A POST to the old collection of such objects names its object in the body.
        call.info.name = posted.name().to_owned();
    }
    let name = call.info.name.clone();
    let attributes = call.admission(Operation::Create, &name, None, options.dry_run);
    call.server.admission.check_namespace(&attributes, &posted).await?;
    let mut warnings = Vec::new();
    let posted = call.server.admission.review(&attributes, posted, &mut warnings).await;
    call.warn(warnings);
    let posted = posted?;
    let edit = |call: &Call, current: Option<&Current>, _: Known<'_>| {
        let current = current.ok_or_else(|| call.not_found())?;
        let mut value = current.value.clone();
        post(&call.context(), &mut value, &posted)?;
        Ok(value)
    };
    update::update(&call, &options, &edit, Absent::NotFound).await?;
    let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    call.answer_value(StatusCode::CREATED, &done)
}
