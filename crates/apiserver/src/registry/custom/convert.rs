//! Objects of custom resources between their versions: as they are stored, as a request sees them, as they are answered.
//!
//! The cache has each object in the version that it was stored in. A handler works in the version of its request; what it
//! stores is in the storage version. Conversion is by name alone or by a webhook; what was converted is kept for a while,
//! so that many readers and watchers of one change cost one conversion.

use super::super::call::Call;
use super::super::txn::Current;
use super::super::{Served, object};
use super::review;
use crate::server::Inner;
use crate::webhook::Client;
use api_core::ApiError;
use api_core::meta::Meta;
use api_schema::custom::{Conversion, Custom, Family};
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use watch_cache::Object;

/// Converted objects that are kept, in bytes. Beyond that the oldest go.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// What was converted: object, its revision, version, and generation of the definition.
type Key = (Bytes, i64, String, i64);

/// Conversions of late.
#[derive(Debug, Default)]
pub(crate) struct Kept(Mutex<KeptState>);

#[derive(Debug, Default)]
struct KeptState {
    known: HashMap<Key, Bytes>,
    order: VecDeque<Key>,
    bytes: usize,
}

impl Kept {
    fn get(&self, key: &Key) -> Option<Bytes> {
        self.0.lock().known.get(key).cloned()
    }

    fn put(&self, key: Key, value: Bytes) {
        let mut state = self.0.lock();
        state.bytes += value.len();
        if let Some(old) = state.known.insert(key.clone(), value) {
            state.bytes -= old.len();
        } else {
            state.order.push_back(key);
        }
        while state.bytes > KEPT_BYTES_MAX {
            let Some(oldest) = state.order.pop_front() else { return };
            if let Some(old) = state.known.remove(&oldest) {
                state.bytes -= old.len();
            }
        }
    }
}

/// Whether the bytes are of the row's version. Both are at the start of what the server writes.
fn is_of_version(family: &Family, version: &str, bytes: &[u8]) -> bool {
    const FIELD: &[u8] = b"\"apiVersion\":\"";
    let head = &bytes[..bytes.len().min(512)];
    let Some(at) = head.windows(FIELD.len()).position(|w| w == FIELD) else { return false };
    let rest = &head[at + FIELD.len()..];
    let wanted = family.api_version(version);
    rest.starts_with(wanted.as_bytes()) && rest.get(wanted.len()) == Some(&b'"')
}

/// Objects in the version of the row. Those of built-in kinds stay as they are.
pub(crate) async fn present(
    server: &Inner,
    served: &Served,
    items: Vec<Arc<Object>>,
) -> Result<Vec<Arc<Object>>, ApiError> {
    let Some(custom) = &served.row.custom else { return Ok(items) };
    let other = |o: &Arc<Object>| !is_of_version(&custom.family, &custom.version, &o.bytes);
    if !items.iter().any(other) {
        return Ok(items);
    }
    let key = |o: &Object| (o.key.clone(), o.revision, custom.version.clone(), custom.family.generation);
    let mut out: Vec<Option<Bytes>> = Vec::with_capacity(items.len());
    let mut left = Vec::new();
    for item in &items {
        let known = if other(item) { server.registry.conversions.get(&key(item)) } else { Some(item.bytes.clone()) };
        if known.is_none() {
            left.push(object::decode(&item.bytes)?);
        }
        out.push(known);
    }
    let mut converted = convert(&server.webhooks, custom, left, &custom.version).await?.into_iter();
    let mut all = Vec::with_capacity(items.len());
    for (item, known) in items.iter().zip(out) {
        let bytes = match known {
            Some(bytes) => bytes,
            None => {
                let mut value =
                    converted.next().ok_or_else(|| ApiError::internal("an object was lost in conversion"))?;
                object::set_revision(&mut value, item.revision);
                let bytes = object::encode(&value);
                server.registry.conversions.put(key(item), bytes.clone());
                bytes
            }
        };
        all.push(Arc::new(Object { bytes, ..(**item).clone() }));
    }
    Ok(all)
}

/// Served bytes of one object in the version of the row.
pub(crate) async fn present_one(server: &Inner, served: &Served, bytes: &Bytes) -> Result<Bytes, ApiError> {
    let Some(custom) = &served.row.custom else { return Ok(bytes.clone()) };
    if is_of_version(&custom.family, &custom.version, bytes) {
        return Ok(bytes.clone());
    }
    let value = object::decode(bytes)?;
    let revision = value.resource_version().to_owned();
    let mut converted = convert_one(&server.webhooks, custom, value, &custom.version).await?;
    converted.set_meta("resourceVersion", &revision);
    Ok(object::encode(&converted))
}

