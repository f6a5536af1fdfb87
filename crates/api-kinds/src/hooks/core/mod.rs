//! Kinds of the core group, and Event of events.k8s.io, which is stored as the core one.

use api_schema::row::Hooks;

pub(super) fn hooks(_kind: &str) -> &'static Hooks {
    &Hooks::NONE
}
