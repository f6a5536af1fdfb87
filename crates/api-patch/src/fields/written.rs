//! A set of fields that stays `fieldsV1` until something needs more of it than can be had from that. Most writes change a few
//! fields of an object whose managers own hundreds, and go through none but those few.

use super::json::{FieldsError, MEMBER, parse, print, subtract};
use super::{Element, Set};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// A set of fields in one of two forms.
#[derive(Debug, Clone)]
pub(crate) enum Fields {
    Set(Set),
    /// What [`Set::to_json`] makes of it.
    Written(Map<String, Value>),
}

impl Default for Fields {
    fn default() -> Self {
        Self::Set(Set::new())
    }
}

impl From<Set> for Fields {
    fn from(set: Set) -> Self {
        Self::Set(set)
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.to_set() == other.to_set()
    }
}

impl Fields {
    /// Takes `fieldsV1` over; nothing is no fields.
    pub(crate) fn read(fields: Value) -> Result<Self, FieldsError> {
        match fields {
            Value::Null => Ok(Self::default()),
            Value::Object(map) if is_plain(&map) => Ok(Self::Written(map)),
            other => Set::from_json(&other).map(Self::Set),
        }
    }

    pub(crate) fn to_set(&self) -> Cow<'_, Set> {
        match self {
            Self::Set(set) => Cow::Borrowed(set),
            Self::Written(map) => Cow::Owned(set_of(map)),
        }
    }

    pub(crate) fn into_set(self) -> Set {
        match self {
            Self::Set(set) => set,
            Self::Written(map) => set_of(&map),
        }
    }

    pub(crate) fn into_json(self) -> Value {
        match self {
            Self::Set(set) => set.to_json(),
            Self::Written(map) => Value::Object(map),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Set(set) => set.is_empty(),
            Self::Written(map) => map.is_empty(),
        }
    }

    /// Whether both have a path in common.
    pub(crate) fn intersects(&self, other: &Set) -> bool {
        match self {
            Self::Set(set) => set.intersects(other),
            Self::Written(map) => meets(map, other),
        }
    }

    /// Adds the paths of `other`.
    pub(crate) fn add(&mut self, other: Set) {
        match self {
            Self::Set(set) => *set = std::mem::take(set).union(other),
            Self::Written(map) => join(map, other),
        }
    }

    /// Takes the paths of `other` out; what lies below them stays.
    pub(crate) fn remove(&mut self, other: &Set) {
        match self {
            Self::Set(set) => set.subtract(other, false),
            Self::Written(map) => subtract(map, other, false),
        }
    }
}

/// The set of what is plain, and so can be read.
fn set_of(map: &Map<String, Value>) -> Set {
    Set::from_map(map).unwrap_or_default()
}

/// Whether it is written as [`Set::to_json`] would, and two elements are one where their keys are.
fn is_plain(map: &Map<String, Value>) -> bool {
    map.iter().all(|(key, below)| is_plain_key(key) && below.as_object().is_some_and(is_plain_below))
}

fn is_plain_below(map: &Map<String, Value>) -> bool {
    let is_member = |key: &String, below: &Value| key == MEMBER && below.as_object().is_some_and(Map::is_empty);
    let is_alone = map.len() == 1;
    map.iter().all(|(key, below)| match key == MEMBER {
        true => !is_alone && is_member(key, below),
        false => is_plain_key(key) && below.as_object().is_some_and(is_plain_below),
    })
}

fn is_plain_key(key: &str) -> bool {
    // Numbers that are no whole ones may be equal to what is written otherwise.
    let is_plain = |value: &Value| value.is_string() || value.is_boolean() || value.as_i64().is_some();
    if key.starts_with("f:") {
        return true;
    }
    let Ok(Some(element)) = parse(key) else { return false };
    let plain = match &element {
        Element::Field(_) | Element::Index(_) => true,
        Element::Value(value) => is_plain(value),
        Element::Key(fields) => fields.iter().all(|(_, value)| is_plain(value)),
    };
    plain && print(&element) == key
}

/// Whether a path is in the set itself, of which this lies at and below it.
fn is_member(below: &Map<String, Value>) -> bool {
    below.is_empty() || below.contains_key(MEMBER)
}

fn meets(fields: &Map<String, Value>, other: &Set) -> bool {
    other.entries().iter().any(|theirs| match fields.get(&print(&theirs.element)) {
        Some(Value::Object(ours)) => theirs.member && is_member(ours) || meets(ours, &theirs.children),
        _ => false,
    })
}

fn join(fields: &mut Map<String, Value>, other: Set) {
    for theirs in other.entries {
        let key = print(&theirs.element);
        let Some(Value::Object(ours)) = fields.get_mut(&key) else {
            fields.insert(key, theirs.children.with_self(theirs.member));
            continue;
        };
        let member = theirs.member || is_member(ours);
        join(ours, theirs.children);
        if member && !ours.is_empty() {
            ours.insert(MEMBER.to_owned(), Value::Object(Map::new()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::tests::paths;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn what_is_written_otherwise_is_read() {
        for plain in [
            json!({}),
            json!({"f:a": {".": {}, "f:b": {}}, "k:{\"name\":\"x\",\"port\":1}": {}, "v:\"x\"": {}, "i:1": {}}),
        ] {
            assert!(matches!(Fields::read(plain.clone()), Ok(Fields::Written(_))), "{plain}");
        }
        for other in [
            json!(null),
            json!({".": {}}),
            json!({"f:a": {".": {}}}),
            json!({"f:a": null}),
            json!({"v:1.0": {}}),
            json!({"v:18446744073709551615": {}}),
            json!({"k:{\"b\":1,\"a\":2}": {}}),
            json!({"k:{ \"a\":2}": {}}),
            json!({"v:\"<\"": {}}),
            json!({"z:new": {}}),
        ] {
            assert!(matches!(Fields::read(other.clone()), Ok(Fields::Set(_))), "{other}");
        }
        for bad in
            [json!([]), json!({"f": {}}), json!({"k:[]": {}}), json!({"f:a": 1}), json!({"f:a": {".": {}, "x": {}}})]
        {
            assert!(Fields::read(bad.clone()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn both_forms_are_one(a in paths(), b in paths()) {
            let (set, mut written) = (Fields::Set(a.clone()), Fields::read(a.to_json()).unwrap());
            prop_assert_eq!(&set, &written);
            prop_assert_eq!(set.is_empty(), written.is_empty());
            prop_assert_eq!(set.intersects(&b), written.intersects(&b));
            prop_assert_eq!(written.clone().into_json(), a.to_json());
            written.add(b.clone());
            prop_assert_eq!(written.clone().into_json(), a.clone().union(b.clone()).to_json());
            written.remove(&b);
            prop_assert_eq!(written.into_json(), a.union(b.clone()).difference(&b).to_json());
        }
    }
}
