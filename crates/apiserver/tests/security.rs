//! Who may do what, on a whole server with its default roles: the surface is the list of rows, so a new kind is covered.

use apiserver::authn::UserInfo;
use apiserver::{Body, Config, InProcess, Server, body};
use http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tower::{Service, ServiceExt};

struct Api {
    server: Server,
    components: InProcess,
    directory: tempfile::TempDir,
}

impl Api {
    /// A server whose default objects are there.
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let store = store::Embedded::open(directory.path().join("store"), store::Limits::default()).expect("store");
        Self::on(Arc::new(store), directory).await
    }

    /// A server over a store that may have been used before.
    async fn on(store: Arc<store::Embedded>, directory: tempfile::TempDir) -> Self {
        let pair = pki::key_pair().expect("key");
        let advertise_address = [192, 0, 2, 1].into();
        let config = Config { service_account_key_pem: pair.key_pem, advertise_address, ..Config::default() };
        let components = config.components.clone();
        let server = Server::build(config, store).await.expect("server");
        let api = Self { server, components, directory };
        let ready = tokio::time::timeout(Duration::from_secs(10), api.server.ready()).await;
        ready.expect("the default objects are made");
        api
    }

    async fn send(&self, user: &UserInfo, method: &str, path: &str, value: Option<&Value>) -> (u16, Value) {
        let mut request = request(method, path, value);
        request.extensions_mut().insert(user.clone());
        self.call(request).await
    }

    async fn call(&self, request: Request<Body>) -> (u16, Value) {
        let mut service = self.server.service();
        let response = service.ready().await.expect("ready").call(request).await.expect("answer");
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.expect("body").to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into()))
    }
}

fn request(method: &str, path: &str, value: Option<&Value>) -> Request<Body> {
    let request = Request::builder()
        .method(Method::from_bytes(method.as_bytes()).expect("method"))
        .uri(path)
        .header("content-type", if method == "PATCH" { "application/merge-patch+json" } else { "application/json" });
    request.body(value.map_or_else(body::empty, |v| body::full(v.to_string()))).expect("request")
}

fn admin() -> UserInfo {
    UserInfo::new("admin", &["system:masters", "system:authenticated"])
}

/// Method and path of every verb of every row, and of its subresources.
fn surface() -> Vec<(String, String, String)> {
    let mut out = Vec::new();
    for row in api_kinds::rows() {
        let root = if row.gvr.group.is_empty() { "/api" } else { "/apis" };
        let mut base = [root, &row.gvr.group, &row.gvr.version].join("/").replace("//", "/");
        if row.namespaced {
            base.push_str("/namespaces/default");
        }
        let collection = format!("{base}/{}", row.gvr.resource);
        let own = row.verbs.iter().map(|v| (v, String::new()));
        let below = row.subresources.iter().flat_map(|s| s.verbs.iter().map(|v| (v, format!("/{}", s.name))));
        for (verb, sub) in own.chain(below) {
            let (method, on_object) = match verb.as_str() {
                "create" => ("POST", !sub.is_empty()),
                "list" | "watch" => ("GET", false),
                "get" => ("GET", true),
                "update" => ("PUT", true),
                "patch" => ("PATCH", true),
                "delete" => ("DELETE", true),
                "deletecollection" => ("DELETE", false),
                other => panic!("verb {other} of {}", row.gvr.resource),
            };
            let object = if on_object { format!("/x{sub}") } else { String::new() };
            let query = if verb == "watch" { "?watch=true" } else { "" };
            out.push((verb.clone(), method.to_owned(), format!("{collection}{object}{query}")));
        }
    }
    out
}

/// What upstream's default roles let everyone do who has a name.
const OPEN_TO_ALL: [&str; 3] = ["/selfsubjectaccessreviews", "/selfsubjectrulesreviews", "/selfsubjectreviews"];

