//! Reads a document straight into the fields of a type, in one pass: prunes, checks types, normalises.
//!
//! A wrong type is remembered and reading goes on (only the first is reported); a value that fails its own syntax
//! (a quantity, a time) ends reading at once and goes before any wrong type, as in upstream's decoder.

use super::{FieldValidation, STRICT_ERRORS_MAX, Wording};
use crate::normalize::{finish, reads_as_absent, zero_of};
use crate::scalar;
use crate::schema::{Field, ListShape, MapShape, Schema, Shape, StructId, StructType};
use api_core::Gvk;
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::collections::HashSet;
use std::fmt;

/// What a document should be.
#[derive(Clone, Copy)]
pub struct Root<'s> {
    /// All types.
    pub schema: &'s Schema,
    /// Its type.
    pub root: StructId,
    /// Its kind.
    pub kind: &'s Gvk,
}

/// A step of the path to the value that is read.
enum Step<'s> {
    Field(StructId, &'s str),
    Key(String),
    Index(usize),
}

/// State of one reading.
pub struct Reader<'s> {
    schema: &'s Schema,
    root: StructId,
    /// What becomes of unknown and duplicate fields.
    pub fields: FieldValidation,
    wording: Wording,
    path: Vec<Step<'s>>,
    /// Inside a value that upstream decodes apart: length of the path to it. Unknown fields there go unmentioned, and
    /// errors name only the field that holds it.
    apart: Option<usize>,
    hard: Option<String>,
    soft: Option<String>,
    kind_error: Option<String>,
    said: (String, String),
    notes: Vec<String>,
}

impl<'s> Reader<'s> {
    /// For a document of type `root`.
    pub fn new(schema: &'s Schema, root: StructId, fields: FieldValidation, wording: Wording) -> Self {
        Self {
            schema,
            root,
            fields,
            wording,
            path: Vec::with_capacity(16),
            apart: None,
            hard: None,
            soft: None,
            kind_error: None,
            said: Default::default(),
            notes: Vec::new(),
        }
    }

    /// Reads the whole document.
    pub fn root(&mut self) -> RootSeed<'_, 's> {
        RootSeed(self)
    }

    /// Whether reading ended early because a value failed its own syntax.
    pub fn has_failed(&self) -> bool {
        self.hard.is_some()
    }

    /// `kind` and `apiVersion` as far as they were read.
    pub fn said(&self) -> (&str, &str) {
        (&self.said.0, &self.said.1)
    }

    /// `kind` or `apiVersion` is no text.
    pub fn kind_error(&self) -> Option<&str> {
        self.kind_error.as_deref()
    }

    /// The document is something else: upstream finds that out when it looks for the kind.
    fn not_an_object(&mut self, what: &str) -> Value {
        let kind =
            r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
        self.kind_error = Some(format!("json: cannot unmarshal {what} into Go value of type {kind}"));
        Value::Null
    }

    /// Adds notes found elsewhere.
    pub fn note(&mut self, notes: Vec<String>) {
        self.notes.extend(notes);
    }

    /// The error, if there is one, and the notes of unknown and duplicate fields.
    pub fn into_outcome(self) -> (Option<String>, Vec<String>) {
        (self.hard.or(self.soft), self.notes)
    }

