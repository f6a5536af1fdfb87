//! The server as a client sees it that speaks protobuf, as upstream's components do; and values that they have stored.

use api_core::Gvk;
use api_core::gvk::split_api_version;
use api_schema::protobuf::{self, Envelope, MAGIC};
use apiserver::authn::UserInfo;
use apiserver::{Body, Config, Server, body};
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;
use store::{Op, Range, Store, Txn};
use tower::{Service, ServiceExt};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const PODS: &str = "/api/v1/namespaces/a/pods";

struct Api {
    server: Server,
    store: Arc<dyn Store>,
    _directory: tempfile::TempDir,
}

impl Api {
    /// A server over a store that holds these values already.
    async fn over(values: &[(&str, Bytes)]) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let store = store::Embedded::open(directory.path().join("store"), store::Limits::default()).expect("store");
        let store: Arc<dyn Store> = Arc::new(store);
        for (key, value) in values {
            let put = Op::Put { key: Bytes::from((*key).to_owned()), value: value.clone(), lease: 0 };
            store.txn(Txn { compare: vec![], success: vec![put], failure: vec![] }).await.expect("put");
        }
        let config = Config { bootstrap: false, ..Config::default() };
        let server = Server::build(config, store.clone()).await.expect("server");
        let api = Self { server, store, _directory: directory };
        for (path, object) in [
            ("/api/v1/namespaces", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})),
            ("/api/v1/namespaces", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}})),
            (
                "/api/v1/namespaces/a/serviceaccounts",
                json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}),
            ),
        ] {
            api.send("POST", path, &[("accept", PROTOBUF), ("content-type", PROTOBUF)], encode(&object)).await;
        }
        api
    }

    async fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], sent: Bytes) -> Response<Body> {
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).expect("method")).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(body::full(sent)).expect("request");
        request.extensions_mut().insert(UserInfo::new("admin", &["system:masters", "system:authenticated"]));
        let mut service = self.server.service();
        service.ready().await.expect("ready").call(request).await.expect("answer")
    }

    /// Code, content type and bytes of an answer.
    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], sent: Bytes) -> (u16, String, Bytes) {
        let response = self.raw(method, path, headers, sent).await;
        let code = response.status().as_u16();
        let media = response.headers()[header::CONTENT_TYPE].to_str().expect("text").to_owned();
        (code, media, response.into_body().collect().await.expect("body").to_bytes())
    }

    /// A request in protobuf whose answer must be protobuf.
    async fn call(&self, method: &str, path: &str, object: Option<&Value>) -> (u16, Value) {
        let sent = object.map(encode).unwrap_or_default();
        let headers = [("accept", PROTOBUF), ("content-type", PROTOBUF)];
        let (code, media, bytes) = self.send(method, path, &headers, sent).await;
        assert_eq!(media, PROTOBUF, "{method} {path}: {}", String::from_utf8_lossy(&bytes));
        (code, decode(&bytes))
    }

    async fn json(&self, path: &str) -> Value {
        let (_, _, bytes) = self.send("GET", path, &[], Bytes::new()).await;
        serde_json::from_slice(&bytes).expect("json")
    }
}

fn root_of(api_version: &str, kind: &str) -> u32 {
    let (group, version) = split_api_version(api_version);
    api_kinds::message_type_of(&Gvk::new(group, version, kind)).unwrap_or_else(|| panic!("{api_version} {kind}"))
}

fn encode(object: &Value) -> Bytes {
    let (api_version, kind) = (object["apiVersion"].as_str().expect("version"), object["kind"].as_str().expect("kind"));
    let message = protobuf::encode_value(api_kinds::schema(), root_of(api_version, kind), object).expect("message");
    protobuf::envelope(api_version, kind, &message)
}

