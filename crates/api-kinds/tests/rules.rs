//! What a real API server found wrong with objects, kind by kind: `testdata/rules.txt`, and what it would find by its
//! rules: `testdata/more-rules.txt`.
//!
//! A block names a resource and a good object of it; each line changes it at one place (`-` takes it away) and names
//! the causes that a creation, or an update of the good object or of its status, must have, each as often as upstream
//! reports it.

use api_core::field::Errors;
use api_core::gvk::split_api_version;
use api_core::{Gvr, meta::Meta};
use api_kinds::hooks::meta;
use api_kinds::{resource, type_of};
use api_schema::codec::{FieldValidation, Media, decode};
use api_schema::normalize::normalize;
use api_schema::row::{Pool, Row, WriteContext};
use serde_json::{Value, json};
use std::net::IpAddr;

const CONTEXT: WriteContext<'_> =
    WriteContext { now_unix_s: 0, subresource: "", user: "tester", uid: "", groups: &[], extra: None };

fn blocks() -> impl Iterator<Item = &'static str> {
    let all = [include_str!("../testdata/rules.txt"), include_str!("../testdata/more-rules.txt")];
    all.into_iter().flat_map(|text| text.split("\n\n")).filter(|block| !block.trim().is_empty())
}

/// A pool that never runs out and refuses nothing.
struct Endless(u16);

impl Pool for Endless {
    fn ip(&mut self, _: bool, wanted: Option<IpAddr>) -> Result<IpAddr, String> {
        Ok(wanted.unwrap_or(IpAddr::from([10, 96, 0, 9])))
    }

    fn port(&mut self, wanted: Option<u16>) -> Result<u16, String> {
        self.0 += 1;
        Ok(wanted.unwrap_or(30_000 + self.0))
    }

    fn families(&self) -> &[bool] {
        &[false]
    }
}

/// The object as it is before a kind's `prepare_*`, in its stored version.
fn decoded(row: &Row, body: &Value) -> Value {
    let body = serde_json::to_vec(body).unwrap();
    let mut object = decode(row, &body, Media::Json, FieldValidation::Ignore).unwrap().value;
    if let Some(convert) = row.hooks.convert {
        convert(&mut object, &row.storage_version);
    }
    if let Some(default) = row.hooks.default {
        default(&mut object);
    }
    if row.namespaced && object.namespace().is_empty() {
        object.set_meta("namespace", "sample");
    }
    object.set_meta("uid", "11111111-2222-3333-4444-555555555555");
    normalize(row.schema(), type_of(&row.storage_version).unwrap(), &mut object);
    object
}

fn create(row: &Row, body: &Value) -> (Value, Errors) {
    let (mut object, mut errors) = (decoded(row, body), Errors::new());
    if let Some(prepare) = row.hooks.prepare_create {
        prepare(&CONTEXT, &mut object);
    }
    if let Some(allocate) = row.hooks.allocate {
        allocate(&mut object, None, &mut Endless(0), &mut errors);
    }
    meta::validate_create(row, &object, &mut errors);
    if let Some(validate) = row.hooks.validate {
        validate(&object, &mut errors);
    }
    meta::validate_create_last(row, &object, &mut errors);
    (object, errors)
}

fn update(row: &Row, body: &Value, old: &Value, subresource: &'static str) -> Errors {
    let context = WriteContext { subresource, ..CONTEXT };
    let (mut object, mut errors) = (decoded(row, body), Errors::new());
    if let Some(generation) = old["metadata"].get("generation") {
        object["metadata"]["generation"] = generation.clone();
    }
    if row.subresource("status").is_some() && subresource.is_empty() {
        match old.get("status") {
            Some(status) => object["status"] = status.clone(),
            None => drop(object.as_object_mut().unwrap().remove("status")),
        }
    }
    if let Some(prepare) = row.hooks.prepare_update {
        prepare(&context, &mut object, old);
    }
    if let Some(allocate) = row.hooks.allocate {
        allocate(&mut object, Some(old), &mut Endless(100), &mut errors);
    }
    meta::validate_update(&object, old, &mut errors);
    match (row.hooks.validate_update, row.hooks.validate) {
        (Some(validate), _) => validate(&context, &object, old, &mut errors),
        (None, Some(validate)) => validate(&object, &mut errors),
        (None, None) => {}
    }
    errors
}

