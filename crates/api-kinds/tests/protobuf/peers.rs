//! The same messages, read and written by types that others have generated from upstream's definitions.

use super::generate::Maker;
use super::types::peers;
use api_core::Gvk;
use api_kinds::{message_type_of, schema};
use api_schema::normalize::normalize;
use api_schema::protobuf;
use proptest::prelude::*;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Fields that v1.30 has and later versions, which the peers are of, have dropped.
const DROPPED: [&str; 1] = [".resourceClaims[].source"];

#[test]
fn every_built_in_kind_has_its_peer() {
    let peers = peers();
    // Lists are messages of their items; these are in every group.
    let shared = |kind: &&Gvk| kind.kind.ends_with("List") || ["DeleteOptions", "WatchEvent"].contains(&&*kind.kind);
    let alone: Vec<String> = schema()
        .kinds
        .keys()
        .filter(|kind| !shared(kind) && !peers.iter().any(|(peer, _)| peer == *kind))
        .map(|kind| format!("{} {}", kind.api_version(), kind.kind))
        .collect();
    // The machinery's own kinds have no generated type.
    assert_eq!(alone, ["v1 APIGroup", "v1 APIVersions", "v1 Status", "resource.k8s.io/v1alpha2 Status"]);
}

/// The places where two values differ.
fn differences(ours: &Value, theirs: &Value, path: &str, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let of = |object: &Map<String, Value>| object.get(key).cloned().unwrap_or_default();
                differences(&of(a), &of(b), &format!("{path}.{key}"), found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).for_each(|(a, b)| differences(a, b, &format!("{path}[]"), found));
        }
        _ if ours == theirs => {}
        _ => found.push(format!("{path}: {ours} is {theirs}")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn others_read_what_we_write_and_we_read_what_they_write(seed in 1u64..) {
        let mut maker = Maker(seed);
        for (kind, through) in peers() {
            let root = message_type_of(&kind).expect("a type");
            let mut object = maker.object(root, 0);
            normalize(schema(), root, &mut object);
            let ours = protobuf::encode_value(schema(), root, &object).expect("it has its type");
            let theirs = match through(&ours) {
                Ok(theirs) => theirs,
                Err(error) => return Err(TestCaseError::fail(format!("{kind:?}: {error}"))),
            };
            let read = protobuf::decode(schema(), root, &theirs).expect("what they wrote can be read");
            let mut found = Vec::new();
            differences(&object, &read, "", &mut found);
            found.retain(|place| !DROPPED.iter().any(|dropped| place.contains(dropped)));
            prop_assert!(found.is_empty(), "{:?} {:?}", kind, found);
        }
    }
}
