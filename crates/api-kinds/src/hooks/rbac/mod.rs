//! Kinds of the group rbac.authorization.k8s.io.

use api_core::names;
use api_schema::row::Hooks;

mod defaults;

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    // Names such as `system:node` are no DNS names, but must be one part of a URL.
    const NAMED: Hooks = Hooks { validate_name: Some(names::name_is_path_segment), ..Hooks::NONE };
    match kind {
        "ClusterRoleBinding" | "RoleBinding" => &const { Hooks { default: Some(defaults::binding), ..NAMED } },
        "ClusterRole" | "Role" => &NAMED,
        _ => &Hooks::NONE,
    }
}
