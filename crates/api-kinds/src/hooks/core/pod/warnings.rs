//! Warnings about pods and pod templates: what is deprecated, without effect, or hides something.

use crate::hooks::check::Node;
use api_core::quantity::{Format, Quantity};
use serde_json::Value;
use std::collections::HashSet;

const OLD_LABELS: [(&str, &str, &str); 5] = [
    ("beta.kubernetes.io/arch", "v1.14", "kubernetes.io/arch"),
    ("beta.kubernetes.io/os", "v1.14", "kubernetes.io/os"),
    ("failure-domain.beta.kubernetes.io/region", "v1.17", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "v1.17", "topology.kubernetes.io/zone"),
    ("beta.kubernetes.io/instance-type", "v1.17", "node.kubernetes.io/instance-type"),
];
const OLD_VOLUMES: [(&str, &str); 8] = [
    ("gitRepo", "deprecated in v1.11"),
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
];

/// Warnings about a pod; none about an update, which seldom comes from people.
pub(super) fn pod(new: &Value, old: Option<&Value>) -> Vec<String> {
    let root = Node::root(new);
    let mut found = Vec::new();
    if old.is_none() {
        spec_and_metadata(&root.at("spec"), &root.at("metadata"), &mut found);
    }
    found
}

/// Warnings about a pod template.
pub(in crate::hooks) fn template(template: &Node<'_, '_>) -> Vec<String> {
    let mut found = Vec::new();
    spec_and_metadata(&template.at("spec"), &template.at("metadata"), &mut found);
    found
}

fn spec_and_metadata(spec: &Node<'_, '_>, metadata: &Node<'_, '_>, found: &mut Vec<String>) {
    old_labels(spec, found);
    annotations(spec, metadata, found);
    volumes(spec, found);
    let mut addresses: Vec<&str> = Vec::new();
    for alias in spec.at("hostAliases").items() {
        let ip = alias.at("ip");
        if addresses.contains(&ip.str()) {
            found.push(format!("{}: duplicate ip {:?}", ip.path, ip.str()));
        }
        addresses.push(ip.str());
    }
    for secret in spec.at("imagePullSecrets").items() {
        let name = secret.at("name");
        if name.is_empty() {
            found.push(format!("{}: invalid empty name \"\"", name.path));
        }
    }
    for list in ["containers", "initContainers"] {
        for container in spec.at(list).items() {
            variables(&container, found);
            fractions(&container.at("resources"), found);
        }
    }
    fractional(&spec.at("overhead"), found);
    if spec.at("terminationGracePeriodSeconds").int_or_zero() < 0 {
        let path = spec.at("terminationGracePeriodSeconds").path.to_string();
        found.push(format!("{path}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    null_selectors(spec, found);
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
    }
}

fn annotations(spec: &Node<'_, '_>, metadata: &Node<'_, '_>, found: &mut Vec<String>) {
    for (key, at) in metadata.at("annotations").entries() {
        let path = at.path;
        if key == "seccomp.security.alpha.kubernetes.io/pod"
            || key.starts_with("container.seccomp.security.alpha.kubernetes.io/")
        {
            found.push(format!("{path}: non-functional in v1.27+; use the \"seccompProfile\" field instead"));
        }
        if let Some(name) = key.strip_prefix("container.apparmor.security.beta.kubernetes.io/") {
            let has_field = ["containers", "initContainers", "ephemeralContainers"].iter().any(|list| {
                let list = spec.at(list);
                let mut named = list.items().filter(|c| c.text("name") == name);
                named.any(|c| c.at("securityContext").has("appArmorProfile"))
            });
            if !has_field {
                found.push(format!("{path}: deprecated since v1.30; use the \"appArmorProfile\" field instead"));
            }
        }
        match key {
            "scheduler.alpha.kubernetes.io/critical-pod" => {
                found.push(format!("{path}: non-functional in v1.16+; use the \"priorityClassName\" field instead"));
            }
            "security.alpha.kubernetes.io/sysctls" | "security.alpha.kubernetes.io/unsafe-sysctls" => {
                found.push(format!("{path}: non-functional in v1.11+; use the \"sysctls\" field instead"));
            }
            _ => {}
        }
    }
}

fn volumes(spec: &Node<'_, '_>, found: &mut Vec<String>) {
    for volume in spec.at("volumes").items() {
        for (field, why) in OLD_VOLUMES {
            if volume.has(field) {
                // Upstream writes this one with capitals.
                let shown = if field == "storageos" { "storageOS" } else { field };
                found.push(format!("{}: {why}", volume.at(shown).path));
            }
        }
        if volume.has("rbd") {
            found.push(format!("{}: deprecated in v1.28, non-functional in v1.31+", volume.at("rbd").path));
        }
        let ephemeral = volume.at("ephemeral");
        let template = ephemeral.at("volumeClaimTemplate");
        let claim = template.at("spec");
        fractions(&claim.at("resources"), found);
    }
}

fn variables(container: &Node<'_, '_>, found: &mut Vec<String>) {
    let env = container.at("env");
    let mut seen: HashSet<&str> = HashSet::new();
    for variable in env.items() {
        let name = variable.text("name");
        // A value that builds on the one before is what the repetition is for.
        let builds_on = variable.text("value").contains(&format!("$({name})"));
        if !seen.insert(name) && !builds_on {
            let path = variable.path;
            found.push(format!("{path}: hides previous definition of {name:?}, which may be dropped when using apply"));
        }
    }
}

fn fractions(resources: &Node<'_, '_>, found: &mut Vec<String>) {
    for list in ["requests", "limits"] {
        fractional(&resources.at(list), found);
    }
}

/// Amounts of bytes that are no whole number.
fn fractional(list: &Node<'_, '_>, found: &mut Vec<String>) {
    for resource in ["memory", "ephemeral-storage", "storage"] {
        let at = list.key(resource);
        if at.quantity().is_some_and(|q| is_fractional(&q)) {
            found.push(format!("{}: fractional byte value {:?} is invalid, must be an integer", at.path, at.str()));
        }
    }
}

/// As upstream counts in thousandths, a binary amount that is too large for that looks like a fraction.
fn is_fractional(q: &Quantity) -> bool {
    match i64::try_from(i128::from(q.value()) * 1000) {
        Ok(_) => q.milli_value() % 1000 != 0,
        Err(_) => q.format() == Format::BinarySi && q.value().wrapping_mul(1000) % 1000 != 0,
    }
}

fn null_selectors(spec: &Node<'_, '_>, found: &mut Vec<String>) {
    let mut look = |of: &Node<'_, '_>| {
        let selector = of.at("labelSelector");
        if !selector.present() {
            found.push(format!("{}: a null labelSelector results in matching no pod", selector.path));
        }
    };
    let affinity = spec.at("affinity");
    for kind in ["podAffinity", "podAntiAffinity"] {
        let of = affinity.at(kind);
        of.at("requiredDuringSchedulingIgnoredDuringExecution").items().for_each(|term| look(&term));
        let preferred = of.at("preferredDuringSchedulingIgnoredDuringExecution");
        preferred.items().for_each(|term| look(&term.at("podAffinityTerm")));
    }
    spec.at("topologySpreadConstraints").items().for_each(|constraint| look(&constraint));
}
