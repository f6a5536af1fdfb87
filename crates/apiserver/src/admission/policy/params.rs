//! Parameters of a binding.

use super::super::Context;
use super::super::versions::in_version;
use super::loaded::{Binding, Policy};
use api_core::Gvr;
use api_core::meta::Meta;
use api_core::selector::labels::Selector;
use serde_json::{Map, Value};

/// The parameters to apply a policy with, one by one; `None` is to apply it without.
///
/// # Errors
/// In upstream's words, if they cannot be found.
pub(super) async fn collect(
    context: &Context,
    policy: &Policy,
    binding: &Binding,
    namespace: &str,
) -> Result<Vec<Option<Value>>, String> {
    let wanted = &binding.param_ref;
    let Some((api_version, kind)) = policy.param_kind.as_ref().filter(|_| wanted.is_object()) else {
        return Ok(vec![None]);
    };
    let text = |key: &str| wanted[key].as_str().unwrap_or("");
    let view = &*context.view;
    let resource = view.resource_of(api_version, kind);
    let resource = resource.ok_or_else(|| format!("paramKind kind `{api_version}, Kind={kind}` not known"))?;
    let (group, plural, is_namespaced) = (&resource.0, &resource.1, resource.2);
    let own = text("namespace");
    let namespace = match (is_namespaced, own.is_empty()) {
        (false, true) => "",
        (false, false) => {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into());
        }
        (true, false) => own,
        (true, true) if namespace.is_empty() => {
            return Err("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".into());
        }
        (true, true) => namespace,
    };
    let mut found: Vec<Value> = if !text("name").is_empty() {
        view.get(group, plural, namespace, text("name")).into_iter().collect()
    } else if wanted["selector"].is_object() {
        let selector = Selector::from_object(Some(&wanted["selector"])).map_err(|e| e.to_string())?;
        let none = Map::new();
        let labels = |o: &Value| {
            let labels = o.metadata().and_then(|m| m.get("labels")).and_then(Value::as_object);
            selector.matches(labels.unwrap_or(&none))
        };
        view.list(group, plural, namespace).into_iter().filter(labels).collect()
    } else {
        return Err("one of name or selector must be provided".into());
    };
    if found.is_empty() && text("parameterNotFoundAction") == "Deny" {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".into());
    }
    let version = api_version.rsplit('/').next().unwrap_or_default();
    let row = view.row(&Gvr::new(group, version, plural));
    let row = row.ok_or_else(|| format!("paramKind kind `{api_version}, Kind={kind}` not known"))?;
    let mut shown = Vec::with_capacity(found.len());
    for object in found.drain(..) {
        shown.push(Some(in_version(context.tools(), &row, object).await.map_err(|e| e.message)?));
    }
    Ok(shown)
}
