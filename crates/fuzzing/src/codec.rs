//! Bodies: JSON, YAML and protobuf of built-in kinds, and values as the store has them.

use crate::objects::{self, object, row_of};
use crate::source::parts;
use api_core::gvk::split_api_version;
use api_core::unicode::mended;
use api_core::{ApiError, Gvk};
use api_kinds::message_type_of;
use api_schema::codec::{FieldValidation, Media, decode, decode_value, encode};
use api_schema::normalize::{has_empty_list, normalize};
use api_schema::protobuf::{self, Envelope, MAGIC};
use api_schema::row::Row;
use serde::de::IgnoredAny;
use serde_json::Value;

/// A body in JSON: what is decoded is normal, decodes to itself, and is the same by way of a value.
pub fn json_object(data: &[u8]) {
    let unicode = mended(data);
    assert_eq!(unicode.as_deref().and_then(mended), None, "what is mended stays so");
    let data = unicode.as_deref().unwrap_or(data);
    let said = serde_json::from_slice::<Value>(data).ok();
    // Fields that nobody knows are looked through, but not read: numbers there may be of any size.
    if serde_json::from_slice::<IgnoredAny>(data).is_err() {
        // Broken text is worded as upstream words it; bodies of any kind fail alike.
        let row = &api_kinds::rows()[0];
        for fields in [FieldValidation::Ignore, FieldValidation::Strict] {
            assert!(decode(row, data, Media::Json, fields).is_err() || data.is_empty(), "{data:?} is an object");
        }
    }
    let (row, object) = object(data);
    let made = object.to_string();
    let body = if said.as_ref().and_then(row_of).is_some() { data } else { made.as_bytes() };
    check_body(row, body, &object);
}

fn check_body(row: &Row, body: &[u8], object: &Value) {
    let strict = decode(row, body, Media::Json, FieldValidation::Strict);
    let Ok(decoded) = decode(row, body, Media::Json, FieldValidation::Warn) else {
        assert!(strict.is_err(), "strict decoding accepts what lenient decoding does not");
        return;
    };
    assert_eq!(strict.is_ok(), decoded.warnings.is_empty());
    check_decoded(row, &decoded.value);
    let ignoring = decode(row, body, Media::Json, FieldValidation::Ignore).map(|d| d.value);
    assert_eq!(ignoring.as_ref().ok(), Some(&decoded.value));
    let from_value = decode_value(row, object.clone(), FieldValidation::Ignore).map(|d| d.value);
    assert_eq!(from_value.as_ref().ok(), Some(&decoded.value), "a value is decoded as its text is");
}

/// What was decoded is in the form that it is stored in.
fn check_decoded(row: &Row, value: &Value) {
    let again = decode(row, &encode(value), Media::Json, FieldValidation::Strict);
    // As it is written: a double without a fraction has none there, and is an integer to whoever reads it.
    assert_eq!(again.as_ref().map(|d| encode(&d.value)), Ok(encode(value)), "what was decoded decodes to itself");
    let mut normal = value.clone();
    normalize(row.schema(), row.root(), &mut normal);
    // An empty list is somebody's until the object is stored.
    assert!(has_empty_list(value) || normal == *value, "what was decoded is normal: {value}");
}

/// A body in YAML: what is decoded is normal; JSON is YAML and gives the same.
pub fn yaml_object(data: &[u8]) {
    let first = data.first().copied().unwrap_or(0);
    let row = &api_kinds::rows()[usize::from(first) % api_kinds::rows().len()];
    let said = serde_json::from_slice::<Value>(data).ok();
    let row = said.as_ref().and_then(row_of).unwrap_or(row);
    // Reading YAML takes far longer than all else, so each input is read in one way.
    let kind = format!("kind: {}\napiVersion: {}\n", row.kind.kind, row.kind.api_version());
    let body = if first % 2 == 1 { data.to_vec() } else { [kind.as_bytes(), data].concat() };
    match decode(row, &body, Media::Yaml, FieldValidation::Warn) {
        Ok(decoded) => check_decoded(row, &decoded.value),
        Err(_) => {
            let strict = decode(row, &body, Media::Yaml, FieldValidation::Strict);
            assert!(strict.is_err(), "strict decoding accepts what lenient decoding does not");
        }
    }
    let (row, object) = object(data);
    let Ok(mut decoded) = decode_value(row, object, FieldValidation::Ignore) else { return };
    unsign_zeros(&mut decoded.value);
    let json = encode(&decoded.value);
    let yaml = decode(row, &json, Media::Yaml, FieldValidation::Strict).map(|d| d.value);
    // YAML may be less deep, has fewer characters, and no keys of more than 1024 of them.
    let long = json.len() > 1024;
    let less = |e: &ApiError| {
        let says = |what| e.message.contains(what);
        says("epth") || says("control characters") || long && says("did not find expected")
    };
    let same = yaml.as_ref().is_ok_and(|yaml| encode(yaml) == json);
    assert!(same || yaml.as_ref().is_err_and(less), "JSON is YAML: {yaml:?}");
}

