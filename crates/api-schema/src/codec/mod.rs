//! Bytes of a request body → a pruned, normalised object, and an object → bytes.
//!
//! Decoding follows upstream's decoder: a JSON or YAML document is read into the fields that the type has; unknown and
//! duplicate fields are ignored, warned of or refused; a value of the wrong type is refused. What comes out is what
//! upstream would write for the object before defaults. Must never know a kind by name, nor requests.

mod go_json;
mod numbers;
mod options;
mod protobuf;
mod refused;
mod settled;
mod typed;
mod yaml;

pub use go_json::{kind_of as go_kind, summary as go_summary, wording as json_wording};
pub use numbers::write;
pub use options::{Decoded, FieldValidation, Media, Wording};
pub use refused::Refused;
pub use yaml::{read_yaml, whole_numbers};

pub use crate::scalar::bytes as base64;

use crate::row::Row;
use crate::schema::{Schema, StructId};
use api_core::{ApiError, Gvk};
use bytes::Bytes;
use serde::de::DeserializeSeed;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};
use typed::{Reader, Root};

/// Nested levels of a document. A deeper one is refused: upstream allows more, no real object comes near.
pub const DEPTH_MAX: usize = 128;

/// Most unknown or duplicate fields that are reported; the rest goes unmentioned, as upstream does it.
pub const STRICT_ERRORS_MAX: usize = 100;

/// Decodes a body that should hold an object of the row's kind.
///
/// # Errors
/// 400 with upstream's wording when it is no document, another kind, has values of the wrong type, or in strict mode
/// unknown or duplicate fields.
pub fn decode(row: &Row, body: &[u8], media: Media, fields: FieldValidation) -> Result<Decoded, ApiError> {
    decode_as(row.schema(), row.root(), &row.kind, body, media, fields)
}

/// [`decode`] for a type without a row, such as the `Scale` of a subresource.
///
/// # Errors
/// As [`decode`].
pub fn decode_as(
    schema: &Schema,
    root: StructId,
    kind: &Gvk,
    body: &[u8],
    media: Media,
    fields: FieldValidation,
) -> Result<Decoded, ApiError> {
    read_as(schema, root, kind, body, media, fields).map_err(Refused::into_api)
}

/// [`decode_as`] for who words a refusal himself.
///
/// # Errors
/// With why.
pub fn read_as(
    schema: &Schema,
    root: StructId,
    kind: &Gvk,
    body: &[u8],
    media: Media,
    fields: FieldValidation,
) -> Result<Decoded, Refused> {
    let target = Root { schema, root, kind };
    let mut reader = Reader::new(schema, root, fields, Wording::Json);
    let value = match media {
        Media::Json => {
            let mut json = serde_json::Deserializer::from_slice(body);
            let value = reader.root().deserialize(&mut json).and_then(|v| json.end().map(|()| v));
            match value {
                Ok(value) => value,
                Err(_) if reader.has_failed() => Value::Null,
                Err(error) => return Err(target.not_a_document(&go_json::wording(body, &error), body)),
            }
        }
        Media::Yaml => {
            let document = yaml::parse(body, fields).map_err(|e| target.not_readable(&e, body))?;
            reader.note(document.duplicates);
            reader.root().deserialize(document.value).unwrap_or(Value::Null)
        }
        Media::Protobuf => return protobuf::decode(target, body),
    };
    let found = target.check_kind(&value, &reader, body)?;
    finish(target, reader, value, &found)
}

/// The same for an object that is already read.
///
/// # Errors
/// 400 as [`decode`], without `body` in its wording.
pub fn decode_value(row: &Row, value: Value, fields: FieldValidation) -> Result<Decoded, ApiError> {
    read_value(row, value, fields, Wording::Json).map_err(Refused::into_api)
}

/// The same for who words a refusal himself, such as of the outcome of a patch.
///
/// # Errors
/// With why.
pub fn read_value(row: &Row, value: Value, fields: FieldValidation, wording: Wording) -> Result<Decoded, Refused> {
    read_value_as(row.schema(), row.root(), &row.kind, value, fields, wording)
}

/// [`read_value`] for a type without a row.
///
/// # Errors
/// With why.
pub fn read_value_as(
    schema: &Schema,
    root: StructId,
    kind: &Gvk,
    value: Value,
    fields: FieldValidation,
    wording: Wording,
) -> Result<Decoded, Refused> {
    let target = Root { schema, root, kind };
    if target.is_settled(&value) {
        return Ok(Decoded { value, warnings: Vec::new() });
    }
    let mut reader = Reader::new(schema, root, fields, wording);
    let value = reader.root().deserialize(value).unwrap_or(Value::Null);
    let found = target.check_kind(&value, &reader, b"")?;
    finish(target, reader, value, &found)
}

