//! Tables of (roles and bindings, request, decision).

use super::*;
use crate::authn::UserInfo;
use crate::authz::attributes::ResourceTarget;
use serde_json::json;

fn index() -> Index {
    let mut index = Index::default();
    index.put_role(&json!({"metadata": {"name": "reader"}, "rules": [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
        {"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]}));
    index.put_role(&json!({"metadata": {"name": "writer", "namespace": "a"}, "rules": [
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["*"]}]}));
    index.put_binding(&json!({"metadata": {"name": "readers"}, "roleRef": {"kind": "ClusterRole", "name": "reader"},
        "subjects": [{"kind": "Group", "name": "staff"}, {"kind": "ServiceAccount", "namespace": "a", "name": "bot"}]}));
    index.put_binding(
        &json!({"metadata": {"name": "writers", "namespace": "a"}, "roleRef": {"kind": "Role", "name": "writer"},
        "subjects": [{"kind": "User", "name": "ann"}, {"kind": "ServiceAccount", "name": "bot"}]}),
    );
    index.put_binding(
        &json!({"metadata": {"name": "reads", "namespace": "b"}, "roleRef": {"kind": "ClusterRole", "name": "reader"},
        "subjects": [{"kind": "User", "name": "ann"}]}),
    );
    for lost in ["lost", "lost-too"] {
        index.put_binding(&json!({"metadata": {"name": lost}, "roleRef": {"kind": "ClusterRole", "name": lost},
            "subjects": [{"kind": "User", "name": "eve"}]}));
    }
    index
}

fn pods(namespace: &str) -> ResourceTarget<'_> {
    ResourceTarget { resource: "pods", namespace, ..ResourceTarget::default() }
}

#[test]
fn decisions() {
    let index = index();
    let deployments =
        ResourceTarget { group: "apps", resource: "deployments", namespace: "a", ..ResourceTarget::default() };
    let ann = UserInfo::authenticated("ann", ["x"]);
    let staff = UserInfo::authenticated("sam", ["staff"]);
    let bot = UserInfo::authenticated("system:serviceaccount:a:bot", ["system:serviceaccounts"]);
    let eve = UserInfo::authenticated("eve", ["x"]);
    let table = [
        (
            Attributes::resource(&ann, "get", pods("b")),
            true,
            r#"RBAC: allowed by RoleBinding "reads/b" of ClusterRole "reader" to User "ann""#,
        ),
        (Attributes::resource(&ann, "get", pods("a")), false, ""),
        (Attributes::resource(&ann, "list", pods("")), false, ""),
        (
            Attributes::resource(&ann, "delete", deployments),
            true,
            r#"RBAC: allowed by RoleBinding "writers/a" of Role "writer" to User "ann""#,
        ),
        (
            Attributes::resource(&staff, "list", pods("")),
            true,
            r#"RBAC: allowed by ClusterRoleBinding "readers" of ClusterRole "reader" to Group "staff""#,
        ),
        (
            Attributes::resource(&bot, "list", pods("z")),
            true,
            r#"RBAC: allowed by ClusterRoleBinding "readers" of ClusterRole "reader" to ServiceAccount "bot/a""#,
        ),
        (
            Attributes::resource(&bot, "patch", deployments),
            true,
            r#"RBAC: allowed by RoleBinding "writers/a" of Role "writer" to ServiceAccount "bot/a""#,
        ),
        (
            Attributes::path(&staff, "get", "/metrics"),
            true,
            r#"RBAC: allowed by ClusterRoleBinding "readers" of ClusterRole "reader" to Group "staff""#,
        ),
        (Attributes::path(&ann, "get", "/metrics"), false, ""),
        (
            Attributes::resource(&eve, "get", pods("a")),
            false,
            r#"RBAC: [clusterrole.rbac.authorization.k8s.io "lost" not found, clusterrole.rbac.authorization.k8s.io "lost-too" not found]"#,
        ),
    ];
    for (attributes, allowed, reason) in table {
        let decision = authorize(&index, &attributes);
        assert_eq!((decision.is_allowed(), decision.reason()), (allowed, reason), "{attributes}");
    }
}

#[test]
fn what_is_removed_grants_nothing() {
    let mut index = index();
    let ann = UserInfo::authenticated("ann", ["x"]);
    let ask = |index: &Index| authorize(index, &Attributes::resource(&ann, "get", pods("b"))).is_allowed();
    assert!(ask(&index));
    index.remove_binding("b", "reads");
    assert!(!ask(&index));
    index.put_binding(
        &json!({"metadata": {"name": "reads", "namespace": "b"}, "roleRef": {"kind": "ClusterRole", "name": "reader"},
        "subjects": [{"kind": "User", "name": "bob"}]}),
    );
    assert!(!ask(&index), "a binding that now names somebody else");
    index.put_binding(
        &json!({"metadata": {"name": "reads", "namespace": "b"}, "roleRef": {"kind": "ClusterRole", "name": "reader"},
        "subjects": [{"kind": "User", "name": "ann"}]}),
    );
    assert!(ask(&index));
    index.remove_role("", "reader");
    assert!(!ask(&index));
}

#[test]
fn only_what_is_held_may_be_granted() {
    let index = index();
    let staff = UserInfo::authenticated("sam", ["staff"]);
    let wanted = [Rule::read(&json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}))];
    assert_eq!(may_grant(&index, &staff, "a", &wanted), Ok(()));
    let wanted =
        [Rule::read(&json!({"apiGroups": [""], "resources": ["pods", "secrets"], "verbs": ["delete", "get"]}))];
    assert_eq!(
        may_grant(&index, &staff, "a", &wanted),
        Err("user \"sam\" (groups=[\"staff\" \"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n\
             {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}\n\
             {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"delete\" \"get\"]}"
            .into())
    );
}
