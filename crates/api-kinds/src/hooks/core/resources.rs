//! Resource names and amounts: of containers, quotas, limit ranges, nodes and volumes.

use crate::hooks::check::{NON_NEGATIVE, Node};
use api_core::field::{BadValue, Errors, Path};
use api_core::names;
use api_core::quantity::{Format, Quantity};
use serde_json::Value;

/// Names without a domain that quotas count as whole numbers.
const COUNTED: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];
const COMPUTE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

pub(in crate::hooks) fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

pub(in crate::hooks) fn is_standard_for_containers(name: &str) -> bool {
    COMPUTE.contains(&name) || is_huge_page(name)
}

/// A name that stands for compute in a quota or a limit range: `cpu`, `requests.memory`, ...
pub(in crate::hooks) fn is_quota_compute(name: &str) -> bool {
    let bare = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits.")).unwrap_or(name);
    COMPUTE.contains(&bare)
}

pub(in crate::hooks) fn is_standard(name: &str) -> bool {
    is_quota_compute(name)
        || COUNTED.contains(&name)
        || matches!(name, "storage" | "requests.storage")
        || is_huge_page(name.strip_prefix("requests.").unwrap_or(name))
}

pub(in crate::hooks) fn is_counted(name: &str) -> bool {
    COUNTED.contains(&name)
}

/// Whether the name belongs to Kubernetes itself.
pub(crate) fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

pub(crate) fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && names::is_qualified_name(&format!("requests.{name}")).is_empty()
}

fn is_overcommit_allowed(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}

/// A resource's name: qualified, and known if it has no domain. Answers whether it is.
pub(in crate::hooks) fn name(name: &str, path: &Path<'_>, e: &mut Errors) -> bool {
    let wrong = names::is_qualified_name(name);
    for why in &wrong {
        e.invalid(path, name, why);
    }
    if wrong.is_empty() && !name.contains('/') && !is_standard(name) {
        e.invalid(path, unquoted(name), "must be a standard resource type or fully qualified");
        return false;
    }
    wrong.is_empty()
}

/// Names of resources are printed without quotes.
pub(in crate::hooks) fn unquoted(name: &str) -> BadValue {
    BadValue(name.to_owned())
}

/// The name of a resource that a container may ask for.
pub(in crate::hooks) fn container_name(text: &str, path: &Path<'_>, e: &mut Errors) {
    name(text, path, e);
    if !text.contains('/') {
        if !is_standard_for_containers(text) {
            e.invalid(path, unquoted(text), "must be a standard resource for containers");
        }
    } else if !is_native(text) && !is_extended(text) {
        e.invalid(path, unquoted(text), "doesn't follow extended resource name standard");
    }
}

/// Whether an amount is no whole number. As upstream counts in thousandths, a binary amount that is too large for that
/// looks like one.
pub(in crate::hooks) fn is_fractional(q: &Quantity) -> bool {
    match i64::try_from(i128::from(q.value()) * 1000) {
        Ok(_) => q.milli_value() % 1000 != 0,
        Err(_) => q.format() == Format::BinarySi && q.value().wrapping_mul(1000) % 1000 != 0,
    }
}

/// An amount that is not negative, and whole where the resource is counted.
pub(in crate::hooks) fn amount(resource: &str, node: &Node<'_, '_>, e: &mut Errors) {
    let Some(q) = node.quantity() else { return };
    if q.sign() < 0 {
        node.invalid(NON_NEGATIVE, e);
    }
    if (is_counted(resource) || is_extended(resource)) && is_fractional(&q) {
        node.invalid("must be an integer", e);
    }
}

/// An amount greater than nothing. Answers whether it is.
pub(in crate::hooks) fn positive(node: &Node<'_, '_>, e: &mut Errors) -> bool {
    let good = node.quantity().is_some_and(|q| q.sign() > 0);
    if !good {
        node.invalid("must be greater than zero", e);
    }
    good
}

/// What a container or a claim asks for: `{limits, requests}`.
pub(in crate::hooks) fn requirements(node: &Node<'_, '_>, e: &mut Errors) {
    let (limits, requests) = (node.at("limits"), node.at("requests"));
    for (resource, at) in limits.entries() {
        one_requirement(resource, &at, e);
    }
    for (resource, at) in requests.entries() {
        one_requirement(resource, &at, e);
        request_within_limit(resource, &at, &requests, &limits, e);
    }
    let asks = |wanted: fn(&str) -> bool| {
        let names = limits.entries().chain(requests.entries());
        names.map(|(name, _)| name).any(wanted)
    };
    if asks(is_huge_page) && !asks(|name| matches!(name, "cpu" | "memory")) {
        node.forbidden("HugePages require cpu or memory", e);
    }
}

fn one_requirement(resource: &str, at: &Node<'_, '_>, e: &mut Errors) {
    container_name(resource, &at.path, e);
    amount(resource, at, e);
    let page = resource.strip_prefix("hugepages-").and_then(|size| size.parse::<Quantity>().ok());
    if let (Some(page), Some(q)) = (page, at.quantity())
        && page.value() > 0
        && q.value() % page.value() != 0
    {
        at.invalid("must be a multiple of the page size", e);
    }
}

fn request_within_limit(
    resource: &str,
    at: &Node<'_, '_>,
    requests: &Node<'_, '_>,
    limits: &Node<'_, '_>,
    e: &mut Errors,
) {
    let may_overcommit = is_overcommit_allowed(resource);
    let limit = limits.key(resource);
    let (Some(asked), Some(most)) = (at.quantity(), limit.quantity()) else {
        if !may_overcommit && !limit.present() {
            limits.path_required("Limit must be set for non overcommitable resources", e);
        }
        return;
    };
    let (asked_text, most_text) = (at.str(), limit.str());
    if asked != most && !may_overcommit {
        e.invalid(&requests.path, asked_text, &format!("must be equal to {resource} limit of {most_text}"));
    } else if asked > most {
        e.invalid(
            &requests.path,
            asked_text,
            &format!("must be less than or equal to {resource} limit of {most_text}"),
        );
    }
}

/// The amount at `list[name]`, if it can be read.
pub(in crate::hooks) fn get(list: &Value, name: &str) -> Option<Quantity> {
    list.get(name)?.as_str()?.trim().parse().ok()
}