#[tokio::test]
async fn every_verb_of_every_kind_is_refused_to_a_user_without_roles() {
    let api = Api::start().await;
    let nobody = UserInfo::new("nobody", &["system:authenticated"]);
    let surface = surface();
    assert!(surface.len() > 500, "{} verbs", surface.len());
    for (verb, method, path) in surface {
        if OPEN_TO_ALL.iter().any(|open| path.ends_with(open)) {
            continue;
        }
        let (code, answer) = api.send(&nobody, &method, &path, Some(&json!({}))).await;
        let message = answer["message"].as_str().unwrap_or("").to_owned();
        assert_eq!(code, 403, "{method} {path}: {answer}");
        assert!(message.contains(&format!("User \"nobody\" cannot {verb} resource")), "{method} {path}: {message}");
    }
}

/// What is stored, with its revision, but for the signs of life that a server gives of itself.
async fn lasting(store: &dyn store::Store) -> Vec<(String, i64)> {
    let all = store.range(store::Range::prefix("/registry/")).await.expect("all that is stored");
    let entries = all.kvs.into_iter().map(|kv| (String::from_utf8_lossy(&kv.key).into_owned(), kv.mod_revision));
    let of_life = ["/registry/masterleases/", "/registry/leases/kube-system/apiserver-"];
    entries.filter(|(key, _)| !of_life.iter().any(|prefix| key.starts_with(prefix))).collect()
}

#[tokio::test]
async fn a_second_start_writes_nothing_that_lasts() {
    use futures::StreamExt as _;
    use std::collections::BTreeSet;
    use store::Store as _;
    let directory = tempfile::tempdir().expect("directory");
    let store = store::Embedded::open(directory.path().join("store"), store::Limits::default()).expect("store");
    let store = Arc::new(store);
    let mut watch = store.watch(store::WatchRequest::prefix("/registry/", 0));
    let first = Api::on(store.clone(), directory).await;
    // Written when the default objects are there.
    let mut awaited = vec![
        "/registry/configmaps/kube-system/kube-apiserver-legacy-service-account-token-tracking",
        "/registry/endpointslices/default/kubernetes",
    ];
    let mut dangling = BTreeSet::new();
    let seen = async {
        while !(awaited.is_empty() && dangling.is_empty()) {
            let batch = watch.next().await.expect("the watch goes on").expect("events");
            awaited.retain(|key| batch.events.iter().all(|event| event.kv.key != key.as_bytes()));
            for event in batch.events.iter().filter(|event| event.kv.key.starts_with(b"/registry/flowschemas/")) {
                let stored: Value = serde_json::from_slice(&event.kv.value).expect("JSON");
                if stored["status"]["conditions"][0]["status"] == "False" {
                    dangling.remove(&event.kv.key);
                } else {
                    dangling.insert(event.kv.key.clone());
                }
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), seen).await.expect("all is written");
    drop(watch);
    assert!(first.server.shutdown().await, "the first server ends in order");
    let before = lasting(&*store).await;
    assert!(before.len() > 100, "{} entries", before.len());
    let second = Api::on(store.clone(), first.directory).await;
    assert!(second.server.shutdown().await);
    let after = lasting(&*store).await;
    let written: Vec<_> = after.iter().filter(|entry| !before.contains(entry)).collect();
    assert!(
        written.is_empty() && after.len() == before.len(),
        "{} entries, then {}: {written:?}",
        before.len(),
        after.len()
    );
}

#[tokio::test]
async fn a_node_reads_what_its_pods_refer_to() {
    let api = Api::start().await;
    let namespace = "/api/v1/namespaces/default";
    let made = |answer: (u16, Value)| assert_eq!(answer.0, 201, "{}", answer.1);
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    made(api.send(&admin(), "POST", &format!("{namespace}/serviceaccounts"), Some(&account)).await);
    for name in ["own", "other"] {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
        made(api.send(&admin(), "POST", &format!("{namespace}/secrets"), Some(&secret)).await);
    }
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"nodeName": "one",
        "containers": [{"name": "c", "image": "i"}], "volumes": [{"name": "v", "secret": {"secretName": "own"}}]}});
    made(api.send(&admin(), "POST", &format!("{namespace}/pods"), Some(&pod)).await);
    let (one, two) = (
        UserInfo::new("system:node:one", &["system:nodes", "system:authenticated"]),
        UserInfo::new("system:node:two", &["system:nodes", "system:authenticated"]),
    );
    let (own, other) = (format!("{namespace}/secrets/own"), format!("{namespace}/secrets/other"));
    assert_eq!(api.send(&one, "GET", &own, None).await.0, 200);
    let (code, answer) = api.send(&one, "GET", &other, None).await;
    let message = answer["message"].as_str().unwrap_or("");
    assert_eq!(code, 403);
    assert!(message.ends_with("no relationship found between node 'one' and this object"), "{message}");
    assert_eq!(api.send(&two, "GET", &own, None).await.0, 403);
    let node = |name: &str| json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
    made(api.send(&one, "POST", "/api/v1/nodes", Some(&node("one"))).await);
    let (code, answer) = api.send(&one, "POST", "/api/v1/nodes", Some(&node("two"))).await;
    assert_eq!(code, 403, "{answer}");
    assert!(
        answer["message"].as_str().unwrap_or("").contains("node \"one\" is not allowed to modify node \"two\""),
        "{answer}"
    );
}

