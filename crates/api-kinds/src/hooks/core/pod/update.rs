//! Rules of updates of pods: the object itself, its status, its ephemeral containers.

use super::spec::validate_pod_parts;
use super::{app_armor, scheduling, security, strategy};
use crate::hooks::check::Node;
use crate::hooks::meta;
use api_core::field::{BadValue, ErrorKind, Errors};
use api_core::names;
use api_schema::row::WriteContext;
use serde_json::{Value, json};
use std::collections::HashSet;

/// An update of a pod or of one of its subresources.
pub(super) fn validate(context: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    meta::again_on_update(new, old, e);
    match context.subresource {
        "status" => {
            annotations(new, old, e);
            status(new, old, e);
        }
        // What a binding may change, it has checked itself.
        "binding" => {}
        "ephemeralcontainers" => {
            meta::again_on_create(new, e);
            validate_pod_parts(new, e);
            existing_ephemeral_containers(new, old, e);
        }
        _ => {
            meta::again_on_create(new, e);
            validate_pod_parts(new, e);
            annotations(new, old, e);
            object(new, old, e);
        }
    }
}

/// Annotations that decided how the pod was started stay what they are; the others are checked once more.
fn annotations(new: &Value, old: &Value, e: &mut Errors) {
    let (root, old_root) = (Node::root(new), Node::root(old));
    let (metadata, old_metadata) = (root.at("metadata"), old_root.at("metadata"));
    let (now, was) = (metadata.at("annotations"), old_metadata.at("annotations"));
    let fixed = |key: &str| match key {
        "kubernetes.io/config.mirror" => Some("mirror pod annotation"),
        key if key.starts_with(app_armor::ANNOTATION) => Some("AppArmor annotations"),
        _ => None,
    };
    for (key, _) in was.entries().filter(|(key, before)| now.get(key) != before.value) {
        if let Some(what) = fixed(key) {
            e.forbidden(&now.path.key(key), &format!("may not remove or update {what}"));
        }
    }
    for (key, at) in now.entries().filter(|(key, _)| !was.has(key)) {
        if let Some(what) = fixed(key) {
            at.forbidden(&format!("may not add {what}"), e);
        }
    }
    security::pod_annotations(&metadata, &root.at("spec"), e);
}

fn object(pod: &Value, old: &Value, e: &mut Errors) {
    let (new_root, old_root) = (Node::root(pod), Node::root(old));
    let (new, old) = (new_root.at("spec"), old_root.at("spec"));
    for list in ["containers", "initContainers"] {
        if !images(&new.at(list), &old.at(list), e) {
            return;
        }
    }
    if !deadline(&new.at("activeDeadlineSeconds"), old.get("activeDeadlineSeconds").as_i64(), e) {
        return;
    }
    only_added_tolerations(&new.at("tolerations"), &old.at("tolerations"), e);
    only_removed_gates(&new.at("schedulingGates"), &old.at("schedulingGates"), e);
    let gated = !old.at("schedulingGates").is_empty();
    if new.value == old.value {
        return;
    }
    let class = strategy::qos_class(new.value);
    let status = old_root.at("status");
    let class_before = status.text("qosClass");
    if class_before != class && (!class_before.is_empty() || strategy::qos_class(old.value) != class) {
        let shown = pod["status"]["qosClass"].as_str().unwrap_or("");
        e.invalid(&new_root.at("metadata").path, shown, "Pod QoS is immutable");
    }
    let mut same = new.value.clone();
    allow_what_may_change(&mut same, old.value);
    if gated {
        gated_pod(&new, &old, &mut same, e);
    }
    if same != *old.value {
        let fields = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only \
                      additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
                      previously negative)";
        new.forbidden(&format!("pod updates may not change fields other than {fields}\n"), e);
    }
}

