//! All that a new object has, as `fieldsV1` right away: what [`compare`](super::compare) with an empty object finds added, at
//! less expense. Most writes that make something go through here with hundreds of fields.

use super::compare::is_same;
use super::{Atom, MapType, Type, always_present, atom, item_element, key_value};
use crate::fields::{Element, MEMBER, print, print_field, print_key, print_value};
use api_schema::schema::{ListKind, Schema, Shape};
use serde_json::map::Entry;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};

/// A list has an item without its key.
#[derive(Debug)]
struct NoKey;

/// The fields of `new`, which was not there before; `None` if a list has an item without its key.
pub(crate) fn written(schema: &Schema, ty: Type<'_>, new: &Value) -> Option<Map<String, Value>> {
    let nothing = Value::Object(Map::new());
    match (Walk { schema }).value(ty, Some(&nothing), new).ok()? {
        Some(Value::Object(fields)) => Some(fields),
        _ => Some(Map::new()),
    }
}

struct Walk<'a> {
    schema: &'a Schema,
}

impl<'a> Walk<'a> {
    /// What is new at and below a value; `None` if nothing is. `old` is what upstream holds there without being told, which
    /// has nothing in it.
    fn value(&self, ty: Type<'a>, old: Option<&Value>, new: &Value) -> Result<Option<Value>, NoKey> {
        let there = Some(new).filter(|new| !new.is_null());
        match (atom(self.schema, ty, there.or(old)), new) {
            (Atom::Map(map), Value::Object(new)) if !map.atomic() && !new.is_empty() => {
                container(old.is_none(), |fields| self.map(map, old.is_some_and(Value::is_object), new, fields))
            }
            (Atom::List(item, kind), Value::Array(new)) if !new.is_empty() => {
                container(old.is_none(), |fields| self.list(item, kind, new, fields))
            }
            _ => {
                let changed = old.is_none_or(|old| !is_same(old, new));
                Ok(changed.then(|| Value::Object(Map::new())))
            }
        }
    }

    /// Adds the fields of an object; only one that was there holds those that always are.
    fn map(
        &self,
        map: MapType<'a>,
        old_there: bool,
        new: &Map<String, Value>,
        fields: &mut Map<String, Value>,
    ) -> Result<(), NoKey> {
        for (name, new) in new {
            let field = map.named(name);
            let Some(ty) = map.of(field) else { continue };
            let old = field.filter(|_| old_there).and_then(always_present);
            if old == Some(new) {
                continue;
            }
            if let Some(below) = self.value(ty, old, new)? {
                fields.insert(print_field(name), below);
            }
        }
        Ok(())
    }

    /// Adds the items of a list. Those of the same key are one leaf.
    fn list(
        &self,
        item: &'a Shape,
        kind: &ListKind,
        new: &[Value],
        fields: &mut Map<String, Value>,
    ) -> Result<(), NoKey> {
        let Some(keys) = new.iter().map(|value| self.plain_key(item, kind, value)).collect::<Option<Vec<_>>>() else {
            return self.odd_list(item, kind, new, fields);
        };
        let (mut keys, mut values) = (keys.into_iter(), new.iter());
        // How often keys come, counted where it first matters.
        let mut left: Option<HashMap<String, usize>> = None;
        while let (Some(key), Some(value)) = (keys.next(), values.next()) {
            let mut is_repeated = || {
                let left = left.get_or_insert_with(|| counted(keys.as_slice(), &key));
                fields.contains_key(&key) || left.get(&key).is_some_and(|times| *times > 1)
            };
            let below = match self.value(Type::Shape(item), None, value) {
                Ok(below) => below,
                Err(NoKey) if is_repeated() => None,
                Err(NoKey) => return Err(NoKey),
            };
            match fields.entry(key) {
                Entry::Vacant(entry) => drop(entry.insert(below.unwrap_or_else(leaf))),
                Entry::Occupied(mut entry) => drop(entry.insert(leaf())),
            }
        }
        Ok(())
    }

    /// The key of an item as it is written, if two keys are the same just when they are written alike.
    fn plain_key(&self, item: &Shape, kind: &ListKind, value: &Value) -> Option<String> {
        let is_plain = |value: &Value| value.is_string() || value.is_i64();
        match (kind, value) {
            (ListKind::Map(keys), Value::Object(map)) if keys.is_sorted() => {
                let value = |key| key_value(self.schema, item, key, map).filter(|value| is_plain(value));
                let has_all = keys.iter().all(|key| value(key).is_some());
                has_all.then(|| print_key(keys.iter().filter_map(|key| Some((key.as_str(), value(key)?)))))
            }
            (ListKind::Map(_), _) => None,
            (_, value) => is_plain(value).then(|| print_value(value)),
        }
    }

    /// Adds the items of a list where it takes a comparison to tell whether keys are the same.
    fn odd_list(
        &self,
        item: &'a Shape,
        kind: &ListKind,
        new: &[Value],
        fields: &mut Map<String, Value>,
    ) -> Result<(), NoKey> {
        // The order of numbers is no total one, which a map does not mind.
        let mut items: BTreeMap<Element, Option<&Value>> = BTreeMap::new();
        for value in new {
            let element = item_element(self.schema, item, kind, value).map_err(|_| NoKey)?;
            items.entry(element).and_modify(|only| *only = None).or_insert(Some(value));
        }
        for (element, only) in items {
            let below = only.map_or(Ok(None), |value| self.value(Type::Shape(item), None, value))?;
            fields.insert(print(&element), below.unwrap_or_else(leaf));
        }
        Ok(())
    }
}

