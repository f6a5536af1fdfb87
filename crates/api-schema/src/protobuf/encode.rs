//! JSON, or a value, → a message, in one pass.
//!
//! Fields come in any order and go out in that of their numbers: what each makes is put down where it is read, then put
//! in order when its struct ends.

use super::messages::{Message, What, Wire, is_always_written, order};
use super::wire::{Kind, put_bytes, put_int, put_tag, put_varint, varint_len};
use crate::scalar;
use crate::schema::{Field, Schema, Shape, StructId, StructType};
use api_core::time::{self, Moment};
use base64::Engine;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// The message of an object.
pub fn message<'de, D: Deserializer<'de>>(schema: &Schema, root: StructId, from: D) -> Result<Vec<u8>, D::Error> {
    let mut writer = Writer { schema, out: Vec::with_capacity(1024), parts: Vec::new(), spare: Vec::new() };
    from.deserialize_map(StructBody { writer: &mut writer, id: root })?;
    Ok(writer.out)
}

/// The message of an object without any field.
pub fn zero_body(schema: &Schema, id: StructId) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer { schema, out: Vec::new(), parts: Vec::new(), spare: Vec::new() };
    writer.put_in_order(id, schema.messages.get(schema, id), 0, &mut 0, &mut out);
    out
}

struct Writer<'s> {
    schema: &'s Schema,
    out: Vec<u8>,
    /// What was read of the structs that are open, each with its place in `out`.
    parts: Vec<Part>,
    /// Buffers to be used again.
    spare: Vec<Vec<u8>>,
}

/// What a field has made.
#[derive(Clone, Copy)]
struct Part {
    place: usize,
    order: u32,
    start: usize,
    end: usize,
}

impl<'s> Writer<'s> {
    /// Turns what was put down since `base` into a field of that number.
    fn delimit(&mut self, number: u32, base: usize) {
        let length = (self.out.len() - base) as u64;
        let head = varint_len(u64::from(number) << 3) + varint_len(length);
        let end = self.out.len();
        self.out.resize(end + head, 0);
        self.out.copy_within(base..end, base + head);
        let mut prefix = self.spare.pop().unwrap_or_default();
        put_tag(&mut prefix, number, Kind::Bytes);
        put_varint(&mut prefix, length);
        self.out[base..base + head].copy_from_slice(&prefix);
        self.put_back(prefix);
    }

    fn put_back(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.spare.push(buffer);
    }

    fn read_struct<'de, A: MapAccess<'de>>(&mut self, id: StructId, mut map: A) -> Result<(), A::Error> {
        let ty: &'s StructType = self.schema.get(id);
        let (base, first) = (self.out.len(), self.parts.len());
        while let Some(place) = map.next_key_seed(Place(ty))? {
            let Some(place) = place.filter(|p| ty.fields[*p].number != 0) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let field = &ty.fields[place];
            let start = self.out.len();
            let wire = self.schema.wires.get(&(id, place)).copied().unwrap_or_default();
            let number = field.number & 0xff;
            map.next_value_seed(Item { writer: self, shape: &field.shape, wire, number, is_element: false })?;
            if self.out.len() > start {
                self.parts.push(Part { place, order: order(field), start, end: self.out.len() });
            }
        }
        let message = self.schema.messages.get(self.schema, id);
        self.parts[first..].sort_by_key(|part| part.order);
        let mut body = self.spare.pop().unwrap_or_default();
        self.put_in_order(id, message, first, &mut 0, &mut body);
        self.parts.truncate(first);
        self.out.truncate(base);
        self.out.extend_from_slice(&body);
        self.put_back(body);
        Ok(())
    }

    /// Writes the fields of a struct, of which those read are `parts` from `first + next` on.
    fn put_in_order(&mut self, id: StructId, message: &Message, first: usize, next: &mut usize, to: &mut Vec<u8>) {
        let ty: &'s StructType = self.schema.get(id);
        for entry in &message.entries {
            match &entry.what {
                What::Field(place) => {
                    let mut found = false;
                    while let Some(part) = self.parts.get(first + *next).filter(|part| part.place == *place) {
                        to.extend_from_slice(&self.out[part.start..part.end]);
                        *next += 1;
                        found = true;
                    }
                    if !found && is_always_written(&ty.fields[*place]) {
                        put_zero(self.schema, &ty.fields[*place], entry.number, to);
                    }
                }
                What::Embedded(inner) => {
                    let mut body = self.spare.pop().unwrap_or_default();
                    self.put_in_order(id, inner, first, next, &mut body);
                    put_bytes(to, entry.number, &body);
                    self.put_back(body);
                }
            }
        }
    }
}

fn put_zero(schema: &Schema, field: &Field, number: u32, out: &mut Vec<u8>) {
    put_zero_of(schema, &field.shape, number, out);
}

