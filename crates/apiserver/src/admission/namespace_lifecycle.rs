//! Nothing is made in a namespace that is not there or that goes away; some namespaces are never deleted.

use super::{Attributes, Context, Operation};
use api_core::status::{Cause, Details};
use api_core::{ApiError, GroupResource};
use serde_json::Value;
use std::sync::Arc;

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// Refuses what is written into a namespace that cannot take it.
pub async fn check(context: &Context, a: &Attributes<'_>, object: &Value) -> Result<(), ApiError> {
    let of_namespaces = a.resource.group.is_empty() && a.resource.resource == "namespaces";
    if a.namespace.is_empty() || of_namespaces || !matches!(a.operation, Operation::Create | Operation::Update) {
        return Ok(());
    }
    let namespace = match context.view.shared("", "namespaces", "", a.namespace) {
        Some(found) => Some(found),
        // It may have been made a moment ago.
        None => context.view.live("", "namespaces", "", a.namespace).await.map(Arc::new),
    };
    let Some(namespace) = namespace else {
        return Err(ApiError::not_found(
            &GroupResource { group: String::new(), resource: "namespaces".into() },
            a.namespace,
        ));
    };
    if a.operation == Operation::Create && namespace["status"]["phase"] == "Terminating" {
        return Err(terminating(a, object));
    }
    Ok(())
}

fn terminating(a: &Attributes<'_>, object: &Value) -> ApiError {
    let namespace = a.namespace;
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut error = a.forbidden(Some(object), &why);
    let mut details = error.details.take().map_or_else(Details::default, |d| *d);
    details.causes.push(Cause {
        reason: "NamespaceTerminating".into(),
        message: format!("namespace {namespace} is being terminated"),
        field: "metadata.namespace".into(),
    });
    error.with_details(details)
}

/// Refuses to delete what everything else needs.
pub fn validate(_: &Context, a: &Attributes<'_>, _: Option<&Value>, _: &mut Vec<String>) -> Result<(), ApiError> {
    if a.is("", "namespaces", &[Operation::Delete]) && IMMORTAL.contains(&a.name) {
        return Err(a.forbidden(None, "this namespace may not be deleted"));
    }
    Ok(())
}
