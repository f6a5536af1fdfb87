//! Objects as bytes: the stored form, the served form, and the way between the two.
//!
//! Stored: JSON of the storage version without `metadata.resourceVersion`. Served: the same with it spliced in.

use api_core::meta::Meta;
use api_core::{ApiError, Gvk};
use api_schema::row::Row;
use bytes::Bytes;
use memchr::memmem;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// The served bytes of a stored value.
pub(crate) fn with_revision(stored: &[u8], revision: i64) -> Result<Bytes, serde_json::Error> {
    let Some(at) = after_metadata(stored) else {
        let mut value: Value = serde_json::from_slice(stored)?;
        set_revision(&mut value, revision);
        return Ok(encode(&value));
    };
    let (head, tail) = stored.split_at(at);
    let comma: &[u8] = if tail.first() == Some(&b'}') { b"" } else { b"," };
    Ok([head, b"\"resourceVersion\":\"", revision.to_string().as_bytes(), b"\"", comma, tail].concat().into())
}

/// The same object with another revision.
pub(crate) fn restamp(served: &[u8], revision: i64) -> Result<Bytes, serde_json::Error> {
    let Some(Range { start, end }) = spliced_revision(served) else {
        let mut value: Value = serde_json::from_slice(served)?;
        set_revision(&mut value, revision);
        return Ok(encode(&value));
    };
    let revision = revision.to_string();
    Ok([&served[..start], revision.as_bytes(), &served[end..]].concat().into())
}

/// Where the revision is that [`with_revision`] has put in.
fn spliced_revision(served: &[u8]) -> Option<Range<usize>> {
    let start = after_metadata(served).and_then(|at| skip(served, at, b"\"resourceVersion\":\""))?;
    let length = served.get(start..)?.iter().take(24).position(|b| *b == b'"')?;
    Some(start..start + length)
}

/// `metadata.resourceVersion` of served bytes; empty if there is none.
pub(crate) fn revision_of(served: &[u8]) -> String {
    let spliced = spliced_revision(served).and_then(|range| std::str::from_utf8(&served[range]).ok());
    spliced.map(ToOwned::to_owned).unwrap_or_else(|| {
        serde_json::from_slice::<Value>(served).map(|v| v.resource_version().to_owned()).unwrap_or_default()
    })
}

/// Offset just after `"metadata":{`, if `kind` and `apiVersion` are all that comes before it.
fn after_metadata(stored: &[u8]) -> Option<usize> {
    let mut at = skip(stored, 0, b"{")?;
    loop {
        if let Some(end) = skip(stored, at, b"\"metadata\":{") {
            return Some(end);
        }
        at = skip(stored, at, b"\"kind\":\"").or_else(|| skip(stored, at, b"\"apiVersion\":\""))?;
        at += stored.get(at..)?.iter().take(256).position(|b| *b == b'"')? + 1;
        at = skip(stored, at, b",")?;
    }
}

fn skip(bytes: &[u8], at: usize, expected: &[u8]) -> Option<usize> {
    bytes.get(at..)?.starts_with(expected).then_some(at + expected.len())
}

/// Sets `metadata.resourceVersion`.
pub(crate) fn set_revision(value: &mut Value, revision: i64) {
    value.set_meta("resourceVersion", &revision.to_string());
}

/// `kind`, `apiVersion`, `metadata` first, then the rest.
pub(crate) fn encode(value: &Value) -> Bytes {
    api_schema::codec::encode(value)
}

/// The bytes that this server would have stored: those that are stored, unless another server wrote them in another form.
pub(crate) fn stored_json(stored: &Bytes) -> Result<Bytes, api_kinds::stored::Error> {
    Ok(api_kinds::stored::upgrade(stored)?.map_or_else(|| stored.clone(), |value| encode(&value)))
}

