//! Rules of what a pod may learn of itself: fields and resources, in the environment and in volumes.

use crate::hooks::check::Node;
use api_core::field::Errors;
use api_core::names;

/// Fields for the environment.
pub(super) const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields for volumes.
pub(super) const VOLUME_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
/// Fields that are known at all, beside those.
const OTHER_FIELDS: &[&str] = &["spec.restartPolicy", "spec.schedulerName", "status.phase", "spec.host"];
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const CPU_DIVISORS: &[&str] = &["1", "1m"];
const BYTES_DIVISORS: &[&str] = &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

/// A `fieldRef`.
pub(super) fn field(node: &Node<'_, '_>, allowed: &[&str], e: &mut Errors) {
    let path = node.at("fieldPath");
    if !node.at("apiVersion").required(e) || !path.required(e) {
        return;
    }
    let subscripted = subscript(path.str());
    let known = match subscripted {
        Some((base, _)) => matches!(base, "metadata.annotations" | "metadata.labels"),
        None => [ENV_FIELDS, VOLUME_FIELDS, OTHER_FIELDS].iter().any(|l| l.contains(&path.str())),
    };
    if node.text("apiVersion") != "v1" || !known {
        path.invalid(&format!("error converting fieldPath: field label not supported: {}", path.str()), e);
        return;
    }
    match subscripted {
        Some((base, key)) => {
            let key = if base == "metadata.annotations" { key.to_lowercase() } else { key.to_owned() };
            for why in names::is_qualified_name(&key) {
                e.invalid(&node.path, key.as_str(), &why);
            }
        }
        None if !allowed.contains(&path.str()) => path.not_supported(allowed, e),
        None => {}
    }
}

/// Splits `metadata.labels['key']`.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (base, key) = path.strip_suffix("']")?.split_once("['")?;
    (!base.is_empty()).then_some((base, key))
}

/// A `resourceFieldRef`; one in a volume names its container.
pub(super) fn resource(node: &Node<'_, '_>, in_volume: bool, e: &mut Errors) {
    let resource = node.at("resource");
    let huge = ["limits.hugepages-", "requests.hugepages-"].iter().any(|p| resource.str().starts_with(p));
    if in_volume && node.at("containerName").is_empty() {
        node.at("containerName").path_required("", e);
    } else if resource.required(e) && !RESOURCES.contains(&resource.str()) && !huge {
        resource.not_supported(RESOURCES, e);
    }
    let divisor = node.at("divisor");
    let Some(q) = divisor.quantity().filter(|q| !q.is_zero()) else { return };
    let good = match resource.str() {
        "limits.cpu" | "requests.cpu" => CPU_DIVISORS,
        name if RESOURCES.contains(&name) || huge => BYTES_DIVISORS,
        _ => return,
    };
    if !good.contains(&q.to_string().as_str()) {
        let why = format!("only divisor's values {} are supported", good.join(", "));
        e.invalid(&divisor.path, resource.str(), &why);
    }
}
