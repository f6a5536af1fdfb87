//! Patches, server-side apply, managed fields.

use crate::objects::{self, object, row_of};
use crate::source::{Source, json, parts};
use api_core::meta::Meta;
use api_patch::fields::{Element, Set};
use api_patch::managed::{self, Manager};
use api_patch::{COPIED_BYTES_MAX, json_patch as apply_json_patch, merge_patch as apply_merge_patch, strategic_merge};
use api_schema::codec::{FieldValidation, decode_value, encode};
use api_schema::normalize::normalize;
use api_schema::row::Row;
use api_schema::schema::{ListPatch, Schema, Shape};
use serde_json::{Map, Value, json};

/// The document on the first line, JSON patch on the second: a patch of tests alone changes nothing; what comes out is
/// no larger than what went in with all that was copied; it can be written and read.
pub fn json_patch(data: &[u8]) {
    let [doc, patch] = parts(data);
    let doc = json(doc);
    let made;
    let patch = if serde_json::from_slice::<Value>(patch).is_ok() {
        patch
    } else {
        made = operations(&doc, &mut Source::new(patch)).to_string();
        made.as_bytes()
    };
    let Ok(patched) = apply_json_patch(&doc, patch) else { return };
    let (before, after) = (doc.to_string().len(), patched.to_string());
    // A shorter key may be inserted in front of each value.
    assert!(after.len() <= before + 2 * patch.len() + COPIED_BYTES_MAX * 2, "{} bytes", after.len());
    assert_eq!(serde_json::from_str::<Value>(&after).ok().as_ref(), Some(&patched), "it can be read again");
    let only_tests = serde_json::from_slice::<Value>(patch).ok();
    let only_tests = only_tests.as_ref().and_then(Value::as_array).is_some_and(|p| p.iter().all(|o| o["op"] == "test"));
    assert!(!only_tests || patched == doc, "tests change nothing");
}

/// Operations along paths that exist.
fn operations(doc: &Value, source: &mut Source<'_>) -> Value {
    let ops = ["add", "remove", "replace", "move", "copy", "test", "jump"];
    let one = |source: &mut Source<'_>| {
        let (op, path, from) = (ops[source.below(7)], pointer(doc, source), pointer(doc, source));
        json!({"op": op, "path": path, "from": from, "value": source.json()})
    };
    (0..source.below(6)).map(|_| one(source)).collect()
}

fn pointer(doc: &Value, source: &mut Source<'_>) -> String {
    let (mut path, mut at) = (String::new(), doc);
    for _ in 0..source.below(5) {
        let (step, next) = match at {
            Value::Object(map) if !map.is_empty() => {
                let (key, value) = map.iter().nth(source.below(map.len())).map_or(("", at), |(k, v)| (k.as_str(), v));
                (key.to_owned(), value)
            }
            Value::Array(list) if !list.is_empty() => {
                let i = source.below(list.len());
                (i.to_string(), &list[i])
            }
            _ => break,
        };
        path = format!("{path}/{}", step.replace('~', "~0").replace('/', "~1"));
        at = next;
    }
    match source.below(4) {
        0 => format!("{path}/{}", source.text()),
        1 => format!("{path}/-"),
        2 => format!("{path}/{}", source.int()),
        _ => path,
    }
}

/// The document on the first line, merge patch on the second: twice is once, and an empty patch is none.
pub fn merge_patch(data: &[u8]) {
    let [doc, patch] = parts(data);
    let (doc, value) = (json(doc), json(patch));
    let patch = if serde_json::from_slice::<Value>(patch).is_ok() { patch.to_vec() } else { encode(&value).to_vec() };
    let Ok(once) = apply_merge_patch(doc.clone(), &patch) else {
        assert!(!value.is_object() && !value.is_array(), "{value} is a patch");
        return;
    };
    let twice = apply_merge_patch(once.clone(), &patch).map_err(|e| e.message);
    assert_eq!(twice.as_ref(), Ok(&once), "twice is once");
    if doc.is_object() {
        assert_eq!(apply_merge_patch(doc.clone(), b"{}").map_err(|e| e.message), Ok(doc));
    }
}

/// The object on the first line, the patch on the second: an empty patch is none, and what comes out of a patch without
/// directives twice is what comes out once.
pub fn strategic_patch(data: &[u8]) {
    let [first, second] = parts(data);
    let (row, object) = object(first);
    let Ok(decoded) = decode_value(row, object, FieldValidation::Ignore) else { return };
    let patch = serde_json::from_slice::<Value>(second).unwrap_or_else(|_| directed(row, second));
    let unchanged = strategic_merge(row.schema(), row.root(), decoded.value.clone(), &json!({})).map_err(|e| e.message);
    assert_eq!(unchanged.as_ref(), Ok(&decoded.value), "an empty patch changes nothing");
    let Ok(once) = strategic_merge(row.schema(), row.root(), decoded.value.clone(), &patch) else { return };
    let text = patch.to_string();
    // A list that was not there is taken as it is; of one that is there, all of the patch that has one key goes into one item.
    if text.contains('$') || text.contains("null") || repeats(row.schema(), &Shape::Struct(row.root()), &patch) {
        return;
    }
    // An item without its key is added to a list that was not there, and cannot be merged with one that is.
    if let Ok(twice) = strategic_merge(row.schema(), row.root(), once.clone(), &patch) {
        assert_eq!(twice, once, "twice is once: {patch}");
    }
}

