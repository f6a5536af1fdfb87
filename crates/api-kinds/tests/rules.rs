//! Rules of kinds of the groups about the API itself: a valid object, one change, and the causes that it has. The causes
//! are those of a real v1.30 API server.

use api_core::Gvr;
use api_core::field::Errors;
use api_kinds::resource;
use serde_json::{Value, json};

/// `Reason field` for each error of `object` as it would be created.
fn causes(group: &str, plural: &str, mut object: Value) -> Vec<String> {
    let row = resource(&Gvr::new(group, "v1", plural)).expect("a built-in resource");
    api_schema::normalize::normalize(&row.schema, row.root, &mut object);
    if let Some(default) = row.hooks.default {
        default(&mut object);
    }
    let context = api_schema::row::WriteContext { user: "admin", ..Default::default() };
    if let Some(prepare) = row.hooks.prepare_create {
        prepare(&context, &mut object);
    }
    let mut errors = Errors::new();
    row.hooks.validate.expect("rules")(&object, &mut errors);
    let mut causes: Vec<String> = errors.0.iter().map(|e| format!("{} {}", e.kind.reason(), e.field)).collect();
    causes.sort();
    causes
}

/// Each change is a JSON pointer and a value; null removes.
fn check(group: &str, plural: &str, valid: &Value, cases: &[(&str, Value, &[&str])]) {
    assert_eq!(causes(group, plural, valid.clone()), [""; 0], "{plural}");
    for (pointer, value, expected) in cases {
        let mut object = valid.clone();
        let (parent, last) = pointer.rsplit_once('/').expect("a pointer");
        match object.pointer_mut(parent).expect("a parent") {
            Value::Object(map) => drop(map.insert(last.to_owned(), value.clone())),
            Value::Array(list) => list.push(value.clone()),
            _ => panic!("{pointer}"),
        }
        assert_eq!(causes(group, plural, object), *expected, "{plural} {pointer} {value}");
    }
}

#[test]
fn custom_resource_definitions() {
    let schema = json!({"type": "object", "properties": {"spec": {
        "type": "object",
        "x-kubernetes-validations": [{"rule": "self.size < 10", "fieldPath": ".size"}],
        "properties": {
            "size": {"type": "integer", "maximum": 10, "default": 3},
            "list": {
                "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}}},
            },
            "any": {"x-kubernetes-preserve-unknown-fields": true},
        },
    }}});
    let valid = json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}},
                "additionalPrinterColumns": [{"name": "N", "type": "integer", "jsonPath": ".spec.n"}],
            }],
        },
    });
    let at = "/spec/versions/0/schema/openAPIV3Schema";
    let spec = &format!("{at}/properties/spec");
    let of = |field: &str| format!("{spec}/properties/{field}");
    let below = "spec.validation.openAPIV3Schema.properties[spec]";
    let cause = |reason: &str, field: &str| format!("FieldValue{reason} {below}{field}");
    check(
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        &valid,
        &[
            ("/metadata/name", json!("other.example.com"), &["FieldValueInvalid metadata.name"]),
            ("/spec/scope", json!("Galaxy"), &["FieldValueNotSupported spec.scope"]),
            ("/spec/preserveUnknownFields", json!(true), &["FieldValueInvalid spec.preserveUnknownFields"]),
            ("/spec/conversion", json!({}), &["FieldValueRequired spec.conversion.strategy"]),
            (
                "/spec/versions/0/storage",
                json!(false),
                &["FieldValueInvalid spec.versions", "FieldValueInvalid status.storedVersions"],
            ),
            (
                "/spec/versions/0/name",
                json!("V"),
                &["FieldValueInvalid spec.version", "FieldValueInvalid spec.versions[0].name"],
            ),
            (
                "/spec/versions/-",
                json!({"name": "v2", "served": true}),
                &["FieldValueRequired spec.versions[1].schema.openAPIV3Schema"],
            ),
            (
                "/spec/versions/0/subresources/scale/specReplicasPath",
                json!(".n"),
                &["FieldValueInvalid spec.subresources.scale.specReplicasPath"],
            ),
            (
                "/spec/versions/0/additionalPrinterColumns/0/type",
                json!("text"),
                &["FieldValueInvalid spec.additionalPrinterColumns[0].type"],
            ),
            (&format!("{at}/type"), json!(""), &["FieldValueRequired spec.validation.openAPIV3Schema.type"]),
            (
                &of("size/type"),
                json!("text"),
                &[&cause("NotSupported", ".properties[size].type"), &cause("TypeInvalid", ".properties[size].default")],
            ),
            (&of("size/maximum"), json!(2), &[&cause("Invalid", ".properties[size].default")]),
            (
                &of("list/items/required"),
                json!([]),
                &[&cause("Required", ".properties[list].items.properties[k].default")],
            ),
            (
                &of("list/x-kubernetes-list-type"),
                json!("set"),
                &[
                    &cause("Invalid", ".properties[list].items.x-kubernetes-map-type"),
                    &cause("Invalid", ".properties[list].x-kubernetes-list-type"),
                ],
            ),
            (
                &of("any/x-kubernetes-preserve-unknown-fields"),
                json!(false),
                &[&cause("Invalid", ".properties[any].x-kubernetes-preserve-unknown-fields")],
            ),
            (
                &format!("{spec}/anyOf"),
                json!([{"properties": {"new": {"minimum": 1}}}]),
                &[&cause("Required", ".properties[new]")],
            ),
            (
                &format!("{spec}/x-kubernetes-validations/0/rule"),
                json!("self.none"),
                &[&cause("Invalid", ".x-kubernetes-validations[0].rule")],
            ),
            (
                &format!("{spec}/x-kubernetes-validations/0/fieldPath"),
                json!(".none"),
                &[&cause("Invalid", ".x-kubernetes-validations[0].fieldPath")],
            ),
        ],
    );
}

