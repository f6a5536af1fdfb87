//! Objects as a real API server answered and stored them: they are already pruned and normalised, so decoding one must
//! give it back unchanged.

use api_core::Gvr;
use api_core::gvk::split_api_version;
use api_kinds::{resource, rows};
use api_schema::codec::{FieldValidation, Media, decode, decode_as, encode};
use api_schema::normalize::normalize;
use api_schema::row::WriteContext;
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
        normalize(row.schema(), row.root(), &mut again);
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

/// What a server adds that is not of the kind's own rules: allocation, admission, controllers, the store.
const ADDED_ELSEWHERE: [(&str, &[&str]); 9] = [
    ("", &[".metadata"]),
    ("Pod", &[".spec.containers", ".spec.volumes", ".spec.tolerations", ".spec.priority", ".spec.preemptionPolicy"]),
    ("Pod", &[".spec.serviceAccount", ".spec.serviceAccountName"]),
    ("Service", &[".spec.clusterIP", ".spec.clusterIPs", ".spec.ipFamilies", ".spec.ipFamilyPolicy"]),
    ("Node", &[".spec.taints"]),
    ("Job", &[".spec.selector", ".spec.template.metadata"]),
    ("PersistentVolume", &[".status"]),
    ("CertificateSigningRequest", &[".spec.username", ".spec.groups", ".spec.uid"]),
    ("CustomResourceDefinition", &[".status"]),
];

fn differences(path: &str, want: &Value, got: &Value, out: &mut Vec<String>) {
    match (want, got) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|k| !a.contains_key(*k))) {
                let (a, b) = (a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null));
                differences(&format!("{path}.{key}"), a, b, out);
            }
        }
        (a, b) if a != b => out.push(path.to_owned()),
        _ => {}
    }
}

#[test]
fn a_request_becomes_its_answer() {
    let context = WriteContext { now_unix_s: 1_767_225_600, user: "tester", ..WriteContext::default() };
    let mut failures = Vec::new();
    for object in recorded() {
        let row = resource(&gvr(&object)).unwrap();
        let body = object["request"].to_string();
        let mut value = decode(row, body.as_bytes(), Media::Json, FieldValidation::Strict).unwrap().value;
        if let Some(default) = row.hooks.default {
            default(&mut value);
        }
        if let Some(prepare) = row.hooks.prepare_create {
            prepare(&context, &mut value);
        }
        normalize(row.schema(), row.root(), &mut value);
        let mut answer = object["answer"].clone();
        empty_is_null(&mut answer);
        let mut found = Vec::new();
        differences("", &answer, &value, &mut found);
        let kind = row.kind.kind.as_str();
        let added = ADDED_ELSEWHERE.iter().filter(|(k, _)| k.is_empty() || *k == kind).flat_map(|(_, paths)| *paths);
        let added: Vec<&str> = added.copied().collect();
        found.retain(|path| !added.iter().any(|a| path == a || path.starts_with(&format!("{a}."))));
        failures.extend(found.into_iter().map(|path| format!("{kind} {path}")));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_options_of_a_delete_may_come_in_any_group() {
    let options = api_core::Gvk::new("", "v1", "DeleteOptions");
    let body = br#"{"kind": "DeleteOptions", "apiVersion": "policy/v1", "gracePeriodSeconds": 0}"#;
    let schema = api_kinds::schema();
    let root = api_kinds::type_of(&options).unwrap();
    let got = decode_as(schema, root, &options, body, Media::Json, FieldValidation::Strict).unwrap();
    assert_eq!(got.value["gracePeriodSeconds"], 0);
}
