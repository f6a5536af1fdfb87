//! Lists of the types `set` and `map`: nothing may be there twice.

use super::structural::{Additional, Structural};
use super::validate::shown;
use api_core::field::{Errors, Path};
use serde_json::{Map, Value};

/// Checks all lists in an object, or in a part of one at `path`.
pub(super) fn validate(schema: &Structural, value: &Value, path: &Path<'_>, errors: &mut Errors) {
    match value {
        Value::Array(list) => {
            items(schema, list, path, errors);
            if let Some(schema) = &schema.items {
                list.iter().enumerate().for_each(|(i, item)| validate(schema, item, &path.index(i), errors));
            }
        }
        Value::Object(map) => {
            for (name, value) in map {
                match (schema.properties.get(name), &schema.additional) {
                    (Some(property), _) => validate(property, value, &path.child(name), errors),
                    (None, Some(Additional::Schema(schema))) => validate(schema, value, &path.key(name), errors),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

fn items(schema: &Structural, list: &[Value], path: &Path<'_>, errors: &mut Errors) {
    let stranger = list.iter().position(|item| !item.is_object() && !item.is_null());
    if let Some(i) = stranger.filter(|_| schema.list_type == "map") {
        return errors.invalid(&path.index(i), shown(&list[i]), "must be an object for an array of list-type map");
    }
    let key = |item: &Value| -> Option<Value> {
        match schema.list_type.as_str() {
            "set" => Some(item.clone()),
            "map" => {
                let fields = schema.list_keys.iter().filter_map(|k| Some((k.clone(), item.get(k)?.clone())));
                Some(Value::Object(fields.collect::<Map<_, _>>()))
            }
            _ => None,
        }
    };
    let mut seen: std::collections::HashMap<String, usize> = std::collections::HashMap::new();
    for (i, item) in list.iter().enumerate() {
        let Some(key) = key(item) else { return };
        let times = seen.entry(key.to_string()).or_default();
        *times += 1;
        // One that is there three times is mentioned once.
        if *times == 2 {
            errors.duplicate(&path.index(i), shown(&key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_there_twice_is_found() {
        let schema = json!({"type": "object", "properties": {
            "s": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "m": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object"}}}});
        let schema = Structural::read(&schema).expect("schema");
        let mut errors = Errors::new();
        validate(&schema, &json!({"m": [{"k": 1}, null, "x", 2]}), &Path::ROOT, &mut errors);
        let found: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
        assert_eq!(found, ["m[2]: Invalid value: \"x\": must be an object for an array of list-type map"]);
        let value = json!({"s": ["a", "b", "a", "a"], "m": [{"k": "1"}, {"k": "1", "v": 2}, {}]});
        let mut errors = Errors::new();
        validate(&schema, &value, &Path::ROOT, &mut errors);
        let found: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            ["m[1]: Duplicate value: map[string]interface {}{\"k\":\"1\"}", "s[2]: Duplicate value: \"a\""]
        );
    }
}