#[test]
fn webhooks_and_policies() {
    let rule = json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]});
    let hooks = json!({"metadata": {"name": "h"}, "webhooks": [{
        "name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": [rule],
        "clientConfig": {"url": "https://a/b"},
    }]});
    check(
        "admissionregistration.k8s.io",
        "validatingwebhookconfigurations",
        &hooks,
        &[
            ("/webhooks/0/name", json!("a"), &["FieldValueInvalid webhooks[0].name"]),
            ("/webhooks/0/clientConfig", json!({}), &["FieldValueRequired webhooks[0].clientConfig"]),
            (
                "/webhooks/0/clientConfig/url",
                json!("http://u@a?q"),
                &["FieldValueInvalid webhooks[0].clientConfig.url"; 3],
            ),
            (
                "/webhooks/0/rules/0/resources",
                json!(["*", "pods"]),
                &["FieldValueInvalid webhooks[0].rules[0].resources"],
            ),
            (
                "/webhooks/0/admissionReviewVersions",
                json!(["v9"]),
                &["FieldValueInvalid webhooks[0].admissionReviewVersions"],
            ),
            ("/webhooks/0/timeoutSeconds", json!(31), &["FieldValueInvalid webhooks[0].timeoutSeconds"]),
            (
                "/webhooks/0/matchConditions",
                json!([{"name": "a", "expression": "1 +"}, {"name": "a", "expression": "request.name == ''"}]),
                &[
                    "FieldValueDuplicate webhooks[0].matchConditions[1].name",
                    "FieldValueInvalid webhooks[0].matchConditions[0].expression",
                ],
            ),
        ],
    );
    let policy = json!({"metadata": {"name": "p"}, "spec": {
        "matchConstraints": {"resourceRules": [rule]},
        "variables": [{"name": "v", "expression": "object.spec.x"}],
        "validations": [{"expression": "variables.v == 1"}],
    }});
    check(
        "admissionregistration.k8s.io",
        "validatingadmissionpolicies",
        &policy,
        &[
            ("/spec/variables", json!([]), &["FieldValueInvalid spec.validations[0].expression"]),
            (
                "/spec/validations",
                json!([]),
                &["FieldValueRequired spec.auditAnnotations", "FieldValueRequired spec.validations"],
            ),
            (
                "/spec/matchConstraints/resourceRules",
                json!([]),
                &["FieldValueRequired spec.matchConstraints.resourceRules"],
            ),
            ("/spec/validations/0/reason", json!("Mood"), &["FieldValueNotSupported spec.validations[0].reason"]),
        ],
    );
}

#[test]
fn api_services_and_flow_control() {
    let service = json!({"metadata": {"name": "v1.a.b"}, "spec": {
        "group": "a.b", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1,
        "service": {"name": "s", "namespace": "n"},
    }});
    check(
        "apiregistration.k8s.io",
        "apiservices",
        &service,
        &[
            ("/metadata/name", json!("v1.a"), &["FieldValueInvalid metadata.name"]),
            ("/spec/versionPriority", json!(0), &["FieldValueInvalid spec.versionPriority"]),
            ("/spec/service/port", json!(70000), &["FieldValueInvalid spec.service.port"]),
        ],
    );
    let level = json!({"metadata": {"name": "l"}, "spec": {"type": "Limited", "limited": {"limitResponse": {
        "type": "Queue", "queuing": {},
    }}}});
    check(
        "flowcontrol.apiserver.k8s.io",
        "prioritylevelconfigurations",
        &level,
        &[
            ("/metadata/name", json!("exempt"), &["FieldValueInvalid spec", "FieldValueInvalid spec.type"]),
            ("/spec/type", json!("Exempt"), &["FieldValueForbidden spec.limited", "FieldValueInvalid spec.type"]),
            (
                "/spec/limited/limitResponse/queuing",
                json!({"queues": 2}),
                &["FieldValueInvalid spec.limited.limitResponse.queuing.handSize"],
            ),
            (
                "/spec/limited/limitResponse/queuing",
                json!({"handSize": 30}),
                &["FieldValueInvalid spec.limited.limitResponse.queuing.handSize"],
            ),
        ],
    );
}
