//! Kinds of the group apps.

use api_schema::row::Hooks;

mod defaults;

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    match kind {
        "DaemonSet" => &const { Hooks { default: Some(defaults::daemon_set), ..Hooks::NONE } },
        "Deployment" => &const { Hooks { default: Some(defaults::deployment), ..Hooks::NONE } },
        "ReplicaSet" => &const { Hooks { default: Some(defaults::replica_set), ..Hooks::NONE } },
        "StatefulSet" => &const { Hooks { default: Some(defaults::stateful_set), ..Hooks::NONE } },
        _ => &Hooks::NONE,
    }
}
