//! Warnings about pods and pod templates: what is deprecated, without effect, or hides something.

use super::{CONTAINERS, app_armor};
use crate::hooks::check::Node;
use crate::hooks::core::resources::is_fractional;
use api_core::names;
use serde_json::Value;
use std::collections::HashSet;

const OLD_LABELS: [(&str, &str, &str); 5] = [
    ("beta.kubernetes.io/arch", "v1.14", "kubernetes.io/arch"),
    ("beta.kubernetes.io/os", "v1.14", "kubernetes.io/os"),
    ("failure-domain.beta.kubernetes.io/region", "v1.17", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "v1.17", "topology.kubernetes.io/zone"),
    ("beta.kubernetes.io/instance-type", "v1.17", "node.kubernetes.io/instance-type"),
];
/// Kinds of volumes of old, in upstream's order; its own name for one of them is written with capitals.
const OLD_VOLUMES: [(&str, &str, &str); 7] = [
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "gitRepo", "deprecated in v1.11"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
];
const OLD_VOLUMES_LAST: [&str; 2] = ["cephfs", "rbd"];
/// Annotations without effect, and what to write instead.
const OLD_ANNOTATIONS: [(&str, &str, &str); 3] = [
    ("scheduler.alpha.kubernetes.io/critical-pod", "v1.16", "priorityClassName"),
    ("security.alpha.kubernetes.io/sysctls", "v1.11", "sysctls"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "v1.11", "sysctls"),
];
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const OLD_SECCOMP: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";

/// Ports of a pod that are compared with each other. Those past it are compared with none.
const PORTS_COMPARED_MAX: usize = 250;

/// Warnings about a pod; none about an update, which seldom comes from people.
pub(super) fn pod(new: &Value, old: Option<&Value>) -> Vec<String> {
    let root = Node::root(new);
    let mut found = Vec::new();
    if old.is_none() {
        let wrong = names::is_dns1123_label(root.at("metadata").text("name"));
        if !wrong.is_empty() {
            let why = "this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended";
            found.push(format!("metadata.name: {why}: [{}]", wrong.join(" ")));
        }
        let metadata = root.at("metadata");
        spec_and_metadata(&root.at("spec"), &metadata, false, &mut found);
    }
    found
}

/// Warnings about a pod template.
pub(in crate::hooks) fn template(template: &Node<'_, '_>) -> Vec<String> {
    let mut found = Vec::new();
    spec_and_metadata(&template.at("spec"), &template.at("metadata"), true, &mut found);
    found
}

