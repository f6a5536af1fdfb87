//! Protobuf of built-in kinds: objects ⇄ messages, driven by the field numbers of the [`Schema`].
//!
//! What upstream's generated code writes is the measure, to the byte: fields in the order of their numbers, values that
//! are no pointers always there, maps sorted by key. Reading gives the object that the same one in JSON would have given.
//! Must never know a kind by name, nor requests. Tests: `api-kinds/tests/protobuf.rs`.

mod decode;
mod encode;
mod messages;
mod wire;

pub use messages::{Messages, Wire};

use crate::schema::{Schema, StructId};
use bytes::{BufMut as _, Bytes, BytesMut};
use serde_json::Value;
use wire::{Cursor, Kind, put_bytes, put_varint, size_of_bytes, varint_len};

/// What a message in an envelope begins with.
pub const MAGIC: &[u8; 4] = b"k8s\0";

/// Nested messages. A deeper one is refused; no real object comes near.
pub const DEPTH_MAX: usize = crate::codec::DEPTH_MAX;

/// Why bytes are no message of their type, or an object does not fit its type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes end within a value.
    #[error("unexpected EOF")]
    Truncated,
    /// A varint of more than ten bytes.
    #[error("proto: integer overflow")]
    Overflow,
    /// A length that no message can have.
    #[error("proto: negative length found during unmarshaling")]
    Length,
    /// A field number that there cannot be.
    #[error("proto: {0}: illegal tag {1} (wire type {2})")]
    Tag(String, i64, u8),
    /// A group's end without its start, or the other way round.
    #[error("proto: {0}: wiretype end group for non-group")]
    Group(String),
    /// A known field with another wire type.
    #[error("proto: wrong wireType = {0} for field {1}")]
    WireType(u8, String),
    /// A wire type that there is not.
    #[error("proto: illegal wireType {0}")]
    IllegalWireType(u8),
    /// More than [`DEPTH_MAX`] messages in each other.
    #[error("exceeded max depth of {DEPTH_MAX}")]
    Depth,
    /// A value that fails its own syntax: a quantity, JSON.
    #[error("{0}")]
    Value(String),
    /// The object is no JSON, or does not fit its type.
    #[error("the object does not fit its type: {0}")]
    Object(String),
}

/// What is around a message: its type, and its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Envelope<'a> {
    /// `apiVersion` of the object; may be empty.
    pub api_version: &'a str,
    /// Its kind; may be empty.
    pub kind: &'a str,
    /// The message.
    pub raw: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Opens an envelope; `bytes` are without [`MAGIC`].
    ///
    /// # Errors
    /// When it is no message.
    pub fn open(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut envelope = Self::default();
        let mut cursor = Cursor::new(bytes, "Unknown");
        while let Some((number, kind)) = cursor.tag()? {
            match number {
                1 => envelope.open_type(cursor.bytes_of(kind, "TypeMeta")?)?,
                2 => envelope.raw = cursor.bytes_of(kind, "Raw")?,
                3 => drop(cursor.bytes_of(kind, "ContentEncoding")?),
                4 => drop(cursor.bytes_of(kind, "ContentType")?),
                _ => cursor.skip(kind)?,
            }
        }
        Ok(envelope)
    }

    fn open_type(&mut self, bytes: &'a [u8]) -> Result<(), Error> {
        let mut cursor = Cursor::new(bytes, "TypeMeta");
        while let Some((number, kind)) = cursor.tag()? {
            match number {
                1 => self.api_version = text(cursor.bytes_of(kind, "APIVersion")?)?,
                2 => self.kind = text(cursor.bytes_of(kind, "Kind")?)?,
                _ => cursor.skip(kind)?,
            }
        }
        Ok(())
    }
}

fn text(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(|_| Error::Value("apiVersion and kind must be UTF-8".into()))
}

/// The start of an envelope around a message of `length` bytes; what comes after the message is [`ENVELOPE_END`].
pub fn envelope_start(api_version: &str, kind: &str, length: usize) -> Vec<u8> {
    let type_length = size_of_bytes(1, api_version.len()) + size_of_bytes(2, kind.len());
    let mut out = Vec::with_capacity(type_length + 24);
    out.extend_from_slice(MAGIC);
    put_varint(&mut out, 1 << 3 | Kind::Bytes as u64);
    put_varint(&mut out, type_length as u64);
    put_bytes(&mut out, 1, api_version.as_bytes());
    put_bytes(&mut out, 2, kind.as_bytes());
    put_varint(&mut out, 2 << 3 | Kind::Bytes as u64);
    put_varint(&mut out, length as u64);
    out
}

/// What ends an envelope: no content encoding, no content type.
pub const ENVELOPE_END: &[u8; 4] = b"\x1a\0\x22\0";

/// A message in its envelope.
pub fn envelope(api_version: &str, kind: &str, message: &[u8]) -> Bytes {
    let mut out = envelope_start(api_version, kind, message.len());
    out.extend_from_slice(message);
    out.extend_from_slice(ENVELOPE_END);
    out.into()
}

/// The start of a length-delimited field: of a list's item, say.
pub fn put_field_start(out: &mut BytesMut, number: u32, length: usize) {
    for mut value in [u64::from(number) << 3 | Kind::Bytes as u64, length as u64] {
        while value >= 0x80 {
            out.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        out.put_u8(value as u8);
    }
}

/// Bytes that [`put_field_start`] writes.
pub fn field_start_bytes(number: u32, length: usize) -> usize {
    varint_len(u64::from(number) << 3) + varint_len(length as u64)
}

/// The message in an envelope that [`envelope`] has made.
///
/// # Errors
/// If it is none.
pub fn message_of(envelope: &Bytes) -> Result<Bytes, Error> {
    let rest = envelope.strip_prefix(MAGIC).ok_or(Error::Truncated)?;
    Ok(envelope.slice_ref(Envelope::open(rest)?.raw))
}

/// A frame of a watch: four bytes of length, then an event that holds the object in its envelope.
pub fn watch_frame(change: &str, object: &[u8]) -> Bytes {
    let raw = size_of_bytes(1, object.len());
    let length = size_of_bytes(1, change.len()) + size_of_bytes(2, raw);
    let mut out = Vec::with_capacity(length + 4);
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    put_bytes(&mut out, 1, change.as_bytes());
    put_varint(&mut out, 2 << 3 | Kind::Bytes as u64);
    put_varint(&mut out, raw as u64);
    put_bytes(&mut out, 1, object);
    debug_assert!(varint_len(length as u64) <= 5);
    out.into()
}

/// The message of an object of type `root`, from its JSON.
///
/// # Errors
/// [`Error::Object`].
pub fn encode(schema: &Schema, root: StructId, json: &[u8]) -> Result<Vec<u8>, Error> {
    let mut json = serde_json::Deserializer::from_slice(json);
    encode::message(schema, root, &mut json).map_err(|e| Error::Object(e.to_string()))
}

/// [`encode`] of a value.
///
/// # Errors
/// [`Error::Object`].
pub fn encode_value(schema: &Schema, root: StructId, value: &Value) -> Result<Vec<u8>, Error> {
    // By its text, so that numbers in raw JSON are written as they are there.
    encode(schema, root, &crate::codec::encode(value))
}

/// The object that a message of type `root` is, without `kind` and `apiVersion`.
///
/// # Errors
/// When the bytes are no such message.
pub fn decode(schema: &Schema, root: StructId, message: &[u8]) -> Result<Value, Error> {
    decode::message(schema, root, message)
}