/// Reads stored or served bytes. What cannot be read is the store's fault.
pub(crate) fn decode(bytes: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(bytes).map_err(|e| ApiError::internal(format!("stored object is unreadable: {e}")))
}

/// Reads an object without its managed fields, which nobody is shown in a table and which are a third of it.
pub(crate) fn decode_brief(bytes: &[u8]) -> Result<Value, ApiError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let map = json.deserialize_map(Brief { skip: "", below: "metadata" });
    map.map(Value::Object).map_err(|e| ApiError::internal(format!("stored object is unreadable: {e}")))
}

/// Reads an object without the field `skip`; in the field `below` without managed fields.
struct Brief {
    skip: &'static str,
    below: &'static str,
}

impl<'de> Visitor<'de> for Brief {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if key == self.skip {
                access.next_value::<IgnoredAny>()?;
            } else if key == self.below {
                let inner = access.next_value_seed(Brief { skip: "managedFields", below: "" })?;
                map.insert(key, Value::Object(inner));
            } else {
                map.insert(key, access.next_value()?);
            }
        }
        Ok(map)
    }
}

impl<'de> DeserializeSeed<'de> for Brief {
    type Value = Map<String, Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

/// Converts an object of a built-in kind to a version of its kind, if it is in another one. Custom resources are converted
/// on their way in and out (`custom::convert`), and are in the row's own version in between.
pub(crate) fn convert(row: &Row, value: &mut Value, to: &Gvk) {
    if row.custom.is_some() {
        return;
    }
    let api_version = to.api_version();
    if value.get("apiVersion").and_then(Value::as_str) == Some(&api_version) {
        return;
    }
    if let Some(convert) = row.hooks.convert {
        convert(value, to);
    }
    if let Some(object) = value.as_object_mut() {
        object.insert("apiVersion".into(), api_version.into());
        object.insert("kind".into(), to.kind.clone().into());
    }
}

/// Whether objects are served as they are stored, as far as a row can tell.
pub(crate) fn is_as_stored(row: &Row) -> bool {
    row.custom.is_some() || row.kind == row.storage_version
}

/// Served bytes of a row's version from served bytes of its storage version.
pub(crate) fn to_version(row: &Row, bytes: &Bytes) -> Result<Bytes, ApiError> {
    if is_as_stored(row) {
        return Ok(bytes.clone());
    }
    let mut value = decode(bytes)?;
    convert(row, &mut value, &row.kind);
    Ok(encode(&value))
}

/// As an item of a list: without `kind` and `apiVersion`, as upstream has it for built-in kinds.
pub(crate) fn as_item(bytes: &Bytes) -> Bytes {
    bytes.slice(item_start(bytes)..)
}

/// Where an object begins as an item of a list ([`as_item`]).
pub(crate) fn item_start(bytes: &[u8]) -> usize {
    let metadata = after_metadata(bytes).map(|at| at - "\"metadata\":{".len());
    match metadata {
        // One byte before `"metadata"` is replaced by the opening brace when it is written.
        Some(at) if at > 1 => at,
        _ => 1,
    }
}

/// The parts of an object that need no schema.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    metadata: &'a RawValue,
}

