//! Every built-in kind: where it is stored, how, and what becomes of what another server has stored.

use super::world::{Api, PROTOBUF, TABLE, Watch, World, as_stored_elsewhere, put, read_message};
use api_core::Gvr;
use api_core::gvk::split_api_version;
use api_schema::normalize::normalize;
use api_schema::row::Row;
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;

/// What a real server was asked to make, what it answered, and what it stored where.
fn recorded() -> Vec<Value> {
    serde_json::from_str(include_str!("../../../api-kinds/testdata/create-and-store.json")).expect("json")
}

fn row(case: &Value) -> &'static Arc<Row> {
    let (api_version, plural) = case["resource"].as_str().expect("a resource").rsplit_once('/').expect("a version");
    let (group, version) = split_api_version(api_version);
    api_kinds::resource(&Gvr::new(group, version, plural)).expect("a row")
}

/// Paths of a case's collection and object.
fn paths(case: &Value) -> (String, String) {
    let row = row(case);
    let version = row.gvr.api_version();
    let start = if row.gvr.group.is_empty() { format!("/api/{version}") } else { format!("/apis/{version}") };
    let place = if row.namespaced { "/namespaces/default" } else { "" };
    let collection = format!("{start}{place}/{}", row.gvr.resource);
    let object = format!("{collection}/{}", case["stored"]["metadata"]["name"].as_str().expect("a name"));
    (collection, object)
}

/// An object without what is of one moment or one server.
fn lasting(row: &Row, object: &Value) -> Value {
    let mut object = object.clone();
    normalize(row.schema(), row.root(), &mut object);
    object["metadata"].as_object_mut().expect("metadata").remove("resourceVersion");
    // In protobuf an empty list is none.
    empty_is_null(&mut object);
    object
}

fn empty_is_null(value: &mut Value) {
    match value {
        Value::Array(list) if list.is_empty() => *value = Value::Null,
        Value::Array(list) => list.iter_mut().for_each(empty_is_null),
        Value::Object(map) => map.values_mut().for_each(empty_is_null),
        _ => {}
    }
}

/// Kinds whose objects the server itself changes as soon as it sees them, so that a version is soon an old one.
const CHANGED_BY_SERVER: [&str; 4] =
    ["CustomResourceDefinition", "APIService", "FlowSchema", "PriorityLevelConfiguration"];

