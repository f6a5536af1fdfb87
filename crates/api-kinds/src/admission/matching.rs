//! Which requests a webhook, a policy or its binding is for: rules, in all versions of the resource if it wants that,
//! exclusions, selectors. Pure.

use super::{items, text};
use api_core::Gvr;
use api_core::meta::Meta;
use api_core::selector::labels::Selector;
use serde_json::{Map, Value};

/// A write that something may be for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub operation: &'a str,
    /// What was asked for.
    pub resource: &'a Gvr,
    /// Empty for objects themselves.
    pub subresource: &'a str,
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

impl Request<'_> {
    fn is_of_namespaces(&self) -> bool {
        self.resource.resource == "namespaces" && self.resource.group.is_empty()
    }
}

#[derive(Debug)]
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    names: Vec<String>,
    scope: String,
}

/// Rules and selectors of a webhook, of a policy (`matchConstraints`) or of a binding (`matchResources`).
#[derive(Debug)]
pub struct Constraints {
    /// `None` is for everything.
    rules: Option<Vec<Rule>>,
    excluded: Vec<Rule>,
    takes_equivalents: bool,
    namespaces: Result<Selector, String>,
    objects: Result<Selector, String>,
}

/// Why it cannot be told whether something is for a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecided {
    /// The namespace that decides is not there.
    #[error("namespaces {0:?} not found")]
    NoNamespace(String),
    /// A selector cannot be read any more.
    #[error("{0}")]
    Selector(String),
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

/// Whether `resource`, `*`, `resource/*`, `*/sub` or the like covers a resource and its subresource.
fn covers(pattern: &str, resource: &str, subresource: &str) -> bool {
    let (first, second) = pattern.split_once('/').unwrap_or((pattern, ""));
    (first == "*" || first == resource) && (second == "*" || second == subresource)
}

impl Rule {
    fn read(rule: &Value) -> Self {
        let strings = |field: &str| items(rule, field).filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>();
        Self {
            operations: strings("operations"),
            groups: strings("apiGroups"),
            versions: strings("apiVersions"),
            resources: strings("resources"),
            names: strings("resourceNames"),
            scope: text(rule, "scope").to_owned(),
        }
    }

    fn is_for(&self, request: &Request<'_>, gvr: &Gvr) -> bool {
        let is_namespaced = !request.namespace.is_empty() && !request.is_of_namespaces();
        let in_scope = match self.scope.as_str() {
            "Namespaced" => is_namespaced,
            "Cluster" => !is_namespaced,
            _ => true,
        };
        in_scope
            && has(&self.operations, request.operation)
            && has(&self.groups, &gvr.group)
            && has(&self.versions, &gvr.version)
            && self.resources.iter().any(|r| covers(r, &gvr.resource, request.subresource))
            && (self.names.is_empty() || self.names.iter().any(|n| n == request.name))
    }
}

fn selector_matches(selector: &Selector, object: &Value) -> bool {
    match object.metadata().and_then(|m| m.get("labels")).and_then(Value::as_object) {
        Some(labels) => selector.matches(labels),
        None => selector.matches(&Map::new()),
    }
}

impl Constraints {
    /// Those of a policy or a binding; what is absent is no constraint.
    pub fn of_policy(constraints: &Value) -> Self {
        let rules: Vec<Rule> = items(constraints, "resourceRules").map(Rule::read).collect();
        Self::read(constraints, Some(rules).filter(|r| !r.is_empty()))
    }

    /// Those of a webhook; without rules it is for nothing.
    pub fn of_webhook(webhook: &Value) -> Self {
        Self::read(webhook, Some(items(webhook, "rules").map(Rule::read).collect()))
    }

    fn read(constraints: &Value, rules: Option<Vec<Rule>>) -> Self {
        let selector = |field: &str| match constraints.get(field) {
            Some(selector) if selector.is_object() => Selector::from_object(Some(selector)).map_err(|e| e.to_string()),
            _ => Ok(Selector::everything()),
        };
        Self {
            rules,
            excluded: items(constraints, "excludeResourceRules").map(Rule::read).collect(),
            takes_equivalents: text(constraints, "matchPolicy") != "Exact",
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
        }
    }

