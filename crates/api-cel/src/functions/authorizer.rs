//! Methods of `authorizer`.

use super::Outcome;
use crate::authz::Authz;
use crate::eval::EvalError;
use crate::value::Value;
use std::sync::Arc;

pub(super) fn call(name: &str, authz: &Authz, args: &[Value]) -> Option<Outcome> {
    let mut texts = Vec::new();
    for arg in args {
        let Value::String(text) = arg else { return None };
        texts.push(text.to_string());
    }
    let made = |authz: Authz| Some(Ok(Value::Authz(Arc::new(authz))));
    match (authz, name, texts.as_slice()) {
        (Authz::Authorizer(who, check), "serviceAccount", [namespace, account]) => {
            let mut check = check.clone();
            check.service_account = Some((namespace.clone(), account.clone()));
            made(Authz::Authorizer(who.clone(), check))
        }
        (Authz::Authorizer(who, check), "path", [path]) => {
            if path.is_empty() {
                return Some(Err(EvalError::new("path must not be empty")));
            }
            let mut check = check.clone();
            check.path = Some(path.clone());
            made(Authz::Path(who.clone(), check))
        }
        (Authz::Authorizer(who, check), "group", [group]) => {
            let mut check = check.clone();
            check.group = group.clone();
            made(Authz::Group(who.clone(), check))
        }
        (Authz::Group(who, check), "resource", [resource]) => {
            if resource.is_empty() {
                return Some(Err(EvalError::new("resource must not be empty")));
            }
            let mut check = check.clone();
            check.resource = resource.clone();
            made(Authz::Resource(who.clone(), check))
        }
        (Authz::Resource(who, check), "subresource" | "namespace" | "name", [value]) => {
            let mut check = check.clone();
            match name {
                "subresource" => check.subresource = value.clone(),
                "namespace" => check.namespace = value.clone(),
                _ => check.name = value.clone(),
            }
            made(Authz::Resource(who.clone(), check))
        }
        (Authz::Path(who, check) | Authz::Resource(who, check), "check", [verb]) => {
            let mut check = check.clone();
            check.verb = verb.clone();
            made(Authz::Decision(who.check(&check)))
        }
        (Authz::Decision(decision), _, []) => Some(Ok(match name {
            "allowed" => Value::Bool(decision.allowed),
            "reason" => Value::text(&decision.reason),
            "errored" => Value::Bool(decision.error.is_some()),
            "error" => Value::text(decision.error.as_deref().unwrap_or("")),
            _ => return None,
        })),
        _ => None,
    }
}
