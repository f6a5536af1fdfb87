//! Roles and bindings, compiled: who is bound to which rules, found by subject and not by search.

use super::rule::Rule;
use crate::authn::UserInfo;
use crate::authn::user::SERVICE_ACCOUNT_PREFIX;
use api_core::meta::Meta;
use api_kinds::names;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

/// What a binding points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleRef {
    /// `Role` or `ClusterRole`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// Whom a binding names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Subject {
    User(String),
    Group(String),
}

#[derive(Debug)]
struct Binding {
    role: RoleRef,
    /// In order, with the words that describe each.
    subjects: Vec<(Subject, String)>,
}

/// Bindings of one namespace, or those of the cluster.
#[derive(Debug, Default)]
struct Bindings {
    by_name: BTreeMap<String, Arc<Binding>>,
    by_subject: HashMap<Subject, BTreeSet<String>>,
}

/// All roles and bindings. Namespace `""` holds cluster roles and their bindings.
#[derive(Debug, Default)]
pub struct Index {
    roles: HashMap<String, HashMap<String, Arc<[Rule]>>>,
    bindings: HashMap<String, Bindings>,
}

/// Something that a binding gives a user.
pub enum Grant<'a> {
    /// A rule, and where it comes from.
    Rule {
        /// The rule.
        rule: &'a Rule,
        /// Prints as upstream words it: `ClusterRoleBinding "b" of ClusterRole "r" to User "u"`.
        source: &'a dyn fmt::Display,
    },
    /// The role is not there; why.
    Missing(String),
}

struct Source<'a> {
    namespace: &'a str,
    name: &'a str,
    role: &'a RoleRef,
    subject: &'a str,
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, name, role, subject } = self;
        if namespace.is_empty() {
            write!(f, "ClusterRoleBinding {name:?} of {} {:?} to {subject}", role.kind, role.name)
        } else {
            write!(f, "RoleBinding \"{name}/{namespace}\" of {} {:?} to {subject}", role.kind, role.name)
        }
    }
}

impl Index {
    /// Takes in a role, or a cluster role, whose namespace is `""`.
    pub fn put_role(&mut self, role: &Value) {
        let rules: Arc<[Rule]> = Rule::read_all(role).into();
        self.roles.entry(role.namespace().into()).or_default().insert(role.name().into(), rules);
    }

    /// Forgets a role.
    pub fn remove_role(&mut self, namespace: &str, name: &str) {
        if let Some(roles) = self.roles.get_mut(namespace) {
            roles.remove(name);
            if roles.is_empty() {
                self.roles.remove(namespace);
            }
        }
    }

    /// Takes in a binding, or a cluster role binding, whose namespace is `""`.
    pub fn put_binding(&mut self, binding: &Value) {
        let (namespace, name) = (binding.namespace(), binding.name());
        self.remove_binding(namespace, name);
        let text = |field: &str| binding["roleRef"][field].as_str().unwrap_or("").to_owned();
        let role = RoleRef { kind: text("kind"), name: text("name") };
        let subjects = binding["subjects"].as_array();
        let subjects: Vec<_> = subjects.into_iter().flatten().filter_map(|s| read_subject(s, namespace)).collect();
        let bindings = self.bindings.entry(namespace.into()).or_default();
        for (subject, _) in &subjects {
            bindings.by_subject.entry(subject.clone()).or_default().insert(name.into());
        }
        bindings.by_name.insert(name.into(), Arc::new(Binding { role, subjects }));
    }

    /// Forgets a binding.
    pub fn remove_binding(&mut self, namespace: &str, name: &str) {
        let Some(bindings) = self.bindings.get_mut(namespace) else { return };
        let Some(old) = bindings.by_name.remove(name) else { return };
        for (subject, _) in &old.subjects {
            if let Some(names) = bindings.by_subject.get_mut(subject) {
                names.remove(name);
                if names.is_empty() {
                    bindings.by_subject.remove(subject);
                }
            }
        }
        if bindings.by_name.is_empty() {
            self.bindings.remove(namespace);
        }
    }

    /// The rules of a role that a binding in `namespace` points at, or why there are none.
    pub fn role_rules(&self, role: &RoleRef, namespace: &str) -> Result<Arc<[Rule]>, String> {
        let (namespace, resource) = match role.kind.as_str() {
            "Role" => (namespace, "role"),
            "ClusterRole" => ("", "clusterrole"),
            other => return Err(format!("unsupported role reference kind: {other:?}")),
        };
        let found = self.roles.get(namespace).and_then(|roles| roles.get(&role.name));
        found.cloned().ok_or_else(|| format!("{resource}.rbac.authorization.k8s.io {:?} not found", role.name))
    }

    /// Shows `visit` each rule that `user` has in the cluster and in `namespace` (unless empty), until it says `false`.
    pub fn visit(&self, user: &UserInfo, namespace: &str, visit: &mut dyn FnMut(Grant<'_>) -> bool) {
        let subjects: Vec<Subject> = std::iter::once(Subject::User(user.name.clone()))
            .chain(user.groups.iter().map(|g| Subject::Group(g.clone())))
            .collect();
        if self.visit_bindings("", &subjects, visit) && !namespace.is_empty() {
            self.visit_bindings(namespace, &subjects, visit);
        }
    }

    fn visit_bindings(&self, namespace: &str, subjects: &[Subject], visit: &mut dyn FnMut(Grant<'_>) -> bool) -> bool {
        let Some(bindings) = self.bindings.get(namespace) else { return true };
        let names: BTreeSet<&String> = subjects.iter().filter_map(|s| bindings.by_subject.get(s)).flatten().collect();
        for name in names {
            let Some(binding) = bindings.by_name.get(name) else { continue };
            let Some((_, subject)) = binding.subjects.iter().find(|(s, _)| subjects.contains(s)) else { continue };
            let rules = match self.role_rules(&binding.role, namespace) {
                Ok(rules) => rules,
                Err(error) => {
                    if visit(Grant::Missing(error)) {
                        continue;
                    }
                    return false;
                }
            };
            let source = Source { namespace, name, role: &binding.role, subject };
            if !rules.iter().all(|rule| visit(Grant::Rule { rule, source: &source })) {
                return false;
            }
        }
        true
    }

    /// All rules that `user` has in the cluster and in `namespace`, and what could not be resolved.
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> (Vec<Rule>, Vec<String>) {
        let (mut rules, mut errors) = (Vec::new(), Vec::new());
        self.visit(user, namespace, &mut |grant| {
            match grant {
                Grant::Rule { rule, .. } => rules.push(rule.clone()),
                Grant::Missing(error) => errors.push(error),
            }
            true
        });
        (rules, errors)
    }
}

fn read_subject(subject: &Value, binding_namespace: &str) -> Option<(Subject, String)> {
    let text = |field: &str| subject[field].as_str().unwrap_or("");
    let name = text("name");
    match text("kind") {
        "User" => Some((Subject::User(name.into()), format!("User {name:?}"))),
        "Group" => Some((Subject::Group(name.into()), format!("Group {name:?}"))),
        names::SERVICE_ACCOUNT => {
            let namespace = Some(text("namespace")).filter(|n| !n.is_empty()).unwrap_or(binding_namespace);
            if namespace.is_empty() {
                return None;
            }
            let user = format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}");
            Some((Subject::User(user), format!("ServiceAccount \"{name}/{namespace}\"")))
        }
        _ => None,
    }
}
