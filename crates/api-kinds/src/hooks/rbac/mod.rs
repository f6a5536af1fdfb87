//! Kinds of the group rbac.authorization.k8s.io.

use api_core::names;
use api_schema::row::Hooks;

mod defaults;
mod validate;

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    match kind {
        "ClusterRole" => &CLUSTER_ROLE,
        "ClusterRoleBinding" => &CLUSTER_ROLE_BINDING,
        "Role" => &ROLE,
        "RoleBinding" => &ROLE_BINDING,
        _ => &Hooks::NONE,
    }
}

/// Names such as `system:node` are no DNS names, but must be one part of a URL.
const NAMED: Hooks = Hooks { validate_name: Some(names::name_is_path_segment), create_on_update: true, ..Hooks::NONE };

static ROLE: Hooks = Hooks {
    validate: Some(|object, e| validate::role(object, true, e)),
    validate_update: Some(|_, new, old, e| {
        validate::twice(new, old, e, |new, e| validate::role(new, true, e));
    }),
    ..NAMED
};

static CLUSTER_ROLE: Hooks = Hooks {
    validate: Some(|object, e| validate::role(object, false, e)),
    validate_update: Some(|_, new, old, e| {
        validate::twice(new, old, e, |new, e| validate::role(new, false, e));
    }),
    ..NAMED
};

static ROLE_BINDING: Hooks = Hooks {
    default: Some(defaults::binding),
    validate: Some(|object, e| validate::binding(object, true, e)),
    validate_update: Some(|_, new, old, e| {
        validate::twice(new, old, e, |new, e| validate::binding(new, true, e));
        validate::same_role(new, old, e);
    }),
    ..NAMED
};

static CLUSTER_ROLE_BINDING: Hooks = Hooks {
    default: Some(defaults::binding),
    validate: Some(|object, e| validate::binding(object, false, e)),
    validate_update: Some(|_, new, old, e| {
        validate::twice(new, old, e, |new, e| validate::binding(new, false, e));
        validate::same_role(new, old, e);
    }),
    ..NAMED
};
