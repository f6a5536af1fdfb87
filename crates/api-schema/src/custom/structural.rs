//! The tree of a structural schema, read from `openAPIV3Schema`, and pruning and defaulting by it.

use regex::Regex;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Nested levels of a schema; a deeper one is refused.
const DEPTH_MAX: usize = 64;

/// Why a schema cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It is nested too deeply.
    #[error("the schema is nested more than {DEPTH_MAX} levels deep")]
    TooDeep,
    /// A pattern is no regular expression.
    #[error("pattern {pattern:?} at {at} is no regular expression")]
    Pattern {
        /// Where.
        at: String,
        /// The text.
        pattern: String,
    },
}

/// A node of the tree. Absent keywords are `None`, empty or `false`.
#[derive(Debug, Default)]
pub struct Structural {
    pub(crate) kind: String,
    pub(crate) nullable: bool,
    pub(crate) properties: BTreeMap<String, Structural>,
    /// What fields without a property hold; `None` if there may be none.
    pub(crate) additional: Option<Box<Structural>>,
    pub(crate) items: Option<Box<Structural>>,
    pub(crate) required: Vec<String>,
    pub(crate) default: Option<Value>,
    pub(crate) values: Vec<Value>,
    pub(crate) minimum: Option<(f64, bool)>,
    pub(crate) maximum: Option<(f64, bool)>,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) length: (Option<usize>, Option<usize>),
    pub(crate) item_count: (Option<usize>, Option<usize>),
    pub(crate) property_count: (Option<usize>, Option<usize>),
    pub(crate) pattern: Option<(String, Regex)>,
    pub(crate) unique: bool,
    pub(crate) int_or_string: bool,
    pub(crate) preserve_unknown: bool,
    pub(crate) embedded: bool,
    pub(crate) list_type: String,
    pub(crate) list_keys: Vec<String>,
    pub(crate) map_type: String,
    pub(crate) all_of: Vec<Structural>,
    pub(crate) any_of: Vec<Structural>,
    pub(crate) one_of: Vec<Structural>,
    pub(crate) not: Option<Box<Structural>>,
}

impl Structural {
    /// Reads a schema.
    ///
    /// # Errors
    /// If it is nested too deeply, or a pattern cannot be read.
    pub fn read(schema: &Value) -> Result<Self, Unusable> {
        read(schema, "", 0)
    }

    pub(crate) fn prune_root(&self, object: &mut Value, dropped: &mut Vec<String>) {
        let Value::Object(map) = object else { return };
        self.prune_map(map, "", dropped, true);
    }

    fn prune(&self, value: &mut Value, path: &str, dropped: &mut Vec<String>) {
        match value {
            Value::Object(map) => self.prune_map(map, path, dropped, self.embedded),
            Value::Array(list) => {
                if let Some(items) = &self.items {
                    for (i, item) in list.iter_mut().enumerate() {
                        items.prune(item, &format!("{path}[{i}]"), dropped);
                    }
                }
            }
            _ => {}
        }
    }

    /// `whole` is an object with kind and metadata of its own, which are not of the schema.
    fn prune_map(&self, map: &mut Map<String, Value>, path: &str, dropped: &mut Vec<String>, whole: bool) {
        let at = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        map.retain(|key, value| {
            if whole && matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
                return true;
            }
            if let Some(property) = self.properties.get(key) {
                property.prune(value, &at(key), dropped);
                return true;
            }
            if let Some(additional) = &self.additional {
                additional.prune(value, &at(key), dropped);
                return true;
            }
            if !self.preserve_unknown {
                dropped.push(at(key));
            }
            self.preserve_unknown
        });
    }

    pub(crate) fn default_root(&self, object: &mut Value) {
        self.fill(object);
    }

    fn fill(&self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                for (name, property) in &self.properties {
                    let missing = map.get(name).is_none_or(|v| v.is_null() && !property.nullable);
                    match &property.default {
                        Some(default) if missing => drop(map.insert(name.clone(), default.clone())),
                        None if missing => drop(map.remove(name)),
                        _ => {}
                    }
                    if let Some(child) = map.get_mut(name) {
                        property.fill(child);
                    }
                }
                if let Some(additional) = &self.additional {
                    for (key, child) in map.iter_mut() {
                        if !self.properties.contains_key(key) {
                            additional.fill(child);
                        }
                    }
                }
            }
            Value::Array(list) => {
                if let Some(items) = &self.items {
                    list.iter_mut().for_each(|item| items.fill(item));
                }
            }
            _ => {}
        }
    }
}

