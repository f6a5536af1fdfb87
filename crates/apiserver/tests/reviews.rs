//! Reviews and acting as somebody else: what they say, and how they are refused.

mod support;

use apiserver::authn::UserInfo;
use apiserver::{Config, body};
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use support::cluster::{Answered, Cluster, admin};
use tower::{Service as _, ServiceExt as _};

const AUTHORIZATION: &str = "/apis/authorization.k8s.io/v1";
const AUTHENTICATION: &str = "/apis/authentication.k8s.io/v1";

async fn cluster() -> Cluster {
    let keys = pki::key_pair().expect("keys");
    let cluster = Cluster::start(Config { service_account_key_pem: keys.key_pem, ..Config::default() }, 1).await;
    cluster.server.ready().await;
    cluster
}

fn review(kind: &str, spec: Value) -> Value {
    let group = if kind.ends_with("AccessReview") || kind.ends_with("RulesReview") {
        "authorization"
    } else {
        "authentication"
    };
    json!({"apiVersion": format!("{group}.k8s.io/v1"), "kind": kind, "spec": spec})
}

/// A refusal, by its causes.
#[track_caller]
fn refused(answer: &Answered, code: u16, wanted: &[(&str, &str)]) {
    let causes = answer.value["details"]["causes"].as_array().cloned().unwrap_or_default();
    let causes: Vec<(&str, &str)> =
        causes.iter().map(|c| (c["field"].as_str().unwrap(), c["reason"].as_str().unwrap())).collect();
    assert_eq!((answer.code, causes.as_slice()), (code, wanted), "{}", answer.value);
}

#[tokio::test]
async fn an_access_review_says_what_somebody_may_do() {
    let cluster = cluster().await;
    let path = format!("{AUTHORIZATION}/subjectaccessreviews");
    let pods = json!({"verb": "list", "resource": "pods", "namespace": "a"});
    for (user, groups, allowed, reason) in [
        ("admin", json!(["system:masters"]), true, ""),
        ("jane", json!([]), false, ""),
        (
            "system:kube-scheduler",
            json!([]),
            true,
            "RBAC: allowed by ClusterRoleBinding \"system:kube-scheduler\" of \
            ClusterRole \"system:kube-scheduler\" to User \"system:kube-scheduler\"",
        ),
    ] {
        let spec = json!({"user": user, "groups": groups, "resourceAttributes": pods});
        let answer = cluster.made(&path, review("SubjectAccessReview", spec.clone())).await;
        assert_eq!(answer["status"]["allowed"], allowed, "{user}");
        assert_eq!(answer["status"]["reason"].as_str().unwrap_or(""), reason);
        assert_eq!(answer["spec"]["user"], user);
        assert_eq!(answer["metadata"]["creationTimestamp"], Value::Null);
    }
    let spec =
        json!({"groups": ["system:authenticated"], "nonResourceAttributes": {"path": "/version", "verb": "get"}});
    let answer = cluster.made(&path, review("SubjectAccessReview", spec)).await;
    assert_eq!(answer["status"]["allowed"], true);
    let own = review("SelfSubjectAccessReview", json!({"resourceAttributes": pods}));
    let path = format!("{AUTHORIZATION}/selfsubjectaccessreviews");
    assert_eq!(cluster.made(&path, own.clone()).await["status"]["allowed"], true);
    let jane = UserInfo::authenticated("jane", [""; 0]);
    let answer = cluster.send(&jane, "POST", &path, Some(&own)).await;
    assert_eq!((answer.code, &answer.value["status"]), (201, &json!({"allowed": false})));
    let path = format!("{AUTHORIZATION}/namespaces/a/localsubjectaccessreviews");
    let answer = cluster
        .made(&path, review("LocalSubjectAccessReview", json!({"user": "jane", "resourceAttributes": pods})))
        .await;
    assert_eq!((&answer["metadata"]["namespace"], &answer["status"]["allowed"]), (&json!("a"), &json!(false)));
}

/// Path, kind and spec of a review, and fields with reasons that it is refused for.
type Refused<'a> = (&'a str, &'a str, Value, &'a [(&'a str, &'a str)]);