/// The integer `-0` is 0 in YAML, upstream's too; in JSON it keeps its sign.
fn unsign_zeros(value: &mut Value) {
    match value {
        Value::Number(n) if n.as_f64() == Some(0.0) => *n = 0.into(),
        Value::Array(items) => items.iter_mut().for_each(unsign_zeros),
        Value::Object(fields) => fields.values_mut().for_each(unsign_zeros),
        _ => {}
    }
}

/// An object that is written as a message and read again is the same, whichever way it is written.
pub fn protobuf_object(data: &[u8]) {
    let (row, object) = object(data);
    let Ok(decoded) = decode_value(row, object, FieldValidation::Ignore) else { return };
    let Some(root) = message_type_of(&row.kind) else { return };
    let schema = objects::all();
    let message = protobuf::encode_value(schema, root, &decoded.value);
    let from_json = protobuf::encode(schema, root, &encode(&decoded.value));
    assert_eq!(message, from_json, "a value and its text make the same message");
    let Ok(message) = message else { return };
    let read = protobuf::decode(schema, root, &message).unwrap_or_else(|e| panic!("{e}: {}", decoded.value));
    let again = protobuf::encode_value(schema, root, &read).unwrap_or_else(|e| panic!("{e}: {read}"));
    assert_eq!(again, message, "{} is read as {read}", decoded.value);
    let envelope = protobuf::envelope(&row.kind.api_version(), &row.kind.kind, &message);
    let body = decode(row, &envelope, Media::Protobuf, FieldValidation::Strict);
    let body = body.unwrap_or_else(|e| panic!("{}: {}", e.message, decoded.value));
    check_decoded(row, &body.value);
}

/// A message from a stranger, with its kind on the first line or in its envelope: what can be read can be written, and
/// that is read as the same.
pub fn protobuf_message(data: &[u8]) {
    if let Ok(envelope) = Envelope::open(data) {
        read_message(envelope.api_version, envelope.kind, envelope.raw);
        let bytes = protobuf::envelope(envelope.api_version, envelope.kind, envelope.raw);
        assert_eq!(Envelope::open(bytes.strip_prefix(MAGIC).unwrap_or_default()), Ok(envelope));
    }
    let [kind, message] = parts(data);
    let (api_version, kind) = std::str::from_utf8(kind).ok().and_then(|k| k.split_once(' ')).unwrap_or(("v1", "Pod"));
    read_message(api_version, kind, message);
}

fn read_message(api_version: &str, kind: &str, message: &[u8]) {
    let (group, version) = split_api_version(api_version);
    let Some(root) = message_type_of(&Gvk::new(group, version, kind)) else { return };
    let schema = objects::all();
    let Ok(read) = protobuf::decode(schema, root, message) else { return };
    let again = protobuf::encode_value(schema, root, &read).unwrap_or_else(|e| panic!("{e}: {read}"));
    assert_eq!(protobuf::decode(schema, root, &again).as_ref(), Ok(&read), "{read}");
}

/// A value of the store, as some server may have written it: what it becomes needs no further change.
pub fn stored_value(data: &[u8]) {
    let mut stored = data.to_vec();
    if let [b'~', rest @ ..] = data {
        stored = [MAGIC.as_slice(), rest].concat();
    }
    if let Ok(Some(value)) = api_kinds::stored::upgrade(&stored) {
        let again = api_kinds::stored::upgrade(&encode(&value)).unwrap_or_else(|e| panic!("{e}: {value}"));
        assert_eq!(again, None, "{value}");
    }
}
