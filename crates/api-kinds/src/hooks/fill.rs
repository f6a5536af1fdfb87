//! Writing defaults: a few words for "set it if it is absent", so that a kind's defaults read as a table.
//!
//! A zero value that stands for absence was dropped before (see `api_schema`), so what is there was meant.

use api_core::quantity::Quantity;
use serde_json::{Map, Value};

pub(super) trait Fill {
    /// Sets `field` if it is absent, in an object.
    fn fill(&mut self, field: &str, value: impl Into<Value>);
    /// The same for a required number or text, where upstream cannot tell zero from absent.
    fn fill_zero(&mut self, field: &str, value: impl Into<Value>);
    /// The object or list at `field`, if there is one.
    fn at_mut(&mut self, field: &str) -> Option<&mut Value>;
    /// The object at `field`, made if it is absent.
    fn make(&mut self, field: &str) -> &mut Value;
    /// Runs `with` on each item of the list at `field`.
    fn each_mut(&mut self, field: &str, with: impl FnMut(&mut Value));
    /// Runs `with` on the object at `field`, if there is one.
    fn with(&mut self, field: &str, with: impl FnOnce(&mut Value));
    /// Makes `field` what it is in `from`, absent if it is absent there.
    fn adopt(&mut self, field: &str, from: &Value);
    /// Runs `with` on the object at the end of the path, if there is one.
    fn with_path(&mut self, path: &[&str], with: impl FnOnce(&mut Value));
    /// Whether `field` is absent or null.
    fn lacks(&self, field: &str) -> bool;
    /// The text at `field`; empty if absent.
    fn text(&self, field: &str) -> &str;
    /// Rounds each amount of the resource list at `field` up to a thousandth, in canonical form.
    fn round_resources(&mut self, field: &str);
}

impl Fill for Value {
    fn fill(&mut self, field: &str, value: impl Into<Value>) {
        if let Value::Object(map) = self
            && map.get(field).is_none_or(Value::is_null)
        {
            map.insert(field.to_owned(), value.into());
        }
    }

    fn fill_zero(&mut self, field: &str, value: impl Into<Value>) {
        if let Value::Object(map) = self
            && map.get(field).is_none_or(|v| v.is_null() || v == "" || v == 0)
        {
            map.insert(field.to_owned(), value.into());
        }
    }

    fn at_mut(&mut self, field: &str) -> Option<&mut Value> {
        self.get_mut(field).filter(|v| v.is_object() || v.is_array())
    }

    fn make(&mut self, field: &str) -> &mut Value {
        if !self.is_object() {
            *self = Value::Object(Map::new());
        }
        if self.lacks(field) {
            self[field] = Value::Object(Map::new());
        }
        &mut self[field]
    }

    fn each_mut(&mut self, field: &str, with: impl FnMut(&mut Value)) {
        if let Some(Value::Array(items)) = self.get_mut(field) {
            items.iter_mut().for_each(with);
        }
    }

    fn with(&mut self, field: &str, with: impl FnOnce(&mut Value)) {
        if let Some(at) = self.at_mut(field) {
            with(at);
        }
    }

    fn adopt(&mut self, field: &str, from: &Value) {
        let Value::Object(map) = self else { return };
        match from.get(field) {
            Some(kept) => map.insert(field.to_owned(), kept.clone()),
            None => map.remove(field),
        };
    }

    fn with_path(&mut self, path: &[&str], with: impl FnOnce(&mut Value)) {
        match path {
            [] => with(self),
            [field, rest @ ..] => {
                if let Some(at) = self.at_mut(field) {
                    at.with_path(rest, with);
                }
            }
        }
    }

    fn lacks(&self, field: &str) -> bool {
        self.get(field).is_none_or(Value::is_null)
    }

    fn text(&self, field: &str) -> &str {
        self.get(field).and_then(Value::as_str).unwrap_or("")
    }

    fn round_resources(&mut self, field: &str) {
        let Some(Value::Object(list)) = self.get_mut(field) else { return };
        for amount in list.values_mut() {
            let parsed = amount.as_str().and_then(|text| text.parse::<Quantity>().ok());
            if let Some(exact) = parsed {
                *amount = exact.round_up(-3).to_string().into();
            }
        }
    }
}
