//! Whether a webhook is for a request: its rules, in all versions of the resource if it wants that, and its selectors.

use super::{GROUP, Hook};
use crate::admission::{items, text};
use api_core::ApiError;
use api_core::Gvr;
use api_core::meta::Meta;
use api_core::selector::labels::Selector;
use serde_json::{Map, Value};

/// `operations`, `apiGroups`, `apiVersions`, `resources` and `scope` of a rule.
#[derive(Debug)]
pub(super) struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    scope: String,
}

/// A resource, and its subresource if it is about one.
#[derive(Debug, Clone, Copy)]
pub struct Resource<'a> {
    /// Group, version and plural name.
    pub gvr: &'a Gvr,
    /// Empty for objects themselves.
    pub subresource: &'a str,
}

/// A write that webhooks may be for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub operation: &'a str,
    /// What was asked for.
    pub resource: Resource<'a>,
    /// The same objects in other versions, in the order in which they are tried.
    pub equivalents: &'a [Gvr],
    /// Namespace; of a namespace, its own name.
    pub namespace: &'a str,
    /// Name, as far as it is known.
    pub name: &'a str,
    /// The new object, if there is one.
    pub object: Option<&'a Value>,
    /// The one before, if there is one.
    pub old: Option<&'a Value>,
}

/// How a webhook is for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// It is not.
    No,
    /// It is, and wants the object in this version.
    As(Gvr),
}

