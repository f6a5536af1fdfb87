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
use std::sync::Arc;
use watch_cache::Object;

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
    answer_page(&call, page).await
}

/// Fewer items are made ready in place, more on the threads for long work.
const PARALLEL_MIN: usize = 256;

/// Makes each item ready to be sent, on all cores if there are many.
async fn make(
    items: Vec<Arc<Object>>,
    each: impl Fn(&Object) -> Result<Bytes, ApiError> + Clone + Send + 'static,
) -> Result<Vec<Bytes>, ApiError> {
    if items.len() < PARALLEL_MIN {
        return items.iter().map(|item| each(item)).collect();
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let tasks: Vec<_> = items
        .chunks(items.len().div_ceil(cores))
        .map(|chunk| {
            let (chunk, each) = (chunk.to_vec(), each.clone());
            tokio::task::spawn_blocking(move || chunk.iter().map(|item| each(item)).collect::<Result<Vec<_>, _>>())
        })
        .collect();
    let mut all = Vec::with_capacity(items.len());
    for task in tasks {
        all.extend(task.await.map_err(ApiError::internal)??);
    }
    Ok(all)
}

/// A page in the form that was asked for.
pub(crate) async fn answer_page(call: &Call, page: Page) -> Result<Response<Body>, ApiError> {
    let mut meta = json!({"resourceVersion": page.revision.to_string()});
    if !page.continue_token.is_empty() {
        meta["continue"] = page.continue_token.clone().into();
    }
    if let Some(remaining) = page.remaining {
        meta["remainingItemCount"] = remaining.into();
    }
    let (row, served, now_unix_s) = (call.row(), call.served.clone(), call.now_unix_s);
    let mut brace = false;
    let (head, items, tail) = match call.form.view {
        View::Object if object::is_as_stored(row) => {
            brace = served.builtin;
            let item = |o: &Arc<Object>| if brace { object::as_item(&o.bytes) } else { o.bytes.clone() };
            let items = page.items.iter().map(item).collect();
            (list_head(&row.list_kind, &row.gvr.api_version(), &meta.to_string()), items, "]}")
        }
        View::Object => {
            brace = served.builtin;
            let each = move |o: &Object| {
                let bytes = object::to_version(&served.row, &o.bytes)?;
                Ok(if brace { object::as_item(&bytes) } else { bytes })
            };
            let items = make(page.items, each).await?;
            (list_head(&row.list_kind, &row.gvr.api_version(), &meta.to_string()), items, "]}")
        }
        View::Metadata(version) => {
            let items = make(page.items, move |o| Ok(object::metadata_only(&o.bytes, version)?.into())).await?;
            let head = list_head("PartialObjectMetadataList", &format!("meta.k8s.io/{version}"), &meta.to_string());
            (head, items, "]}")
        }
        View::Table(version) => {
            let include = Include::of(&call.query)?;
            let (head, tail) = render::table_frame(&served, version, &meta.to_string(), true);
            let each = move |o: &Object| {
                let bytes = if include == Include::Object {
                    object::to_version(&served.row, &o.bytes)?
                } else {
                    o.bytes.clone()
                };
                Ok(render::row(&served, &bytes, include, version, now_unix_s)?.into())
            };
            (head, make(page.items, each).await?, tail)
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
