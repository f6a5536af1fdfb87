//! Objects as a real API server answered and stored them: they are already pruned and normalised, so decoding one must
//! give it back unchanged.

use api_core::Gvr;
use api_core::gvk::split_api_version;
use api_kinds::{resource, rows};
use api_schema::codec::{FieldValidation, Media, decode, encode};
use api_schema::normalize::normalize;
use serde_json::Value;

fn recorded() -> Vec<Value> {
    serde_json::from_str(include_str!("../testdata/create-and-store.json")).unwrap()
}

fn gvr(object: &Value) -> Gvr {
    let (api_version, plural) = object["resource"].as_str().unwrap().rsplit_once('/').unwrap();
    let (group, version) = split_api_version(api_version);
    Gvr::new(group, version, plural)
}

/// The server of these facts stored JSON, which keeps an empty list; usually upstream stores protobuf, which does not.
fn empty_is_null(value: &mut Value) {
    match value {
        Value::Array(list) if list.is_empty() => *value = Value::Null,
        Value::Array(list) => list.iter_mut().for_each(empty_is_null),
        Value::Object(map) => map.values_mut().for_each(empty_is_null),
        _ => {}
    }
}

#[test]
fn an_answer_decodes_to_itself() {
    for object in recorded() {
        let row = resource(&gvr(&object)).unwrap();
        let mut answer = object["answer"].clone();
        empty_is_null(&mut answer);
        let answer = &answer;
        let body = serde_json::to_vec(answer).unwrap();
        let decoded = decode(row, &body, Media::Json, FieldValidation::Strict).unwrap();
        assert_eq!(&decoded.value, answer, "{:?}", row.gvr);
        let mut again = decoded.value.clone();
        normalize(&row.schema, row.root, &mut again);
        assert_eq!(again, decoded.value, "{:?}", row.gvr);
        assert_eq!(serde_json::from_slice::<Value>(&encode(&again)).unwrap(), again);
    }
}

#[test]
fn what_is_stored_lies_below_its_prefix_in_its_version() {
    for object in recorded() {
        let row = resource(&gvr(&object)).unwrap();
        let stored = &object["stored"];
        // Upstream stores some kinds in a version that it no longer serves.
        let of_old = stored["apiVersion"].as_str().unwrap().ends_with("v1beta1");
        let version = row.storage_version.api_version();
        assert_eq!(stored["apiVersion"] == version, !of_old, "{:?}", row.gvr);
        let name = stored["metadata"]["name"].as_str().unwrap();
        let key = match stored["metadata"]["namespace"].as_str() {
            Some(namespace) => format!("{}/{namespace}/{name}", row.storage_prefix),
            None => format!("{}/{name}", row.storage_prefix),
        };
        assert_eq!(object["etcdKey"], key);
    }
}

#[test]
fn every_kind_decodes_an_empty_object() {
    for row in rows() {
        let decoded = decode(row, b"{}", Media::Json, FieldValidation::Strict).unwrap();
        assert_eq!(decoded.value["kind"], row.kind.kind);
        let yaml = decode(row, b"kind: \"\"\n", Media::Yaml, FieldValidation::Strict).unwrap();
        assert_eq!(yaml.value, decoded.value);
    }
}
