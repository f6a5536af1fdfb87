//! Acting as somebody else: which permissions the `Impersonate-*` headers ask for, and the user they make.

use super::user::{ANONYMOUS, AUTHENTICATED, SERVICE_ACCOUNTS, UNAUTHENTICATED, UserInfo};
use crate::authz::{Attributes, ResourceTarget};
use crate::query::decode_segment;
use http::HeaderMap;
use std::collections::BTreeMap;

/// What the headers ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    name: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

/// Why headers make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WishError {
    /// Groups, uid or extra without a user; each as upstream prints its reference to it.
    #[error("requested [{}] without impersonating a user", .0.join(" "))]
    NoUser(Vec<String>),
}

impl Wish {
    /// Reads the headers; `None` if they ask for nothing.
    pub fn read(headers: &HeaderMap) -> Result<Option<Self>, WishError> {
        let text = |v: &http::HeaderValue| String::from_utf8_lossy(v.as_bytes()).into_owned();
        let first = |key: &str| headers.get(key).map(text).unwrap_or_default();
        let mut wish = Self { name: first("impersonate-user"), uid: first("impersonate-uid"), ..Self::default() };
        wish.groups = headers.get_all("impersonate-group").iter().map(text).collect();
        for (header, value) in headers {
            if let Some(key) = header.as_str().strip_prefix("impersonate-extra-") {
                wish.extra.entry(decode_segment(key).into_owned()).or_default().push(text(value));
            }
        }
        if !wish.name.is_empty() {
            return Ok(Some(wish));
        }
        let parts = wish.references();
        if parts.is_empty() { Ok(None) } else { Err(WishError::NoUser(parts)) }
    }

    /// Groups, extra and uid: kind, namespace, name, uid, version, revision and field of a reference to each.
    fn references(&self) -> Vec<String> {
        const VERSION: &str = "authentication.k8s.io/v1";
        let reference =
            |kind: &str, name: &str, version: &str, field: &str| format!("{{{kind}  {name}  {version}  {field}}}");
        let groups = self.groups.iter().map(|name| reference("Group", name, "", ""));
        let extra = self.extra.iter().flat_map(|(key, values)| values.iter().map(move |v| (key, v)));
        let extra = extra.map(|(key, value)| reference("UserExtra", value, VERSION, key));
        let uid = (!self.uid.is_empty()).then(|| reference("UID", &self.uid, VERSION, ""));
        groups.chain(extra).chain(uid).collect()
    }

    /// Asks `allowed` for each permission that `user` needs; its first error is the answer.
    pub fn check<E>(
        &self,
        user: &UserInfo,
        mut allowed: impl FnMut(&Attributes<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut ask = |target: ResourceTarget<'_>| allowed(&Attributes::resource(user, "impersonate", target));
        let core = ResourceTarget { version: "v1", ..ResourceTarget::default() };
        let authentication = ResourceTarget { group: "authentication.k8s.io", ..core };
        match service_account(&self.name) {
            Some((namespace, name)) => ask(ResourceTarget { resource: "serviceaccounts", namespace, name, ..core })?,
            None => ask(ResourceTarget { resource: "users", name: &self.name, ..core })?,
        }
        for group in &self.groups {
            ask(ResourceTarget { resource: "groups", name: group, ..core })?;
        }
        for (key, values) in &self.extra {
            for value in values {
                ask(ResourceTarget { resource: "userextras", subresource: key, name: value, ..authentication })?;
            }
        }
        if !self.uid.is_empty() {
            ask(ResourceTarget { resource: "uids", name: &self.uid, ..authentication })?;
        }
        Ok(())
    }

    /// The user that the request is made as.
    pub fn user(self) -> UserInfo {
        let Self { name, uid, mut groups, extra } = self;
        if groups.is_empty()
            && let Some((namespace, _)) = service_account(&name)
        {
            groups = vec![SERVICE_ACCOUNTS.into(), format!("{SERVICE_ACCOUNTS}:{namespace}")];
        }
        let group = if name == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
        if !groups.iter().any(|g| g == UNAUTHENTICATED || g == group) {
            groups.push(group.into());
        }
        UserInfo { name, uid, groups, extra }
    }
}

fn service_account(name: &str) -> Option<(&str, &str)> {
    let (namespace, name) = name.strip_prefix(super::user::SERVICE_ACCOUNT_PREFIX)?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn wish(headers: &[(&'static str, &'static str)]) -> Result<Option<Wish>, WishError> {
        let mut map = HeaderMap::new();
        for (key, value) in headers {
            map.append(HeaderName::from_static(key), HeaderValue::from_static(value));
        }
        Wish::read(&map)
    }

    #[track_caller]
    fn check(headers: &[(&'static str, &'static str)], asked: &[&str], groups: &[&str]) {
        let wish = wish(headers).expect("sense").expect("a wish");
        let me = UserInfo::authenticated("me", ["x"]);
        let mut seen = Vec::new();
        let done: Result<(), ()> = wish.check(&me, |a| {
            seen.push(a.to_string());
            Ok(())
        });
        assert_eq!(done, Ok(()));
        let asked: Vec<String> = asked.iter().map(|a| format!("User \"me\" cannot impersonate resource {a}")).collect();
        assert_eq!(seen, asked);
        assert_eq!(wish.user().groups, groups);
    }

    #[test]
    fn each_part_needs_a_permission() {
        check(
            &[
                ("impersonate-user", "ann"),
                ("impersonate-group", "staff"),
                ("impersonate-extra-scopes", "a"),
                ("impersonate-uid", "1"),
            ],
            &[
                "\"users\" in API group \"\" at the cluster scope",
                "\"groups\" in API group \"\" at the cluster scope",
                "\"userextras/scopes\" in API group \"authentication.k8s.io\" at the cluster scope",
                "\"uids\" in API group \"authentication.k8s.io\" at the cluster scope",
            ],
            &["staff", "system:authenticated"],
        );
        check(
            &[("impersonate-user", "system:serviceaccount:ns:bot")],
            &["\"serviceaccounts\" in API group \"\" in the namespace \"ns\""],
            &["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"],
        );
        check(
            &[("impersonate-user", "system:anonymous")],
            &["\"users\" in API group \"\" at the cluster scope"],
            &["system:unauthenticated"],
        );
    }

    #[test]
    fn a_group_alone_makes_no_sense() {
        assert_eq!(wish(&[]), Ok(None));
        let refused =
            wish(&[("impersonate-group", "staff"), ("impersonate-uid", "7"), ("impersonate-extra-scopes", "a")]);
        assert_eq!(
            refused.expect_err("no user").to_string(),
            "requested [{Group  staff    } {UserExtra  a  authentication.k8s.io/v1  scopes} \
             {UID  7  authentication.k8s.io/v1  }] without impersonating a user"
        );
    }
}
