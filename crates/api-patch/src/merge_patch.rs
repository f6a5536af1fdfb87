//! JSON merge patch (RFC 7396). Beyond the RFC, and as upstream, nulls are dropped from lists of objects too.

use api_core::ApiError;
use serde_json::{Map, Value};

/// `doc` with `patch` merged into it. 400 if the patch is neither object nor list. A list replaces the document.
pub fn merge_patch(mut doc: Value, patch: &[u8]) -> Result<Value, ApiError> {
    let invalid = || ApiError::bad_request("Invalid JSON Patch");
    let patch: Value = serde_json::from_slice(patch).map_err(|_| invalid())?;
    if !patch.is_object() && !patch.is_array() {
        return Err(invalid());
    }
    merge(&mut doc, patch);
    Ok(doc)
}

fn merge(doc: &mut Value, mut patch: Value) {
    let (Value::Object(doc), Value::Object(patch)) = (&mut *doc, &mut patch) else {
        drop_nulls(&mut patch);
        *doc = patch;
        return;
    };
    for (key, value) in std::mem::take(patch) {
        if value.is_null() {
            doc.remove(&key);
            continue;
        }
        merge(doc.entry(key).or_insert(Value::Null), value);
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            *map = std::mem::take(map).into_iter().filter(|(_, v)| !v.is_null()).collect::<Map<_, _>>();
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn patched(doc: &Value, patch: &Value) -> Value {
        merge_patch(doc.clone(), patch.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn cases_of_the_rfc() {
        let cases = [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
            (json!({"a": "x"}), json!({"a": {"b": null, "c": [{"d": null}]}}), json!({"a": {"c": [{}]}})),
        ];
        for (doc, patch, expected) in cases {
            assert_eq!(patched(&doc, &patch), expected, "{patch}");
        }
        for bad in ["1", "null", "{", "\"x\""] {
            assert_eq!(merge_patch(json!({}), bad.as_bytes()).unwrap_err().message, "Invalid JSON Patch");
        }
    }

    fn object() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), Just(json!(1)), Just(json!("a")), Just(json!([1, {"x": null}]))];
        let value = leaf.prop_recursive(3, 16, 4, |inner| {
            proptest::collection::btree_map("[a-c]", inner, 0..4).prop_map(|m| m.into_iter().collect())
        });
        proptest::collection::btree_map("[a-c]", value, 0..4).prop_map(|m| m.into_iter().collect())
    }

    proptest! {
        #[test]
        fn laws(doc in object(), patch in object()) {
            prop_assert_eq!(&patched(&doc, &json!({})), &doc);
            let once = patched(&doc, &patch);
            prop_assert_eq!(&patched(&once, &patch), &once);
            let mut clean = doc.clone();
            drop_nulls(&mut clean);
            prop_assert_eq!(&patched(&json!({}), &doc), &clean);
        }
    }
}
