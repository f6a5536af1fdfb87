//! What is asked of an authorizer, what it answers, and the words of a refusal.

use crate::authn::UserInfo;
use crate::request_info::RequestInfo;
use api_core::{ApiError, GroupResource};

/// A request, as far as authorization looks at it.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a> {
    /// Who asks.
    pub user: &'a UserInfo,
    /// `get`, `list`, ...; the HTTP method in lower case for a path that is no resource.
    pub verb: &'a str,
    /// What it is done to.
    pub target: Target<'a>,
}

/// What a request is about.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// A path outside of the resources, such as `/metrics`.
    Path(&'a str),
    /// A resource.
    Resource(ResourceTarget<'a>),
}

/// A resource, or one object of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct ResourceTarget<'a> {
    /// API group; empty for the core group.
    pub group: &'a str,
    /// API version.
    pub version: &'a str,
    /// Plural name.
    pub resource: &'a str,
    /// Empty, or such as `status`.
    pub subresource: &'a str,
    /// Empty for cluster scope and for all namespaces.
    pub namespace: &'a str,
    /// Empty for collections.
    pub name: &'a str,
}

/// An authorizer's answer, with the reason in words (may be empty).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The request may go on.
    Allow(String),
    /// The request is refused, whatever another authorizer says.
    Deny(String),
    /// Others decide; if none allows it, it is refused.
    NoOpinion(String),
}

impl Decision {
    /// Whether the request may go on.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }

    /// The reason.
    pub fn reason(&self) -> &str {
        let (Self::Allow(reason) | Self::Deny(reason) | Self::NoOpinion(reason)) = self;
        reason
    }
}

impl<'a> Attributes<'a> {
    /// What a request asks.
    pub fn new(user: &'a UserInfo, info: &'a RequestInfo) -> Self {
        if !info.is_resource {
            return Self::path(user, &info.verb, &info.path);
        }
        let target = ResourceTarget {
            group: &info.api_group,
            version: &info.api_version,
            resource: &info.resource,
            subresource: &info.subresource,
            namespace: &info.namespace,
            name: &info.name,
        };
        Self::resource(user, &info.verb, target)
    }

    /// A question about a resource.
    pub fn resource(user: &'a UserInfo, verb: &'a str, target: ResourceTarget<'a>) -> Self {
        Self { user, verb, target: Target::Resource(target) }
    }

    /// A question about a path.
    pub fn path(user: &'a UserInfo, verb: &'a str, path: &'a str) -> Self {
        Self { user, verb, target: Target::Path(path) }
    }

    /// The 403 for a request that nobody allowed.
    pub fn forbidden(&self, reason: &str) -> ApiError {
        let mut why = self.to_string();
        if !reason.is_empty() {
            why.push_str(": ");
            why.push_str(reason);
        }
        match self.target {
            Target::Path(_) => {
                ApiError::forbidden(&GroupResource { group: String::new(), resource: String::new() }, "", &why)
            }
            Target::Resource(t) => {
                let gr = GroupResource { group: t.group.into(), resource: t.resource.into() };
                ApiError::forbidden(&gr, t.name, &why)
            }
        }
    }
}

/// What is refused, as upstream words it.
impl std::fmt::Display for Attributes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { user, verb, target } = self;
        match target {
            Target::Path(path) => write!(f, "User {:?} cannot {verb} path {path:?}", user.name),
            Target::Resource(t) => {
                write!(f, "User {:?} cannot {verb} resource \"{}", user.name, t.resource)?;
                if !t.subresource.is_empty() {
                    write!(f, "/{}", t.subresource)?;
                }
                write!(f, "\" in API group {:?} ", t.group)?;
                if t.namespace.is_empty() {
                    f.write_str("at the cluster scope")
                } else {
                    write!(f, "in the namespace {:?}", t.namespace)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_read_as_upstream_words_them() {
        let user = UserInfo::authenticated("nobody", ["g"]);
        let pods = ResourceTarget { resource: "pods", namespace: "ns", ..ResourceTarget::default() };
        let table = [
            (
                Attributes::resource(&user, "list", pods),
                "",
                r#"pods is forbidden: User "nobody" cannot list resource "pods" in API group "" in the namespace "ns""#,
            ),
            (
                Attributes::resource(&user, "create", ResourceTarget { name: "p", subresource: "exec", ..pods }),
                "why",
                r#"pods "p" is forbidden: User "nobody" cannot create resource "pods/exec" in API group "" in the namespace "ns": why"#,
            ),
            (
                Attributes::resource(
                    &user,
                    "get",
                    ResourceTarget { group: "apps", resource: "deployments", ..ResourceTarget::default() },
                ),
                "",
                r#"deployments.apps is forbidden: User "nobody" cannot get resource "deployments" in API group "apps" at the cluster scope"#,
            ),
            (Attributes::path(&user, "get", "/metrics"), "", r#"forbidden: User "nobody" cannot get path "/metrics""#),
        ];
        for (attributes, reason, want) in table {
            let error = attributes.forbidden(reason);
            assert_eq!(error.message, want);
            assert_eq!(error.code, 403);
        }
    }
}