/// The zero value of a shape as a field.
fn put_zero_of(schema: &Schema, shape: &Shape, number: u32, out: &mut Vec<u8>) {
    match shape {
        Shape::Bool | Shape::Int32 | Shape::Int64 => put_int(out, number, 0),
        Shape::Number => {
            put_tag(out, number, Kind::Fixed64);
            out.extend_from_slice(&[0; 8]);
        }
        Shape::Struct(id) => put_bytes(out, number, schema.messages.get(schema, *id).zero(schema, *id)),
        Shape::Quantity => put_bytes(out, number, b"\x0a\x010"),
        Shape::IntOrString => put_bytes(out, number, b"\x08\0\x10\0\x1a\0"),
        Shape::String
        | Shape::Time
        | Shape::MicroTime
        | Shape::Any
        | Shape::Deduced
        | Shape::Bytes
        | Shape::FieldsV1
        | Shape::StructOr(_)
        | Shape::Map(_)
        | Shape::List(_) => put_bytes(out, number, b""),
    }
}

/// The place of a field among those of its struct; `None` for a key that is none.
struct Place<'s>(&'s StructType);

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Option<usize>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Place<'_> {
    type Value = Option<usize>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }
    fn visit_str<E: Error>(self, key: &str) -> Result<Option<usize>, E> {
        Ok(self.0.fields.binary_search_by(|f| f.name.as_str().cmp(key)).ok())
    }
}

/// The body of a struct.
struct StructBody<'w, 's> {
    writer: &'w mut Writer<'s>,
    id: StructId,
}

impl<'de> DeserializeSeed<'de> for StructBody<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for StructBody<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.writer.read_struct(self.id, map)
    }
}

/// A value as a field, or as one of the fields that make a list.
struct Item<'w, 's, 'x> {
    writer: &'w mut Writer<'s>,
    shape: &'x Shape,
    wire: Wire,
    number: u32,
    /// Whether a null counts: as an item of a list or a value of a map it does.
    is_element: bool,
}

impl<'de> DeserializeSeed<'de> for Item<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.shape {
            Shape::Any | Shape::Deduced | Shape::FieldsV1 => {
                let raw = Box::<RawValue>::deserialize(deserializer)?;
                let base = self.writer.out.len();
                if raw.get() != "null" {
                    put_bytes(&mut self.writer.out, 1, raw.get().as_bytes());
                } else if !self.is_element {
                    return Ok(());
                }
                self.writer.delimit(self.number, base);
                Ok(())
            }
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'s> Item<'_, 's, '_> {
    fn element<'w, 'x>(&'w mut self, shape: &'x Shape, number: u32) -> Item<'w, 's, 'x> {
        Item { writer: &mut *self.writer, shape, wire: self.wire, number, is_element: true }
    }

    fn mismatch<E: Error>(&self, found: &str) -> E {
        E::custom(format_args!("{found} where {:?} is expected (field {})", self.shape, self.number))
    }

    fn float<E: Error>(self, value: f64) -> Result<(), E> {
        if *self.shape != Shape::Number {
            return Err(self.mismatch("a fraction"));
        }
        put_tag(&mut self.writer.out, self.number, Kind::Fixed64);
        self.writer.out.extend_from_slice(&value.to_le_bytes());
        Ok(())
    }

    fn time<E: Error>(self, micros: Result<i64, time::TimeError>, nanos: bool) -> Result<(), E> {
        let micros = micros.map_err(|e| E::custom(e.0))?;
        let base = self.writer.out.len();
        put_int(&mut self.writer.out, 1, micros.div_euclid(1_000_000));
        put_int(&mut self.writer.out, 2, if nanos { micros.rem_euclid(1_000_000) * 1000 } else { 0 });
        self.writer.delimit(self.number, base);
        Ok(())
    }

    fn text_message(self, number: u32, text: &str) {
        let base = self.writer.out.len();
        put_bytes(&mut self.writer.out, number, text.as_bytes());
        self.writer.delimit(self.number, base);
    }
}

