//! The cache of one resource: how stored values become objects ready to be sent, and how it is kept up.

use super::object;
use api_core::ApiError;
use api_core::meta::Meta;
use api_core::project::Projection;
use api_schema::row::Row;
use bytes::Bytes;
use serde_json::Value;
use std::sync::Arc;
use store::{KeyValue, Store};
use watch_cache::{BoxError, Cache, Decoder, Limits, Object, Undecodable};

/// Makes objects of what is stored of a row.
#[derive(Debug)]
struct RowDecoder {
    row: Arc<Row>,
    /// What is needed to select an object.
    head: Projection,
    /// Nobody else writes to the store, so that what is in it is JSON.
    is_sole_writer: bool,
}

impl RowDecoder {
    fn new(row: Arc<Row>, is_sole_writer: bool) -> Self {
        let head = ["metadata.name", "metadata.namespace", "metadata.labels"];
        let paths = row.hooks.selectable_paths;
        let whole = row.hooks.selectable_fields.is_some() && paths.is_empty();
        let head = if whole { Projection::default() } else { Projection::new(head.iter().chain(paths).copied()) };
        Self { row, head, is_sole_writer }
    }
}

impl RowDecoder {
    /// A stored object as its schema has it now: defaults that came later are filled in, fields that went are gone.
    fn in_order(&self, stored: &Bytes) -> Result<Bytes, BoxError> {
        let Some(custom) = &self.row.custom else { return Ok(stored.clone()) };
        let mut value: Value = serde_json::from_slice(stored)?;
        let before = value.clone();
        custom.family.tidy(&mut value, true);
        Ok(if value == before { stored.clone() } else { object::encode(&value) })
    }
}

impl Decoder for RowDecoder {
    fn decode(&self, kv: &KeyValue) -> Result<Object, BoxError> {
        let stored = self.in_order(&object::stored_json(&kv.value)?)?;
        let bytes = object::with_revision(&stored, kv.mod_revision)?;
        let head = if self.is_sole_writer { self.head.pick(&stored) } else { self.head.read(&stored) }?;
        if head.name().is_empty() {
            return Err("it has no metadata.name".into());
        }
        let fields = self.row.hooks.selectable_fields.map(|fields| fields(&head)).unwrap_or_default();
        let labels = head["metadata"]["labels"].as_object().into_iter().flatten();
        Ok(Object {
            key: kv.key.clone(),
            bytes,
            revision: kv.mod_revision,
            namespace: head.namespace().into(),
            name: head.name().into(),
            labels: labels.filter_map(|(name, value)| Some((name, value.as_str()?))).collect(),
            fields: fields.into_iter().filter(|(_, value)| !value.is_empty()).collect(),
            other: watch_cache::Other::default(),
            outline: watch_cache::Other::default(),
        })
    }

    fn restamp(&self, object: &Object, revision: i64) -> Bytes {
        match object::restamp(&object.bytes, revision) {
            Ok(bytes) => bytes,
            // It was made by `decode`, so it can be read.
            Err(error) => {
                tracing::error!(%error, name = object.name, "a cached object is unreadable");
                object.bytes.clone()
            }
        }
    }

    fn undecodable(&self, value: &Undecodable) {
        let key = String::from_utf8_lossy(&value.key);
        tracing::error!(%key, error = %value.error, "a stored object is unreadable");
    }
}

/// A cache of a row's objects, not yet running.
pub(crate) fn cache(row: Arc<Row>, store: Arc<dyn Store>) -> Arc<Cache> {
    let prefix = format!("{}/", row.storage_prefix);
    let decoder = RowDecoder::new(row, !store.is_shared());
    Arc::new(Cache::new(store, Arc::new(decoder), prefix, Limits::default()))
}

/// An object decoded, without its resource version.
pub(crate) fn value(object: &Object) -> Result<Value, ApiError> {
    let mut value = object::decode(&object.bytes)?;
    value.set_meta("resourceVersion", "");
    Ok(value)
}
