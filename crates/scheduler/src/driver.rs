//! Keeps the snapshot and the queue true to the cluster, decides what is ready, and carries decisions out.
//!
//! One task owns all state. Writes run beside it, a bounded number at a time, and report back.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use chrono::Utc;
use client::Key;
use client::informer::{Handle, Informers, Nudge, Subscription};
use controller_kit::{Recorder, owner};
use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::act::{Act, Done, Hands};
use crate::decide::{Decision, Round};
use crate::filters::{Reason, Rule};
use crate::needs::Needs;
use crate::preempt::{self, Budget, Outcome};
use crate::queue::{Change, Queue};
use crate::report;
use crate::snapshot::{NodeInfo, Placed, Snapshot};
use crate::volumes;

/// Pods decided before the driver looks at what has changed.
const BATCH_PODS_MAX: usize = 256;
/// Writes under way; when there are so many, deciding waits.
const WRITES_AT_ONCE_MAX: usize = 128;

/// The informers that the scheduler reads.
pub(crate) struct Inputs {
    pub pods: Handle<Pod>,
    pub nodes: Handle<Node>,
    pub namespaces: Handle<Namespace>,
    pub claims: Handle<PersistentVolumeClaim>,
    pub volumes: Handle<PersistentVolume>,
    pub budgets: Handle<PodDisruptionBudget>,
}

impl Inputs {
    pub fn new(informers: &Informers) -> Self {
        Inputs {
            pods: informers.get(),
            nodes: informers.get(),
            namespaces: informers.get(),
            claims: informers.get(),
            volumes: informers.get(),
            budgets: informers.get(),
        }
    }

    async fn wait_synced(&self) {
        self.nodes.wait_synced().await;
        self.namespaces.wait_synced().await;
        self.claims.wait_synced().await;
        self.volumes.wait_synced().await;
        self.budgets.wait_synced().await;
        self.pods.wait_synced().await;
    }
}

