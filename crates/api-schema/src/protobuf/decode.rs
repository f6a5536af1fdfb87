//! A message → the object that the same one in JSON would have given.

use super::messages::{Message, What, Wire};
use super::wire::{Cursor, Kind, wrong};
use super::{DEPTH_MAX, Error};
use crate::normalize::{finish, reads_as_absent, zero_of};
use crate::scalar;
use crate::schema::{Field, MapShape, Schema, Shape, StructId};
use api_core::time;
use base64::Engine;
use serde_json::{Map, Number, Value};

/// The object that a message is.
pub fn message(schema: &Schema, root: StructId, bytes: &[u8]) -> Result<Value, Error> {
    let mut reader = Reader { schema, depth: 0 };
    let mut value = Value::Null;
    reader.read_struct(root, bytes, &mut value)?;
    reader.depth = 0;
    reader.complete(root, &mut value);
    Ok(value)
}

struct Reader<'s> {
    schema: &'s Schema,
    depth: usize,
}

impl<'s> Reader<'s> {
    /// Reads a message of a type into an object that may hold an earlier part of it.
    fn read_struct(&mut self, id: StructId, bytes: &[u8], into: &mut Value) -> Result<(), Error> {
        if !into.is_object() {
            *into = Value::Object(Map::new());
        }
        let Value::Object(object) = into else { return Ok(()) };
        self.read_fields(id, self.schema.messages.get(self.schema, id), bytes, object)
    }

