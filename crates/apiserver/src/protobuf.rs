//! Answers in protobuf: an object's JSON → its message in the envelope that clients expect.
//!
//! Objects are kept as JSON; a message is made when one is asked for. Must never know a kind by name.

use crate::long::{Document, Items};
use api_core::gvk::split_api_version;
use api_core::{ApiError, Gvk};
use api_kinds::{message_type_of, schema};
use api_schema::codec::{self, FieldValidation};
use api_schema::protobuf::{self, ENVELOPE_END, envelope, envelope_start, field_start};
use api_schema::schema::StructId;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;
use watch_cache::Object;

/// Objects from which a list's items are made on all cores.
const PARALLEL_MIN: usize = 64;

/// What an object says it is.
#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    /// Some documents of discovery do not say it.
    #[serde(borrow, default, rename = "apiVersion")]
    api_version: Cow<'a, str>,
}

fn root_of(api_version: &str, kind: &str) -> Result<StructId, ApiError> {
    let (group, version) = split_api_version(if api_version.is_empty() { "v1" } else { api_version });
    message_type_of(&Gvk::new(group, version, kind))
        .ok_or_else(|| ApiError::internal(format!("{api_version} {kind} has no message")))
}

fn message(root: StructId, json: &[u8]) -> Result<Vec<u8>, ApiError> {
    protobuf::encode(schema(), root, json).map_err(ApiError::internal)
}

/// An object's JSON as a message in its envelope.
pub(crate) fn of_json(json: &[u8]) -> Result<Bytes, ApiError> {
    let said: Said<'_> = serde_json::from_slice(json).map_err(ApiError::internal)?;
    let message = message(root_of(&said.api_version, &said.kind)?, json)?;
    Ok(envelope(&said.api_version, &said.kind, &message))
}

/// The options of a DELETE.
pub(crate) fn options(body: &[u8]) -> Result<Value, ApiError> {
    let kind = Gvk::new("", "v1", "DeleteOptions");
    let root = api_kinds::type_of(&kind).ok_or_else(|| ApiError::internal("options have no type"))?;
    let media = codec::Media::Protobuf;
    codec::decode_as(schema(), root, &kind, body, media, FieldValidation::Ignore).map(|decoded| decoded.value)
}

/// A list as it will be sent.
pub(crate) struct List<'a> {
    /// Of the list itself.
    pub(crate) api_version: &'a str,
    pub(crate) kind: &'a str,
    /// Its metadata.
    pub(crate) metadata: &'a Value,
    /// What it lists.
    pub(crate) objects: Vec<Arc<Object>>,
    /// Their type.
    pub(crate) item_api_version: &'a str,
    pub(crate) item_kind: &'a str,
}

impl List<'_> {
    /// The list as a message; `json` gives an item's JSON.
    pub(crate) async fn document<F>(self, json: F) -> Result<Document, ApiError>
    where
        F: Fn(&Object) -> Result<Bytes, ApiError> + Clone + Send + 'static,
    {
        let frame = serde_json::json!({"metadata": self.metadata});
        let head = message(root_of(self.api_version, self.kind)?, frame.to_string().as_bytes())?;
        let root = root_of(self.item_api_version, self.item_kind)?;
        // Of the two fields of a list one is its metadata; the number of the other is that of its items.
        let (items_number, items_first) = if head.first() == Some(&0x0a) { (2, false) } else { (1, true) };
        let make = move |object: &Object| {
            let message = message(root, &json(object)?)?;
            let mut item = field_start(items_number, message.len());
            item.extend_from_slice(&message);
            Ok(Bytes::from(item))
        };
        let mut items = make_all(self.objects, make).await?;
        let length = head.len() + items.iter().map(Bytes::len).sum::<usize>();
        let start = envelope_start(self.api_version, self.kind, length);
        let before = if items_first { start } else { [start, head.clone()].concat() };
        items.insert(0, before.into());
        if items_first {
            items.push(head.into());
        }
        items.push(Bytes::from_static(ENVELOPE_END));
        Ok(Document::binary(Items::Ready(items)))
    }
}

/// Makes the items of a list, on all cores if there are many.
async fn make_all(
    objects: Vec<Arc<Object>>,
    make: impl Fn(&Object) -> Result<Bytes, ApiError> + Clone + Send + 'static,
) -> Result<Vec<Bytes>, ApiError> {
    if objects.len() < PARALLEL_MIN {
        return objects.iter().map(|object| make(object)).collect();
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let tasks: Vec<_> = objects
        .chunks(objects.len().div_ceil(cores))
        .map(|chunk| {
            let (chunk, make) = (chunk.to_vec(), make.clone());
            tokio::task::spawn_blocking(move || chunk.iter().map(|object| make(object)).collect::<Result<Vec<_>, _>>())
        })
        .collect();
    let mut all = Vec::with_capacity(objects.len() + 2);
    for task in tasks {
        all.extend(task.await.map_err(ApiError::internal)??);
    }
    Ok(all)
}
