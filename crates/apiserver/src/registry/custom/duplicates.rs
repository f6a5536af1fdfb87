//! Fields that stand twice in a JSON document, at any depth. Only the last of them counts, so nobody would notice.

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::HashSet;
use std::fmt;

/// Most findings that are told.
const FOUND_MAX: usize = 100;

/// Notes of the fields that stand twice, in the order of the document. A body that is no document has none.
pub(crate) fn find(body: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut json = serde_json::Deserializer::from_slice(body);
    let walk = Walk { path: &mut String::new(), found: &mut found };
    match walk.deserialize(&mut json) {
        Ok(()) => found,
        // The decoder says what is wrong with it.
        Err(_) => Vec::new(),
    }
}

struct Walk<'a> {
    path: &'a mut String,
    found: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        let length = self.path.len();
        while let Some(key) = map.next_key::<String>()? {
            if length > 0 {
                self.path.push('.');
            }
            self.path.push_str(&key);
            if !seen.insert(key) && self.found.len() < FOUND_MAX {
                let note = format!("duplicate field \"{}\"", self.path);
                if !self.found.contains(&note) {
                    self.found.push(note);
                }
            }
            map.next_value_seed(Walk { path: self.path, found: self.found })?;
            self.path.truncate(length);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let length = self.path.len();
        for i in 0.. {
            self.path.push_str(&format!("[{i}]"));
            let more = list.next_element_seed(Walk { path: self.path, found: self.found })?;
            self.path.truncate(length);
            if more.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        IgnoredAny::deserialize(deserializer).map(drop)
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_twice_is_found() {
        let body = br#"{"a":1,"l":[{"b":1},{"b":1,"b":null}],"m":{"x":{"y":1.5,"y":"s","y":true}},"a":2}"#;
        let expected = ["duplicate field \"l[1].b\"", "duplicate field \"m.x.y\"", "duplicate field \"a\""];
        assert_eq!(find(body), expected);
        assert_eq!(find(b"{"), [""; 0]);
    }
}
