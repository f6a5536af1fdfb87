//! Values that are out of the ordinary: with leases, with fields that are newer than this server, encrypted, damaged.

use super::world::{Watch, World, as_stored_elsewhere, put};
use bytes::Bytes;
use serde_json::{Value, json};

const EVENTS: &str = "/api/v1/namespaces/default/events";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// Seconds that an event is kept, as the server's default has it.
const EVENT_TTL_S: i64 = 3600;

fn event(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": "default", "uid": "u",
        "creationTimestamp": "2024-01-01T00:00:00Z"}, "reason": "r", "source": {}, "firstTimestamp": null,
        "lastTimestamp": null, "eventTime": null, "reportingComponent": "", "reportingInstance": "",
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}})
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default", "uid": "u",
        "creationTimestamp": "2024-01-01T00:00:00Z"}, "data": {"k": "v"}})
}

#[tokio::test]
async fn events_go_with_their_leases_whoever_granted_them() {
    let world = World::over(&[]).await;
    let api = &world.api;
    let mut watch = Watch::start(api, EVENTS).await;
    let lease = api.store.lease_grant(60).await.expect("a lease");
    for name in ["a", "b"] {
        put(&api.store, &format!("/registry/events/default/{name}"), as_stored_elsewhere(&event(name)), lease).await;
        assert_eq!(watch.next().await.0, "ADDED");
    }
    // Who changes an event gives it a new time; the other one goes when its lease ends.
    let mut changed = api.get(&format!("{EVENTS}/b")).await;
    changed["count"] = 2.into();
    assert_eq!(api.send("PUT", &format!("{EVENTS}/b"), Some(&changed)).await.0, 200);
    assert_eq!(watch.next().await.0, "MODIFIED");
    api.store.lease_revoke(lease).await.expect("revoked");
    let (kind, gone) = watch.next().await;
    assert_eq!((kind.as_str(), &gone["metadata"]["name"]), ("DELETED", &json!("a")));
    assert_eq!(api.get(EVENTS).await["items"].as_array().map(Vec::len), Some(1));
    let ours = api.stored("/registry/events/default/b").await.expect("it is there").lease;
    assert!(ours != 0 && ours != lease, "lease {ours}");
    let (code, _) = api.send("POST", EVENTS, Some(&event("c"))).await;
    let made = api.stored("/registry/events/default/c").await.expect("it is there").lease;
    assert_eq!((code, made), (201, ours), "one lease for the events of a minute");
    let left = api.store_lease_s(ours).await;
    assert!((EVENT_TTL_S - 5..=EVENT_TTL_S + 120).contains(&left), "{left} s");
}

#[tokio::test]
async fn fields_of_a_newer_server_are_not_served_and_not_kept() {
    let mut newer = map("json");
    newer["metadata"]["novel"] = "x".into();
    newer["novel"] = json!({"a": 1});
    // As upstream ends what it encodes as JSON.
    let newer = Bytes::from(format!("{newer}\n"));
    let mut message = as_stored_elsewhere(&map("protobuf")).to_vec();
    // In the envelope, field 63 of whatever is newer: it is skipped.
    message.extend_from_slice(&[0xfa, 0x03, 0x02, 0x68, 0x69]);
    let world = World::over(&[
        ("/registry/configmaps/default/json", newer),
        ("/registry/configmaps/default/protobuf", message.into()),
    ])
    .await;
    for name in ["json", "protobuf"] {
        let path = format!("{MAPS}/{name}");
        let mut served = world.api.get(&path).await;
        let revision = served["metadata"].as_object_mut().expect("metadata").remove("resourceVersion");
        assert_eq!(served, map(name));
        served["metadata"]["resourceVersion"] = revision.expect("a version");
        served["data"]["k"] = "w".into();
        let (code, answer) = world.api.send("PUT", &path, Some(&served)).await;
        assert_eq!(code, 200, "{answer}");
        let stored = world.api.stored_json(&format!("/registry/configmaps/default/{name}")).await;
        assert!(stored["data"]["k"] == "w" && !stored.to_string().contains("novel"), "{stored}");
    }
}

