//! An ingress that names no class gets the default one.

use super::{Attributes, Context, Operation};
use api_core::ApiError;
use api_kinds::admission::pods::default_ingress_class;
use serde_json::Value;

const GROUP: &str = "networking.k8s.io";

/// Fills in the class of a new ingress.
pub fn mutate(context: &Context, a: &Attributes<'_>, ingress: &mut Value) -> Result<(), ApiError> {
    if a.is(GROUP, "ingresses", &[Operation::Create]) && ingress["spec"]["ingressClassName"].is_null() {
        default_ingress_class(ingress, &context.view.list(GROUP, "ingressclasses", ""));
    }
    Ok(())
}
