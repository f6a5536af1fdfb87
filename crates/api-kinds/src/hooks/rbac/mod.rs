//! Kinds of the group rbac.authorization.k8s.io.

use api_schema::row::Hooks;

mod defaults;

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    match kind {
        "ClusterRoleBinding" | "RoleBinding" => &const { Hooks { default: Some(defaults::binding), ..Hooks::NONE } },
        _ => &Hooks::NONE,
    }
}
