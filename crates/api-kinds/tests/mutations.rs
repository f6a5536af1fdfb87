//! Recorded requests with a value replaced at random: decoding never panics, and what it lets through is normal.

use api_core::Gvr;
use api_core::gvk::split_api_version;
use api_kinds::resource;
use api_schema::codec::{FieldValidation, Media, decode, decode_value, encode};
use api_schema::normalize::normalize;
use api_schema::row::Row;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;

static REQUESTS: LazyLock<Vec<(&'static Row, Value)>> = LazyLock::new(|| {
    let recorded: Vec<Value> = serde_json::from_str(include_str!("../testdata/create-and-store.json")).unwrap();
    let request = |object: &Value| {
        let (api_version, plural) = object["resource"].as_str().unwrap().rsplit_once('/').unwrap();
        let (group, version) = split_api_version(api_version);
        let row: &Row = resource(&Gvr::new(group, version, plural)).unwrap();
        (row, object["answer"].clone())
    };
    recorded.iter().map(request).collect()
});

/// What a body is that is no object; nothing at all is an empty one.
#[test]
fn a_body_that_is_no_object_is_refused_in_every_language() {
    let row: &Row = resource(&Gvr::new("", "v1", "configmaps")).unwrap();
    for (body, what) in
        [("[]", "array"), ("[{}]", "array"), ("1", "number"), ("-1.5", "number"), ("\"x\"", "string"), ("true", "bool")]
    {
        let value = decode_value(row, serde_json::from_str(body).unwrap(), FieldValidation::Ignore);
        let read = |media| decode(row, body.as_bytes(), media, FieldValidation::Ignore);
        for result in [read(Media::Json), read(Media::Yaml), value] {
            let why = result.map(|d| d.value).unwrap_err().message;
            assert!(
                why.contains(&format!("json: cannot unmarshal {what} into Go value of type struct {{ APIVersion")),
                "{why}"
            );
        }
    }
    let empty = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"creationTimestamp": null}});
    for media in [Media::Json, Media::Yaml] {
        assert_eq!(decode(row, b"null", media, FieldValidation::Strict).unwrap().value, empty);
    }
}

/// Replaces the value that is reached by taking, level by level, the child with this number.
fn replace(value: &mut Value, way: &[usize], with: Value) {
    let Some((first, rest)) = way.split_first() else {
        *value = with;
        return;
    };
    let child = match value {
        Value::Object(map) if !map.is_empty() => {
            let at = first % map.len();
            map.values_mut().nth(at)
        }
        Value::Array(list) if !list.is_empty() => {
            let at = first % list.len();
            list.get_mut(at)
        }
        _ => None,
    };
    match child {
        Some(child) => replace(child, rest, with),
        None => *value = with,
    }
}

fn anything() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!({})),
        Just(json!([])),
        Just(json!([null])),
        Just(json!({"a": null})),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-2i64..9).prop_map(Value::from),
        (-900i32..900).prop_map(|n| json!(f64::from(n) / 8.0)),
        "[a-z0-9:.]{0,12}".prop_map(Value::from),
        Just(json!("2026-01-01T00:00:00Z")),
        Just(json!("1Gi")),
        Just(json!("QUJD")),
        Just(json!([{"name": "x", "unknown": 1}])),
    ]
}

/// Whether a decoded object is normal, but for empty lists that its author gave where nothing is written as null, and empty
/// managed fields, which ask for those of the object to be forgotten.
fn same_but_for_empty_lists(normal: &Value, decoded: &Value) -> bool {
    match (normal, decoded) {
        (Value::Null, Value::Array(list)) => list.is_empty(),
        (Value::Object(a), Value::Object(b)) => {
            let asks = |k: &str, v: &Value| k == "managedFields" && *v == json!([]) && !a.contains_key(k);
            b.iter().filter(|(k, v)| !asks(k, v)).count() == a.len()
                && a.iter().all(|(k, v)| b.get(k).is_some_and(|w| same_but_for_empty_lists(v, w)))
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(v, w)| same_but_for_empty_lists(v, w))
        }
        _ => normal == decoded,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_decodes_is_normal(kind in any::<usize>(), way in prop::collection::vec(0usize..12, 1..7), with in anything()) {
        let (row, request) = &REQUESTS[kind % REQUESTS.len()];
        let mut object = request.clone();
        replace(&mut object, &way, with);
        let body = object.to_string();
        let strict = decode(row, body.as_bytes(), Media::Json, FieldValidation::Strict);
        let Ok(decoded) = decode(row, body.as_bytes(), Media::Json, FieldValidation::Warn) else {
            prop_assert!(strict.is_err());
            return Ok(());
        };
        prop_assert_eq!(strict.is_ok(), decoded.warnings.is_empty());
        let again = decode(row, &encode(&decoded.value), Media::Json, FieldValidation::Strict).unwrap();
        // By what is served: numbers in raw values lose a fraction of zero on their way.
        prop_assert_eq!(encode(&again.value), encode(&decoded.value));
        let mut normal = decoded.value.clone();
        normalize(row.schema(), row.root(), &mut normal);
        prop_assert!(same_but_for_empty_lists(&normal, &decoded.value), "{normal} {}", decoded.value);
        let from_value = decode_value(row, object, FieldValidation::Warn).unwrap();
        prop_assert_eq!(&from_value.value, &decoded.value);
        prop_assert_eq!(from_value.warnings, decoded.warnings);
        let once_more = decode_value(row, decoded.value, FieldValidation::Strict).unwrap();
        prop_assert_eq!(encode(&once_more.value), encode(&again.value));
    }
}