/// An object of the store as the request's handler sees it: defaulted, in the version of the request.
pub(crate) async fn incoming(call: &Call, mut current: Current) -> Result<Current, ApiError> {
    let Some(custom) = &call.row().custom else { return Ok(current) };
    let family = &custom.family;
    let stored = family.version_of(&current.value);
    if stored != family.storage_version {
        // What is stored in another version is written anew even if nothing else changes.
        current.stored = Some(Bytes::new());
    }
    if current.is_live {
        family.tidy(&mut current.value, true);
    }
    if family.version_of(&current.value) != custom.version {
        current.value = convert_one(&call.server.webhooks, custom, current.value, &custom.version).await?;
    }
    Ok(current)
}

/// A finished object as it is to be stored.
pub(crate) async fn outgoing(call: &Call, value: &Value) -> Result<Bytes, ApiError> {
    match &call.row().custom {
        Some(custom) if custom.version != custom.family.storage_version => {
            let version = custom.family.storage_version.clone();
            let stored = convert_one(&call.server.webhooks, custom, value.clone(), &version).await?;
            Ok(object::encode(&stored))
        }
        _ => Ok(object::encode(value)),
    }
}

/// What is stored of `written` as it is read again: without nulls that an apply may have left, and with the defaults of the
/// version that it is stored in.
pub(crate) fn as_read(call: &Call, written: &Value, stored: &Bytes) -> Result<Bytes, ApiError> {
    let Some(custom) = &call.row().custom else { return Ok(stored.clone()) };
    let family = &custom.family;
    let is_converted = custom.version != family.storage_version;
    let mut value = if is_converted { object::decode(stored)? } else { written.clone() };
    family.tidy(&mut value, true);
    let is_settled = !is_converted && value == *written;
    Ok(if is_settled { stored.clone() } else { object::encode(&value) })
}

/// One object in another version; as it is, if that is its own.
pub(crate) async fn to_version(
    webhooks: &Client,
    custom: &Custom,
    value: Value,
    version: &str,
) -> Result<Value, ApiError> {
    if custom.family.version_of(&value) == version {
        return Ok(value);
    }
    convert_one(webhooks, custom, value, version).await
}

/// One object in another version just as a webhook made it: what the version does not know is still there.
pub(crate) async fn untidy(webhooks: &Client, custom: &Custom, value: Value, version: &str) -> Result<Value, ApiError> {
    let converted = raw(webhooks, custom, vec![value], version).await?;
    converted.into_iter().next().ok_or_else(|| ApiError::internal("an object was lost in conversion"))
}

async fn convert_one(webhooks: &Client, custom: &Custom, value: Value, version: &str) -> Result<Value, ApiError> {
    let converted = convert(webhooks, custom, vec![value], version).await?;
    converted.into_iter().next().ok_or_else(|| ApiError::internal("an object was lost in conversion"))
}

/// Converts objects, none of which is in the version yet. They come without resource version.
async fn convert(
    webhooks: &Client,
    custom: &Custom,
    objects: Vec<Value>,
    version: &str,
) -> Result<Vec<Value>, ApiError> {
    let mut converted = raw(webhooks, custom, objects, version).await?;
    if matches!(custom.family.conversion, Conversion::Webhook { .. }) {
        converted.iter_mut().for_each(|object| custom.family.tidy(object, false));
    }
    Ok(converted)
}

/// The same with what a webhook made as it is.
async fn raw(
    webhooks: &Client,
    custom: &Custom,
    mut objects: Vec<Value>,
    version: &str,
) -> Result<Vec<Value>, ApiError> {
    let family = &custom.family;
    objects.iter_mut().for_each(|o| o.set_meta("resourceVersion", ""));
    if objects.is_empty() {
        return Ok(objects);
    }
    match &family.conversion {
        Conversion::None => objects.iter_mut().for_each(|o| family.rename(o, version)),
        Conversion::Webhook { client_config, review_versions } => {
            let asked = review::convert(webhooks, family, client_config, review_versions, objects, version);
            objects = Box::pin(asked).await?;
        }
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded() {
        let kept = Kept::default();
        let key = |n: i64| (Bytes::from("a"), n, "v1".to_owned(), 1);
        for n in 0..40 {
            kept.put(key(n), vec![0; 1 << 20].into());
        }
        assert!(kept.get(&key(39)).is_some() && kept.get(&key(0)).is_none());
        assert!(kept.0.lock().bytes <= KEPT_BYTES_MAX);
    }
}