/// Nothing is compared with all that stands before it.
#[test]
fn long_lists_take_time_in_proportion() {
    let many = |make: &dyn Fn(usize) -> Value| (0..50_000).chain([0]).map(make).collect::<Value>();
    let taints = many(&|i| json!({"key": format!("k{i}"), "effect": "NoSchedule"}));
    let tolerations = many(&|i| json!({"key": format!("k{i}"), "operator": "Exists"}));
    let limits = many(&|i| json!({"type": format!("example.com/t{i}")}));
    let families = many(&|i| json!(format!("f{i}")));
    for (gvr, body) in [
        (Gvr::new("", "v1", "nodes"), json!({"spec": {"taints": taints}})),
        (
            Gvr::new("node.k8s.io", "v1", "runtimeclasses"),
            json!({"handler": "h", "scheduling": {"tolerations": tolerations}}),
        ),
        (Gvr::new("", "v1", "limitranges"), json!({"spec": {"limits": limits}})),
        (Gvr::new("", "v1", "services"), json!({"spec": {"ports": [{"port": 1}], "ipFamilies": families}})),
    ] {
        let row = resource(&gvr).expect("a row");
        let mut named = json!({"apiVersion": row.kind.api_version(), "kind": row.kind.kind, "metadata": {"name": "a"}});
        named.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        let (_, errors) = create(row, &named);
        let repeated = errors.0.iter().filter(|e| e.kind.reason() == "FieldValueDuplicate").count();
        assert_eq!(repeated, 1, "{gvr:?}");
    }
}

fn causes(errors: &Errors) -> String {
    let cause =
        |e: &api_core::field::Error| format!("{} {}", e.kind.reason().trim_start_matches("FieldValue"), e.field);
    let mut all: Vec<String> = errors.0.iter().map(cause).collect();
    all.sort();
    all.join(", ")
}

/// Changes the value at a JSON pointer, or takes it away.
fn change(object: &mut Value, pointer: &str, to: &str) {
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    let last = last.replace("~1", "/").replace("~0", "~");
    let parent = object.pointer_mut(parent).unwrap_or_else(|| panic!("nothing at {parent}"));
    match (parent, to) {
        (Value::Object(map), "-") => drop(map.remove(&last)),
        (Value::Array(list), "-") => drop(list.remove(last.parse().unwrap())),
        (Value::Array(list), to) => list[last.parse::<usize>().unwrap()] = serde_json::from_str(to).unwrap(),
        (parent, to) => parent[last] = serde_json::from_str(to).unwrap(),
    }
}

#[test]
fn bad_objects_have_upstreams_causes() {
    let mut wrong = Vec::new();
    for block in blocks() {
        let mut lines = block.trim().lines();
        let (api_version, plural) = lines.next().unwrap().trim_start_matches("# ").rsplit_once('/').unwrap();
        let (group, version) = split_api_version(api_version);
        let row = resource(&Gvr::new(group, version, plural)).unwrap();
        let good: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
        let (old, errors) = create(row, &good);
        assert_eq!(causes(&errors), "", "{plural}");
        for line in lines {
            let (what, expected) = line.split_once(" => ").unwrap();
            let expected = if expected == "ok" { "" } else { expected };
            let mut words = what.splitn(3, ' ');
            let (verb, pointer, to) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            let mut body = good.clone();
            change(&mut body, pointer, to);
            let found = match verb {
                "create" => create(row, &body).1,
                "update" => update(row, &body, &old, ""),
                _ => update(row, &body, &old, "status"),
            };
            if causes(&found) != expected {
                wrong.push(format!("{plural}: {what}\n   is {}\n  not {expected}", causes(&found)));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn hooks_bear_any_object_that_decodes() {
    // What remains of each good object when a part of it is taken away, emptied or null must not make a hook panic.
    for block in blocks() {
        let mut lines = block.trim().lines();
        let (api_version, plural) = lines.next().unwrap().trim_start_matches("# ").rsplit_once('/').unwrap();
        let (group, version) = split_api_version(api_version);
        let row = resource(&Gvr::new(group, version, plural)).unwrap();
        let good: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
        let (old, _) = create(row, &good);
        let mut pointers = Vec::new();
        pointers_of(&good, "", &mut pointers);
        for pointer in &pointers {
            for to in ["-", "null", "{}", "[]", "\"\"", "-1"] {
                let mut body = good.clone();
                change(&mut body, pointer, to);
                let bytes = serde_json::to_vec(&body).unwrap();
                if decode(row, &bytes, Media::Json, FieldValidation::Ignore).is_ok() {
                    let (object, _) = create(row, &body);
                    update(row, &body, &old, "");
                    update(row, &body, &old, "status");
                    if let Some(warnings) = row.hooks.warnings {
                        warnings(&object, Some(&old));
                    }
                }
            }
        }
    }
}

fn pointers_of(value: &Value, at: &str, out: &mut Vec<String>) {
    let mut child = |key: String, value: &Value| {
        let pointer = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
        out.push(pointer.clone());
        pointers_of(value, &pointer, out);
    };
    match value {
        Value::Object(map) => {
            map.iter().filter(|(k, _)| *k != "kind" && *k != "apiVersion").for_each(|(k, v)| child(k.clone(), v))
        }
        Value::Array(list) => list.iter().enumerate().for_each(|(i, v)| child(i.to_string(), v)),
        _ => {}
    }
}

#[test]
fn a_pod_gets_what_upstream_gives_it() {
    let row = resource(&Gvr::new("", "v1", "pods")).unwrap();
    let body = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let (pod, errors) = create(row, &body);
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(pod["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
    assert_eq!(pod["spec"]["containers"][0]["imagePullPolicy"], "Always");
}
