//! Priority and fairness over the whole server: what a client sees of its flow schema, its level, its queue.

use apiserver::authn::UserInfo;
use apiserver::{Body, Config, Server, body};
use futures::{FutureExt, StreamExt};
use http::{Request, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tower::Service;

const FLOW: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/a/configmaps";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

struct Api {
    server: Server,
    _directory: tempfile::TempDir,
}

impl Api {
    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let store = store::Embedded::open(directory.path().join("store"), store::Limits::default()).expect("store");
        let mut config = Config::default();
        change(&mut config);
        let server = Server::build(config, Arc::new(store)).await.expect("server");
        server.ready().await;
        let api = Self { server, _directory: directory };
        api.made("/api/v1/namespaces", json!({"metadata": {"name": "a"}})).await;
        // `bob` may read what is in the namespace.
        let role =
            json!({"metadata": {"name": "read"}, "rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]});
        api.made("/apis/rbac.authorization.k8s.io/v1/clusterroles", role).await;
        let binding = json!({"metadata": {"name": "read"}, "subjects": [{"kind": "User", "name": "bob"}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "read"}});
        api.made("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding).await;
        api
    }

    fn send(
        &self,
        user: &str,
        method: &str,
        path: &str,
        accept: &str,
        body: Option<&Value>,
    ) -> impl Future<Output = Response<Body>> + Send + 'static {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("accept", accept)
            .header("content-type", "application/json");
        let body = body.map_or_else(body::empty, |b| body::full(b.to_string()));
        let mut request = request.body(body).expect("request");
        let groups: &[&str] =
            if user == "admin" { &["system:masters", "system:authenticated"] } else { &["system:authenticated"] };
        request.extensions_mut().insert(UserInfo::new(user, groups));
        let answer = self.server.service().call(request);
        async move { answer.await.expect("answer") }
    }

    async fn made(&self, path: &str, object: Value) -> Value {
        let answer = self.send("admin", "POST", path, "application/json", Some(&object)).await;
        let code = answer.status();
        let bytes = answer.into_body().collect().await.expect("body").to_bytes();
        assert!(code.is_success(), "{path}: {code} {}", String::from_utf8_lossy(&bytes));
        serde_json::from_slice(&bytes).expect("json")
    }

    async fn text(&self, path: &str) -> String {
        let answer = self.send("admin", "GET", path, "*/*", None).await;
        String::from_utf8(answer.into_body().collect().await.expect("body").to_bytes().to_vec()).expect("text")
    }

    async fn value(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path).await).expect("json")
    }

    /// A level for `bob` alone, with one seat.
    async fn level_of_bob(&self, response: Value) -> (Value, Value) {
        let limited = json!({"nominalConcurrencyShares": 0, "limitResponse": response});
        let level = json!({"metadata": {"name": "narrow"}, "spec": {"type": "Limited", "limited": limited}});
        let level = self.made(&format!("{FLOW}/prioritylevelconfigurations"), level).await;
        let schema = self.made(&format!("{FLOW}/flowschemas"), schema("bobs", "narrow")).await;
        // It is in force when the feed has seen it, which writes the condition.
        self.condition("bobs", "False").await;
        (schema, level)
    }

    /// Waits until the schema's condition is `status`.
    async fn condition(&self, name: &str, status: &str) -> Value {
        let path = format!("{FLOW}/flowschemas?watch=1&fieldSelector=metadata.name%3D{name}");
        let answer = self.send("admin", "GET", &path, "application/json", None).await;
        let mut frames = answer.into_body().into_data_stream();
        let seen = async {
            let mut rest = String::new();
            while let Some(frame) = frames.next().await {
                rest.push_str(std::str::from_utf8(&frame.expect("frame")).expect("text"));
                while let Some((line, after)) = rest.split_once('\n') {
                    let event: Value = serde_json::from_str(line).expect("event");
                    rest = after.to_owned();
                    let conditions = event["object"]["status"]["conditions"].as_array();
                    let found =
                        conditions.into_iter().flatten().find(|c| c["type"] == "Dangling" && c["status"] == status);
                    if let Some(found) = found {
                        return found.clone();
                    }
                }
            }
            panic!("the watch has ended")
        };
        tokio::time::timeout(Duration::from_secs(20), seen).await.expect("a condition in time")
    }

    /// A list whose answer is not read, so that it keeps its seat.
    async fn unread_list(&self) -> Response<Body> {
        for i in 0..70 {
            self.made(MAPS, json!({"metadata": {"name": format!("m{i}")}})).await;
        }
        let answer = self.send("bob", "GET", &format!("{MAPS}?resourceVersion=0"), TABLE, None).await;
        assert_eq!(answer.status(), 200);
        answer
    }
}

