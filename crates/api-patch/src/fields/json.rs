//! `FieldsV1`: a set as JSON. Keys are `f:name`, `k:{"key":"value"}`, `v:"value"`, `i:0`; `.` says that a path with
//! others below it is in the set itself.

use super::{Element, Set};
use api_core::go;
use serde_json::{Map, Value};

/// The key that says that the path itself is in the set, where others go on below it.
pub(crate) const MEMBER: &str = ".";

/// A `FieldsV1` that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldsError {
    /// It is not made of objects.
    #[error("fields must be objects")]
    NotAnObject,
    /// A key has no known form.
    #[error("{0:?} is no path element")]
    Key(String),
}

impl Set {
    /// As `fieldsV1`.
    pub fn to_json(&self) -> Value {
        self.with_self(false)
    }

    pub(super) fn with_self(&self, member: bool) -> Value {
        let mut map = Map::new();
        if member && !self.is_empty() {
            map.insert(MEMBER.to_owned(), Value::Object(Map::new()));
        }
        for entry in self.entries() {
            map.insert(print(&entry.element), entry.children.with_self(entry.member));
        }
        Value::Object(map)
    }

    /// Reads `fieldsV1`. Elements of unknown types are left out, as they may come from a later version.
    pub fn from_json(fields: &Value) -> Result<Self, FieldsError> {
        Ok(read(fields)?.1)
    }

    pub(super) fn from_map(fields: &Map<String, Value>) -> Result<Self, FieldsError> {
        Ok(read_map(fields)?.1)
    }
}

/// [`Set::subtract`] of a set that is written as `fields`.
pub(crate) fn subtract(fields: &mut Map<String, Value>, other: &Set, below: bool) {
    for theirs in other.entries() {
        let key = print(&theirs.element);
        let Some(Value::Object(ours)) = fields.get_mut(&key) else { continue };
        let was_member = ours.is_empty() || ours.remove(MEMBER).is_some();
        let member = was_member && !theirs.member;
        if below && theirs.member {
            ours.clear();
        }
        subtract(ours, &theirs.children, below);
        match (member, ours.is_empty()) {
            (false, true) => drop(fields.remove(&key)),
            (true, false) => drop(ours.insert(MEMBER.to_owned(), Value::Object(Map::new()))),
            _ => {}
        }
    }
}

/// Whether the path itself is in the set, and what lies below it.
fn read(fields: &Value) -> Result<(bool, Set), FieldsError> {
    match fields {
        Value::Object(map) => read_map(map),
        Value::Null => Ok((true, Set::new())),
        _ => Err(FieldsError::NotAnObject),
    }
}

fn read_map(map: &Map<String, Value>) -> Result<(bool, Set), FieldsError> {
    let (mut member, mut set) = (false, Set::new());
    for (key, below) in map {
        if key == MEMBER {
            member = true;
            continue;
        }
        let Some(element) = parse(key)? else { continue };
        let (below_is_member, children) = read(below)?;
        set.add(element, below_is_member, children);
    }
    Ok((member || set.is_empty(), set))
}

/// The key of an element.
pub(crate) fn print(element: &Element) -> String {
    match element {
        Element::Field(name) => print_field(name),
        Element::Index(i) => format!("i:{i}"),
        Element::Value(value) => print_value(value),
        Element::Key(fields) => print_key(fields.iter().map(|(name, value)| (name.as_str(), value))),
    }
}

/// The key of a list item with these values of its key fields, sorted by name.
pub(crate) fn print_key<'v>(fields: impl Iterator<Item = (&'v str, &'v Value)>) -> String {
    let mut key = String::with_capacity(KEY_BYTES);
    key.push_str("k:{");
    for (i, (name, value)) in fields.enumerate() {
        if i > 0 {
            key.push(',');
        }
        if !push_plain(&mut key, name) {
            key.push_str(&Value::from(name).to_string());
        }
        key.push(':');
        push_value(&mut key, value);
    }
    key.push('}');
    key
}

/// The key of an item of a set of scalars.
pub(crate) fn print_value(value: &Value) -> String {
    let mut key = String::from("v:");
    push_value(&mut key, value);
    key
}

/// What most keys of list items have room in.
const KEY_BYTES: usize = 48;

fn push_value(key: &mut String, value: &Value) {
    if !value.as_str().is_some_and(|text| push_plain(key, text)) {
        key.push_str(&go::json(value.to_string()));
    }
}

/// Writes a text in which nothing is to be escaped; `false` if there is.
fn push_plain(key: &mut String, text: &str) -> bool {
    let is_plain = text.bytes().all(|b| b >= b' ' && !matches!(b, b'"' | b'\\' | b'<' | b'>' | b'&'));
    if is_plain {
        key.push('"');
        key.push_str(text);
        key.push('"');
    }
    is_plain
}

/// The key of a field.
pub(crate) fn print_field(name: &str) -> String {
    let mut key = String::with_capacity(name.len() + 2);
    key.push_str("f:");
    key.push_str(name);
    key
}

pub(super) fn parse(key: &str) -> Result<Option<Element>, FieldsError> {
    let bad = || FieldsError::Key(key.to_owned());
    let kind = key.chars().next().ok_or_else(bad)?;
    let rest = key[kind.len_utf8()..].strip_prefix(':').ok_or_else(bad)?;
    Ok(Some(match kind {
        'f' => Element::Field(rest.to_owned()),
        'v' => Element::Value(serde_json::from_str(rest).map_err(|_| bad())?),
        'i' => Element::Index(rest.parse().map_err(|_| bad())?),
        'k' => match serde_json::from_str(rest).map_err(|_| bad())? {
            Value::Object(map) => Element::key(map.into_iter().collect()),
            _ => return Err(bad()),
        },
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn elements_that_are_not_known_are_dropped_and_bad_ones_are_errors() {
        let read = |v| Set::from_json(&v).map(|s| s.to_json());
        assert_eq!(read(json!({"z:a": {}, "f:b": {}})), Ok(json!({"f:b": {}})));
        assert_eq!(read(json!({"f:a": {".": {}}})), Ok(json!({"f:a": {}})));
        assert_eq!(read(json!({"k:{\"b\":1,\"a\":\"x\"}": {}})), Ok(json!({"k:{\"a\":\"x\",\"b\":1}": {}})));
        assert_eq!(read(json!({"v:\"a<b\"": {}})), Ok(json!({"v:\"a\\u003cb\"": {}})));
        for bad in
            [json!({"f": {}}), json!({"": {}}), json!({"k:[]": {}}), json!({"i:x": {}}), json!([]), json!({"f:a": 1})]
        {
            assert!(Set::from_json(&bad).is_err(), "{bad}");
        }
    }
}