fn decode(bytes: &[u8]) -> Value {
    let rest = bytes.strip_prefix(MAGIC).unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(bytes)));
    let envelope = Envelope::open(rest).expect("envelope");
    // Some documents of discovery do not say it, in JSON neither.
    let api_version = if envelope.api_version.is_empty() { "v1" } else { envelope.api_version };
    let root = root_of(api_version, envelope.kind);
    let mut value = protobuf::decode(api_kinds::schema(), root, envelope.raw).expect("message");
    value["apiVersion"] = envelope.api_version.into();
    value["kind"] = envelope.kind.into();
    value
}

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

#[tokio::test]
async fn an_object_lives_in_protobuf_as_it_does_in_json() {
    let api = Api::over(&[]).await;
    let (code, made) = api.call("POST", PODS, Some(&pod("x"))).await;
    assert_eq!((code, &made["spec"]["dnsPolicy"]), (201, &json!("ClusterFirst")));
    let path = format!("{PODS}/x");
    assert_eq!(api.json(&path).await, made);
    assert_eq!(api.call("GET", &path, None).await, (200, made.clone()));
    let mut changed = made.clone();
    changed["metadata"]["annotations"] = json!({"a": "b"});
    let (code, updated) = api.call("PUT", &path, Some(&changed)).await;
    assert_eq!((code, &updated["metadata"]["annotations"]["a"]), (200, &json!("b")));
    let patch = [("accept", PROTOBUF), ("content-type", "application/merge-patch+json")];
    let body = Bytes::from(json!({"metadata": {"annotations": {"a": "c"}}}).to_string());
    let (code, media, bytes) = api.send("PATCH", &path, &patch, body).await;
    assert_eq!((code, media.as_str(), &decode(&bytes)["metadata"]["annotations"]["a"]), (200, PROTOBUF, &json!("c")));
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0,
        "preconditions": {"uid": "other"}});
    let (code, status) = api.call("DELETE", &path, Some(&options)).await;
    assert_eq!((code, &status["reason"], &status["kind"]), (409, &json!("Conflict"), &json!("Status")));
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0});
    let (code, gone) = api.call("DELETE", &path, Some(&options)).await;
    assert_eq!((code, &gone["kind"]), (200, &json!("Pod")));
    let (code, status) = api.call("GET", &path, None).await;
    assert_eq!((code, &status["reason"], &status["details"]["name"]), (404, &json!("NotFound"), &json!("x")));
}

#[tokio::test]
async fn lists_are_the_same_in_both_languages() {
    let api = Api::over(&[]).await;
    let empty = api.call("GET", PODS, None).await.1;
    assert_eq!(empty["items"], Value::Null);
    for i in 0..150 {
        assert_eq!(api.call("POST", PODS, Some(&pod(&format!("p{i:03}")))).await.0, 201);
    }
    let strip = |mut list: Value| {
        for item in list["items"].as_array_mut().expect("items") {
            item.as_object_mut().expect("item").remove("kind");
            item.as_object_mut().expect("item").remove("apiVersion");
        }
        list
    };
    let (_, listed) = api.call("GET", PODS, None).await;
    assert_eq!(listed, api.json(PODS).await);
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(150));
    let page = format!("{PODS}?limit=3");
    let (_, listed) = api.call("GET", &page, None).await;
    assert_eq!(listed["metadata"]["remainingItemCount"], 147);
    for version in ["v1", "v1beta1"] {
        let form = |media: &str| format!("{media};as=PartialObjectMetadataList;g=meta.k8s.io;v={version}");
        let (code, media, bytes) = api.send("GET", &page, &[("accept", &form(PROTOBUF))], Bytes::new()).await;
        assert_eq!((code, media.as_str()), (200, PROTOBUF));
        let (_, _, json) = api.send("GET", &page, &[("accept", &form("application/json"))], Bytes::new()).await;
        let json: Value = serde_json::from_slice(&json).expect("json");
        let mut read = decode(&bytes);
        let (token, other) = (read["metadata"]["continue"].take(), json["metadata"]["continue"].as_str());
        read["metadata"]["continue"] = other.into();
        assert!(token.is_string());
        assert_eq!(strip(read), strip(json));
    }
}