/// Whether a list that is merged has two items of one key.
fn repeats(schema: &Schema, shape: &Shape, value: &Value) -> bool {
    match (shape, value) {
        (Shape::Struct(id) | Shape::StructOr(id), Value::Object(map)) => {
            let fields = schema.get(*id);
            map.iter().any(|(name, value)| fields.field(name).is_some_and(|field| repeats(schema, &field.shape, value)))
        }
        (Shape::List(list), Value::Array(items)) => match &list.patch {
            ListPatch::Replace => false,
            ListPatch::Merge(key) => {
                let identity = |item: &Value| if key.is_empty() { Some(item.clone()) } else { item.get(key).cloned() };
                let known: Vec<_> = items.iter().map(identity).collect();
                let twice = known.iter().enumerate().any(|(at, item)| known[..at].contains(item));
                twice || items.iter().any(|item| repeats(schema, &list.item, item))
            }
        },
        _ => false,
    }
}

/// A patch along the type, with a directive here and there.
fn directed(row: &Row, bytes: &[u8]) -> Value {
    let mut source = Source::new(bytes);
    let mut patch = objects::value(row.schema(), &Shape::Struct(row.root()), &mut source, 0);
    direct(&mut patch, &mut source);
    patch
}

fn direct(value: &mut Value, source: &mut Source<'_>) {
    if source.is_empty() {
        return;
    }
    match value {
        Value::Array(list) => list.iter_mut().for_each(|item| direct(item, source)),
        Value::Object(map) => {
            map.values_mut().for_each(|item| direct(item, source));
            let names: Vec<String> = map.keys().cloned().collect();
            let name = names.first().cloned().unwrap_or_default();
            match source.below(8) {
                0 => drop(map.insert("$patch".into(), ["delete", "replace", "merge", "x"][source.below(4)].into())),
                1 => drop(map.insert("$retainKeys".into(), names.into())),
                2 => drop(map.insert(format!("$setElementOrder/{name}"), source.json())),
                3 => drop(map.insert(format!("$deleteFromPrimitiveList/{name}"), source.json())),
                4 => drop(map.insert(name, Value::Null)),
                _ => {}
            }
        }
        _ => {}
    }
}

fn manager<'a>(name: &'a str, api_version: &'a str, now: &'a str) -> Manager<'a> {
    Manager { name, api_version, subresource: "", now, reset: &[] }
}

/// An object on the first line, configurations on the others: to apply twice is to apply once; fields that a manager
/// applied it owns; nothing that is applied by force is refused for a conflict.
pub fn server_side_apply(data: &[u8]) {
    let [first, second, third] = parts(data);
    let (row, object) = object(first);
    let Ok(decoded) = decode_value(row, object, FieldValidation::Ignore) else { return };
    let api_version = row.kind.api_version();
    let mut live = decoded.value;
    live.metadata_mut().remove("managedFields");
    managed::update(
        row.schema(),
        row.root(),
        None,
        &mut live,
        &manager("creator", &api_version, "2027-01-01T00:00:00Z"),
    );
    // As it is stored.
    normalize(row.schema(), row.root(), &mut live);
    check_managed(&live);
    let mut owners = ["first", "second", "kubectl"].into_iter().cycle();
    for config in [second, third, second] {
        let config = configuration(row, config);
        let Some(name) = owners.next() else { return };
        live = apply_twice(row, live, &config, &manager(name, &api_version, "2027-01-01T00:00:01Z"));
        check_managed(&live);
    }
}

fn configuration(row: &Row, bytes: &[u8]) -> Value {
    let said = serde_json::from_slice::<Value>(bytes).ok().filter(|v| row_of(v).is_some());
    let mut config = said.unwrap_or_else(|| {
        let mut source = Source::new(bytes);
        objects::value(row.schema(), &Shape::Struct(row.root()), &mut source, 0)
    });
    if config.is_object() {
        config["apiVersion"] = row.kind.api_version().into();
        config["kind"] = row.kind.kind.as_str().into();
    }
    config
}

