//! Defaults of horizontal pod autoscalers, in v2.

use crate::hooks::fill::Fill;
use serde_json::{Value, json};

pub(super) fn horizontal_pod_autoscaler(object: &mut Value) {
    let spec = object.make("spec");
    spec.fill("minReplicas", 1);
    if spec.lacks("metrics") || spec["metrics"] == json!([]) {
        let target = json!({"type": "Utilization", "averageUtilization": 80});
        spec["metrics"] = json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]);
    }
    spec.with("behavior", |behavior| {
        let up = behavior.make("scaleUp");
        up.fill("stabilizationWindowSeconds", 0);
        up.fill("selectPolicy", "Max");
        up.fill("policies", json!([policy("Pods", 4), policy("Percent", 100)]));
        let down = behavior.make("scaleDown");
        down.fill("selectPolicy", "Max");
        down.fill("policies", json!([policy("Percent", 100)]));
    });
}

fn policy(kind: &str, value: u32) -> Value {
    json!({"type": kind, "value": value, "periodSeconds": 15})
}