    fn read_fields(
        &mut self,
        id: StructId,
        message: &'s Message,
        bytes: &[u8],
        object: &mut Map<String, Value>,
    ) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Error::Depth);
        }
        let ty = self.schema.get(id);
        let mut cursor = Cursor::new(bytes, ty.name.rsplit('.').next().unwrap_or(""));
        while let Some((number, kind)) = cursor.tag()? {
            match message.entry(number).map(|entry| &entry.what) {
                None => cursor.skip(kind)?,
                Some(What::Embedded(inner)) => {
                    let bytes = cursor.bytes_of(kind, &ty.name)?;
                    self.read_fields(id, inner, bytes, object)?;
                }
                Some(What::Field(place)) => {
                    let field = &ty.fields[*place];
                    let wire = self.schema.wires.get(&(id, *place)).copied().unwrap_or_default();
                    let slot = object.entry(field.name.as_str()).or_insert(Value::Null);
                    self.read_field(field, wire, kind, &mut cursor, slot)?;
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn read_field(
        &mut self,
        field: &'s Field,
        wire: Wire,
        kind: Kind,
        cursor: &mut Cursor<'_, '_>,
        slot: &mut Value,
    ) -> Result<(), Error> {
        match (&field.shape, wire) {
            (Shape::List(list), Wire::Wrapped) => {
                let bytes = cursor.bytes_of(kind, &field.name)?;
                self.read_wrapped(&list.item, bytes, &field.name, slot)
            }
            (Shape::List(list), _) => self.read_list(&list.item, wire, kind, cursor, &field.name, slot),
            (Shape::Map(map), _) => {
                let bytes = cursor.bytes_of(kind, &field.name)?;
                self.read_entry(map, wire, bytes, &field.name, slot)
            }
            (shape, _) => self.read_value(shape, wire, kind, cursor, &field.name, slot),
        }
    }

    /// One item of a list, or several numbers that are packed.
    fn read_list(
        &mut self,
        item: &'s Shape,
        wire: Wire,
        kind: Kind,
        cursor: &mut Cursor<'_, '_>,
        name: &str,
        slot: &mut Value,
    ) -> Result<(), Error> {
        if !slot.is_array() {
            *slot = Value::Array(Vec::new());
        }
        let Value::Array(items) = slot else { return Ok(()) };
        let is_number = matches!(item, Shape::Bool | Shape::Int32 | Shape::Int64 | Shape::Number);
        if is_number && kind == Kind::Bytes {
            let mut packed = Cursor::new(cursor.bytes()?, name);
            let kind = if *item == Shape::Number { Kind::Fixed64 } else { Kind::Varint };
            while !packed.is_empty() {
                let mut value = Value::Null;
                self.read_value(item, wire, kind, &mut packed, name, &mut value)?;
                items.push(value);
            }
            return Ok(());
        }
        let mut value = Value::Null;
        self.read_value(item, wire, kind, cursor, name, &mut value)?;
        items.push(self.element(item, value));
        Ok(())
    }

    /// A list in a message of its own. It is there even when it is empty.
    fn read_wrapped(&mut self, item: &'s Shape, bytes: &[u8], name: &str, slot: &mut Value) -> Result<(), Error> {
        let mut cursor = Cursor::new(bytes, name);
        if !slot.is_array() {
            *slot = Value::Array(Vec::new());
        }
        while let Some((number, kind)) = cursor.tag()? {
            match number {
                1 => self.read_list(item, Wire::Plain, kind, &mut cursor, name, slot)?,
                _ => cursor.skip(kind)?,
            }
        }
        Ok(())
    }

    fn read_entry(
        &mut self,
        map: &'s MapShape,
        wire: Wire,
        bytes: &[u8],
        name: &str,
        slot: &mut Value,
    ) -> Result<(), Error> {
        let mut cursor = Cursor::new(bytes, name);
        let (mut key, mut value) = (String::new(), Value::Null);
        while let Some((number, kind)) = cursor.tag()? {
            match (number, &map.value) {
                (1, _) => key = String::from_utf8_lossy(cursor.bytes_of(kind, "mapkey")?).into_owned(),
                (2, Shape::List(list)) => {
                    let bytes = cursor.bytes_of(kind, "mapvalue")?;
                    self.read_wrapped(&list.item, bytes, name, &mut value)?;
                }
                (2, shape) => self.read_value(shape, wire, kind, &mut cursor, "mapvalue", &mut value)?,
                _ => cursor.skip(kind)?,
            }
        }
        // Some writers leave out a value that is empty.
        match &map.value {
            Shape::Bytes if value.is_null() => value = Value::String(String::new()),
            Shape::List(_) if value.is_null() => value = Value::Array(Vec::new()),
            _ => {}
        }
        let value = self.element(&map.value, value);
        if !slot.is_object() {
            *slot = Value::Object(Map::new());
        }
        if let Value::Object(entries) = slot {
            entries.insert(key, value);
        }
        Ok(())
    }

    /// What an item or entry is that says nothing.
    fn element(&self, shape: &Shape, value: Value) -> Value {
        if value.is_null() { zero_of(self.schema, shape) } else { value }
    }

    fn read_value(
        &mut self,
        shape: &'s Shape,
        wire: Wire,
        kind: Kind,
        cursor: &mut Cursor<'_, '_>,
        name: &str,
        slot: &mut Value,
    ) -> Result<(), Error> {
        match shape {
            Shape::Bool | Shape::Int32 | Shape::Int64 if kind == Kind::Varint => {
                *slot = integer(shape, cursor.varint()?);
            }
            Shape::Number if kind == Kind::Fixed64 => {
                let value = f64::from_bits(cursor.fixed64()?);
                let number = Number::from_f64(value);
                *slot =
                    scalar::number(number.ok_or_else(|| Error::Value(format!("json: unsupported value: {value}")))?);
            }
            Shape::Bool | Shape::Int32 | Shape::Int64 | Shape::Number => return Err(wrong(kind, name)),
            Shape::Struct(id) => {
                let bytes = cursor.bytes_of(kind, name)?;
                self.read_struct(*id, bytes, slot)?;
            }
            Shape::StructOr(id) => {
                let bytes = cursor.bytes_of(kind, name)?;
                self.read_union(*id, wire, bytes, slot)?;
            }
            _ => *slot = scalar_of(shape, cursor.bytes_of(kind, name)?, name)?,
        }
        Ok(())
    }

    fn read_union(&mut self, id: StructId, wire: Wire, bytes: &[u8], slot: &mut Value) -> Result<(), Error> {
        let mut cursor = Cursor::new(bytes, "JSONSchemaPropsOr");
        let (object_number, list_number) = if wire == Wire::OrBool { (2, 1) } else { (1, 2) };
        let (mut object, mut list, mut allows) = (Value::Null, Value::Null, false);
        while let Some((number, kind)) = cursor.tag()? {
            match number {
                n if n == object_number => {
                    let bytes = cursor.bytes_of(kind, "schema")?;
                    self.read_struct(id, bytes, &mut object)?;
                }
                n if n == list_number && wire == Wire::OrBool => match kind {
                    Kind::Varint => allows = cursor.varint()? != 0,
                    kind => return Err(wrong(kind, "allows")),
                },
                n if n == list_number && wire == Wire::OrStrings => {
                    self.read_list(&Shape::String, Wire::Plain, kind, &mut cursor, "property", &mut list)?;
                }
                n if n == list_number => {
                    let bytes = cursor.bytes_of(kind, "jSONSchemas")?;
                    let mut item = Value::Null;
                    self.read_struct(id, bytes, &mut item)?;
                    match &mut list {
                        Value::Array(items) => items.push(item),
                        none => *none = Value::Array(vec![item]),
                    }
                }
                _ => cursor.skip(kind)?,
            }
        }
        *slot = match (object, list) {
            (Value::Null, Value::Null) if wire == Wire::OrBool => Value::Bool(allows),
            // Upstream writes the list if there is one, else the object.
            (object, Value::Null) => object,
            (_, list) => list,
        };
        Ok(())
    }

    /// Drops what reads as absent and adds what is always there, from the inside out.
    fn complete(&self, id: StructId, value: &mut Value) {
        let Value::Object(object) = value else { return };
        let ty = self.schema.get(id);
        object.retain(|name, value| match ty.field(name) {
            None => false,
            Some(field) => {
                self.complete_shape(&field.shape, value);
                !reads_as_absent(field, value)
            }
        });
        finish(self.schema, ty, object);
    }

    fn complete_shape(&self, shape: &Shape, value: &mut Value) {
        match (shape, value) {
            (Shape::Struct(id), value) => self.complete(*id, value),
            (Shape::StructOr(id), Value::Array(items)) => items.iter_mut().for_each(|item| self.complete(*id, item)),
            (Shape::StructOr(id), value) => self.complete(*id, value),
            (Shape::List(list), Value::Array(items)) => {
                items.iter_mut().for_each(|item| self.complete_shape(&list.item, item));
            }
            (Shape::Map(map), Value::Object(entries)) => {
                entries.values_mut().for_each(|entry| self.complete_shape(&map.value, entry));
            }
            _ => {}
        }
    }
}

fn integer(shape: &Shape, bits: u64) -> Value {
    #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "two's complement, as upstream")]
    match shape {
        Shape::Bool => Value::Bool(bits != 0),
        Shape::Int32 => Value::from(bits as i32),
        _ => Value::from(bits as i64),
    }
}

/// A value that is no struct, list, map or number.
fn scalar_of(shape: &Shape, bytes: &[u8], name: &str) -> Result<Value, Error> {
    Ok(match shape {
        Shape::Bytes => Value::String(scalar::BASE64.encode(bytes)),
        Shape::Time => match timestamp(bytes)? {
            None => Value::Null,
            Some((seconds, _)) => Value::String(time::format_unix_s(seconds)),
        },
        Shape::MicroTime => match timestamp(bytes)? {
            None => Value::Null,
            Some((seconds, nanos)) => {
                let micros = seconds.saturating_mul(1_000_000).saturating_add(i64::from(nanos) / 1000);
                Value::String(time::format_unix_us(micros))
            }
        },
        Shape::Quantity => {
            let text = single_text(bytes, name)?;
            scalar::quantity(&text).map_err(Error::Value)?
        }
        Shape::IntOrString => int_or_string(bytes, name)?,
        Shape::Any | Shape::Deduced | Shape::FieldsV1 => match single(bytes, name)? {
            None | Some([]) => Value::Null,
            Some(raw) => serde_json::from_slice(raw).map_err(|e| Error::Value(format!("{name}: {e}")))?,
        },
        _ => Value::String(String::from_utf8_lossy(bytes).into_owned()),
    })
}

/// The bytes that are the one field of a message.
fn single<'a>(bytes: &'a [u8], name: &str) -> Result<Option<&'a [u8]>, Error> {
    let mut cursor = Cursor::new(bytes, name);
    let mut found = None;
    while let Some((number, kind)) = cursor.tag()? {
        match number {
            1 => found = Some(cursor.bytes_of(kind, name)?),
            _ => cursor.skip(kind)?,
        }
    }
    Ok(found)
}

