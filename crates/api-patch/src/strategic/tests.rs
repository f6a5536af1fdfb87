//! Cases of strategic merge patches against a small schema.

use super::*;
use api_schema::schema::{Field, ListKind, MapShape, StructType};
use proptest::prelude::*;
use serde_json::json;

fn field(name: &str, shape: Shape) -> Field {
    Field {
        name: name.into(),
        shape,
        required: false,
        default: None,
        zero_is_absent: true,
        patch_replaces: name == "whole",
        number: 1,
    }
}

fn list(item: Shape, patch: ListPatch) -> Shape {
    Shape::List(Box::new(ListShape { item, kind: ListKind::Atomic, patch }))
}

/// 0: root, 1: item.
fn schema() -> Schema {
    let strings = |patch| list(Shape::String, patch);
    let fields = vec![
        field("atomic", strings(ListPatch::Replace)),
        field("items", list(Shape::Struct(1), ListPatch::Merge("name".into()))),
        field("map", Shape::Map(Box::new(MapShape { value: Shape::String, atomic: false }))),
        field("nested", Shape::Struct(0)),
        field("plain", list(Shape::Struct(1), ListPatch::Replace)),
        field("set", strings(ListPatch::Merge(String::new()))),
        field("whole", Shape::Struct(0)),
    ];
    let root = StructType { name: "x.Root".into(), fields: fields.into(), ..StructType::default() };
    let fields = vec![field("a", Shape::Int32), field("b", Shape::Int32), field("name", Shape::String)];
    let item = StructType { name: "x.Item".into(), fields: fields.into(), ..StructType::default() };
    Schema { structs: vec![root, item], ..Schema::default() }
}

fn merged(original: Value, patch: Value) -> Result<Value, (u16, String)> {
    strategic_merge(&schema(), 0, original, &patch).map_err(|e| (e.code, e.message))
}

#[test]
fn directives() {
    let item = |name: &str, a: i64| json!({"name": name, "a": a});
    let two = || json!({"items": [item("x", 1), item("y", 2)]});
    let cases = [
        (json!({"map": {"a": "1"}}), json!({"map": {"b": "2", "a": null}}), json!({"map": {"b": "2"}})),
        (json!({"map": {"a": "1"}}), json!({"map": {"$patch": "replace", "c": "3"}}), json!({"map": {"c": "3"}})),
        (json!({"map": {"a": "1"}}), json!({"map": {"$patch": "delete"}}), json!({"map": {}})),
        (json!({}), json!({"map": {"$patch": "delete"}}), json!({})),
        (json!({"atomic": ["a"]}), json!({"atomic": ["b"]}), json!({"atomic": ["b"]})),
        (json!({"set": ["a", "b"]}), json!({"set": ["c", "a"]}), json!({"set": ["c", "a", "b"]})),
        (json!({"set": ["a", "b"]}), json!({"$deleteFromPrimitiveList/set": ["a"]}), json!({"set": ["b"]})),
        (json!({}), json!({"$deleteFromPrimitiveList/set": ["a"]}), json!({})),
        (
            two(),
            json!({"items": [{"name": "y", "b": 3}]}),
            json!({"items": [item("x", 1), {"name": "y", "a": 2, "b": 3}]}),
        ),
        (two(), json!({"items": [item("z", 0)]}), json!({"items": [item("z", 0), item("x", 1), item("y", 2)]})),
        (two(), json!({"items": [{"name": "x", "$patch": "delete"}]}), json!({"items": [item("y", 2)]})),
        (two(), json!({"items": [{"$patch": "replace"}, item("z", 0)]}), json!({"items": [item("z", 0)]})),
        (
            two(),
            json!({"$setElementOrder/items": [{"name": "y"}, {"name": "z"}, {"name": "x"}], "items": [item("z", 0)]}),
            json!({"items": [item("y", 2), item("z", 0), item("x", 1)]}),
        ),
        (
            two(),
            json!({"$setElementOrder/items": [{"name": "y"}, {"name": "x"}]}),
            json!({"items": [item("y", 2), item("x", 1)]}),
        ),
        (
            json!({"set": ["a", "b", "c"]}),
            json!({"$setElementOrder/set": ["c", "d", "a"], "set": ["d"]}),
            json!({"set": ["b", "c", "d", "a"]}),
        ),
        (
            json!({"nested": {"map": {}, "set": ["a"]}}),
            json!({"nested": {"$retainKeys": ["set"], "set": ["b"]}}),
            json!({"nested": {"set": ["b", "a"]}}),
        ),
        // Replaced as a whole, with all that is in the patch.
        (
            json!({"whole": {"set": ["a"], "map": {"k": "v"}}}),
            json!({"whole": {"map": {"$patch": "delete"}}}),
            json!({"whole": {"map": {"$patch": "delete"}}}),
        ),
        (json!({"set": ["a"]}), json!({"$deleteFromPrimitiveList/set": null}), json!({})),
        (two(), json!({"$deleteFromPrimitiveList/items": []}), two()),
        // The order goes unread once the patch has come to its end.
        (
            two(),
            json!({"$setElementOrder/items": [{"name": "y"}, {"name": "x"}], "items": [{"name": "y", "$patch": "delete"}]}),
            json!({"items": [item("x", 1)]}),
        ),
        (json!({}), json!({"nested": {"map": {"a": null, "b": "1"}}}), json!({"nested": {"map": {"b": "1"}}})),
        (
            json!({}),
            json!({"items": [{"name": "x", "$patch": "delete"}, item("y", 1)]}),
            json!({"items": [item("y", 1)]}),
        ),
    ];
    for (original, patch, expected) in cases {
        assert_eq!(merged(original, patch.clone()), Ok(expected), "{patch}");
    }
}

