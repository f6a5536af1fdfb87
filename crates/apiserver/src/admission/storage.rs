//! Volumes and claims: default class, protection while in use, growing.

use super::{Attributes, Context, Operation};
use api_core::ApiError;
use api_kinds::admission::storage;
use serde_json::Value;

/// A claim that names no class gets the default one.
pub fn default_class(context: &Context, a: &Attributes<'_>, claim: &mut Value) -> Result<(), ApiError> {
    if a.is("", "persistentvolumeclaims", &[Operation::Create]) && claim["spec"]["storageClassName"].is_null() {
        storage::default_class(claim, &context.view.list("storage.k8s.io", "storageclasses", ""));
    }
    Ok(())
}

/// What is in use is not deleted.
pub fn protect(_: &Context, a: &Attributes<'_>, object: &mut Value) -> Result<(), ApiError> {
    if a.is("", "persistentvolumes", &[Operation::Create]) {
        storage::protect(object, "kubernetes.io/pv-protection");
    } else if a.is("", "persistentvolumeclaims", &[Operation::Create]) {
        storage::protect(object, "kubernetes.io/pvc-protection");
    }
    Ok(())
}

/// A claim grows only if its class can.
pub fn resize(
    context: &Context,
    a: &Attributes<'_>,
    claim: Option<&Value>,
    _: &mut Vec<String>,
) -> Result<(), ApiError> {
    let due = a.is("", "persistentvolumeclaims", &[Operation::Update]);
    let (Some(claim), Some(old)) = (claim.filter(|_| due), a.old) else { return Ok(()) };
    if !storage::grows(claim, old) {
        return Ok(());
    }
    let class = claim["spec"]["storageClassName"].as_str().unwrap_or("");
    let class = context.view.get("storage.k8s.io", "storageclasses", "", class);
    storage::check_growth(old, class.as_ref()).map_err(|why| a.forbidden(Some(claim), &why))
}