#[tokio::test]
async fn the_default_roles_are_those_of_upstream() {
    let api = Api::start().await;
    let mut names = Vec::new();
    for resource in ["clusterroles", "clusterrolebindings", "roles", "rolebindings"] {
        let path = format!("/apis/rbac.authorization.k8s.io/v1/{resource}");
        let (code, list) = api.send(&admin(), "GET", &path, None).await;
        assert_eq!(code, 200);
        let items = list["items"].as_array().expect("items");
        names.push((resource, items.len()));
        for item in items {
            assert!(item["metadata"]["uid"].is_string(), "{item}");
        }
    }
    assert_eq!(names, [("clusterroles", 65), ("clusterrolebindings", 47), ("roles", 7), ("rolebindings", 7)]);
    let (code, service) = api.send(&admin(), "GET", "/api/v1/namespaces/default/services/kubernetes", None).await;
    assert_eq!((code, &service["spec"]["clusterIP"]), (200, &json!("10.96.0.1")));
}

#[tokio::test]
async fn roles_take_effect_and_cannot_be_widened_by_their_holders() {
    let api = Api::start().await;
    let ann = UserInfo::new("ann", &["system:authenticated"]);
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let role = |name: &str, resources: &[&str], verbs: &[&str]| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name},
            "rules": [{"apiGroups": ["", "rbac.authorization.k8s.io"], "resources": resources, "verbs": verbs}]})
    };
    let binding = |name: &str, role: &str| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann"}]})
    };
    let path = format!("{rbac}/roles");
    let made = api
        .send(
            &admin(),
            "POST",
            &path,
            Some(&role("some", &["pods", "roles", "rolebindings"], &["get", "list", "create"])),
        )
        .await;
    assert_eq!(made.0, 201, "{}", made.1);
    let made = api.send(&admin(), "POST", &format!("{rbac}/rolebindings"), Some(&binding("some", "some"))).await;
    assert_eq!(made.0, 201, "{}", made.1);
    let started = Instant::now();
    while api.send(&ann, "GET", "/api/v1/namespaces/default/pods", None).await.0 != 200 {
        assert!(started.elapsed() < Duration::from_secs(5), "the binding has no effect");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(api.send(&ann, "GET", "/api/v1/namespaces/kube-system/pods", None).await.0, 403);
    let (code, answer) = api.send(&ann, "POST", &path, Some(&role("more", &["secrets"], &["get"]))).await;
    let message = answer["message"].as_str().unwrap_or("");
    assert_eq!(code, 403, "{answer}");
    assert!(message.contains("is attempting to grant RBAC permissions not currently held"), "{message}");
    for (role, code, message) in
        [("absent", 404, "roles.rbac.authorization.k8s.io \"absent\" not found"), ("some", 201, "")]
    {
        let (answered, answer) =
            api.send(&ann, "POST", &format!("{rbac}/rolebindings"), Some(&binding("other", role))).await;
        assert_eq!((answered, answer["message"].as_str().unwrap_or("")), (code, message), "{answer}");
    }
    let mut odd = binding("odd", "some");
    odd["roleRef"]["kind"] = "Odd".into();
    let (code, answer) = api.send(&ann, "POST", &format!("{rbac}/rolebindings"), Some(&odd)).await;
    assert_eq!((code, &answer["message"]), (500, &json!("unsupported role reference kind: \"Odd\"")));
    let held = api.send(&ann, "POST", &path, Some(&role("same", &["pods"], &["get"]))).await;
    assert_eq!(held.0, 201, "{}", held.1);
}

