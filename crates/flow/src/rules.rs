//! Which flow schema a request belongs to.

use serde::Deserialize;

/// A flow schema as it is written in the API, as far as it matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SchemaSpec {
    /// The level that it leads to.
    pub priority_level_configuration: Named,
    /// The lowest that matches wins.
    pub matching_precedence: i32,
    /// What tells its flows from each other.
    pub distinguisher_method: Option<Distinguisher>,
    /// Any of them matches.
    pub rules: Vec<Rule>,
}

/// A reference by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Named {
    /// The name.
    pub name: String,
}

/// What tells flows of one schema from each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Distinguisher {
    /// `ByUser` or `ByNamespace`.
    pub r#type: String,
}

/// Who and what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    subjects: Vec<Subject>,
    resource_rules: Vec<ResourceRule>,
    non_resource_rules: Vec<PathRule>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Subject {
    kind: String,
    user: Option<Named>,
    group: Option<Named>,
    service_account: Option<Account>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Account {
    namespace: String,
    name: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ResourceRule {
    verbs: Vec<String>,
    api_groups: Vec<String>,
    resources: Vec<String>,
    cluster_scope: bool,
    namespaces: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct PathRule {
    verbs: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    urls: Vec<String>,
}

/// What is known of a request.
#[derive(Debug, Clone, Copy)]
pub struct Digest<'a> {
    /// Its user.
    pub user: &'a str,
    /// The user's groups.
    pub groups: &'a [String],
    /// The verb.
    pub verb: &'a str,
    /// The path, or the resource.
    pub target: Target<'a>,
}

/// What a request is about.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// A path that is no resource.
    Path(&'a str),
    /// A resource.
    Resource {
        /// Its group.
        group: &'a str,
        /// Its plural name.
        resource: &'a str,
        /// Empty for the object itself.
        subresource: &'a str,
        /// Empty at the cluster scope.
        namespace: &'a str,
    },
}

const ANY: &str = "*";

fn lists(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == ANY || item == wanted)
}

impl SchemaSpec {
    /// Whether the request belongs to it.
    pub fn matches(&self, request: &Digest<'_>) -> bool {
        self.rules.iter().any(|rule| rule.is_about(request) && rule.subjects.iter().any(|s| s.is(request)))
    }

    /// What tells this request's flow from others of the schema.
    pub fn distinguish<'a>(&self, request: &Digest<'a>) -> &'a str {
        match (self.distinguisher_method.as_ref().map(|m| m.r#type.as_str()), request.target) {
            (Some("ByUser"), _) => request.user,
            (Some("ByNamespace"), Target::Resource { namespace, .. }) => namespace,
            _ => "",
        }
    }
}

impl Subject {
    fn is(&self, request: &Digest<'_>) -> bool {
        match self.kind.as_str() {
            "User" => self.user.as_ref().is_some_and(|u| u.name == ANY || u.name == request.user),
            "Group" => self.group.as_ref().is_some_and(|g| g.name == ANY || request.groups.contains(&g.name)),
            _ => self.service_account.as_ref().is_some_and(|account| account.is(request.user)),
        }
    }
}

impl Account {
    fn is(&self, user: &str) -> bool {
        let Some(rest) = user.strip_prefix("system:serviceaccount:") else { return false };
        let Some((namespace, name)) = rest.split_once(':') else { return false };
        self.namespace == namespace && (self.name == ANY || self.name == name)
    }
}

impl Rule {
    fn is_about(&self, request: &Digest<'_>) -> bool {
        match request.target {
            Target::Path(path) => self.non_resource_rules.iter().any(|r| lists(&r.verbs, request.verb) && r.has(path)),
            Target::Resource { .. } => self.resource_rules.iter().any(|r| r.matches(request)),
        }
    }
}

impl PathRule {
    fn has(&self, path: &str) -> bool {
        self.urls.iter().any(|url| match url.strip_suffix(ANY) {
            Some(prefix) => path.starts_with(prefix),
            None => url == path,
        })
    }
}

impl ResourceRule {
    fn matches(&self, request: &Digest<'_>) -> bool {
        let Target::Resource { group, resource, subresource, namespace } = request.target else { return false };
        lists(&self.verbs, request.verb)
            && lists(&self.api_groups, group)
            && self.has_resource(resource, subresource)
            && if namespace.is_empty() { self.cluster_scope } else { lists(&self.namespaces, namespace) }
    }

    /// `*`, `resource`, `resource/subresource` or `*/subresource`.
    fn has_resource(&self, resource: &str, subresource: &str) -> bool {
        self.resources.iter().any(|item| match item.split_once('/') {
            _ if item == ANY => true,
            Some((name, sub)) => (name == ANY || name == resource) && sub == subresource && !subresource.is_empty(),
            None => subresource.is_empty() && item == resource,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema(resources: &[&str], namespaces: &[&str], cluster: bool) -> SchemaSpec {
        let value = json!({"matchingPrecedence": 5, "priorityLevelConfiguration": {"name": "l"},
        "distinguisherMethod": {"type": "ByNamespace"},
        "rules": [{
            "subjects": [{"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": "*"}},
                         {"kind": "User", "user": {"name": "ann"}}, {"kind": "Group", "group": {"name": "staff"}}],
            "resourceRules": [{"verbs": ["get", "list"], "apiGroups": [""], "resources": resources,
                "namespaces": namespaces, "clusterScope": cluster}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["/healthz", "/livez/*"]}],
        }]});
        serde_json::from_value(value).expect("a schema")
    }

    #[track_caller]
    fn check(schema: &SchemaSpec, user: &str, verb: &str, target: Target<'_>, expected: bool) {
        let digest = Digest { user, groups: &["others".to_owned()], verb, target };
        assert_eq!(schema.matches(&digest), expected, "{user} {verb} {target:?}");
    }

    #[test]
    fn a_request_matches_by_who_and_what() {
        let pods = |namespace, subresource| Target::Resource { group: "", resource: "pods", subresource, namespace };
        let all = schema(&["pods"], &["*"], false);
        check(&all, "ann", "get", pods("a", ""), true);
        check(&all, "ann", "get", pods("", ""), false);
        check(&all, "ann", "create", pods("a", ""), false);
        check(&all, "ann", "get", pods("a", "status"), false);
        check(&all, "bob", "get", pods("a", ""), false);
        check(&all, "system:serviceaccount:kube-system:x", "list", pods("a", ""), true);
        check(&all, "system:serviceaccount:other:x", "list", pods("a", ""), false);
        check(&schema(&["pods/status"], &["a"], true), "ann", "get", pods("a", "status"), true);
        check(&schema(&["pods/status"], &["a"], true), "ann", "get", pods("b", "status"), false);
        check(&schema(&["*/status"], &["a"], true), "ann", "get", pods("", "status"), true);
        check(&schema(&["*"], &[], true), "ann", "get", pods("", "status"), true);
        for (path, expected) in [("/healthz", true), ("/healthz/a", false), ("/livez/a", true), ("/livez", false)] {
            check(&all, "ann", "get", Target::Path(path), expected);
        }
        let digest = Digest { user: "ann", groups: &[], verb: "get", target: pods("a", "") };
        assert_eq!(all.distinguish(&digest), "a");
    }
}
