//! What changed between two objects, as sets of fields.

use super::{Atom, MapType, Type, always_present, atom, item_element};
use crate::fields::{Element, Set};
use api_schema::schema::{ListKind, Schema, Shape};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Fields by what happened to them; none is in two sets.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    pub(crate) added: Set,
    pub(crate) modified: Set,
    pub(crate) removed: Set,
}

impl Comparison {
    /// Without `fields` and all below them.
    pub(crate) fn without(mut self, fields: &Set) -> Self {
        for set in [&mut self.added, &mut self.modified, &mut self.removed] {
            set.subtract(fields, true);
        }
        self
    }

    pub(crate) fn is_same(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    /// Adds what was found below a step, and what happened to that step itself.
    fn attach(&mut self, step: Step<'_>, change: Change, below: Comparison) {
        let all = [
            (&mut self.added, change == Change::Added, below.added),
            (&mut self.modified, change == Change::Modified, below.modified),
            (&mut self.removed, change == Change::Removed, below.removed),
        ];
        for (set, member, children) in all.into_iter().filter(|(_, member, children)| *member || !children.is_empty()) {
            set.add(step.element(), member, children);
        }
    }
}

/// The step on which a walk goes down.
#[derive(Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    Item(&'a Element),
}

impl Step<'_> {
    fn element(self) -> Element {
        match self {
            Self::Field(name) => Element::Field(name.to_owned()),
            Self::Item(element) => element.clone(),
        }
    }
}

/// What happened to a path itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    None,
    Added,
    Modified,
    Removed,
}

/// What changed from `old` to `new`. An object that was not there is compared with an empty one of its type.
pub(crate) fn compare(schema: &Schema, ty: Type<'_>, old: &Value, new: &Value) -> Result<Comparison, String> {
    let mut out = Comparison::default();
    Walk { schema }.value(ty, Some(old), Some(new), &mut out)?;
    Ok(out)
}

struct Walk<'a> {
    schema: &'a Schema,
}

fn leaf(old: Option<&Value>, new: Option<&Value>) -> Change {
    match (old, new) {
        (None, None) => Change::None,
        (None, Some(_)) => Change::Added,
        (Some(_), None) => Change::Removed,
        (Some(old), Some(new)) if is_same(old, new) => Change::None,
        _ => Change::Modified,
    }
}

/// Whether two values are the same, numbers by what they are and not by how they are written: `2` is `2.0`.
pub(crate) fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || (a.is_f64() != b.is_f64() && a.as_f64() == b.as_f64()),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| is_same(a, b)))
        }
        (a, b) => a == b,
    }
}

/// A container that came or went is in the set itself.
fn whole(old: Option<&Value>, new: Option<&Value>) -> Change {
    match (old, new) {
        (None, _) => Change::Added,
        (_, None) => Change::Removed,
        _ => Change::None,
    }
}

impl<'a> Walk<'a> {
    fn value(
        &self,
        ty: Type<'a>,
        old: Option<&Value>,
        new: Option<&Value>,
        out: &mut Comparison,
    ) -> Result<Change, String> {
        let (old_there, new_there) = (old.filter(|v| !v.is_null()), new.filter(|v| !v.is_null()));
        if let (true, Some(a), Some(b)) = (ty.is_deduced(), old_there, new_there)
            && form(a) != form(b)
        {
            // What it was loses its fields, what it is gets its own.
            let before = self.by_atom(atom(self.schema, ty, Some(a)), old, new, out)?;
            let after = self.by_atom(atom(self.schema, ty, Some(b)), old, new, out)?;
            return Ok(if after == Change::None { before } else { after });
        }
        self.by_atom(atom(self.schema, ty, new_there.or(old)), old, new, out)
    }

    fn by_atom(
        &self,
        atom: Atom<'a>,
        old: Option<&Value>,
        new: Option<&Value>,
        out: &mut Comparison,
    ) -> Result<Change, String> {
        match atom {
            Atom::Scalar(_) | Atom::AtomicList(_) => Ok(leaf(old, new)),
            Atom::Map(map) => {
                let (a, b) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
                let empty = a.is_none_or(Map::is_empty) && b.is_none_or(Map::is_empty);
                if map.atomic() || empty {
                    return Ok(leaf(old, new));
                }
                self.map(map, a, b, out)?;
                Ok(whole(old, new))
            }
            Atom::List(item, kind) => {
                let (a, b) = (items_of(old), items_of(new));
                if a.is_empty() && b.is_empty() {
                    return Ok(leaf(old, new));
                }
                self.list(item, kind, a, b, out)?;
                Ok(whole(old, new))
            }
        }
    }

