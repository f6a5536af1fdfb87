//! Pod garbage: pods whose node is gone, pods that were deleted before they had one, and the oldest of too many that
//! have ended.

use std::sync::Arc;
use std::time::Duration;

use controller_kit::{Context, Controller, Error, Handle, Key, Next, Remove, Row, Runner, Writer, conditions};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::node_lifecycle::NODE_INDEX;
use crate::pods;

/// Ended pods that are kept for people to look at.
const TERMINATED_PODS_MAX: usize = 12_500;
/// How long a node must have been gone before its pods are.
const QUARANTINE: Duration = Duration::from_secs(40);
const TERMINATED_INDEX: &str = "terminated";
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

pub(crate) static ROW: Row = Row {
    name: "podgc",
    account: "pod-garbage-collector",
    inputs: &["Pod", "Node"],
    outputs: &["Pod", "Pod/status"],
    workers: 4,
};

pub(crate) async fn start(context: Context) {
    let (nodes, pods) = (context.informer::<Node>(), context.informer::<Pod>());
    pods.store().add_index(NODE_INDEX, |pod| vec![pods::node_name(pod).to_owned()]);
    pods.store().add_index(
        TERMINATED_INDEX,
        |pod| {
            if pods::is_terminal(pod) { vec![String::new()] } else { Vec::new() }
        },
    );
    let store = pods.store().clone();
    let by_node = move |node: &Node| {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        store.by_index(NODE_INDEX, name).iter().map(|pod| Key::of(&**pod)).collect()
    };
    let runner = Runner::new(&context).primary(&pods).watch(&nodes, by_node);
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
        let Some(pod) = self.pods.store().get(key) else { return Ok(Next::Done) };
        let name = pods::node_name(&pod);
        let node = self.nodes.store().find("", name);
        if name.is_empty() {
            if pods::is_deleting(&pod) {
                self.remove(&pod).await?;
            }
        } else if let Some(node) = node {
            if pods::is_deleting(&pod) && is_out_of_service(&node) {
                let text = "PodGC: node is out of service";
                self.fail(&pod, text).await?;
                self.remove(&pod).await?;
            }
        } else {
            return self.orphan(key, &pod, name).await;
        }
        if pods::is_terminal(&pod) {
            self.thin_out().await?;
        }
        Ok(Next::Done)
    }
}

impl Driver {
    async fn orphan(&self, key: &Key, pod: &Arc<Pod>, node: &str) -> Result<Next, Error> {
        let bound = conditions::get(pods::status(pod).and_then(|status| status.conditions.as_ref()), "PodScheduled");
        let since = bound.and_then(|bound| bound.last_transition_time.as_ref()).map(|time| time.0);
        let since = since.or(pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
        // The node may be so new that it is not in the cache; after the quarantine the server is asked.
        let age = since.and_then(|since| (self.context.now() - since).to_std().ok()).unwrap_or_default();
        if age < QUARANTINE {
            return Ok(Next::After(QUARANTINE - age));
        }
        if self.writer.read::<Node>(&Key::cluster(node)).await?.is_some() {
            return Ok(Next::After(QUARANTINE));
        }
        tracing::debug!(pod = %key, node, "its node is gone");
        self.fail(pod, "PodGC: node no longer exists").await?;
        self.remove(pod).await?;
        Ok(Next::Done)
    }

    /// Deletes the pods that ended first, as many as there are too many.
    async fn thin_out(&self) -> Result<(), Error> {
        let mut ended = self.pods.store().by_index(TERMINATED_INDEX, "");
        let surplus = ended.len().saturating_sub(TERMINATED_PODS_MAX);
        if surplus == 0 {
            return Ok(());
        }
        ended.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
        for pod in ended.iter().take(surplus).filter(|pod| !pods::is_deleting(pod)) {
            self.remove(pod).await?;
        }
        Ok(())
    }

    async fn fail(&self, pod: &Pod, message: &str) -> Result<(), Error> {
        if pods::is_terminal(pod) {
            return Ok(());
        }
        let patch = serde_json::json!({"metadata": {"uid": pod.metadata.uid}, "status": {"phase": "Failed", "conditions": [{
            "type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC", "message": message,
            "lastTransitionTime": Time(self.context.now())}]}});
        match self.writer.strategic_patch_subresource::<Pod>("status", &Key::of(pod), &patch).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    async fn remove(&self, pod: &Pod) -> Result<(), Error> {
        let now = Remove { grace_seconds: Some(0), ..Remove::this(pod) };
        self.writer.delete::<Pod>(&Key::of(pod), &now).await.map(drop)
    }
}

fn is_out_of_service(node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref()).into_iter().flatten();
    let marked = taints.into_iter().any(|taint| taint.key == OUT_OF_SERVICE);
    marked && !conditions::is_true(node.status.as_ref().and_then(|status| status.conditions.as_ref()), "Ready")
}
