//! What the server sets on a pod, and what becomes of it when it is deleted or bound.

use crate::hooks::check::Node;
use crate::hooks::core::resources;
use crate::hooks::fill::Fill;
use api_core::meta::Meta;
use api_core::quantity::Quantity;
use api_core::{ApiError, GroupResource, Reason};
use api_schema::row::WriteContext;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A new pod is pending, whatever it says.
pub(super) fn prepare_create(_: &WriteContext<'_>, pod: &mut Value) {
    let mut status = json!({"phase": "Pending", "qosClass": qos_class(&pod["spec"])});
    if pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
        status["conditions"] = json!([{
            "type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "lastProbeTime": null, "lastTransitionTime": null,
            "message": "Scheduling is blocked due to non-empty scheduling gates",
        }]);
    }
    pod["status"] = status;
    super::app_armor::agree(pod);
    pod.with("spec", drop_disabled);
}

/// Who writes the status leaves the rest alone, and the other way round.
pub(super) fn prepare_update(context: &WriteContext<'_>, new: &mut Value, old: &Value) {
    match context.subresource {
        "status" => {
            new.adopt("spec", old);
            new.with("status", drop_disabled_status);
            new.make("metadata").adopt("ownerReferences", &old["metadata"]);
            new.make("metadata").adopt("deletionTimestamp", &old["metadata"]);
        }
        "ephemeralcontainers" => {
            let asked = std::mem::replace(new, old.clone());
            // Whoever adds such a container is not noted as its manager.
            new.adopt("metadata", &asked);
            new.make("metadata").adopt("managedFields", &old["metadata"]);
            new.make("spec").adopt("ephemeralContainers", &asked["spec"]);
        }
        _ => new.adopt("status", old),
    }
    new.with("spec", drop_disabled);
}

/// What a write of the pod or of one of its subresources leaves as it is.
pub(super) fn reset_fields(subresource: &str) -> &'static [&'static [&'static str]] {
    match subresource {
        "status" => &[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]],
        _ => &[&["status"]],
    }
}

/// Fields of features that are off in this version.
pub(in crate::hooks) fn drop_disabled(spec: &mut Value) {
    drop_fields(spec, &["resourceClaims", "hostUsers"]);
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        spec.each_mut(list, |container| {
            drop_fields(container, &["resizePolicy"]);
            container.with("resources", |resources| drop_fields(resources, &["claims"]));
            container.with("securityContext", |context| {
                if !context.lacks("procMount") {
                    context["procMount"] = "Default".into();
                }
            });
            container.each_mut("volumeMounts", |mount| drop_fields(mount, &["recursiveReadOnly"]));
        });
    }
    spec.with("affinity", |affinity| {
        for kind in ["podAffinity", "podAntiAffinity"] {
            affinity.with(kind, |of| {
                of.each_mut("requiredDuringSchedulingIgnoredDuringExecution", drop_label_keys);
                of.each_mut("preferredDuringSchedulingIgnoredDuringExecution", |term| {
                    term.with("podAffinityTerm", drop_label_keys);
                });
            });
        }
    });
    spec.each_mut("volumes", |volume| {
        volume.with("projected", |projected| {
            projected.each_mut("sources", |source| drop_fields(source, &["clusterTrustBundle"]));
        });
    });
}

fn drop_disabled_status(status: &mut Value) {
    drop_fields(status, &["resize", "resourceClaimStatuses"]);
    status.each_mut("containerStatuses", |container| {
        drop_fields(container, &["allocatedResources", "resources", "volumeMounts"]);
    });
}

fn drop_label_keys(term: &mut Value) {
    drop_fields(term, &["matchLabelKeys", "mismatchLabelKeys"]);
}

fn drop_fields(of: &mut Value, fields: &[&str]) {
    if let Some(map) = of.as_object_mut() {
        for field in fields {
            map.remove(*field);
        }
    }
}

