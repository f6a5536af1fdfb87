//! What the status of a validating admission policy says of its expressions.

use k8s_openapi::api::admissionregistration::v1::{ExpressionWarning, ValidatingAdmissionPolicy};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::world::World;

fn policy(name: &str, resource: (&str, &str), validations: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"validations": validations, "matchConstraints": {"resourceRules": [
        {"apiGroups": [resource.0], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": [resource.1]}]}}})
}

/// What is said of the policy once its current generation has been checked.
async fn checked(world: &World, name: &str) -> Vec<ExpressionWarning> {
    let done = |policy: Option<&ValidatingAdmissionPolicy>| {
        policy.is_some_and(|policy| {
            let status = policy.status.clone().unwrap_or_default();
            status.type_checking.is_some() && status.observed_generation == policy.metadata.generation
        })
    };
    let policy = world.until(&world.api::<ValidatingAdmissionPolicy>(), name, done).await.unwrap();
    policy.status.unwrap().type_checking.unwrap().expression_warnings.unwrap_or_default()
}

/// "should type check validation expressions"
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_for_deployments_are_checked() {
    let world = World::start(0).await;
    let deployments = ("apps", "deployments");
    let good = json!([{"expression": "object.spec.replicas > 1"}]);
    world.create::<ValidatingAdmissionPolicy>(policy("good", deployments, good)).await;
    assert_eq!(checked(&world, "good").await, []);
    let confused = json!([{"expression": "object.spec.replicas > '1'",
        "messageExpression": "'wants replicas > 1, got ' + object.spec.replicas"}]);
    world.create::<ValidatingAdmissionPolicy>(policy("confused", deployments, confused)).await;
    let warnings = checked(&world, "confused").await;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert_eq!(warnings[0].field_ref, "spec.validations[0].expression");
    let start = "apps/v1, Kind=Deployment: ERROR: <input>:1:22: ";
    assert!(warnings[0].warning.starts_with(start), "{}", warnings[0].warning);
    assert!(warnings[0].warning.contains("found no matching overload for '_>_' applied to '(int, string)'"));
    assert_eq!(warnings[1].field_ref, "spec.validations[0].messageExpression");
    assert!(warnings[1].warning.contains("found no matching overload for '_+_' applied to '(string, int)'"));
    // A new generation is checked anew.
    let mended = json!({"spec": {"validations": [{"expression": "object.spec.template.spec.containers.all(c, \
        c.image.startsWith('x/') && c.securityContext.runAsUser > 0 && c.ports.all(p, p.containerPort > 0))"}]}});
    let policies = world.api::<ValidatingAdmissionPolicy>();
    policies.patch("confused", &PatchParams::default(), &Patch::Merge(&mended)).await.unwrap();
    assert_eq!(checked(&world, "confused").await, []);
}

/// "should type check a CRD"
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_for_custom_resources_are_checked() {
    let world = World::start(0).await;
    let definition = json!({"metadata": {"name": "crontabs.stable.example.com"}, "spec": {
        "group": "stable.example.com", "scope": "Namespaced",
        "names": {"plural": "crontabs", "singular": "crontab", "kind": "CronTab", "listKind": "CronTabList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object",
            "properties": {"spec": {"type": "object", "properties": {"cronSpec": {"type": "string"},
                "replicas": {"type": "integer"}, "port": {"x-kubernetes-int-or-string": true}}}}}}}]}});
    world.create::<CustomResourceDefinition>(definition).await;
    let established = |definition: Option<&CustomResourceDefinition>| {
        let conditions = definition.and_then(|d| d.status.as_ref()?.conditions.clone()).unwrap_or_default();
        conditions.iter().any(|c| c.type_ == "Established" && c.status == "True")
    };
    world.until(&world.api::<CustomResourceDefinition>(), "crontabs.stable.example.com", established).await;
    let mut crontabs = policy(
        "crontabs",
        ("stable.example.com", "crontabs"),
        json!([{"expression": "object.spec.replicas > 1 && object.metadata.name != '' && object.spec.port == 1"},
            {"expression": "variables.count > 'a'"}, {"expression": "object.spec.maxRetries > 10"},
            {"expression": "params.spec.cronSpec == object.spec.cronSpec", "messageExpression": "params.spec.replicas + ''"}]),
    );
    crontabs["spec"]["variables"] = json!([{"name": "count", "expression": "object.spec.replicas"}]);
    crontabs["spec"]["paramKind"] = json!({"apiVersion": "stable.example.com/v1", "kind": "CronTab"});
    world.create::<ValidatingAdmissionPolicy>(crontabs).await;
    let warnings = checked(&world, "crontabs").await;
    let found: Vec<(&str, bool)> = [
        "found no matching overload for '_>_' applied to '(int, string)'",
        "undefined field 'maxRetries'",
        "found no matching overload for '_+_' applied to '(int, string)'",
    ]
    .iter()
    .zip(&warnings)
    .map(|(why, warning)| (warning.field_ref.as_str(), warning.warning.contains(why)))
    .collect();
    let expected =
        ["spec.validations[1].expression", "spec.validations[2].expression", "spec.validations[3].messageExpression"];
    assert_eq!(found, expected.map(|place| (place, true)), "{warnings:?}");
    assert_eq!(warnings.len(), 3);
    assert!(warnings[0].warning.starts_with("stable.example.com/v1, Kind=CronTab: "), "{}", warnings[0].warning);
}