fn schema(name: &str, level: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"matchingPrecedence": 50, "priorityLevelConfiguration": {"name": level},
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [{"subjects": [{"kind": "User", "user": {"name": "bob"}}],
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}]}]}})
}

fn uids(answer: &Response<Body>) -> (String, String) {
    let header = |name: &str| answer.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or("-").to_owned();
    (header("x-kubernetes-pf-flowschema-uid"), header("x-kubernetes-pf-prioritylevel-uid"))
}

fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap_or("").to_owned()
}

#[tokio::test]
async fn an_answer_names_its_schema_and_level() {
    let api = Api::start(|_| {}).await;
    let uid_of = async |resource: &str, name: &str| uid(&api.value(&format!("{FLOW}/{resource}/{name}")).await);
    for (user, path, schema, level) in [
        ("admin", MAPS, "exempt", "exempt"),
        ("bob", MAPS, "global-default", "global-default"),
        ("bob", "/healthz", "probes", "exempt"),
        ("system:serviceaccount:kube-system:x", "/api/v1/nodes", "kube-system-service-accounts", "workload-high"),
        ("bob", "/api/v1/namespaces/none/nothing", "global-default", "global-default"),
    ] {
        let answer = api.send(user, "GET", path, "application/json", None).await;
        let expected = (uid_of("flowschemas", schema).await, uid_of("prioritylevelconfigurations", level).await);
        assert_eq!(uids(&answer), expected, "{user} {path}");
    }
}