#[tokio::test]
async fn what_another_server_has_stored_of_every_kind_is_ours() {
    let cases = recorded();
    let values: Vec<(&str, Bytes)> =
        cases.iter().map(|c| (c["etcdKey"].as_str().expect("a key"), as_stored_elsewhere(&c["stored"]))).collect();
    let world = World::over(&values).await;
    let mut wrong = Vec::new();
    for case in &cases {
        if let Err(why) = lives_on(&world.api, case).await {
            wrong.push(format!("{}: {why}", case["resource"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases.len() >= 49);
}

macro_rules! same {
    ($what:literal, $got:expr, $wanted:expr) => {
        let (got, wanted) = (&$got, &$wanted);
        if got != wanted {
            return Err(format!("{}: {got}\nis not {wanted}", $what));
        }
    };
}

async fn lives_on(api: &Api, case: &Value) -> Result<(), String> {
    let (row, (collection, path)) = (row(case), paths(case));
    let kind = row.kind.kind.as_str();
    let wanted = lasting(row, &case["answer"]);
    let as_it_was = !CHANGED_BY_SERVER.contains(&kind);
    let served = api.get(&path).await;
    if as_it_was {
        same!("served", lasting(row, &served), wanted);
    }
    let named =
        format!("{collection}?fieldSelector=metadata.name={}", wanted["metadata"]["name"].as_str().unwrap_or(""));
    let listed = api.get(&named).await;
    same!("listed", listed["items"][0]["metadata"]["uid"], wanted["metadata"]["uid"]);
    let (_, bytes) = api.bytes("GET", &path, &[("accept", PROTOBUF)], Bytes::new()).await;
    if as_it_was {
        same!("in protobuf", lasting(row, &read_message(&bytes)), wanted);
    }
    let (_, bytes) = api.bytes("GET", &path, &[("accept", TABLE)], Bytes::new()).await;
    let table: Value = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
    same!("in a table", table["rows"][0]["object"]["metadata"]["name"], wanted["metadata"]["name"]);
    let mut watch = Watch::start(api, &named).await;
    same!("watched", watch.next().await.0, "ADDED");
    changed(api, case, &path).await?;
    let key = case["etcdKey"].as_str().unwrap_or("");
    let stored = api.stored_json(key).await;
    same!("stored", stored["apiVersion"], json!(row.storage_version.api_version()));
    same!("a version is stored", stored["metadata"].get("resourceVersion").is_some(), false);
    let (code, answer) = api.send("DELETE", &format!("{path}?gracePeriodSeconds=0"), None).await;
    if code != 200 {
        return Err(format!("deleted: {code} {answer}"));
    }
    let holds = api.stored(key).await.is_some();
    if holds && answer["metadata"]["finalizers"].is_null() && kind != "Namespace" {
        return Err(format!("it is still there: {answer}"));
    }
    loop {
        let (event, object) = watch.next().await;
        if event == "DELETED" || (holds && !object["metadata"]["deletionTimestamp"].is_null()) {
            return Ok(());
        }
    }
}

/// It is updated and applied to.
async fn changed(api: &Api, case: &Value, path: &str) -> Result<(), String> {
    let mut object = api.get(path).await;
    object["metadata"]["labels"]["updated"] = "yes".into();
    let metadata = object["metadata"].as_object_mut().expect("metadata");
    metadata.remove("resourceVersion");
    let (mut code, mut answer) = api.send("PUT", path, Some(&object)).await;
    if code == 422 && answer.to_string().contains("resourceVersion") {
        // Of some kinds a version must be named; the server may write the status at the same moment.
        while code == 422 || code == 409 {
            object["metadata"]["resourceVersion"] = api.get(path).await["metadata"]["resourceVersion"].clone();
            (code, answer) = api.send("PUT", path, Some(&object)).await;
        }
    }
    if code != 200 || answer["metadata"]["labels"]["updated"] != "yes" {
        return Err(format!("updated: {code} {answer}"));
    }
    let applied = json!({"apiVersion": case["answer"]["apiVersion"], "kind": case["answer"]["kind"],
        "metadata": {"name": answer["metadata"]["name"], "labels": {"applied": "yes"}}});
    let (code, answer) = api.send("PATCH", &format!("{path}?fieldManager=a"), Some(&applied)).await;
    let labels = &answer["metadata"]["labels"];
    if code != 200 || labels["applied"] != "yes" || labels["updated"] != "yes" {
        return Err(format!("applied: {code} {answer}"));
    }
    Ok(())
}

/// What is stored of an object that is not the kind's own: names of the moment, who did it, what admission adds by chance.
const OF_THE_MOMENT: [&str; 12] = [
    ".metadata.uid",
    ".metadata.creationTimestamp",
    ".metadata.managedFields",
    ".spec.volumes[0].name",
    // The one that was recorded knew of another file.
    ".spec.volumes[0].projected.sources",
    ".spec.uid",
    ".status.lastPhaseTransitionTime",
    ".spec.containers[0].volumeMounts[0].name",
    ".spec.clusterIP",
    ".spec.clusterIPs[0]",
    ".spec.username",
    ".spec.groups",
];

fn differences(theirs: &Value, ours: &Value, path: &str, found: &mut Vec<String>) {
    match (theirs, ours) {
        _ if OF_THE_MOMENT.contains(&path) || path.ends_with("controller-uid") => {}
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|k| !a.contains_key(*k))) {
                let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                differences(&of(a), &of(b), &format!("{path}.{key}"), found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let pairs = a.iter().zip(b).enumerate();
            pairs.for_each(|(i, (a, b))| differences(a, b, &format!("{path}[{i}]"), found));
        }
        _ if theirs == ours => {}
        _ => found.push(format!("{path}: {theirs} is {ours}")),
    }
}

#[tokio::test]
async fn what_is_stored_here_is_what_the_other_would_have_stored() {
    let world = World::over(&[]).await;
    let mut wrong = Vec::new();
    for case in recorded() {
        let (row, (collection, path)) = (row(&case), paths(&case));
        let (code, made) = world.api.send("POST", &collection, Some(&case["request"])).await;
        let key = case["etcdKey"].as_str().expect("a key");
        if code != 201 {
            wrong.push(format!("{}: {code} {made}", case["resource"]));
            continue;
        }
        let ours = world.api.stored_json(key).await;
        // Theirs in the version that this server stores, which they serve.
        let theirs = world.another_value(&case).await;
        let mut found = Vec::new();
        if !CHANGED_BY_SERVER.contains(&row.kind.kind.as_str()) {
            differences(&lasting(row, &theirs), &lasting(row, &ours), "", &mut found);
        }
        wrong.extend(found.into_iter().map(|f| format!("{}: {f}", case["resource"])));
        world.api.send("DELETE", &format!("{path}?gracePeriodSeconds=0"), None).await;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

impl World {
    /// What a case's stored value is in the version that this server stores.
    async fn another_value(&self, case: &Value) -> Value {
        let stored = format!("{}\n", case["stored"]);
        api_kinds::stored::upgrade(stored.as_bytes()).expect("readable").expect("theirs")
    }
}

#[tokio::test]
async fn others_may_write_while_we_serve() {
    let world = World::over(&[]).await;
    let cases = recorded();
    let case = cases.iter().find(|c| c["resource"] == "v1/configmaps").expect("a case");
    let (collection, path) = paths(case);
    let mut watch = Watch::start(&world.api, &collection).await;
    let key = case["etcdKey"].as_str().expect("a key");
    put(&world.api.store, key, as_stored_elsewhere(&case["stored"]), 0).await;
    assert_eq!(watch.next().await.0, "ADDED");
    let mut second = case["stored"].clone();
    second["data"]["later"] = "x".into();
    put(&world.api.store, key, as_stored_elsewhere(&second), 0).await;
    let (event, object) = watch.next().await;
    assert_eq!((event.as_str(), &object["data"]["later"]), ("MODIFIED", &json!("x")));
    assert_eq!(object, world.api.get(&path).await);
    // A version that the other server has overtaken is an old one.
    let mut changed = object.clone();
    changed["data"]["mine"] = "y".into();
    second["data"]["later"] = "z".into();
    put(&world.api.store, key, as_stored_elsewhere(&second), 0).await;
    assert_eq!(world.api.send("PUT", &path, Some(&changed)).await.0, 409);
    let delete = store::Op::Delete { start: key.to_owned().into(), end: None };
    let txn = store::Txn { compare: Vec::new(), success: vec![delete], failure: Vec::new() };
    world.api.store.txn(txn).await.expect("deleted");
    assert_eq!(watch.next().await.0, "MODIFIED");
    let (event, object) = watch.next().await;
    assert_eq!((event.as_str(), &object["data"]["later"]), ("DELETED", &json!("z")));
}

#[tokio::test]
async fn what_is_written_in_any_version_is_stored_in_upstreams() {
    let world = World::over(&[]).await;
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"});
    let event = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e", "namespace": "default"},
        "eventTime": "2024-01-01T00:00:00.000000Z", "reportingController": "c.example.com/x", "reportingInstance": "i",
        "action": "a", "reason": "r", "type": "Normal", "note": "n"});
    for (collection, object, key, version, field) in [
        ("/apis/events.k8s.io/v1/namespaces/default/events", event, "/registry/events/default/e", "v1", "/message"),
        (
            "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers",
            json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
                "spec": {"scaleTargetRef": target, "maxReplicas": 3, "targetCPUUtilizationPercentage": 70}}),
            "/registry/horizontalpodautoscalers/default/h",
            "autoscaling/v2",
            "/spec/metrics/0/resource/target/averageUtilization",
        ),
        (
            "/apis/flowcontrol.apiserver.k8s.io/v1beta3/flowschemas",
            json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1beta3", "kind": "FlowSchema",
                "metadata": {"name": "f"}, "spec": {"priorityLevelConfiguration": {"name": "none"}}}),
            "/registry/flowschemas/f",
            "flowcontrol.apiserver.k8s.io/v1",
            "/spec/matchingPrecedence",
        ),
    ] {
        let (code, made) = world.api.send("POST", collection, Some(&object)).await;
        assert_eq!(code, 201, "{made}");
        let stored = world.api.stored_json(key).await;
        assert_eq!(stored["apiVersion"], version, "{stored}");
        assert!(stored.pointer(field).is_some(), "{stored}");
    }
    let stored = world.api.stored_json("/registry/horizontalpodautoscalers/default/h").await;
    assert_eq!(stored["status"], json!({"currentMetrics": null, "desiredReplicas": 0}));
}
