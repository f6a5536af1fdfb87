//! Merging an applied configuration into an object: nothing is removed, the configuration wins where both set a field.

use super::{Atom, MapType, Type, atom, item_element};
use crate::fields::Element;
use api_schema::schema::{ListKind, Schema, Shape};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// `live` with `applied` merged into it; `None` if nothing is left.
pub(crate) fn merge(schema: &Schema, ty: Type<'_>, live: &Value, applied: &Value) -> Result<Option<Value>, String> {
    Walk { schema }.value(ty, Some(live), Some(applied))
}

/// The item of each element; `None` for one that is there several times.
type Items<'v> = BTreeMap<Element, Option<&'v Value>>;

struct Walk<'a> {
    schema: &'a Schema,
}

/// The configuration's value if it has one.
fn applied_or_live(live: Option<&Value>, applied: Option<&Value>) -> Option<Value> {
    applied.or(live).cloned()
}

impl<'a> Walk<'a> {
    fn value(&self, ty: Type<'a>, live: Option<&Value>, applied: Option<&Value>) -> Result<Option<Value>, String> {
        match atom(self.schema, ty, applied.filter(|v| !v.is_null()).or(live)) {
            Atom::Scalar(_) | Atom::AtomicList(_) => Ok(applied_or_live(live, applied)),
            Atom::Map(map) => {
                let (a, b) = (live.and_then(Value::as_object), applied.and_then(Value::as_object));
                if map.atomic() || (a.is_none_or(Map::is_empty) && b.is_none_or(Map::is_empty)) {
                    return Ok(applied_or_live(live, applied));
                }
                self.map(map, a, b)
            }
            Atom::List(item, kind) => {
                let (a, b) = (live.and_then(Value::as_array), applied.and_then(Value::as_array));
                let (a, b) = (a.map_or(&[][..], Vec::as_slice), b.map_or(&[][..], Vec::as_slice));
                if a.is_empty() && b.is_empty() {
                    return Ok(applied_or_live(live, applied));
                }
                self.list(item, kind, a, b)
            }
        }
    }

    fn map(
        &self,
        map: MapType<'a>,
        live: Option<&Map<String, Value>>,
        applied: Option<&Map<String, Value>>,
    ) -> Result<Option<Value>, String> {
        let mut out = Map::new();
        let only_live = live.into_iter().flatten().filter(|(k, _)| applied.is_none_or(|m| !m.contains_key(*k)));
        for (name, value) in only_live {
            out.insert(name.clone(), value.clone());
        }
        for (name, b) in applied.into_iter().flatten() {
            let Some(ty) = map.entry(name) else {
                return Err(format!(".{name}: field not declared in schema"));
            };
            let a = live.and_then(|m| m.get(name));
            if let Some(value) = self.value(ty, a, Some(b)).map_err(|e| format!(".{name}{e}"))? {
                out.insert(name.clone(), value);
            }
        }
        Ok((!out.is_empty()).then_some(Value::Object(out)))
    }

    /// The elements of a list in order, and their items.
    fn index<'v>(
        &self,
        item: &Shape,
        kind: &ListKind,
        list: &'v [Value],
        allow_duplicates: bool,
    ) -> Result<(Vec<Element>, Items<'v>), String> {
        let (mut elements, mut items) = (Vec::with_capacity(list.len()), Items::new());
        for (i, value) in list.iter().enumerate() {
            let element = item_element(self.schema, item, kind, value).map_err(|e| format!(": element {i}: {e}"))?;
            if items.contains_key(&element) {
                if !allow_duplicates {
                    return Err(format!(": duplicate entries for key {element}"));
                }
                items.insert(element.clone(), None);
            } else {
                items.insert(element.clone(), Some(value));
            }
            elements.push(element);
        }
        Ok((elements, items))
    }

    /// Shared items stand in the order of the configuration, those of the object alone keep their place between them.
    fn list(
        &self,
        item: &'a Shape,
        kind: &ListKind,
        live: &[Value],
        applied: &[Value],
    ) -> Result<Option<Value>, String> {
        let (applied_elements, applied_items) = self.index(item, kind, applied, false)?;
        let (live_elements, live_items) = self.index(item, kind, live, true)?;
        let mut shared: VecDeque<&Element> = applied_elements.iter().filter(|e| live_items.contains_key(e)).collect();
        let merged = |element: &Element, a: Option<&Value>, b: Option<&Value>| {
            self.value(Type::Shape(item), a, b).map_err(|e| format!("{element}{e}"))
        };
        let of = |items: &Items<'_>, e: &Element| items.get(e).copied().flatten().cloned();
        let (mut out, mut done) = (Vec::new(), BTreeSet::new());
        let (mut l, mut r) = (0, 0);
        while l < live_elements.len() || r < applied_elements.len() {
            let (left, right) = (live_elements.get(l), applied_elements.get(r));
            if let (Some(left), Some(right)) = (left, right) {
                if left == right {
                    done.insert(left);
                    out.extend(merged(left, of(&live_items, left).as_ref(), of(&applied_items, left).as_ref())?);
                    (l, r) = (l + 1, r + 1);
                    shared.pop_front();
                    continue;
                }
                if applied_items.contains_key(left) && shared.front().is_some_and(|next| *next != left) {
                    // Shared, but another one comes first.
                    l += 1;
                    continue;
                }
            }
            if let Some(left) = left {
                if !applied_items.contains_key(left) {
                    out.extend(merged(left, Some(&live[l]), None)?);
                    l += 1;
                    continue;
                }
                if done.contains(left) {
                    l += 1;
                }
            }
            if let Some(right) = right {
                done.insert(right);
                out.extend(merged(right, of(&live_items, right).as_ref(), of(&applied_items, right).as_ref())?);
                r += 1;
                if shared.front().is_some_and(|next| *next == right) {
                    shared.pop_front();
                }
            } else if left.is_some_and(|left| !done.contains(left)) {
                // Cannot be: all shared items were in the configuration. Never loop.
                l += 1;
            }
        }
        Ok((!out.is_empty()).then_some(Value::Array(out)))
    }
}
