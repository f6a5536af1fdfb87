//! Kinds of the group apiregistration.

use api_schema::row::Hooks;

pub(super) fn hooks(_kind: &str) -> &'static Hooks {
    &Hooks::NONE
}