/// Answers whether there are as many containers as before.
fn images(new: &Node<'_, '_>, old: &Node<'_, '_>, e: &mut Errors) -> bool {
    if new.len() != old.len() {
        new.forbidden("pod updates may not add or remove containers", e);
        return false;
    }
    for container in new.items() {
        let image = container.at("image");
        image.required(e);
        if image.str().trim() != image.str() {
            image.invalid("must not have leading or trailing whitespace", e);
        }
    }
    true
}

/// A deadline may appear, and may come nearer. Answers whether the rest is to be checked.
fn deadline(new: &Node<'_, '_>, old: Option<i64>, e: &mut Errors) -> bool {
    let Some(seconds) = new.int() else {
        if old.is_some() {
            new.invalid("must not update from a positive integer to nil value", e);
        }
        return true;
    };
    let wrong = names::is_in_range(seconds, 0, i32::MAX.into());
    for why in &wrong {
        new.invalid(why, e);
    }
    if wrong.is_empty() && old.is_some_and(|old| old < seconds) {
        new.invalid("must be less than or equal to previous value", e);
        return false;
    }
    wrong.is_empty()
}

fn only_added_tolerations(new: &Node<'_, '_>, old: &Node<'_, '_>, e: &mut Errors) {
    let without_seconds = |toleration: &Value| {
        let mut copy = toleration.clone();
        if let Some(map) = copy.as_object_mut() {
            map.remove("tolerationSeconds");
        }
        copy
    };
    let kept = |toleration: Node<'_, '_>| {
        let wanted = without_seconds(toleration.value);
        new.items().any(|n| without_seconds(n.value) == wanted)
    };
    if !old.items().all(kept) {
        new.forbidden("existing toleration can not be modified except its tolerationSeconds", e);
        return;
    }
    scheduling::tolerations(new, e);
}

fn only_removed_gates(new: &Node<'_, '_>, old: &Node<'_, '_>, e: &mut Errors) {
    for gate in new.items() {
        let name = gate.at("name");
        if !old.items().any(|g| g.text("name") == name.str()) {
            name.forbidden(&format!("only deletion is allowed, but found new scheduling gate '{}'", name.str()), e);
        }
    }
}

/// Copies into `spec` from `old` whatever an update may change.
fn allow_what_may_change(spec: &mut Value, old: &Value) {
    for list in ["containers", "initContainers"] {
        let Some(containers) = spec[list].as_array_mut() else { continue };
        for (i, container) in containers.iter_mut().enumerate() {
            copy(container, &old[list][i], "image");
        }
    }
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        copy(spec, old, field);
    }
    let was = old["terminationGracePeriodSeconds"].as_i64().unwrap_or(0);
    if was < 0 && spec["terminationGracePeriodSeconds"] == 1 {
        copy(spec, old, "terminationGracePeriodSeconds");
    }
    if spec["initContainers"].is_null() {
        spec.as_object_mut().map(|map| map.remove("initContainers"));
    }
}

fn copy(into: &mut Value, from: &Value, field: &str) {
    let Some(map) = into.as_object_mut() else { return };
    match from.get(field) {
        Some(value) => map.insert(field.to_owned(), value.clone()),
        None => map.remove(field),
    };
}

/// Until it is scheduled, a gated pod's node selector and required affinity may be narrowed.
fn gated_pod(new: &Node<'_, '_>, old: &Node<'_, '_>, same: &mut Value, e: &mut Errors) {
    let (selector, had) = (new.at("nodeSelector"), old.at("nodeSelector"));
    if selector.value != had.value {
        let kept = had.entries().all(|(key, value)| selector.get(key) == value.value);
        if !kept {
            selector.invalid("only additions to spec.nodeSelector are allowed (no mutations or deletions)", e);
        }
        copy(same, old.value, "nodeSelector");
    }
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let of = |spec: &Value| spec["affinity"]["nodeAffinity"].clone();
    let (affinity, had) = (of(new.value), of(old.value));
    if affinity == had {
        return;
    }
    let (affinity, had_affinity) = (new.at("affinity"), old.at("affinity"));
    let (node, node_before) = (affinity.at("nodeAffinity"), had_affinity.at("nodeAffinity"));
    if node_before.has(required) {
        let (now, before) = (node.at(required), node_before.at(required));
        only_narrowed(&now.at("nodeSelectorTerms"), &before.at("nodeSelectorTerms"), e);
    }
    // What changed of the node affinity has been looked at; all else of the affinity has not.
    let others = |affinity: &Value| !affinity["podAffinity"].is_null() || !affinity["podAntiAffinity"].is_null();
    match (affinity.value.is_null(), had_affinity.value.is_null()) {
        (true, _) => same["affinity"] = json!({"nodeAffinity": had}),
        (false, true) if !others(affinity.value) => copy(same, old.value, "affinity"),
        _ => copy(&mut same["affinity"], had_affinity.value, "nodeAffinity"),
    }
}