#[tokio::test]
async fn a_review_without_sense_is_refused() {
    let cluster = cluster().await;
    let invalid = "FieldValueInvalid";
    let (here, there) = (json!({"namespace": "a"}), json!({"namespace": "b"}));
    let paths = json!({"path": "/x"});
    let subject = format!("{AUTHORIZATION}/subjectaccessreviews");
    let own = format!("{AUTHORIZATION}/selfsubjectaccessreviews");
    let local = format!("{AUTHORIZATION}/namespaces/a/localsubjectaccessreviews");
    let table: [Refused<'_>; 8] = [
        (&subject, "SubjectAccessReview", json!({"user": "u"}), &[("spec.resourceAttributes", invalid)]),
        (&subject, "SubjectAccessReview", json!({"resourceAttributes": {}}), &[("spec.user", invalid)]),
        (
            &subject,
            "SubjectAccessReview",
            json!({"user": "u", "resourceAttributes": {}, "nonResourceAttributes": {}}),
            &[("spec.nonResourceAttributes", invalid)],
        ),
        (&own, "SelfSubjectAccessReview", json!({}), &[("spec.resourceAttributes", invalid)]),
        (
            &own,
            "SelfSubjectAccessReview",
            json!({"resourceAttributes": {}, "nonResourceAttributes": {}}),
            &[("spec.nonResourceAttributes", invalid)],
        ),
        (
            &local,
            "LocalSubjectAccessReview",
            json!({"user": "u", "resourceAttributes": there}),
            &[("spec.resourceAttributes.namespace", invalid)],
        ),
        (
            &local,
            "LocalSubjectAccessReview",
            json!({"user": "u", "nonResourceAttributes": paths}),
            &[("spec.nonResourceAttributes", invalid)],
        ),
        (&local, "LocalSubjectAccessReview", json!({"resourceAttributes": here}), &[("spec.user", invalid)]),
    ];
    for (path, kind, spec, wanted) in table {
        refused(&cluster.post(path, review(kind, spec)).await, 422, wanted);
    }
    let answer = cluster.post(&subject, review("SubjectAccessReview", json!({"user": "u"}))).await;
    assert_eq!(
        answer.message(),
        ".authorization.k8s.io \"\" is invalid: spec.resourceAttributes: Invalid value: \"null\": \
         exactly one of nonResourceAttributes or resourceAttributes must be specified"
    );
    let mut named = review("SubjectAccessReview", json!({"user": "u", "resourceAttributes": {}}));
    named["metadata"] = json!({"name": "x"});
    refused(&cluster.post(&subject, named.clone()).await, 422, &[("metadata", invalid)]);
    named["kind"] = "LocalSubjectAccessReview".into();
    named["spec"]["resourceAttributes"] = here;
    let answer = cluster.post(&local, named.clone()).await;
    refused(&answer, 422, &[("metadata", invalid)]);
    assert!(answer.message().ends_with("must be empty except for namespace"), "{}", answer.message());
    named["metadata"] = json!({"namespace": "b"});
    let answer = cluster.post(&local, named).await;
    assert_eq!(
        (answer.code, answer.message()),
        (400, "the namespace of the provided object does not match the namespace sent on the request")
    );
}

#[tokio::test]
async fn what_a_refused_body_was_warned_of_is_told() {
    let cluster = cluster().await;
    let account = "/api/v1/namespaces/a/serviceaccounts/absent/token";
    for (path, kind, code) in [
        (&*format!("{AUTHORIZATION}/selfsubjectaccessreviews"), "SelfSubjectAccessReview", 422),
        (account, "TokenRequest", 404),
    ] {
        let mut body = review(kind, json!({"zz": 1}));
        if kind == "TokenRequest" {
            body["apiVersion"] = "authentication.k8s.io/v1".into();
        }
        let answer = cluster.raw(&admin(), "POST", path, Some(&body)).await;
        assert_eq!(answer.status().as_u16(), code, "{path}");
        let warning = answer.headers().get("warning").map(|w| w.to_str().expect("text"));
        assert_eq!(warning, Some("299 - \"unknown field \\\"spec.zz\\\"\""), "{path}");
    }
}

