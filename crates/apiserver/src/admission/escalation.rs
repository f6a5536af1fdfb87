//! Nobody hands out permissions that they do not hold. Upstream has this in the storage of roles and bindings.

use super::{Attributes, Context, Operation};
use crate::authn::user::MASTERS;
use crate::authz::rbac::{RoleRef, Rule, may_grant};
use crate::authz::{self, ResourceTarget};
use api_core::meta::Meta;
use api_core::{ApiError, Reason};
use serde_json::{Value, json};

const GROUP: &str = "rbac.authorization.k8s.io";
const WRITES: [Operation; 2] = [Operation::Create, Operation::Update];

/// Checks a write of a role or a binding, last of the mutating plugins, so that it sees what they made of it.
pub fn mutate(context: &Context, a: &Attributes<'_>, object: &mut Value) -> Result<(), ApiError> {
    if a.resource.group != GROUP || !WRITES.contains(&a.operation) || a.user.in_group(MASTERS) {
        return Ok(());
    }
    match a.resource.resource.as_str() {
        "roles" | "clusterroles" => role(context, a, object),
        "rolebindings" | "clusterrolebindings" => binding(context, a, object),
        _ => Ok(()),
    }
}

fn may(context: &Context, a: &Attributes<'_>, verb: &str, resource: &str, name: &str) -> bool {
    let target = ResourceTarget { group: GROUP, version: "*", resource, subresource: "", namespace: a.namespace, name };
    context.authorizer.authorize(&authz::Attributes::resource(a.user, verb, target)).is_allowed()
}

fn role(context: &Context, a: &Attributes<'_>, role: &Value) -> Result<(), ApiError> {
    let unchanged = |field: &str| a.old.is_some_and(|old| old[field] == role[field]);
    if (unchanged("rules") && unchanged("aggregationRule"))
        || may(context, a, "escalate", &a.resource.resource, role.name())
    {
        return Ok(());
    }
    let grant = |rules: &[Rule]| context.authorizer.with_roles(|index| may_grant(index, a.user, a.namespace, rules));
    grant(&Rule::read_all(role)).map_err(|why| a.forbidden(Some(role), &why))?;
    if role.get("aggregationRule").is_some_and(|r| !r.is_null()) {
        let all = [
            Rule::read(&json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]})),
            Rule::read(&json!({"nonResourceURLs": ["*"], "verbs": ["*"]})),
        ];
        let why = "must have cluster-admin privileges to use the aggregationRule";
        grant(&all).map_err(|_| a.forbidden(Some(role), why))?;
    }
    Ok(())
}

fn binding(context: &Context, a: &Attributes<'_>, binding: &Value) -> Result<(), ApiError> {
    if a.old.is_some_and(|old| old["roleRef"] == binding["roleRef"] && old["subjects"] == binding["subjects"]) {
        return Ok(());
    }
    let text = |field: &str| binding["roleRef"][field].as_str().unwrap_or("").to_owned();
    let role = RoleRef { kind: text("kind"), name: text("name") };
    let resource = if role.kind == "Role" { "roles" } else { "clusterroles" };
    if may(context, a, "bind", resource, &role.name) {
        return Ok(());
    }
    context.authorizer.with_roles(|index| {
        let rules = index.role_rules(&role, a.namespace).map_err(|why| no_such_role(&role, resource, why))?;
        may_grant(index, a.user, a.namespace, &rules).map_err(|why| a.forbidden(Some(binding), &why))
    })
}

fn no_such_role(role: &RoleRef, resource: &str, why: String) -> ApiError {
    match role.kind.as_str() {
        "Role" | "ClusterRole" => {
            let resource = api_core::GroupResource { group: GROUP.into(), resource: resource.into() };
            ApiError::not_found(&resource, &role.name)
        }
        _ => ApiError::new(500, Reason::Unknown, why),
    }
}
