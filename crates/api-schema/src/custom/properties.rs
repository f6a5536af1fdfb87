//! Any schema with any value: nothing panics, and what is done twice is done once.

use super::structural::Structural;
use super::{lists, pattern, prune, validate};
use api_core::field::{Errors, Path};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const NAMES: [&str; 4] = ["a", "b", "metadata", "kind"];

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|f| json!(f)),
        "[a-z0-9.:/-]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let fields = prop::collection::vec((prop::sample::select(&NAMES[..]), inner.clone()), 0..4);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            fields.prop_map(|f| f.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Map<_, _>>().into()),
        ]
    })
}

/// Keywords that say something of one value.
fn keyword() -> impl Strategy<Value = (&'static str, Value)> {
    let number = prop_oneof![any::<i64>().prop_map(Value::from), any::<f64>().prop_map(|f| json!(f))];
    let count = (0u64..4).prop_map(Value::from);
    prop_oneof![
        prop::sample::select(vec!["string", "integer", "number", "boolean", "array", "object", ""])
            .prop_map(|t| ("type", t.into())),
        prop::sample::select(vec!["date-time", "uuid4", "isbn", "duration", "cidr", "x"])
            .prop_map(|f| ("format", f.into())),
        (prop::sample::select(vec!["minimum", "maximum", "multipleOf"]), number),
        (
            prop::sample::select(vec![
                "minLength",
                "maxLength",
                "minItems",
                "maxItems",
                "minProperties",
                "maxProperties"
            ]),
            count
        ),
        prop::sample::select(vec![
            "nullable",
            "uniqueItems",
            "exclusiveMinimum",
            "x-kubernetes-preserve-unknown-fields",
            "x-kubernetes-embedded-resource",
            "x-kubernetes-int-or-string"
        ])
        .prop_map(|f| (f, true.into())),
        prop::sample::select(vec!["set", "map", "atomic"]).prop_map(|t| ("x-kubernetes-list-type", t.into())),
        Just(("x-kubernetes-list-map-keys", json!(["a"]))),
        Just(("required", json!(["a", "b"]))),
        prop::collection::vec(any_value(), 0..3).prop_map(|v| ("enum", v.into())),
        any_value().prop_map(|v| ("default", v)),
        any::<bool>().prop_map(|b| ("additionalProperties", b.into())),
    ]
}

fn any_schema() -> impl Strategy<Value = Value> {
    let leaf = prop::collection::vec(keyword(), 0..5)
        .prop_map(|k| k.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Map<_, _>>());
    let leaf = leaf.prop_map(Value::from);
    leaf.prop_recursive(3, 24, 4, |inner| {
        let place =
            prop::sample::select(vec!["items", "additionalProperties", "not", "anyOf", "oneOf", "allOf", "a", "b"]);
        let parts = prop::collection::vec((place, inner.clone()), 0..4);
        (inner, parts).prop_map(|(mut schema, parts)| {
            for (place, part) in parts {
                match place {
                    "a" | "b" => schema["properties"][place] = part,
                    "items" | "additionalProperties" | "not" => schema[place] = part,
                    many => schema[many] = json!([part]),
                }
            }
            schema
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_object_can_be_put_in_order(schema in any_schema(), value in any_value(), old in any_value()) {
        let Ok(tree) = Structural::read(&schema) else { return Ok(()) };
        let mut object = value;
        prune::prune(&tree, &mut object, true);
        prune::drop_nulls(Some(&tree), &mut object);
        let pruned = object.clone();
        prop_assert!(prune::prune(&tree, &mut object, true).is_empty());
        prop_assert_eq!(&object, &pruned);
        prune::fill(&tree, &mut object);
        let filled = object.clone();
        prune::fill(&tree, &mut object);
        prop_assert_eq!(&object, &filled);
        let mut errors = Errors::new();
        validate::validate(&tree, &object, Some(&old), None, &mut errors);
        lists::validate(&tree, &object, &Path::ROOT, &mut errors);
        let mut none = Errors::new();
        validate::validate(&tree, &object, Some(&object), None, &mut none);
        prop_assert!(none.is_empty(), "what has not changed is not held against an update");
    }

    #[test]
    fn any_pattern_is_taken_or_refused(text in "[a\\[\\](){}|?*+^$.\\\\dwQE&~:,0-9<>-]{0,16}") {
        match pattern::compile(&text) {
            Ok(regex) => prop_assert!(regex.is_match("aab0") || !regex.is_match("aab0")),
            Err(why) => prop_assert!(why.starts_with("error parsing regexp: ")),
        }
    }
}