fn strings(rule: &Value, field: &str) -> Vec<String> {
    items(rule, field).filter_map(Value::as_str).map(str::to_owned).collect()
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

impl Rule {
    pub(super) fn read(rule: &Value) -> Self {
        Self {
            operations: strings(rule, "operations"),
            groups: strings(rule, "apiGroups"),
            versions: strings(rule, "apiVersions"),
            resources: strings(rule, "resources"),
            scope: text(rule, "scope").to_owned(),
        }
    }

    fn is_for(&self, request: &Request<'_>, gvr: &Gvr) -> bool {
        let is_namespaced = !request.namespace.is_empty() && !is_namespaces(gvr);
        let in_scope = match self.scope.as_str() {
            "Namespaced" => is_namespaced,
            "Cluster" => !is_namespaced,
            _ => true,
        };
        in_scope
            && has(&self.operations, request.operation)
            && has(&self.groups, &gvr.group)
            && has(&self.versions, &gvr.version)
            && self.resources.iter().any(|r| covers(r, &gvr.resource, request.resource.subresource))
    }
}

/// Whether `resource`, `*`, `resource/*`, `*/sub` or the like covers a resource and its subresource.
fn covers(pattern: &str, resource: &str, subresource: &str) -> bool {
    let (first, second) = pattern.split_once('/').unwrap_or((pattern, ""));
    (first == "*" || first == resource) && (second == "*" || second == subresource)
}

fn is_namespaces(gvr: &Gvr) -> bool {
    gvr.resource == "namespaces" && gvr.group.is_empty()
}

/// Whether no webhook is asked: else one could keep itself from being taken away.
pub fn exempt(gvr: &Gvr) -> bool {
    gvr.group == GROUP
        && matches!(
            gvr.resource.as_str(),
            "mutatingwebhookconfigurations"
                | "validatingwebhookconfigurations"
                | "validatingadmissionpolicies"
                | "validatingadmissionpolicybindings"
        )
}

/// Whether the hook is for the request, conditions aside. `namespace` looks a namespace up.
///
/// # Errors
/// 404 if the namespace that decides is not there, 500 if a selector cannot be read.
pub fn matches(
    hook: &Hook,
    request: &Request<'_>,
    namespace: &dyn Fn(&str) -> Option<Value>,
) -> Result<Match, ApiError> {
    let asked = request.resource.gvr;
    let by_rule = |gvr: &Gvr| hook.rules.iter().any(|rule| rule.is_for(request, gvr));
    // Rules first: most webhooks are for other resources. Among equivalents, an earlier rule is the stronger one.
    let found = if by_rule(asked) {
        Some(asked)
    } else if hook.takes_equivalents {
        let others = || request.equivalents.iter().filter(|e| *e != asked);
        hook.rules.iter().find_map(|rule| others().find(|e| rule.is_for(request, e)))
    } else {
        None
    };
    let Some(found) = found else { return Ok(Match::No) };
    let chosen = objects_are_chosen(hook, request)? && namespace_is_chosen(hook, request, namespace)?;
    Ok(if chosen { Match::As(found.clone()) } else { Match::No })
}

fn selector(parsed: &Result<Selector, String>) -> Result<&Selector, ApiError> {
    parsed.as_ref().map_err(ApiError::internal)
}

fn objects_are_chosen(hook: &Hook, request: &Request<'_>) -> Result<bool, ApiError> {
    let selector = selector(&hook.object_selector)?;
    let chosen = |object: &Value| selector_matches(selector, object);
    Ok(selector.is_everything() || request.object.is_some_and(chosen) || request.old.is_some_and(chosen))
}

fn selector_matches(selector: &Selector, object: &Value) -> bool {
    match object.metadata().and_then(|m| m.get("labels")).and_then(Value::as_object) {
        Some(labels) => selector.matches(labels),
        None => selector.matches(&Map::new()),
    }
}

fn namespace_is_chosen(
    hook: &Hook,
    request: &Request<'_>,
    namespace: &dyn Fn(&str) -> Option<Value>,
) -> Result<bool, ApiError> {
    let of_namespaces = is_namespaces(request.resource.gvr);
    if request.namespace.is_empty() && !of_namespaces {
        return Ok(true);
    }
    let selector = selector(&hook.namespace_selector)?;
    if selector.is_everything() {
        return Ok(true);
    }
    let is_write = matches!(request.operation, "CREATE" | "UPDATE");
    if of_namespaces && is_write && request.resource.subresource.is_empty() {
        return Ok(request.object.is_some_and(|object| selector_matches(selector, object)));
    }
    let resource = api_core::GroupResource { group: String::new(), resource: "namespaces".into() };
    let found = namespace(request.namespace);
    let found = found.ok_or_else(|| ApiError::not_found(&resource, request.namespace))?;
    Ok(selector_matches(selector, &found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn gvr(text: &str) -> Gvr {
        let parts: Vec<&str> = text.split('/').collect();
        let part = |i: usize| parts[i].to_owned();
        Gvr { group: part(0), version: part(1), resource: part(2) }
    }

    /// A webhook with one rule, and more in `extra`.
    fn hook(rule: Value, extra: Value) -> Hook {
        let mut webhook = json!({"name": "h", "rules": [rule]});
        webhook.as_object_mut().expect("object").extend(extra.as_object().cloned().expect("object"));
        let configuration = json!({"metadata": {"name": "c"}, "webhooks": [webhook]});
        super::super::read(&configuration).pop().expect("a hook")
    }

    fn rule(operations: &str, group: &str, version: &str, resource: &str) -> Value {
        json!({"operations": [operations], "apiGroups": [group], "apiVersions": [version], "resources": [resource]})
    }

    fn ask(hook: &Hook, operation: &str, resource: &str, namespace: &str, labels: Value) -> String {
        let (resource, subresource) = resource.split_once(':').unwrap_or((resource, ""));
        let gvr = gvr(resource);
        let equivalents = [self::gvr("apps/v1/deployments"), self::gvr("extensions/v1beta1/deployments")];
        let equivalents = if gvr.resource == "deployments" { &equivalents[..] } else { &[] };
        let object = json!({"metadata": {"labels": labels}});
        let request = Request {
            operation,
            resource: Resource { gvr: &gvr, subresource },
            equivalents,
            namespace,
            name: "x",
            object: Some(&object),
            old: None,
        };
        let namespaces = |name: &str| (name == "here").then(|| json!({"metadata": {"labels": {"on": "yes"}}}));
        match matches(hook, &request, &namespaces) {
            Ok(Match::No) => "no".into(),
            Ok(Match::As(gvr)) => format!("{}/{}", gvr.group, gvr.version),
            Err(error) => format!("{} {}", error.code, error.message),
        }
    }

    #[test]
    fn rules() {
        let none = json!({});
        let all = hook(rule("*", "*", "*", "*/*"), none.clone());
        let pods = hook(rule("CREATE", "", "v1", "pods"), none.clone());
        let any_sub = hook(rule("*", "", "v1", "pods/*"), none.clone());
        let exec = hook(rule("CONNECT", "", "*", "pods/exec"), none.clone());
        let status = hook(rule("UPDATE", "*", "*", "*/status"), none.clone());
        let plain = hook(rule("*", "*", "*", "*"), none.clone());
        for (hook, operation, resource, expected) in [
            (&all, "DELETE", "/v1/pods:log", "/v1"),
            (&pods, "CREATE", "/v1/pods", "/v1"),
            (&pods, "UPDATE", "/v1/pods", "no"),
            (&pods, "CREATE", "/v1/pods:eviction", "no"),
            (&pods, "CREATE", "/v1/services", "no"),
            (&any_sub, "CREATE", "/v1/pods", "/v1"),
            (&any_sub, "CREATE", "/v1/pods:eviction", "/v1"),
            (&exec, "CONNECT", "/v1/pods:exec", "/v1"),
            (&exec, "CONNECT", "/v1/pods:attach", "no"),
            (&status, "UPDATE", "apps/v1/deployments:status", "apps/v1"),
            (&plain, "UPDATE", "apps/v1/deployments:status", "no"),
        ] {
            assert_eq!(ask(hook, operation, resource, "here", none.clone()), expected, "{operation} {resource}");
        }
    }

    #[test]
    fn scopes_and_equivalents() {
        let none = json!({});
        let scoped = |scope: &str| {
            let mut rule = rule("*", "*", "*", "*");
            rule["scope"] = scope.into();
            hook(rule, json!({}))
        };
        assert_eq!(ask(&scoped("Namespaced"), "CREATE", "/v1/pods", "here", none.clone()), "/v1");
        assert_eq!(ask(&scoped("Namespaced"), "CREATE", "/v1/nodes", "", none.clone()), "no");
        assert_eq!(ask(&scoped("Namespaced"), "CREATE", "/v1/namespaces", "here", none.clone()), "no");
        assert_eq!(ask(&scoped("Cluster"), "CREATE", "/v1/namespaces", "here", none.clone()), "/v1");
        let old = || rule("*", "extensions", "v1beta1", "deployments");
        let equivalent = hook(old(), none.clone());
        let exact = hook(old(), json!({"matchPolicy": "Exact"}));
        assert_eq!(ask(&equivalent, "CREATE", "apps/v1/deployments", "here", none.clone()), "extensions/v1beta1");
        assert_eq!(ask(&exact, "CREATE", "apps/v1/deployments", "here", none), "no");
    }

    #[test]
    fn selectors() {
        let all = || rule("*", "*", "*", "*");
        let chosen = json!({"matchLabels": {"on": "yes"}});
        let by_namespace = hook(all(), json!({"namespaceSelector": chosen}));
        let by_object = hook(all(), json!({"objectSelector": chosen}));
        let (on, off) = (json!({"on": "yes"}), json!({}));
        for (hook, resource, namespace, labels, expected) in [
            (&by_namespace, "/v1/pods", "here", &off, "/v1"),
            (&by_namespace, "/v1/pods", "gone", &on, "404 namespaces \"gone\" not found"),
            (&by_namespace, "/v1/nodes", "", &off, "/v1"),
            (&by_namespace, "/v1/namespaces", "gone", &on, "/v1"),
            (&by_namespace, "/v1/namespaces", "here", &off, "no"),
            (&by_object, "/v1/pods", "here", &on, "/v1"),
            (&by_object, "/v1/pods", "here", &off, "no"),
        ] {
            assert_eq!(ask(hook, "CREATE", resource, namespace, labels.clone()), expected, "{resource} {namespace}");
        }
        assert!(exempt(&gvr("admissionregistration.k8s.io/v1/validatingadmissionpolicies")));
        assert!(!exempt(&gvr("apps/v1/deployments")));
    }
}
