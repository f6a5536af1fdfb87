//! Rules of roles: reading them, matching requests, printing them, and comparing what one grants with what others do.

use serde_json::Value;

/// One rule of a role.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// `apiGroups`.
    pub groups: Vec<String>,
    /// `resources`, also `pods/exec`, `*/scale`, `*`.
    pub resources: Vec<String>,
    /// `resourceNames`; empty means all.
    pub names: Vec<String>,
    /// `nonResourceURLs`, also with a `*` at the end.
    pub urls: Vec<String>,
    /// `verbs`.
    pub verbs: Vec<String>,
}

const ALL: &str = "*";

fn strings(rule: &Value, field: &str) -> Vec<String> {
    let items = rule.get(field).and_then(Value::as_array);
    items.into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

fn holds(list: &[String], item: &str) -> bool {
    list.iter().any(|x| x == ALL || x == item)
}

impl Rule {
    /// Reads a rule of a role object.
    pub fn read(rule: &Value) -> Self {
        Self {
            groups: strings(rule, "apiGroups"),
            resources: strings(rule, "resources"),
            names: strings(rule, "resourceNames"),
            urls: strings(rule, "nonResourceURLs"),
            verbs: strings(rule, "verbs"),
        }
    }

    /// Reads the `rules` of a role object.
    pub fn read_all(role: &Value) -> Vec<Self> {
        role.get("rules").and_then(Value::as_array).into_iter().flatten().map(Self::read).collect()
    }

    /// Whether it allows a verb on a resource; `name` is empty for a collection.
    pub fn allows_resource(&self, verb: &str, group: &str, resource: &str, subresource: &str, name: &str) -> bool {
        holds(&self.verbs, verb)
            && holds(&self.groups, group)
            && self.resources.iter().any(|r| resource_matches(r, resource, subresource))
            && (self.names.is_empty() || self.names.iter().any(|n| n == name))
    }

    /// Whether it allows a verb on a path.
    pub fn allows_path(&self, verb: &str, path: &str) -> bool {
        holds(&self.verbs, verb) && self.urls.iter().any(|u| url_matches(u, path))
    }

    /// Whether it grants all that `wanted` (as made by [`Rule::split`]) does.
    fn covers(&self, wanted: &Rule) -> bool {
        let all = |have: &[String], want: &[String]| want.iter().all(|w| holds(have, w));
        let resources = wanted.resources.iter().all(|w| {
            let (resource, subresource) = w.split_once('/').unwrap_or((w, ""));
            self.resources.iter().any(|have| resource_matches(have, resource, subresource))
        });
        let names =
            self.names.is_empty() || (!wanted.names.is_empty() && wanted.names.iter().all(|w| self.names.contains(w)));
        let urls = wanted.urls.iter().all(|w| self.urls.iter().any(|have| url_matches(have, w)));
        all(&self.verbs, &wanted.verbs) && all(&self.groups, &wanted.groups) && resources && names && urls
    }

    /// Rules with a single verb, group, resource and name (or URL) each, that together grant the same.
    fn split(&self) -> Vec<Rule> {
        let mut out = Vec::new();
        let one = |s: &String| vec![s.clone()];
        for group in &self.groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    let base =
                        Rule { groups: one(group), resources: one(resource), verbs: one(verb), ..Rule::default() };
                    if self.names.is_empty() {
                        out.push(base);
                    } else {
                        out.extend(self.names.iter().map(|n| Rule { names: one(n), ..base.clone() }));
                    }
                }
            }
        }
        for url in &self.urls {
            out.extend(self.verbs.iter().map(|v| Rule { urls: one(url), verbs: one(v), ..Rule::default() }));
        }
        out
    }
}

fn resource_matches(rule: &str, resource: &str, subresource: &str) -> bool {
    if rule == ALL {
        return true;
    }
    match rule.split_once('/') {
        None => subresource.is_empty() && rule == resource,
        Some((r, s)) => !subresource.is_empty() && s == subresource && (r == ALL || r == resource),
    }
}

