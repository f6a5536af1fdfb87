//! Discovery and OpenAPI documents against those of a real API server.

use api_kinds::{openapi, rows};
use api_schema::discovery::{Aggregated, aggregated, group_list, groups, resource_list};
use api_schema::row::Row;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::PathBuf;

fn of_group(core: bool) -> impl Iterator<Item = &'static Row> {
    rows().iter().map(AsRef::as_ref).filter(move |r| r.gvr.group.is_empty() == core)
}

fn read(document: &[u8]) -> Value {
    serde_json::from_slice(document).unwrap()
}

#[test]
fn aggregated_discovery_is_upstreams() {
    let recorded: Value = serde_json::from_str(include_str!("../testdata/discovery.json")).unwrap();
    assert_eq!(read(&aggregated(Aggregated::V2, of_group(true))), recorded["api"]);
    assert_eq!(read(&aggregated(Aggregated::V2, of_group(false))), recorded["apis"]);
}

#[test]
fn lists_of_groups_and_resources_hold_what_is_served() {
    let groups = groups(of_group(false));
    let list = group_list(&groups);
    assert_eq!(list["groups"][0]["name"], "apiregistration.k8s.io");
    let autoscaling = groups.iter().find(|g| g.name == "autoscaling").unwrap();
    assert_eq!(autoscaling.document()["preferredVersion"]["groupVersion"], "autoscaling/v2");
    let core = resource_list("", "v1", of_group(true));
    assert!(core.get("apiVersion").is_none());
    let find = |name: &str| core["resources"].as_array().unwrap().iter().find(|r| r["name"] == name).unwrap().clone();
    assert_eq!(
        find("pods/eviction"),
        json!({"name": "pods/eviction", "singularName": "", "namespaced": true, "group": "policy", "version": "v1",
            "kind": "Eviction", "verbs": ["create"]})
    );
    assert_eq!(find("pods")["storageVersionHash"], "xPOwRZ+Yhw8=");
}

/// Removes descriptions, but not properties that are called `description`.
fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|k, v| !(k == "description" && v.is_string()));
            map.values_mut().for_each(strip);
        }
        Value::Array(list) => list.iter_mut().for_each(strip),
        _ => {}
    }
}

/// The first places where two documents differ.
fn differences(path: &str, want: &Value, got: &Value, out: &mut Vec<String>) {
    match (want, got) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|k| !a.contains_key(*k))) {
                let null = Value::Null;
                let (a, b) = (a.get(key).unwrap_or(&null), b.get(key).unwrap_or(&null));
                differences(&format!("{path} {key}"), a, b, out);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                differences(&format!("{path} {i}"), a, b, out);
            }
        }
        (a, b) if a != b => out.push(format!("{path}: {b} instead of {a}")),
        _ => {}
    }
}

/// Compares a document by digest, and says what differs where the facts are at hand.
fn check(name: &str, file: &str, bytes: &[u8], failures: &mut Vec<String>) {
    let mut got: Value = serde_json::from_slice(bytes).unwrap();
    strip(&mut got);
    let digest: String = Sha256::digest(got.to_string()).iter().map(|b| format!("{b:02x}")).collect();
    let recorded = include_str!("../testdata/openapi-digests.txt");
    let want = recorded.lines().find_map(|l| l.strip_prefix(&format!("{name} "))).unwrap();
    if want == digest {
        return;
    }
    failures.push(format!("{name} differs"));
    if let Some(facts) = std::env::var_os("MAINSTAY_FACTS") {
        let mut want: Value = serde_json::from_slice(&std::fs::read(PathBuf::from(facts).join(file)).unwrap()).unwrap();
        strip(&mut want);
        let before = failures.len();
        differences("", &want, &got, failures);
        failures.truncate(before + 12);
    }
}

#[test]
fn openapi_is_upstreams_but_for_descriptions() {
    let mut failures = Vec::new();
    check("v2", "openapi-v2.json", &openapi::v2().bytes(), &mut failures);
    let mut names = 0;
    for line in include_str!("../testdata/openapi-digests.txt").lines().skip(1) {
        let name = line.split(' ').next().unwrap();
        let file = format!("openapi-v3/{}.json", name.replace('/', "__"));
        match openapi::v3(name) {
            Some(document) => check(name, &file, &document.bytes(), &mut failures),
            None => failures.push(format!("{name} is missing")),
        }
        names += 1;
    }
    assert_eq!(openapi::v3_index().count(), names);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