    /// The version in which they are for the request, if they are. `namespace` looks a namespace up.
    ///
    /// # Errors
    /// If the namespace that decides is not there, or a selector cannot be read.
    pub fn matches(
        &self,
        request: &Request<'_>,
        namespace: &dyn Fn(&str) -> Option<Value>,
    ) -> Result<Option<Gvr>, Undecided> {
        // Most of them are for other resources: rules come before selectors.
        let found = match &self.rules {
            None => Some(request.resource.clone()),
            Some(rules) => self.by(rules, request),
        };
        if found.is_none() || self.by(&self.excluded, request).is_some() {
            return Ok(None);
        }
        let objects = self.objects.as_ref().map_err(|e| Undecided::Selector(e.clone()))?;
        let chosen = |object: &Value| selector_matches(objects, object);
        let objects_match =
            objects.is_everything() || request.object.is_some_and(chosen) || request.old.is_some_and(chosen);
        if !objects_match || !self.namespace_matches(request, namespace)? {
            return Ok(None);
        }
        Ok(found)
    }

    fn by(&self, rules: &[Rule], request: &Request<'_>) -> Option<Gvr> {
        if rules.iter().any(|rule| rule.is_for(request, request.resource)) {
            return Some(request.resource.clone());
        }
        if !self.takes_equivalents {
            return None;
        }
        let others = || request.equivalents.iter().filter(|e| *e != request.resource);
        rules.iter().find_map(|rule| others().find(|e| rule.is_for(request, e))).cloned()
    }

