//! What is special about each built-in kind, as pure functions over its stored form.
//!
//! A folder or file for each API group; each answers with the [`Hooks`] of its kinds. Cells of a Table, selectable
//! fields and conversion are not here: whoever builds the rows adds them to what [`for_kind`] gives.
//! Must never do I/O, read a clock or know of requests.

use api_schema::row::Hooks;

pub(crate) use self::core::pod::strategy::qos_class;
pub(crate) use self::core::resources::{is_extended as is_extended_resource, is_native as is_native_resource};

mod admissionregistration;
pub(crate) mod apiextensions;
mod apiregistration;
mod apps;
mod autoscaling;
mod batch;
mod certificates;
mod check;
mod conditions;
mod coordination;
mod core;
mod discovery;
mod fill;
mod flowcontrol;
mod labels;
pub mod meta;
mod net;
mod networking;
mod node;
mod policy;
mod rbac;
mod scheduling;
mod storage;
mod url;
mod workload;

/// The hooks of a built-in kind; [`Hooks::NONE`] for one that has none.
pub fn for_kind(group: &str, kind: &str) -> &'static Hooks {
    match group {
        "" => core::hooks(kind),
        "admissionregistration.k8s.io" => admissionregistration::hooks(kind),
        "apiextensions.k8s.io" => apiextensions::hooks(kind),
        "apiregistration.k8s.io" => apiregistration::hooks(kind),
        "apps" => apps::hooks(kind),
        "autoscaling" => autoscaling::hooks(kind),
        "batch" => batch::hooks(kind),
        "certificates.k8s.io" => certificates::hooks(kind),
        "coordination.k8s.io" => coordination::hooks(kind),
        "discovery.k8s.io" => discovery::hooks(kind),
        "events.k8s.io" => core::new_event(),
        "flowcontrol.apiserver.k8s.io" => flowcontrol::hooks(kind),
        "networking.k8s.io" => networking::hooks(kind),
        "node.k8s.io" => node::hooks(kind),
        "policy" => policy::hooks(kind),
        "rbac.authorization.k8s.io" => rbac::hooks(kind),
        "scheduling.k8s.io" => scheduling::hooks(kind),
        "storage.k8s.io" => storage::hooks(kind),
        _ => &Hooks::NONE,
    }
}
