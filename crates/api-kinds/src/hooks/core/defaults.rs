//! Defaults of the core kinds that are no pods and no volumes.

use super::pod::defaults::default_template;
use crate::hooks::fill::Fill;
use serde_json::Value;

pub(super) fn pod_template(object: &mut Value) {
    default_template(object.make("template"));
}

pub(super) fn replication_controller(object: &mut Value) {
    let spec = object.make("spec");
    spec.fill("replicas", 1);
    spec.with("template", default_template);
    let labels = spec["template"]["metadata"]["labels"].clone();
    if labels.is_object() {
        spec.fill("selector", labels.clone());
        object.make("metadata").fill("labels", labels);
    }
}

/// Each namespace carries its name as a label, so that selectors can name it.
pub(super) fn namespace(object: &mut Value) {
    object.make("status").fill("phase", "Active");
    let name = object["metadata"].text("name").to_owned();
    if !name.is_empty() {
        object.make("metadata").make("labels").fill("kubernetes.io/metadata.name", name);
    }
}

pub(super) fn endpoints(object: &mut Value) {
    object.each_mut("subsets", |subset| subset.each_mut("ports", |port| port.fill("protocol", "TCP")));
}

pub(super) fn service(object: &mut Value) {
    let spec = object.make("spec");
    spec.fill("sessionAffinity", "None");
    spec.fill("type", "ClusterIP");
    default_session_affinity(spec);
    spec.each_mut("ports", |port| {
        port.fill("protocol", "TCP");
        let number = port["port"].clone();
        if port["targetPort"] == 0 || port["targetPort"] == "" {
            port["targetPort"] = Value::Null;
        }
        port.fill("targetPort", number);
    });
    let kind = spec.text("type").to_owned();
    let has_external_ips = spec["externalIPs"].as_array().is_some_and(|ips| !ips.is_empty());
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") || (kind == "ClusterIP" && has_external_ips) {
        spec.fill("externalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer" | "ClusterIP") {
        spec.fill("internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        spec.fill("allocateLoadBalancerNodePorts", true);
        object.with("status", |status| {
            status.with("loadBalancer", |lb| {
                lb.each_mut("ingress", |ingress| {
                    if !ingress.lacks("ip") {
                        ingress.fill("ipMode", "VIP");
                    }
                });
            });
        });
    }
}

fn default_session_affinity(spec: &mut Value) {
    match spec.text("sessionAffinity") {
        "None" => {
            if let Some(map) = spec.as_object_mut() {
                map.remove("sessionAffinityConfig");
            }
        }
        "ClientIP" => spec.make("sessionAffinityConfig").make("clientIP").fill("timeoutSeconds", 10800),
        _ => {}
    }
}

pub(super) fn resource_quota(object: &mut Value) {
    object.with("spec", |spec| spec.round_resources("hard"));
    object.with("status", |status| {
        status.round_resources("hard");
        status.round_resources("used");
    });
}

pub(super) fn limit_range(object: &mut Value) {
    let fields = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];
    object.with("spec", |spec| {
        spec.each_mut("limits", |limit| {
            fields.iter().for_each(|field| limit.round_resources(field));
            if limit.text("type") == "Container" {
                copy_missing(limit, "max", "default");
                copy_missing(limit, "default", "defaultRequest");
                copy_missing(limit, "min", "defaultRequest");
            }
        });
    });
}

fn copy_missing(limit: &mut Value, from: &str, to: &str) {
    let Some(Value::Object(source)) = limit.get(from).cloned() else { return };
    if source.is_empty() {
        return;
    }
    let target = limit.make(to);
    for (name, amount) in source {
        target.fill(&name, amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn services_default_by_type() {
        let mut s = json!({"spec": {"type": "LoadBalancer", "sessionAffinity": "ClientIP", "ports": [{"port": 80}]}});
        service(&mut s);
        assert_eq!(
            s["spec"],
            json!({
                "type": "LoadBalancer", "sessionAffinity": "ClientIP",
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}},
                "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
                "externalTrafficPolicy": "Cluster", "internalTrafficPolicy": "Cluster",
                "allocateLoadBalancerNodePorts": true
            })
        );
        let mut s = json!({"spec": {"type": "ExternalName", "externalName": "a.b"}});
        service(&mut s);
        assert_eq!(s["spec"], json!({"type": "ExternalName", "externalName": "a.b", "sessionAffinity": "None"}));
    }

    #[test]
    fn limits_of_containers_are_completed_from_each_other() {
        let mut l = json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}}]}});
        limit_range(&mut l);
        let limit = &l["spec"]["limits"][0];
        assert_eq!(limit["default"], json!({"cpu": "2"}));
        assert_eq!(limit["defaultRequest"], json!({"cpu": "2", "memory": "1Mi"}));
    }
}