    fn namespace_matches(
        &self,
        request: &Request<'_>,
        namespace: &dyn Fn(&str) -> Option<Value>,
    ) -> Result<bool, Undecided> {
        let selector = self.namespaces.as_ref().map_err(|e| Undecided::Selector(e.clone()))?;
        let of_namespaces = request.is_of_namespaces();
        if selector.is_everything() || request.namespace.is_empty() && !of_namespaces {
            return Ok(true);
        }
        let is_write = matches!(request.operation, "CREATE" | "UPDATE");
        if of_namespaces && is_write && request.subresource.is_empty() {
            return Ok(request.object.is_some_and(|object| selector_matches(selector, object)));
        }
        let found = namespace(request.namespace);
        let found = found.ok_or_else(|| Undecided::NoNamespace(request.namespace.to_owned()))?;
        Ok(selector_matches(selector, &found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn constraints_of_policies() {
        let rule = |resource: &str| json!({"operations": ["CREATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": [resource]});
        let mut named = rule("deployments");
        named["resourceNames"] = json!(["b"]);
        let labelled = json!({"metadata": {"labels": {"a": "b"}}});
        let other = Gvr::new("apps", "v1beta1", "deployments");
        for (constraints, gvr, name, expected) in [
            (json!({"resourceRules": [rule("deployments")]}), Gvr::new("apps", "v1", "deployments"), "a", true),
            (json!({"resourceRules": [rule("*")]}), Gvr::new("", "v1", "things"), "a", false),
            (json!({"resourceRules": [named.clone()]}), Gvr::new("apps", "v1", "deployments"), "a", false),
            (json!({"resourceRules": [named]}), Gvr::new("apps", "v1", "deployments"), "b", true),
            (
                json!({"resourceRules": [rule("*")], "excludeResourceRules": [rule("deployments")]}),
                Gvr::new("apps", "v1", "deployments"),
                "a",
                false,
            ),
            (
                json!({"resourceRules": [rule("*")], "objectSelector": {"matchLabels": {"a": "c"}}}),
                Gvr::new("apps", "v1", "deployments"),
                "a",
                false,
            ),
            (
                json!({"resourceRules": [rule("*")], "namespaceSelector": {"matchLabels": {"on": "yes"}}}),
                Gvr::new("apps", "v1", "deployments"),
                "a",
                true,
            ),
            (
                json!({"resourceRules": [rule("*")], "namespaceSelector": {"matchLabels": {"on": "no"}}}),
                Gvr::new("apps", "v1", "deployments"),
                "a",
                false,
            ),
            (json!({"resourceRules": [rule("*")]}), other.clone(), "a", true),
            (json!({"resourceRules": [rule("*")], "matchPolicy": "Exact"}), other, "a", false),
            (json!({}), Gvr::new("", "v1", "things"), "a", true),
        ] {
            let versions = [Gvr::new("apps", "v1", "deployments")];
            let request = Request {
                operation: "CREATE",
                resource: &gvr,
                subresource: "",
                equivalents: if gvr.group == "apps" { &versions } else { &[] },
                namespace: "here",
                name,
                object: Some(&labelled),
                old: None,
            };
            let namespaces = |_: &str| Some(json!({"metadata": {"labels": {"on": "yes"}}}));
            let found = Constraints::of_policy(&constraints).matches(&request, &namespaces);
            assert_eq!(found.map(|f| f.is_some()), Ok(expected), "{constraints}");
        }
    }

    fn gvr(text: &str) -> Gvr {
        let parts: Vec<&str> = text.split('/').collect();
        let part = |i: usize| parts[i].to_owned();
        Gvr { group: part(0), version: part(1), resource: part(2) }
    }

    /// A webhook with one rule, and more in `extra`.
    fn hook(rule: Value, extra: Value) -> Constraints {
        let mut webhook = json!({"name": "h", "rules": [rule]});
        webhook.as_object_mut().expect("object").extend(extra.as_object().cloned().expect("object"));
        Constraints::of_webhook(&webhook)
    }

    fn rule(operations: &str, group: &str, version: &str, resource: &str) -> Value {
        json!({"operations": [operations], "apiGroups": [group], "apiVersions": [version], "resources": [resource]})
    }

    fn ask(hook: &Constraints, operation: &str, resource: &str, namespace: &str, labels: Value) -> String {
        let (resource, subresource) = resource.split_once(':').unwrap_or((resource, ""));
        let gvr = gvr(resource);
        let equivalents = [self::gvr("apps/v1/deployments"), self::gvr("extensions/v1beta1/deployments")];
        let equivalents = if gvr.resource == "deployments" { &equivalents[..] } else { &[] };
        let object = json!({"metadata": {"labels": labels}});
        let request = Request {
            operation,
            resource: &gvr,
            subresource,
            equivalents,
            namespace,
            name: "x",
            object: Some(&object),
            old: None,
        };
        let namespaces = |name: &str| (name == "here").then(|| json!({"metadata": {"labels": {"on": "yes"}}}));
        match hook.matches(&request, &namespaces) {
            Ok(None) => "no".into(),
            Ok(Some(gvr)) => format!("{}/{}", gvr.group, gvr.version),
            Err(error) => error.to_string(),
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
            (&by_namespace, "/v1/pods", "gone", &on, "namespaces \"gone\" not found"),
            (&by_namespace, "/v1/nodes", "", &off, "/v1"),
            (&by_namespace, "/v1/namespaces", "gone", &on, "/v1"),
            (&by_namespace, "/v1/namespaces", "here", &off, "no"),
            (&by_object, "/v1/pods", "here", &on, "/v1"),
            (&by_object, "/v1/pods", "here", &off, "no"),
        ] {
            assert_eq!(ask(hook, "CREATE", resource, namespace, labels.clone()), expected, "{resource} {namespace}");
        }
        let request = |gvr| Request {
            operation: "CREATE",
            resource: gvr,
            subresource: "",
            equivalents: &[],
            namespace: "",
            name: "x",
            object: None,
            old: None,
        };
        let nodes = gvr("/v1/nodes");
        let none = Constraints::of_webhook(&json!({"name": "h"})).matches(&request(&nodes), &|_| None);
        assert_eq!(none, Ok(None), "a webhook without rules is for nothing");
    }
}