#[test]
fn errors() {
    let items = || json!({"items": [{"name": "x"}]});
    let cases = [
        (items(), json!({"items": [{"a": 1}]}), 500, "map: map[a:1] does not contain declared merge key: name"),
        (
            items(),
            json!({"items": [{"name": "x", "$patch": "delete", "a": 1}, {"name": "y", "$patch": "x"}]}),
            500,
            "unknown patch type: x in map: map[$patch:x name:y]",
        ),
        (items(), json!({"$patch": "merge"}), 500, "unknown patch type: merge in map: map[$patch:merge]"),
        (items(), json!({"$retainKeys": "items"}), 400, "invalid patch format of retainKeys"),
        (items(), json!({"$retainKeys": ["map"], "set": ["a"]}), 400, "invalid patch format of retainKeys"),
        (items(), json!({"$deleteFromPrimitiveList": ["a"]}), 400, "invalid patch format of primitive list"),
        (items(), json!({"$setElementOrder/items": "x"}), 500, "expected a []interface {}, but received a string"),
        (
            items(),
            json!({"$setElementOrder/none": []}),
            500,
            "unable to find api field in struct Root for the json field \"none\"",
        ),
        (
            json!({"set": ["a", "b"]}),
            json!({"$deleteFromPrimitiveList/set": [1]}),
            500,
            "list element types are not identical: [[a b] [1]]",
        ),
        (items(), json!({"$setElementOrder/items": [{}]}), 500, "map: map[] does not contain declared merge key: name"),
        (
            items(),
            json!({"$setElementOrder/items": [{"a": 1}, {"name": "x"}], "items": [{"name": "x"}]}),
            500,
            "map: map[a:1] does not contain declared merge key: name",
        ),
        (json!({}), json!({"$setElementOrder/items": [], "items": []}), 500, "no elements in any of the given slices"),
        (json!({"set": []}), json!({"set": [{"name": "x"}]}), 500, "cannot merge lists without merge key for string"),
        (
            json!({"map": {"k": ["a"]}}),
            json!({"map": {"k": ["b"]}}),
            500,
            "merging an object in json but data type is not struct, instead is: map",
        ),
        (
            json!({"set": [["a"]]}),
            json!({"set": [["a"]]}),
            422,
            "the server rejected our request due to an error in our request",
        ),
        (items(), json!([]), 400, "invalid JSON document"),
        (
            items(),
            json!({"$setElementOrder/items": [{"name": "y"}], "items": [{"name": "z"}]}),
            500,
            "The order in patch list:\n[map[name:z]]\n doesn't match $setElementOrder list:\n[map[name:y]]\n",
        ),
    ];
    for (original, patch, code, message) in cases {
        assert_eq!(merged(original, patch.clone()), Err((code, message.to_owned())), "{patch}");
    }
}

/// So with conditions of one type and owners of one uid: upstream, too, takes a list that was not there as it is.
#[test]
fn items_of_one_key_stay_apart_only_where_there_was_no_list() {
    let patch = json!({"items": [{"name": "x", "a": 1}, {"name": "x", "b": 2}]});
    let once = merged(json!({}), patch.clone()).unwrap();
    assert_eq!(once, patch);
    let twice = merged(once, patch).unwrap();
    assert_eq!(twice, json!({"items": [{"name": "x", "a": 1, "b": 2}, {"name": "x", "b": 2}]}));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![Just(json!(null)), Just(json!(1)), Just(json!("x")), Just(json!("replace")), Just(json!("delete"))];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let key = "items|set|map|nested|atomic|name|\\$patch|\\$retainKeys|\\$setElementOrder/(items|set)|\\$deleteFromPrimitiveList/(set|items)";
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::btree_map(key, inner, 0..4).prop_map(|m| m.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn never_panics(original in any_json(), patch in any_json()) {
        let is_object = original.is_object() && patch.is_object();
        prop_assert!(merged(original, patch).map_or_else(|e| e.0 >= 400, |v| v.is_object() && is_object));
    }
}
