//! Parameters of a binding.

use super::loaded::{Binding, Policy};
use crate::view::View;
use api_core::meta::Meta;
use api_core::selector::labels::Selector;
use serde_json::{Map, Value};

/// The parameters to apply a policy with, one by one; `None` is to apply it without.
///
/// # Errors
/// In upstream's words, if they cannot be found.
pub(super) fn collect(
    view: &dyn View,
    policy: &Policy,
    binding: &Binding,
    namespace: &str,
) -> Result<Vec<Option<Value>>, String> {
    let wanted = &binding.param_ref;
    let Some((api_version, kind)) = policy.param_kind.as_ref().filter(|_| wanted.is_object()) else {
        return Ok(vec![None]);
    };
    let text = |key: &str| wanted[key].as_str().unwrap_or("");
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
    for object in &mut found {
        object["apiVersion"] = api_version.as_str().into();
        object["kind"] = kind.as_str().into();
    }
    Ok(found.into_iter().map(Some).collect())
}