fn single_text(bytes: &[u8], name: &str) -> Result<String, Error> {
    // A quantity that says nothing is zero.
    Ok(single(bytes, name)?.map_or_else(|| "0".into(), |text| String::from_utf8_lossy(text).into_owned()))
}

/// Seconds and nanoseconds; `None` if there are no bytes, as upstream has it for no time.
fn timestamp(bytes: &[u8]) -> Result<Option<(i64, i32)>, Error> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut cursor = Cursor::new(bytes, "Timestamp");
    let (mut seconds, mut nanos) = (0, 0);
    while let Some((number, kind)) = cursor.tag()? {
        match (number, kind) {
            (1, Kind::Varint) => seconds = i64::from_ne_bytes(cursor.varint()?.to_ne_bytes()),
            #[expect(clippy::cast_possible_truncation, reason = "32 bits, as upstream reads it")]
            (2, Kind::Varint) => nanos = cursor.varint()? as i32,
            (1, kind) => return Err(wrong(kind, "seconds")),
            (2, kind) => return Err(wrong(kind, "nanos")),
            _ => cursor.skip(kind)?,
        }
    }
    Ok(Some((seconds, nanos)))
}

fn int_or_string(bytes: &[u8], name: &str) -> Result<Value, Error> {
    let mut cursor = Cursor::new(bytes, name);
    let (mut which, mut number, mut text) = (0, 0, "".into());
    while let Some((field, kind)) = cursor.tag()? {
        match (field, kind) {
            (1, Kind::Varint) => which = cursor.varint()?,
            #[expect(clippy::cast_possible_truncation, reason = "32 bits, as upstream reads it")]
            (2, Kind::Varint) => number = cursor.varint()? as i32,
            (3, Kind::Bytes) => text = String::from_utf8_lossy(cursor.bytes()?),
            (1..=3, kind) => return Err(wrong(kind, ["type", "intVal", "strVal"][field as usize - 1])),
            _ => cursor.skip(kind)?,
        }
    }
    match which {
        0 => Ok(Value::from(number)),
        1 => Ok(Value::String(text.into_owned())),
        _ => Err(Error::Value("impossible IntOrString.Type".into())),
    }
}
