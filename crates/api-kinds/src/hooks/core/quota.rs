//! Rules of limit ranges and resource quotas.

use super::resources;
use crate::hooks::check::{IMMUTABLE, Node};
use crate::hooks::meta;
use api_core::field::Errors;
use api_core::meta::Meta;
use api_core::names;
use api_core::quantity::Quantity;
use api_schema::row::{Hooks, WriteContext};
use serde_json::Value;
use std::collections::{BTreeSet, HashSet};

pub(super) static LIMIT_RANGE: Hooks = Hooks {
    default: Some(super::defaults::limit_range),
    prepare_create: Some(name_by_uid),
    validate: Some(limit_range),
    validate_update: Some(|_, new, _, e| {
        meta::again_on_create(new, e);
        limit_range(new, e);
    }),
    create_on_update: true,
    ..Hooks::NONE
};

pub(super) static RESOURCE_QUOTA: Hooks = Hooks {
    default: Some(super::defaults::resource_quota),
    validate: Some(resource_quota),
    validate_update: Some(resource_quota_update),
    ..Hooks::NONE
};

/// A limit range needs no name.
fn name_by_uid(_: &WriteContext<'_>, object: &mut Value) {
    if object.name().is_empty() {
        let uid = object.uid().to_owned();
        object.set_meta("name", &uid);
    }
}

fn limit_range(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    let spec = root.at("spec");
    let limits = spec.at("limits");
    let mut seen = HashSet::new();
    for limit in limits.items() {
        limit_type(&limit.at("type"), e);
        if !seen.insert(limit.text("type")) {
            limit.at("type").duplicate(e);
        }
        resource_names(&limit, e);
        if limit.text("type") == "PersistentVolumeClaim"
            && !limit.at("min").has("storage")
            && !limit.at("max").has("storage")
        {
            let why = "either minimum or maximum storage value is required, but neither was provided";
            limit.at("limits").path_required(why, e);
        }
        bounds(&limit, e);
    }
}

fn limit_type(kind: &Node<'_, '_>, e: &mut Errors) {
    let wrong = names::is_qualified_name(kind.str());
    for why in &wrong {
        kind.invalid(why, e);
    }
    let known = ["Pod", "Container", "PersistentVolumeClaim"].contains(&kind.str());
    if wrong.is_empty() && !kind.str().contains('/') && !known {
        kind.invalid("must be a standard limit type or fully qualified", e);
    }
}

fn resource_names(limit: &Node<'_, '_>, e: &mut Errors) {
    let kind = limit.text("type");
    let mut check = |field: &str| {
        for (name, at) in limit.at(field).entries() {
            if matches!(kind, "Pod" | "Container") {
                resources::container_name(name, &at.path, e);
            } else {
                resources::name(name, &at.path, e);
            }
        }
    };
    check("max");
    check("min");
    if kind == "Pod" {
        for field in ["default", "defaultRequest"] {
            if !limit.at(field).is_empty() {
                limit.at(field).forbidden("may not be specified when `type` is 'Pod'", e);
            }
        }
    } else {
        check("default");
        check("defaultRequest");
    }
    let mut check = |field: &str| {
        for (name, at) in limit.at(field).entries() {
            if matches!(kind, "Pod" | "Container") {
                resources::container_name(name, &at.path, e);
            } else {
                resources::name(name, &at.path, e);
            }
        }
    };
    check("maxLimitRequestRatio");
}

/// `min` ≤ `defaultRequest` ≤ `default` ≤ `max`, where they are given.
fn bounds(limit: &Node<'_, '_>, e: &mut Errors) {
    let fields = ["min", "max", "default", "defaultRequest", "maxLimitRequestRatio"];
    let mut all = BTreeSet::new();
    for field in fields {
        all.extend(limit.at(field).entries().map(|(name, _)| name));
    }
    for name in all {
        let get = |field: &str| resources::get(limit.get(field), name);
        let mut ordered = |low: &str, high: &str, blame: &str| {
            if let (Some(lower), Some(higher)) = (get(low), get(high))
                && lower > higher
            {
                let [low, high] = [low, high].map(|f| if f == "defaultRequest" { "default request" } else { f });
                let why = format!("{low} value {lower} is greater than {high} value {higher}");
                limit.at(blame).key(name).invalid(&why, e);
            }
        };
        ordered("min", "max", "min");
        ordered("min", "defaultRequest", "defaultRequest");
        ordered("defaultRequest", "max", "defaultRequest");
        ordered("defaultRequest", "default", "defaultRequest");
        ordered("min", "default", "default");
        ordered("default", "max", "default");
        ratio(limit, name, e);
        let may_overcommit = resources::is_native(name) && !resources::is_huge_page(name);
        if let (false, Some(one), Some(other)) = (may_overcommit, get("default"), get("defaultRequest"))
            && one != other
        {
            let why = format!("default value {one} must equal to defaultRequest value {other} in {name}");
            limit.at("default").key(name).invalid(&why, e);
        }
    }
}

