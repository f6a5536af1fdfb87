//! Answers that were compared with those of a real server, beyond what was recorded of it.

use super::api::Api;
use super::steps::walk;
use serde_json::json;

#[tokio::test]
async fn managed_fields_are_reset_by_an_empty_list() {
    let api = Api::start().await;
    for given in [json!([]), json!([{}])] {
        let path = "/api/v1/namespaces/a/configmaps";
        let mut map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}});
        let made = api.post(path, &map).await.ok(201);
        assert!(made["metadata"]["managedFields"].is_array());
        map["metadata"]["managedFields"] = given.clone();
        let put = api.put(&format!("{path}/c"), &map).await.ok(200);
        assert!(put["metadata"]["managedFields"].is_null(), "{given}: {put}");
        let patched = api.merge(&format!("{path}/c"), &json!({"data": {"c": "d"}})).await.ok(200);
        assert!(patched["metadata"]["managedFields"].is_null(), "they stay away: {patched}");
        api.delete(&format!("{path}/c")).await.ok(200);
    }
}

#[tokio::test]
async fn addresses_of_pods_agree() {
    let api = Api::start().await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}], "automountServiceAccountToken": false}});
    api.post("/api/v1/namespaces/a/serviceaccounts", &json!({"metadata": {"name": "default"}})).await.ok(201);
    api.post("/api/v1/namespaces/a/pods", &pod).await.ok(201);
    walk(
        &api,
        r#"
        PATCH /api/v1/namespaces/a/pods/p/status +merge
        {"status": {"podIP": "1.2.3.4"}}
        => 200
        => /status/podIPs [{"ip": "1.2.3.4"}]

        PATCH /api/v1/namespaces/a/pods/p/status +merge
        {"status": {"podIP": null, "podIPs": [{"ip": "1.2.3.5"}]}}
        => 200
        => /status/podIP "1.2.3.5"

        PATCH /api/v1/namespaces/a/pods/p/status +merge
        {"status": {"podIP": "1.2.3.6"}}
        => 200
        => /status/podIPs [{"ip": "1.2.3.6"}]

        PATCH /api/v1/namespaces/a/pods/p/status +merge
        {"status": {"podIP": null, "podIPs": [{"ip": "1.1.1.1"}, {"ip": "1.1.1.2"}]}}
        => 422
        => Pod "p" is invalid: status.podIPs: Invalid value: []core.PodIP{core.PodIP{IP:"1.1.1.1"}, core.PodIP{IP:"1.1.1.2"}}: may specify no more than one IP for each IP family

        PATCH /api/v1/namespaces/a/pods/p/status +merge
        {"status": {"hostIP": "1.1.1.1", "hostIPs": [{"ip": "2.2.2.2"}]}}
        => 422
        => Pod "p" is invalid: status.hostIPs[0].ip: Invalid value: "2.2.2.2": must be equal to `hostIP`

        GET /api/v1/watch/namespaces/a/pods/p?fieldSelector=metadata.name%3Dq
        => 400
        => fieldSelector metadata.name doesn't match requested name
        "#,
    )
    .await;
    api.post("/api/v1/namespaces/a/configmaps", &json!({"metadata": {"name": "p"}})).await.ok(201);
    api.post("/api/v1/namespaces/a/configmaps", &json!({"metadata": {"name": "q"}})).await.ok(201);
    let watched = api.get("/api/v1/watch/namespaces/a/configmaps/p?timeoutSeconds=1").await;
    let name = watched.value["object"]["metadata"]["name"].as_str();
    assert_eq!(name, Some("p"), "one object alone: {}", watched.value);
}

#[tokio::test]
async fn what_is_wrong_with_a_query_is_found_in_upstreams_order() {
    let api = Api::start().await;
    walk(
        &api,
        r#"
        GET /api/v1/namespaces/a/configmaps?limit=x&labelSelector=a,,b
        => 400
        => strconv.ParseInt: parsing "x": invalid syntax

        GET /api/v1/namespaces/a/configmaps?fieldSelector=a=b&resourceVersion=x
        => 400
        => "a" is not a known field selector: only "metadata.name", "metadata.namespace"

        GET /api/v1/namespaces/a/configmaps?continue=x&resourceVersion=-1
        => 400
        => invalid continue token: continue key is not valid: illegal base64 data at input byte 0

        GET /api/v1/namespaces/a/configmaps?limit=1&resourceVersion=x
        => 400
        => invalid resource version: resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax

        GET /api/v1/namespaces/a/configmaps?resourceVersion=x
        => 500
        => resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax

        DELETE /api/v1/namespaces/a/configmaps?fieldSelector=a=b
        {"kind": "Foo"}
        => 400
        => "a" is not a known field selector: only "metadata.name", "metadata.namespace"

        DELETE /api/v1/namespaces/a/configmaps?resourceVersionMatch=Exact
        {"propagationPolicy": "x"}
        => 422
        => ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided
        "#,
    )
    .await;
}

