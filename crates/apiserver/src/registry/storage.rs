//! The cache of one resource: how stored values become objects ready to be sent, and how it is kept up.

use super::object;
use api_core::ApiError;
use api_core::meta::Meta;
use api_schema::row::Row;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{KeyValue, Store};
use watch_cache::{BoxError, Cache, Decoder, Limits, Object, Undecodable};

/// Makes objects of what is stored of a row.
#[derive(Debug)]
struct RowDecoder {
    row: Arc<Row>,
}

/// What is read of an object that needs no schema.
#[derive(Deserialize)]
struct Head {
    metadata: HeadMeta,
}

#[derive(Deserialize)]
struct HeadMeta {
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

impl Decoder for RowDecoder {
    fn decode(&self, kv: &KeyValue) -> Result<Object, BoxError> {
        let bytes = object::with_revision(&kv.value, kv.mod_revision)?;
        let Head { metadata } = serde_json::from_slice(&kv.value)?;
        let mut fields = Vec::new();
        if let Some(selectable) = self.row.hooks.selectable_fields {
            let value: Value = serde_json::from_slice(&kv.value)?;
            fields.extend(selectable(&value).into_iter().map(|(name, value)| (name.to_owned(), value)));
        }
        fields.push(("metadata.name".into(), metadata.name.clone()));
        fields.push(("metadata.namespace".into(), metadata.namespace.clone()));
        Ok(Object {
            key: kv.key.clone(),
            bytes,
            revision: kv.mod_revision,
            namespace: metadata.namespace,
            name: metadata.name,
            labels: metadata.labels.unwrap_or_default().into_iter().collect(),
            fields: fields.into(),
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
    Arc::new(Cache::new(store, Arc::new(RowDecoder { row }), prefix, Limits::default()))
}

/// An object decoded, without its resource version.
pub(crate) fn value(object: &Object) -> Result<Value, ApiError> {
    let mut value = object::decode(&object.bytes)?;
    value.set_meta("resourceVersion", "");
    Ok(value)
}

/// `{"type":...,"object":...}` and a newline: a line of a watch.
pub(crate) fn frame(change: &str, object: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(object.len() + 40);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(change.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    out.extend_from_slice(object);
    out.extend_from_slice(b"}\n");
    out.into()
}