    fn map(
        &self,
        map: MapType<'a>,
        old: Option<&Map<String, Value>>,
        new: Option<&Map<String, Value>>,
        out: &mut Comparison,
    ) -> Result<(), String> {
        // Only an object that is there holds the fields that always are.
        let (old_there, new_there) = (old.is_some(), new.is_some());
        for (name, b) in new.into_iter().flatten() {
            let field = map.named(name);
            let implied = || field.filter(|_| old_there).and_then(always_present);
            let a = old.and_then(|m| m.get(name)).or_else(implied);
            self.entry(map.of(field), name, a, Some(b), out)?;
        }
        for (name, a) in old.into_iter().flatten() {
            if new.is_none_or(|m| !m.contains_key(name)) {
                let field = map.named(name);
                let implied = field.filter(|_| new_there).and_then(always_present);
                self.entry(map.of(field), name, Some(a), implied, out)?;
            }
        }
        Ok(())
    }

    fn entry(
        &self,
        ty: Option<Type<'a>>,
        name: &str,
        old: Option<&Value>,
        new: Option<&Value>,
        out: &mut Comparison,
    ) -> Result<(), String> {
        let Some(ty) = ty.filter(|_| old != new) else { return Ok(()) };
        let mut below = Comparison::default();
        let change = self.value(ty, old, new, &mut below).map_err(|e| format!(".{name}{e}"))?;
        if change != Change::None || !below.is_same() {
            out.attach(Step::Field(name), change, below);
        }
        Ok(())
    }

    fn list(
        &self,
        item: &'a Shape,
        kind: &ListKind,
        old: &[Value],
        new: &[Value],
        out: &mut Comparison,
    ) -> Result<(), String> {
        let mut items: BTreeMap<Element, [Vec<&Value>; 2]> = BTreeMap::new();
        for (side, list) in [old, new].into_iter().enumerate() {
            for (i, value) in list.iter().enumerate() {
                let element = item_element(self.schema, item, kind, value);
                let element = element.map_err(|e| format!(": element {i}: {e}"))?;
                items.entry(element).or_default()[side].push(value);
            }
        }
        for (element, [a, b]) in items {
            // Items of the same key are one leaf as long as there are several.
            match (a.as_slice(), b.as_slice()) {
                ([] | [_], [] | [_]) => self.item(item, &element, a.first().copied(), b.first().copied(), out)?,
                ([_, _, ..], [_, _, ..]) if a == b => {}
                ([_, _, ..], [_, _, ..]) => out.attach(Step::Item(&element), Change::Modified, Comparison::default()),
                ([_, _, ..], rest) => {
                    self.item(item, &element, None, rest.first().copied(), out)?;
                    out.attach(Step::Item(&element), Change::Removed, Comparison::default());
                }
                (rest, [_, _, ..]) => {
                    self.item(item, &element, rest.first().copied(), None, out)?;
                    out.attach(Step::Item(&element), Change::Added, Comparison::default());
                }
            }
        }
        Ok(())
    }

    fn item(
        &self,
        item: &'a Shape,
        element: &Element,
        old: Option<&Value>,
        new: Option<&Value>,
        out: &mut Comparison,
    ) -> Result<(), String> {
        if old == new {
            return Ok(());
        }
        let mut below = Comparison::default();
        let change = self.value(Type::Shape(item), old, new, &mut below);
        let change = change.map_err(|e| format!("{element}{e}"))?;
        out.attach(Step::Item(element), change, below);
        Ok(())
    }
}

/// Whether it is an object, a list, or neither.
fn form(value: &Value) -> (bool, bool) {
    (value.is_object(), value.is_array())
}

fn items_of(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_the_same_however_they_are_written() {
        for (a, b, same) in [
            (json!(2), json!(2.0), true),
            (json!([{"a": 2.0}]), json!([{"a": 2}]), true),
            (json!(2), json!(2.5), false),
            (json!({"a": 1}), json!({"b": 1}), false),
            (json!(9_007_199_254_740_993_i64), json!(9_007_199_254_740_992_i64), false),
            (json!("2"), json!(2), false),
        ] {
            assert_eq!(is_same(&a, &b), same, "{a} {b}");
        }
    }
}