#[tokio::test]
async fn queries_are_read_as_upstream_reads_them() {
    let api = Api::start().await;
    api.post("/api/v1/namespaces/a/configmaps", &json!({"metadata": {"name": "c"}})).await.ok(201);
    walk(
        &api,
        r#"
        GET /api/v1/namespaces/a/configmaps?limit=
        => 400
        => strconv.ParseInt: parsing "": invalid syntax

        GET /api/v1/namespaces/a/configmaps?limit=99999999999999999999
        => 400
        => strconv.ParseInt: parsing "99999999999999999999": value out of range

        GET /api/v1/namespaces/a/configmaps?resourceVersion=99999999&resourceVersionMatch=Exact
        => 500
        => etcdserver: mvcc: required revision is a future revision

        GET /api/v1/namespaces/a/configmaps?continue=x
        => 400
        => invalid continue token: continue key is not valid: illegal base64 data at input byte 0

        GET /api/v1/namespaces/a/configmaps?continue=e30
        => 400
        => invalid continue token: continue key is not valid: server does not recognize this encoded version

        GET /api/v1/namespaces/a/configmaps?continue=W10
        => 400
        => invalid continue token: continue key is not valid: json: cannot unmarshal array into Go value of type storage.continueToken

        GET /api/v1/namespaces/a/configmaps/c?export=1
        => 400
        => the export parameter, deprecated since v1.14, is no longer supported

        DELETE /api/v1/namespaces/a/configmaps/c
        {"preconditions": {"uid": 1}}
        => 500
        => json: cannot unmarshal number into Go struct field Preconditions.preconditions.uid of type types.UID

        DELETE /api/v1/namespaces/a/configmaps/c
        {"kind": "Foo"}
        => 500
        => no kind "Foo" is registered for version "meta.k8s.io/v1" in scheme "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27"

        PATCH /api/v1/namespaces/a/configmaps/none +merge
        {
        => 404

        PUT /api/v1/namespaces/a/configmaps/c
        {"metadata": {"name": "d", "namespace": "x"}}
        => 400
        => the namespace of the provided object does not match the namespace sent on the request

        POST /api/v1/namespaces/none/pods/p/eviction
        {"metadata": {"name": "q"}}
        => 404
        => namespaces "none" not found
        "#,
    )
    .await;
}

#[tokio::test]
async fn paths_without_a_route_are_not_there() {
    let api = Api::start().await;
    walk(
        &api,
        r#"
        GET /api/v1/pods/x
        => 404

        GET /api/v1/bindings
        => 404

        GET /api/v1/proxy/namespaces/a/pods/x
        => 404

        POST /api/v1/watch/pods
        {}
        => 405

        POST /api/v1/pods
        {}
        => 405

        PUT /apis
        {}
        => 200

        GET /openapi/v3/
        => 404

        GET /api/v1/componentstatuses/x
        => 500
        => Component not found: x
        "#,
    )
    .await;
}

#[tokio::test]
async fn the_name_of_a_media_type_is_looked_at_first() {
    let api = Api::start().await;
    for (accept, code) in [("application/*", 406), ("application/json", 200), ("*/*", 200), ("text/plain", 406)] {
        let got = api.send("GET", "/api/v1/namespaces/a/configmaps", &[("accept", accept)], None).await;
        assert_eq!(got.code, code, "{accept}");
    }
    assert_eq!(api.send("GET", "/apis", &[("accept", "application/*")], None).await.code, 200);
    let map = json!({"metadata": {"name": "c"}}).to_string();
    for (media, code) in [("application/json; x", 415), ("application/json; charset=utf-8", 201)] {
        let got = api.text("POST", "/api/v1/namespaces/a/configmaps", &[("content-type", media)], &map).await;
        assert_eq!(got.code, code, "{media}");
    }
}

#[tokio::test]
async fn values_that_few_write() {
    let api = Api::start().await;
    api.post("/api/v1/namespaces/a/serviceaccounts", &json!({"metadata": {"name": "default"}})).await.ok(201);
    walk(
        &api,
        r#"
        POST /api/v1/namespaces/a/configmaps
        {"metadata": {"name": "c"}, "binaryData": {"a": null}}
        => 201
        => /binaryData {"a": ""}

        POST /api/v1/namespaces/a/pods
        {"metadata": {"name": "p"}, "spec": {"terminationGracePeriodSeconds": -1, "containers": [{"name": "c", "image": "i"}]}}
        => 201
        => /spec/terminationGracePeriodSeconds 1

        POST /api/v1/namespaces/a/limitranges
        {"metadata": {"name": "l"}, "spec": {"limits": [{"type": "Container", "min": {"cpu": "-1"}, "max": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "10"}}]}}
        => 422

        POST /apis/authorization.k8s.io/v1/subjectaccessreviews
        {"spec": {"user": "u", "nonResourceAttributes": {"path": "/healthz", "verb": "get"}}}
        => 201
        => /status/allowed false
        "#,
    )
    .await;
}