fn ratio(limit: &Node<'_, '_>, name: &str, e: &mut Errors) {
    let get = |field: &str| resources::get(limit.get(field), name);
    let Some(ratio) = get("maxLimitRequestRatio") else { return };
    let list = limit.at("maxLimitRequestRatio");
    let at = list.key(name);
    if ratio < Quantity::from_int(1) {
        at.invalid(&format!("ratio {ratio} is less than 1"), e);
    }
    if let (Some(min), Some(max)) = (get("min"), get("max"))
        && ratio.as_f64() > max.as_f64() / min.as_f64()
    {
        at.invalid(&format!("ratio {ratio} is greater than max/min = {:.6}", max.as_f64() / min.as_f64()), e);
    }
}

const POD_SCOPES: [&str; 5] =
    ["Terminating", "NotTerminating", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity"];

fn is_scope(scope: &str) -> bool {
    scope == "BestEffort" || POD_SCOPES.contains(&scope)
}

/// Whether a quota of that scope may count the resource.
fn scope_counts(scope: &str, resource: &str) -> bool {
    let compute = ["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];
    match scope {
        "BestEffort" => resource == "pods",
        _ => resource == "pods" || compute.contains(&resource),
    }
}

fn resource_quota(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    let spec = root.at("spec");
    quota_list(&spec.at("hard"), e);
    scopes(&spec, e);
    scope_selector(&spec, e);
}

fn quota_list(list: &Node<'_, '_>, e: &mut Errors) {
    for (name, at) in list.entries() {
        resources::name(name, &at.path, e);
        let is_quota = resources::is_quota_compute(name)
            || resources::is_counted(name)
            || matches!(name, "storage" | "requests.storage")
            || resources::is_huge_page(name.strip_prefix("requests.").unwrap_or(name));
        if !name.contains('/') && !is_quota {
            e.invalid(&at.path, resources::unquoted(name), "must be a standard resource for quota");
        }
        resources::amount(name, &at, e);
    }
}

fn scopes(spec: &Node<'_, '_>, e: &mut Errors) {
    let (scopes, hard) = (spec.at("scopes"), spec.at("hard"));
    for scope in scopes.items() {
        if !is_scope(scope.str()) {
            scopes.invalid("unsupported scope", e);
        }
        for (resource, _) in hard.entries().filter(|(name, _)| !name.contains('/') && resources::is_standard(name)) {
            if is_scope(scope.str()) && !scope_counts(scope.str(), resource) {
                scopes.invalid("unsupported scope applied to resource", e);
            }
        }
    }
    let has = |name: &str| scopes.items().any(|s| s.str() == name);
    for (one, other) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if has(one) && has(other) {
            scopes.invalid("conflicting scopes", e);
        }
    }
}

fn scope_selector(spec: &Node<'_, '_>, e: &mut Errors) {
    let selector = spec.at("scopeSelector");
    let list = selector.at("matchExpressions");
    for requirement in list.items() {
        let at = Node::new(requirement.value, list.path);
        let (scope, operator, values) = (at.at("scopeName"), at.at("operator"), at.at("values"));
        if !is_scope(scope.str()) {
            scope.invalid("unsupported scope", e);
        }
        for (resource, _) in spec.at("hard").entries().filter(|(name, _)| resources::is_standard(name)) {
            if is_scope(scope.str()) && !scope_counts(scope.str(), resource) {
                let why = "unsupported scope applied to resource";
                e.invalid(&list.path, requirement.value, why);
            }
        }
        if is_scope(scope.str()) && scope.str() != "PriorityClass" && operator.str() != "Exists" {
            let why = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, \
                       ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or \
                       ResourceQuotaScopeCrossNamespacePodAffinity";
            operator.invalid(why, e);
        }
        match operator.str() {
            "In" | "NotIn" => {
                let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                values.required_because(why, e);
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                values.invalid(why, e);
            }
            "Exists" | "DoesNotExist" => {}
            _ => operator.invalid("not a valid selector operator", e),
        }
    }
}

fn resource_quota_update(context: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    meta::again_on_update(new, old, e);
    let root = Node::root(new);
    if context.subresource == "status" {
        let status = root.at("status");
        quota_list(&status.at("hard"), e);
        quota_list(&status.at("used"), e);
        return;
    }
    resource_quota(new, e);
    let sorted = |of: &Value| -> Vec<String> {
        let list = of["spec"]["scopes"].as_array().into_iter().flatten();
        let mut all: Vec<String> = list.filter_map(Value::as_str).map(str::to_owned).collect();
        all.sort();
        all.dedup();
        all
    };
    if sorted(new) != sorted(old) {
        let spec = root.at("spec");
        spec.at("scopes").invalid(IMMUTABLE, e);
    }
}
