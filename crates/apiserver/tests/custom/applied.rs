//! Nulls that are applied to custom resources, and what an object is answered as that is stored in another version, as a real
//! server answers.

use super::api::{Api, definition, widgets};
use super::steps::walk;
use serde_json::{Value, json};

fn spec() -> Value {
    let text = json!({"type": "string"});
    json!({"type": "object", "properties": {
        "text": text,
        "def": {"type": "string", "default": "d"},
        "nul": {"type": "string", "nullable": true},
        "map": {"type": "object", "additionalProperties": text},
        "list": {"type": "array", "items": text},
        "free": {"x-kubernetes-preserve-unknown-fields": true},
        "en": {"type": "string", "enum": ["a"]},
        "emb": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
    }})
}

/// Nulls in bodies are dropped where nothing allows them; those that are applied are refused.
const NULLS: &str = r#"
    POST /apis/example.com/v1/namespaces/a/widgets
    {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "c"}, "spec": {"text": null, "def": null, "nul": null, "free": null}}
    => 201
    => /spec {"def": "d", "nul": null}

    PATCH /apis/example.com/v1/namespaces/a/widgets/n?fieldManager=m +apply
    {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "n"}, "spec": {"text": null}}
    => 422
    => Widget.example.com "n" is invalid: spec.text: Invalid value: "null": spec.text in body must be of type string: "null"

    PATCH /apis/example.com/v1/namespaces/a/widgets/c?fieldManager=m +apply
    {"apiVersion": "example.com/v1", "kind": "Widget", "spec": {"map": {"x": null}}}
    => 422
    => Widget.example.com "c" is invalid: spec.map.x: Invalid value: "null": spec.map.x in body must be of type string: "null"

    PATCH /apis/example.com/v1/namespaces/a/widgets/n?fieldManager=m +apply
    {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "n"}, "spec": {"list": [null]}}
    => 422
    => Widget.example.com "n" is invalid: spec.list[0]: Invalid value: "null": spec.list[0] in body must be of type string: "null"

    PATCH /apis/example.com/v1/namespaces/a/widgets/n?fieldManager=m +apply
    {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "n"}, "spec": {"en": null}}
    => 422
    => /details/causes/0/reason "FieldValueTypeInvalid"
    => /details/causes/1/reason "FieldValueNotSupported"

    PATCH /apis/example.com/v1/namespaces/a/widgets/n?fieldManager=m +apply
    {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "n"}, "spec": {"nul": null, "def": null, "free": null}}
    => 201
    => /spec {"def": "d", "nul": null}
    => /metadata/managedFields/0/fieldsV1/f:spec {"f:def": {}, "f:free": {}, "f:nul": {}}
    => /metadata/generation 1

    GET /apis/example.com/v1/namespaces/a/widgets/n
    => 200
    => /spec {"def": "d", "nul": null}

    PATCH /apis/example.com/v1/namespaces/a/widgets/n?fieldManager=m +apply
    {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "n"}, "spec": {"nul": null, "def": null, "free": null}}
    => 200
    => /spec {"def": "d", "nul": null}
    => /metadata/generation 2

    PATCH /apis/example.com/v1/namespaces/a/widgets/n +merge
    {"metadata": {"labels": {"l": "1"}}}
    => 200
    => /spec {"def": "d", "nul": null}

    PATCH /apis/example.com/v1/namespaces/a/widgets/e?fieldManager=m +apply
    {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "e"}, "spec": {"emb": {"apiVersion": null, "kind": "P", "metadata": null}}}
    => 422
    => Widget.example.com "e" is invalid: spec.emb.apiVersion: Invalid value: "null": must be a string

    PATCH /apis/example.com/v1/namespaces/a/widgets/e?fieldManager=m +apply
    {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "e"}, "spec": {"emb": {"apiVersion": "v1", "kind": "P", "metadata": {"name": null, "labels": {"a": null}, "creationTimestamp": null}}}}
    => 201
    => /spec/emb {"apiVersion": "v1", "kind": "P", "metadata": {"labels": {"a": ""}}}
    => /metadata/managedFields/0/fieldsV1/f:spec/f:emb/f:metadata {"f:creationTimestamp": {}, "f:labels": {"f:a": {}}, "f:name": {}}

    GET /apis/example.com/v1/namespaces/a/widgets/e
    => 200
    => /spec/emb {"apiVersion": "v1", "kind": "P", "metadata": {"labels": {"a": ""}}}
"#;

#[tokio::test]
async fn nulls() {
    let api = Api::start().await;
    api.define(&widgets(spec())).await;
    walk(&api, NULLS).await;
}

/// What is written in one version is read from the store in the other: that one's defaults come.
const VERSIONS: &str = r#"
    POST /apis/example.com/v1/namespaces/a/widgets?dryRun=All
    {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "u"}, "spec": {"a": "x"}}
    => 201
    => /spec {"a": "x", "both": "v1", "o": {"p": "p"}}

    POST /apis/example.com/v1/namespaces/a/widgets
    {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "u"}, "spec": {"a": "x"}}
    => 201
    => /spec {"a": "x", "both": "v1", "o": {"p": "p"}}

    GET /apis/example.com/v2/namespaces/a/widgets/u
    => 200
    => /spec {"a": "x", "both": "v1", "two": "2", "o": {"p": "p"}}

    PATCH /apis/example.com/v1/namespaces/a/widgets/u?fieldManager=m +apply
    {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "u"}, "spec": {"a": "x"}}
    => 200
    => /spec {"a": "x", "both": "v1", "o": {"p": "p"}}
    => /metadata/generation 1

    PATCH /apis/example.com/v1/namespaces/a/widgets/u +merge
    {"spec": {"a": "y", "o": null}}
    => 200
    => /spec {"a": "y", "both": "v1", "o": {"p": "p"}}
    => /metadata/generation 2

    PATCH /apis/example.com/v1/namespaces/a/widgets/w?fieldManager=m +apply
    {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"a": "x"}}
    => 201
    => /spec {"a": "x", "both": "v1", "o": {"p": "p"}}
    => /metadata/managedFields/0/fieldsV1/f:spec {"f:a": {}}