/// Takes whole frames off the front of what came.
fn frames(bytes: &mut Vec<u8>) -> Vec<(String, Value)> {
    let mut out = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*head) as usize;
        let Some(frame) = rest.get(..length) else { break };
        out.push(event_of(frame));
        *bytes = rest[length..].to_vec();
    }
    out
}

/// `1: type`, `2: {1: object}`, by hand.
fn event_of(frame: &[u8]) -> (String, Value) {
    assert_eq!(frame[0], 0x0a);
    let kind = String::from_utf8(frame[2..2 + frame[1] as usize].to_vec()).expect("text");
    let at = frame.windows(4).position(|w| w == MAGIC).expect("an object in its envelope");
    (kind, decode(&frame[at..]))
}

#[tokio::test]
async fn a_watch_sends_frames() {
    let api = Api::over(&[]).await;
    api.call("POST", PODS, Some(&pod("x"))).await;
    let accept = [("accept", "application/vnd.kubernetes.protobuf;stream=watch")];
    let path = format!("{PODS}?watch=1&timeoutSeconds=30");
    let response = api.raw("GET", &path, &accept, Bytes::new()).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/vnd.kubernetes.protobuf;stream=watch");
    let mut stream = response.into_body();
    api.call("POST", PODS, Some(&pod("y"))).await;
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0});
    api.call("DELETE", &format!("{PODS}/y"), Some(&options)).await;
    let (mut bytes, mut events) = (Vec::new(), Vec::new());
    while events.last().is_none_or(|(kind, _)| kind != "DELETED") {
        let piece = stream.frame().await.expect("more").expect("frame").into_data().expect("data");
        bytes.extend_from_slice(&piece);
        events.extend(frames(&mut bytes));
    }
    assert_eq!(events[0].0, "ADDED");
    assert_eq!(events[0].1, api.json(&format!("{PODS}/x")).await);
    assert!(events[1].0 == "ADDED" && events[1].1["metadata"]["name"] == "y");
    let old = format!("{PODS}?watch=1&resourceVersion=1&allowWatchBookmarks=true&timeoutSeconds=1");
    let mut body = api.raw("GET", &old, &accept, Bytes::new()).await.into_body();
    let mut first = body.frame().await.expect("more").expect("frame").into_data().expect("data").to_vec();
    assert_eq!(frames(&mut first)[0].1["kind"], "Pod");
    let (code, status) = api.call("GET", &format!("{PODS}?watch=1&resourceVersion=x"), None).await;
    assert_eq!((code, &status["kind"]), (500, &json!("Status")));
}

impl Api {
    /// How often something was made for a list or a watch.
    async fn made(&self, what: &str) -> u64 {
        let (_, _, text) = self.send("GET", "/metrics", &[], Bytes::new()).await;
        let start = format!("mainstay_encodings_total{{what=\"{what}\"}} ");
        let text = String::from_utf8(text.to_vec()).expect("text");
        let line = text.lines().find_map(|line| line.strip_prefix(&start)).expect("a counter");
        line.parse().expect("a number")
    }

    /// How often something was made for one event that so many watches of all pods have seen.
    async fn made_for_one_event(&self, what: &str, accept: &str, watchers: usize) -> u64 {
        let now = self.json(&format!("{PODS}?limit=1")).await["metadata"]["resourceVersion"].clone();
        let path = format!("{PODS}?watch=1&resourceVersion={}&timeoutSeconds=60", now.as_str().expect("revision"));
        let mut watches = Vec::new();
        for _ in 0..watchers {
            watches.push(self.raw("GET", &path, &[("accept", accept)], Bytes::new()).await.into_body());
        }
        // The first frame of a Table tells its columns, and is each watch's own.
        let label = |i: usize| json!({"metadata": {"labels": {"changed": format!("{what}-{i}")}}}).to_string();
        let (patched, patch) = (format!("{PODS}/p0"), [("content-type", "application/merge-patch+json")]);
        self.send("PATCH", &patched, &patch, label(0).into()).await;
        for watch in &mut watches {
            watch.frame().await.expect("more").expect("frame");
        }
        let before = self.made(what).await;
        self.send("PATCH", &patched, &patch, label(1).into()).await;
        for watch in &mut watches {
            let frame = watch.frame().await.expect("more").expect("frame").into_data().expect("data");
            assert!(frame.windows(2).any(|w| w == b"p0"), "{accept}: {frame:?}");
        }
        self.made(what).await - before
    }
}

