//! Objects that requests are decided by, decoded: namespaces, service accounts, classes. Each is decoded once for as long as it
//! stays as it is, not by every request.

use super::storage;
use api_core::ApiError;
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use watch_cache::Object;

/// Encoded bytes of the objects that are kept; past it all are forgotten. Decoded they take about five times as much.
const BYTES_MAX: usize = 1 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Parsed(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// By key in the store: revision, size, object.
    objects: HashMap<Bytes, (i64, usize, Arc<Value>)>,
    bytes: usize,
}

impl Parsed {
    /// What [`storage::value`] makes of a cached object.
    pub(crate) fn value(&self, object: &Object) -> Result<Arc<Value>, ApiError> {
        if let Some((revision, _, value)) = self.0.lock().objects.get(&object.key)
            && *revision == object.revision
        {
            return Ok(value.clone());
        }
        let value = Arc::new(storage::value(object)?);
        let size = object.key.len() + object.bytes.len();
        let mut known = self.0.lock();
        if known.bytes + size > BYTES_MAX {
            *known = Known::default();
        }
        // A copy: the key may lie in the same memory as what was stored.
        let key = Bytes::copy_from_slice(&object.key);
        let before = known.objects.insert(key, (object.revision, size, value.clone()));
        known.bytes = known.bytes + size - before.map_or(0, |(_, size, _)| size);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(key: &'static str, revision: i64, note: &str) -> Object {
        let bytes = format!("{{\"metadata\":{{\"resourceVersion\":\"{revision}\",\"name\":\"a\"}},\"note\":{note:?}}}");
        Object { key: Bytes::from_static(key.as_bytes()), bytes: bytes.into(), revision, ..Object::default() }
    }

    #[test]
    fn an_object_is_decoded_once_at_each_revision_and_the_kept_ones_are_bounded() {
        let parsed = Parsed::default();
        let first = parsed.value(&object("/a", 1, "x")).expect("json");
        assert_eq!((&first["metadata"]["resourceVersion"], &first["note"]), (&Value::Null, &"x".into()));
        assert!(Arc::ptr_eq(&first, &parsed.value(&object("/a", 1, "x")).expect("json")));
        assert_eq!(parsed.value(&object("/a", 2, "y")).expect("json")["note"], "y");
        assert_eq!(parsed.value(&object("/b", 2, "z")).expect("json")["note"], "z");
        let counted = || {
            let known = parsed.0.lock();
            assert_eq!(known.bytes, known.objects.values().map(|(_, size, _)| size).sum::<usize>());
            known.bytes
        };
        assert!(counted() > 0);
        let large = "l".repeat(BYTES_MAX / 2);
        for key in ["/c", "/d", "/e"] {
            parsed.value(&object(key, 3, &large)).expect("json");
            assert!(counted() <= BYTES_MAX);
        }
    }
}