/// Terms may not come or go, and a term may only become narrower.
fn only_narrowed(terms: &Node<'_, '_>, before: &Node<'_, '_>, e: &mut Errors) {
    if !before.is_empty() && before.len() != terms.len() {
        terms.invalid("no additions/deletions to non-empty NodeSelectorTerms list are allowed", e);
        return;
    }
    for (i, was) in before.items().enumerate() {
        let term = terms.index(i);
        let lists = ["matchExpressions", "matchFields"];
        let was_empty = lists.iter().all(|list| was.at(list).is_empty());
        let narrowed = lists.iter().all(|list| {
            let items = |of: &Node<'_, '_>| of.get(list).as_array().cloned().unwrap_or_default();
            if was_empty { items(&term).is_empty() } else { items(&term).starts_with(&items(&was)) }
        });
        if !narrowed {
            term.invalid("only additions are allowed (no mutations or deletions)", e);
        }
    }
}

fn status(new: &Value, old: &Value, e: &mut Errors) {
    let (new_root, old_root) = (Node::root(new), Node::root(old));
    let (metadata, status, old_status) = (new_root.at("metadata"), new_root.at("status"), old_root.at("status"));
    conditions(&status, &metadata, e);
    if new_root.at("spec").text("nodeName") != old_root.at("spec").text("nodeName") {
        status.at("nodeName").forbidden("may not be changed directly", e);
    }
    let nominated = status.at("nominatedNodeName");
    if nominated.str() != old_status.text("nominatedNodeName") {
        nominated.text_if_any(names::is_dns1123_subdomain, e);
    }
    let policy = old_root.at("spec").text("restartPolicy");
    for (list, policy) in
        [("containerStatuses", policy), ("initContainerStatuses", policy), ("ephemeralContainerStatuses", "Never")]
    {
        stays_terminated(&status.at(list), &old_status.at(list), policy, e);
    }
    let first = status.at("hostIPs").items().next().map(|at| at.text("ip").to_owned());
    if first.as_deref().is_some_and(|first| first != status.text("hostIP")) {
        status.at("hostIPs").index(0).at("ip").invalid("must be equal to `hostIP`", e);
    }
    addresses(&status.at("podIPs"), "core.PodIP", e);
    addresses(&status.at("hostIPs"), "core.HostIP", e);
}

/// Addresses of one pod or host: at most one of each family.
fn addresses(all: &Node<'_, '_>, go_type: &str, e: &mut Errors) {
    let given: Vec<&str> = all.items().map(|at| at.text("ip")).collect();
    for at in all.items() {
        for why in names::is_ip(at.text("ip")) {
            e.invalid(&at.path, at.text("ip"), &why);
        }
    }
    if given.len() < 2 {
        return;
    }
    let shown = |ip: &&str| format!("{go_type}{{IP:{ip:?}}}");
    let mut seen = HashSet::new();
    for at in all.items() {
        let ip = at.text("ip");
        if !seen.insert(ip) {
            e.push(ErrorKind::Duplicate, &at.path, Some(BadValue(shown(&ip))), "");
        }
    }
    let is_v6 = |ip: &str| ip.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_ipv6());
    if given.len() > 2 || is_v6(given[0]) == is_v6(given[1]) {
        let shown: Vec<String> = given.iter().map(shown).collect();
        let bad = BadValue(format!("[]{go_type}{{{}}}", shown.join(", ")));
        e.invalid(&all.path, bad, "may specify no more than one IP for each IP family");
    }
}