#[tokio::test]
async fn an_object_and_an_event_are_encoded_once_for_all_who_ask() {
    const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
    const METADATA: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    const METADATA_PROTOBUF: &str = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let api = Api::over(&[]).await;
    for i in 0..100 {
        api.call("POST", PODS, Some(&pod(&format!("p{i}")))).await;
    }
    let before = api.made("message").await;
    let (_, list) = api.call("GET", PODS, None).await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(100));
    let accept = [("accept", PROTOBUF)];
    let initial = format!("{PODS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=1");
    for path in [PODS, PODS, &initial] {
        let (code, _, bytes) = api.send("GET", path, &accept, Bytes::new()).await;
        assert!(code == 200 && bytes.len() > 10_000, "{path}: {code}");
    }
    assert_eq!(api.made("message").await - before, 100, "a list or a watch start encodes no pod again");

    let metadata = "frame-metadata";
    let forms =
        [("frame-protobuf", PROTOBUF), ("frame-table", TABLE), (metadata, METADATA), (metadata, METADATA_PROTOBUF)];
    for (what, accept) in forms {
        let made = api.made_for_one_event(what, accept, 20).await;
        // A Table tells ages, so another second takes another one.
        let most = if what == "frame-table" { 2 } else { 1 };
        assert!((1..=most).contains(&made), "20 watches of {accept} took {made} encodings");
    }
}

#[tokio::test]
async fn what_a_table_shows_is_made_once_for_an_object_and_follows_its_changes() {
    const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let api = Api::over(&[]).await;
    for i in 0..100 {
        api.call("POST", PODS, Some(&pod(&format!("p{i}")))).await;
    }
    let table = async |path: &str| {
        let (_, _, bytes) = api.send("GET", path, &[("accept", TABLE)], Bytes::new()).await;
        serde_json::from_slice::<Value>(&bytes).expect("a Table")["rows"].take()
    };
    let before = api.made("outline").await;
    let first = table(PODS).await;
    assert_eq!(first.as_array().map(Vec::len), Some(100));
    let whole = table(&format!("{PODS}?includeObject=Object")).await;
    assert_eq!(api.made("outline").await - before, 100);
    // A Table of one object is made of its bytes alone.
    let mut one = table(&format!("{PODS}/p7")).await[0].take();
    let at = first.as_array().and_then(|rows| rows.iter().position(|row| row["cells"][0] == "p7")).expect("p7");
    let mut kept = first[at].clone();
    assert!(kept["cells"][4].as_str().is_some_and(|age| age.ends_with('s')), "{kept}");
    for row in [&mut one, &mut kept] {
        row["cells"][4].take();
    }
    assert_eq!(one, kept);
    assert_eq!(whole[at]["object"]["kind"], "Pod");
    assert_eq!(whole[at]["object"]["metadata"], kept["object"]["metadata"]);
    let longer = json!({"labels": {"a": "much-longer-than-before"}});
    let status = json!({"status": {"phase": "Failed", "reason": "\u{0}\"]"}, "metadata": longer});
    let merge = [("content-type", "application/merge-patch+json")];
    let (code, _, bytes) = api.send("PATCH", &format!("{PODS}/p7/status"), &merge, status.to_string().into()).await;
    assert_eq!(code, 200, "{}", String::from_utf8_lossy(&bytes));
    let then = table(PODS).await;
    assert_eq!(api.made("outline").await - before, 101);
    assert_eq!((&then[at]["cells"][2], &then[at]["conditions"][0]["reason"]), (&json!("\u{0}\"]"), &json!("Failed")));
    let (_, object) = api.call("GET", &format!("{PODS}/p7"), None).await;
    assert_eq!(then[at]["object"]["metadata"], object["metadata"]);
}

