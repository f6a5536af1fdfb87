//! Types as messages: their fields by number, with embedded messages around those that have one.

use super::encode;
use crate::schema::{Field, Schema, Shape, StructId};
use serde_json::Value;
use std::sync::OnceLock;

/// What of a field's message does not follow from its shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wire {
    /// Nothing.
    #[default]
    Plain,
    /// The list is in a message of its own.
    Wrapped,
    /// An object, or `true` or `false`.
    OrBool,
    /// An object, or a list of such.
    OrArray,
    /// An object, or a list of texts.
    OrStrings,
}

/// All types of a schema as messages, made when they are first asked for.
#[derive(Debug, Default)]
pub struct Messages(OnceLock<Vec<Message>>);

/// A type as a message.
#[derive(Debug, Default)]
pub struct Message {
    /// Ascending by number.
    pub entries: Vec<Entry>,
    /// What is written of an object without any field.
    zero: OnceLock<Vec<u8>>,
}

/// A field of a message.
#[derive(Debug)]
pub struct Entry {
    /// Its number in the message that it is directly in.
    pub number: u32,
    /// What it is.
    pub what: What,
}

/// What a field of a message is.
#[derive(Debug)]
pub enum What {
    /// The field of that place in its struct.
    Field(usize),
    /// A message that JSON does not know: its fields are those of the struct around it.
    Embedded(Message),
}

impl Messages {
    /// The message of a type.
    pub(super) fn get<'s>(&'s self, schema: &Schema, id: StructId) -> &'s Message {
        let all = self.0.get_or_init(|| {
            let ids = 0..StructId::try_from(schema.structs.len()).unwrap_or(StructId::MAX);
            ids.map(|id| compile(schema, id)).collect()
        });
        &all[id as usize]
    }
}

impl Message {
    /// The field of that number.
    pub fn entry(&self, number: u32) -> Option<&Entry> {
        self.entries.binary_search_by_key(&number, |e| e.number).ok().map(|i| &self.entries[i])
    }

    /// What is written of an object without any field.
    pub fn zero(&self, schema: &Schema, id: StructId) -> &[u8] {
        self.zero.get_or_init(|| encode::zero_body(schema, id))
    }
}

fn compile(schema: &Schema, id: StructId) -> Message {
    let mut message = Message::default();
    for (place, field) in schema.get(id).fields.iter().enumerate().filter(|(_, f)| f.number != 0) {
        let path = path(field.number);
        message.insert(&path, place);
    }
    message
}

impl Message {
    fn insert(&mut self, path: &[u32], place: usize) {
        let Some((number, inner)) = path.split_first() else { return };
        let at = match self.entries.binary_search_by_key(number, |e| e.number) {
            Ok(at) => at,
            Err(at) => {
                let what = if inner.is_empty() { What::Field(place) } else { What::Embedded(Message::default()) };
                self.entries.insert(at, Entry { number: *number, what });
                at
            }
        };
        if let What::Embedded(message) = &mut self.entries[at].what {
            message.insert(inner, place);
        }
    }
}

/// The numbers on the way to a field, the outermost first.
fn path(number: u32) -> Vec<u32> {
    number.to_be_bytes().into_iter().skip_while(|b| *b == 0).map(u32::from).collect()
}

/// Fields in the order in which they are written.
pub fn order(field: &Field) -> u32 {
    field.number << (field.number.leading_zeros() & !7)
}

/// Whether the field is written when it is not there: in Go it is no pointer.
pub fn is_always_written(field: &Field) -> bool {
    let default = field.default.as_ref();
    match &field.shape {
        Shape::List(_) | Shape::Map(_) | Shape::Bytes | Shape::FieldsV1 | Shape::StructOr(_) => false,
        Shape::String | Shape::Bool | Shape::Int32 | Shape::Int64 | Shape::Number => {
            field.zero_is_absent || default.is_some_and(|d| !d.is_null())
        }
        Shape::Struct(_) => default.is_some_and(Value::is_object),
        Shape::Time | Shape::MicroTime | Shape::Any | Shape::Deduced => default.is_some_and(Value::is_null),
        Shape::Quantity | Shape::IntOrString => default.is_some(),
    }
}
