//! A write as expressions of policies and of match conditions see it.

use super::Attributes;
use super::values::{self, Asker};
use crate::authz::Authorizer;
use api_cel::{Authz, EvalError, Meter, Scope, Value as Cel};
use api_core::{Gvk, Gvr};
use api_kinds::admission::expressions;
use serde_json::Value;
use std::sync::Arc;

/// What is known of a write where its expressions are to be evaluated. Objects are in the version that is spoken of.
#[derive(Debug)]
pub(super) struct Shown<'a> {
    /// The new object.
    pub(super) object: Option<Value>,
    /// The one before.
    pub(super) old: Option<Value>,
    /// Their kind.
    pub(super) kind: &'a Gvk,
    /// The resource that is spoken of.
    pub(super) resource: &'a Gvr,
    /// Name, as far as it is known.
    pub(super) name: &'a str,
    /// Namespace; of a namespace, its own name.
    pub(super) namespace: &'a str,
    /// The namespace itself.
    pub(super) namespace_object: Option<Value>,
}

/// The values.
#[derive(Debug)]
pub(super) struct Write {
    object: Cel,
    old: Cel,
    request: Cel,
    /// `request` with the resource that was asked for.
    own_request: Cel,
    namespace: Cel,
    authorizer: Cel,
    own_check: Cel,
}

impl Write {
    pub(super) fn new(authorizer: &Arc<Authorizer>, a: &Attributes<'_>, shown: &Shown<'_>) -> Self {
        let who = Arc::new(Asker { authorizer: authorizer.clone(), user: a.user.clone() });
        let check = values::resource_check(a, shown.name);
        let request = |resource: &Gvr| values::request(a, shown.name, shown.namespace, resource, shown.kind);
        let own_request = request(a.resource);
        Self {
            object: expressions::object_value(shown.object.as_ref()),
            old: expressions::object_value(shown.old.as_ref()),
            request: if shown.resource == a.resource { own_request.clone() } else { request(shown.resource) },
            own_request,
            namespace: shown.namespace_object.as_ref().map_or(Cel::Null, expressions::namespace_value),
            authorizer: Cel::Authz(Arc::new(Authz::new(who.clone()))),
            own_check: Cel::Authz(Arc::new(Authz::resource(who, check))),
        }
    }
}

impl Scope for Write {
    fn variable(&self, name: &str, _: &mut Meter) -> Option<Result<Cel, EvalError>> {
        let value = match name {
            "object" => &self.object,
            "oldObject" => &self.old,
            "request" => &self.request,
            "namespaceObject" => &self.namespace,
            "authorizer" => &self.authorizer,
            "authorizer.requestResource" => &self.own_check,
            _ => return None,
        };
        Some(Ok(value.clone()))
    }
}

/// What match conditions name: upstream tells them the resource that was asked for, and no namespace.
pub(super) struct Conditional<'a> {
    pub(super) write: &'a Write,
    pub(super) params: Option<&'a Cel>,
}

impl Scope for Conditional<'_> {
    fn variable(&self, name: &str, meter: &mut Meter) -> Option<Result<Cel, EvalError>> {
        match name {
            "request" => Some(Ok(self.write.own_request.clone())),
            "namespaceObject" => Some(Ok(Cel::Null)),
            "params" => self.params.map(|params| Ok(params.clone())),
            _ => self.write.variable(name, meter),
        }
    }
}