fn finish(target: Root<'_>, reader: Reader<'_>, mut value: Value, found: &Gvk) -> Result<Decoded, Refused> {
    let strict = reader.fields == FieldValidation::Strict;
    let (error, notes) = reader.into_outcome();
    if let Some(error) = error {
        return Err(target.refuse(found, &error));
    }
    if strict && !notes.is_empty() {
        return Err(target.refuse(found, &format!("strict decoding error: {}", notes.join(", "))));
    }
    if let Value::Object(object) = &mut value {
        object.insert("kind".into(), target.kind.kind.clone().into());
        object.insert("apiVersion".into(), target.kind.api_version().into());
    }
    Ok(Decoded { value, warnings: notes })
}

impl Root<'_> {
    fn refuse(&self, found: &Gvk, why: &str) -> Refused {
        Refused::Unfit { found: found.clone(), wanted: self.kind.kind.clone(), why: why.to_owned() }
    }

    fn not_a_document(&self, why: &str, body: &[u8]) -> Refused {
        self.not_readable(&format!("couldn't get version/kind; json parse error: {why}"), body)
    }

    fn not_readable(&self, why: &str, body: &[u8]) -> Refused {
        Refused::Whole(format!(
            "the object provided is unrecognized (must be of type {}): {why} ({})",
            self.kind.kind,
            go_json::summary(body)
        ))
    }

    /// The kind that the document says it is, with what is missing filled in; refuses any but ours.
    fn check_kind(&self, value: &Value, reader: &Reader<'_>, body: &[u8]) -> Result<Gvk, Refused> {
        let said = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or("");
        let (mut kind, mut api_version) = (said("kind"), said("apiVersion"));
        if value.is_null() {
            (kind, api_version) = reader.said();
        }
        if let Some(error) = reader.kind_error() {
            return Err(self.not_a_document(error, body));
        }
        self.check_said(kind, api_version, body)
    }

    /// The same for a kind that was said.
    fn check_said(&self, kind: &str, api_version: &str, body: &[u8]) -> Result<Gvk, Refused> {
        let (group, version) = match api_version.split_once('/') {
            _ if api_version.is_empty() => (self.kind.group.as_str(), self.kind.version.as_str()),
            Some((group, version)) if !version.contains('/') => (group, version),
            Some(_) => {
                let why = format!("unexpected GroupVersion string: {api_version}");
                return Err(self.not_readable(&why, body));
            }
            None => ("", api_version),
        };
        let found = Gvk::new(group, version, if kind.is_empty() { &self.kind.kind } else { kind });
        let known = self.schema.kinds.get(&found);
        // Some types, such as the options of a DELETE, belong to every group version.
        if found == *self.kind || known == Some(&self.root) {
            return Ok(found);
        }
        if !self.schema.kinds.is_empty() && known.is_none() {
            let scheme = (self.schema.scheme_of.0)(&self.kind.group);
            let why = format!(
                "no kind {:?} is registered for version {:?} in scheme {scheme:?}",
                found.kind,
                found.api_version()
            );
            return Err(self.refuse(&found, &why));
        }
        if found.kind == self.kind.kind {
            return Err(Refused::Whole(format!(
                "the API version in the data ({}) does not match the expected API version ({})",
                found.api_version(),
                self.kind.api_version()
            )));
        }
        let why = format!(
            "converting ({}.{}) to ({}.{}): unknown conversion",
            found.version,
            found.kind,
            self.kind.internal_package(),
            self.kind.kind
        );
        Err(self.refuse(&found, &why))
    }
}

/// An object as the bytes of an answer or of a stored value: compact JSON; `kind`, `apiVersion`, `metadata` first.
///
/// # Panics
/// Never: a `Value` has nothing that JSON cannot write.
pub fn encode(value: &Value) -> Bytes {
    let mut out = Vec::with_capacity(8 << 10);
    match value {
        Value::Object(object) => numbers::write(&mut out, &Ordered(object)),
        other => numbers::write(&mut out, other),
    }
    .expect("a JSON value can be written to memory");
    // Not as it grew: these bytes are kept for long.
    Bytes::copy_from_slice(&out)
}

/// An object with its type first.
struct Ordered<'a>(&'a Map<String, Value>);

const FIRST: [&str; 3] = ["kind", "apiVersion", "metadata"];

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for key in FIRST {
            if let Some(value) = self.0.get(key) {
                map.serialize_entry(key, value)?;
            }
        }
        for (key, value) in self.0.iter().filter(|(k, _)| !FIRST.contains(&k.as_str())) {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}
