//! Messages of every built-in kind: that they come back, that they are what upstream writes, that nothing else gets by.

mod generate;
mod peers;
mod types;

use api_core::gvk::split_api_version;
use api_core::{Gvk, Gvr};
use api_kinds::{message_type_of, schema};
use api_schema::codec::{self, FieldValidation, Media};
use api_schema::normalize::normalize;
use api_schema::protobuf::{self, Envelope, Error, MAGIC};
use generate::Maker;
use proptest::prelude::*;
use serde_json::{Value, json};

fn kind_of(object: &Value) -> Gvk {
    let (group, version) = split_api_version(object["apiVersion"].as_str().unwrap_or(""));
    Gvk::new(group, version, object["kind"].as_str().unwrap_or(""))
}

/// An object in its envelope.
fn encode(object: &Value) -> Result<Vec<u8>, Error> {
    let kind = kind_of(object);
    let root = message_type_of(&kind).unwrap_or_else(|| panic!("{kind:?} has a type"));
    let message = protobuf::encode_value(schema(), root, object)?;
    Ok(protobuf::envelope(&kind.api_version(), &kind.kind, &message).to_vec())
}

fn decode(bytes: &[u8]) -> Result<Value, Error> {
    let envelope = Envelope::open(bytes.strip_prefix(MAGIC).expect("the envelope's start"))?;
    let (group, version) = split_api_version(envelope.api_version);
    let kind = Gvk::new(group, version, envelope.kind);
    let root = message_type_of(&kind).unwrap_or_else(|| panic!("{kind:?} has a type"));
    let mut value = protobuf::decode(schema(), root, envelope.raw)?;
    value["apiVersion"] = envelope.api_version.into();
    value["kind"] = envelope.kind.into();
    Ok(value)
}

/// Read from the store by number; in JSON a field of theirs had another name.
const RENAMED: [&str; 2] = ["flowcontrol.apiserver.k8s.io/v1beta1", "flowcontrol.apiserver.k8s.io/v1beta2"];

/// Data of a ControllerRevision is any JSON, and an empty list is not nothing.
#[test]
fn raw_json_is_kept_whatever_it_is() {
    let row = api_kinds::resource(&Gvr::new("apps", "v1", "controllerrevisions")).expect("a row");
    for data in [json!([]), json!({}), json!(""), json!(0), json!(false), json!([[]]), Value::Null] {
        let body = json!({"kind": "ControllerRevision", "apiVersion": "apps/v1", "data": data}).to_string();
        let decoded = codec::decode(row, body.as_bytes(), Media::Json, FieldValidation::Strict).expect("an object");
        assert_eq!(decoded.value["data"], data);
        assert_eq!(decode(&encode(&decoded.value).expect("a message")).expect("a message"), decoded.value);
    }
}

/// A schema or a list of them that is an empty list is neither, whichever way it is read.
#[test]
fn an_empty_list_in_place_of_a_schema_is_none() {
    let row = api_kinds::resource(&api_kinds::custom::definitions()).expect("a row");
    let schema = json!({"items": [], "dependencies": {"a": [], "b": ["c"]}});
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
    let body = json!({"kind": "CustomResourceDefinition", "spec": {"versions": [version]}}).to_string();
    let decoded = codec::decode(row, body.as_bytes(), Media::Json, FieldValidation::Strict).expect("an object");
    let read = decoded.value.pointer("/spec/versions/0/schema/openAPIV3Schema");
    assert_eq!(read, Some(&json!({"dependencies": {"a": null, "b": ["c"]}})));
    assert_eq!(decode(&encode(&decoded.value).expect("a message")).expect("a message"), decoded.value);
}