fn url_matches(rule: &str, path: &str) -> bool {
    rule == ALL || rule == path || rule.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

/// What `wanted` grants and `owned` does not, in rules of single parts; empty if nothing.
pub fn uncovered(owned: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    wanted.iter().flat_map(Rule::split).filter(|part| !owned.iter().any(|o| o.covers(part))).collect()
}

/// Rules put together: those that differ only in their verbs become one, as upstream prints them.
pub fn compact(rules: Vec<Rule>) -> Vec<Rule> {
    let mut out: Vec<Rule> = Vec::new();
    for rule in rules {
        let single =
            rule.groups.len() == 1 && rule.resources.len() == 1 && rule.names.len() <= 1 && rule.urls.is_empty();
        let same =
            |r: &&mut Rule| single && r.groups == rule.groups && r.resources == rule.resources && r.names == rule.names;
        match out.iter_mut().find(same) {
            Some(found) => found.verbs.extend(rule.verbs),
            None => out.push(rule),
        }
    }
    out
}

/// `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`.
impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [
            ("APIGroups", &self.groups),
            ("Resources", &self.resources),
            ("ResourceNames", &self.names),
            ("NonResourceURLs", &self.urls),
            ("Verbs", &self.verbs),
        ];
        let shown: Vec<String> = parts
            .into_iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(name, list)| {
                let quoted: Vec<String> = list.iter().map(|s| format!("{s:?}")).collect();
                format!("{name}:[{}]", quoted.join(" "))
            })
            .collect();
        write!(f, "{{{}}}", shown.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rule(v: Value) -> Rule {
        Rule::read(&v)
    }

    #[test]
    fn rules_allow_requests() {
        let pods = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]});
        let exec = json!({"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["*"]});
        let scale = json!({"apiGroups": ["*"], "resources": ["*/scale"], "verbs": ["update"]});
        let named = json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"], "verbs": ["get"]});
        let all = json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]});
        // (rule, verb, group, resource, subresource, name, allowed)
        let table = [
            (&pods, "get", "", "pods", "", "x", true),
            (&pods, "list", "", "pods", "", "", true),
            (&pods, "delete", "", "pods", "", "x", false),
            (&pods, "get", "apps", "pods", "", "x", false),
            (&pods, "get", "", "pods", "log", "x", false),
            (&exec, "create", "", "pods", "exec", "x", true),
            (&exec, "create", "", "pods", "", "x", false),
            (&scale, "update", "apps", "deployments", "scale", "d", true),
            (&scale, "update", "apps", "deployments", "", "d", false),
            (&scale, "update", "apps", "deployments", "status", "d", false),
            (&named, "get", "", "secrets", "", "a", true),
            (&named, "get", "", "secrets", "", "b", false),
            (&named, "list", "", "secrets", "", "", false),
            (&all, "delete", "any", "thing", "sub", "", true),
        ];
        for (r, verb, group, resource, sub, name, want) in table {
            let got = rule(r.clone()).allows_resource(verb, group, resource, sub, name);
            assert_eq!(got, want, "{r} {verb} {group}/{resource}/{sub} {name}");
        }
    }

    #[test]
    fn rules_allow_paths() {
        let health = json!({"nonResourceURLs": ["/healthz", "/api/*"], "verbs": ["get"]});
        let table = [
            ("get", "/healthz", true),
            ("get", "/healthz/x", false),
            ("get", "/api/v1", true),
            ("post", "/healthz", false),
        ];
        for (verb, path, want) in table {
            assert_eq!(rule(health.clone()).allows_path(verb, path), want, "{verb} {path}");
        }
    }

    #[test]
    fn what_is_not_held_is_found_and_printed() {
        let owned = [rule(json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}))];
        let wanted = [
            rule(json!({"apiGroups": [""], "resources": ["pods", "secrets"], "verbs": ["get", "list"]})),
            rule(json!({"nonResourceURLs": ["/metrics"], "verbs": ["get"]})),
        ];
        let missing: Vec<String> = compact(uncovered(&owned, &wanted)).iter().map(Rule::to_string).collect();
        assert_eq!(
            missing,
            [
                r#"{APIGroups:[""], Resources:["pods"], Verbs:["list"]}"#,
                r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}"#,
                r#"{NonResourceURLs:["/metrics"], Verbs:["get"]}"#,
            ]
        );
    }

    #[test]
    fn a_wildcard_covers_and_a_name_does_not_cover_all_names() {
        let all = [rule(json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}))];
        let some = [rule(json!({"apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"], "verbs": ["get"]}))];
        let pods = [rule(json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}))];
        assert!(uncovered(&all, &pods).is_empty());
        assert!(uncovered(&pods, &some).is_empty());
        assert_eq!(uncovered(&some, &pods).len(), 1);
        assert_eq!(uncovered(&pods, &all).len(), 1);
    }
}
