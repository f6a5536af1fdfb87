//! DaemonSets: one pod on every node that fits, rolled from one template to the next.

mod plan;
mod surge;

use std::sync::Arc;
use std::time::Duration;

use controller_kit::{Context, Controller, Error, Expectations, Handle, Key, Next, Remove, Row, Runner, Writer, owner};
use futures::future::try_join_all;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};

use crate::batch::slow_start;
use crate::revisions;
use plan::{Plan, new_pod};

pub(crate) static ROW: Row = Row {
    name: "daemonset",
    account: "daemon-set-controller",
    inputs: &["DaemonSet", "Pod", "Node", "ControllerRevision"],
    outputs: &["Pod", "DaemonSet/status", "ControllerRevision", "Event"],
    workers: 2,
};

pub(crate) async fn start(context: Context) {
    let (sets, pods) = (context.informer::<DaemonSet>(), context.informer::<Pod>());
    let (nodes, history) = (context.informer::<Node>(), context.informer::<ControllerRevision>());
    let store = sets.store().clone();
    let by_node = move |old: Option<&Node>, new: Option<&Node>| {
        let key = |node: &Node| (node.metadata.labels.clone(), node.spec.as_ref().and_then(|spec| spec.taints.clone()));
        if old.map(key) == new.map(key) { Vec::new() } else { store.keys() }
    };
    let by_pod = |pod: &Pod| owned_by(pod);
    let runner = Runner::new(&context)
        .primary(&sets)
        .watch(&pods, by_pod)
        .watch_change(&nodes, by_node)
        .watch(&history, owned_by);
    let writer = context.writer();
    runner.run(Driver { context, writer, sets, pods, nodes, history, expectations: Expectations::default() }).await;
}

fn owned_by<K: kube::Resource>(object: &K) -> Vec<Key> {
    let namespace = object.meta().namespace.as_deref().unwrap_or_default();
    let owner = owner::controller_of(object).filter(|owner| owner.kind == "DaemonSet");
    owner.map(|owner| Key::new(namespace, &owner.name)).into_iter().collect()
}

struct Driver {
    context: Context,
    writer: Writer,
    sets: Handle<DaemonSet>,
    pods: Handle<Pod>,
    nodes: Handle<Node>,
    history: Handle<ControllerRevision>,
    expectations: Expectations,
}

impl Controller for Driver {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(set) = self.sets.store().get(key) else {
            self.expectations.forget(key);
            return Ok(Next::Done);
        };
        let Some(spec) = set.spec.as_ref() else { return Ok(Next::Done) };
        let settled = self.expectations.satisfied(key, self.pods.store());
        let pods = self.claim(key, &set).await?;
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(Next::Done);
        }
        let collisions = set.status.as_ref().and_then(|status| status.collision_count);
        let history = revisions::sync(&self.writer, self.history.store(), &*set, &spec.template, collisions).await?;
        let hash = revisions::hash(&history.latest).to_owned();
        let plan = plan::plan(&set, &hash, &pods, &self.nodes.store().list(), settled, self.context.now());
        let next = self.carry_out(key, &set, &hash, plan).await?;
        let used = |revision: &ControllerRevision| {
            let own = revisions::hash(revision);
            let makes =
                |pod: &Arc<Pod>| owner::labels(&**pod).get(revisions::HASH_LABEL).is_some_and(|have| have == own);
            own == hash || pods.iter().any(makes)
        };
        revisions::thin_out(&self.writer, &history, spec.revision_history_limit, used).await?;
        Ok(next)
    }
}

impl Driver {
    async fn claim(&self, key: &Key, set: &DaemonSet) -> Result<Vec<Arc<Pod>>, Error> {
        let selector = owner::selector(set.spec.as_ref().map(|spec| &spec.selector));
        let selector = selector.map_err(|reason| Error::Invalid { kind: "DaemonSet", key: key.clone(), reason })?;
        let (store, uid) = (self.pods.store(), set.metadata.uid.as_deref().unwrap_or_default());
        let chosen = |pod: &Pod| owner::matches(selector.as_ref(), owner::labels(pod));
        let deleting = set.metadata.deletion_timestamp.is_some();
        let mut claims = owner::claim(deleting, store.children(uid), store.orphans(&key.namespace), chosen);
        crate::adopt::carry_out(&self.writer, set, &mut claims, None, |pod| self.expectations.wrote(key, pod)).await?;
        Ok(claims.owned)
    }

    async fn carry_out(&self, key: &Key, set: &DaemonSet, hash: &str, plan: Plan) -> Result<Next, Error> {
        for pod in &plan.failed {
            let (name, node) =
                (pod.metadata.name.as_deref().unwrap_or_default(), plan::node_of(pod).unwrap_or_default());
            let message = format!(
                "Found failed daemon pod {} on node {node}, will try to kill it",
                Key::new(&key.namespace, name)
            );
            self.context.events.warning(set, "FailedDaemonPod", message);
        }
        let kill = |pod: Arc<Pod>| async move {
            self.writer.delete::<Pod>(&Key::of(&*pod), &Remove::this(&*pod)).await?;
            self.expectations.deleted(key, &*pod);
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            self.context.events.normal(set, "SuccessfulDelete", format!("Deleted pod: {name}"));
            Ok::<_, Error>(())
        };
        try_join_all(plan.delete.into_iter().map(kill)).await?;
        slow_start(plan.create.len(), |at| self.create(key, set, &plan.create[at], hash)).await?;
        if let Some(status) = &plan.status {
            self.writer.replace_status(status).await?;
        }
        let again = plan.look_again.and_then(|left| left.to_std().ok());
        Ok(again.map_or(Next::Done, |left| Next::After(left + Duration::from_millis(10))))
    }

    async fn create(&self, key: &Key, set: &DaemonSet, node: &str, hash: &str) -> Result<(), Error> {
        let Some(pod) = new_pod(set, node, hash) else { return Ok(()) };
        match self.writer.create(&pod).await {
            Ok(made) => {
                self.expectations.wrote(key, &made);
                let name = made.metadata.name.unwrap_or_default();
                self.context.events.normal(set, "SuccessfulCreate", format!("Created pod: {name}"));
                Ok(())
            }
            Err(error) if error.is_namespace_terminating() => Ok(()),
            Err(error) => {
                self.context.events.warning(set, "FailedCreate", format!("Error creating: {}", crate::text(&error)));
                Err(error)
            }
        }
    }
}
