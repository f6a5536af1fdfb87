//! Managers that own fields of a custom resource in several versions.

use super::api::{Answer, Api, DEFINITIONS, WIDGETS, condition, definition};
use super::support::{self, Backend, authority};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const V2: &str = "/apis/example.com/v2/namespaces/a/widgets";
const DEFINITION: &str = "widgets.example.com";

/// Two versions, the second is stored.
fn two_versions(v1: &Value, v2: &Value) -> Value {
    let mut d = definition("widgets", "Widget", json!({}));
    let schema = |fields: &Value| json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}}});
    d["spec"]["versions"] = json!([
        {"name": "v1", "served": true, "storage": false, "schema": schema(v1)},
        {"name": "v2", "served": true, "storage": true, "schema": schema(v2)}]);
    d
}

/// `v1` has `spec.hostPort`, `v2` has `spec.host` and `spec.port`; both have `spec.note`.
fn split() -> Value {
    let text = json!({"type": "string"});
    two_versions(&json!({"hostPort": text, "note": text}), &json!({"host": text, "port": text, "note": text}))
}

fn by_rename() -> Value {
    let text = json!({"type": "string"});
    two_versions(&json!({"a": text, "c": text}), &json!({"a": text, "b": text, "c": text}))
}

fn convert(object: &Value, to: &str) -> Value {
    let mut out = object.clone();
    out["apiVersion"] = to.into();
    let Some(spec) = out["spec"].as_object_mut() else { return out };
    if to == "example.com/v2" {
        if let Some((host, port)) =
            spec.remove("hostPort").as_ref().and_then(Value::as_str).and_then(|t| t.split_once(':'))
        {
            spec.insert("host".into(), host.into());
            spec.insert("port".into(), port.into());
        }
    } else if let (Some(host), Some(port)) = (spec.remove("host"), spec.remove("port")) {
        spec.insert("hostPort".into(), format!("{}:{}", host.as_str().unwrap(), port.as_str().unwrap()).into());
    }
    out
}

/// A webhook that converts as long as it `works`.
async fn webhook(ca: &pki::Pair, works: Arc<AtomicBool>) -> Backend {
    Backend::start(ca, "hook", move |_, review| {
        let request = &review["request"];
        let to = request["desiredAPIVersion"].as_str().expect("version");
        let result = if works.load(Ordering::SeqCst) {
            let objects = request["objects"].as_array().expect("objects").iter().map(|o| convert(o, to));
            let objects: Vec<Value> = objects.collect();
            json!({"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": objects})
        } else {
            json!({"uid": request["uid"], "result": {"status": "Failure", "message": "not today"}})
        };
        support::Answer::json(
            &json!({"apiVersion": review["apiVersion"], "kind": "ConversionReview", "response": result}),
        )
    })
    .await
}

async fn apply(api: &Api, version: &str, query: &str, spec: Value) -> Answer {
    let path = format!("/apis/example.com/{version}/namespaces/a/widgets/w?fieldManager={query}");
    let body = json!({"apiVersion": format!("example.com/{version}"), "kind": "Widget", "metadata": {"name": "w"}, "spec": spec});
    api.send("PATCH", &path, &[("content-type", "application/apply-patch+yaml")], Some(&body)).await
}

async fn merge(api: &Api, version: &str, manager: &str, spec: Value) -> Value {
    let path = format!("/apis/example.com/{version}/namespaces/a/widgets/w?fieldManager={manager}");
    api.merge(&path, &json!({"spec": spec})).await.ok(200)
}

