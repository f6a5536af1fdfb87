//! Conversions there and back.

use super::for_kind;
use api_core::Gvk;
use serde_json::{Value, json};

/// Converts to another version and back; gives what it was in between.
fn there_and_back(object: Value, there: Gvk) -> Value {
    let (group, version) = api_core::gvk::split_api_version(object["apiVersion"].as_str().unwrap());
    let back = Gvk::new(group, version, &there.kind);
    let convert = for_kind(&there.group, &there.kind).unwrap();
    let mut value = object.clone();
    convert(&mut value, &there);
    let between = value.clone();
    assert_eq!(between["apiVersion"], there.api_version());
    convert(&mut value, &back);
    assert_eq!(value, object);
    between
}

#[test]
fn an_event_has_other_names_in_its_own_group() {
    let event = json!({
        "kind": "Event", "apiVersion": "v1", "metadata": {"name": "e", "creationTimestamp": null},
        "involvedObject": {"kind": "Pod", "name": "p"}, "reason": "r", "message": "m", "source": {"component": "c"},
        "firstTimestamp": null, "lastTimestamp": "2026-01-01T00:00:00Z", "count": 2, "type": "Normal",
        "eventTime": null, "reportingComponent": "", "reportingInstance": ""
    });
    let own = there_and_back(event, Gvk::new("events.k8s.io", "v1", "Event"));
    assert_eq!(own["regarding"]["name"], "p");
    assert_eq!(own["note"], "m");
    assert_eq!(own["deprecatedCount"], 2);
    assert!(own.get("message").is_none());
}

#[test]
fn what_v1_of_an_autoscaler_cannot_say_is_in_annotations() {
    let v2 = json!({
        "kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v2",
        "metadata": {"name": "h", "creationTimestamp": null, "annotations": {"a": "b"}},
        "spec": {
            "scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 3,
            "metrics": [
                {"type": "Pods", "pods": {"metric": {"name": "x"}, "target": {"type": "AverageValue", "averageValue": "10"}}},
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
            ],
            "behavior": {"scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max",
                "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]}}
        },
        "status": {"desiredReplicas": 0, "currentMetrics": null, "conditions": [
            {"type": "AbleToScale", "status": "True", "lastTransitionTime": null}]}
    });
    let v1 = there_and_back(v2, Gvk::new("autoscaling", "v1", "HorizontalPodAutoscaler"));
    assert_eq!(v1["spec"]["targetCPUUtilizationPercentage"], 50);
    let notes = &v1["metadata"]["annotations"];
    assert_eq!(
        notes["autoscaling.alpha.kubernetes.io/metrics"],
        r#"[{"type":"Pods","pods":{"metricName":"x","targetAverageValue":"10"}}]"#
    );
    assert_eq!(
        notes["autoscaling.alpha.kubernetes.io/conditions"],
        r#"[{"type":"AbleToScale","status":"True","lastTransitionTime":null}]"#
    );
    assert_eq!(
        notes["autoscaling.alpha.kubernetes.io/behavior"],
        r#"{"ScaleUp":{"StabilizationWindowSeconds":0,"SelectPolicy":"Max","Policies":[{"Type":"Pods","Value":4,"PeriodSeconds":15}]},"ScaleDown":null}"#
    );
    assert_eq!(notes["a"], "b");
    assert_eq!(v1["status"], json!({"currentReplicas": 0, "desiredReplicas": 0}));
}

#[test]
fn scaling_rules_of_v1_are_read_in_any_case() {
    let rules = json!({"scaleUp": {"SelectPolicy": "Max", "stabilizationwindowseconds": 3, "Policies": null, "x": 1}});
    let mut hpa = json!({"kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v1",
        "metadata": {"annotations": {"autoscaling.alpha.kubernetes.io/behavior": rules.to_string()}},
        "spec": {"maxReplicas": 1}, "status": {"currentReplicas": 0, "desiredReplicas": 0}});
    let to = Gvk::new("autoscaling", "v2", "HorizontalPodAutoscaler");
    for_kind("autoscaling", "HorizontalPodAutoscaler").unwrap()(&mut hpa, &to);
    assert_eq!(hpa["spec"]["behavior"], json!({"scaleUp": {"selectPolicy": "Max", "stabilizationWindowSeconds": 3}}));
    assert_eq!(hpa["status"], json!({"currentMetrics": null, "desiredReplicas": 0}));
}

#[test]
fn zero_shares_of_a_priority_level_survive_v1beta3() {
    let level = json!({
        "kind": "PriorityLevelConfiguration", "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "metadata": {"name": "l", "creationTimestamp": null, "annotations": {"a": "b"}},
        "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 0, "limitResponse": {"type": "Reject"}}},
        "status": {}
    });
    there_and_back(level, Gvk::new("flowcontrol.apiserver.k8s.io", "v1beta3", "PriorityLevelConfiguration"));
}
