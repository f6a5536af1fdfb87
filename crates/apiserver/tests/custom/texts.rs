//! Bodies with text that is no Unicode, as a real server takes them: what is JSON is mended, what is YAML is refused.

use super::api::{Api, DEFINITIONS, WIDGETS, widgets};
use serde_json::json;

const MAPS: &str = "/api/v1/namespaces/a/configmaps";
/// A byte that is no character, one half of a pair, and a whole pair.
const BROKEN: &[u8] = b"x\xffy\\ud800z\\ud83d\\ude00";
const MENDED: &str = "x\u{fffd}y\u{fffd}z\u{1f600}";

/// The text with what is broken at the `#`.
fn with(text: &str) -> Vec<u8> {
    let (before, after) = text.split_once('#').expect("a place");
    [before.as_bytes(), BROKEN, after.as_bytes()].concat()
}

#[tokio::test]
async fn json_is_mended() {
    let api = Api::start().await;
    let map = format!("{MAPS}/m");
    for (method, path, media, body, pointer) in [
        ("POST", MAPS, "application/json", r##"{"metadata": {"name": "m"}, "data": {"k": "#"}}"##, "/data/k"),
        ("POST", MAPS, "", r##"{"metadata": {"name": "n"}, "data": {"k": "#"}}"##, "/data/k"),
        ("PUT", &map, "application/json", r##"{"metadata": {"name": "m"}, "data": {"l": "#"}}"##, "/data/l"),
        ("PATCH", &map, "application/merge-patch+json", r##"{"data": {"merged": "#"}}"##, "/data/merged"),
        ("PATCH", &map, "application/strategic-merge-patch+json", r##"{"data": {"s": "#"}}"##, "/data/s"),
        (
            "PATCH",
            &map,
            "application/json-patch+json",
            r##"[{"op": "add", "path": "/data/json", "value": "#"}, {"op": "test", "path": "/data/s", "value": "x"}]"##,
            "",
        ),
        (
            "PATCH",
            &map,
            "application/json-patch+json",
            r##"[{"op": "add", "path": "/metadata/annotations", "value": {"json": "#"}}]"##,
            "/metadata/annotations/json",
        ),
    ] {
        let headers: &[(&str, &str)] = if media.is_empty() { &[] } else { &[("content-type", media)] };
        let answer = api.bytes(method, path, headers, &with(body)).await;
        if pointer.is_empty() {
            assert_eq!(answer.code, 422, "the test fails: {}", answer.value);
            continue;
        }
        assert!(answer.code < 300, "{method} {body}: {}", answer.value);
        assert_eq!(answer.value.pointer(pointer), Some(&json!(MENDED)), "{method} {body}");
        let name = answer.value["metadata"]["name"].as_str().expect("a name");
        let stored = api.get(&format!("{MAPS}/{name}")).await.ok(200);
        assert_eq!(stored.pointer(pointer), Some(&json!(MENDED)), "{method} {body}");
    }
}

#[tokio::test]
async fn custom_resources_and_their_definitions_are_mended() {
    let api = Api::start().await;
    let text = json!({"type": "string", "description": "#"});
    let definition = widgets(json!({"type": "object", "properties": {"a": text}}));
    let made = api.bytes("POST", DEFINITIONS, &[], &with(&definition.to_string())).await.ok(201);
    let described = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/a/description";
    assert_eq!(made.pointer(described), Some(&json!(MENDED)));
    api.until(&format!("{DEFINITIONS}/widgets.example.com"), |d| super::api::condition(d, "Established") == "True")
        .await;
    let body = r##"{"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"a": "#"}}"##;
    let made = api.bytes("POST", WIDGETS, &[], &with(body)).await.ok(201);
    assert_eq!(made["spec"]["a"], MENDED);
    let merge = [("content-type", "application/merge-patch+json")];
    let path = format!("{WIDGETS}/w");
    let changed = api.bytes("PATCH", &path, &merge, &with(r##"{"spec": {"a": "2#"}}"##)).await.ok(200);
    assert_eq!(changed["spec"]["a"], format!("2{MENDED}"));
}

#[tokio::test]
async fn yaml_is_refused() {
    let api = Api::start().await;
    let apply = [("content-type", "application/apply-patch+yaml")];
    let path = format!("{MAPS}/m?fieldManager=f");
    let send = async |value: &[u8]| {
        let start = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {k: \"".as_slice();
        api.bytes("PATCH", &path, &apply, &[start, value, b"\"}\n"].concat()).await
    };
    let why = "error decoding YAML: error converting YAML to JSON: yaml: ";
    send(b"x\xffy").await.refused(400, &format!("{why}invalid leading UTF-8 octet"));
    send(b"x\xc3y").await.refused(400, &format!("{why}invalid trailing UTF-8 octet"));
    send(br"\ud800").await.refused(400, why);
    assert_eq!(send("\u{e9}\u{1f600}".as_bytes()).await.ok(201)["data"]["k"], "\u{e9}\u{1f600}");
    let json = br#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": "\ud800"}}"#;
    api.bytes("PATCH", &path, &apply, json).await.refused(400, why);
    let yaml = [("content-type", "application/yaml")];
    let body = b"metadata: {name: n}\ndata: {k: \"\xff\"}\n";
    api.bytes("POST", MAPS, &yaml, body).await.refused(400, "yaml: invalid leading UTF-8 octet");
}