/// How often each of `keys` and one more comes.
fn counted(keys: &[String], more: &str) -> HashMap<String, usize> {
    let mut times = HashMap::with_capacity(keys.len() + 1);
    for key in keys.iter().map(String::as_str).chain([more]) {
        *times.entry(key.to_owned()).or_insert(0) += 1;
    }
    times
}

/// A path below which there are no others.
fn leaf() -> Value {
    Value::Object(Map::new())
}

/// What is new at and below a container, of which `add` adds the fields, or the error of that. One that came is in the set
/// itself.
fn container(
    is_new: bool,
    add: impl FnOnce(&mut Map<String, Value>) -> Result<(), NoKey>,
) -> Result<Option<Value>, NoKey> {
    let mut fields = Map::new();
    if is_new {
        fields.insert(MEMBER.to_owned(), Value::Object(Map::new()));
    }
    add(&mut fields)?;
    if is_new && fields.len() == 1 {
        fields.clear();
    }
    Ok((is_new || !fields.is_empty()).then_some(Value::Object(fields)))
}

#[cfg(test)]
mod tests {
    use super::super::compare;
    use super::*;
    use api_core::Gvr;
    use api_schema::schema::{ListPatch, ListShape, MapShape};
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use serde_json::json;

    /// Numbers of which some are the same as another and others, as whole ones, are not.
    const NEAR: [&str; 6] = [
        "9007199254740992",
        "9007199254740993",
        "9007199254740992.0",
        "9223372036854775807",
        "9223372036854775808",
        "9223372036854775808.0",
    ];

    fn whatever() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..3).prop_map(Value::from),
            Just(json!(1.0)),
            "[a<\"]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..3).prop_map(Value::Array),
                btree_map("[a-c<]", inner, 0..3).prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    /// Mostly what is asked for.
    fn mostly(usual: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Value> {
        prop_oneof![20 => usual, 1 => whatever()]
    }

    fn list(item: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Value> {
        mostly(vec(mostly(item), 0..4).prop_map(Value::Array))
    }

    fn pod() -> impl Strategy<Value = Value> {
        let env = ("[ab<]", whatever()).prop_map(|(name, value)| json!({"name": name, "value": value}));
        let ports = prop_oneof![
            (0..3).prop_map(|port| json!({"containerPort": port})),
            Just(json!({"containerPort": 1.0, "protocol": "UDP"})),
            (0..3).prop_map(|port| json!({"containerPort": port, "protocol": "TCP"})),
        ];
        let container = ("[ab]", list(env), list(ports), mostly(Just(json!({})))).prop_map(
            |(name, env, ports, resources)| json!({"name": name, "env": env, "ports": ports, "resources": resources}),
        );
        let labels = mostly(btree_map("[ab]", whatever(), 0..3).prop_map(|map| map.into_iter().collect()));
        let finalizers = list("[ab]".prop_map(Value::from));
        let (spec, status) = (list(container), mostly(Just(json!({"phase": "", "unknown": 1}))));
        (labels, finalizers, spec, status).prop_map(|(labels, finalizers, containers, status)| {
            let metadata = json!({"labels": labels, "finalizers": finalizers, "creationTimestamp": null, "name": ""});
            json!({"kind": "Pod", "metadata": metadata, "spec": {"containers": containers, "nodeName": ""}, "status": status})
        })
    }

    /// Both say the same of an object, or that something is wrong with it.
    fn check(schema: &Schema, ty: Type<'_>, new: &Value) -> Result<(), TestCaseError> {
        let compared = compare(schema, ty, &json!({}), new);
        let added = compared.ok().map(|comparison| {
            let fields = comparison.added.union(comparison.modified).to_json();
            fields.as_object().cloned().unwrap_or_default()
        });
        prop_assert_eq!(written(schema, ty, new), added);
        Ok(())
    }

    proptest! {
        #[test]
        fn it_is_what_a_comparison_with_nothing_finds(pod in mostly(pod()), other in whatever()) {
            let row = api_kinds::resource(&Gvr::new("", "v1", "pods")).expect("a built-in resource");
            check(row.schema(), Type::Struct(row.root()), &pod)?;
            check(row.schema(), Type::Deduced, &other)?;
        }

        #[test]
        fn numbers_that_have_no_order_are_fields_all_the_same(
            numbers in vec(prop::sample::select(&NEAR[..]).prop_map(|text| text.parse::<Value>().expect("a number")), 0..40),
        ) {
            let row = api_kinds::resource(&Gvr::new("", "v1", "pods")).expect("a built-in resource");
            let set = Shape::List(Box::new(ListShape { item: Shape::Number, kind: ListKind::Set, patch: ListPatch::default() }));
            let parent = Shape::Map(Box::new(MapShape { value: set, atomic: false }));
            check(row.schema(), Type::Shape(&parent), &json!({"numbers": numbers}))?;
        }
    }
}