#[tokio::test]
async fn credentials() {
    let api = Api::start().await;
    let with = |header: (&'static str, &'static str)| {
        let mut request = request("GET", "/api/v1/namespaces", None);
        request.headers_mut().insert(header.0, header.1.parse().expect("value"));
        request
    };
    let (code, answer) = api.call(with(("accept", "application/json"))).await;
    assert_eq!(
        (code, answer["message"].as_str().unwrap_or("")),
        (
            403,
            "namespaces is forbidden: User \"system:anonymous\" cannot list resource \"namespaces\" in API group \"\" at the cluster scope"
        )
    );
    let (code, answer) = api.call(with(("authorization", "Bearer nonsense"))).await;
    assert_eq!((code, &answer["reason"]), (401, &json!("Unauthorized")));
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(api.call(request("GET", path, None)).await.0, 200, "{path}");
        assert_eq!(api.call(request("PATCH", path, None)).await.0, 403, "{path}");
    }
    let mut acting = with(("impersonate-user", "nobody"));
    acting.extensions_mut().insert(admin());
    let (code, answer) = api.call(acting).await;
    assert_eq!(code, 403);
    assert!(answer["message"].as_str().unwrap_or("").contains("User \"nobody\" cannot list"), "{answer}");
    let mut acting = with(("impersonate-user", "system:admin"));
    acting.extensions_mut().insert(UserInfo::new("ann", &["system:authenticated"]));
    let (code, answer) = api.call(acting).await;
    assert_eq!(
        (code, answer["message"].as_str().unwrap_or("")),
        (
            403,
            "users \"system:admin\" is forbidden: User \"ann\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope"
        )
    );
}

#[tokio::test]
async fn a_service_account_gets_a_token_and_is_known_by_it() {
    let api = Api::start().await;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bot"}});
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    assert_eq!(api.send(&admin(), "POST", accounts, Some(&account)).await.0, 201);
    let wish =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 700}});
    let path = format!("{accounts}/bot/token");
    let (code, answer) = api.send(&admin(), "POST", &path, Some(&wish)).await;
    assert_eq!(code, 201, "{answer}");
    assert_eq!(answer["metadata"]["managedFields"][0]["subresource"], "token", "{answer}");
    let token = answer["status"]["token"].as_str().expect("token").to_owned();
    let as_bot = |method: &str, path: &str, value: Option<&Value>| {
        let mut request = request(method, path, value);
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().expect("value"));
        request
    };
    let me = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let (code, answer) = api.call(as_bot("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", Some(&me))).await;
    assert_eq!(
        (code, &answer["status"]["userInfo"]["username"]),
        (201, &json!("system:serviceaccount:default:bot")),
        "{answer}"
    );
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let (code, answer) = api.send(&admin(), "POST", reviews, Some(&review)).await;
    assert_eq!((code, &answer["status"]["authenticated"]), (201, &json!(true)), "{answer}");
    let bogus = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": "bogus"}});
    let (_, answer) = api.send(&admin(), "POST", reviews, Some(&bogus)).await;
    assert_eq!(answer["status"], json!({"user": {}, "error": "invalid bearer token"}));
    let (code, answer) = api.call(as_bot("GET", "/api/v1/namespaces/default/pods", None)).await;
    assert_eq!(code, 403, "{answer}");
    let (code, keys) = api.call(as_bot("GET", "/openid/v1/jwks", None)).await;
    assert_eq!((code, &keys["keys"][0]["alg"]), (200, &json!("ES256")), "{keys}");
}

