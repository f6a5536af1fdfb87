//! The OpenAPI documents.

mod published;

pub(crate) use published::Published;

use crate::body::Body;
use crate::negotiate::not_produced;
use crate::nonresource::tagged;
use crate::pipeline::not_found_page;
use crate::server::{ApiRequest, Inner};
use api_core::ApiError;
use http::{HeaderValue, Response, header};

/// Documents are compressed from this size on.
const GZIP_BYTES_MIN: usize = 1 << 10;

/// The media type of the v2 document in protobuf, as answers name it.
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// The same as older clients ask for it.
const PROTOBUF_OLD: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// Serves `/openapi/v2`, the index of v3 and its documents.
pub(crate) fn serve(server: &Inner, path: &str, request: &ApiRequest) -> Result<Response<Body>, ApiError> {
    let documents = server.openapi.of(server.registry.table());
    let form = wanted(request);
    let document = match (path, &form) {
        ("/openapi/v2", Some(Form::Protobuf)) => Some(documents.v2_protobuf()?),
        ("/openapi/v2", _) => Some(documents.v2()?),
        ("/openapi/v3", _) => Some(documents.index()?),
        _ => documents.v3(path.trim_start_matches("/openapi/v3/")),
    };
    let Some(document) = document else { return Ok(not_found_page()) };
    let mut response = tagged(request, document.bytes.clone(), &document.hash, GZIP_BYTES_MIN);
    match form {
        Some(Form::Json) => {}
        Some(Form::Protobuf) if path == "/openapi/v2" => {
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
        }
        _ => return Err(not_produced(true)),
    }
    if request.query.get("hash") == document.hash {
        // The hash is in the URL, so what is behind it never changes.
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    }
    Ok(response)
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
