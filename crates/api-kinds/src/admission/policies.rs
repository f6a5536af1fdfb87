//! Which requests a validating admission policy or its binding is for: rules, exclusions, selectors. Pure.

use super::{items, text};
use api_core::Gvr;
use api_core::meta::Meta;
use api_core::selector::labels::Selector;
use serde_json::{Map, Value};

/// Group of policies and bindings.
pub const GROUP: &str = "admissionregistration.k8s.io";
/// Resource of policies.
pub const POLICIES: &str = "validatingadmissionpolicies";
/// Resource of bindings.
pub const BINDINGS: &str = "validatingadmissionpolicybindings";

/// A write that policies may be for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub operation: &'a str,
    /// What was asked for.
    pub resource: &'a Gvr,
    /// Empty for objects themselves.
    pub subresource: &'a str,
    /// The same objects in other versions.
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

/// `matchConstraints` of a policy, or `matchResources` of a binding.
#[derive(Debug)]
pub struct Constraints {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    takes_equivalents: bool,
    namespaces: Result<Selector, String>,
    objects: Result<Selector, String>,
}

/// Whether no policy is for it: else one could keep itself from being taken away.
pub fn exempt(gvr: &Gvr) -> bool {
    gvr.group == GROUP && (gvr.resource == POLICIES || gvr.resource == BINDINGS)
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
    /// Reads them; what is absent is no constraint.
    pub fn read(constraints: &Value) -> Self {
        let selector = |field: &str| match constraints.get(field) {
            Some(selector) if selector.is_object() => Selector::from_object(Some(selector)).map_err(|e| e.to_string()),
            _ => Ok(Selector::everything()),
        };
        Self {
            rules: items(constraints, "resourceRules").map(Rule::read).collect(),
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
    ) -> Result<Option<Gvr>, String> {
        // Most policies are for other resources: rules come before selectors.
        let found = if self.rules.is_empty() { Some(request.resource.clone()) } else { self.by(&self.rules, request) };
        if found.is_none() || self.by(&self.excluded, request).is_some() {
            return Ok(None);
        }
        let objects = self.objects.as_ref().map_err(Clone::clone)?;
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
    ) -> Result<bool, String> {
        let selector = self.namespaces.as_ref().map_err(Clone::clone)?;
        let of_namespaces = request.is_of_namespaces();
        if selector.is_everything() || request.namespace.is_empty() && !of_namespaces {
            return Ok(true);
        }
        let is_write = matches!(request.operation, "CREATE" | "UPDATE");
        if of_namespaces && is_write && request.subresource.is_empty() {
            return Ok(request.object.is_some_and(|object| selector_matches(selector, object)));
        }
        let found = namespace(request.namespace);
        let found = found.ok_or_else(|| format!("namespaces {:?} not found", request.namespace))?;
        Ok(selector_matches(selector, &found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn constraints() {
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
            let found = Constraints::read(&constraints).matches(&request, &namespaces);
            assert_eq!(found.map(|f| f.is_some()), Ok(expected), "{constraints}");
        }
    }
}
