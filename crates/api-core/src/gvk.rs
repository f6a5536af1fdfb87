//! Names of kinds and resources.

use std::fmt;

/// A kind: group (empty for the core group), version and kind, as in `apiVersion` and `kind`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Gvk {
    /// API group; empty for the core group.
    pub group: String,
    /// Version, such as `v1`.
    pub version: String,
    /// Kind, such as `Pod`.
    pub kind: String,
}

/// A resource: group, version and plural resource name, as in a URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Gvr {
    /// API group; empty for the core group.
    pub group: String,
    /// Version, such as `v1`.
    pub version: String,
    /// Plural, lower case, such as `pods`.
    pub resource: String,
}

/// Group and kind, printed `Deployment.apps`, or `Pod` for the core group.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct GroupKind {
    /// API group; empty for the core group.
    pub group: String,
    /// Kind.
    pub kind: String,
}

/// Group and resource, printed `deployments.apps`, or `pods` for the core group.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct GroupResource {
    /// API group; empty for the core group.
    pub group: String,
    /// Plural resource name.
    pub resource: String,
}

/// `apps/v1`, or `v1` for the core group.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// Splits `apps/v1` into group and version; `v1` has the empty group.
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

impl Gvk {
    /// A kind from its parts.
    pub fn new(group: &str, version: &str, kind: &str) -> Self {
        Self { group: group.into(), version: version.into(), kind: kind.into() }
    }

    /// The `apiVersion` of objects of this kind.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// What upstream calls the package of the kind's inner type, as errors name it: the group up to its first dot.
    pub fn internal_package(&self) -> &str {
        match self.group.split('.').next().unwrap_or_default() {
            "" => "core",
            first => first,
        }
    }

    /// Without the version.
    pub fn group_kind(&self) -> GroupKind {
        GroupKind { group: self.group.clone(), kind: self.kind.clone() }
    }
}

impl Gvr {
    /// A resource from its parts.
    pub fn new(group: &str, version: &str, resource: &str) -> Self {
        Self { group: group.into(), version: version.into(), resource: resource.into() }
    }

    /// The `apiVersion` of objects of this resource.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// Without the version.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource { group: self.group.clone(), resource: self.resource.clone() }
    }
}

impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        dotted(f, &self.kind, &self.group)
    }
}

impl fmt::Display for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        dotted(f, &self.resource, &self.group)
    }
}

fn dotted(f: &mut fmt::Formatter<'_>, name: &str, group: &str) -> fmt::Result {
    if group.is_empty() { f.write_str(name) } else { write!(f, "{name}.{group}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_clients_expect() {
        assert_eq!(Gvk::new("apps", "v1", "Deployment").group_kind().to_string(), "Deployment.apps");
        assert_eq!(Gvr::new("", "v1", "pods").group_resource().to_string(), "pods");
        assert_eq!(Gvr::new("apps", "v1", "deployments").api_version(), "apps/v1");
        for (group, package) in [("", "core"), ("rbac.authorization.k8s.io", "rbac")] {
            assert_eq!(Gvk::new(group, "v1", "X").internal_package(), package);
        }
        assert_eq!(split_api_version("v1"), ("", "v1"));
        assert_eq!(split_api_version("apps/v1"), ("apps", "v1"));
    }
}