fn read(schema: &Value, at: &str, depth: usize) -> Result<Structural, Unusable> {
    if depth > DEPTH_MAX {
        return Err(Unusable::TooDeep);
    }
    let text = |key: &str| schema[key].as_str().unwrap_or("").to_owned();
    let flag = |key: &str| schema[key].as_bool().unwrap_or(false);
    let count = |key: &str| schema[key].as_u64().and_then(|n| usize::try_from(n).ok());
    let texts = |key: &str| {
        let list = schema[key].as_array().into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    let child = |value: &Value, name: &str| read(value, &format!("{at}.{name}"), depth + 1);
    let boxed = |key: &str| schema.get(key).filter(|v| v.is_object()).map(|v| child(v, key).map(Box::new)).transpose();
    let many = |key: &str| {
        let list = schema[key].as_array().into_iter().flatten();
        list.map(|v| child(v, key)).collect::<Result<Vec<_>, _>>()
    };
    let properties = schema["properties"].as_object().into_iter().flatten();
    let additional = match &schema["additionalProperties"] {
        Value::Bool(true) => Some(Box::new(Structural { preserve_unknown: true, ..Structural::default() })),
        Value::Object(_) => boxed("additionalProperties")?,
        _ => None,
    };
    let pattern = match schema["pattern"].as_str() {
        None => None,
        Some(pattern) => {
            let unreadable = |_| Unusable::Pattern { at: at.to_owned(), pattern: pattern.to_owned() };
            Some((pattern.to_owned(), Regex::new(pattern).map_err(unreadable)?))
        }
    };
    Ok(Structural {
        kind: text("type"),
        nullable: flag("nullable"),
        properties: properties.map(|(k, v)| Ok((k.clone(), child(v, k)?))).collect::<Result<_, Unusable>>()?,
        additional,
        items: boxed("items")?,
        required: texts("required"),
        default: schema.get("default").cloned(),
        values: schema["enum"].as_array().cloned().unwrap_or_default(),
        minimum: schema["minimum"].as_f64().map(|n| (n, flag("exclusiveMinimum"))),
        maximum: schema["maximum"].as_f64().map(|n| (n, flag("exclusiveMaximum"))),
        multiple_of: schema["multipleOf"].as_f64(),
        length: (count("minLength"), count("maxLength")),
        item_count: (count("minItems"), count("maxItems")),
        property_count: (count("minProperties"), count("maxProperties")),
        pattern,
        unique: flag("uniqueItems"),
        int_or_string: flag("x-kubernetes-int-or-string"),
        preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
        embedded: flag("x-kubernetes-embedded-resource"),
        list_type: text("x-kubernetes-list-type"),
        list_keys: texts("x-kubernetes-list-map-keys"),
        map_type: text("x-kubernetes-map-type"),
        all_of: many("allOf")?,
        any_of: many("anyOf")?,
        one_of: many("oneOf")?,
        not: boxed("not")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unknown_fields_go_and_defaults_come() {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "size": {"type": "integer", "default": 3}, "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string", "default": "x"}}}}}}}});
        let tree = Structural::read(&schema).expect("schema");
        let mut object = json!({"kind": "W", "metadata": {"name": "a"}, "spec": {"no": 1, "any": {"b": 1}, "list": [{"c": 1}]}, "x": 1});
        let mut dropped = Vec::new();
        tree.prune_root(&mut object, &mut dropped);
        tree.default_root(&mut object);
        assert_eq!(dropped, ["spec.list[0].c", "spec.no", "x"]);
        assert_eq!(
            object,
            json!({"kind": "W", "metadata": {"name": "a"}, "spec": {"size": 3, "any": {"b": 1}, "list": [{"a": "x"}]}})
        );
    }
}
