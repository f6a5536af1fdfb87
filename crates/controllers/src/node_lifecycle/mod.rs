//! Node lifecycle: a node that falls silent becomes Unknown; conditions become taints; its pods stop being ready.
//!
//! Silence is judged by when a heartbeat (lease or status) was seen here, never by another machine's clock.
//! [`eviction`] then acts on the taints.

pub mod eviction;
mod plan;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use client::informer::Selector;
use controller_kit::{Context, Controller, Error, Handle, Key, Next, Row, Runner, Writer, conditions};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition};
use parking_lot::Mutex;

use crate::pods;
use controller_kit::conditions::Condition;

pub(crate) const NODE_INDEX: &str = "spec.nodeName";

pub(crate) static ROW: Row = Row {
    name: "node",
    account: "node-controller",
    inputs: &["Node", "Lease", "Pod"],
    outputs: &["Node", "Node/status", "Pod/status", "Event"],
    workers: 8,
};

pub(crate) async fn start(context: Context) {
    let (nodes, pods) = (context.informer::<Node>(), context.informer::<Pod>());
    let leases = context.informer_of::<Lease>(Selector::namespace("kube-node-lease"));
    pods.store().add_index(NODE_INDEX, |pod| vec![pods::node_name(pod).to_owned()]);
    let by_lease = |lease: &Lease| vec![Key::cluster(lease.metadata.name.as_deref().unwrap_or_default())];
    let runner = Runner::new(&context).primary(&nodes).watch(&leases, by_lease).reads(&pods);
    let writer = context.writer();
    runner.run(Driver { context, writer, nodes, leases, pods, seen: Mutex::default() }).await;
}

/// The last heartbeat of a node, and when it was seen here.
struct Seen {
    mark: String,
    at: DateTime<Utc>,
}

struct Driver {
    context: Context,
    writer: Writer,
    nodes: Handle<Node>,
    leases: Handle<Lease>,
    pods: Handle<Pod>,
    seen: Mutex<HashMap<Key, Seen>>,
}

impl Controller for Driver {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(node) = self.nodes.store().get(key) else {
            self.seen.lock().remove(key);
            return Ok(Next::Done);
        };
        let now = self.context.now();
        let silent_for = now - self.heartbeat(key, &node, now);
        let mut current = node.as_ref().clone();
        if let Some(changed) = plan::status(&node, silent_for, now) {
            current = self.writer.replace_status(&changed).await?;
        }
        let (before, after) = (plan::readiness(&node), plan::readiness(&current));
        let all_down = !self.nodes.store().list().iter().any(|other| plan::readiness(other) == "True");
        if let Some(tainted) = plan::taints(&current, all_down, now) {
            self.writer.replace(&tainted).await?;
        }
        if after != "True" {
            self.stop_readiness(&key.name, now).await?;
            if before == "True" {
                let message = format!("Node {} status is now: NodeNotReady", key.name);
                self.context.events.normal(&*node, "NodeNotReady", message);
            }
        }
        let left = plan::grace(&node) - silent_for;
        let wait = left.to_std().ok().filter(|_| after != "Unknown");
        Ok(wait.map_or(Next::Done, |wait| Next::After(wait + Duration::from_millis(100))))
    }
}

impl Driver {
    /// When the node's latest heartbeat was seen here.
    fn heartbeat(&self, key: &Key, node: &Node, now: DateTime<Utc>) -> DateTime<Utc> {
        let lease = self.leases.store().find("kube-node-lease", &key.name);
        let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.clone());
        let ready = conditions::get(node.status.as_ref().and_then(|status| status.conditions.as_ref()), "Ready");
        let posted = ready.and_then(|ready| ready.last_heartbeat_time.clone());
        let mark = format!("{renewed:?} {posted:?}");
        let mut seen = self.seen.lock();
        match seen.get(key) {
            Some(seen) if seen.mark == mark => seen.at,
            _ => {
                seen.insert(key.clone(), Seen { mark, at: now });
                now
            }
        }
    }

    /// Pods on a node that is not ready are not ready either, whatever they said last.
    async fn stop_readiness(&self, node: &str, now: DateTime<Utc>) -> Result<(), Error> {
        for pod in self.pods.store().by_index(NODE_INDEX, node) {
            if !pods::is_ready(&pod) || pods::is_terminal(&pod) {
                continue;
            }
            let changed = not_ready(&pod, now);
            match self.writer.replace_status(&changed).await {
                Err(error) if !error.is_not_found() && !error.is_conflict() => return Err(error),
                _ => self.context.events.warning(&*pod, "NodeNotReady", "Node is not ready"),
            }
        }
        Ok(())
    }
}

fn not_ready(pod: &Arc<Pod>, now: DateTime<Utc>) -> Pod {
    let mut changed = Pod::clone(pod);
    let list = changed.status.get_or_insert_default().conditions.get_or_insert_default();
    let mut condition = PodCondition::make("Ready", "False", "", "", now);
    if let Some(old) = conditions::get(Some(list), "Ready") {
        condition.reason.clone_from(&old.reason);
        condition.message.clone_from(&old.message);
    }
    conditions::set(list, condition);
    changed
}
