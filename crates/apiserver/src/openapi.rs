//! The OpenAPI documents.

use crate::body::Body;
use crate::negotiate::not_acceptable;
use crate::nonresource::tagged;
use crate::pipeline::not_found_page;
use crate::server::ApiRequest;
use api_core::ApiError;
use api_schema::openapi::{Document, protobuf};
use http::{HeaderValue, Response, header};
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// Documents are compressed from this size on.
const GZIP_BYTES_MIN: usize = 1 << 10;

/// The media type of the v2 document in protobuf, as answers name it.
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// The same as older clients ask for it.
const PROTOBUF_OLD: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

static V2_PROTOBUF: LazyLock<Document> = LazyLock::new(|| Document::of(protobuf(&api_kinds::openapi::v2_value())));

static INDEX: LazyLock<Document> = LazyLock::new(|| {
    let paths: Map<String, Value> = api_kinds::openapi::v3_index()
        .map(|(name, hash)| (name.to_owned(), json!({"serverRelativeURL": format!("/openapi/v3/{name}?hash={hash}")})))
        .collect();
    Document::new(&json!({"paths": paths}))
});

/// Serves `/openapi/v2`, the index of v3 and its documents.
pub(crate) fn serve(path: &str, request: &ApiRequest) -> Result<Response<Body>, ApiError> {
    let document = match path {
        "/openapi/v2" => Some(api_kinds::openapi::v2()),
        "/openapi/v3" => Some(&*INDEX),
        _ => api_kinds::openapi::v3(path.trim_start_matches("/openapi/v3/")),
    };
    let Some(document) = document else { return Ok(not_found_page()) };
    match wanted(request) {
        Some(Form::Json) => {}
        Some(Form::Protobuf) if path == "/openapi/v2" => return Ok(in_protobuf(request)),
        _ => return Err(not_acceptable()),
    }
    let mut response = tagged(request, document.bytes.clone(), &document.hash, GZIP_BYTES_MIN);
    if request.query.get("hash") == document.hash {
        // The hash is in the URL, so what is behind it never changes.
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    }
    Ok(response)
}

fn in_protobuf(request: &ApiRequest) -> Response<Body> {
    let mut response = tagged(request, V2_PROTOBUF.bytes.clone(), &V2_PROTOBUF.hash, GZIP_BYTES_MIN);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
    response
}

/// Forms of a document.
enum Form {
    Json,
    Protobuf,
}

/// The first form that the client takes; only the v2 document is there in both.
fn wanted(request: &ApiRequest) -> Option<Form> {
    let mut ranges = request
        .parts
        .headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(|range| range.split(';').next().unwrap_or("").trim())
        .peekable();
    if ranges.peek().is_none() {
        return Some(Form::Json);
    }
    ranges.find_map(|range| match range {
        "" | "application/json" | "application/*" | "*/*" => Some(Form::Json),
        PROTOBUF | PROTOBUF_OLD => Some(Form::Protobuf),
        _ => None,
    })
}