/// `Guaranteed`, `Burstable` or `BestEffort`, from what all containers ask for.
pub(crate) fn qos_class(spec: &Value) -> &'static str {
    let spec = Node::root(spec);
    let (mut requests, mut limits) = (BTreeMap::new(), BTreeMap::new());
    let mut guaranteed = true;
    for list in ["containers", "initContainers"] {
        for container in spec.at(list).items() {
            let of = container.at("resources");
            let (asked, limited) = (compute(of.get("requests")), compute(of.get("limits")));
            guaranteed &= limited.len() == 2;
            for (name, q) in asked {
                requests.entry(name).and_modify(|sum: &mut Quantity| *sum = sum.plus(q)).or_insert(q);
            }
            for (name, q) in limited {
                limits.entry(name).and_modify(|sum: &mut Quantity| *sum = sum.plus(q)).or_insert(q);
            }
        }
    }
    if requests.is_empty() && limits.is_empty() {
        "BestEffort"
    } else if guaranteed && requests == limits {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

fn compute(list: &Value) -> Vec<(&'static str, Quantity)> {
    let positive = |name| resources::get(list, name).filter(|q| q.sign() > 0).map(|q| (name, q));
    ["cpu", "memory"].into_iter().filter_map(positive).collect()
}

/// How long a DELETE waits; not at all for a pod that no node has, or that has ended.
pub(super) fn default_grace_s(pod: &Value) -> Option<i64> {
    let spec = &pod["spec"];
    if spec.text("nodeName").is_empty() || matches!(pod["status"].text("phase"), "Failed" | "Succeeded") {
        return None;
    }
    match spec["terminationGracePeriodSeconds"].as_i64() {
        None | Some(0) => None,
        Some(seconds) if seconds < 0 => Some(1),
        Some(seconds) => Some(seconds),
    }
}

/// A POST to `binding`: the pod gets its node.
pub(super) fn bind(context: &WriteContext<'_>, pod: &mut Value, binding: &Value) -> Result<(), ApiError> {
    if context.subresource != "binding" {
        return Err(ApiError::method_not_allowed());
    }
    let name = pod.name().to_owned();
    if binding.name() != name {
        return Err(ApiError::bad_request("name in URL does not match name in Binding object"));
    }
    let conflict = |why: String| {
        let gr = GroupResource { group: String::new(), resource: "pods/binding".into() };
        Err(ApiError::conflict(&gr, &name, &why))
    };
    let target = &binding["target"];
    let mut errors = api_core::field::Errors::new();
    let root = Node::root(binding);
    let at = root.at("target");
    at.at("kind").one_of_if_any(&["Node", "<empty>"], &mut errors);
    at.at("name").required(&mut errors);
    if !errors.is_empty() {
        // Upstream gives these no code of their own.
        let gk = api_core::GroupKind { group: String::new(), kind: String::new() };
        let all = ApiError::invalid(&gk, "", &errors).message;
        let why = all.strip_prefix(" \"\" is invalid: ").unwrap_or(&all);
        return Err(ApiError::new(500, Reason::Unknown, why));
    }
    let uid = binding["metadata"].text("uid");
    if !uid.is_empty() && uid != pod.uid() {
        return conflict(format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", pod.uid()));
    }
    if pod.is_deleting() {
        return conflict(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let node = pod["spec"].text("nodeName");
    if !node.is_empty() {
        return conflict(format!("pod {name} is already assigned to node {node:?}"));
    }
    if pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
        return conflict(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    let scheduled = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": api_core::time::format_unix_s(context.now_unix_s),
    });
    pod["spec"]["nodeName"] = target["name"].clone();
    merge(pod, "annotations", &binding["metadata"]["annotations"]);
    set_condition(pod.make("status"), scheduled);
    Ok(())
}

fn merge(pod: &mut Value, field: &str, from: &Value) {
    let Some(from) = from.as_object().filter(|m| !m.is_empty()) else { return };
    let into = pod.metadata_mut().entry(field).or_insert_with(|| Value::Object(Map::new()));
    if let Some(into) = into.as_object_mut() {
        into.extend(from.iter().map(|(k, v)| (k.clone(), v.clone())));
    }
}

fn set_condition(status: &mut Value, condition: Value) {
    status.fill("conditions", json!([]));
    let Some(list) = status["conditions"].as_array_mut() else { return };
    match list.iter_mut().find(|c| c["type"] == condition["type"]) {
        Some(at) => *at = condition,
        None => list.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_core::Reason;

    #[test]
    fn qos_follows_requests_and_limits() {
        let both = json!({"cpu": "1", "memory": "1Gi"});
        for (containers, class) in [
            (json!([{}]), "BestEffort"),
            (json!([{"resources": {"requests": {"cpu": "0"}}}]), "BestEffort"),
            (json!([{"resources": {"requests": {"cpu": "1"}}}]), "Burstable"),
            (json!([{"resources": {"limits": both, "requests": both}}]), "Guaranteed"),
            (json!([{"resources": {"limits": both, "requests": {"cpu": "1", "memory": "1024Mi"}}}]), "Guaranteed"),
            (json!([{"resources": {"limits": both, "requests": both}}, {}]), "Burstable"),
        ] {
            assert_eq!(qos_class(&json!({"containers": containers})), class, "{containers}");
        }
    }

    #[test]
    fn a_pod_is_bound_once() {
        let context = WriteContext { subresource: "binding", ..WriteContext::default() };
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {}});
        let binding =
            json!({"metadata": {"name": "p", "annotations": {"a": "b"}}, "target": {"kind": "Node", "name": "n"}});
        bind(&context, &mut pod, &binding).unwrap();
        assert_eq!(pod["spec"]["nodeName"], "n");
        assert_eq!(pod["metadata"]["annotations"]["a"], "b");
        assert_eq!(pod["status"]["conditions"][0]["status"], "True");
        let again = bind(&context, &mut pod, &binding).unwrap_err();
        assert_eq!((again.code, again.reason), (409, Reason::Conflict));
        let other = json!({"metadata": {"name": "q"}, "target": {"name": "n"}});
        assert_eq!(bind(&context, &mut pod, &other).unwrap_err().code, 400);
    }
}
