//! Policies over writes: what the conformance suite asks of ValidatingAdmissionPolicy, and the edges.

use super::super::{Admission, Attributes, Operation};
use crate::authn::UserInfo;
use crate::authz::Authorizer;
use crate::view::MapView;
use api_core::{ApiError, Gvr};
use serde_json::{Value, json};
use std::sync::Arc;

fn rules(resource: &str) -> Value {
    json!({"resourceRules": [
        {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE", "DELETE"], "resources": [resource]},
    ]})
}

fn policy(spec: Value) -> Value {
    let mut all = json!({"matchConstraints": rules("deployments"), "failurePolicy": "Fail"});
    all.as_object_mut().expect("object").extend(spec.as_object().cloned().expect("object"));
    json!({"metadata": {"name": "p"}, "spec": all})
}

fn binding(spec: Value) -> Value {
    let mut all = json!({"policyName": "p", "validationActions": ["Deny"]});
    all.as_object_mut().expect("object").extend(spec.as_object().cloned().expect("object"));
    json!({"metadata": {"name": "b"}, "spec": all})
}

fn deployment(replicas: i64) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "ns"},
           "spec": {"replicas": replicas}})
}

struct Cluster(MapView);

impl Cluster {
    fn new(policy: Value, binding: Value) -> Self {
        let group = "admissionregistration.k8s.io";
        let view = MapView::default()
            .with("namespaces", json!({"metadata": {"name": "ns", "labels": {"env": "test"}}}))
            .with(&format!("{group}/validatingadmissionpolicies"), policy)
            .with(&format!("{group}/validatingadmissionpolicybindings"), binding)
            .with(
                "configmaps",
                json!({"metadata": {"name": "limits", "namespace": "ns", "labels": {"p": "q"}}, "data": {"max": "3"}}),
            );
        Self(view)
    }

    /// The answer to a write, and its warnings.
    async fn write(self, object: Option<Value>, old: Option<Value>) -> (Result<(), ApiError>, Vec<String>) {
        let gvr = Gvr::new("apps", "v1", "deployments");
        let row = api_kinds::rows().iter().find(|r| r.gvr == gvr).expect("a row").clone();
        let authorizer = Arc::new(Authorizer::new(Vec::new()));
        let admission = Admission::new(Arc::new(self.0), authorizer);
        let user = UserInfo::authenticated("ann", ["staff"]);
        let operation = match (&object, &old) {
            (Some(_), None) => Operation::Create,
            (Some(_), Some(_)) => Operation::Update,
            _ => Operation::Delete,
        };
        let attributes = Attributes {
            operation,
            user: &user,
            row: &row,
            resource: &row.gvr,
            subresource: "",
            namespace: "ns",
            name: "d",
            old: old.as_ref(),
            revision: 0,
            dry_run: false,
            request: None,
            delete_options: None,
        };
        let mut warnings = Vec::new();
        let result = super::validate(&admission.context, &attributes, object.as_ref(), &mut warnings).await;
        (result, warnings)
    }
}

/// The message of the refusal; empty if there is none.
async fn refusal(policy_spec: Value, binding_spec: Value, replicas: i64) -> String {
    let cluster = Cluster::new(policy(policy_spec), binding(binding_spec));
    cluster.write(Some(deployment(replicas)), None).await.0.map_or_else(|e| e.message, |()| String::new())
}

const PREFIX: &str =
    "deployments.apps \"d\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: ";