/// An object's metadata as they are written.
fn raw_metadata(bytes: &[u8]) -> Result<&str, serde_json::Error> {
    let whole = || Ok(serde_json::from_slice::<Head<'_>>(bytes)?.metadata.get());
    let Some(start) = after_metadata(bytes).map(|at| at - 1) else { return whole() };
    // What follows is not looked at.
    let metadata = api_core::json::value_end(bytes, start).and_then(|end| std::str::from_utf8(&bytes[start..end]).ok());
    metadata.map_or_else(whole, Ok)
}

/// A `PartialObjectMetadata` of an object's bytes.
pub(crate) fn metadata_only(row: &Row, bytes: &[u8], version: &str) -> Result<Vec<u8>, ApiError> {
    let metadata = raw_metadata(bytes).map_err(ApiError::internal)?;
    let mut out = Vec::with_capacity(metadata.len() + 128);
    write_metadata_only(row, metadata.as_bytes(), version, &mut out)?;
    Ok(out)
}

/// Where an object's metadata stand in its bytes.
pub(crate) fn metadata_range(bytes: &[u8]) -> Result<Range<usize>, ApiError> {
    let metadata = raw_metadata(bytes).map_err(ApiError::internal)?;
    let start = metadata.as_ptr().addr() - bytes.as_ptr().addr();
    Ok(start..start + metadata.len())
}

/// The same of an object's metadata as they are written in its bytes.
pub(crate) fn write_metadata_only(
    row: &Row,
    metadata: &[u8],
    version: &str,
    out: &mut Vec<u8>,
) -> Result<(), ApiError> {
    let shown = shown_metadata(row.hooks.hidden_annotations, metadata).map_err(ApiError::internal)?;
    let kind = b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/";
    for part in [kind, version.as_bytes(), b"\",\"metadata\":", &shown, b"}"] {
        out.extend_from_slice(part);
    }
    Ok(())
}

/// Metadata without annotations that are not shown with metadata alone.
fn shown_metadata<'a>(hidden: &[&str], metadata: &'a [u8]) -> Result<Cow<'a, [u8]>, serde_json::Error> {
    if !hidden.iter().any(|name| memmem::find(metadata, name.as_bytes()).is_some()) {
        return Ok(Cow::Borrowed(metadata));
    }
    let mut map: Map<String, Value> = serde_json::from_slice(metadata)?;
    if let Some(Value::Object(annotations)) = map.get_mut("annotations") {
        annotations.retain(|name, _| !hidden.contains(&name.as_str()));
        if annotations.is_empty() {
            map.remove("annotations");
        }
    }
    serde_json::to_vec(&map).map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_revision_is_spliced_into_metadata() {
        let stored = br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"},"spec":{}}"#;
        let served = with_revision(stored, 7).expect("json");
        assert_eq!(
            std::str::from_utf8(&served).expect("text"),
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"7","name":"a"},"spec":{}}"#
        );
        let brief = decode_brief(br#"{"metadata":{"name":"a","managedFields":[{}]},"managedFields":1,"spec":{}}"#);
        let expected = serde_json::json!({"metadata": {"name": "a"}, "managedFields": 1, "spec": {}});
        assert_eq!(brief.expect("json"), expected);
        assert_eq!(revision_of(&served), "7");
        assert_eq!(revision_of(br#"{"metadata":{"name":"a","resourceVersion":"8"}}"#), "8");
        let later = restamp(&served, 10).expect("json");
        assert_eq!(later, with_revision(stored, 10).expect("json"));
        let odd = with_revision(br#"{"spec":{},"metadata":{"name":"a"},"kind":"X"}"#, 7).expect("json");
        let odd: Value = serde_json::from_slice(&odd).expect("json");
        assert_eq!(odd["metadata"]["resourceVersion"], "7");
        let bare = r#"{"resourceVersion":"7","name":"a"}"#;
        assert_eq!(raw_metadata(&served).expect("json"), bare);
        assert_eq!(raw_metadata(format!("{{\"spec\":{{}},\"metadata\":{bare}}}").as_bytes()).expect("json"), bare);
        let hidden = ["a/b"];
        for (given, shown) in [
            (r#"{"name":"a/b"}"#, r#"{"name":"a/b"}"#),
            (r#"{"annotations":{"a/b":"1"},"name":"n"}"#, r#"{"name":"n"}"#),
            (r#"{"annotations":{"a/b":"1","c":"2"}}"#, r#"{"annotations":{"c":"2"}}"#),
        ] {
            assert_eq!(shown_metadata(&hidden, given.as_bytes()).expect("json"), shown.as_bytes());
        }
        assert_eq!(&as_item(&served)[..14], b"\"metadata\":{\"r");
    }
}