fn spec_and_metadata(spec: &Node<'_, '_>, metadata: &Node<'_, '_>, is_template: bool, found: &mut Vec<String>) {
    let noted = metadata.at("annotations");
    old_labels(spec, found);
    for (key, since, field) in OLD_ANNOTATIONS {
        if noted.has(key) {
            let path = noted.key(key).path.to_string();
            found.push(format!("{path}: non-functional in {since}+; use the {field:?} field instead"));
        }
    }
    volumes(spec, found);
    let mut addresses: HashSet<&str> = HashSet::new();
    for alias in spec.at("hostAliases").items() {
        let ip = alias.at("ip");
        if !addresses.insert(ip.str()) {
            found.push(format!("{}: duplicate ip {:?}", ip.path, ip.str()));
        }
    }
    pull_secrets(&spec.at("imagePullSecrets"), found);
    fractional(&spec.at("overhead"), &["memory", "ephemeral-storage"], found);
    let of_pod = spec.at("securityContext");
    if !of_pod.has("seccompProfile") && noted.has(SECCOMP_POD) {
        found.push(format!("{}: {OLD_SECCOMP}", noted.key(SECCOMP_POD).path));
    }
    for list in CONTAINERS {
        for container in spec.at(list).items() {
            let own = container.at("securityContext");
            let mut old = |prefix: &str, has_field: bool, why: &str| {
                if has_field || !noted.present() {
                    return;
                }
                let key = format!("{prefix}{}", container.text("name"));
                if noted.has(&key) {
                    found.push(format!("{}: {why}", noted.key(&key).path));
                }
            };
            old(SECCOMP_CONTAINER, own.has("seccompProfile"), OLD_SECCOMP);
            if is_template {
                let has_field = of_pod.has("appArmorProfile") || own.has("appArmorProfile");
                old(app_armor::ANNOTATION, has_field, app_armor::OLD);
            }
            fractions(&container.at("resources"), found);
            variables(&container, found);
        }
    }
    ports(spec, found);
    if spec.at("terminationGracePeriodSeconds").int_or_zero() < 0 {
        let path = spec.at("terminationGracePeriodSeconds").path.to_string();
        found.push(format!("{path}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    null_selectors(spec, found);
}

fn pull_secrets(list: &Node<'_, '_>, found: &mut Vec<String>) {
    let mut seen = HashSet::new();
    for secret in list.items() {
        let name = secret.at("name");
        if !seen.insert(name.str()) {
            found.push(format!("{}: duplicate name {:?}", name.path, name.str()));
        }
    }
    for secret in list.items().filter(|secret| secret.text("name").is_empty()) {
        found.push(format!("{}: invalid empty name \"\"", secret.at("name").path));
    }
}

/// A port as it stands in a pod.
struct Port<'v> {
    number: i64,
    protocol: &'v str,
    ip: &'v str,
    host: i64,
    /// In which list, in which container of it, and which port of that.
    at: (&'static str, usize, usize),
}

impl<'v> Port<'v> {
    fn read(port: &Node<'v, '_>, at: (&'static str, usize, usize)) -> Self {
        let number = |field: &str| port.at(field).int_or_zero();
        Self {
            number: number("containerPort"),
            protocol: port.text("protocol"),
            ip: port.text("hostIP"),
            host: number("hostPort"),
            at,
        }
    }

    fn path(&self, spec: &Node<'_, '_>) -> String {
        let (list, container, port) = self.at;
        format!("{}.{list}[{container}].ports[{port}]", spec.path)
    }

    /// How the two get into each other's way.
    fn conflict(&self, other: &Port<'_>) -> Option<&'static str> {
        if (self.number, self.protocol) != (other.number, other.protocol) {
            return None;
        }
        let same_host = self.host == other.host;
        if same_host && self.ip == other.ip {
            Some("duplicate")
        } else if self.host == 0 || other.host == 0 {
            Some("overlapping")
        } else if same_host && self.ip.is_empty() != other.ip.is_empty() {
            Some("dangerously ambiguous")
        } else {
            None
        }
    }
}

/// Ports of one number and protocol, anywhere in the pod, that get into each other's way.
fn ports(spec: &Node<'_, '_>, found: &mut Vec<String>) {
    let mut before: Vec<Port<'_>> = Vec::new();
    for list in CONTAINERS {
        for (i, container) in spec.at(list).items().enumerate() {
            for (j, node) in container.at("ports").items().enumerate() {
                let port = Port::read(&node, (list, i, j));
                let (path, ip) = (node.path, port.ip);
                if !ip.is_empty() && port.host == 0 {
                    let (name, number, protocol) = (node.text("name"), port.number, port.protocol);
                    let shown =
                        format!("Name:{name} HostPort:0 ContainerPort:{number} Protocol:{protocol} HostIP:{ip}");
                    found.push(format!("{path}: hostIP set without hostPort: {{{shown}}}"));
                }
                if before.len() == PORTS_COMPARED_MAX {
                    continue;
                }
                for other in &before {
                    let conflict = port.conflict(other);
                    let told = |how| format!("{path}: {how} port definition with {}", other.path(spec));
                    found.extend(conflict.map(told));
                }
                before.push(port);
            }
        }
    }
}

fn old_labels(spec: &Node<'_, '_>, found: &mut Vec<String>) {
    let selector = spec.at("nodeSelector");
    for (old, since, new) in OLD_LABELS {
        if selector.has(old) {
            found.push(format!("{}: deprecated since {since}; use {new:?} instead", selector.key(old).path));
        }
    }
    let affinity = spec.at("affinity");
    let nodes = affinity.at("nodeAffinity");
    let mut look = |term: &Node<'_, '_>| {
        for requirement in term.at("matchExpressions").items() {
            let key = requirement.at("key");
            if let Some((old, since, new)) = OLD_LABELS.iter().find(|(old, ..)| *old == key.str()) {
                found.push(format!("{}: {old} is deprecated since {since}; use {new:?} instead", key.path));
            }
        }
    };
    let required = nodes.at("requiredDuringSchedulingIgnoredDuringExecution");
    required.at("nodeSelectorTerms").items().for_each(|term| look(&term));
    let preferred = nodes.at("preferredDuringSchedulingIgnoredDuringExecution");
    preferred.items().for_each(|term| look(&term.at("preference")));
    for constraint in spec.at("topologySpreadConstraints").items() {
        let key = constraint.at("topologyKey");
        if let Some((old, since, new)) = OLD_LABELS.iter().find(|(old, ..)| *old == key.str()) {
            found.push(format!("{}: {old} is deprecated since {since}; use {new:?} instead", key.path));
        }
        null_selector(&constraint, found);
    }
}

fn volumes(spec: &Node<'_, '_>, found: &mut Vec<String>) {
    for volume in spec.at("volumes").items() {
        for (field, shown, why) in OLD_VOLUMES {
            if volume.has(field) {
                found.push(format!("{}: {why}", volume.at(shown).path));
            }
        }
        let ephemeral = volume.at("ephemeral");
        let template = ephemeral.at("volumeClaimTemplate");
        let claim = template.at("spec");
        for list in ["requests", "limits"] {
            fractional(&claim.at("resources").at(list), &["storage"], found);
        }
        for field in OLD_VOLUMES_LAST {
            if volume.has(field) {
                found.push(format!("{}: deprecated in v1.28, non-functional in v1.31+", volume.at(field).path));
            }
        }
    }
}

fn variables(container: &Node<'_, '_>, found: &mut Vec<String>) {
    let env = container.at("env");
    let mut seen: HashSet<&str> = HashSet::with_capacity(env.len());
    for variable in env.items() {
        let (name, value) = (variable.text("name"), variable.text("value"));
        if seen.insert(name) {
            continue;
        }
        // A value that builds on the one before is what the repetition is for.
        let before = format!("$({name})");
        let builds_on = !variable.has("valueFrom") && value != before && value.contains(&before);
        if !builds_on {
            let path = variable.path;
            found.push(format!("{path}: hides previous definition of {name:?}, which may be dropped when using apply"));
        }
    }
}

fn fractions(resources: &Node<'_, '_>, found: &mut Vec<String>) {
    for resource in ["memory", "ephemeral-storage"] {
        for list in ["limits", "requests"] {
            fractional(&resources.at(list), &[resource], found);
        }
    }
}

/// Amounts of bytes that are no whole number.
fn fractional(list: &Node<'_, '_>, resources: &[&str], found: &mut Vec<String>) {
    for resource in resources {
        let at = list.key(resource);
        if at.quantity().is_some_and(|q| is_fractional(&q)) {
            found.push(format!("{}: fractional byte value {:?} is invalid, must be an integer", at.path, at.str()));
        }
    }
}

fn null_selector(of: &Node<'_, '_>, found: &mut Vec<String>) {
    let selector = of.at("labelSelector");
    if !selector.present() {
        found.push(format!("{}: a null labelSelector results in matching no pod", selector.path));
    }
}

fn null_selectors(spec: &Node<'_, '_>, found: &mut Vec<String>) {
    let affinity = spec.at("affinity");
    for kind in ["podAffinity", "podAntiAffinity"] {
        let of = affinity.at(kind);
        let required = of.at("requiredDuringSchedulingIgnoredDuringExecution");
        required.items().for_each(|term| null_selector(&term, found));
        let preferred = of.at("preferredDuringSchedulingIgnoredDuringExecution");
        preferred.items().for_each(|term| null_selector(&term.at("podAffinityTerm"), found));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn thousands_of_ports_and_addresses_take_no_time() {
        let ports: Vec<Value> = (0..100_000).map(|_| json!({"containerPort": 80, "protocol": "TCP"})).collect();
        let aliases: Vec<Value> = (0..100_000).map(|i| json!({"ip": i.to_string()})).collect();
        let spec = json!({"containers": [{"name": "c", "ports": ports}], "hostAliases": aliases});
        let template = json!({"spec": spec});
        let found = template_warnings(&template);
        assert_eq!(found.len(), PORTS_COMPARED_MAX * (PORTS_COMPARED_MAX - 1) / 2);
        assert_eq!(
            found.first().map(String::as_str),
            Some("spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]")
        );
    }

    fn template_warnings(value: &Value) -> Vec<String> {
        template(&Node::root(value))
    }
}