impl<'de> Visitor<'de> for Item<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        if self.is_element {
            put_zero_of(self.writer.schema, self.shape, self.number, &mut self.writer.out);
        }
        Ok(())
    }

    fn visit_bool<E: Error>(self, b: bool) -> Result<(), E> {
        match (self.shape, self.wire) {
            (Shape::Bool, _) => put_int(&mut self.writer.out, self.number, b.into()),
            (Shape::StructOr(_), Wire::OrBool) => {
                let base = self.writer.out.len();
                put_int(&mut self.writer.out, 1, b.into());
                self.writer.delimit(self.number, base);
            }
            _ => return Err(self.mismatch("a bool")),
        }
        Ok(())
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<(), E> {
        match self.shape {
            Shape::Int32 | Shape::Int64 => put_int(&mut self.writer.out, self.number, n),
            #[expect(clippy::cast_precision_loss, reason = "as Go reads it")]
            Shape::Number => return self.float(n as f64),
            Shape::IntOrString => {
                let base = self.writer.out.len();
                put_int(&mut self.writer.out, 1, 0);
                put_int(&mut self.writer.out, 2, n);
                put_bytes(&mut self.writer.out, 3, b"");
                self.writer.delimit(self.number, base);
            }
            Shape::Quantity => self.text_message(1, &n.to_string()),
            _ => return Err(self.mismatch("a number")),
        }
        Ok(())
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<(), E> {
        match i64::try_from(n) {
            Ok(n) => self.visit_i64(n),
            #[expect(clippy::cast_precision_loss, reason = "as Go reads it")]
            Err(_) => self.float(n as f64),
        }
    }

    fn visit_f64<E: Error>(self, n: f64) -> Result<(), E> {
        self.float(n)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        match self.shape {
            Shape::String => put_bytes(&mut self.writer.out, self.number, text.as_bytes()),
            Shape::Bytes => {
                let bytes = scalar::BASE64.decode(text).map_err(E::custom)?;
                put_bytes(&mut self.writer.out, self.number, &bytes);
            }
            Shape::Time => return self.time(time::parse(text).map(Moment::unix_us), false),
            Shape::MicroTime => return self.time(time::parse_micro(text).map(Moment::unix_us), true),
            Shape::Quantity => self.text_message(1, text),
            Shape::IntOrString => {
                let base = self.writer.out.len();
                put_int(&mut self.writer.out, 1, 1);
                put_int(&mut self.writer.out, 2, 0);
                put_bytes(&mut self.writer.out, 3, text.as_bytes());
                self.writer.delimit(self.number, base);
            }
            _ => return Err(self.mismatch("a text")),
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let base = self.writer.out.len();
        match (self.shape, self.wire) {
            (Shape::List(list), Wire::Wrapped) => {
                while seq.next_element_seed(self.element(&list.item, 1))?.is_some() {}
                self.writer.delimit(self.number, base);
            }
            (Shape::List(list), _) => while seq.next_element_seed(self.element(&list.item, self.number))?.is_some() {},
            (Shape::StructOr(id), Wire::OrArray) => {
                let shape = Shape::Struct(*id);
                while seq.next_element_seed(self.element(&shape, 2))?.is_some() {}
                self.writer.delimit(self.number, base);
            }
            (Shape::StructOr(_), Wire::OrStrings) => {
                while seq.next_element_seed(self.element(&Shape::String, 2))?.is_some() {}
                self.writer.delimit(self.number, base);
            }
            _ => return Err(self.mismatch("a list")),
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let base = self.writer.out.len();
        match (self.shape, self.wire) {
            (Shape::Struct(id), _) => {
                self.writer.read_struct(*id, map)?;
                self.writer.delimit(self.number, base);
            }
            (Shape::StructOr(id), wire) => {
                if wire == Wire::OrBool {
                    put_int(&mut self.writer.out, 1, 1);
                }
                let inner = self.writer.out.len();
                self.writer.read_struct(*id, map)?;
                self.writer.delimit(if wire == Wire::OrBool { 2 } else { 1 }, inner);
                self.writer.delimit(self.number, base);
            }
            (Shape::Map(shape), _) => {
                let mut entries: Vec<(String, usize, usize)> = Vec::new();
                if matches!(shape.value, Shape::List(_)) {
                    self.wire = Wire::Wrapped;
                }
                while let Some(key) = map.next_key::<String>()? {
                    let start = self.writer.out.len();
                    put_bytes(&mut self.writer.out, 1, key.as_bytes());
                    map.next_value_seed(self.element(&shape.value, 2))?;
                    self.writer.delimit(self.number, start);
                    entries.push((key, start, self.writer.out.len()));
                }
                self.sort_entries(base, entries);
            }
            _ => return Err(self.mismatch("an object")),
        }
        Ok(())
    }
}

impl Item<'_, '_, '_> {
    /// Brings the entries of a map into the order of their keys.
    fn sort_entries(&mut self, base: usize, mut entries: Vec<(String, usize, usize)>) {
        if entries.is_sorted_by(|a, b| a.0 < b.0) {
            return;
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        let mut sorted = self.writer.spare.pop().unwrap_or_default();
        for (i, (key, start, end)) in entries.iter().enumerate() {
            // Of a key that comes twice the last one counts.
            if entries.get(i + 1).is_none_or(|next| next.0 != *key) {
                sorted.extend_from_slice(&self.writer.out[*start..*end]);
            }
        }
        self.writer.out.truncate(base);
        self.writer.out.extend_from_slice(&sorted);
        self.writer.put_back(sorted);
    }
}
