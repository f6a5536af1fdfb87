//! `FieldsV1`: a set as JSON. Keys are `f:name`, `k:{"key":"value"}`, `v:"value"`, `i:0`; `.` says that a path with
//! others below it is in the set itself.

use super::{Element, Set};
use serde_json::{Map, Value};

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

    fn with_self(&self, member: bool) -> Value {
        let mut map = Map::new();
        if member && !self.is_empty() {
            map.insert(".".to_owned(), Value::Object(Map::new()));
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
}

/// Whether the path itself is in the set, and what lies below it.
fn read(fields: &Value) -> Result<(bool, Set), FieldsError> {
    let map = match fields {
        Value::Object(map) => map,
        Value::Null => return Ok((true, Set::new())),
        _ => return Err(FieldsError::NotAnObject),
    };
    let (mut member, mut set) = (false, Set::new());
    for (key, below) in map {
        if key == "." {
            member = true;
            continue;
        }
        let Some(element) = parse(key)? else { continue };
        let (below_is_member, children) = read(below)?;
        set.add(element, below_is_member, children);
    }
    Ok((member || set.is_empty(), set))
}

fn print(element: &Element) -> String {
    match element {
        Element::Field(name) => {
            let mut key = String::with_capacity(name.len() + 2);
            key.push_str("f:");
            key.push_str(name);
            key
        }
        Element::Index(i) => format!("i:{i}"),
        Element::Value(value) => format!("v:{}", escaped(value)),
        Element::Key(fields) => {
            let mut text = String::from("k:{");
            for (i, (name, value)) in fields.iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                text.push_str(&escaped(value));
            }
            text.push('}');
            text
        }
    }
}

/// JSON with `<`, `>` and `&` escaped, as Go writes it.
fn escaped(value: &Value) -> String {
    let text = value.to_string();
    if text.contains(['<', '>', '&']) {
        return text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    }
    text
}

fn parse(key: &str) -> Result<Option<Element>, FieldsError> {
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
