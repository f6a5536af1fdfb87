//! GET of an object and of a list.

use super::call::Call;
use super::list::{self, Page};
use super::object;
use super::options::{ListOptions, parse_revision};
use crate::body::Body;
use crate::negotiate::{Media, View, takes_gzip};
use crate::render::{self, Include};
use api_core::ApiError;
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::json;

pub(crate) use super::list::select;

/// Serves a GET of an object.
pub(crate) async fn get(call: Call) -> Result<Response<Body>, ApiError> {
    let bytes = current(&call).await?;
    call.answer(StatusCode::OK, &bytes)
}

/// Served bytes, in the stored version, of the object that the request names.
pub(crate) async fn current(call: &Call) -> Result<Bytes, ApiError> {
    match parse_revision(call.query.get("resourceVersion"))? {
        None => list::fresh(call).await?,
        Some(0) => {}
        Some(revision) => list::wait(call, revision).await?,
    }
    let object = call.served.cache()?.get(call.key(&call.info.name).as_bytes()).ok_or_else(|| call.not_found())?;
    Ok(object.bytes.clone())
}

/// Serves a GET of a collection.
pub(crate) async fn list(call: Call) -> Result<Response<Body>, ApiError> {
    let options = ListOptions::read(&call.query, false)?;
    let page = select(&call, &options).await?;
    answer_page(&call, page)
}

/// A page in the form that was asked for.
pub(crate) fn answer_page(call: &Call, page: Page) -> Result<Response<Body>, ApiError> {
    let mut meta = json!({"resourceVersion": page.revision.to_string()});
    if !page.continue_token.is_empty() {
        meta["continue"] = page.continue_token.clone().into();
    }
    if let Some(remaining) = page.remaining {
        meta["remainingItemCount"] = remaining.into();
    }
    let row = call.row();
    let bytes = page.items.iter().map(|item| object::to_version(row, &item.bytes));
    let mut brace = false;
    let (head, items, tail) = match call.form.view {
        View::Object => {
            brace = call.served.builtin;
            let item = |bytes: Bytes| if brace { object::as_item(&bytes) } else { bytes };
            let items: Vec<Bytes> = bytes.map(|b| b.map(item)).collect::<Result<_, _>>()?;
            (list_head(&row.list_kind, &row.gvr.api_version(), &meta.to_string()), items, "]}")
        }
        View::Metadata(version) => {
            let items = bytes.map(|b| Ok(object::metadata_only(&b?, version)?.into()));
            let items: Vec<Bytes> = items.collect::<Result<_, ApiError>>()?;
            let head = list_head("PartialObjectMetadataList", &format!("meta.k8s.io/{version}"), &meta.to_string());
            (head, items, "]}")
        }
        View::Table(version) => {
            let include = Include::of(&call.query)?;
            let rows = bytes.map(|b| Ok(render::row(&call.served, &b?, include, version, call.now_unix_s)?.into()));
            let rows: Vec<Bytes> = rows.collect::<Result<_, ApiError>>()?;
            let (head, tail) = render::table_frame(&call.served, version, &meta.to_string(), true);
            (head, rows, tail)
        }
    };
    if call.form.media == Media::Yaml {
        return yaml(head, &items, tail, brace);
    }
    let size: usize = items.iter().map(Bytes::len).sum();
    let gzip = size > call.server.config.limits.gzip_bytes_min && takes_gzip(&call.headers);
    Ok(call.finish(render::long(head, items, tail, brace, gzip)))
}

fn list_head(kind: &str, api_version: &str, metadata: &str) -> String {
    format!("{{\"kind\":{kind:?},\"apiVersion\":{api_version:?},\"metadata\":{metadata},\"items\":[")
}

fn yaml(head: String, items: &[Bytes], tail: &str, brace: bool) -> Result<Response<Body>, ApiError> {
    let mut json = head.into_bytes();
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            json.push(b',');
        }
        if brace {
            json.push(b'{');
        }
        json.extend_from_slice(item);
    }
    json.extend_from_slice(tail.as_bytes());
    render::bytes(Media::Yaml, StatusCode::OK, json.into()).map(|r| r.map(|b| b.boxed_unsync()))
}
