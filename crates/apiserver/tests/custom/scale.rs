//! `scale`: who owns the replicas, what is refused.

use super::api::{Api, definition};
use super::steps::walk;
use serde_json::{Value, json};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/a/deployments";

/// `manager operation version subresource, timed or not` of each owner of that field of `spec`.
fn owners(object: &Value, field: &str) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let owns = entries.iter().filter(|e| !e["fieldsV1"]["f:spec"][format!("f:{field}")].is_null());
    let line = |e: &Value| {
        let [manager, operation, version] =
            ["manager", "operation", "apiVersion"].map(|f| e[f].as_str().unwrap_or("-"));
        let time = if e["time"].is_null() { "untimed" } else { "timed" };
        format!("{manager} {operation} {version} {} {time}", e["subresource"].as_str().unwrap_or("-"))
    };
    owns.map(line).collect()
}

async fn deployment(api: &Api) {
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": template}});
    api.post(&format!("{DEPLOYMENTS}?fieldManager=maker"), &deployment).await.ok(201);
}

#[tokio::test]
async fn replicas_are_owned_through_the_scale() {
    let api = Api::start().await;
    deployment(&api).await;
    let path = format!("{DEPLOYMENTS}/d");
    assert_eq!(owners(&api.get(&path).await.value, "replicas"), ["maker Update apps/v1 - timed"]);
    api.merge(&format!("{path}/scale?fieldManager=m"), &json!({"spec": {"replicas": 3}})).await.ok(200);
    assert_eq!(owners(&api.get(&path).await.value, "replicas"), ["m Update apps/v1 scale untimed"]);
    walk(
        &api,
        r#"
        PATCH /apis/apps/v1/namespaces/a/deployments/d/scale?fieldManager=ap +apply
        {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 5}}
        => 409
        => Apply failed with 1 conflict: conflict with "m" with subresource "scale" using autoscaling/v1: .spec.replicas

        PATCH /apis/apps/v1/namespaces/a/deployments/d/scale?fieldManager=ap&force=true +apply
        {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 6}}
        => 200
        => /spec/replicas 6

        PATCH /apis/apps/v1/namespaces/a/deployments/d?fieldManager=other +apply
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": 9}}
        => 409
        => Apply failed with 1 conflict: conflict with "ap" with subresource "scale": .spec.replicas
        "#,
    )
    .await;
    assert_eq!(owners(&api.get(&path).await.value, "replicas"), ["ap Apply apps/v1 scale untimed"]);
    let scale =
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 1}});
    api.put(&format!("{path}/scale?fieldManager=putter"), &scale).await.ok(200);
    assert_eq!(owners(&api.get(&path).await.value, "replicas"), ["putter Update apps/v1 scale untimed"]);
}

#[tokio::test]
async fn what_is_no_scale_of_the_object_is_refused() {
    let api = Api::start().await;
    deployment(&api).await;
    let script = r#"
        PUT /apis/apps/v1/namespaces/a/deployments/d/scale
        {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d", "namespace": "x"}, "spec": {"replicas": 1}}
        => 400
        => the namespace of the provided object does not match the namespace sent on the request

        PATCH /apis/apps/v1/namespaces/a/deployments/d/scale +merge
        {"metadata": {"name": "x"}}
        => 400
        => the name of the object (x) does not match the name on the URL (d)

        PATCH /apis/apps/v1/namespaces/a/deployments/d/scale +strategic
        {"spec": {"replicas": "x"}}
        => 422
        => "" is invalid: patch: Invalid value: "map[spec:map[replicas:x]]": unrecognized type: int32

        PATCH /apis/apps/v1/namespaces/a/deployments/d/scale?fieldManager=ap +apply
        {"apiVersion": "apps/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 1}}
        => 400
        => invalid object type: apps/v1, Kind=Scale

        PATCH /apis/apps/v1/namespaces/a/deployments/d/scale?fieldManager=ap +apply
        {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": "x"}}
        => 500
        => failed to create typed patch object (/d; autoscaling/v1, Kind=Scale): .spec.replicas: expected numeric (int or float), got string

        PUT /apis/apps/v1/namespaces/a/deployments/d/scale
        {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": -1}}
        => 422
        => Scale.autoscaling "d" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0

        GET /apis/apps/v1/namespaces/a/deployments/none/scale
        => 404
        => deployments/scale.apps "none" not found
    "#;
    walk(&api, script).await;
}

#[tokio::test]
async fn custom_resources_have_their_replicas_elsewhere() {
    let api = Api::start().await;
    let whole = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let schema = json!({"type": "object", "properties": {"spec": whole, "status": whole}});
    let mut d = definition("widgets", "Widget", schema);
    d["spec"]["versions"][0]["subresources"] =
        json!({"scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}});
    api.define(&d).await;
    walk(
        &api,
        r#"
        POST /apis/example.com/v1/namespaces/a/widgets?fieldManager=maker
        {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"x": 1}}
        => 201

        GET /apis/example.com/v1/namespaces/a/widgets/w/scale
        => 500
        => Internal error occurred: the spec replicas field ".spec.n" does not exist

        PATCH /apis/example.com/v1/namespaces/a/widgets/w/scale +merge
        {"metadata": {"name": "w"}}
        => 400
        => the spec replicas field ".spec.n" cannot be empty

        PATCH /apis/example.com/v1/namespaces/a/widgets/w/scale?fieldManager=ap +apply
        {"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 2}}
        => 409

        PATCH /apis/example.com/v1/namespaces/a/widgets/w/scale?fieldManager=ap&force=true +apply
        {"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 2}}
        => 200
        => /spec/replicas 2

        PATCH /apis/example.com/v1/namespaces/a/widgets/w +merge
        {"spec": {"n": "x"}}
        => 422

        PATCH /apis/example.com/v1/namespaces/a/widgets/w?fieldManager=ap2 +apply
        {"apiVersion": "example.com/v1", "kind": "Widget", "spec": {"n": 4}}
        => 409
        => Apply failed with 1 conflict: conflict with "ap" with subresource "scale": .spec.n
        "#,
    )
    .await;
    let widget = api.get("/apis/example.com/v1/namespaces/a/widgets/w").await.ok(200);
    assert_eq!(owners(&widget, "n"), ["ap Apply example.com/v1 scale untimed"]);
}
