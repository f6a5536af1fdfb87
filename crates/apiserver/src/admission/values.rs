//! What expressions see of a write that is no object: the request, and who answers about permissions.

use super::{Attributes, Operation};
use crate::authn::UserInfo;
use crate::authz;
use crate::registry::options::DeleteOptions;
use api_cel::{Authorize, Check, Decision, Value as Cel, from_json};
use api_core::{Gvk, Gvr};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Asks the server's authorizer about a user.
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) authorizer: Arc<authz::Authorizer>,
    pub(super) user: UserInfo,
}

impl Authorize for Asker {
    fn check(&self, check: &Check) -> Decision {
        let account = check.service_account.as_ref().map(|(namespace, name)| {
            let groups = ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
            UserInfo::authenticated(format!("system:serviceaccount:{namespace}:{name}"), groups)
        });
        let user = account.as_ref().unwrap_or(&self.user);
        let attributes = match &check.path {
            Some(path) => authz::Attributes::path(user, &check.verb, path),
            None => {
                let target = authz::ResourceTarget {
                    group: &check.group,
                    version: "*",
                    resource: &check.resource,
                    subresource: &check.subresource,
                    namespace: &check.namespace,
                    name: &check.name,
                };
                authz::Attributes::resource(user, &check.verb, target)
            }
        };
        let decision = self.authorizer.authorize(&attributes);
        Decision { allowed: decision.is_allowed(), reason: decision.reason().to_owned(), error: None }
    }
}

/// What `authorizer.requestResource` asks about.
pub(super) fn resource_check(a: &Attributes<'_>, name: &str) -> Check {
    Check {
        group: a.resource.group.clone(),
        resource: a.resource.resource.clone(),
        subresource: a.subresource.to_owned(),
        namespace: a.namespace.to_owned(),
        name: name.to_owned(),
        ..Check::default()
    }
}

/// `request`; what is empty is not there.
pub(super) fn request(a: &Attributes<'_>, name: &str, namespace: &str, gvr: &Gvr, kind: &Gvk) -> Cel {
    let options = options(a);
    let own = a.row.subresource(a.subresource).map_or(&a.row.kind, |s| &s.kind);
    let kind_of = |k: &Gvk| json!({"group": k.group, "version": k.version, "kind": k.kind});
    let resource_of = |r: &Gvr| json!({"group": r.group, "version": r.version, "resource": r.resource});
    let mut request = json!({
        "kind": kind_of(kind),
        "resource": resource_of(gvr),
        "requestKind": kind_of(own),
        "requestResource": resource_of(a.resource),
        "operation": a.operation.as_str(),
        "userInfo": {"username": a.user.name},
        "dryRun": a.dry_run,
    });
    let user = &mut request["userInfo"];
    if !a.user.uid.is_empty() {
        user["uid"] = a.user.uid.as_str().into();
    }
    if !a.user.groups.is_empty() {
        user["groups"] = a.user.groups.clone().into();
    }
    if !a.user.extra.is_empty() {
        user["extra"] = json!(a.user.extra);
    }
    for (field, value) in [
        ("name", name),
        ("namespace", namespace),
        ("subResource", a.subresource),
        ("requestSubResource", a.subresource),
    ] {
        if !value.is_empty() {
            request[field] = Value::from(value);
        }
    }
    if !options.is_null() {
        request["options"] = options;
    }
    from_json(&request)
}

/// The options of the request as a document; null if the request is not known.
pub(super) fn options(a: &Attributes<'_>) -> Value {
    let Some(request) = a.request else { return Value::Null };
    let kind = match a.operation {
        Operation::Connect => return Value::Null,
        Operation::Create => "CreateOptions",
        Operation::Delete => "DeleteOptions",
        // Upstream tells what a patch does, not that it is one.
        Operation::Update => "UpdateOptions",
    };
    let mut options = Map::new();
    options.insert("kind".into(), kind.into());
    options.insert("apiVersion".into(), "meta.k8s.io/v1".into());
    if let Some(Value::Object(given)) = a.delete_options.map(DeleteOptions::to_value) {
        options.extend(given);
    }
    if a.dry_run {
        options.insert("dryRun".into(), json!(["All"]));
    }
    let query = request.query;
    for field in ["fieldManager", "fieldValidation", "propagationPolicy"] {
        if kind != "DeleteOptions" || field == "propagationPolicy" {
            let text = query.get(field);
            if !text.is_empty() {
                options.insert(field.into(), text.into());
            }
        }
    }
    Value::Object(options)
}
