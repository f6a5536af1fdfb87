//! Taint eviction: a pod goes from a node that has a NoExecute taint, unless it bears it, and for as long as it does.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use controller_kit::{Context, Controller, Error, Handle, Key, Next, Remove, Row, Runner, Writer, placement};
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::NODE_INDEX;
use crate::pods;

pub(crate) static ROW: Row = Row {
    name: "taint-eviction",
    account: "node-controller",
    inputs: &["Node", "Pod"],
    outputs: &["Pod", "Pod/status", "Event"],
    workers: 8,
};

pub(crate) async fn start(context: Context) {
    let (nodes, pods) = (context.informer::<Node>(), context.informer::<Pod>());
    pods.store().add_index(NODE_INDEX, |pod| vec![pods::node_name(pod).to_owned()]);
    let store = pods.store().clone();
    let by_node = move |old: Option<&Node>, new: Option<&Node>| {
        let Some(node) = new.filter(|node| old.is_none_or(|old| no_execute(old) != no_execute(node))) else {
            return Vec::new();
        };
        let name = node.metadata.name.as_deref().unwrap_or_default();
        store.by_index(NODE_INDEX, name).iter().map(|pod| Key::of(&**pod)).collect()
    };
    let runner = Runner::new(&context).primary(&pods).watch_change(&nodes, by_node);
    let writer = context.writer();
    runner.run(Driver { context, writer, nodes, pods }).await;
}

struct Driver {
    context: Context,
    writer: Writer,
    nodes: Handle<Node>,
    pods: Handle<Pod>,
}

impl Controller for Driver {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(pod) = self.pods.store().get(key).filter(|pod| pods::is_active(pod)) else { return Ok(Next::Done) };
        let Some(node) = self.nodes.store().find("", pods::node_name(&pod)) else { return Ok(Next::Done) };
        let now = self.context.now();
        let left = match bears(&pod, &no_execute(&node), now) {
            Bears::Always => return Ok(Next::Done),
            Bears::For(left) => left,
        };
        if let Some(wait) = left.to_std().ok().filter(|wait| !wait.is_zero()) {
            return Ok(Next::After(wait + Duration::from_millis(10)));
        }
        self.context.events.normal(&*pod, "TaintManagerEviction", format!("Marking for deletion Pod {key}"));
        let patch = serde_json::json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [{
            "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint", "lastTransitionTime": Time(now)}]}});
        match self.writer.strategic_patch_subresource::<Pod>("status", key, &patch).await {
            Err(error) if error.is_not_found() => return Ok(Next::Done),
            other => drop(other?),
        }
        self.writer.delete::<Pod>(key, &Remove::this(&*pod)).await?;
        Ok(Next::Done)
    }
}

fn no_execute(node: &Node) -> Vec<Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref()).into_iter().flatten();
    taints.filter(|taint| taint.effect == "NoExecute").cloned().collect()
}

#[derive(Debug, PartialEq)]
enum Bears {
    Always,
    For(TimeDelta),
}

/// How much longer the pod bears all of `taints`: as long as the most impatient of the tolerations that match.
fn bears(pod: &Pod, taints: &[Taint], now: DateTime<Utc>) -> Bears {
    let tolerations = pods::spec(pod).and_then(|spec| spec.tolerations.clone()).unwrap_or_default();
    let mut shortest: Option<TimeDelta> = None;
    for taint in taints {
        let matching: Vec<&Toleration> = tolerations.iter().filter(|one| placement::tolerates(one, taint)).collect();
        if matching.is_empty() {
            return Bears::For(TimeDelta::zero());
        }
        let limits = matching.iter().filter_map(|one| one.toleration_seconds);
        let Some(seconds) = limits.min() else { continue };
        let since = taint.time_added.as_ref().map_or(now, |time| time.0);
        let left = (since + TimeDelta::seconds(seconds.max(0)) - now).max(TimeDelta::zero());
        shortest = Some(shortest.map_or(left, |shortest| shortest.min(left)));
    }
    shortest.map_or(Bears::Always, Bears::For)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::build::{pod, time};
    use serde_json::json;

    #[test]
    fn toleration_seconds_run_from_the_taint() {
        let taint = |key: &str| -> Taint {
            serde_json::from_value(json!({"key": key, "effect": "NoExecute", "timeAdded": "2024-01-01T00:00:00Z"}))
                .unwrap()
        };
        let patient = pod(
            "p",
            json!({"spec": {"containers": [], "tolerations": [
            {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            {"key": "b", "operator": "Exists"}]}}),
        );
        let now = time("2024-01-01T00:01:00Z");
        assert_eq!(bears(&patient, &[], now), Bears::Always);
        assert_eq!(bears(&patient, &[taint("b")], now), Bears::Always);
        assert_eq!(bears(&patient, &[taint("a"), taint("b")], now), Bears::For(TimeDelta::seconds(240)));
        assert_eq!(bears(&patient, &[taint("a"), taint("c")], now), Bears::For(TimeDelta::zero()));
    }
}
