//! Defaults and bounds of a namespace's limit ranges, for pods and claims.

use super::{Attributes, Context, Operation};
use api_core::ApiError;
use api_kinds::admission::limit_ranges;
use api_kinds::names;
use serde_json::Value;

/// Fills in defaults of a new pod.
pub fn mutate(context: &Context, a: &Attributes<'_>, object: &mut Value) -> Result<(), ApiError> {
    if a.is("", names::PODS, &[Operation::Create]) {
        limit_ranges::default_pod(object, &context.view.list("", "limitranges", a.namespace));
    }
    Ok(())
}

/// Refuses what is out of bounds.
pub fn validate(
    context: &Context,
    a: &Attributes<'_>,
    object: Option<&Value>,
    _: &mut Vec<String>,
) -> Result<(), ApiError> {
    let ranges = || context.view.list("", "limitranges", a.namespace);
    let Some(object) = object else { return Ok(()) };
    let errors = if a.is("", names::PODS, &[Operation::Create]) {
        limit_ranges::check_pod(object, &ranges())
    } else if a.is("", "persistentvolumeclaims", &[Operation::Create, Operation::Update]) {
        limit_ranges::check_claim(object, &ranges())
    } else {
        return Ok(());
    };
    match errors.as_slice() {
        [] => Ok(()),
        [one] => Err(a.forbidden(Some(object), one)),
        many => Err(a.forbidden(Some(object), &format!("[{}]", many.join(", ")))),
    }
}