fn apply_twice(row: &Row, live: Value, config: &Value, manager: &Manager<'_>) -> Value {
    let apply = |live: &Value, manager: &Manager<'_>| {
        let mut applied = managed::apply(row.schema(), row.root(), Some(live), config, manager, true)?;
        normalize(row.schema(), row.root(), &mut applied);
        Ok::<_, api_core::ApiError>(applied)
    };
    let once = match apply(&live, manager) {
        Ok(once) => once,
        Err(error) => {
            assert_ne!(error.code, 409, "{}: {config}", error.message);
            return live;
        }
    };
    if decode_value(row, once.clone(), FieldValidation::Ignore).is_err() {
        return live;
    }
    let later = Manager { now: "2027-01-01T00:00:09Z", ..*manager };
    let twice = apply(&once, &later);
    // An item that says nothing, not even its key, has nothing that could be owned; upstream loses it too. A key that is null
    // or empty is one that an object may not keep (a condition without a type is refused): there, too, the item comes once more
    // with each apply, or none can come, and another's item of that kind goes.
    if has_keyless_item(config) || has_keyless_item(&live) {
        return once;
    }
    let mut twice = twice.unwrap_or_else(|e| panic!("the second time {}: {config}", e.message));
    managed::keep_times_if_unchanged(&once, &mut twice);
    // What is applied may be written otherwise than it is stored (`0.1` and `100m`), and then counts as a change: the time
    // moves on, and with it the entry, as upstream has it.
    assert_eq!(timeless(&twice), timeless(&once), "to apply twice is to apply once: {config}");
    once
}

fn has_keyless_item(value: &Value) -> bool {
    let keyless = |item: &Map<String, Value>| item.is_empty() || item.values().any(|v| v.is_null() || v == "");
    match value {
        Value::Array(items) => items.iter().any(|i| i.as_object().is_some_and(keyless) || has_keyless_item(i)),
        Value::Object(fields) => fields.values().any(has_keyless_item),
        _ => false,
    }
}

/// An object whose managed fields have neither times nor an order.
fn timeless(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(Value::Array(entries)) = object.pointer_mut("/metadata/managedFields") {
        for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
            entry.remove("time");
        }
        entries.sort_by_key(Value::to_string);
    }
    object
}

/// Managed fields can be read, and are written as they were.
fn check_managed(object: &Value) {
    for entry in object.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten() {
        let set = Set::from_json(&entry["fieldsV1"]).unwrap_or_else(|e| panic!("{e}: {entry}"));
        assert_eq!(set.to_json(), entry["fieldsV1"], "fields are written as they were");
    }
}

/// Two sets as `FieldsV1`, one on each line: what is read is written and read as the same, and sets obey their algebra.
pub fn managed_fields(data: &[u8]) {
    let [first, second] = parts(data);
    let (first, second) = (fields(first), fields(second));
    let (Ok(a), Ok(b)) = (Set::from_json(&first), Set::from_json(&second)) else { return };
    let json = a.to_json();
    let again = Set::from_json(&json).unwrap_or_else(|e| panic!("{e}: {json}"));
    assert_eq!(again, a, "{json}");
    assert_eq!(again.to_json(), json);
    assert_eq!(a.clone().union(a.clone()), a);
    let (union, both, left) = (a.clone().union(b.clone()), a.intersection(&b), a.difference(&b));
    assert_eq!(b.clone().union(a.clone()), union);
    assert_eq!(b.intersection(&a), both);
    assert_eq!(left.clone().union(both.clone()), a, "what is not in the other, and what is, are all");
    assert!(!left.intersects(&b) && left.intersection(&b).is_empty());
    assert_eq!(a.intersects(&b), !both.is_empty());
    let mut subtracted = a.clone();
    subtracted.subtract(&b, false);
    assert_eq!(subtracted, left, "to subtract is to take the difference");
    let mut counted = 0;
    a.for_each(&mut |path| {
        let path: Vec<Element> = path.iter().map(|e| (*e).clone()).collect();
        assert!(a.contains(&path) && union.contains(&path));
        assert_eq!(both.contains(&path), b.contains(&path));
        counted += 1;
    });
    assert_eq!(counted, a.len());
    drop(a.to_string());
}

/// Text as it is, or a set made up.
fn fields(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| made_up(&mut Source::new(bytes), 5))
}

fn made_up(source: &mut Source<'_>, depth: usize) -> Value {
    if depth == 0 {
        return json!({});
    }
    let mut entries = Map::new();
    for _ in 0..source.below(5) {
        let key = match source.below(6) {
            0 => ".".to_owned(),
            1 => format!("v:{}", source.json()),
            2 => format!("i:{}", source.int()),
            3 => format!("k:{}", json!({source.text(): source.json(), "name": source.text()})),
            4 => source.text(),
            _ => format!("f:{}", source.text()),
        };
        entries.insert(key, made_up(source, depth - 1));
    }
    Value::Object(entries)
}
