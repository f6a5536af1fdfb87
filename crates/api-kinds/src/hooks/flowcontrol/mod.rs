//! Kinds of the group flowcontrol.

use api_schema::row::Hooks;

pub(super) fn hooks(_kind: &str) -> &'static Hooks {
    &Hooks::NONE
}