fn conditions(status: &Node<'_, '_>, metadata: &Node<'_, '_>, e: &mut Errors) {
    let own =
        ["PodScheduled", "Ready", "Initialized", "ContainersReady", "DisruptionTarget", "PodReadyToStartContainers"];
    let reported = metadata.at("conditions");
    for (i, condition) in status.at("conditions").items().enumerate() {
        let kind = condition.text("type");
        if !own.contains(&kind) {
            for why in names::is_qualified_name(kind) {
                e.invalid(&reported.path.index(i).child("Type"), kind, &why);
            }
        }
    }
}

fn stays_terminated(new: &Node<'_, '_>, old: &Node<'_, '_>, restart_policy: &str, e: &mut Errors) {
    if restart_policy == "Always" {
        return;
    }
    for was in old.items() {
        let ended = was.at("state").at("terminated").value;
        let may_restart = restart_policy == "OnFailure" && ended["exitCode"].as_i64().unwrap_or(0) != 0;
        if ended.is_null() || may_restart {
            continue;
        }
        for status in new.items().filter(|status| status.text("name") == was.text("name")) {
            if !status.at("state").has("terminated") {
                status.at("state").forbidden("may not be transitioned to non-terminated state", e);
            }
        }
    }
}

fn existing_ephemeral_containers(new: &Value, old: &Value, e: &mut Errors) {
    let (new_root, old_root) = (Node::root(new), Node::root(old));
    let (spec, old_spec) = (new_root.at("spec"), old_root.at("spec"));
    let (list, was) = (spec.at("ephemeralContainers"), old_spec.at("ephemeralContainers"));
    for before in was.items() {
        let name = before.text("name");
        match list.items().find(|c| c.text("name") == name) {
            None => list.forbidden(&format!("existing ephemeral containers {name:?} may not be removed\n"), e),
            Some(now) if now.value != before.value => {
                list.forbidden(&format!("existing ephemeral containers {name:?} may not be changed\n"), e);
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn causes(new: &Value, old: &Value) -> Vec<String> {
        let mut e = Errors::new();
        object(new, old, &mut e);
        e.0.iter().map(|e| format!("{} {}", e.kind.reason(), e.field)).collect()
    }

    fn pod(spec: &Value) -> Value {
        let mut all = json!({"containers": [{"name": "c", "image": "a"}]});
        for (key, value) in spec.as_object().unwrap() {
            all[key] = value.clone();
        }
        json!({"spec": all})
    }

    #[test]
    fn few_fields_of_a_pod_may_change() {
        let old = pod(&json!({"activeDeadlineSeconds": 10, "tolerations": [{"key": "a"}]}));
        for (spec, expected) in [
            (
                json!({"containers": [{"name": "c", "image": "b"}], "activeDeadlineSeconds": 5, "tolerations": [{"key": "a"}, {"key": "b", "operator": "Exists"}]}),
                vec![],
            ),
            (
                json!({"activeDeadlineSeconds": 11, "tolerations": [{"key": "a"}]}),
                vec!["FieldValueInvalid spec.activeDeadlineSeconds"],
            ),
            (json!({"activeDeadlineSeconds": 10}), vec!["FieldValueForbidden spec.tolerations"]),
            (
                json!({"activeDeadlineSeconds": 10, "tolerations": [{"key": "a"}], "nodeName": "n"}),
                vec!["FieldValueForbidden spec"],
            ),
            (json!({"containers": []}), vec!["FieldValueForbidden spec.containers"]),
        ] {
            assert_eq!(causes(&pod(&spec), &old), expected, "{spec}");
        }
    }
}
