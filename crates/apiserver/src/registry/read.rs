//! GET of an object and of a list.

use super::call::Call;
use super::custom::convert;
use super::list::{self, Page, Selection, Stored};
use super::object;
use super::options::{ListOptions, parse_revision, refuse_export};
use crate::body::Body;
use crate::long::{Document, Items};
use crate::negotiate::{Media, View, takes_gzip};
use crate::protobuf::{self, List};
use crate::render::{self, AsRow, Include};
use api_core::ApiError;
use api_schema::protobuf::message_of;
use api_schema::row::Row;
use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use watch_cache::Object;

pub(crate) use super::list::select;

/// Objects of a list that are looked at before others have their turn.
const ITEMS_AT_ONCE: usize = 256;

/// Columns of kinds that have none of their own.
const GENERAL: [&str; 2] = ["Name", "Created At"];

/// Serves a GET of an object.
pub(crate) async fn get(call: Call) -> Result<Response<Body>, ApiError> {
    refuse_export(&call.query)?;
    let bytes = current(&call).await?;
    call.answer(StatusCode::OK, &bytes).await
}

/// Served bytes, in the stored version, of the object that the request names.
pub(crate) async fn current(call: &Call) -> Result<Bytes, ApiError> {
    match parse_revision(call.query.get("resourceVersion"))? {
        None => list::fresh(call).await?,
        Some(0) => {}
        Some(revision) => list::wait(call, revision).await?,
    }
    let (cache, key) = (call.served.cache()?, call.key(&call.info.name));
    if let Some(object) = cache.get(key.as_bytes()) {
        return Ok(object.bytes.clone());
    }
    let snapshot = cache.snapshot();
    match snapshot.undecodable(key.as_bytes()).filter(|broken| broken.key == key.as_bytes()) {
        Some(broken) => Err(ApiError::internal(&broken.error)),
        None => Err(call.not_found()),
    }
}

/// Serves a GET of a collection.
pub(crate) async fn list(call: Call) -> Result<Response<Body>, ApiError> {
    let options = ListOptions::read(&call.query, false)?;
    let selection = Selection::of(&call, &options).await?;
    if let Some(stored) = selection.all().filter(|stored| is_sent_as_stored(&call, stored)) {
        selection.count(stored.places.len(), stored.places.len());
        return Ok(answer_stored(&call, stored));
    }
    answer_page(&call, selection.page()).await
}

/// Whether the objects go out as they are. A few are gathered all the same, so that the answer can say how long it is.
fn is_sent_as_stored(call: &Call, stored: &Stored) -> bool {
    let form = &call.form;
    form.view == View::Object
        && form.media == Media::Json
        && call.served.builtin
        && object::is_as_stored(call.row())
        && stored.places.len() > ITEMS_AT_ONCE
}

/// Objects that nobody looks at until they are written.
fn answer_stored(call: &Call, stored: Stored) -> Response<Body> {
    let row = call.row();
    let meta = json!({"resourceVersion": stored.snapshot.revision().to_string()});
    let head = list_head(&row.list_kind, &row.gvr.api_version(), &meta.to_string());
    let document = Document::json(head, Items::Stored(stored), "]}", true);
    let gzip = is_compressed(call, &document);
    call.finish(document.answer(&call.server.makers, gzip))
}

/// Whether the answer is so long, and its reader such, that it is compressed.
fn is_compressed(call: &Call, document: &Document) -> bool {
    takes_gzip(&call.headers) && document.items.are_longer_than(call.server.config.limits.gzip_bytes_min)
}