#[tokio::test]
async fn what_a_table_shows_is_the_same_in_every_version() {
    const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let api = Api::over(&[]).await;
    let path = |version: &str| format!("/apis/autoscaling/{version}/namespaces/a/horizontalpodautoscalers");
    let scaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}});
    assert_eq!(api.call("POST", &path("v2"), Some(&scaler)).await.0, 201);
    let before = api.made("outline").await;
    for version in ["v2", "v1", "v2"] {
        for (include, kind) in
            [("Metadata", json!("PartialObjectMetadata")), ("None", json!(null)), ("Object", scaler["kind"].clone())]
        {
            let path = format!("{}?includeObject={include}", path(version));
            let (_, _, bytes) = api.send("GET", &path, &[("accept", TABLE)], Bytes::new()).await;
            let table: Value = serde_json::from_slice(&bytes).expect("a Table");
            let row = &table["rows"][0];
            assert_eq!(row["cells"][1], "Deployment/d", "{path}: {table}");
            assert_eq!((&row["object"]["kind"], row["cells"][4].as_i64()), (&kind, Some(3)), "{path}");
            if include == "Object" {
                assert_eq!(row["object"]["apiVersion"], format!("autoscaling/{version}"));
            }
        }
    }
    assert_eq!(api.made("outline").await - before, 1);
}

#[tokio::test]
async fn a_thousand_watches_cost_one_encoding_of_an_event() {
    let api = Api::over(&[]).await;
    api.call("POST", PODS, Some(&pod("p0"))).await;
    assert_eq!(api.made_for_one_event("frame-protobuf", PROTOBUF, 1000).await, 1);
    // JSON is sent as it lies in the cache: nothing of any kind is made.
    for what in ["message", "frame-protobuf", "frame-metadata", "frame-table"] {
        assert_eq!(api.made_for_one_event(what, "application/json", 1000).await, 0, "{what}");
    }
}

#[tokio::test]
async fn subresources_and_reviews_speak_it_too() {
    let api = Api::over(&[]).await;
    api.call("POST", PODS, Some(&pod("x"))).await;
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "x"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "n"}});
    let (code, status) = api.call("POST", &format!("{PODS}/x/binding"), Some(&binding)).await;
    assert_eq!((code, &status["status"]), (201, &json!("Success")));
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "x"},
        "deleteOptions": {"gracePeriodSeconds": 0}});
    assert_eq!(api.call("POST", &format!("{PODS}/x/eviction"), Some(&eviction)).await.0, 201);
    let deployments = "/apis/apps/v1/namespaces/a/deployments";
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    assert_eq!(api.call("POST", deployments, Some(&deployment)).await.0, 201);
    let (_, mut scale) = api.call("GET", &format!("{deployments}/d/scale"), None).await;
    assert_eq!(scale["spec"]["replicas"], 1);
    scale["spec"]["replicas"] = 3.into();
    let (code, scale) = api.call("PUT", &format!("{deployments}/d/scale"), Some(&scale)).await;
    assert_eq!((code, &scale["spec"]["replicas"]), (200, &json!(3)));
    let token = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {},
        "spec": {"token": "no-token"}});
    let (code, token) = api.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", Some(&token)).await;
    assert!(code == 201 && token["status"]["error"].is_string(), "{token}");
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {},
        "spec": {"user": "u", "extra": {"k": ["v"]}, "resourceAttributes": {"verb": "get", "resource": "pods"}}});
    let (code, review) = api.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", Some(&review)).await;
    assert_eq!(
        (code, &review["status"]["allowed"], &review["spec"]["extra"]["k"][0]),
        (201, &json!(false), &json!("v"))
    );
}

