//! Walks of objects along their schema, as server-side apply sees them: what is a leaf, what is a list item's key.
//!
//! Follows upstream's structured-merge-diff. Must never know a kind by name.

mod check;
mod compare;
mod field_set;
mod merge;
mod reconcile;
mod remove;
mod written;

pub(crate) use check::check;
pub(crate) use compare::{Comparison, compare};
pub(crate) use field_set::field_set;
pub(crate) use merge::merge;
pub(crate) use reconcile::reconcile;
pub(crate) use remove::{remove_items, with_named_fields};
pub(crate) use written::written;

use crate::fields::Element;
use api_schema::schema::{Field, ListKind, MapShape, Schema, Shape, StructId, StructType};
use serde_json::{Map, Value};
use std::sync::LazyLock;

/// What a value is known to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Type<'a> {
    /// As the schema says.
    Shape(&'a Shape),
    /// An object with named fields.
    Struct(StructId),
    /// A field that the schema does not list, where it allows that: maps are merged, lists are atomic.
    Deduced,
}

impl Type<'_> {
    /// Whether only a value shows what it is.
    pub(crate) fn is_deduced(self) -> bool {
        matches!(self, Self::Deduced | Self::Shape(Shape::Deduced))
    }
}

/// How a value of a type is walked.
pub(crate) enum Atom<'a> {
    /// One owner as a whole.
    Scalar(Scalar),
    /// An object.
    Map(MapType<'a>),
    /// A list of keyed objects or a set.
    List(&'a Shape, &'a ListKind),
    /// A list with one owner; what its items are.
    AtomicList(Option<&'a Shape>),
}

/// What a leaf may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalar {
    String,
    Number,
    Bool,
    Untyped,
    /// Anything, with one owner.
    Any,
}

/// An object's type.
#[derive(Clone, Copy)]
pub(crate) enum MapType<'a> {
    Struct(&'a StructType),
    Free(&'a MapShape),
    Deduced,
}

impl<'a> MapType<'a> {
    pub(crate) fn atomic(self) -> bool {
        match self {
            Self::Struct(s) => s.atomic,
            Self::Free(m) => m.atomic,
            Self::Deduced => false,
        }
    }

    /// The field of a struct, if it is one.
    pub(crate) fn named(self, name: &str) -> Option<&'a Field> {
        match self {
            Self::Struct(s) => s.field(name),
            _ => None,
        }
    }

    /// What the entry `name` is; `None` if the schema does not allow it.
    pub(crate) fn entry(self, name: &str) -> Option<Type<'a>> {
        self.of(self.named(name))
    }

    /// What an entry is whose named field, if it has one, is `field`.
    pub(crate) fn of(self, field: Option<&'a Field>) -> Option<Type<'a>> {
        match (self, field) {
            (_, Some(field)) => Some(Type::Shape(&field.shape)),
            (Self::Struct(s), None) => s.preserve_unknown.then_some(Type::Deduced),
            (Self::Free(m), None) => Some(Type::Shape(&m.value)),
            (Self::Deduced, None) => Some(Type::Deduced),
        }
    }
}

/// How `value` of type `ty` is walked. Nothing and null are walked as an object where the type is open.
pub(crate) fn atom<'a>(schema: &'a Schema, ty: Type<'a>, value: Option<&Value>) -> Atom<'a> {
    let shape = match ty {
        Type::Shape(shape) => shape,
        Type::Struct(id) => return Atom::Map(MapType::Struct(schema.get(id))),
        Type::Deduced => {
            return match value {
                Some(Value::Array(_)) => Atom::AtomicList(None),
                Some(Value::Object(_) | Value::Null) | None => Atom::Map(MapType::Deduced),
                Some(_) => Atom::Scalar(Scalar::Untyped),
            };
        }
    };
    match shape {
        Shape::Deduced => atom(schema, Type::Deduced, value),
        // Of what its document gives several types, upstream checks none.
        Shape::Any | Shape::StructOr(_) | Shape::FieldsV1 | Shape::Quantity | Shape::IntOrString => {
            Atom::Scalar(Scalar::Any)
        }
        Shape::Bool => Atom::Scalar(Scalar::Bool),
        Shape::Int32 | Shape::Int64 | Shape::Number => Atom::Scalar(Scalar::Number),
        Shape::String | Shape::Bytes => Atom::Scalar(Scalar::String),
        Shape::Time | Shape::MicroTime => Atom::Scalar(Scalar::Untyped),
        Shape::Struct(id) => Atom::Map(MapType::Struct(schema.get(*id))),
        Shape::Map(m) => Atom::Map(MapType::Free(m)),
        Shape::List(list) => match &list.kind {
            ListKind::Atomic => Atom::AtomicList(Some(&list.item)),
            kind => Atom::List(&list.item, kind),
        },
    }
}

/// The path element of a list item, or why it has none.
pub(crate) fn item_element(schema: &Schema, item: &Shape, kind: &ListKind, value: &Value) -> Result<Element, String> {
    let ListKind::Map(keys) = kind else {
        return match value {
            Value::Object(_) => Err("associative list without keys has an element that's a map type".into()),
            Value::Array(_) => Err("not supported: associative list with lists as elements".into()),
            Value::Null => Err("associative list without keys has an element that's an explicit null".into()),
            scalar => Ok(Element::Value(scalar.clone())),
        };
    };
    let map = match value {
        Value::Object(map) => map,
        Value::Null => return Err("associative list with keys may not have a null element".into()),
        _ => return Err("associative list with keys may not have non-map elements".into()),
    };
    let mut fields = Vec::with_capacity(keys.len());
    for key in keys {
        let Some(value) = key_value(schema, item, key, map) else {
            return Err(format!(
                "associative list with keys has an element that omits key field {key:?} (and doesn't have default value)"
            ));
        };
        fields.push((key.clone(), value.clone()));
    }
    Ok(Element::key(fields))
}

/// The value of a key field of a list item, which may be a default.
fn key_value<'v>(schema: &'v Schema, item: &Shape, key: &str, map: &'v Map<String, Value>) -> Option<&'v Value> {
    let default = || match item {
        Shape::Struct(id) => schema.get(*id).field(key)?.default.as_ref(),
        _ => None,
    };
    map.get(key).or_else(default)
}

static NULL: Value = Value::Null;
static EMPTY: LazyLock<Value> = LazyLock::new(|| Value::Object(Map::new()));

/// What upstream's typed object holds where ours has no such field: fields without `omitempty` are always there. Fields
/// of custom resources (they have no protobuf number) are never.
pub(crate) fn always_present(field: &Field) -> Option<&Value> {
    if field.number == 0 {
        return None;
    }
    match (&field.shape, &field.default) {
        (_, Some(Value::Null)) => Some(&NULL),
        (Shape::Struct(_), Some(_)) => Some(&EMPTY),
        (_, Some(default)) if !field.zero_is_absent && is_zero(default) => Some(default),
        // A pointer.
        (Shape::Struct(_) | Shape::Map(_) | Shape::List(_) | Shape::Any, None) if field.required => Some(&NULL),
        _ => None,
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::String(s) => s.is_empty(),
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::Bool(b) => !b,
        _ => false,
    }
}