"#;

#[tokio::test]
async fn defaults_of_the_version_that_is_stored() {
    let api = Api::start().await;
    let (text, inner) = (json!({"type": "string"}), json!({"p": {"type": "string", "default": "p"}}));
    let default = |value: &str| json!({"type": "string", "default": value});
    let of = |fields: Value| json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}}});
    let mut d = definition("widgets", "Widget", json!({}));
    d["spec"]["versions"] = json!([
        {"name": "v1", "served": true, "storage": false, "schema": of(json!({
            "a": text, "one": default("1"), "both": default("v1"), "o": {"type": "object", "properties": {"p": text}}}))},
        {"name": "v2", "served": true, "storage": true, "schema": of(json!({
            "a": text, "both": default("v2"), "two": default("2"),
            "o": {"type": "object", "default": {}, "properties": inner}}))}]);
    api.define(&d).await;
    walk(&api, VERSIONS).await;
}

/// What is wrong is looked for in upstream's order.
const ORDER: &str = r#"
    PATCH /apis/apps/v1/namespaces/a/deployments/x/scale?fieldManager=m +apply
    {}
    => 404

    PATCH /apis/apps/v1/namespaces/a/deployments/x/scale +json
    {
    => 404

    PATCH /apis/apps/v1/namespaces/a/deployments/x/status?fieldManager=m +apply
    {}
    => 404

    PATCH /apis/apps/v1/namespaces/a/deployments/x?fieldManager=m +apply
    {}
    => 400
    => invalid object type: /, Kind=

    GET /api/v1/componentstatuses/x
    => 500
    => Component not found: x
    => ~v1 ComponentStatus is deprecated in v1.19+

    GET /apis/events.k8s.io/v1/namespaces/a/events?fieldSelector=%3D
    => 200

    GET /api/v1/namespaces/a/configmaps?fieldSelector=!%3D
    => 200

    GET /api/v1/namespaces/a/configmaps?fieldSelector=%3D%3Da
    => 400

    GET /apis/events.k8s.io/v1/namespaces/a/events?fieldSelector=%3Da
    => 400
    => field label not supported:

    GET /apis/events.k8s.io/v1/namespaces/a/events?fieldSelector=source%3Dx
    => 400
    => field label not supported: source

    GET /api/v1/namespaces/a/events?fieldSelector=source%3Dx
    => 200

    POST /apis/coordination.k8s.io/v1/namespaces/a/leases
    {"metadata": {"name": "l"}, "spec": {"renewTime": "9999-12-31T23:59:59.999999Z", "acquireTime": "9999-12-30T23:00:00.000000Z"}}
    => 201
    => /spec/renewTime "9999-12-31T23:59:59.999999Z"

    POST /api/v1/nodes
    {"metadata": {"name": "n"}, "spec": {"taints": [{"key": "a", "effect": "NoExecute", "timeAdded": "9999-12-31T23:59:59.9+01:00"}]}}
    => 201
    => /spec/taints/0/timeAdded "9999-12-31T22:59:59Z"

    POST /apis/example.com/v1/namespaces/a/widgets
    {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}
    => 201

    PATCH /apis/example.com/v1/namespaces/a/widgets/w +merge
    {"metadata": {"uid": "x", "labels": {"a": "b c"}}}
    => 422
    => /details/causes/0/field "metadata.labels"
    => /details/causes/1/field "metadata.uid"
    => /details/causes/2/field "metadata.labels"
    => /details/causes/3/field "metadata.uid"
    => /details/causes/4/field "metadata.labels"
    => /details/causes/5 null
"#;

#[tokio::test]
async fn in_which_order_requests_are_checked() {
    let api = Api::start().await;
    api.define(&widgets(json!({"type": "object"}))).await;
    walk(&api, ORDER).await;
    let neither = [("content-type", "foo/bar"), ("accept", "foo/bar")];
    for (path, why) in [
        ("/apis/apps/v1/namespaces/a/deployments/x", "415: Unsupported Media Type"),
        ("/apis/apps/v1/namespaces/a/deployments/x/scale", "415: Unsupported Media Type"),
        (
            "/apis/example.com/v1/namespaces/a/widgets/x",
            "the body of the request was in an unknown format - accepted media types include: \
             application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
        ),
    ] {
        api.text("PATCH", path, &neither, "{}").await.refused(415, why);
    }
    let unacceptable = [("content-type", "application/merge-patch+json"), ("accept", "foo/bar")];
    let path = "/apis/apps/v1/namespaces/a/deployments/x";
    api.text("PATCH", path, &unacceptable, "{}").await.refused(406, "406: Not Acceptable");
}