/// `manager version: fields of spec`, sorted.
fn owners(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let text = |e: &Value, f: &str| e[f].as_str().unwrap_or_default().replace("example.com/", "");
    let fields = |e: &Value| {
        let spec = e["fieldsV1"]["f:spec"].as_object().cloned().unwrap_or_default();
        spec.keys().filter_map(|k| k.strip_prefix("f:").map(str::to_owned)).collect::<Vec<_>>().join(" ")
    };
    let line = |e: &Value| format!("{} {}: {}", text(e, "manager"), text(e, "apiVersion"), fields(e));
    let mut lines: Vec<String> = entries.iter().map(line).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn where_only_the_version_changes() {
    let api = Api::start().await;
    api.define(&by_rename()).await;
    apply(&api, "v2", "first", json!({"a": "1"})).await.ok(201);
    let changed = merge(&api, "v1", "second", json!({"a": "9", "c": "3"})).await;
    assert_eq!(owners(&changed), ["second v1: a c"]);
    let refused = apply(&api, "v2", "first", json!({"a": "1"})).await;
    refused.refused(409, "Apply failed with 1 conflict: conflict with \"second\" using example.com/v1: .spec.a");
    let forced = apply(&api, "v2", "first&force=true", json!({"a": "1"})).await.ok(200);
    assert_eq!(owners(&forced), ["first v2: a", "second v1: c"]);
    assert_eq!(forced["spec"], json!({"a": "1", "c": "3"}));
    // A field that the other version does not have cannot be told of to who owns fields in that.
    let refused = apply(&api, "v2", "first", json!({"a": "1", "b": "2"})).await;
    let why = "failed to prune fields: failed add back owned items: failed to convert merged object at version \
        example.com/v1: .spec.b: field not declared in schema";
    refused.refused(500, why);
    // What was applied in one version goes when it is not in what is applied in the other.
    let again = apply(&api, "v1", "first", json!({"c": "3"})).await.ok(200);
    assert_eq!(
        (&again["spec"], owners(&again)),
        (&json!({"c": "3"}), vec!["first v1: c".into(), "second v1: c".into()])
    );
    let unowned = merge(&api, "v2", "third", json!({"b": "2"})).await;
    assert_eq!(owners(&unowned), [""; 0], "nobody can tell any more who owns what");
}

#[tokio::test]
async fn where_a_version_is_withdrawn_or_gone() {
    let api = Api::start().await;
    api.define(&by_rename()).await;
    apply(&api, "v1", "first", json!({"a": "1"})).await.ok(201);
    merge(&api, "v1", "second", json!({"c": "3"})).await;
    let path = format!("{DEFINITIONS}/{DEFINITION}");
    let change = async |change: &dyn Fn(&mut Value)| {
        let mut d = api.get(&path).await.ok(200);
        change(&mut d["spec"]["versions"]);
        api.put(&path, &d).await.ok(200);
        while api.get(WIDGETS).await.code != 404 {
            tokio::task::yield_now().await;
        }
    };
    change(&|versions| versions[0]["served"] = false.into()).await;
    let refused = apply(&api, "v2", "third", json!({"a": "2"})).await;
    refused.refused(409, "Apply failed with 1 conflict: conflict with \"first\": .spec.a");
    let changed = merge(&api, "v2", "third", json!({"c": "4"})).await;
    assert_eq!(owners(&changed), ["first v1: a", "third v2: c"]);
    let d = api.get(&path).await.ok(200);
    assert_eq!((condition(&d, "Established"), &d["status"]["storedVersions"]), ("True", &json!(["v2"])));
    change(&|versions| drop(versions.as_array_mut().expect("versions").remove(0))).await;
    // The definition's change is followed; until then the version is there.
    let mut n = 4;
    let mut last = changed;
    while owners(&last) != ["third v2: c"] {
        assert_eq!(owners(&last), ["first v1: a", "third v2: c"]);
        n += 1;
        last = merge(&api, "v2", "third", json!({"c": n.to_string()})).await;
    }
    apply(&api, "v2", "first", json!({"a": "2"})).await.ok(200);
}

#[tokio::test]
async fn where_a_webhook_converts() {
    let (api, ca, works) = (Api::start().await, authority(), Arc::new(AtomicBool::new(true)));
    let hook = webhook(&ca, works.clone()).await;
    let mut d = split();
    d["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"],
        "clientConfig": {"url": format!("https://127.0.0.1:{}/", hook.port), "caBundle": support::bundle(&ca)}}});
    api.define(&d).await;
    let spec = json!({"host": "h", "port": "1", "note": "n"});
    apply(&api, "v2", "first", spec.clone()).await.ok(201);
    let changed = merge(&api, "v1", "second", json!({"hostPort": "h:2"})).await;
    assert_eq!(owners(&changed), ["first v2: host note", "second v1: hostPort"]);
    let why = "Apply failed with 1 conflict: conflict with \"second\" using example.com/v1: .spec.hostPort";
    apply(&api, "v2", "first", spec.clone()).await.refused(409, why);
    let forced = apply(&api, "v2", "first&force=true", spec).await.ok(200);
    assert_eq!(owners(&forced), ["first v2: host note port"]);
    // Both want the same, each in its own words; what one of them does not want any more goes.
    let both = apply(&api, "v1", "second", json!({"hostPort": "h:1"})).await.ok(200);
    assert_eq!(owners(&both), ["first v2: host note port", "second v1: hostPort"]);
    let left = apply(&api, "v1", "first", json!({"hostPort": "h:1"})).await.ok(200);
    assert_eq!((&left["spec"], owners(&left).len()), (&json!({"hostPort": "h:1"}), 2));
    let kept = apply(&api, "v2", "first", json!({"note": "n"})).await.ok(200);
    assert_eq!(kept["spec"], json!({"host": "h", "port": "1", "note": "n"}), "the other one still wants it");
    assert_eq!(owners(&kept), ["first v2: note", "second v1: hostPort"]);
    // A webhook that fails: nobody can tell any more who owns what.
    works.store(false, Ordering::SeqCst);
    let why = "conversion webhook for example.com/v2, Kind=Widget failed: not today";
    apply(&api, "v2", "third", json!({"note": "m"})).await.refused(500, why);
    let path = format!("{V2}/w?fieldManager=third");
    let unowned = api.merge(&path, &json!({"spec": {"note": "m"}})).await.ok(200);
    assert_eq!(unowned["metadata"].get("managedFields"), None);
}

