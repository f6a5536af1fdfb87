//! Role-based access control: rules, the index of roles and bindings, and the check against escalation.
//!
//! A decision reads the compiled index only; objects are decoded once, when they change.

mod escalation;
mod index;
mod rule;

pub use escalation::may_grant;
pub use index::{Grant, Index, RoleRef};
pub use rule::Rule;

use super::attributes::{Attributes, Decision, Target};

/// Whether `owned` grants all that `wanted` does.
pub fn covers(owned: &[Rule], wanted: &[Rule]) -> bool {
    rule::uncovered(owned, wanted).is_empty()
}

/// Decides by roles and bindings.
pub fn authorize(index: &Index, attributes: &Attributes<'_>) -> Decision {
    let namespace = match attributes.target {
        Target::Path(_) => "",
        Target::Resource(t) => t.namespace,
    };
    let mut missing: Vec<String> = Vec::new();
    let mut reason = None;
    index.visit(attributes.user, namespace, &mut |grant| match grant {
        Grant::Rule { rule, source } if allows(rule, attributes) => {
            reason = Some(format!("RBAC: allowed by {source}"));
            false
        }
        Grant::Rule { .. } => true,
        Grant::Missing(error) => {
            if !missing.contains(&error) {
                missing.push(error);
            }
            true
        }
    });
    match (reason, missing.as_slice()) {
        (Some(reason), _) => Decision::Allow(reason),
        (None, []) => Decision::NoOpinion(String::new()),
        (None, [one]) => Decision::NoOpinion(format!("RBAC: {one}")),
        (None, many) => Decision::NoOpinion(format!("RBAC: [{}]", many.join(", "))),
    }
}

/// Whether a rule allows a request.
pub fn allows(rule: &Rule, attributes: &Attributes<'_>) -> bool {
    match attributes.target {
        Target::Path(path) => rule.allows_path(attributes.verb, path),
        Target::Resource(t) => rule.allows_resource(attributes.verb, t.group, t.resource, t.subresource, t.name),
    }
}

#[cfg(test)]
mod tests;
