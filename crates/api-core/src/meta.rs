//! Reading and writing `metadata` of an object held as a JSON value.

use serde_json::{Map, Value};

/// Reads of `metadata` that every stage of the pipeline needs. Absent and null read as empty.
pub trait Meta {
    /// The object's `metadata`, if it is there and an object.
    fn metadata(&self) -> Option<&Map<String, Value>>;
    /// The same for writing, made if it is absent.
    fn metadata_mut(&mut self) -> &mut Map<String, Value>;

    /// A string of `metadata`; empty if absent.
    fn meta_str(&self, field: &str) -> &str {
        self.metadata().and_then(|m| m.get(field)).and_then(Value::as_str).unwrap_or("")
    }
    /// `metadata.name`.
    fn name(&self) -> &str {
        self.meta_str("name")
    }
    /// `metadata.namespace`.
    fn namespace(&self) -> &str {
        self.meta_str("namespace")
    }
    /// `metadata.uid`.
    fn uid(&self) -> &str {
        self.meta_str("uid")
    }
    /// `metadata.resourceVersion`.
    fn resource_version(&self) -> &str {
        self.meta_str("resourceVersion")
    }
    /// Whether `metadata.deletionTimestamp` is set.
    fn is_deleting(&self) -> bool {
        !self.meta_str("deletionTimestamp").is_empty()
    }
    /// `metadata.finalizers`.
    fn finalizers(&self) -> Vec<&str> {
        self.metadata()
            .and_then(|m| m.get("finalizers"))
            .and_then(Value::as_array)
            .map(|list| list.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default()
    }
    /// A label.
    fn label(&self, key: &str) -> Option<&str> {
        self.metadata()?.get("labels")?.get(key)?.as_str()
    }
    /// An annotation.
    fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata()?.get("annotations")?.get(key)?.as_str()
    }
    /// Sets a string of `metadata`; an empty one removes it.
    fn set_meta(&mut self, field: &str, value: &str) {
        if value.is_empty() {
            self.metadata_mut().remove(field);
        } else {
            self.metadata_mut().insert(field.into(), value.into());
        }
    }
}

impl Meta for Value {
    fn metadata(&self) -> Option<&Map<String, Value>> {
        self.get("metadata")?.as_object()
    }

    fn metadata_mut(&mut self) -> &mut Map<String, Value> {
        if !self.is_object() {
            *self = Value::Object(Map::new());
        }
        let Value::Object(object) = self else { unreachable!("made an object above") };
        let meta = object.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
        if !meta.is_object() {
            *meta = Value::Object(Map::new());
        }
        let Value::Object(meta) = meta else { unreachable!("made an object above") };
        meta
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn absent_metadata_reads_as_empty_and_is_made_on_write() {
        let mut v = json!({"kind": "X"});
        assert_eq!(v.name(), "");
        assert!(v.finalizers().is_empty());
        v.set_meta("name", "a");
        assert_eq!(v.name(), "a");
        v.set_meta("name", "");
        assert_eq!(v, json!({"kind": "X", "metadata": {}}));
    }
}