/// A page in the form that was asked for.
pub(crate) async fn answer_page(call: &Call, mut page: Page) -> Result<Response<Body>, ApiError> {
    page.items = convert::present(&call.server, &call.served, page.items).await?;
    let meta = list_meta(call, &page);
    if call.form.as_list == Some(false) && matches!(call.form.view, View::Metadata(_)) {
        return Err(render::list_or_object(call.row(), false));
    }
    if call.form.media == Media::Protobuf {
        return answer_protobuf(call, page, &meta).await;
    }
    let (row, served, now_unix_us) = (call.row(), call.served.clone(), call.now_unix_us);
    let is_null = page.items.is_empty() && empty_is_null(row, call.form.view);
    let mut brace = false;
    let (head, items, tail) = match call.form.view {
        View::Object if object::is_as_stored(row) => {
            brace = served.builtin;
            let items = Items::Ready(ready(&page.items, brace).await);
            (list_head(&row.list_kind, &row.gvr.api_version(), &meta.to_string()), items, "]}")
        }
        View::Object => {
            brace = served.builtin;
            let each = move |o: &Object| {
                let bytes = object::to_version(&served.row, &o.bytes)?;
                Ok(if brace { object::as_item(&bytes) } else { bytes })
            };
            let items = Items::make(page.items, Arc::new(each))?;
            (list_head(&row.list_kind, &row.gvr.api_version(), &meta.to_string()), items, "]}")
        }
        View::Metadata(version) => {
            let each = move |o: &Object| Ok(object::metadata_only(&served.row, &o.bytes, version)?.into());
            let items = Items::make(page.items, Arc::new(each))?;
            let head = list_head("PartialObjectMetadataList", &format!("meta.k8s.io/{version}"), &meta.to_string());
            (head, items, "]}")
        }
        View::Table(version) => {
            let include = Include::of(&call.query)?;
            in_table_order(row, &mut page);
            let (head, tail) = render::table_frame(&served, version, &meta.to_string(), true);
            let server = call.server.clone();
            let as_row = AsRow { include, version, now_unix_us, keeps: true };
            let each = move |o: &Object| Ok(server.encodings.row(&served, o, as_row)?.into());
            (head, Items::make(page.items, Arc::new(each))?, tail)
        }
    };
    let (head, tail) = match head.strip_suffix('[') {
        Some(head) if is_null => (format!("{head}null"), "}"),
        _ => (head, tail),
    };
    let document = Document::json(head, items, tail, brace);
    if call.form.media == Media::Yaml {
        let whole = document.whole(&call.server.makers).await?;
        return Ok(call.finish(render::bytes(Media::Yaml, StatusCode::OK, whole.into())?));
    }
    let gzip = is_compressed(call, &document);
    Ok(call.finish(document.answer(&call.server.makers, gzip)))
}

/// Items that are sent as they are; without the opening brace and the type if `as_items`. Others have their turn in between:
/// each object of a long page has to be looked at.
async fn ready(objects: &[Arc<Object>], as_items: bool) -> Vec<Bytes> {
    let mut items = Vec::with_capacity(objects.len());
    for some in objects.chunks(ITEMS_AT_ONCE) {
        if !items.is_empty() {
            tokio::task::yield_now().await;
        }
        items.extend(some.iter().map(|o| if as_items { object::as_item(&o.bytes) } else { o.bytes.clone() }));
    }
    items
}

fn list_meta(call: &Call, page: &Page) -> Value {
    let mut meta = json!({"resourceVersion": page.revision.to_string()});
    if !page.continue_token.is_empty() {
        meta["continue"] = page.continue_token.clone().into();
    }
    if let Some(remaining) = page.remaining {
        meta["remainingItemCount"] = remaining.into();
    }
    if call.row().custom.is_some() && call.form.view == View::Object && page.continue_token.is_empty() {
        // A list of no type of its own says of each of its fields how it is.
        meta["continue"] = "".into();
    }
    meta
}

/// Whether a list of nothing says `null`: where upstream gathers the items in a list that it does not make before the first.
fn empty_is_null(row: &Row, view: View) -> bool {
    match view {
        View::Object => false,
        View::Metadata(_) => true,
        View::Table(_) => row.custom.is_none() && row.columns.iter().all(|c| GENERAL.contains(&c.name.as_str())),
    }
}

fn in_table_order(row: &Row, page: &mut Page) {
    let Some(order) = row.hooks.table_order else { return };
    page.items.sort_by_cached_key(|o| (object::decode(&o.bytes).map_or(0, |o| order(&o)), o.name.clone()));
}

async fn answer_protobuf(call: &Call, page: Page, metadata: &Value) -> Result<Response<Body>, ApiError> {
    let (row, served, objects, makers) = (call.row(), call.served.clone(), page.items, &call.server.makers);
    let document = match call.form.view {
        View::Metadata(version) => {
            let api_version = format!("meta.k8s.io/{version}");
            let list = List { makers, api_version: &api_version, kind: "PartialObjectMetadataList", metadata, objects };
            let make =
                move |o: &Object| protobuf::message_of_json(&object::metadata_only(&served.row, &o.bytes, "v1")?);
            list.document(make).await?
        }
        View::Object | View::Table(_) => {
            let api_version = row.gvr.api_version();
            let list = List { makers, api_version: &api_version, kind: &row.list_kind, metadata, objects };
            let server = call.server.clone();
            let make = move |o: &Object| {
                let envelope = server.encodings.enveloped(&served.row, o)?;
                message_of(&envelope).map_err(ApiError::internal)
            };
            list.document(make).await?
        }
    };
    let gzip = is_compressed(call, &document);
    Ok(call.finish(document.answer(makers, gzip)))
}

fn list_head(kind: &str, api_version: &str, metadata: &str) -> String {
    format!("{{\"kind\":{kind:?},\"apiVersion\":{api_version:?},\"metadata\":{metadata},\"items\":[")
}
