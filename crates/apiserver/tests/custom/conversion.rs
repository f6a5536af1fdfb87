//! Conversion by webhook: the conformance behaviours called "CustomResourceConversionWebhook".

use super::api::{Api, DEFINITIONS, WIDGETS, definition, widget};
use super::support::{self, Answer, Backend, authority};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const V2: &str = "/apis/example.com/v2/namespaces/a/widgets";

/// In `v1` there is `spec.hostPort`, in `v2` there are `spec.host` and `spec.port`.
fn convert(object: &Value, to: &str) -> Value {
    let mut out = object.clone();
    out["apiVersion"] = to.into();
    let spec = &object["spec"];
    out["spec"] = match to {
        "example.com/v2" => {
            let (host, port) = spec["hostPort"].as_str().and_then(|t| t.split_once(':')).unwrap_or(("", ""));
            json!({"host": host, "port": port})
        }
        _ => {
            json!({"hostPort": format!("{}:{}", spec["host"].as_str().unwrap_or(""), spec["port"].as_str().unwrap_or(""))})
        }
    };
    out["metadata"]["labels"] = json!({"converted": "yes"});
    out["metadata"]["generation"] = 99.into();
    out
}

async fn webhook(ca: &pki::Pair, calls: Arc<AtomicUsize>) -> Backend {
    Backend::start(ca, "hook", move |_, review| {
        calls.fetch_add(1, Ordering::SeqCst);
        let request = &review["request"];
        let to = request["desiredAPIVersion"].as_str().expect("version");
        let objects: Vec<Value> =
            request["objects"].as_array().expect("objects").iter().map(|o| convert(o, to)).collect();
        Answer::json(&json!({"apiVersion": review["apiVersion"], "kind": "ConversionReview", "response":
            {"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": objects}}))
    })
    .await
}

fn converted(url: &str, bundle: &str, stored: &str) -> Value {
    let mut d = definition("widgets", "Widget", json!({}));
    let text = json!({"type": "string"});
    let schema = |fields: Value| json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}}});
    d["spec"]["versions"] = json!([
        {"name": "v1", "served": true, "storage": stored == "v1", "schema": schema(json!({"hostPort": text}))},
        {"name": "v2", "served": true, "storage": stored == "v2", "schema": schema(json!({"host": text, "port": text}))}]);
    d["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1", "v1beta1"],
        "clientConfig": {"url": url, "caBundle": bundle}}});
    d
}

/// [sig-api-machinery] CustomResourceConversionWebhook [Privileged:ClusterAdmin] should be able to convert a non homogeneous list of CRs
/// [sig-api-machinery] CustomResourceConversionWebhook [Privileged:ClusterAdmin] should be able to convert from CR v1 to CR v2
#[tokio::test]
async fn convert_from_cr_v1_to_cr_v2_and_a_non_homogeneous_list() {
    let (api, ca, calls) = (Api::start().await, authority(), Arc::new(AtomicUsize::new(0)));
    let hook = webhook(&ca, calls.clone()).await;
    let (url, bundle) = (format!("https://127.0.0.1:{}/convert", hook.port), support::bundle(&ca));
    api.define(&converted(&url, &bundle, "v1")).await;
    api.post(WIDGETS, &widget("one", json!({"hostPort": "h:1"}))).await.ok(201);
    assert_eq!(calls.load(Ordering::SeqCst), 0, "what is in the stored version is not converted");
    let seen = api.get(&format!("{V2}/one")).await.ok(200);
    assert_eq!(seen["spec"], json!({"host": "h", "port": "1"}));
    assert_eq!(
        (&seen["metadata"]["generation"], &seen["metadata"]["labels"]),
        (&json!(1), &json!({"converted": "yes"}))
    );
    assert!(seen["metadata"]["resourceVersion"].is_string());
    let path = format!("{DEFINITIONS}/widgets.example.com");
    let mut d = api.get(&path).await.ok(200);
    d["spec"]["versions"] = converted(&url, &bundle, "v2")["spec"]["versions"].clone();
    api.put(&path, &d).await.ok(200);
    api.until(&path, |d| d["status"]["storedVersions"] == json!(["v1", "v2"])).await;
    let two = json!({"apiVersion": "example.com/v2", "kind": "Widget", "metadata": {"name": "two"}, "spec": {"host": "i", "port": "2"}});
    api.post(V2, &two).await.ok(201);
    for (collection, field) in [(V2, "host"), (WIDGETS, "hostPort")] {
        let before = calls.load(Ordering::SeqCst);
        for _ in 0..3 {
            let all = api.get(collection).await.ok(200);
            let items = all["items"].as_array().expect("items");
            assert!(items.len() == 2 && items.iter().all(|i| i["spec"][field].is_string()), "{all}");
        }
        assert!(calls.load(Ordering::SeqCst) <= before + 1, "a list is one review, and it is kept");
    }
    let changed = api.merge(&format!("{WIDGETS}/two"), &json!({"spec": {"hostPort": "j:3"}})).await.ok(200);
    assert_eq!(changed["spec"], json!({"hostPort": "j:3"}));
    assert_eq!(api.get(&format!("{V2}/two")).await.ok(200)["spec"], json!({"host": "j", "port": "3"}));
    let watched = api.until(&format!("{WIDGETS}/two"), |w| w["spec"]["hostPort"] == "j:3").await;
    assert_eq!(watched["apiVersion"], "example.com/v1");
}

#[tokio::test]
async fn a_webhook_that_fails_is_named() {
    let (api, ca) = (Api::start().await, authority());
    let hook = Backend::start(&ca, "hook", |_, review| {
        Answer::json(&json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response":
            {"uid": review["request"]["uid"], "result": {"status": "Failure", "message": "not today"}}}))
    })
    .await;
    let url = format!("https://127.0.0.1:{}/", hook.port);
    api.define(&converted(&url, &support::bundle(&ca), "v1")).await;
    api.post(WIDGETS, &widget("one", json!({}))).await.ok(201);
    let why = "conversion webhook for example.com/v1, Kind=Widget failed: not today";
    api.get(&format!("{V2}/one")).await.refused(500, why);
    api.get(V2).await.refused(500, why);
    api.get(WIDGETS).await.ok(200);
    api.delete(&format!("{DEFINITIONS}/widgets.example.com")).await.ok(200);
    api.until_gone(&format!("{DEFINITIONS}/widgets.example.com")).await;
}
