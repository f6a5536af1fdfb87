//! Kinds of the group networking.k8s.io.

use api_schema::row::Hooks;

mod defaults;

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    match kind {
        "IngressClass" => &const { Hooks { default: Some(defaults::ingress_class), ..Hooks::NONE } },
        "NetworkPolicy" => &const { Hooks { default: Some(defaults::network_policy), ..Hooks::NONE } },
        _ => &Hooks::NONE,
    }
}