/// Upstream's own samples of every kind, each in JSON and protobuf, if they are at hand: `NAME.json` and `NAME.pb` in the
/// directory that `MAINSTAY_PROTOBUF_SAMPLES` names.
#[test]
fn upstreams_samples_are_written_and_read_to_the_byte() {
    let Ok(dir) = std::env::var("MAINSTAY_PROTOBUF_SAMPLES") else { return };
    let (mut checked, mut wrong) = (0, Vec::new());
    for entry in std::fs::read_dir(dir).expect("samples") {
        let path = entry.expect("entry").path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let json = std::fs::read(&path).expect("json");
        let object: Value = serde_json::from_slice(&json).expect("json");
        let Some(root) = message_type_of(&kind_of(&object)) else { continue };
        if RENAMED.contains(&object["apiVersion"].as_str().unwrap_or("")) {
            continue;
        }
        checked += 1;
        let expected = std::fs::read(path.with_extension("pb")).expect("protobuf");
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut whole = object.clone();
        normalize(schema(), root, &mut whole);
        match decode(&expected) {
            Ok(read) if read == whole => {}
            Ok(read) => wrong.push(format!("{name} is read as\n{read}\nnot\n{whole}")),
            Err(error) => wrong.push(format!("{name}: {error}")),
        }
        match encode(&object) {
            Ok(written) if written == expected => {}
            Ok(_) => wrong.push(format!("{name} is written otherwise")),
            Err(error) => wrong.push(format!("{name}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{} of {checked}: {}", wrong.len(), wrong.join("\n"));
    assert!(checked > 50, "only {checked} samples");
}

/// What a real server answered to the creation of each kind.
#[test]
fn answers_of_a_real_server_come_back() {
    let recorded: Value = serde_json::from_str(include_str!("../../testdata/create-and-store.json")).expect("json");
    for case in recorded.as_array().expect("cases") {
        let mut object = case["answer"].clone();
        let read = decode(&encode(&object).expect("it has its type")).expect("what was written can be read");
        // An empty list that is always there cannot be told from none.
        normalize(schema(), message_type_of(&kind_of(&object)).expect("type"), &mut object);
        assert_eq!(read, object, "{}", case["resource"]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn objects_of_every_kind_come_back(seed in 1u64..) {
        let mut maker = Maker(seed);
        for (kind, root) in schema().kinds.iter().chain(&schema().wire_kinds) {
            let mut object = maker.object(*root, 0);
            normalize(schema(), *root, &mut object);
            let message = protobuf::encode_value(schema(), *root, &object).expect("it has its type");
            let from_json = protobuf::encode(schema(), *root, object.to_string().as_bytes());
            prop_assert_eq!(from_json.as_deref(), Ok(message.as_slice()), "{:?}", kind);
            let read = protobuf::decode(schema(), *root, &message).expect("what was written can be read");
            prop_assert_eq!(&read, &object, "{:?}", kind);
        }
    }

    #[test]
    fn what_is_broken_is_refused_or_read_and_never_panics(
        seed in 1u64..,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        noise in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut maker = Maker(seed);
        for kind in [Gvk::new("", "v1", "Pod"), Gvk::new("apiextensions.k8s.io", "v1", "CustomResourceDefinition")] {
            let root = message_type_of(&kind).expect("type");
            let mut message = protobuf::encode_value(schema(), root, &maker.object(root, 0)).expect("message");
            message.push(0);
            for (at, byte) in &damage {
                let at = at.index(message.len());
                message[at] = *byte;
            }
            for bytes in [&message, &noise] {
                if let Ok(read) = protobuf::decode(schema(), root, bytes) {
                    let again = protobuf::encode_value(schema(), root, &read).expect("what was read can be written");
                    prop_assert_eq!(protobuf::decode(schema(), root, &again), Ok(read));
                }
            }
            prop_assert!(Envelope::open(&noise).is_ok() || !noise.is_empty());
        }
    }
}

/// Bytes that were checked against the published field numbers with another decoder.
#[test]
fn messages_have_the_bytes_that_they_should() {
    let cases = [
        (
            json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}, "data": {"k": "v", "b": ""},
                "binaryData": {"x": "AQI="}, "immutable": false}),
            "6b3873000a0f0a02763112 09436f6e6669674d6170 122d 0a11 0a0161 1200 1a00 2200 2a00 3200 3800 4200 \
             1205 0a0162 1200 1206 0a016b 120176 1a07 0a0178 12020102 2000 1a00 2200",
        ),
        (
            json!({"kind": "PodDisruptionBudget", "apiVersion": "policy/v1", "metadata": {}, "spec":
                {"minAvailable": "50%", "maxUnavailable": 1, "selector": {}}, "status": {"currentHealthy": -1,
                "disruptedPods": {"p": "1970-01-01T00:00:10Z"}}}),
            "6b387300 0a200a09706f6c6963792f7631 1213506f6444697372757074696f6e427564676574 1249 0a100a0012001a0022002a003200380042001215 \
             0a09080110001a03353025 1200 1a06080010011a00 1a1e 0800 12090a01701204080a1000 1800 20ffffffffffffffffff01 28003000 1a002200",
        ),
    ];
    for (object, expected) in cases {
        let written: String = encode(&object).expect("message").iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(written, expected.replace(char::is_whitespace, ""), "{object}");
    }
}

#[test]
fn nesting_has_an_end() {
    let root = message_type_of(&Gvk::new("apiextensions.k8s.io", "v1", "CustomResourceDefinition")).expect("type");
    let mut schema_message = Vec::new();
    for _ in 0..200 {
        // `not`, a schema in a schema.
        schema_message = [vec![0xe2, 0x01], varint(schema_message.len()), schema_message].concat();
    }
    for number in [[0x0a], [0x1a]] {
        // versions → schema → openAPIV3Schema of the spec
        let tag = if number == [0x0a] { vec![0x0a] } else { vec![0x22] };
        schema_message = [tag, varint(schema_message.len()), schema_message].concat();
    }
    schema_message = [vec![0x3a], varint(schema_message.len()), schema_message].concat();
    schema_message = [vec![0x12], varint(schema_message.len()), schema_message].concat();
    assert_eq!(protobuf::decode(schema(), root, &schema_message), Err(Error::Depth));
}

fn varint(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}
