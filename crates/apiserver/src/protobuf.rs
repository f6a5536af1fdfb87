//! Answers in protobuf: an object's JSON → its message in the envelope that clients expect.
//!
//! Objects are kept as JSON; a message is made when one is asked for. Must never know a kind by name.

use crate::long::{Document, Items, Makers, With, size_with};
use crate::negotiate::Media;
use api_core::gvk::split_api_version;
use api_core::{ApiError, Gvk};
use api_kinds::{message_type_of, schema};
use api_schema::codec::{self, FieldValidation};
use api_schema::protobuf::{self, ENVELOPE_END, envelope, envelope_start};
use api_schema::schema::StructId;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;
use watch_cache::Object;

/// Objects from which a list's items are made on all cores.
const PARALLEL_MIN: usize = 64;
/// Objects that are made into items at once.
const PORTION: usize = 256;

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
    /// Who make its items.
    pub(crate) makers: &'a Makers,
    /// Of the list itself.
    pub(crate) api_version: &'a str,
    pub(crate) kind: &'a str,
    /// Its metadata.
    pub(crate) metadata: &'a Value,
    /// What it lists.
    pub(crate) objects: Vec<Arc<Object>>,
}

impl List<'_> {
    /// The list as a message; `make` gives an item's message.
    pub(crate) async fn document<F>(self, make: F) -> Result<Document, ApiError>
    where
        F: Fn(&Object) -> Result<Bytes, ApiError> + Clone + Send + 'static,
    {
        let frame = serde_json::json!({"metadata": self.metadata});
        let metadata = message(root_of(self.api_version, self.kind)?, frame.to_string().as_bytes())?;
        // Of the two fields of a list one is its metadata; the number of the other is that of its items.
        let (items_number, items_first) = if metadata.first() == Some(&0x0a) { (2, false) } else { (1, true) };
        let items = make_all(self.makers, self.objects, make).await?;
        let with = With::Field(items_number);
        let length = metadata.len() + size_with(&items, with);
        let start = envelope_start(self.api_version, self.kind, length);
        let (before, after) = if items_first { (&[][..], &metadata[..]) } else { (&metadata[..], &[][..]) };
        let (head, tail) = ([&start[..], before].concat().into(), [after, ENVELOPE_END].concat().into());
        Ok(Document { head, items: Items::Ready(items), tail, with, media: Media::Protobuf })
    }
}

/// The message of an object's JSON, which says what it is.
pub(crate) fn message_of_json(json: &[u8]) -> Result<Bytes, ApiError> {
    let said: Said<'_> = serde_json::from_slice(json).map_err(ApiError::internal)?;
    Ok(message(root_of(&said.api_version, &said.kind)?, json)?.into())
}

/// Makes the items of a list, on all cores if there are many.
async fn make_all(
    makers: &Makers,
    objects: Vec<Arc<Object>>,
    make: impl Fn(&Object) -> Result<Bytes, ApiError> + Clone + Send + 'static,
) -> Result<Vec<Bytes>, ApiError> {
    if objects.len() < PARALLEL_MIN {
        return objects.iter().map(|object| make(object)).collect();
    }
    let portions = objects.chunks(PORTION).map(|portion| {
        let (portion, make) = (portion.to_vec(), make.clone());
        makers.run(move || portion.iter().map(|object| make(object)).collect::<Result<Vec<_>, _>>())
    });
    let mut all = Vec::with_capacity(objects.len());
    for portion in futures::future::try_join_all(portions).await? {
        all.extend(portion?);
    }
    Ok(all)
}