/// A policy's spec, its binding, the replicas of a new deployment, and why it is refused; empty if it is not.
type Row = (Value, Value, i64, &'static str);

async fn check(rows: impl IntoIterator<Item = Row>) {
    for (spec, bound, replicas, expected) in rows {
        let found = refusal(spec.clone(), bound, replicas).await;
        let prefix = if expected.starts_with("failed to configure policy") {
            PREFIX.replace(" with binding 'b'", "")
        } else {
            PREFIX.to_owned()
        };
        let expected = if expected.is_empty() { String::new() } else { format!("{prefix}{expected}") };
        assert_eq!(found, expected, "{spec}");
    }
}

#[tokio::test]
async fn validations() {
    check([
        (json!({"validations": [{"expression": "object.spec.replicas > 1"}]}), json!({}), 2, ""),
        (
            json!({"validations": [{"expression": "object.spec.replicas > 1", "message": "too few"}]}),
            json!({}),
            1,
            "too few",
        ),
        (
            json!({"validations": [{"expression": "object.spec.replicas > 1 "}]}),
            json!({}),
            1,
            "failed expression: object.spec.replicas > 1",
        ),
        (
            json!({"validations": [{"expression": "object.spec.replicas > 1", "messageExpression": "'wants ' + string(object.spec.replicas)"}]}),
            json!({}),
            1,
            "wants 1",
        ),
        (
            json!({"validations": [{"expression": "object.spec.replicas > 1", "messageExpression": "object.missing", "message": "m"}]}),
            json!({}),
            1,
            "m",
        ),
        (
            json!({"variables": [{"name": "n", "expression": "object.spec.replicas"}, {"name": "odd", "expression": "variables.n % 2 == 1"}],
            "validations": [{"expression": "variables.n > 1"}, {"expression": "variables.odd"}]}),
            json!({}),
            2,
            "failed expression: variables.odd",
        ),
        (
            json!({"validations": [{"expression": "object.spec.missing == 1"}]}),
            json!({}),
            1,
            "expression 'object.spec.missing == 1' resulted in error: no such key: missing",
        ),
        (
            json!({"failurePolicy": "Ignore", "validations": [{"expression": "object.spec.missing == 1"}]}),
            json!({}),
            1,
            "",
        ),
        (
            json!({"variables": [{"name": "x", "expression": "object.spec.missing"}], "validations": [{"expression": "variables.x == 1"}]}),
            json!({}),
            1,
            "expression 'variables.x == 1' resulted in error: composited variable \"x\" fails to evaluate: no such key: missing",
        ),
    ])
    .await;
}

#[tokio::test]
async fn what_expressions_know_of_a_write() {
    check([
        (
            json!({"matchConditions": [{"name": "c", "expression": "request.userInfo.username != 'ann'"}],
            "validations": [{"expression": "false"}]}),
            json!({}),
            1,
            "",
        ),
        (
            json!({"validations": [{"expression": "namespaceObject.metadata.labels.env == 'test' && request.namespace == 'ns' \
            && request.operation == 'CREATE' && oldObject == null && request.kind.kind == 'Deployment' && !request.dryRun"}]}),
            json!({}),
            1,
            "",
        ),
        (
            json!({"validations": [{"expression": "authorizer.requestResource.check('create').allowed()", "message": "may not"}]}),
            json!({}),
            1,
            "may not",
        ),
        (
            json!({"validations": [{"expression": "false"}]}),
            json!({"matchResources": {"namespaceSelector": {"matchLabels": {"env": "other"}}}}),
            1,
            "",
        ),
    ])
    .await;
}

#[tokio::test]
async fn parameters() {
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap"});
    check([
        (
            json!({"paramKind": config, "validations": [{"expression": "object.spec.replicas <= int(params.data.max)"}]}),
            json!({"paramRef": {"name": "limits", "parameterNotFoundAction": "Deny"}}),
            4,
            "failed expression: object.spec.replicas <= int(params.data.max)",
        ),
        (
            json!({"paramKind": config, "validations": [{"expression": "params.kind == 'ConfigMap'"}]}),
            json!({"paramRef": {"selector": {"matchLabels": {"p": "q"}}, "parameterNotFoundAction": "Deny"}}),
            4,
            "",
        ),
        (
            json!({"paramKind": config, "validations": [{"expression": "false"}]}),
            json!({"paramRef": {"name": "none", "parameterNotFoundAction": "Allow"}}),
            4,
            "",
        ),
        (
            json!({"paramKind": config, "validations": [{"expression": "false"}]}),
            json!({"paramRef": {"name": "none", "parameterNotFoundAction": "Deny"}}),
            4,
            "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction",
        ),
        (
            json!({"paramKind": {"apiVersion": "x/v1", "kind": "No"}, "validations": [{"expression": "true"}]}),
            json!({"paramRef": {"name": "none", "parameterNotFoundAction": "Allow"}}),
            4,
            "failed to configure policy: failed to find resource referenced by paramKind: 'x/v1, Kind=No'",
        ),
    ])
    .await;
}

#[tokio::test]
async fn reasons_actions_and_old_objects() {
    let deny =
        |reason: &str| policy(json!({"validations": [{"expression": "false", "message": "no", "reason": reason}]}));
    for (reason, code) in [("Forbidden", 403), ("Invalid", 422), ("RequestEntityTooLarge", 413), ("Unauthorized", 401)]
    {
        let error =
            Cluster::new(deny(reason), binding(json!({}))).write(Some(deployment(1)), None).await.0.unwrap_err();
        assert_eq!((error.code, error.reason.as_str()), (code, reason));
        let details = error.details.expect("details");
        assert_eq!(details.causes[0].message, "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no");
        assert_eq!(details.kind, "deployments");
    }
    let warn = binding(json!({"validationActions": ["Warn", "Audit"]}));
    let (result, warnings) = Cluster::new(deny("Invalid"), warn).write(Some(deployment(1)), None).await;
    assert!(result.is_ok());
    assert_eq!(warnings, ["Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': no"]);
    let grows = || {
        policy(
            json!({"validations": [{"expression": "request.operation == 'DELETE' ? object == null : object.spec.replicas >= oldObject.spec.replicas"}]}),
        )
    };
    let run = |object, old| Cluster::new(grows(), binding(json!({}))).write(object, old);
    assert!(run(Some(deployment(2)), Some(deployment(1))).await.0.is_ok());
    assert!(run(Some(deployment(1)), Some(deployment(2))).await.0.is_err());
    assert!(run(None, Some(deployment(2))).await.0.is_ok());
}

#[tokio::test]
async fn costs_are_bounded() {
    let list = format!("[{}]", vec!["1"; 200].join(","));
    let dear = format!("{list}.all(a, {list}.all(b, {list}.all(c, a + b + c > 0)))");
    let found = refusal(json!({"validations": [{"expression": dear}]}), json!({}), 1).await;
    assert!(found.ends_with("operation cancelled: actual cost limit exceeded"), "{found}");
}
