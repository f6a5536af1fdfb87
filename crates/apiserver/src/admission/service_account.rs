//! Every pod runs as a service account of its namespace.

use super::{Attributes, Context, Operation};
use api_core::ApiError;
use api_kinds::admission::service_account;
use api_kinds::names;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// How long a pod waits for its namespace's account `default`, which a controller is about to make.
const DEFAULT_ACCOUNT_WAIT: Duration = Duration::from_secs(1);

/// Names the account, and gives the pod what the account has.
pub async fn mutate(context: &Context, a: &Attributes<'_>, pod: &mut Value) -> Result<(), ApiError> {
    if !a.is("", names::PODS, &[Operation::Create]) || service_account::is_mirror(pod) {
        return Ok(());
    }
    let name = service_account::name_account(pod);
    let account = match context.view.shared("", "serviceaccounts", a.namespace, &name) {
        Some(account) => Some(account),
        None if name == "default" => {
            context.view.wait("", "serviceaccounts", a.namespace, &name, DEFAULT_ACCOUNT_WAIT).await.map(Arc::new)
        }
        None => context.view.live("", "serviceaccounts", a.namespace, &name).await.map(Arc::new),
    };
    let Some(account) = account else {
        let namespace = a.namespace;
        let why = format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found");
        return Err(a.forbidden(Some(pod), &why));
    };
    let suffix = crate::names::random_suffix();
    service_account::apply(pod, &account, &suffix).map_err(|why| a.forbidden(Some(pod), &why))
}

/// Refuses a mirror pod that refers to other objects.
pub fn validate(_: &Context, a: &Attributes<'_>, pod: Option<&Value>, _: &mut Vec<String>) -> Result<(), ApiError> {
    let Some(pod) = pod.filter(|p| a.is("", names::PODS, &[Operation::Create]) && service_account::is_mirror(p)) else {
        return Ok(());
    };
    service_account::check_mirror(pod).map_err(|why| a.forbidden(Some(pod), &why))
}
