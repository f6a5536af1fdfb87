//! Whether a user may do what a request asks for: `system:masters`, health paths, node agents, roles.

mod attributes;
pub(crate) mod feed;
pub mod node;
pub mod rbac;

pub use attributes::{Attributes, Decision, ResourceTarget, Target};

use crate::authn::user::MASTERS;
use api_core::ApiError;
use api_kinds::names;
use parking_lot::RwLock;
use rbac::Rule;
use serde_json::Value;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

const RBAC_GROUP: &str = "rbac.authorization.k8s.io";
/// Paths that everyone may get whatever the roles say, so that a load balancer can.
const OPEN_PATHS: [&str; 3] = ["/healthz", "/livez", "/readyz"];

/// How long the refusal of a node agent waits for what the agent may have seen in a watch before we did.
const NODE_PATIENCE: Duration = Duration::from_millis(250);

/// Decides.
#[derive(Debug, Default)]
pub struct Authorizer {
    roles: RwLock<rbac::Index>,
    nodes: RwLock<node::Graph>,
    node_rules: Vec<Rule>,
    /// Told of every change of `nodes`.
    nodes_changed: watch::Sender<()>,
}

/// What happened to an object that decisions depend on.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// It is there, in this state.
    Put(&'a Value),
    /// It is not there.
    Gone {
        /// Its namespace, or empty.
        namespace: &'a str,
        /// Its name.
        name: &'a str,
    },
}

fn observe_nodes(nodes: &mut node::Graph, resource: &str, change: Change<'_>) {
    use Change::{Gone, Put};
    match (resource, change) {
        (names::PODS, Put(pod)) => nodes.put_pod(pod),
        (names::PODS, Gone { namespace, name }) => nodes.remove_pod(namespace, name),
        ("persistentvolumes", Put(volume)) => nodes.put_volume(volume),
        ("persistentvolumes", Gone { name, .. }) => nodes.remove_volume(name),
        ("volumeattachments", Put(attachment)) => nodes.put_attachment(attachment),
        ("volumeattachments", Gone { name, .. }) => nodes.remove_attachment(name),
        _ => {}
    }
}

impl Authorizer {
    /// Resources whose changes [`Authorizer::observe`] must be told of.
    pub const OBSERVED: [(&'static str, &'static str); 7] = [
        (RBAC_GROUP, "clusterroles"),
        (RBAC_GROUP, "clusterrolebindings"),
        (RBAC_GROUP, "roles"),
        (RBAC_GROUP, "rolebindings"),
        ("", names::PODS),
        ("", "persistentvolumes"),
        ("storage.k8s.io", "volumeattachments"),
    ];

    /// One that knows no roles yet; `node_rules` are what every node agent may do.
    pub fn new(node_rules: Vec<Rule>) -> Self {
        Self { node_rules, ..Self::default() }
    }

    /// Takes in a change of an object.
    pub fn observe(&self, group: &str, resource: &str, change: Change<'_>) {
        use Change::{Gone, Put};
        match (group, resource, change) {
            (RBAC_GROUP, "roles" | "clusterroles", Put(role)) => self.roles.write().put_role(role),
            (RBAC_GROUP, "roles" | "clusterroles", Gone { namespace, name }) => {
                self.roles.write().remove_role(namespace, name);
            }
            (RBAC_GROUP, _, Put(binding)) => self.roles.write().put_binding(binding),
            (RBAC_GROUP, _, Gone { namespace, name }) => self.roles.write().remove_binding(namespace, name),
            _ => {
                observe_nodes(&mut self.nodes.write(), resource, change);
                self.nodes_changed.send_replace(());
            }
        }
    }

    /// Decides about a request as [`Authorizer::authorize`], but leaves health to everyone, and gives a node agent that it
    /// would refuse a moment: the agent may have learnt of its pod from the watch that keeps our graph, and just have been
    /// quicker.
    pub async fn decide(&self, a: &Attributes<'_>) -> Decision {
        if a.verb == "get" && matches!(a.target, Target::Path(path) if OPEN_PATHS.contains(&path)) {
            return Decision::Allow(String::new());
        }
        let mut changed = self.nodes_changed.subscribe();
        let mut decision = self.authorize(a);
        if a.user.node().is_none() || matches!(a.target, Target::Path(_)) {
            return decision;
        }
        let deadline = Instant::now() + NODE_PATIENCE;
        while !decision.is_allowed() && tokio::time::timeout_at(deadline, changed.changed()).await.is_ok() {
            decision = self.authorize(a);
        }
        decision
    }

    /// Decides.
    pub fn authorize(&self, a: &Attributes<'_>) -> Decision {
        if a.user.in_group(MASTERS) {
            return Decision::Allow(String::new());
        }
        let node = node::authorize(&self.nodes.read(), &self.node_rules, a);
        let Decision::NoOpinion(node_reason) = node else { return node };
        match rbac::authorize(&self.roles.read(), a) {
            Decision::NoOpinion(reason) => {
                let reasons: Vec<String> = [node_reason, reason].into_iter().filter(|r| !r.is_empty()).collect();
                Decision::NoOpinion(reasons.join("\n"))
            }
            decided => decided,
        }
    }

    /// A 403 unless it is allowed.
    pub fn require(&self, a: &Attributes<'_>) -> Result<(), ApiError> {
        match self.authorize(a) {
            Decision::Allow(_) => Ok(()),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => Err(a.forbidden(&reason)),
        }
    }

    /// Reads the index of roles.
    pub fn with_roles<T>(&self, read: impl FnOnce(&rbac::Index) -> T) -> T {
        read(&self.roles.read())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::UserInfo;
    use serde_json::json;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_node_that_is_quicker_than_the_graph_is_not_refused() {
        let authorizer = Arc::new(Authorizer::new(Vec::new()));
        let node = UserInfo::authenticated("system:node:one", ["system:nodes"]);
        let secret = ResourceTarget { resource: "secrets", namespace: "ns", name: "s", ..ResourceTarget::default() };
        let ask = Attributes::resource(&node, "get", secret);
        assert!(!authorizer.decide(&ask).await.is_allowed(), "it waits, and then refuses");
        let pod = json!({"metadata": {"namespace": "ns", "name": "p"},
            "spec": {"nodeName": "one", "volumes": [{"secret": {"secretName": "s"}}]}});
        let decided = authorizer.decide(&ask);
        // Begins once the other waits.
        let late = async { authorizer.observe("", "pods", Change::Put(&pod)) };
        let (decided, ()) = tokio::join!(biased; decided, late);
        assert!(decided.is_allowed());
    }
}
