//! What webhooks and policies leave in the audit log.

use crate::policies::{binding, policy};
use crate::support::cluster::admin;
use crate::world::{MAPS, MUTATING, VALIDATING, World, map};
use apiserver::Config;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// Annotations of the event about a request, which may take a moment to be written; those about permissions left out.
fn annotations(log: &Path, uri: &str) -> Value {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(10) {
        let text = std::fs::read_to_string(log).expect("a log");
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        if let Some(event) = events.into_iter().find(|event| event["requestURI"] == uri) {
            let mut found = event["annotations"].as_object().cloned().unwrap_or_default();
            found.retain(|key, _| !key.starts_with("authorization.k8s.io/"));
            return Value::Object(found);
        }
        std::thread::yield_now();
    }
    panic!("no event about {uri}");
}

async fn audited() -> (World, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("directory");
    let log = directory.path().join("audit.log");
    let config = Config { bootstrap: false, audit_log: Some(log), ..Config::default() };
    (World::with(config).await, directory)
}

#[tokio::test]
async fn webhooks() {
    let (world, directory) = audited().await;
    let log = directory.path().join("audit.log");
    let needed = json!({"reinvocationPolicy": "IfNeeded"});
    let ignored = json!({"failurePolicy": "Ignore"});
    world.configure(MUTATING, "a", vec![world.hook("second.test.io", "/second", "configmaps", needed)]).await;
    let hooks = vec![
        world.hook("other.test.io", "/first", "secrets", json!({})),
        world.hook("first.test.io", "/first", "configmaps", json!({})),
        world.hook("broken.test.io", "/broken", "configmaps", ignored.clone()),
    ];
    world.configure(MUTATING, "b", hooks).await;
    let hooks = vec![
        world.hook("warn.test.io", "/warn", "configmaps", json!({})),
        world.hook("odd.test.io", "/odd-annotations", "configmaps", json!({})),
        world.hook("broken.test.io", "/broken", "configmaps", ignored),
    ];
    world.configure(VALIDATING, "c", hooks).await;
    let uri = format!("{MAPS}?fieldManager=audited");
    world.cluster.made(&uri, map("m", json!({"k": "v"}))).await;
    let mutation = |configuration: &str, webhook: &str, mutated: bool| {
        format!("{{\"configuration\":\"{configuration}\",\"webhook\":\"{webhook}\",\"mutated\":{mutated}}}")
    };
    let key = |n: &str| format!("mutation.webhook.admission.k8s.io/round_{n}");
    assert_eq!(
        annotations(&log, &uri),
        json!({
            (key("0_index_0")): mutation("a", "second.test.io", false),
            (key("0_index_2")): mutation("b", "first.test.io", true),
            (key("0_index_3")): mutation("b", "broken.test.io", false),
            (key("1_index_0")): mutation("a", "second.test.io", true),
            "failed-open.mutation.webhook.admission.k8s.io/round_0_index_3": "broken.test.io",
            "failed-open.validating.webhook.admission.k8s.io/round_0_index_2": "broken.test.io",
            "warn.test.io/k": "v",
            "odd.test.io/good": "1",
        }),
        "keys that are none are dropped"
    );
}

#[tokio::test]
async fn policies() {
    let (world, directory) = audited().await;
    let log = directory.path().join("audit.log");
    let spec = json!({"validations": [{"expression": "true"}, {"expression": "object.data.k == 'good'", "message": "bad"}],
        "auditAnnotations": [{"key": "value", "valueExpression": "'k is ' + object.data.k"},
            {"key": "none", "valueExpression": "object.data.k == 'good' ? ' ' : 'not good'"},
            {"key": "absent", "valueExpression": "null"}]});
    policy(&world, "p.test.io", ("", "v1", "configmaps"), spec).await;
    binding(&world, "b", "p.test.io", json!({"validationActions": ["Audit", "Warn"]})).await;
    for (name, value, expected) in [
        ("good", "good", json!({"p.test.io/value": "k is good"})),
        (
            "bad",
            "bad",
            json!({"p.test.io/value": "k is bad", "p.test.io/none": "not good",
                "validation.policy.admission.k8s.io/validation_failure": "[{\"message\":\"bad\",\"policy\":\"p.test.io\",\
                \"binding\":\"b\",\"expressionIndex\":1,\"validationActions\":[\"Audit\",\"Warn\"]}]"}),
        ),
    ] {
        let uri = format!("{MAPS}?fieldManager={name}");
        let answer = world.cluster.send(&admin(), "POST", &uri, Some(&map(name, json!({"k": value})))).await;
        assert_eq!(answer.code, 201, "{}", answer.value);
        assert_eq!(answer.warnings.len(), usize::from(name == "bad"));
        assert_eq!(annotations(&log, &uri), expected, "{name}");
    }
}
