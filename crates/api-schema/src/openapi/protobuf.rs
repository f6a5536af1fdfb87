//! OpenAPI v2 in the protobuf form that clients of Kubernetes ask for (gnostic's `openapi.v2.Document`).
//!
//! A message is a table of JSON keys and field numbers; the walk over a document knows none of them. Free values (defaults,
//! extensions) travel as text in YAML, of which JSON is a part. Must never know a kind by name.

use prost::encoding::{WireType, encode_key, encode_varint};
use serde_json::Value;

/// How the value of a key is written.
enum Kind {
    Text,
    Texts,
    Flag,
    Integer,
    Number,
    Any,
    Anys,
    One(&'static Message),
    Many(&'static Message),
    /// An object as pairs of `name` and `value`, which are that field of a message in between.
    Map(u32, &'static Message),
    /// An object of lists of text, as pairs in the same way.
    TextsMap,
    /// One text or several, in a message in between.
    TextsItem,
    /// A schema or a flag, in a message in between.
    SchemaOrFlag,
}

enum Message {
    /// Keys, and the field that takes the extensions (`x-…`), 0 if there is none.
    Fields(&'static [(&'static str, u32, Kind)], u32),
    /// One of several messages, in a field of its own.
    Choice(fn(&Value) -> (u32, &'static Message)),
}

static DOCUMENT: Message = Message::Fields(
    &[
        ("swagger", 1, Kind::Text),
        ("info", 2, Kind::One(&Message::Fields(&[("title", 1, Kind::Text), ("version", 2, Kind::Text)], 7))),
        ("consumes", 6, Kind::Texts),
        ("produces", 7, Kind::Texts),
        ("paths", 8, Kind::Map(2, &PATH)),
        ("definitions", 9, Kind::Map(1, &SCHEMA)),
        ("parameters", 10, Kind::Map(1, &PARAMETER)),
        ("security", 12, Kind::Many(&SECURITY)),
        ("securityDefinitions", 13, Kind::Map(1, &Message::Choice(|_| (2, &API_KEY)))),
    ],
    16,
);

static SECURITY: Message = Message::Fields(&[("", 1, Kind::TextsMap)], 0);

static API_KEY: Message = Message::Fields(
    &[("type", 1, Kind::Text), ("name", 2, Kind::Text), ("in", 3, Kind::Text), ("description", 4, Kind::Text)],
    5,
);

static PATH: Message = Message::Fields(
    &[
        ("get", 2, Kind::One(&OPERATION)),
        ("put", 3, Kind::One(&OPERATION)),
        ("post", 4, Kind::One(&OPERATION)),
        ("delete", 5, Kind::One(&OPERATION)),
        ("options", 6, Kind::One(&OPERATION)),
        ("head", 7, Kind::One(&OPERATION)),
        ("patch", 8, Kind::One(&OPERATION)),
        ("parameters", 9, Kind::Many(&PARAMETERS_ITEM)),
    ],
    10,
);

static OPERATION: Message = Message::Fields(
    &[
        ("tags", 1, Kind::Texts),
        ("description", 3, Kind::Text),
        ("operationId", 5, Kind::Text),
        ("produces", 6, Kind::Texts),
        ("consumes", 7, Kind::Texts),
        ("parameters", 8, Kind::Many(&PARAMETERS_ITEM)),
        ("responses", 9, Kind::Map(1, &RESPONSE_VALUE)),
        ("schemes", 10, Kind::Texts),
        ("deprecated", 11, Kind::Flag),
    ],
    13,
);

static RESPONSE_VALUE: Message =
    Message::Choice(|value| if value.get("$ref").is_some() { (2, &REFERENCE) } else { (1, &RESPONSE) });

static RESPONSE: Message =
    Message::Fields(&[("description", 1, Kind::Text), ("schema", 2, Kind::One(&Message::Choice(|_| (1, &SCHEMA))))], 5);

static REFERENCE: Message = Message::Fields(&[("$ref", 1, Kind::Text), ("description", 2, Kind::Text)], 0);

static PARAMETERS_ITEM: Message =
    Message::Choice(|value| if value.get("$ref").is_some() { (2, &REFERENCE) } else { (1, &PARAMETER) });

static PARAMETER: Message =
    Message::Choice(|value| if value["in"] == "body" { (1, &BODY_PARAMETER) } else { (2, &OTHER_PARAMETER) });

static BODY_PARAMETER: Message = Message::Fields(
    &[
        ("description", 1, Kind::Text),
        ("name", 2, Kind::Text),
        ("in", 3, Kind::Text),
        ("required", 4, Kind::Flag),
        ("schema", 5, Kind::One(&SCHEMA)),
    ],
    6,
);

static OTHER_PARAMETER: Message = Message::Choice(|value| match value["in"].as_str() {
    Some("header") => (1, &PLACED_PARAMETER),
    Some("path") => (4, &PLACED_PARAMETER),
    _ => (3, &QUERY_PARAMETER),
});

/// Of a path or a header.
static PLACED_PARAMETER: Message = Message::Fields(
    &[
        ("required", 1, Kind::Flag),
        ("in", 2, Kind::Text),
        ("description", 3, Kind::Text),
        ("name", 4, Kind::Text),
        ("type", 5, Kind::Text),
        ("format", 6, Kind::Text),
        ("default", 9, Kind::Any),
        ("uniqueItems", 19, Kind::Flag),
    ],
    22,
);

static QUERY_PARAMETER: Message = Message::Fields(
    &[
        ("required", 1, Kind::Flag),
        ("in", 2, Kind::Text),
        ("description", 3, Kind::Text),
        ("name", 4, Kind::Text),
        ("allowEmptyValue", 5, Kind::Flag),
        ("type", 6, Kind::Text),
        ("format", 7, Kind::Text),
        ("default", 10, Kind::Any),
        ("uniqueItems", 20, Kind::Flag),
    ],
    23,
);

static SCHEMA: Message = Message::Fields(
    &[
        ("$ref", 1, Kind::Text),
        ("format", 2, Kind::Text),
        ("title", 3, Kind::Text),
        ("description", 4, Kind::Text),
        ("default", 5, Kind::Any),
        ("multipleOf", 6, Kind::Number),
        ("maximum", 7, Kind::Number),
        ("exclusiveMaximum", 8, Kind::Flag),
        ("minimum", 9, Kind::Number),
        ("exclusiveMinimum", 10, Kind::Flag),
        ("maxLength", 11, Kind::Integer),
        ("minLength", 12, Kind::Integer),
        ("pattern", 13, Kind::Text),
        ("maxItems", 14, Kind::Integer),
        ("minItems", 15, Kind::Integer),
        ("uniqueItems", 16, Kind::Flag),
        ("maxProperties", 17, Kind::Integer),
        ("minProperties", 18, Kind::Integer),
        ("required", 19, Kind::Texts),
        ("enum", 20, Kind::Anys),
        ("additionalProperties", 21, Kind::SchemaOrFlag),
        ("type", 22, Kind::TextsItem),
        ("items", 23, Kind::One(&Message::Choice(|_| (1, &SCHEMA)))),
        ("allOf", 24, Kind::Many(&SCHEMA)),
        ("properties", 25, Kind::Map(1, &SCHEMA)),
        ("discriminator", 26, Kind::Text),
        ("readOnly", 27, Kind::Flag),
        ("example", 30, Kind::Any),
    ],
    31,
);

/// A v2 document, given as JSON, in protobuf.
pub fn protobuf(document: &Value) -> Vec<u8> {
    encode(&DOCUMENT, document)
}

fn encode(message: &Message, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    match message {
        Message::Choice(choose) => {
            let (number, chosen) = choose(value);
            bytes(&mut out, number, &encode(chosen, value));
        }
        Message::Fields(fields, extensions) => {
            for (key, number, kind) in *fields {
                let of_key = if key.is_empty() { Some(value) } else { value.get(*key) };
                if let Some(of_key) = of_key {
                    field(&mut out, *number, kind, of_key);
                }
            }
            for (key, extension) in value.as_object().into_iter().flatten() {
                if *extensions != 0 && key.starts_with("x-") {
                    bytes(&mut out, *extensions, &pair(key, &any(extension)));
                }
            }
        }
    }
    out
}

fn field(out: &mut Vec<u8>, number: u32, kind: &Kind, value: &Value) {
    match kind {
        Kind::Text => bytes(out, number, value.as_str().unwrap_or_default().as_bytes()),
        Kind::Texts => each(value).for_each(|item| bytes(out, number, item.as_str().unwrap_or_default().as_bytes())),
        Kind::Flag => {
            encode_key(number, WireType::Varint, out);
            encode_varint(u64::from(value.as_bool().unwrap_or_default()), out);
        }
        Kind::Integer => {
            encode_key(number, WireType::Varint, out);
            encode_varint(value.as_u64().unwrap_or_default(), out);
        }
        Kind::Number => {
            encode_key(number, WireType::SixtyFourBit, out);
            out.extend_from_slice(&value.as_f64().unwrap_or_default().to_le_bytes());
        }
        Kind::Any => bytes(out, number, &any(value)),
        Kind::Anys => each(value).for_each(|item| bytes(out, number, &any(item))),
        Kind::One(message) => bytes(out, number, &encode(message, value)),
        Kind::Many(message) => each(value).for_each(|item| bytes(out, number, &encode(message, item))),
        Kind::Map(entry, message) => {
            let mut map = Vec::new();
            for (key, item) in value.as_object().into_iter().flatten() {
                bytes(&mut map, *entry, &pair(key, &encode(message, item)));
            }
            bytes(out, number, &map);
        }
        Kind::TextsMap => {
            for (key, items) in value.as_object().into_iter().flatten() {
                bytes(out, number, &pair(key, &texts(items)));
            }
        }
        Kind::TextsItem => bytes(out, number, &texts(value)),
        Kind::SchemaOrFlag => {
            let mut item = Vec::new();
            match value {
                Value::Bool(_) => field(&mut item, 2, &Kind::Flag, value),
                schema => bytes(&mut item, 1, &encode(&SCHEMA, schema)),
            }
            bytes(out, number, &item);
        }
    }
}

/// A message whose only field is text, once or more often.
fn texts(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    match value {
        Value::String(text) => bytes(&mut out, 1, text.as_bytes()),
        many => field(&mut out, 1, &Kind::Texts, many),
    }
    out
}

fn each(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A free value.
fn any(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(&mut out, 2, value.to_string().as_bytes());
    out
}

fn pair(name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + value.len() + 8);
    bytes(&mut out, 1, name.as_bytes());
    bytes(&mut out, 2, value);
    out
}

fn bytes(out: &mut Vec<u8>, number: u32, content: &[u8]) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn messages_are_nested_by_their_numbers() {
        let document = json!({
            "swagger": "2.0",
            "definitions": {"a.B": {"type": "object", "properties": {"c": {"$ref": "#/definitions/D"}}, "x-e": {"f": 1}}},
        });
        let reference = b"\x0a\x0f#/definitions/D";
        let property = [b"\x0a\x01c\x12\x11".as_slice(), reference].concat();
        let properties = [b"\x0a\x16".as_slice(), &property].concat();
        let extension = b"\x0a\x03x-e\x12\x09\x12\x07{\"f\":1}";
        let schema =
            [b"\xb2\x01\x08\x0a\x06object".as_slice(), b"\xca\x01\x18", &properties, b"\xfa\x01\x10", extension]
                .concat();
        let named = [b"\x0a\x03a.B\x12".as_slice(), &[u8::try_from(schema.len()).expect("short")], &schema].concat();
        let map = [b"\x0a".as_slice(), &[u8::try_from(named.len()).expect("short")], &named].concat();
        let all = [b"\x0a\x032.0\x4a".as_slice(), &[u8::try_from(map.len()).expect("short")], &map].concat();
        assert_eq!(protobuf(&document), all);
    }

    #[test]
    fn parameters_are_told_apart_by_their_place() {
        let encoded = |value: &Value| encode(&PARAMETERS_ITEM, value)[..1].to_vec();
        assert_eq!(encoded(&json!({"$ref": "#/parameters/x"})), [0x12]);
        assert_eq!(encoded(&json!({"in": "body", "name": "body"})), [0x0a]);
        let query = encode(&PARAMETERS_ITEM, &json!({"in": "query", "name": "q"}));
        assert_eq!(query, b"\x0a\x0e\x12\x0c\x1a\x0a\x12\x05query\x22\x01q");
    }
}
