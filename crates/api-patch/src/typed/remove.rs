//! Taking fields out of an object.

use super::{Atom, Type, atom, item_element};
use crate::fields::{Element, Set};
use api_schema::schema::{Schema, Shape};
use serde_json::{Map, Value};

/// `value` without the paths in `items`. A container that had something and has nothing left becomes null.
pub(crate) fn remove_items(schema: &Schema, ty: Type<'_>, value: &Value, items: &Set) -> Value {
    if items.is_empty() {
        return value.clone();
    }
    match (atom(schema, ty, Some(value)), value) {
        (Atom::Map(map), Value::Object(fields)) if !map.atomic() => {
            let mut out = Map::new();
            for (name, value) in fields {
                let kept = match items.field(name) {
                    Some(entry) if entry.member => continue,
                    Some(entry) => match map.entry(name) {
                        Some(ty) => remove_items(schema, ty, value, &entry.children),
                        None => value.clone(),
                    },
                    None => value.clone(),
                };
                out.insert(name.clone(), kept);
            }
            if out.is_empty() { Value::Null } else { Value::Object(out) }
        }
        (Atom::List(item, kind), Value::Array(list)) => {
            let mut out = Vec::with_capacity(list.len());
            for value in list {
                let entry = item_element(schema, item, kind, value).ok().and_then(|e| items.get(&e));
                match entry {
                    Some(entry) if entry.member => {}
                    Some(entry) => out.push(remove_items(schema, Type::Shape(item), value, &entry.children)),
                    None => out.push(value.clone()),
                }
            }
            if out.is_empty() { Value::Null } else { Value::Array(out) }
        }
        (Atom::Map(_) | Atom::AtomicList(_), _) => Value::Null,
        _ => value.clone(),
    }
}

/// `set` with the named fields on the way to its members: `a.b.c` adds `a` if that is a field of a struct, not `a.b` if
/// that is an entry of a map.
pub(crate) fn with_named_fields(schema: &Schema, ty: Type<'_>, set: &Set) -> Set {
    let mut out = Set::new();
    for entry in set.entries() {
        let (mut member, mut below) = (entry.member, None);
        match (&entry.element, atom(schema, ty, None)) {
            (Element::Field(name), Atom::Map(map)) => {
                member |= !entry.children.is_empty() && map.named(name).is_some();
                below = map.entry(name);
            }
            (_, Atom::List(item, _)) => below = Some(Type::Shape(item as &Shape)),
            _ => {}
        }
        let children = match below {
            Some(ty) => with_named_fields(schema, ty, &entry.children),
            None => entry.children.clone(),
        };
        out.add(entry.element.clone(), member, children);
    }
    out
}