#[tokio::test]
async fn discovery_speaks_it_too() {
    let api = Api::over(&[]).await;
    for path in ["/api", "/apis", "/apis/apps", "/api/v1", "/apis/apps/v1"] {
        let (code, mut read) = api.call("GET", path, None).await;
        let mut json = api.json(path).await;
        for document in [&mut read, &mut json] {
            document.as_object_mut().expect("object").remove("apiVersion");
        }
        assert_eq!((code, read), (200, json), "{path}");
    }
    let form = format!("{PROTOBUF};g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
    let (_, media, bytes) = api.send("GET", "/apis", &[("accept", &form)], Bytes::new()).await;
    assert_eq!(media, form);
    let (_, _, json) =
        api.send("GET", "/apis", &[("accept", &form.replace(PROTOBUF, "application/json"))], Bytes::new()).await;
    assert_eq!(decode(&bytes), serde_json::from_slice::<Value>(&json).expect("json"));
}

#[tokio::test]
async fn what_is_no_message_is_refused() {
    let api = Api::over(&[]).await;
    let headers = [("content-type", PROTOBUF)];
    let whole = encode(&pod("x"));
    let maps = encode(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}));
    let cases: [(Bytes, &str); 5] = [
        (Bytes::new(), "the object provided is unrecognized (must be of type Pod): empty data (<empty>)"),
        (
            Bytes::from_static(b"{}"),
            "the object provided is unrecognized (must be of type Pod): provided data does not appear to be a protobuf \
             message, expected prefix [107 56 115 0] ({})",
        ),
        (whole.slice(..4), "the object provided is unrecognized (must be of type Pod): empty body (6b387300)"),
        (whole.slice(..whole.len() - 30), "the object provided is unrecognized (must be of type Pod): unexpected EOF"),
        (
            maps,
            "ConfigMap in version \"v1\" cannot be handled as a Pod: converting (v1.ConfigMap) to (core.Pod): unknown conversion",
        ),
    ];
    for (sent, message) in cases {
        let (code, media, bytes) = api.send("POST", PODS, &headers, sent).await;
        let status: Value = serde_json::from_slice(&bytes).expect("json");
        assert_eq!((code, media.as_str()), (400, "application/json"));
        let said = status["message"].as_str().expect("message");
        assert!(said.starts_with(message), "{said}\nis not\n{message}");
    }
    let table = format!("{PROTOBUF};as=Table;g=meta.k8s.io;v=v1");
    let (code, media, _) = api.send("GET", PODS, &[("accept", &table)], Bytes::new()).await;
    assert_eq!((code, media.as_str()), (406, "application/json"));
    let (code, _, _) = api.send("POST", PODS, &[("content-type", "text/plain")], whole).await;
    assert_eq!(code, 415);
}

#[tokio::test]
async fn custom_resources_have_no_protobuf_but_their_metadata_have() {
    let api = Api::over(&[]).await;
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"}, "versions": [{"name": "v1", "served": true, "storage": true,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    assert_eq!(api.call("POST", definitions, Some(&definition)).await.0, 201);
    let watch = format!("{definitions}?watch=1&fieldSelector=metadata.name=widgets.example.com");
    let mut changes = api.raw("GET", &watch, &[("accept", PROTOBUF)], Bytes::new()).await.into_body();
    let mut bytes = Vec::new();
    loop {
        bytes.extend_from_slice(&changes.frame().await.expect("more").expect("frame").into_data().expect("data"));
        let is_served = |v: &Value| v["status"]["conditions"].to_string().contains("\"Established\"");
        if frames(&mut bytes).iter().any(|(_, v)| is_served(v)) {
            break;
        }
    }
    let path = "/apis/example.com/v1/namespaces/a/widgets";
    let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "x": 1});
    let json = [("content-type", "application/json")];
    assert_eq!(api.send("POST", path, &json, widget.to_string().into()).await.0, 201);
    assert_eq!(api.send("POST", path, &[("content-type", PROTOBUF)], Bytes::from_static(b"k8s\0")).await.0, 415);
    let (code, status) = api.call("GET", &format!("{path}/w"), None).await;
    assert_eq!((code, &status["reason"]), (406, &json!("NotAcceptable")));
    let both = format!("{PROTOBUF},application/json");
    let (code, media, _) = api.send("GET", path, &[("accept", &both)], Bytes::new()).await;
    assert_eq!((code, media.as_str()), (200, "application/json"));
    let metadata = format!("{PROTOBUF};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
    let (code, _, bytes) = api.send("GET", path, &[("accept", &metadata)], Bytes::new()).await;
    assert_eq!((code, &decode(&bytes)["items"][0]["metadata"]["name"]), (200, &json!("w")));
}

