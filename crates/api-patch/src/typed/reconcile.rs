//! Fields that were noted under another schema than the one of now.

use super::{Atom, MapType, Type, atom};
use crate::fields::{Element, Set};
use api_schema::schema::Schema;

/// `set` where what has become one owner's as a whole is owned as a whole by who owned a part of it. What has come apart
/// since stays as it is.
pub(crate) fn reconcile(schema: &Schema, ty: Type<'_>, set: &Set) -> Set {
    let whole = atom(schema, ty, None);
    let mut out = Set::new();
    for entry in set.entries() {
        let below = match (&entry.element, &whole) {
            (Element::Field(name), Atom::Map(map)) if !is_untyped(*map) => map.entry(name),
            (_, Atom::List(item, _)) => Some(Type::Shape(item)),
            _ => None,
        };
        let is_whole = entry.member && entry.children.is_empty();
        let becomes_whole = below.is_some_and(|ty| match atom(schema, ty, None) {
            Atom::AtomicList(_) => !is_whole,
            Atom::Map(map) => map.atomic() && !entry.children.is_empty(),
            _ => false,
        });
        let (member, children) = match below {
            Some(_) if becomes_whole => (true, Set::new()),
            Some(ty) => (entry.member, reconcile(schema, ty, &entry.children)),
            None => (entry.member, entry.children.clone()),
        };
        out.add(entry.element.clone(), member, children);
    }
    out
}

/// Of what has no fields of its own nothing is known.
fn is_untyped(map: MapType<'_>) -> bool {
    match map {
        MapType::Deduced => true,
        MapType::Free(map) => Type::Shape(&map.value).is_deduced(),
        MapType::Struct(s) => s.preserve_unknown && s.fields.is_empty(),
    }
}
