//! Kinds of the group storage.

use api_schema::row::Hooks;

pub(super) fn hooks(_kind: &str) -> &'static Hooks {
    &Hooks::NONE
}