/// Runs the scheduler called `name` until `stop`.
pub(crate) async fn run(name: &str, inputs: Inputs, client: kube::Client, events: Recorder, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => return,
        () = inputs.wait_synced() => {}
    }
    let mut pods = inputs.pods.subscribe();
    let mut nodes = inputs.nodes.subscribe();
    let mut namespaces = inputs.namespaces.subscribe();
    let mut claims = inputs.claims.subscribe();
    let mut volumes = inputs.volumes.subscribe();
    let mut driver = Driver::new(name, inputs, Hands::new(client), events);
    // Nodes before pods, so that those which have one find it.
    while let Some(nudge) = nodes.try_next() {
        driver.look_at_nodes(nudge);
    }
    loop {
        driver.drain(&mut pods, &mut nodes);
        if driver.may_decide() && driver.decide_batch() {
            // Others on this thread get their turn between batches.
            tokio::task::yield_now().await;
            driver.collect();
            continue;
        }
        let due = driver.queue.next_due();
        tokio::select! {
            () = stop.cancelled() => break,
            nudge = pods.next() => driver.look_at_pods(nudge),
            nudge = nodes.next() => driver.look_at_nodes(nudge),
            _ = namespaces.next() => driver.look_at_namespaces(),
            _ = claims.next() => driver.queue.changed(Change::Volumes, Instant::now()),
            _ = volumes.next() => driver.queue.changed(Change::Volumes, Instant::now()),
            Some(done) = driver.writes.join_next() => driver.finish(done),
            () = until(due) => {}
        }
    }
    while let Some(done) = driver.writes.join_next().await {
        driver.finish(done);
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

struct Driver {
    name: String,
    inputs: Inputs,
    hands: Hands,
    events: Recorder,
    snapshot: Snapshot,
    queue: Queue,
    writes: JoinSet<Done>,
    /// Where the next search for a node begins, so that equals take turns.
    start: usize,
}

impl Driver {
    fn new(name: &str, inputs: Inputs, hands: Hands, events: Recorder) -> Self {
        let mut driver = Driver {
            name: name.to_owned(),
            inputs,
            hands,
            events,
            snapshot: Snapshot::default(),
            queue: Queue::default(),
            writes: JoinSet::new(),
            start: 0,
        };
        driver.look_at_namespaces();
        driver
    }

    fn drain(&mut self, pods: &mut Subscription<Pod>, nodes: &mut Subscription<Node>) {
        while let Some(nudge) = nodes.try_next() {
            self.look_at_nodes(nudge);
        }
        while let Some(nudge) = pods.try_next() {
            self.look_at_pods(nudge);
        }
    }

    fn collect(&mut self) {
        while let Some(done) = self.writes.try_join_next() {
            self.finish(done);
        }
    }

    fn may_decide(&self) -> bool {
        self.writes.len() < WRITES_AT_ONCE_MAX
    }

    fn look_at_namespaces(&mut self) {
        let all = self.inputs.namespaces.store().list();
        let labels: BTreeMap<String, BTreeMap<String, String>> = all
            .iter()
            .map(|namespace| (namespace.metadata.name.clone().unwrap_or_default(), owner::labels(&**namespace).clone()))
            .collect();
        if labels != *self.snapshot.namespaces {
            self.snapshot.namespaces = Arc::new(labels);
            self.queue.changed(Change::Namespaces, Instant::now());
        }
    }

    fn look_at_nodes(&mut self, nudge: Nudge<Node>) {
        match nudge {
            Nudge::Look { key, .. } => self.look_at_node(&key),
            Nudge::All => {
                let gone: Vec<Key> = self.snapshot.nodes.iter().map(|node| Key::cluster(&node.name)).collect();
                gone.iter().for_each(|key| self.look_at_node(key));
                self.inputs.nodes.store().keys().iter().for_each(|key| self.look_at_node(key));
            }
        }
    }

    fn look_at_node(&mut self, key: &Key) {
        let Some(node) = self.inputs.nodes.store().get(key) else {
            self.snapshot.remove_node(&key.name);
            return;
        };
        match self.snapshot.set_node(&node) {
            None => {
                // Pods may have been seen before their node.
                for pod in self.inputs.pods.store().list() {
                    if node_name(&pod) == &*key.name {
                        self.look_at_pod(&Key::of(&*pod));
                    }
                }
                self.queue.changed(Change::NodeAdded, Instant::now());
            }
            Some(old) if NodeInfo::new(&node).differs(&old) => self.queue.changed(Change::NodeChanged, Instant::now()),
            Some(_) => {}
        }
    }

    fn look_at_pods(&mut self, nudge: Nudge<Pod>) {
        match nudge {
            Nudge::Look { key, .. } => self.look_at_pod(&key),
            Nudge::All => {
                let known = self.snapshot.nodes.iter().flat_map(|node| node.pods.keys().cloned()).collect::<Vec<_>>();
                known.iter().for_each(|key| self.look_at_pod(key));
                self.inputs.pods.store().keys().iter().for_each(|key| self.look_at_pod(key));
            }
        }
    }

    fn look_at_pod(&mut self, key: &Key) {
        let pod = self.inputs.pods.store().get(key).filter(|pod| !is_terminal(pod));
        let Some(pod) = pod else {
            self.queue.remove(key);
            if self.snapshot.take(key).is_some() {
                self.queue.changed(Change::PodGone, Instant::now());
            }
            return;
        };
        let node = node_name(&pod);
        if !node.is_empty() {
            self.queue.remove(key);
            self.put_on_node(key, &pod, node);
            return;
        }
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        match self.snapshot.placed(key) {
            // Decided, and the binding has not come round yet.
            Some(placed) if placed.uid == uid => return,
            // A later pod of the same name.
            Some(_) => {
                self.snapshot.take(key);
                self.queue.changed(Change::PodGone, Instant::now());
            }
            None => {}
        }
        if self.is_ours(&pod) {
            let needs = Needs::of(&pod);
            let nominated = pod.status.as_ref().and_then(|status| status.nominated_node_name.as_deref());
            if nominated.is_some() {
                self.snapshot.nominate(key, nominated, &Arc::new(needs.clone()));
            }
            self.queue.put(key, needs);
        } else {
            self.queue.remove(key);
        }
    }

    fn put_on_node(&mut self, key: &Key, pod: &Pod, node: &str) {
        let placed = place(key, pod, self.snapshot.placed(key));
        let before = self.snapshot.placed(key).cloned();
        let same = |old: &Placed| {
            Arc::ptr_eq(&old.needs, &placed.needs) && old.deleting == placed.deleting && old.started == placed.started
        };
        if self.snapshot.node_of(key) == Some(node) && before.as_deref().is_some_and(same) {
            return;
        }
        let relabelled = before.is_none_or(|old| !Arc::ptr_eq(&old.needs, &placed.needs));
        self.snapshot.place(node, placed);
        if relabelled {
            self.queue.changed(Change::PodPlaced, Instant::now());
        }
    }

    fn is_ours(&self, pod: &Pod) -> bool {
        let spec = pod.spec.as_ref();
        let scheduler = spec.and_then(|spec| spec.scheduler_name.as_deref()).unwrap_or("default-scheduler");
        let gated = spec.and_then(|spec| spec.scheduling_gates.as_ref()).is_some_and(|gates| !gates.is_empty());
        scheduler == self.name && !gated && pod.metadata.deletion_timestamp.is_none()
    }

    /// Decides the next pods that are ready; whether there were any.
    fn decide_batch(&mut self) -> bool {
        let now = Instant::now();
        let Some((needs, keys)) = self.queue.pop_alike(BATCH_PODS_MAX, now) else { return false };
        let needs = if needs.claims.is_empty() {
            needs
        } else {
            let found = volumes::resolve(&needs, self.inputs.claims.store(), self.inputs.volumes.store());
            Arc::new(Needs { volumes: found, ..Needs::clone(&needs) })
        };
        let mut round = Round::new(needs.clone(), &self.snapshot);
        for key in keys {
            let Some(pod) = self.inputs.pods.store().get(&key).filter(|pod| self.is_ours(pod)) else {
                self.queue.remove(&key);
                continue;
            };
            match round.decide(&self.snapshot, &key, self.start) {
                Decision::Node(node) => {
                    self.start = self.start.wrapping_add(1) % self.snapshot.nodes.len().max(1);
                    self.snapshot.place(&node, Placed { needs: needs.clone(), ..place(&key, &pod, None) });
                    round.placed(&key, &self.snapshot);
                    self.spawn(Act::Bind { key, pod, node });
                }
                Decision::Nowhere(refused) => self.refuse(&key, &pod, &needs, &refused, now),
            }
        }
        true
    }

    fn refuse(
        &mut self,
        key: &Key,
        pod: &Arc<Pod>,
        needs: &Arc<Needs>,
        refused: &[(String, Vec<Reason>)],
        now: Instant,
    ) {
        let nominated = pod.status.as_ref().and_then(|status| status.nominated_node_name.as_deref());
        let preemption = preempt::plan(needs, key, nominated, refused, &self.snapshot, &self.budgets());
        let message = report::unschedulable(self.snapshot.nodes.len(), refused, &preemption);
        let rules: HashSet<Rule> = refused.iter().flat_map(|(_, reasons)| reasons.iter().map(|one| one.rule)).collect();
        self.queue.unschedulable(key, rules, now);
        self.events.warning(&**pod, "FailedScheduling", message.clone());
        let mut promised = None;
        if let Outcome::Evict(eviction) = preemption {
            self.snapshot.nominate(key, Some(&eviction.node), needs);
            promised = Some(eviction.node.clone());
            for victim in eviction.victims {
                self.spawn(Act::Evict { victim, by: pod.clone(), node: eviction.node.clone() });
            }
        }
        self.spawn(Act::Tell { key: key.clone(), pod: pod.clone(), message, nominate: promised });
    }

    fn budgets(&self) -> Vec<Budget> {
        let all = self.inputs.budgets.store().list();
        all.iter()
            .filter_map(|budget| {
                let selector = budget.spec.as_ref()?.selector.as_ref();
                Some(Budget {
                    namespace: budget.metadata.namespace.clone()?,
                    selector: owner::selector(selector).ok()??,
                    left: budget.status.as_ref().map_or(0, |status| status.disruptions_allowed),
                })
            })
            .collect()
    }

    fn spawn(&mut self, act: Act) {
        let hands = self.hands.clone();
        self.writes.spawn(async move { hands.carry_out(act, Utc::now()).await });
    }

    fn finish(&mut self, done: Result<Done, tokio::task::JoinError>) {
        let done = match done {
            Ok(done) => done,
            Err(error) => {
                tracing::error!(%error, "a write of the scheduler panicked");
                return;
            }
        };
        match done {
            Done::Bound { key, pod, node } => {
                self.queue.remove(&key);
                let text = format!("Successfully assigned {key} to {node}");
                self.events.normal(&*pod, "Scheduled", text);
                // By now it may be another pod of the same name.
                self.look_at_pod(&key);
            }
            Done::NotBound { key, error } => {
                tracing::debug!(%key, error = &error as &dyn std::error::Error, "binding failed");
                self.snapshot.take(&key);
                self.queue.retry(&key, Instant::now());
                // It may be gone or bound by now; the cache knows.
                self.look_at_pod(&key);
            }
            Done::Evicted { victim, by, node } => {
                let text =
                    format!("Preempted by pod {} on node {node}", by.metadata.uid.as_deref().unwrap_or_default());
                if let Some(victim) = self.inputs.pods.store().get(&victim) {
                    self.events.normal(&*victim, "Preempted", text);
                }
            }
            Done::Told => {}
            Done::Failed { error } => {
                tracing::debug!(error = &error as &dyn std::error::Error, "the scheduler could not write");
            }
        }
    }
}

/// The pod as the snapshot holds it; its needs are kept while nothing that they tell has changed.
pub(crate) fn place(key: &Key, pod: &Pod, before: Option<&Arc<Placed>>) -> Placed {
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let kept = before.filter(|old| old.uid == uid && old.needs.labels == *owner::labels(pod));
    let needs = kept.map_or_else(|| Arc::new(Needs::of(pod)), |old| old.needs.clone());
    let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    Placed {
        key: key.clone(),
        uid,
        needs,
        started: started.map(|time| time.0.to_rfc3339()).unwrap_or_default(),
        deleting: pod.metadata.deletion_timestamp.is_some(),
    }
}

fn node_name(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

fn is_terminal(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}
