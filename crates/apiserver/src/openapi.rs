//! The OpenAPI documents.

mod published;

pub(crate) use published::Published;

use crate::body::{self, Body};
use crate::negotiate::{not_produced, takes_gzip};
use crate::nonresource::tagged;
use crate::server::{ApiRequest, Inner};
use api_core::ApiError;
use api_schema::openapi::Document;
use http::{HeaderValue, Response, StatusCode, header};

/// The media type of the v2 document in protobuf, as answers name it.
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// The same as older clients ask for it.
const PROTOBUF_OLD: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// Serves `/openapi/v2`, the index of v3 and its documents.
pub(crate) fn serve(server: &Inner, path: &str, request: &ApiRequest) -> Result<Response<Body>, ApiError> {
    let documents = server.openapi.of(server.registry.table(), server.aggregation.openapi());
    let form = wanted(request);
    let document = match (path, &form) {
        ("/openapi/v2", Some(Form::Protobuf)) => Some(documents.v2_protobuf()?),
        ("/openapi/v2", _) => Some(documents.v2()?),
        ("/openapi/v3", _) => Some(documents.index()?),
        _ => documents.v3(path.trim_start_matches("/openapi/v3/")),
    };
    let Some(document) = document else {
        let mut none = Response::new(body::empty());
        *none.status_mut() = StatusCode::NOT_FOUND;
        return Ok(none);
    };
    let mut response = tagged(request, &document.hash, || answer(request, &document));
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

/// A document as it is kept, if the client takes that.
fn answer(request: &ApiRequest, document: &Document) -> Response<Body> {
    if !takes_gzip(&request.parts.headers) {
        return body::answer(StatusCode::OK, "application/json", body::full(document.bytes()));
    }
    let mut response = body::answer(StatusCode::OK, "application/json", body::full(document.gzip.clone()));
    response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
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
