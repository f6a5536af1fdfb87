//! Who makes a request: a name, groups, a uid and extra attributes. Knows nothing of how it was proved.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Group of every user who proved who they are.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Group of those who did not.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Name of those who did not.
pub const ANONYMOUS: &str = "system:anonymous";
/// Group that may do everything.
pub const MASTERS: &str = "system:masters";
/// Group of node agents.
pub const NODES: &str = "system:nodes";
/// What names of node agents start with.
pub const NODE_PREFIX: &str = "system:node:";
/// What names of service accounts start with.
pub const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";
/// Group of all service accounts; with `:NAMESPACE`, of those of a namespace.
pub const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";

/// The identity of a request. As a request extension it is trusted: only an in-process client can set it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserInfo {
    /// Unique name.
    pub name: String,
    /// Tells apart users who had the same name at different times; may be empty.
    pub uid: String,
    /// Groups, in the order they were found.
    pub groups: Vec<String>,
    /// What else the authenticator knows.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// A user with groups, and [`AUTHENTICATED`] among them.
    pub fn authenticated<S: Into<String>>(name: impl Into<String>, groups: impl IntoIterator<Item = S>) -> Self {
        let mut user =
            Self { name: name.into(), groups: groups.into_iter().map(Into::into).collect(), ..Self::default() };
        user.mark_authenticated();
        user
    }

    /// A user of a name and groups, as they are.
    pub fn new(name: &str, groups: &[&str]) -> Self {
        Self { name: name.into(), groups: groups.iter().map(|g| (*g).into()).collect(), ..Self::default() }
    }

    /// The server itself, when it calls its own API.
    pub fn apiserver() -> Self {
        Self::new("system:apiserver", &[MASTERS, AUTHENTICATED])
    }

    /// Nobody in particular.
    pub fn anonymous() -> Self {
        Self { name: ANONYMOUS.into(), groups: vec![UNAUTHENTICATED.into()], ..Self::default() }
    }

    /// Adds [`AUTHENTICATED`] unless it or [`UNAUTHENTICATED`] is there.
    pub fn mark_authenticated(&mut self) {
        if self.name != ANONYMOUS && !self.in_group(AUTHENTICATED) && !self.in_group(UNAUTHENTICATED) {
            self.groups.push(AUTHENTICATED.into());
        }
    }

    /// Whether it is in that group.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// Namespace and name, if it is a service account.
    pub fn service_account(&self) -> Option<(&str, &str)> {
        self.name.strip_prefix(SERVICE_ACCOUNT_PREFIX)?.split_once(':')
    }

    /// Name of the node, if it is a node agent.
    pub fn node(&self) -> Option<&str> {
        let name = self.name.strip_prefix(NODE_PREFIX)?;
        (self.in_group(NODES) && !name.is_empty()).then_some(name)
    }

    /// As it stands in `status.user` of a review; empty fields are left out.
    pub fn to_value(&self) -> Value {
        let mut user = Map::new();
        for (key, text) in [("username", &self.name), ("uid", &self.uid)] {
            if !text.is_empty() {
                user.insert(key.into(), text.as_str().into());
            }
        }
        if !self.groups.is_empty() {
            user.insert("groups".into(), json!(self.groups));
        }
        if !self.extra.is_empty() {
            user.insert("extra".into(), json!(self.extra));
        }
        Value::Object(user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_needs_both_name_and_group() {
        let table = [
            ("system:node:a", "system:nodes", Some("a")),
            ("system:node:a", "others", None),
            ("system:node:", "system:nodes", None),
            ("a", "system:nodes", None),
        ];
        for (name, group, want) in table {
            assert_eq!(UserInfo::authenticated(name, [group]).node(), want, "{name} in {group}");
        }
    }

    #[test]
    fn everyone_who_proved_a_name_is_authenticated_once() {
        let user = UserInfo::authenticated("u", [AUTHENTICATED]);
        assert_eq!(user.groups, [AUTHENTICATED]);
        let mut nobody = UserInfo::anonymous();
        nobody.mark_authenticated();
        assert_eq!(nobody.groups, [UNAUTHENTICATED]);
    }
}