#[tokio::test]
async fn keys_with_defaults_open_fields_and_wrong_types() {
    let text = json!({"type": "string"});
    let item = json!({"type": "object", "required": ["name", "proto"],
        "properties": {"name": text, "proto": {"type": "string", "default": "TCP"}, "note": text}});
    let fields = json!({
        "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name", "proto"], "items": item},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
            "properties": {"inner": {"type": "object", "properties": {"a": text}}}}});
    let api = Api::start().await;
    api.define(&two_versions(&fields, &fields)).await;
    // What is left out of a key is its default.
    apply(&api, "v2", "first", json!({"list": [{"name": "x"}]})).await.ok(201);
    let both = apply(&api, "v2", "second", json!({"list": [{"name": "x", "proto": "TCP", "note": "n"}]})).await.ok(200);
    assert_eq!(both["spec"]["list"], json!([{"name": "x", "proto": "TCP", "note": "n"}]));
    let spec = |list: Value| json!({"list": list});
    for (applied, why) in [
        (
            spec(json!([{"name": "x"}, {"name": "x", "proto": "TCP"}])),
            ".spec.list: duplicate entries for key [name=\"x\",proto=\"TCP\"]",
        ),
        (
            spec(json!([{"proto": "TCP"}])),
            "element 0: associative list with keys has an element that omits key field \"name\"",
        ),
        (spec(json!({"a": [1.0]})), ".spec.list: expected list, got &{map[a:[1]]}"),
    ] {
        apply(&api, "v2", "third", applied).await.refused(500, why);
    }
    // Below a field that keeps unknown ones nothing is unknown to a configuration; what has a schema is pruned by it.
    let open = json!({"open": {"inner": {"a": "1", "b": 2}, "c": [3]}});
    let kept = apply(&api, "v2", "third", open).await.ok(200);
    assert_eq!(kept["spec"]["open"], json!({"inner": {"a": "1"}, "c": [3]}));
}

#[tokio::test]
async fn what_has_no_type_and_embedded_resources_are_owned_field_by_field() {
    let api = Api::start().await;
    let mut d = two_versions(
        &json!({"any": {"x-kubernetes-preserve-unknown-fields": true},
            "pod": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"n": {"type": "integer"}}}}),
        &json!({}),
    );
    d["spec"]["versions"].as_array_mut().expect("versions").truncate(1);
    d["spec"]["versions"][0]["storage"] = true.into();
    api.define(&d).await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}}, "n": 1});
    let made = apply(&api, "v1", "first", json!({"any": {"a": [1], "b": {"c": 1}}, "pod": pod})).await.ok(201);
    assert_eq!(
        made["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"],
        json!({
            "f:any": {"f:a": {}, "f:b": {".": {}, "f:c": {}}},
            "f:pod": {"f:apiVersion": {}, "f:kind": {}, "f:n": {}, "f:metadata": {"f:name": {}, "f:labels": {"f:a": {}}}},
        })
    );
    let merged = merge(&api, "v1", "second", json!({"any": {"b": {"d": true}}})).await;
    let second =
        merged["metadata"]["managedFields"].as_array().expect("list").iter().find(|m| m["manager"] == "second");
    assert_eq!(second.expect("an owner")["fieldsV1"]["f:spec"], json!({"f:any": {"f:b": {"f:d": {}}}}));
    // What becomes a text has no fields any more.
    let merged = merge(&api, "v1", "third", json!({"any": {"b": "text"}})).await;
    let all = merged["metadata"]["managedFields"].as_array().expect("list").iter();
    let owned: Vec<_> = all.map(|m| (m["manager"].as_str().unwrap_or(""), &m["fieldsV1"]["f:spec"]["f:any"])).collect();
    assert_eq!(owned, [("first", &json!({"f:a": {}})), ("third", &json!({"f:b": {}}))]);
    let text = apply(
        &api,
        "v1",
        "first&force=true",
        json!({"any": "text", "pod": {"kind": "Pod", "apiVersion": "v1", "x": 1}}),
    );
    text.await.refused(500, ".spec.pod.x: field not declared in schema");
}