#[tokio::test]
async fn items_without_a_key_have_its_default() {
    let api = Api::start().await;
    let item = json!({"type": "object", "required": ["k"], "properties": {
        "k": {"type": "string"}, "p": {"type": "integer", "default": 1}, "v": {"type": "string"}}});
    let list = json!({"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k", "p"]});
    let spec = json!({"type": "object", "properties": {"list": list}});
    let schema = json!({"type": "object", "properties": {"spec": spec}});
    api.define(&super::api::definition("widgets", "Widget", schema)).await;
    walk(
        &api,
        r#"
        POST /apis/example.com/v1/namespaces/a/widgets?fieldManager=m
        {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"list": [{"k": "a", "v": "1"}]}}
        => 201

        PATCH /apis/example.com/v1/namespaces/a/widgets/w?fieldManager=ap +apply
        {"apiVersion": "example.com/v1", "kind": "Widget", "spec": {"list": [{"k": "a", "v": "2"}]}}
        => 409
        => Apply failed with 1 conflict: conflict with "m" using example.com/v1: .spec.list[k="a",p=1].v

        PATCH /apis/example.com/v1/namespaces/a/widgets/w?fieldManager=ap&force=true +apply
        {"apiVersion": "example.com/v1", "kind": "Widget", "spec": {"list": [{"k": "a", "v": "2"}]}}
        => 200
        => /spec/list [{"k": "a", "p": 1, "v": "2"}]

        PATCH /apis/example.com/v1/namespaces/a/widgets/w?fieldManager=ap +apply
        {"apiVersion": "example.com/v1", "kind": "Widget", "spec": {"list": [{}]}}
        => 500
        => failed to create typed patch object (/; example.com/v1, Kind=Widget): .spec.list: element 0: associative list with keys has an element that omits key field "k" (and doesn't have default value)
        "#,
    )
    .await;
}

#[tokio::test]
async fn schemas_that_cannot_be_structural() {
    let api = Api::start().await;
    let of = |field: serde_json::Value| json!({"type": "object", "properties": {"a": field}});
    let rule = json!([{"rule": "self == 'a'", "messageExpression": "1"}]);
    for (schema, field, message) in [
        (
            json!({"type": "string", "$schema": "x"}),
            "spec.validation.openAPIV3Schema",
            "OpenAPIV3Schema 'schema' is not supported",
        ),
        (json!({"$ref": "#/x"}), "spec.validation.openAPIV3Schema.properties[a].$ref", "$ref is not supported"),
        (
            json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "map"}),
            "spec.validation.openAPIV3Schema.properties[a].items.type",
            "must be object if parent array's x-kubernetes-list-type is map",
        ),
        (
            json!({"x-kubernetes-preserve-unknown-fields": true, "x-kubernetes-validations": [{"rule": "self.x == 1"}]}),
            "spec.validation.openAPIV3Schema.properties[a].x-kubernetes-validations",
            "unable to convert structural schema to CEL declarations",
        ),
        (
            json!({"type": "string", "x-kubernetes-validations": rule}),
            "spec.validation.openAPIV3Schema.properties[a].x-kubernetes-validations[0].messageExpression",
            "messageExpression must evaluate to a string",
        ),
    ] {
        let answer = api.post(super::api::DEFINITIONS, &super::api::definition("widgets", "Widget", of(schema))).await;
        assert_eq!(answer.code, 422, "{}", answer.value);
        let causes = answer.value["details"]["causes"].as_array().cloned().unwrap_or_default();
        let last = causes.last().expect("a cause");
        assert_eq!(last["field"], field, "{causes:?}");
        assert!(last["message"].as_str().is_some_and(|m| m.ends_with(message)), "{last}");
    }
}