#[tokio::test]
async fn what_upstream_has_stored_is_served_and_stays_until_it_changes() {
    let recorded = include_str!("../../api-kinds/testdata/create-and-store.json");
    let recorded: Vec<Value> = serde_json::from_str(recorded).expect("json");
    let case = |resource: &str| recorded.iter().find(|c| c["resource"] == resource).expect("case").clone();
    let (map, slice) = (case("v1/configmaps"), case("discovery.k8s.io/v1/endpointslices"));
    assert_eq!(slice["stored"]["apiVersion"], "discovery.k8s.io/v1beta1");
    let key = |case: &Value| case["etcdKey"].as_str().expect("key").to_owned();
    let (map_key, slice_key) = (key(&map), key(&slice));
    let stored = encode(&map["stored"]);
    let budget = json!({"apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget",
        "metadata": {"name": "old", "namespace": "default", "uid": "1", "creationTimestamp": "2020-01-01T00:00:00Z"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}});
    let json_slice = Bytes::from(slice["stored"].to_string());
    let second_key = slice_key.replace("sample", "second");
    let mut second = slice["stored"].clone();
    second["metadata"]["name"] = "second".into();
    let api = Api::over(&[
        (&map_key, stored.clone()),
        (&slice_key, json_slice),
        (&second_key, encode(&second)),
        ("/registry/poddisruptionbudgets/default/old", encode(&budget)),
    ])
    .await;
    let without_version = |mut value: Value| {
        value["metadata"].as_object_mut().expect("metadata").remove("resourceVersion");
        value
    };
    let path = "/api/v1/namespaces/default/configmaps/sample";
    let served = api.json(path).await;
    assert_eq!(without_version(served.clone()), without_version(map["answer"].clone()));
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    // In protobuf an empty list is none.
    let mut first = slice["answer"].clone();
    first["endpoints"] = Value::Null;
    let mut second = first.clone();
    assert_eq!(without_version(api.json(&format!("{slices}/sample")).await), without_version(first));
    second["metadata"]["name"] = "second".into();
    assert_eq!(without_version(api.json(&format!("{slices}/second")).await), without_version(second));
    let old = api.json("/apis/policy/v1/namespaces/default/poddisruptionbudgets/old").await;
    assert_eq!((&old["apiVersion"], &old["spec"]["minAvailable"]), (&json!("policy/v1"), &json!(1)));
    // An update that changes nothing leaves the value alone; one that does writes it as this server writes.
    let value = async |key: &str| api.store.range(Range::key(key.to_owned())).await.expect("range").kvs.remove(0).value;
    assert_eq!(api.call("PUT", path, Some(&served)).await, (200, served.clone()));
    assert_eq!(value(&map_key).await, stored);
    let mut changed = served;
    changed["data"] = json!({"new": "x"});
    assert_eq!(api.call("PUT", path, Some(&changed)).await.0, 200);
    let written: Value = serde_json::from_slice(&value(&map_key).await).expect("json now");
    assert_eq!(written["data"], json!({"new": "x"}));
}
