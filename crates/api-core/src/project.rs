//! Reading a few fields of an object without making the rest of it: what selects, shows or relates an object is a small
//! part of its bytes.

mod known;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;
use std::ops::Range;

/// A set of fields, named by dotted paths such as `spec.containers.name`; a list is gone through, and an end of a path
/// stands for all that is below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Projection {
    /// The fields of this level. None at all: everything is wanted.
    fields: Vec<(String, Projection)>,
}

impl Projection {
    /// The fields at `paths`. Without any, the whole object.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a str>) -> Self {
        let mut root = Self::default();
        for path in paths {
            root.add(path);
        }
        root
    }

    fn add(&mut self, path: &str) {
        let (name, rest) = path.split_once('.').unwrap_or((path, ""));
        let known = self.fields.iter().position(|(n, _)| n == name);
        let is_new = known.is_none();
        let at = known.unwrap_or_else(|| {
            self.fields.push((name.to_owned(), Self::default()));
            self.fields.len() - 1
        });
        let below = &mut self.fields[at].1;
        match rest {
            "" => below.fields.clear(),
            // All of it is wanted already.
            _ if !is_new && below.fields.is_empty() => {}
            rest => below.add(rest),
        }
    }

    /// Reads the fields of a JSON document; all others are passed over.
    ///
    /// # Errors
    /// If it is no JSON. What is passed over is only checked for its brackets and strings.
    pub fn read(&self, json: &[u8]) -> Result<Value, serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_slice(json);
        let value = self.deserialize(&mut reader)?;
        reader.end()?;
        Ok(value)
    }

    /// The same of a document that is known to be JSON, such as an object that was read before: what is passed over is not
    /// checked at all.
    ///
    /// # Errors
    /// If it is none all the same, as far as that is noticed.
    pub fn pick(&self, json: &[u8]) -> Result<Value, serde_json::Error> {
        known::pick(self, json, "").map(|(value, _)| value)
    }

    /// The same, and where the value of the top-level field `field` stands, if there is one.
    ///
    /// # Errors
    /// As [`Projection::pick`].
    pub fn pick_and_find(&self, json: &[u8], field: &str) -> Result<(Value, Option<Range<usize>>), serde_json::Error> {
        known::pick(self, json, field)
    }

    /// The same of a document that is read already.
    pub fn of(&self, value: &Value) -> Value {
        if self.fields.is_empty() {
            return value.clone();
        }
        match value {
            Value::Object(map) => {
                let wanted =
                    self.fields.iter().filter_map(|(name, below)| Some((name.clone(), below.of(map.get(name)?))));
                Value::Object(wanted.collect())
            }
            Value::Array(items) => items.iter().map(|item| self.of(item)).collect(),
            scalar => scalar.clone(),
        }
    }
}

impl<'de> DeserializeSeed<'de> for &Projection {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.fields.is_empty() {
            return serde::Deserialize::deserialize(deserializer);
        }
        deserializer.deserialize_any(Level(self))
    }
}

/// One level of a document.
struct Level<'p>(&'p Projection);

impl<'de> Visitor<'de> for Level<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(found) = access.next_key_seed(Key(self.0))? {
            match found {
                Some((name, below)) => {
                    map.insert(name.clone(), access.next_value_seed(below)?);
                }
                None => {
                    access.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::Object(map))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self.0)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

/// A name, looked up in the fields that are wanted.
struct Key<'p>(&'p Projection);

impl<'de, 'p> DeserializeSeed<'de> for Key<'p> {
    type Value = Option<&'p (String, Projection)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'p> Visitor<'_> for Key<'p> {
    type Value = Option<&'p (String, Projection)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.fields.iter().find(|(known, _)| known == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn only_the_fields_at_the_paths_are_read() {
        let object = json!({
            "metadata": {"name": "a", "labels": {"x.y/z": "1"}, "managedFields": [{"manager": "m"}]},
            "spec": {"containers": [{"name": "c", "env": [{"name": "E"}]}, {"env": []}, 7], "nodeName": null},
            "status": "odd",
        });
        let cases: &[(&[&str], Value)] = &[
            (&[], object.clone()),
            (&["metadata.name"], json!({"metadata": {"name": "a"}})),
            (&["metadata.name", "metadata"], json!({"metadata": object["metadata"]})),
            (&["metadata", "metadata.name"], json!({"metadata": object["metadata"]})),
            (&["metadata.labels", "none.at.all"], json!({"metadata": {"labels": {"x.y/z": "1"}}})),
            (&["spec.containers.name"], json!({"spec": {"containers": [{"name": "c"}, {}, 7]}})),
            (
                &["spec.nodeName", "spec.containers.env.name", "status.phase"],
                json!({"spec": {"nodeName": null, "containers": [{"env": [{"name": "E"}]}, {"env": []}, 7]}, "status": "odd"}),
            ),
        ];
        let bytes = object.to_string();
        for (paths, want) in cases {
            let projection = Projection::new(paths.iter().copied());
            assert_eq!(&projection.read(bytes.as_bytes()).expect("json"), want, "{paths:?}");
            assert_eq!(&projection.of(&object), want, "{paths:?}");
            assert_eq!(&projection.pick(bytes.as_bytes()).expect("json"), want, "{paths:?}");
        }
        let spaced = b" { \"a\" : { \"c\":[1 , {}] , \"\\u0062\" : 1.5 } , \"z\" : \"}\" } ";
        assert_eq!(Projection::new(["a.b", "z"]).pick(spaced).expect("json"), json!({"a": {"b": 1.5}, "z": "}"}));
        for (field, found) in [("a", Some("{ \"c\":[1 , {}] , \"\\u0062\" : 1.5 }")), ("z", Some("\"}\"")), ("c", None)]
        {
            let (_, range) = Projection::new(["a.b"]).pick_and_find(spaced, field).expect("json");
            assert_eq!(range.map(|range| &spaced[range]), found.map(str::as_bytes), "{field}");
        }
        for broken in ["{\"a\":{\"b\":1}", "{\"a\":", "{\"a\"}", "{a}", "", "[", "{\"x\":[}"] {
            assert!(Projection::new(["a.b"]).pick(broken.as_bytes()).is_err(), "{broken}");
        }
        assert!(Projection::new(["a.b"]).read(b"{\"a\":{\"b\":1}").is_err());
        assert!(Projection::new(["a.b"]).read(b"{} {}").is_err());
    }

    fn documents() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[abc]|\\PC{1,3}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn reading_bytes_and_reading_a_value_agree(document in documents(), paths in prop::collection::vec("[abc](\\.[abc]){0,3}", 0..5)) {
            let projection = Projection::new(paths.iter().map(String::as_str));
            let json = document.to_string();
            prop_assert_eq!(projection.read(json.as_bytes()).expect("json"), projection.of(&document));
            prop_assert_eq!(projection.pick(json.as_bytes()).expect("json"), projection.of(&document));
        }
    }
}
