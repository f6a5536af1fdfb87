//! A projection of bytes that are known to be JSON: values that are not wanted are passed over by [`crate::json`].

use super::Projection;
use crate::json::{string_end, value_end};
use serde::de::Error as _;
use serde_json::{Error, Map, Value};
use std::borrow::Cow;
use std::ops::Range;

/// Lists in lists that are gone through; a deeper one is an error.
const DEPTH_MAX: usize = 128;

/// The fields of a projection, and where the value of the top-level field `field` stands.
pub(super) fn pick(wanted: &Projection, json: &[u8], field: &str) -> Result<(Value, Option<Range<usize>>), Error> {
    let mut reader = Reader { json, at: 0, field, found: None };
    reader.spaces();
    let value = match json.get(reader.at) {
        Some(b'{') => reader.top(wanted)?,
        _ => reader.value(wanted, 0)?,
    };
    Ok((value, reader.found))
}

struct Reader<'j> {
    json: &'j [u8],
    at: usize,
    /// A field at the top that is looked for, and where its value stands.
    field: &'j str,
    found: Option<Range<usize>>,
}

fn broken(what: &str) -> Error {
    Error::custom(format_args!("no JSON: {what} is missing"))
}

impl<'j> Reader<'j> {
    fn spaces(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.json.get(self.at) {
            self.at += 1;
        }
    }

    fn value(&mut self, wanted: &Projection, depth: usize) -> Result<Value, Error> {
        match self.json.get(self.at) {
            Some(b'{') if !wanted.fields.is_empty() => self.object(wanted, depth),
            Some(b'[') if !wanted.fields.is_empty() => self.list(wanted, depth),
            _ => self.whole(),
        }
    }

    /// A value of which everything is wanted.
    fn whole(&mut self) -> Result<Value, Error> {
        let mut values = serde_json::Deserializer::from_slice(&self.json[self.at..]).into_iter();
        let value = values.next().ok_or_else(|| broken("a value"))??;
        self.at += values.byte_offset();
        Ok(value)
    }

    fn object(&mut self, wanted: &Projection, depth: usize) -> Result<Value, Error> {
        let mut map = Map::new();
        self.at += 1;
        while self.goes_on(b'}')? {
            let key = self.key()?;
            self.field(wanted, &key, &mut map, depth)?;
        }
        Ok(Value::Object(map))
    }

    /// The object that is the whole document.
    fn top(&mut self, wanted: &Projection) -> Result<Value, Error> {
        if wanted.fields.is_empty() && self.field.is_empty() {
            return self.whole();
        }
        let mut map = Map::new();
        self.at += 1;
        while self.goes_on(b'}')? {
            let key = self.key()?;
            let start = self.at;
            if wanted.fields.is_empty() {
                let value = self.whole()?;
                map.insert(String::from_utf8_lossy(&key).into_owned(), value);
            } else {
                self.field(wanted, &key, &mut map, 0)?;
            }
            if *key == *self.field.as_bytes() {
                self.found = Some(start..self.at);
            }
        }
        Ok(Value::Object(map))
    }

    /// Reads the value of a field if it is wanted, or else goes past it.
    fn field(
        &mut self,
        wanted: &Projection,
        key: &[u8],
        into: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), Error> {
        match wanted.fields.iter().find(|(name, _)| name.as_bytes() == key) {
            Some((name, below)) => drop(into.insert(name.clone(), self.value(below, depth)?)),
            None => self.at = value_end(self.json, self.at).ok_or_else(|| broken("the end of a value"))?,
        }
        Ok(())
    }

    fn list(&mut self, wanted: &Projection, depth: usize) -> Result<Value, Error> {
        if depth == DEPTH_MAX {
            return Err(Error::custom("too many lists in lists"));
        }
        let mut items = Vec::new();
        self.at += 1;
        while self.goes_on(b']')? {
            items.push(self.value(wanted, depth + 1)?);
        }
        Ok(Value::Array(items))
    }

    /// Goes to what comes next in a container: to another value (`true`), or past its end.
    fn goes_on(&mut self, end: u8) -> Result<bool, Error> {
        loop {
            self.spaces();
            match self.json.get(self.at) {
                None => return Err(broken("the end of a container")),
                Some(b',') => self.at += 1,
                Some(byte) if *byte == end => {
                    self.at += 1;
                    return Ok(false);
                }
                Some(_) => return Ok(true),
            }
        }
    }

    /// Reads a key and goes to its value.
    fn key(&mut self) -> Result<Cow<'j, [u8]>, Error> {
        let (json, start) = (self.json, self.at);
        let end = Some(start).filter(|at| json[*at] == b'"').and_then(|at| string_end(json, at));
        let end = end.ok_or_else(|| broken("a key"))?;
        self.at = end;
        self.spaces();
        if json.get(self.at) != Some(&b':') {
            return Err(broken("a colon"));
        }
        self.at += 1;
        self.spaces();
        let raw = &json[start + 1..end - 1];
        if raw.contains(&b'\\') {
            let key: String = serde_json::from_slice(&json[start..end])?;
            return Ok(Cow::Owned(key.into_bytes()));
        }
        Ok(Cow::Borrowed(raw))
    }
}
