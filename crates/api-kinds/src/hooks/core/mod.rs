//! Kinds of the core group, and Event of events.k8s.io, which is stored as the core one.

use api_schema::row::Hooks;

pub(super) mod claim;
mod defaults;
pub(super) mod pod;
pub(super) mod resources;
pub(super) mod volume;
pub(super) mod volume_sources;

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    match kind {
        "Endpoints" => &const { Hooks { default: Some(defaults::endpoints), ..Hooks::NONE } },
        "LimitRange" => &const { Hooks { default: Some(defaults::limit_range), ..Hooks::NONE } },
        "Namespace" => &const { Hooks { default: Some(defaults::namespace), ..Hooks::NONE } },
        "Node" => &const { Hooks { default: Some(defaults::node), ..Hooks::NONE } },
        "PersistentVolume" => &const { Hooks { default: Some(volume::default_persistent_volume), ..Hooks::NONE } },
        "PersistentVolumeClaim" => &const { Hooks { default: Some(volume::default_claim), ..Hooks::NONE } },
        "Pod" => &pod::HOOKS,
        "PodTemplate" => &const { Hooks { default: Some(defaults::pod_template), ..Hooks::NONE } },
        "ReplicationController" => &const { Hooks { default: Some(defaults::replication_controller), ..Hooks::NONE } },
        "ResourceQuota" => &const { Hooks { default: Some(defaults::resource_quota), ..Hooks::NONE } },
        "Secret" => &const { Hooks { default: Some(defaults::secret), ..Hooks::NONE } },
        "Service" => &const { Hooks { default: Some(defaults::service), ..Hooks::NONE } },
        _ => &Hooks::NONE,
    }
}
