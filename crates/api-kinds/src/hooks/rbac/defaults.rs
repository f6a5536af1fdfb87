//! Defaults of role bindings.

use crate::hooks::fill::Fill;
use serde_json::Value;

/// The API group of roles, users and groups.
pub(super) const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn binding(object: &mut Value) {
    object.make("roleRef").fill_zero("apiGroup", GROUP);
    object.each_mut("subjects", |subject| {
        if matches!(subject.text("kind"), "User" | "Group") {
            subject.fill("apiGroup", GROUP);
        }
    });
}
