//! ClusterRoles with an aggregation rule hold the rules of all roles that the rule selects.

use std::sync::Arc;

use controller_kit::{Context, Controller, Error, Handle, Key, Next, Row, Runner, Writer, owner};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};

pub(crate) static ROW: Row = Row {
    name: "clusterrole-aggregation",
    account: "clusterrole-aggregation-controller",
    inputs: &["ClusterRole"],
    outputs: &["ClusterRole"],
    workers: 2,
};

pub(crate) async fn start(context: Context) {
    let roles = context.informer::<ClusterRole>();
    let store = roles.store().clone();
    // Any role may be selected by any that aggregates; there are few of these.
    let by_role = move |_: &ClusterRole| {
        store.list().iter().filter(|role| role.aggregation_rule.is_some()).map(|role| Key::of(&**role)).collect()
    };
    let runner = Runner::new(&context).watch(&roles, by_role);
    runner.run(Driver { writer: context.writer(), roles }).await;
}

struct Driver {
    writer: Writer,
    roles: Handle<ClusterRole>,
}

impl Controller for Driver {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(role) = self.roles.store().get(key) else { return Ok(Next::Done) };
        let Some(rules) = aggregate(&role, &self.roles.store().list()) else { return Ok(Next::Done) };
        self.writer.replace(&ClusterRole { rules: Some(rules), ..role.as_ref().clone() }).await?;
        Ok(Next::Done)
    }
}

/// The rules that `role` should have, if these differ from those it has.
fn aggregate(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Option<Vec<PolicyRule>> {
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in role.aggregation_rule.as_ref()?.cluster_role_selectors.iter().flatten() {
        let Ok(selector) = owner::selector(Some(selector)) else { continue };
        let chosen = all.iter().filter(|other| owner::matches(selector.as_ref(), owner::labels(&***other)));
        for rule in chosen
            .filter(|other| other.metadata.name != role.metadata.name)
            .flat_map(|other| other.rules.iter().flatten())
        {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    (rules != role.rules.clone().unwrap_or_default()).then_some(rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_are_gathered_without_doubles() {
        let role = |value: serde_json::Value| -> Arc<ClusterRole> { Arc::new(serde_json::from_value(value).unwrap()) };
        let rule = |resource: &str| json!({"apiGroups": [""], "resources": [resource], "verbs": ["get"]});
        let view = role(json!({"metadata": {"name": "view"}, "aggregationRule": {"clusterRoleSelectors": [
            {"matchLabels": {"to-view": "true"}}]}}));
        let part = |name: &str, resources: &[&str]| {
            let rules: Vec<_> = resources.iter().map(|one| rule(one)).collect();
            role(json!({"metadata": {"name": name, "labels": {"to-view": "true"}}, "rules": rules}))
        };
        let all = [
            view.clone(),
            part("a", &["pods", "secrets"]),
            part("b", &["pods"]),
            role(json!({"metadata": {"name": "c"}, "rules": [rule("x")]})),
        ];
        let rules = aggregate(&view, &all).unwrap();
        assert_eq!(rules.len(), 2);
        let done = ClusterRole { rules: Some(rules), ..view.as_ref().clone() };
        assert!(aggregate(&done, &all).is_none());
    }
}