#[tokio::test]
async fn a_schema_without_a_level_dangles_until_there_is_one() {
    let api = Api::start(|config| config.bootstrap = false).await;
    api.made(&format!("{FLOW}/flowschemas"), schema("lost", "later")).await;
    let condition = api.condition("lost", "True").await;
    assert_eq!(condition["reason"], "NotFound");
    assert_eq!(
        condition["message"],
        "This FlowSchema references the PriorityLevelConfiguration object named \"later\" but there is no such object"
    );
    let level = json!({"metadata": {"name": "later"}, "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}});
    api.made(&format!("{FLOW}/prioritylevelconfigurations"), level).await;
    assert_eq!(api.condition("lost", "False").await["reason"], "Found");
}

#[tokio::test]
async fn a_level_that_rejects_answers_429_while_its_seat_is_taken() {
    let api = Api::start(|_| {}).await;
    let (schema, level) = api.level_of_bob(json!({"type": "Reject"})).await;
    let held = api.unread_list().await;
    let refused = api.send("bob", "GET", MAPS, "application/json", None).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(uids(&refused), (uid(&schema), uid(&level)));
    let text = refused.into_body().collect().await.expect("body").to_bytes();
    assert_eq!(text, "Too many requests, please try again later.\n");
    let metrics = api.text("/metrics").await;
    let counted = r#"apiserver_flowcontrol_rejected_requests_total{flow_schema="bobs",priority_level="narrow",reason="concurrency-limit"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");
    assert_eq!(api.send("admin", "GET", MAPS, "application/json", None).await.status(), 200, "others are not held up");
    drop(held);
    assert_eq!(api.send("bob", "GET", &format!("{MAPS}/m1"), "application/json", None).await.status(), 200);
}

#[tokio::test]
async fn a_level_that_queues_lets_wait_and_shows_who_does() {
    let api = Api::start(|_| {}).await;
    let queuing = json!({"queues": 4, "handSize": 1, "queueLengthLimit": 1});
    api.level_of_bob(json!({"type": "Queue", "queuing": queuing})).await;
    let held = api.unread_list().await;
    let mut waiting = Box::pin(api.send("bob", "GET", &format!("{MAPS}/m1"), "application/json", None));
    assert!(waiting.as_mut().now_or_never().is_none(), "it waits");
    let full = api.send("bob", "GET", &format!("{MAPS}/m2"), "application/json", None).await;
    assert_eq!(full.status(), 429, "the flow's only queue is full");
    let shown = api.text("/debug/api_priority_and_fairness/dump_requests?includeRequestDetails=1").await;
    let line = shown.lines().nth(1).expect("a request");
    let cells: Vec<&str> = line.split(',').map(str::trim).collect();
    assert_eq!((cells[0], cells[1], cells[4], cells[6]), ("narrow", "bobs", "bob", "1"), "{shown}");
    assert_eq!(cells[9..], ["bob", "get", "/api/v1/namespaces/a/configmaps/m1", "a", "m1", "v1", "configmaps", ""]);
    let levels = api.text("/debug/api_priority_and_fairness/dump_priority_levels").await;
    assert!(levels.lines().any(|l| l.starts_with("narrow,") && l.ends_with("1")), "{levels}");
    let queues = api.text("/debug/api_priority_and_fairness/dump_queues").await;
    assert_eq!(queues.lines().filter(|l| l.starts_with("narrow,")).count(), 4, "{queues}");
    drop(held);
    assert_eq!(waiting.await.status(), 200);
}

#[tokio::test]
async fn a_request_waits_for_a_quarter_of_its_time_and_leaves_no_trace() {
    let api = Api::start(|_| {}).await;
    let queuing = json!({"queues": 4, "handSize": 1, "queueLengthLimit": 9});
    api.level_of_bob(json!({"type": "Queue", "queuing": queuing})).await;
    let held = api.unread_list().await;
    let timed_out = api.send("bob", "GET", &format!("{MAPS}/m1?timeout=200ms"), "application/json", None).await;
    assert_eq!(timed_out.status(), 429);
    let mut gone = Box::pin(api.send("bob", "GET", &format!("{MAPS}/m1"), "application/json", None));
    assert!(gone.as_mut().now_or_never().is_none());
    drop(gone);
    let shown = api.text("/debug/api_priority_and_fairness/dump_requests").await;
    assert_eq!(shown.lines().count(), 1, "{shown}");
    drop(held);
    assert_eq!(api.send("bob", "GET", &format!("{MAPS}/m1"), "application/json", None).await.status(), 200);
}

#[tokio::test]
async fn a_watch_keeps_no_seat_once_it_has_started() {
    let api = Api::start(|_| {}).await;
    api.level_of_bob(json!({"type": "Reject"})).await;
    let watch = api.send("bob", "GET", &format!("{MAPS}?watch=1"), "application/json", None).await;
    assert_eq!(watch.status(), 200);
    assert_ne!(uids(&watch).0, "-");
    assert_eq!(api.send("bob", "GET", MAPS, "application/json", None).await.status(), 200);
}

#[tokio::test]
async fn without_the_feature_two_limits_are_all() {
    let api = Api::start(|config| {
        config.priority_and_fairness = false;
        config.limits.inflight_reading_max = 1;
    })
    .await;
    let held = api.unread_list().await;
    assert_eq!(uids(&held).0, "-");
    assert_eq!(api.send("bob", "GET", MAPS, "application/json", None).await.status(), 429);
    assert_eq!(api.send("admin", "GET", MAPS, "application/json", None).await.status(), 200);
    drop(held);
    assert_eq!(api.send("bob", "GET", MAPS, "application/json", None).await.status(), 200);
}
