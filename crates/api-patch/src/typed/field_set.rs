//! The fields that an applied configuration mentions.

use super::{Atom, MapType, Type, atom, item_element};
use crate::fields::{Element, Set};
use api_schema::schema::{ListKind, Schema, Shape};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// All leaves and list items of `value`. Items without a usable key are left out; [`super::check`] reports them.
pub(crate) fn field_set(schema: &Schema, ty: Type<'_>, value: &Value) -> Set {
    walk(schema, ty, value).1
}

/// Whether the path itself is a leaf, and what is below it.
fn walk(schema: &Schema, ty: Type<'_>, value: &Value) -> (bool, Set) {
    match (atom(schema, ty, Some(value)), value) {
        (Atom::Scalar(_) | Atom::AtomicList(_), _) => (true, Set::new()),
        (Atom::Map(map), _) if map.atomic() => (true, Set::new()),
        (Atom::Map(map), Value::Object(fields)) => (false, map_set(schema, map, fields)),
        (Atom::List(item, kind), Value::Array(items)) => (false, list_set(schema, item, kind, items)),
        _ => (false, Set::new()),
    }
}

fn map_set(schema: &Schema, map: MapType<'_>, fields: &Map<String, Value>) -> Set {
    let mut set = Set::new();
    for (name, value) in fields {
        let Some(ty) = map.entry(name) else { continue };
        let (leaf, below) = walk(schema, ty, value);
        let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
        let member = leaf || empty || map.named(name).is_none();
        set.add(Element::Field(name.clone()), member, below);
    }
    set
}

fn list_set(schema: &Schema, item: &Shape, kind: &ListKind, items: &[Value]) -> Set {
    let mut by_element: BTreeMap<Element, Vec<&Value>> = BTreeMap::new();
    for value in items {
        if let Ok(element) = item_element(schema, item, kind, value) {
            by_element.entry(element).or_default().push(value);
        }
    }
    let mut set = Set::new();
    for (element, values) in by_element {
        let below = match values.as_slice() {
            [value] => walk(schema, Type::Shape(item), value).1,
            _ => Set::new(),
        };
        set.add(element, true, below);
    }
    set
}