#[tokio::test]
async fn who_am_i_and_what_may_i() {
    let cluster = cluster().await;
    let mut jane = UserInfo::authenticated("jane", ["staff"]);
    jane.uid = "7".into();
    jane.extra.insert("example.com/team".into(), vec!["blue".into(), "red".into()]);
    let mut posted = review("SelfSubjectReview", Value::Null);
    posted["metadata"] = json!({"labels": {"a": "b"}});
    let answer = cluster.send(&jane, "POST", &format!("{AUTHENTICATION}/selfsubjectreviews"), Some(&posted)).await;
    assert_eq!(answer.code, 201);
    assert_eq!(
        answer.value["status"],
        json!({"userInfo": {"username": "jane", "uid": "7", "groups": ["staff", "system:authenticated"],
            "extra": {"example.com/team": ["blue", "red"]}}})
    );
    let metadata = answer.value["metadata"].as_object().expect("metadata");
    assert!(metadata.len() == 1 && metadata["creationTimestamp"].is_string(), "{metadata:?}");

    let path = format!("{AUTHORIZATION}/selfsubjectrulesreviews");
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/a";
    let rules = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["one"]}]);
    cluster.made(&format!("{rbac}/roles"), json!({"metadata": {"name": "r"}, "rules": rules})).await;
    let binding = json!({"metadata": {"name": "r"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jane"}]});
    cluster.made(&format!("{rbac}/rolebindings"), binding.clone()).await;
    // Roles that are not there are told, and make the answer no less complete.
    for name in ["gone", "lost"] {
        let mut binding = binding.clone();
        (binding["metadata"]["name"], binding["roleRef"]["name"]) = (name.into(), name.into());
        cluster.made(&format!("{rbac}/rolebindings"), binding).await;
    }
    let ask = review("SelfSubjectRulesReview", json!({"namespace": "a"}));
    let answer = loop {
        // Rules follow their binding in a moment.
        let answer = cluster.send(&jane, "POST", &path, Some(&ask)).await;
        assert_eq!(answer.code, 201);
        let listed = answer.value["status"]["resourceRules"].as_array().cloned().unwrap_or_default();
        let error = answer.value["status"]["evaluationError"].as_str().unwrap_or_default();
        if listed.contains(&rules[0]) && error.contains("gone") && error.contains("lost") {
            assert!(error.starts_with('[') && error.ends_with(']'), "{error}");
            break answer.value;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((&answer["spec"], &answer["status"]["incomplete"]), (&json!({}), &json!(false)));
    let paths = answer["status"]["nonResourceRules"].as_array().expect("paths");
    assert!(paths.iter().any(|r| r["nonResourceURLs"].as_array().is_some_and(|u| u.contains(&json!("/version")))));
    let answer = cluster.send(&jane, "POST", &path, Some(&review("SelfSubjectRulesReview", json!({})))).await;
    assert_eq!((answer.code, answer.message()), (400, "no namespace on request"));
}

#[tokio::test]
async fn a_token_request_is_about_its_account() {
    let cluster = cluster().await;
    let path = "/api/v1/namespaces/a/serviceaccounts/default/token";
    let invalid = "FieldValueInvalid";
    refused(&cluster.post(path, json!({"metadata": {"name": "x"}})).await, 422, &[("metadata.name", invalid)]);
    refused(
        &cluster.post(path, json!({"metadata": {"namespace": "x"}})).await,
        422,
        &[("metadata.namespace", invalid)],
    );
    let short = cluster.post(path, json!({"metadata": {"name": "default"}, "spec": {"expirationSeconds": 5}})).await;
    refused(&short, 422, &[("spec.expirationSeconds", invalid)]);
    assert!(short.message().starts_with("TokenRequest.authentication.k8s.io \"\" is invalid"), "{}", short.message());
    for (kind, version, why) in [
        (
            "Node",
            "v1",
            "cannot bind token to a Node object as the \"ServiceAccountTokenNodeBinding\" feature-gate is disabled",
        ),
        ("ConfigMap", "v1", "cannot bind token to object of type /v1, Kind=ConfigMap"),
    ] {
        let bound = json!({"spec": {"boundObjectRef": {"kind": kind, "apiVersion": version, "name": "x"}}});
        let answer = cluster.post(path, bound).await;
        assert_eq!((answer.code, answer.message()), (400, why));
    }
    let bound = json!({"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "x"}}});
    assert_eq!(cluster.post(path, bound).await.code, 404);
    let answer = cluster.post("/api/v1/namespaces/a/serviceaccounts/nobody/token", json!({})).await;
    assert_eq!((answer.code, answer.message()), (404, "serviceaccounts \"nobody\" not found"));
}

#[tokio::test]
async fn a_token_review_knows_its_tokens() {
    let cluster = cluster().await;
    let path = format!("{AUTHENTICATION}/tokenreviews");
    let wish = json!({"spec": {"audiences": ["vault"], "expirationSeconds": 600}});
    let token =
        cluster.made("/api/v1/namespaces/a/serviceaccounts/default/token", wish).await["status"]["token"].clone();
    let ask = |spec: Value| cluster.post(&path, review("TokenReview", spec));
    let answer = ask(json!({"token": token, "audiences": ["vault", "other"]})).await.value;
    assert_eq!((&answer["status"]["authenticated"], &answer["status"]["audiences"]), (&json!(true), &json!(["vault"])));
    let user = &answer["status"]["user"];
    assert_eq!(user["username"], "system:serviceaccount:a:default");
    assert_eq!(user["groups"], json!(["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"]));
    for audiences in [json!([]), json!(["other"])] {
        let answer = ask(json!({"token": token, "audiences": audiences})).await.value;
        let status = &answer["status"];
        assert!(status.get("authenticated").is_none() && status["user"] == json!({}), "{status}");
        assert!(status["error"].as_str().is_some_and(|e| e.contains("invalid bearer token")), "{status}");
    }
    let answer = ask(json!({"token": "nonsense"})).await;
    assert_eq!((answer.code, &answer.value["status"]["error"]), (201, &json!("invalid bearer token")));
    let answer = ask(json!({})).await;
    assert_eq!((answer.code, answer.message()), (400, "token is required for TokenReview in authentication"));
}

/// A request of `user` with `Impersonate-*` headers: the answer's document, or its text if it is none.
async fn acting(cluster: &Cluster, user: &UserInfo, headers: &[(&str, &str)]) -> (u16, Value) {
    let mut request = Request::builder().method("POST").uri(format!("{AUTHENTICATION}/selfsubjectreviews"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let posted = review("SelfSubjectReview", Value::Null).to_string();
    let mut request = request.header("content-type", "application/json").body(body::full(posted)).expect("request");
    request.extensions_mut().insert(user.clone());
    let answer = cluster.server.service().ready().await.expect("ready").call(request).await.expect("answer");
    let code = answer.status().as_u16();
    let bytes = answer.into_body().collect().await.expect("body").to_bytes();
    let text = || String::from_utf8_lossy(&bytes).into_owned().into();
    (code, serde_json::from_slice(&bytes).unwrap_or_else(|_| text()))
}

#[tokio::test]
async fn one_acts_as_another_with_permission_for_each_part() {
    let cluster = cluster().await;
    let headers = [
        ("impersonate-user", "jane"),
        ("impersonate-group", "staff"),
        ("impersonate-uid", "7"),
        ("impersonate-extra-example.com%2fteam", "blue"),
        ("impersonate-extra-example.com%2fteam", "red"),
    ];
    let (code, answer) = acting(&cluster, &admin(), &headers).await;
    assert_eq!(code, 201, "{answer}");
    assert_eq!(
        answer["status"]["userInfo"],
        json!({"username": "jane", "uid": "7", "groups": ["staff", "system:authenticated"],
            "extra": {"example.com/team": ["blue", "red"]}})
    );
    let bot = UserInfo::authenticated("bot", [""; 0]);
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let rules = [
        json!({"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["jane"]}),
        json!({"verbs": ["impersonate"], "apiGroups": [""], "resources": ["groups"]}),
        json!({"verbs": ["impersonate"], "apiGroups": ["authentication.k8s.io"], "resources": ["userextras/example.com/team"], "resourceNames": ["blue"]}),
        json!({"verbs": ["impersonate"], "apiGroups": ["authentication.k8s.io"], "resources": ["userextras/example.com/team"]}),
        json!({"verbs": ["impersonate"], "apiGroups": ["authentication.k8s.io"], "resources": ["uids"]}),
    ];
    cluster.made(&format!("{rbac}/clusterroles"), json!({"metadata": {"name": "acts"}, "rules": []})).await;
    let binding = json!({"metadata": {"name": "acts"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "acts"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "bot"}]});
    cluster.made(&format!("{rbac}/clusterrolebindings"), binding).await;
    // With each rule more, one part more is allowed; the first that is not is named.
    let refusals = [
        "users \"jane\" is forbidden: User \"bot\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope",
        "groups \"staff\" is forbidden: User \"bot\" cannot impersonate resource \"groups\" in API group \"\" at the cluster scope",
        "userextras.authentication.k8s.io \"blue\" is forbidden: User \"bot\" cannot impersonate resource \
         \"userextras/example.com/team\" in API group \"authentication.k8s.io\" at the cluster scope",
        "userextras.authentication.k8s.io \"red\" is forbidden: User \"bot\" cannot impersonate resource \
         \"userextras/example.com/team\" in API group \"authentication.k8s.io\" at the cluster scope",
        "uids.authentication.k8s.io \"7\" is forbidden: User \"bot\" cannot impersonate resource \"uids\" in API group \
         \"authentication.k8s.io\" at the cluster scope",
    ];
    for (held, wanted) in refusals.iter().enumerate() {
        let role = json!({"rules": &rules[..held]});
        let patched = cluster.send(&admin(), "PATCH", &format!("{rbac}/clusterroles/acts"), Some(&role)).await;
        assert_eq!(patched.code, 200, "{}", patched.value);
        let (code, answer) = loop {
            let (code, answer) = acting(&cluster, &bot, &headers).await;
            // A role is in effect in a moment.
            if held == 0 || answer["message"] != refusals[held - 1] {
                break (code, answer);
            }
            tokio::task::yield_now().await;
        };
        assert_eq!((code, answer["message"].as_str().unwrap_or("")), (403, *wanted));
    }
}

#[tokio::test]
async fn one_acts_as_somebody_or_not_at_all() {
    let cluster = cluster().await;
    let table: [(&[(&str, &str)], Value); 4] = [
        (
            &[("impersonate-user", "system:serviceaccount:a:default")],
            json!(["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"]),
        ),
        (&[("impersonate-user", "system:anonymous")], json!(["system:unauthenticated"])),
        (
            &[("impersonate-user", "jane"), ("impersonate-group", "system:unauthenticated")],
            json!(["system:unauthenticated"]),
        ),
        (
            &[("impersonate-user", "jane"), ("impersonate-group", "system:masters")],
            json!(["system:masters", "system:authenticated"]),
        ),
    ];
    for (headers, groups) in table {
        let (code, answer) = acting(&cluster, &admin(), headers).await;
        // Somebody unknown may not even ask who they are.
        if groups == json!(["system:unauthenticated"]) {
            assert_eq!(code, 403, "{answer}");
            continue;
        }
        assert_eq!((code, &answer["status"]["userInfo"]["groups"]), (201, &groups), "{answer}");
    }
    for (header, asked) in [
        ("impersonate-group", "{Group  a&lt;b    }"),
        ("impersonate-uid", "{UID  a&lt;b  authentication.k8s.io/v1  }"),
        ("impersonate-extra-scopes", "{UserExtra  a&lt;b  authentication.k8s.io/v1  scopes}"),
    ] {
        let (code, answer) = acting(&cluster, &admin(), &[(header, "a<b")]).await;
        let why = format!(
            "Internal Server Error: \"{AUTHENTICATION}/selfsubjectreviews\": requested [{asked}] without impersonating a user\n"
        );
        assert_eq!((code, answer), (500, Value::from(why)));
    }
}