#[tokio::test]
async fn what_is_encrypted_is_refused_with_the_reason() {
    let sealed = Bytes::from_static(b"k8s:enc:aescbc:v1:key1:\x00\xffsealed");
    let world = World::over(&[
        ("/registry/secrets/default/sealed", sealed.clone()),
        (
            "/registry/secrets/other/open",
            as_stored_elsewhere(&json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "open", "namespace": "other", "uid": "u"}, "type": "Opaque"})),
        ),
    ])
    .await;
    let api = &world.api;
    let path = "/api/v1/namespaces/default/secrets/sealed";
    let why = "identity transformer tried to read encrypted data";
    let update = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sealed"}});
    for (method, path, body, said) in [
        ("GET", path, None, why.to_owned()),
        ("PUT", path, Some(&update), why.to_owned()),
        ("PATCH", "/api/v1/namespaces/default/secrets/sealed?fieldManager=a", Some(&update), why.to_owned()),
        ("DELETE", path, None, why.to_owned()),
        (
            "GET",
            "/api/v1/secrets",
            None,
            format!("unable to transform key \"/registry/secrets/default/sealed\": {why}"),
        ),
    ] {
        let (code, status) = api.send(method, path, body).await;
        assert_eq!((code, &status["reason"]), (500, &json!("InternalError")), "{method} {path}: {status}");
        assert_eq!(status["message"], format!("Internal error occurred: {said}"), "{method} {path}");
    }
    assert_eq!(api.stored("/registry/secrets/default/sealed").await.expect("it is there").value, sealed);
    let (code, status) = api.send("POST", "/api/v1/namespaces/default/secrets", Some(&update)).await;
    assert_eq!((code, &status["reason"]), (409, &json!("AlreadyExists")), "{status}");
    // What is beside it is served.
    let listed = api.get("/api/v1/namespaces/other/secrets").await;
    assert_eq!(listed["items"][0]["metadata"]["name"], "open");
    // Someone with the keys writes it in the clear: it is an object like any other.
    let open = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sealed", "namespace": "default",
        "uid": "s"}, "type": "Opaque", "data": {"k": "dg=="}});
    let mut watch = Watch::start(api, "/api/v1/namespaces/other/secrets").await;
    assert_eq!(watch.next().await.0, "ADDED");
    put(&api.store, "/registry/secrets/default/sealed", as_stored_elsewhere(&open), 0).await;
    assert_eq!(api.get(path).await["data"]["k"], "dg==");
}

#[tokio::test]
async fn custom_resources_lie_where_they_lie_elsewhere() {
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com", "uid": "d"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "conversion": {"strategy": "None"}, "versions": [{"name": "v1", "served": true, "storage": true, "schema":
        {"openAPIV3Schema": {"type": "object", "properties": {"size": {"type": "integer", "default": 3}}}}}]},
        "status": {"acceptedNames": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "storedVersions": ["v1"], "conditions": [{"type": "NamesAccepted", "status": "True", "reason": "NoConflicts",
        "message": "no conflicts found", "lastTransitionTime": "2024-01-01T00:00:00Z"}, {"type": "Established",
        "status": "True", "reason": "InitialNamesAccepted", "message": "the initial names have been accepted",
        "lastTransitionTime": "2024-01-01T00:00:00Z"}]}});
    let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": "default",
        "uid": "w", "creationTimestamp": "2024-01-01T00:00:00Z", "generation": 1}, "more": 1});
    let world = World::over(&[
        (
            "/registry/apiextensions.k8s.io/customresourcedefinitions/widgets.example.com",
            as_stored_elsewhere(&definition),
        ),
        ("/registry/example.com/widgets/default/w", format!("{widget}\n").into()),
    ])
    .await;
    let path = "/apis/example.com/v1/namespaces/default/widgets";
    let served = world.api.get(&format!("{path}/w")).await;
    assert_eq!((&served["size"], &served["more"], &served["metadata"]["uid"]), (&json!(3), &Value::Null, &json!("w")));
    let made = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "x"}, "size": 4});
    assert_eq!(world.api.send("POST", path, Some(&made)).await.0, 201);
    let stored = world.api.stored_json("/registry/example.com/widgets/default/x").await;
    assert_eq!((&stored["apiVersion"], &stored["size"]), (&json!("example.com/v1"), &json!(4)));
}

/// The servers of a cluster know each other by keys with leases, whoever made them.
#[tokio::test]
async fn servers_of_both_makes_are_endpoints_of_the_api() {
    let world = World::over(&[]).await;
    let store = &world.api.store;
    let lease = store.lease_grant(600).await.expect("a lease");
    let other = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"generation": 4},
        "subsets": [{"addresses": [{"ip": "10.9.9.9"}]}]});
    put(store, "/registry/masterleases/10.9.9.9", as_stored_elsewhere(&other), lease).await;
    let config = apiserver::Config { advertise_address: [10, 9, 9, 8].into(), ..apiserver::Config::default() };
    let path = "/api/v1/namespaces/default/endpoints?fieldSelector=metadata.name=kubernetes";
    let mut watch = Watch::start(&world.api, path).await;
    let ours = world.another(config).await;
    ours.ready().await;
    loop {
        let (_, endpoints) = watch.next().await;
        let addresses = &endpoints["subsets"][0]["addresses"];
        if *addresses == json!([{"ip": "10.9.9.8"}, {"ip": "10.9.9.9"}]) {
            break;
        }
    }
    let own = ours.stored("/registry/masterleases/10.9.9.8").await.expect("a key of our own");
    let value: Value = serde_json::from_slice(&own.value).expect("JSON");
    assert_eq!(value["subsets"][0]["addresses"][0]["ip"], "10.9.9.8");
    assert!(own.lease != 0, "it goes when the server does");
    // The other server ends: it is no endpoint any more.
    store.lease_revoke(lease).await.expect("revoked");
    loop {
        let (_, endpoints) = watch.next().await;
        if endpoints["subsets"][0]["addresses"] == json!([{"ip": "10.9.9.8"}]) {
            break;
        }
    }
    ours.stop().await;
}
