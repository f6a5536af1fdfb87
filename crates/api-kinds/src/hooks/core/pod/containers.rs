//! Rules of containers: regular, init and ephemeral.

use super::spec::PodContext;
use super::{env, mounts, probes, security};
use crate::hooks::check::Node;
use crate::hooks::core::resources;
use api_core::field::Errors;
use api_core::names;
use std::collections::HashSet;

const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];

/// `spec.containers`.
pub(super) fn regular(list: &Node<'_, '_>, pod: &PodContext<'_>, e: &mut Errors) {
    list.required(e);
    let mut seen = HashSet::new();
    for container in list.items() {
        common(&container, pod, e);
        let name = container.at("name");
        if !seen.insert(name.str()) {
            name.duplicate(e);
        }
        probes::all(&container, pod.grace_period_s, e);
        let restart = container.at("restartPolicy");
        if restart.present() {
            restart.forbidden("may not be set for non-init containers", e);
        }
    }
    let mut ports = HashSet::new();
    for container in list.items() {
        host_port_conflicts(&container, &mut ports, e);
    }
}

/// `spec.initContainers`.
pub(super) fn init(list: &Node<'_, '_>, regular: &Node<'_, '_>, pod: &PodContext<'_>, e: &mut Errors) {
    let mut seen: HashSet<&str> = regular.items().map(|c| c.text("name")).collect();
    for container in list.items() {
        common(&container, pod, e);
        let restart = container.at("restartPolicy");
        restart.one_of_if_any(&["Always"], e);
        let name = container.at("name");
        if seen.contains(name.str()) {
            name.duplicate(e);
        } else if !name.is_empty() {
            seen.insert(name.str());
        }
        host_port_conflicts(&container, &mut HashSet::new(), e);
        if restart.str() == "Always" {
            probes::all(&container, pod.grace_period_s, e);
        } else {
            for field in ["lifecycle", PROBES[0], PROBES[1], PROBES[2]] {
                let at = container.at(field);
                if at.present() {
                    at.forbidden("may not be set for init containers without restartPolicy=Always", e);
                }
            }
        }
    }
}

/// `spec.ephemeralContainers`.
pub(super) fn ephemeral(list: &Node<'_, '_>, spec: &Node<'_, '_>, pod: &PodContext<'_>, e: &mut Errors) {
    let names_of = |field: &'static str| -> HashSet<&str> {
        spec.get(field).as_array().into_iter().flatten().filter_map(|c| c.get("name")?.as_str()).collect()
    };
    let others: HashSet<&str> = names_of("containers").union(&names_of("initContainers")).copied().collect();
    let mut seen = others.clone();
    for container in list.items() {
        common(&container, pod, e);
        let name = container.at("name");
        if !seen.insert(name.str()) {
            name.duplicate(e);
        }
        let target = container.at("targetContainerName");
        if !target.is_empty() && !others.contains(target.str()) {
            e.not_found(&target.path, target.str());
        }
        ephemeral_fields(&container, e);
        for mount in container.at("volumeMounts").items() {
            for field in ["subPath", "subPathExpr"] {
                if !mount.at(field).is_empty() {
                    mount.at(field).forbidden("cannot be set for an Ephemeral Container", e);
                }
            }
        }
    }
}

fn ephemeral_fields(container: &Node<'_, '_>, e: &mut Errors) {
    for field in ["ports", "lifecycle", PROBES[0], PROBES[1], PROBES[2], "resizePolicy", "restartPolicy"] {
        let at = container.at(field);
        if !at.is_empty() || (at.present() && at.value.is_object()) {
            at.forbidden("cannot be set for an Ephemeral Container", e);
        }
    }
    if !container.at("resources").is_empty() {
        container.at("resources").forbidden("cannot be set for an Ephemeral Container", e);
    }
    let image = container.at("image");
    if image.str() != image.str().trim() {
        image.invalid("must not have leading or trailing whitespace", e);
    }
}

fn common(container: &Node<'_, '_>, pod: &PodContext<'_>, e: &mut Errors) {
    container.at("name").required_text(names::is_dns1123_label, e);
    container.at("image").required(e);
    container.at("terminationMessagePolicy").required_one_of(&["File", "FallbackToLogsOnError"], e);
    ports(&container.at("ports"), e);
    env::variables(&container.at("env"), e);
    env::sources(&container.at("envFrom"), e);
    mounts::mounts(container, pod, e);
    mounts::devices(container, pod, e);
    container.at("imagePullPolicy").required_one_of(&["Always", "IfNotPresent", "Never"], e);
    resources::requirements(&container.at("resources"), e);
    resize_policy(&container.at("resizePolicy"), pod.restart_policy, e);
    security::container_context(&container.at("securityContext"), e);
}

fn ports(list: &Node<'_, '_>, e: &mut Errors) {
    let mut seen = HashSet::new();
    for port in list.items() {
        let name = port.at("name");
        if !name.is_empty() {
            let wrong = names::is_port_name(name.str());
            for why in &wrong {
                name.invalid(why, e);
            }
            if wrong.is_empty() && !seen.insert(name.str()) {
                name.duplicate(e);
            }
        }
        let number = port.at("containerPort");
        if number.int_or_zero() == 0 {
            number.path_required("", e);
        } else {
            number.port_number(e);
        }
        if port.at("hostPort").int_or_zero() != 0 {
            port.at("hostPort").port_number(e);
        }
        port.at("protocol").required_one_of(&["SCTP", "TCP", "UDP"], e);
    }
}

fn host_port_conflicts<'v>(container: &Node<'v, '_>, seen: &mut HashSet<(&'v str, i64, &'v str)>, e: &mut Errors) {
    for port in container.at("ports").items() {
        let number = port.at("hostPort");
        let Some(host_port) = number.int().filter(|p| *p != 0) else { continue };
        if !seen.insert((port.text("protocol"), host_port, port.text("hostIP"))) {
            let shown = format!("{}/{}/{host_port}", port.text("protocol"), port.text("hostIP"));
            e.duplicate(&number.path, shown.as_str());
        }
    }
}

fn resize_policy(list: &Node<'_, '_>, pod_restart_policy: &str, e: &mut Errors) {
    let mut seen = HashSet::new();
    for policy in list.items() {
        let resource = policy.at("resourceName");
        if !seen.insert(resource.str()) {
            e.duplicate(&list.path, resource.str());
        }
        if resource.is_empty() {
            e.required(&list.path, "");
        } else if !["cpu", "memory"].contains(&resource.str()) {
            e.not_supported(&list.path, resource.str(), &["cpu", "memory"]);
        }
        let restart = policy.text("restartPolicy");
        if restart.is_empty() {
            e.required(&list.path, "");
        } else if !["NotRequired", "RestartContainer"].contains(&restart) {
            e.not_supported(&list.path, restart, &["NotRequired", "RestartContainer"]);
        }
        if pod_restart_policy == "Never" && restart != "NotRequired" {
            e.invalid(&list.path, restart, "must be 'NotRequired' when `restartPolicy` is 'Never'");
        }
    }
}
