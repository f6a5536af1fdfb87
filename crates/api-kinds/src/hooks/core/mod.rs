//! Kinds of the core group, and Event of events.k8s.io, which is stored as the core one.

use super::meta;
use api_schema::row::Hooks;

pub(super) mod claim;
mod data;
mod defaults;
mod event;
mod namespace;
mod node;
mod persistent_sources;
pub(super) mod pod;
mod quota;
mod replication;
pub(super) mod resources;
pub(super) mod service;
pub(super) mod storage;
pub(super) mod volume;
pub(super) mod volume_sources;

/// Event of events.k8s.io.
pub(super) fn new_event() -> &'static Hooks {
    &event::NEW_EVENT
}

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    match kind {
        "ConfigMap" => &CONFIG_MAP,
        "Endpoints" => &service::ENDPOINTS,
        "Event" => &event::EVENT,
        "LimitRange" => &quota::LIMIT_RANGE,
        "Namespace" => &namespace::NAMESPACE,
        "Node" => &node::NODE,
        "PersistentVolume" => &storage::VOLUME,
        "PersistentVolumeClaim" => &storage::CLAIM,
        "Pod" => &pod::HOOKS,
        "PodTemplate" => &replication::TEMPLATE,
        "ReplicationController" => &replication::CONTROLLER,
        "ResourceQuota" => &quota::RESOURCE_QUOTA,
        "Secret" => &SECRET,
        "Service" => &service::SERVICE,
        "ServiceAccount" => &SERVICE_ACCOUNT,
        _ => &Hooks::NONE,
    }
}

static CONFIG_MAP: Hooks =
    Hooks { validate: Some(data::config_map), validate_update: Some(data::config_map_update), ..Hooks::NONE };

static SECRET: Hooks = Hooks {
    default: Some(data::default_secret),
    validate: Some(data::secret),
    validate_update: Some(data::secret_update),
    warnings: Some(data::secret_warnings),
    ..Hooks::NONE
};

static SERVICE_ACCOUNT: Hooks = Hooks {
    prepare_create: Some(|_, object| data::name_secrets_only(object)),
    prepare_update: Some(|_, new, _| data::name_secrets_only(new)),
    validate_update: Some(|_, new, old, e| {
        meta::again_on_update(new, old, e);
        meta::again_on_create(new, e);
    }),
    ..Hooks::NONE
};
