//! The OpenAPI documents.

mod published;
mod said;

pub(crate) use published::Published;
pub(crate) use said::Said;

use crate::body::{self, Body};
use crate::negotiate::{not_produced, takes_gzip};
use crate::nonresource::tagged;
use crate::server::{ApiRequest, Inner};
use api_core::ApiError;
use http::{HeaderValue, Response, StatusCode, header};
use published::{Documents, Wanted};
use std::sync::Arc;

/// The media type of the v2 document in protobuf, as answers name it.
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// The same as older clients ask for it.
const PROTOBUF_OLD: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// Rows whose part of a document is made in the request's own turn; of more, several are made at once.
const ROWS_ALONE: usize = 32;

/// Serves `/openapi/v2`, the index of v3 and its documents.
pub(crate) async fn serve(server: &Inner, path: &str, request: ApiRequest) -> Result<Response<Body>, ApiError> {
    let documents = server.openapi.of(server.registry.table(), server.aggregation.openapi());
    let (form, gzip) = (form(&request), takes_gzip(&request.parts.headers));
    let wanted = match (path, &form) {
        ("/openapi/v2", Some(Form::Protobuf)) => Wanted::V2Protobuf,
        ("/openapi/v2", _) => Wanted::V2,
        ("/openapi/v3", _) => Wanted::Index,
        _ => Wanted::V3(path.trim_start_matches("/openapi/v3/").to_owned()),
    };
    let told = request.parts.headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
    let (asked, all) = (wanted.clone(), documents.clone());
    let hash = server.makers.run(move || all.hash(&asked)).await??;
    let Some(hash) = hash else {
        let mut none = Response::new(body::empty());
        *none.status_mut() = StatusCode::NOT_FOUND;
        return Ok(none);
    };
    let body = if told.contains(&hash) { None } else { made(server, &documents, wanted, gzip).await? };
    let mut response = tagged(&request, &hash, || body.unwrap_or_else(|| Response::new(body::empty())));
    match form {
        Some(Form::Json) => {}
        Some(Form::Protobuf) if path == "/openapi/v2" => {
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
        }
        _ => return Err(not_produced(true)),
    }
    if request.query.get("hash") == hash {
        // The hash is in the URL, so what is behind it never changes.
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    }
    Ok(response)
}

/// A document as it is kept, if the client takes that.
async fn made(
    server: &Inner,
    documents: &Arc<Documents>,
    wanted: Wanted,
    gzip: bool,
) -> Result<Option<Response<Body>>, ApiError> {
    let missing = documents.missing(&wanted);
    if missing.len() > ROWS_ALONE {
        let parts = missing.chunks(ROWS_ALONE).map(|part| {
            let (documents, wanted, part) = (documents.clone(), wanted.clone(), part.to_vec());
            server.makers.run(move || part.iter().for_each(|served| documents.make(&wanted, served)))
        });
        futures::future::try_join_all(parts).await?;
    }
    let documents = documents.clone();
    let make = move || {
        let document = documents.document(&wanted)?;
        Ok::<_, ApiError>(document.map(|document| if gzip { document.gzip } else { document.bytes() }))
    };
    let Some(bytes) = server.makers.run(make).await?? else { return Ok(None) };
    let mut response = body::answer(StatusCode::OK, "application/json", body::full(bytes));
    if gzip {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(Some(response))
}

/// Forms of a document.
enum Form {
    Json,
    Protobuf,
}

/// The first form that the client takes; only the v2 document is there in both.
fn form(request: &ApiRequest) -> Option<Form> {
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