#[tokio::test]
async fn access_is_reviewed() {
    let api = Api::start().await;
    let group = "/apis/authorization.k8s.io/v1";
    let ask = |kind: &str, spec: Value| json!({"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec});
    let pods = json!({"namespace": "default", "verb": "list", "resource": "pods"});
    let (code, answer) = api
        .send(
            &admin(),
            "POST",
            &format!("{group}/selfsubjectaccessreviews"),
            Some(&ask("SelfSubjectAccessReview", json!({"resourceAttributes": pods}))),
        )
        .await;
    assert_eq!((code, &answer["status"]["allowed"]), (201, &json!(true)), "{answer}");
    let scheduler = json!({"user": "system:kube-scheduler", "resourceAttributes": {"verb": "create", "resource": "pods", "subresource": "binding"}});
    let subject = format!("{group}/subjectaccessreviews");
    let (_, answer) = api.send(&admin(), "POST", &subject, Some(&ask("SubjectAccessReview", scheduler))).await;
    assert_eq!(
        answer["status"],
        json!({"allowed": true, "reason": "RBAC: allowed by ClusterRoleBinding \"system:kube-scheduler\" of ClusterRole \"system:kube-scheduler\" to User \"system:kube-scheduler\""})
    );
    let nobody = json!({"user": "nobody", "nonResourceAttributes": {"path": "/metrics", "verb": "get"}});
    let (_, answer) = api.send(&admin(), "POST", &subject, Some(&ask("SubjectAccessReview", nobody))).await;
    assert_eq!(answer["status"], json!({"allowed": false}));
    let (code, _) = api.send(&admin(), "POST", &subject, Some(&ask("SubjectAccessReview", json!({"user": "x"})))).await;
    assert_eq!(code, 422);
    let ann = UserInfo::new("ann", &["system:authenticated"]);
    let (code, answer) = api
        .send(
            &ann,
            "POST",
            &format!("{group}/selfsubjectrulesreviews"),
            Some(&ask("SelfSubjectRulesReview", json!({"namespace": "default"}))),
        )
        .await;
    assert_eq!(code, 201, "{answer}");
    assert!(answer["status"]["resourceRules"].as_array().is_some_and(|r| !r.is_empty()), "{answer}");
    assert_eq!(answer["status"]["incomplete"], false);
}

#[tokio::test]
async fn resources_without_storage_answer_too() {
    let api = Api::start().await;
    let (code, list) = api.send(&admin(), "GET", "/api/v1/componentstatuses", None).await;
    let names: Vec<_> =
        list["items"].as_array().into_iter().flatten().filter_map(|c| c["metadata"]["name"].as_str()).collect();
    assert_eq!((code, names), (200, vec!["controller-manager", "scheduler", "etcd-0"]), "{list}");
    let condition = async |name: &str| {
        let (code, answer) = api.send(&admin(), "GET", &format!("/api/v1/componentstatuses/{name}"), None).await;
        assert_eq!(code, 200, "{answer}");
        answer["conditions"][0].clone()
    };
    let healthy = json!({"type": "Healthy", "status": "True", "message": "ok"});
    assert_eq!(condition("etcd-0").await, healthy);
    let scheduler = api.components.started("scheduler");
    assert_eq!(condition("scheduler").await, healthy);
    drop(scheduler);
    assert_eq!(condition("scheduler").await["status"], "False");
    assert_eq!(api.send(&admin(), "GET", "/api/v1/componentstatuses/none", None).await.0, 500);
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    let namespace = "/api/v1/namespaces/default";
    assert_eq!(api.send(&admin(), "POST", &format!("{namespace}/serviceaccounts"), Some(&account)).await.0, 201);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(api.send(&admin(), "POST", &format!("{namespace}/pods"), Some(&pod)).await.0, 201);
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "one"}});
    let (code, answer) = api.send(&admin(), "POST", &format!("{namespace}/bindings"), Some(&binding)).await;
    assert_eq!((code, &answer["status"]), (201, &json!("Success")), "{answer}");
    let (_, pod) = api.send(&admin(), "GET", &format!("{namespace}/pods/p"), None).await;
    assert_eq!(pod["spec"]["nodeName"], "one");
}