    fn strict_error(&mut self, what: &str, key: &str) {
        if self.fields == FieldValidation::Ignore || self.apart.is_some() || self.notes.len() >= STRICT_ERRORS_MAX {
            return;
        }
        let mut path = String::new();
        for step in &self.path {
            let (dot, name) = match step {
                Step::Field(_, name) => (".", *name),
                Step::Key(key) => (".", key.as_str()),
                Step::Index(i) => {
                    path.push_str(&format!("[{i}]"));
                    continue;
                }
            };
            if !path.is_empty() {
                path.push_str(dot);
            }
            path.push_str(name);
        }
        let dot = if path.is_empty() { "" } else { "." };
        let note = format!("{what} field \"{path}{dot}{key}\"");
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// `json: cannot unmarshal VALUE into Go struct field PodSpec.spec.containers of type TYPE`.
    fn mismatch(&self, value: &str, go_type: &str) -> String {
        if self.wording == Wording::Value {
            return format!("json: cannot unmarshal {value} into Go value of type {go_type}");
        }
        let path = &self.path[..self.apart.unwrap_or(self.path.len())];
        let fields = path.iter().filter_map(|s| match s {
            Step::Field(_, name) => Some(*name),
            _ => None,
        });
        let inner = path.iter().rev().find_map(|s| match s {
            Step::Field(id, _) => Some(*id),
            _ => None,
        });
        match inner {
            Some(id) => {
                let dotted = fields.collect::<Vec<_>>().join(".");
                let holder = last_part(&self.schema.get(id).name);
                format!("json: cannot unmarshal {value} into Go struct field {holder}.{dotted} of type {go_type}")
            }
            None => format!("json: cannot unmarshal {value} into Go value of type {go_type}"),
        }
    }

    fn wrong_type(&mut self, value: &str, shape: &Shape) -> Value {
        if let [Step::Field(_, name @ ("kind" | "apiVersion"))] = self.path.as_slice() {
            let error = format!("json: cannot unmarshal {value} into Go struct field .{name} of type string");
            self.kind_error.get_or_insert(error);
        }
        let slot = if self.apart.is_some() { &self.hard } else { &self.soft };
        if slot.is_none() {
            let go_type = self.go_type(shape);
            let error = Some(match self.wording {
                Wording::Json => self.mismatch(value, &go_type),
                Wording::Value => not_converted(value, shape, &go_type),
            });
            *(if self.apart.is_some() { &mut self.hard } else { &mut self.soft }) = error;
        }
        Value::Null
    }

    /// What Go calls the type of the value that is read: its field's, without a layer for each list or map around it.
    fn go_type(&self, shape: &Shape) -> String {
        let field = self.path.iter().rev().find_map(|step| match step {
            Step::Field(id, name) => Some((*id, *name)),
            _ => None,
        });
        let named = field.and_then(|(id, name)| {
            let fields = &self.schema.get(id).fields;
            let at = fields.place(name)?;
            let mut go_type = self.schema.go_types.get(&(id, at))?.as_str();
            let mut outer = &fields[at].shape;
            while !std::ptr::eq(outer, shape) {
                (outer, go_type) = match outer {
                    Shape::List(list) => (&list.item, go_type.strip_prefix("[]")?),
                    Shape::Map(map) => (&map.value, go_type.strip_prefix("map[string]")?),
                    _ => return None,
                };
            }
            Some(go_type.to_owned())
        });
        named.unwrap_or_else(|| go_type(self.schema, shape))
    }

    fn fail<E: Error>(&mut self, why: String) -> E {
        self.hard.get_or_insert(why);
        E::custom("value fails its syntax")
    }

    fn number<E: Error>(&mut self, shape: &Shape, n: Number) -> Result<Value, E> {
        let n = if self.wording == Wording::Value { scalar::converted(shape, n) } else { n };
        Ok(match shape {
            Shape::Int32 if n.as_i64().is_some_and(|i| i32::try_from(i).is_ok()) => Value::Number(n),
            Shape::Int64 if n.is_i64() => Value::Number(n),
            Shape::Int32 | Shape::Int64 => self.wrong_type(&format!("number {n}"), shape),
            Shape::Number => scalar::number(n),
            Shape::Any | Shape::Deduced | Shape::StructOr(_) => scalar::any_number(n),
            Shape::Quantity => return self.quantity(&n.to_string()),
            Shape::IntOrString if n.as_i64().is_some_and(|i| i32::try_from(i).is_ok()) => Value::Number(n),
            Shape::IntOrString => return Err(self.hard_mismatch(&format!("number {n}"), "int32")),
            Shape::Time | Shape::MicroTime => return Err(self.hard_mismatch("number", "string")),
            _ if self.wording == Wording::Value => self.wrong_type(&format!("number {n}"), shape),
            _ => self.wrong_type("number", shape),
        })
    }

    fn hard_mismatch<E: Error>(&mut self, value: &str, go_type: &str) -> E {
        let why = self.mismatch(value, go_type);
        self.fail(why)
    }

    fn quantity<E: Error>(&mut self, text: &str) -> Result<Value, E> {
        scalar::quantity(text).map_err(|why| self.fail(why))
    }

    fn text<E: Error>(&mut self, shape: &Shape, text: String) -> Result<Value, E> {
        Ok(match shape {
            Shape::String | Shape::IntOrString | Shape::Any | Shape::Deduced | Shape::StructOr(_) => {
                Value::String(text)
            }
            Shape::Bytes => match scalar::bytes(text) {
                Ok(value) => value,
                Err(why) => {
                    let apart = self.wording == Wording::Value;
                    self.soft.get_or_insert(if apart { format!("error decoding from json: {why}") } else { why });
                    Value::Null
                }
            },
            Shape::Time => return scalar::time(text).map_err(|why| self.fail(why)),
            Shape::MicroTime => return scalar::micro_time(text).map_err(|why| self.fail(why)),
            Shape::Quantity => return self.quantity(&text),
            _ => self.wrong_type("string", shape),
        })
    }

    fn read_struct<'de, A: MapAccess<'de>>(&mut self, id: StructId, mut map: A) -> Result<Value, A::Error> {
        let ty: &'s StructType = self.schema.get(id);
        let mut out = Map::new();
        let mut seen = Seen::default();
        while let Some(key) = map.next_key_seed(KeySeed(ty))? {
            match key {
                Key::Known(place, field) => {
                    if !seen.insert(place) {
                        self.strict_error("duplicate", &field.name);
                    }
                    self.path.push(Step::Field(id, &field.name));
                    let value = map.next_value_seed(Seed { reader: self, shape: &field.shape })?;
                    if self.path.len() == 1 {
                        self.keep_said(&field.name, &value);
                    }
                    self.path.pop();
                    store(&mut out, field, value);
                }
                Key::Unknown(name) if ty.preserve_unknown => {
                    out.insert(name, map.next_value()?);
                }
                Key::Unknown(name) => {
                    self.strict_error("unknown", &name);
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        finish(self.schema, ty, &mut out);
        Ok(Value::Object(out))
    }

    fn keep_said(&mut self, field: &str, value: &Value) {
        let slot = match field {
            "kind" => &mut self.said.0,
            "apiVersion" => &mut self.said.1,
            _ => return,
        };
        value.as_str().unwrap_or("").clone_into(slot);
    }

    fn read_map<'de, A: MapAccess<'de>>(&mut self, shape: &'s MapShape, mut map: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        let nested = is_nested(&shape.value);
        while let Some(key) = map.next_key::<String>()? {
            if nested {
                self.path.push(Step::Key(key.clone()));
            }
            let value = map.next_value_seed(Seed { reader: self, shape: &shape.value })?;
            if nested {
                self.path.pop();
            }
            let value = if value.is_null() { zero_of(self.schema, &shape.value) } else { value };
            if out.contains_key(&key) {
                self.strict_error("duplicate", &key);
            }
            out.insert(key, value);
        }
        Ok(Value::Object(out))
    }

    fn read_list<'de, A: SeqAccess<'de>>(&mut self, shape: &'s ListShape, mut seq: A) -> Result<Value, A::Error> {
        let mut out = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(64));
        let nested = is_nested(&shape.item);
        loop {
            if nested {
                self.path.push(Step::Index(out.len()));
            }
            let item = seq.next_element_seed(Seed { reader: self, shape: &shape.item })?;
            if nested {
                self.path.pop();
            }
            match item {
                None => return Ok(Value::Array(out)),
                Some(Value::Null) => out.push(zero_of(self.schema, &shape.item)),
                Some(value) => out.push(value),
            }
        }
    }
}

fn store(out: &mut Map<String, Value>, field: &Field, value: Value) {
    if value.is_null() {
        return;
    }
    let is_empty_list = value.as_array().is_some_and(Vec::is_empty);
    let given_empty = field.default == Some(Value::Null) && is_empty_list;
    if reads_as_absent(field, &value) && (field.zero_is_absent || !given_empty) {
        out.remove(&field.name);
    } else {
        out.insert(field.name.clone(), value);
    }
}

fn is_nested(shape: &Shape) -> bool {
    matches!(shape, Shape::Struct(_) | Shape::StructOr(_) | Shape::Map(_) | Shape::List(_))
}

/// Why upstream cannot convert a value of the JSON type `value` (a number with its digits).
fn not_converted(value: &str, shape: &Shape, go_type: &str) -> String {
    let kind = match value.split_once(' ') {
        Some((_, digits)) if digits.contains(['.', 'e', 'E']) => "float64",
        Some(_) => "int64",
        None if value == "array" => "slice",
        None if value == "object" => "map",
        None => value,
    };
    match shape {
        Shape::List(_) | Shape::Bytes => format!("cannot restore slice from {kind}"),
        Shape::Map(_) => format!("cannot restore map from {kind}"),
        Shape::Struct(_) | Shape::StructOr(_) => format!("cannot restore struct from: {kind}"),
        // Go converts numbers to text, but not as anybody would want it.
        Shape::String if kind == "int64" => format!("cannot convert int64 to {go_type}"),
        Shape::Int32 | Shape::Int64 if kind == "float64" => format!("cannot convert float64 to {go_type}"),
        Shape::Bool => "unrecognized type: bool".into(),
        Shape::Int32 => "unrecognized type: int32".into(),
        Shape::Int64 => "unrecognized type: int64".into(),
        Shape::Number => "unrecognized type: float64".into(),
        _ => "unrecognized type: string".into(),
    }
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// A shape as Go prints its type; by the shape alone.
fn go_type(schema: &Schema, shape: &Shape) -> String {
    match shape {
        Shape::Any | Shape::Deduced | Shape::FieldsV1 => "interface {}".into(),
        Shape::Bool => "bool".into(),
        Shape::Int32 => "int32".into(),
        Shape::Int64 => "int64".into(),
        Shape::Number => "float64".into(),
        Shape::String => "string".into(),
        Shape::Bytes => "[]uint8".into(),
        Shape::Time => "v1.Time".into(),
        Shape::MicroTime => "v1.MicroTime".into(),
        Shape::Quantity => "resource.Quantity".into(),
        Shape::IntOrString => "intstr.IntOrString".into(),
        Shape::Struct(id) | Shape::StructOr(id) => {
            let name = &schema.get(*id).name;
            let mut parts = name.rsplit('.');
            let last = parts.next().unwrap_or_default();
            format!("{}.{last}", parts.next().unwrap_or_default())
        }
        Shape::Map(map) => format!("map[string]{}", go_type(schema, &map.value)),
        Shape::List(list) => format!("[]{}", go_type(schema, &list.item)),
    }
}

/// Places of fields that were there: hardly a struct has more than a number has bits.
#[derive(Default)]
struct Seen {
    first: u64,
    others: HashSet<usize>,
}

impl Seen {
    /// Whether it was not there before.
    fn insert(&mut self, place: usize) -> bool {
        let Some(bit) = u32::try_from(place).ok().and_then(|place| 1u64.checked_shl(place)) else {
            return self.others.insert(place);
        };
        let is_new = self.first & bit == 0;
        self.first |= bit;
        is_new
    }
}

/// A key of a struct.
enum Key<'s> {
    Known(usize, &'s Field),
    Unknown(String),
}

/// Finds a key among the fields, without keeping its text.
struct KeySeed<'s>(&'s StructType);

impl<'de, 's> DeserializeSeed<'de> for KeySeed<'s> {
    type Value = Key<'s>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key<'s>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'s> Visitor<'_> for KeySeed<'s> {
    type Value = Key<'s>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }
    fn visit_str<E: Error>(self, key: &str) -> Result<Key<'s>, E> {
        Ok(match self.0.fields.place(key) {
            Some(place) => Key::Known(place, &self.0.fields[place]),
            None => Key::Unknown(key.to_owned()),
        })
    }
}

/// Reads the whole document.
pub struct RootSeed<'r, 's>(&'r mut Reader<'s>);

impl<'de> DeserializeSeed<'de> for RootSeed<'_, '_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for RootSeed<'_, '_> {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        self.0.read_struct(self.0.root, map)
    }
    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(zero_of(self.0.schema, &Shape::Struct(self.0.root)))
    }
    fn visit_bool<E: Error>(self, _: bool) -> Result<Value, E> {
        Ok(self.0.not_an_object("bool"))
    }
    fn visit_i64<E: Error>(self, _: i64) -> Result<Value, E> {
        Ok(self.0.not_an_object("number"))
    }
    fn visit_u64<E: Error>(self, _: u64) -> Result<Value, E> {
        Ok(self.0.not_an_object("number"))
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<Value, E> {
        Ok(self.0.not_an_object("number"))
    }
    fn visit_str<E: Error>(self, _: &str) -> Result<Value, E> {
        Ok(self.0.not_an_object("string"))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(self.0.not_an_object("array"))
    }
}

/// Reads a value of one shape.
struct Seed<'r, 's> {
    reader: &'r mut Reader<'s>,
    shape: &'s Shape,
}

impl<'de> DeserializeSeed<'de> for Seed<'_, '_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.shape {
            Shape::Any | Shape::Deduced | Shape::FieldsV1 => Value::deserialize(deserializer),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Seed<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: Error>(self, b: bool) -> Result<Value, E> {
        match self.shape {
            Shape::Bool | Shape::StructOr(_) => Ok(Value::Bool(b)),
            Shape::Quantity => self.reader.quantity("true"),
            Shape::IntOrString => Err(self.reader.hard_mismatch("bool", "int32")),
            Shape::Time | Shape::MicroTime => Err(self.reader.hard_mismatch("bool", "string")),
            shape => Ok(self.reader.wrong_type("bool", shape)),
        }
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<Value, E> {
        self.reader.number(self.shape, n.into())
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<Value, E> {
        self.reader.number(self.shape, n.into())
    }

    fn visit_f64<E: Error>(self, n: f64) -> Result<Value, E> {
        match Number::from_f64(n) {
            Some(n) => self.reader.number(self.shape, n),
            None => Err(E::custom("number is not finite")),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        self.reader.text(self.shape, text.to_owned())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        self.reader.text(self.shape, text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        match self.shape {
            Shape::List(list) => self.reader.read_list(list, seq),
            // Upstream writes one that is empty as the object that is not there.
            Shape::StructOr(_) => match Value::deserialize(SeqAccessDeserializer::new(seq))? {
                Value::Array(items) if items.is_empty() => Ok(Value::Null),
                items => Ok(items),
            },
            Shape::Quantity => self.reader.quantity("[]"),
            Shape::IntOrString => Err(self.reader.hard_mismatch("array", "int32")),
            Shape::Time | Shape::MicroTime => Err(self.reader.hard_mismatch("array", "string")),
            shape => {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(self.reader.wrong_type("array", shape))
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        match self.shape {
            Shape::Struct(id) => self.reader.read_struct(*id, map),
            Shape::StructOr(id) => {
                let outer = self.reader.apart;
                self.reader.apart = outer.or(Some(self.reader.path.len()));
                let value = self.reader.read_struct(*id, map);
                self.reader.apart = outer;
                value
            }
            Shape::Map(shape) => self.reader.read_map(shape, map),
            Shape::Any | Shape::Deduced | Shape::FieldsV1 => Value::deserialize(MapAccessDeserializer::new(map)),
            Shape::Quantity => self.reader.quantity("{}"),
            Shape::IntOrString => Err(self.reader.hard_mismatch("object", "int32")),
            Shape::Time | Shape::MicroTime => Err(self.reader.hard_mismatch("object", "string")),
            shape => {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(self.reader.wrong_type("object", shape))
            }
        }
    }
}
