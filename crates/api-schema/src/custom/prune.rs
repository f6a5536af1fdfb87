//! Fields that a schema does not know, and nulls that it does not allow, are taken away.

use super::structural::{Additional, Structural};
use serde_json::Value;

/// Fields that every object of the API has; no schema needs to say so.
const META: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Drops fields that the schema does not know; gives their paths, sorted. `root` is an object with kind and metadata.
pub(crate) fn prune(schema: &Structural, object: &mut Value, root: bool) -> Vec<String> {
    let mut walk = Walk { path: String::new(), dropped: Vec::new() };
    walk.visit(object, Some(schema), root);
    walk.dropped.sort();
    walk.dropped
}

struct Walk {
    path: String,
    dropped: Vec<String>,
}

impl Walk {
    fn visit(&mut self, value: &mut Value, schema: Option<&Structural>, root: bool) {
        if let Some(schema) = schema.filter(|s| s.preserve_unknown) {
            return self.keep(value, schema, root);
        }
        match value {
            Value::Object(map) => map.retain(|key, value| {
                let Some(schema) = schema else {
                    self.dropped.push(self.below(key));
                    return false;
                };
                if (schema.embedded || root) && META.contains(&key.as_str()) {
                    return true;
                }
                match (schema.properties.get(key), &schema.additional) {
                    (Some(property), _) => self.enter_field(key, value, Some(property)),
                    (None, Some(Additional::Schema(schema))) => self.enter_field(key, value, Some(schema)),
                    (None, Some(_)) => self.enter_field(key, value, None),
                    (None, None) => {
                        self.dropped.push(self.below(key));
                        return false;
                    }
                }
                true
            }),
            Value::Array(list) => {
                let items = schema.and_then(|s| s.items.as_deref());
                for (i, item) in list.iter_mut().enumerate() {
                    self.enter_index(i, |walk| walk.visit(item, items, false));
                }
            }
            _ => {}
        }
    }

    /// Inside of what is kept, only what is specified is looked at.
    fn keep(&mut self, value: &mut Value, schema: &Structural, root: bool) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    if (schema.embedded || root) && META.contains(&key.as_str()) {
                        continue;
                    }
                    match (schema.properties.get(key), &schema.additional) {
                        (Some(property), _) => self.enter_field(key, value, Some(property)),
                        (None, Some(Additional::Schema(schema))) => self.enter_field(key, value, Some(schema)),
                        (None, Some(_)) => self.enter_field(key, value, None),
                        (None, None) => {}
                    }
                }
            }
            Value::Array(list) => {
                if let Some(items) = schema.items.as_deref() {
                    for (i, item) in list.iter_mut().enumerate() {
                        self.enter_index(i, |walk| walk.keep(item, items, false));
                    }
                }
            }
            _ => {}
        }
    }

    fn below(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn enter_field(&mut self, key: &str, value: &mut Value, schema: Option<&Structural>) {
        let before = self.path.len();
        self.path = self.below(key);
        self.visit(value, schema, false);
        self.path.truncate(before);
    }

    fn enter_index(&mut self, index: usize, visit: impl FnOnce(&mut Self)) {
        let before = self.path.len();
        self.path.push_str(&format!("[{index}]"));
        visit(self);
        self.path.truncate(before);
    }
}

/// Drops nulls of fields that are neither nullable nor have a default.
pub(crate) fn drop_nulls(schema: Option<&Structural>, value: &mut Value) {
    match value {
        Value::Object(map) => map.retain(|key, value| {
            let schema = schema.and_then(|s| s.field(key));
            if value.is_null() && schema.is_some_and(|s| !s.nullable && s.default.is_none()) {
                return false;
            }
            drop_nulls(schema, value);
            true
        }),
        Value::Array(list) => {
            let items = schema.and_then(|s| s.items.as_deref());
            list.iter_mut().for_each(|item| drop_nulls(items, item));
        }
        _ => {}
    }
}

/// Fills in defaults, also in place of nulls that are not allowed.
pub(crate) fn fill(schema: &Structural, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, property) in &schema.properties {
                let missing = map.get(name).is_none_or(|v| v.is_null() && !property.nullable);
                if let Some(default) = property.default.as_ref().filter(|_| missing) {
                    map.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in map {
                if let Some(schema) = schema.field(name) {
                    fill_item(schema, value);
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = &schema.items {
                list.iter_mut().for_each(|item| fill_item(items, item));
            }
        }
        _ => {}
    }
}

fn fill_item(schema: &Structural, value: &mut Value) {
    if value.is_null()
        && !schema.nullable
        && let Some(default) = &schema.default
    {
        *value = default.clone();
    }
    fill(schema, value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unknown_fields_go_and_defaults_come() {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "size": {"type": "integer", "default": 3}, "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                "properties": {"closed": {"type": "object", "properties": {"a": {"type": "string"}}}}},
            "open": {"type": "object", "additionalProperties": true},
            "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string", "default": "x"}}}}}}}});
        let tree = Structural::read(&schema).expect("schema");
        let mut object = json!({"kind": "W", "metadata": {"name": "a"}, "spec": {"no": 1, "size": null,
            "any": {"b": 1, "closed": {"a": "x", "b": 1}}, "open": {"a": {"b": 1}, "c": 2}, "list": [{"c": 1}]}, "x": 1});
        let dropped = prune(&tree, &mut object, true);
        drop_nulls(Some(&tree), &mut object);
        fill(&tree, &mut object);
        assert_eq!(dropped, ["spec.any.closed.b", "spec.list[0].c", "spec.no", "spec.open.a.b", "x"]);
        assert_eq!(
            object,
            json!({"kind": "W", "metadata": {"name": "a"}, "spec": {"size": 3, "any": {"b": 1, "closed": {"a": "x"}},
                "open": {"a": {}, "c": 2}, "list": [{"a": "x"}]}})
        );
    }

    #[test]
    fn a_default_is_as_it_is_read_back() {
        let schema = json!({"type": "object", "properties": {"n": {"type": "number", "default": -0.0},
            "l": {"type": "array", "items": {"type": "number"}, "default": [-0.0, 0.5]}}});
        let tree = Structural::read(&schema).expect("schema");
        let mut object = json!({});
        fill(&tree, &mut object);
        assert_eq!(object.to_string(), r#"{"l":[0,0.5],"n":0}"#);
    }

    #[test]
    fn nulls_go_unless_they_may_stay() {
        let schema = json!({"type": "object", "properties": {
            "a": {"type": "string"}, "b": {"type": "string", "nullable": true}, "c": {"type": "string", "default": "d"},
            "l": {"type": "array", "items": {"type": "string"}}, "m": {"type": "object", "additionalProperties": {"type": "string"}}}});
        let tree = Structural::read(&schema).expect("schema");
        let mut object = json!({"a": null, "b": null, "c": null, "l": [null, "x"], "m": {"k": null, "l": "y"}});
        drop_nulls(Some(&tree), &mut object);
        fill(&tree, &mut object);
        assert_eq!(object, json!({"b": null, "c": "d", "l": [null, "x"], "m": {"l": "y"}}));
    }
}
