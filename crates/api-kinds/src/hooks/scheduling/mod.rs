//! Kinds of the group scheduling.

use api_schema::row::Hooks;

pub(super) fn hooks(_kind: &str) -> &'static Hooks {
    &Hooks::NONE
}
