//! All pods of the node: takes them from the API (and from manifests), admits them in order, gives each a worker, and
//! tells workers when the runtime changed under them: by the runtime's events, or by a cheap relist where it has none.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ending::{Ending, State, States};
use super::plan::Waiting;
use super::view::PodView;
use super::worker::{Desired, Worker, remove_everything};
use super::{admit, kill, spec, write};
use crate::agent::Agent;
use crate::names;
use crate::task_events::Exits;

/// How often the runtime is asked for changes if it has no events, and only while there are pods; as upstream's PLEG.
pub(super) const RELIST_PERIOD: Duration = Duration::from_secs(1);
/// With events, a relist this rarely catches what a broken stream lost.
const RELIST_PERIOD_WITH_EVENTS: Duration = Duration::from_secs(300);
/// Wait before the runtime's event stream is opened again.
const EVENTS_RETRY: Duration = Duration::from_secs(2);

struct Entry {
    desired: watch::Sender<Desired>,
    nudge: Arc<Notify>,
    status: watch::Receiver<Option<write::Wanted>>,
    /// UID of the API object that shows the pod; a static pod's is known once its mirror was made.
    mirror: watch::Sender<Option<String>>,
}

/// The pods of the node; shared with the kubelet API.
pub struct Manager {
    agent: Arc<Agent>,
    pods: Mutex<HashMap<String, Entry>>,
    count: watch::Sender<usize>,
    workers: TaskTracker,
    /// Cancelled when the agent ends: workers stop where they are, containers go on.
    ended: CancellationToken,
}

impl Manager {
    /// No pods yet.
    pub fn new(agent: Arc<Agent>) -> Arc<Self> {
        Arc::new(Self {
            agent,
            pods: Mutex::default(),
            count: watch::Sender::new(0),
            workers: TaskTracker::new(),
            ended: CancellationToken::new(),
        })
    }

    /// Ends all workers and waits for them. Containers go on; the next agent takes them up.
    pub async fn shut_down(&self) {
        self.ended.cancel();
        self.workers.close();
        self.workers.wait().await;
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let ended = self.ended.clone();
        self.workers.spawn(async move { ended.run_until_cancelled_owned(work).await });
    }

    /// The pods with their newest status.
    pub fn pods(&self) -> Vec<Arc<Pod>> {
        let pods = self.pods.lock();
        let with_status = |entry: &Entry| {
            let pod = entry.desired.borrow().pod.clone();
            match &*entry.status.borrow() {
                Some(wanted) => Arc::new(Pod { status: Some(wanted.status.clone()), ..(*pod).clone() }),
                None => pod,
            }
        };
        pods.values().map(with_status).collect()
    }

    /// Follows the status of a pod; ends when the pod is gone.
    pub fn watch_status(&self, uid: &str) -> Option<watch::Receiver<Option<write::Wanted>>> {
        self.pods.lock().get(uid).map(|e| e.status.clone())
    }

    /// A pod by namespace and name; the newest one if there are several.
    pub fn find(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let mut found: Vec<_> =
            self.pods().into_iter().filter(|p| spec::namespace(p) == namespace && spec::name(p) == name).collect();
        found.sort_by_key(|p| p.metadata.creation_timestamp.clone().map(|t| t.0));
        found.pop()
    }

    /// Follows the API's pods of this node until the future is dropped.
    pub async fn follow_api(self: &Arc<Self>) {
        let api: Api<Pod> = Api::all(self.agent.client.clone());
        let config = watcher::Config::default().fields(&format!("spec.nodeName={}", self.agent.config.node_name));
        let mut events = watcher(api, config).default_backoff().boxed();
        let mut listed: Vec<Pod> = Vec::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => listed.clear(),
                Ok(watcher::Event::InitApply(pod)) => listed.push(pod),
                Ok(watcher::Event::InitDone) => self.replace_all(std::mem::take(&mut listed)).await,
                Ok(watcher::Event::Apply(pod)) => self.apply(Arc::new(pod)),
                Ok(watcher::Event::Delete(pod)) => self.remove(Arc::new(pod)),
                Err(error) => tracing::warn!(%error, "the watch of pods broke off, trying again"),
            }
        }
    }

    /// Takes a complete list of the API's pods: what is not in it is gone.
    async fn replace_all(self: &Arc<Self>, mut list: Vec<Pod>) {
        // Pods that run already count first when room is given out, then the older ones.
        list.sort_by_key(|p| {
            (
                spec::status(p).start_time.clone().map_or(i64::MAX, |t| t.0.timestamp_millis()),
                p.metadata.creation_timestamp.clone().map(|t| t.0),
            )
        });
        let present: HashSet<String> = list.iter().map(|p| spec::uid(p).to_owned()).collect();
        let gone: Vec<Arc<Pod>> = {
            let pods = self.pods.lock();
            let known = pods.values().map(|e| e.desired.borrow().pod.clone());
            known.filter(|p| !spec::is_static(p) && !present.contains(spec::uid(p))).collect()
        };
        gone.into_iter().for_each(|pod| self.remove(pod));
        list.into_iter().for_each(|pod| self.apply(Arc::new(pod)));
        if let Err(error) = self.end_orphans().await {
            tracing::warn!(%error, "looking for orphaned pods failed");
        }
    }

    /// A pod that is new or changed.
    pub fn apply(self: &Arc<Self>, pod: Arc<Pod>) {
        if spec::is_mirror(&pod) {
            self.apply_mirror(&pod);
            return;
        }
        let uid = spec::uid(&pod).to_owned();
        let mut pods = self.pods.lock();
        if let Some(entry) = pods.get(&uid) {
            entry.desired.send_modify(|d| d.pod = pod);
            return;
        }
        let others: Vec<Arc<Pod>> = pods
            .values()
            .filter(|e| e.desired.borrow().refused.is_none())
            .map(|e| e.desired.borrow().pod.clone())
            .filter(|p| !spec::is_terminal(p))
            .collect();
        let fresh = !spec::is_terminal(&pod) && !spec::is_deleted(&pod);
        let node = self.agent.node.read().clone();
        let verdict =
            if fresh { admit::admit(&pod, &others, &node, &self.agent.config.allowed_unsafe_sysctls) } else { Ok(()) };
        let refused = verdict.err().map(|r| {
            self.agent.events.warning(&pod, None, &r.reason, r.message.clone());
            Waiting { reason: r.reason, message: format!("Pod was rejected: {}", r.message) }
        });
        let (desired, desired_rx) = watch::channel(Desired { pod: pod.clone(), removed: false, refused });
        let (status_tx, status) = watch::channel(None);
        let nudge = Arc::new(Notify::new());
        let worker = Worker::new(self.agent.clone(), desired_rx, nudge.clone(), status_tx);
        let own = if spec::is_static(&pod) { None } else { pod.metadata.uid.clone() };
        let (mirror, uid_rx) = watch::channel(own);
        self.spawn(write::run(self.agent.client.clone(), pod, uid_rx, status.clone()));
        let manager = self.clone();
        let done = uid.clone();
        self.spawn(async move {
            worker.run().await;
            manager.forget(&done);
        });
        pods.insert(uid, Entry { desired, nudge, status, mirror });
        self.count.send_replace(pods.len());
    }

    /// The API's picture of a static pod: its UID is where the status goes.
    fn apply_mirror(&self, mirror: &Pod) {
        let hash =
            mirror.metadata.annotations.as_ref().and_then(|a| a.get(names::CONFIG_MIRROR)).cloned().unwrap_or_default();
        if let Some(entry) = self.pods.lock().get(&hash) {
            entry.mirror.send_replace(mirror.metadata.uid.clone());
        }
    }

    /// A pod that is no longer wanted.
    pub fn remove(&self, pod: Arc<Pod>) {
        if let Some(entry) = self.pods.lock().get(spec::uid(&pod)) {
            entry.desired.send_modify(|d| {
                d.removed = true;
                d.pod = pod;
            });
        }
    }

    fn forget(&self, uid: &str) {
        let mut pods = self.pods.lock();
        pods.remove(uid);
        self.count.send_replace(pods.len());
    }

    fn nudge(&self, uid: &str) {
        if let Some(entry) = self.pods.lock().get(uid) {
            entry.nudge.notify_one();
        }
    }

    /// Ends pods that the runtime has and nobody knows, and removes directories that no pod has.
    async fn end_orphans(self: &Arc<Self>) -> Result<(), crate::cri::CriError> {
        let known: HashSet<String> = self.pods.lock().keys().cloned().collect();
        let mut orphans: BTreeMap<String, Pod> = BTreeMap::new();
        for sandbox in self.agent.cri.list_pod_sandboxes(None).await? {
            let label = |name: &str| sandbox.labels.get(name).cloned();
            let Some(uid) = label(names::POD_UID).filter(|uid| !known.contains(uid)) else { continue };
            let metadata = ObjectMeta {
                name: label(names::POD_NAME),
                namespace: label(names::POD_NAMESPACE),
                uid: Some(uid.clone()),
                ..ObjectMeta::default()
            };
            orphans.insert(uid, Pod { metadata, ..Pod::default() });
        }
        for (uid, pod) in orphans {
            let manager = self.clone();
            self.spawn(async move {
                if let Err(error) = manager.end_orphan(&pod).await {
                    tracing::warn!(%uid, %error, "orphaned pod not removed");
                }
            });
        }
        for entry in std::fs::read_dir(self.agent.config.pods_dir()).into_iter().flatten().flatten() {
            let Ok(uid) = entry.file_name().into_string() else { continue };
            let running = k8s_cri::v1::ContainerState::ContainerRunning as i32;
            let in_use = known.contains(&uid)
                || self.agent.cri.list_containers(Some(&uid)).await?.iter().any(|c| c.state == running);
            if !in_use && let Err(error) = crate::volumes::tear_down(&entry.path()) {
                tracing::warn!(%uid, %error, "directory of an orphaned pod not removed");
            }
        }
        for (uid, cgroup) in self.agent.cgroups.pods() {
            if !known.contains(&uid)
                && let Err(error) = self.agent.cgroups.remove_pod(&cgroup)
            {
                tracing::debug!(%uid, %error, "cgroup of an orphaned pod not removed yet");
            }
        }
        Ok(())
    }

    async fn end_orphan(&self, pod: &Pod) -> Result<(), String> {
        tracing::info!(pod = %spec::full_name(pod), "ending a pod that is not in the API");
        let view = PodView::read(&self.agent.cri, spec::uid(pod)).await.map_err(|e| e.to_string())?;
        kill::all(&self.agent, pod, &view, None).await.map_err(|e| e.to_string())?;
        remove_everything(&self.agent, pod).await
    }

    /// Tells workers about changes in the runtime until the future is dropped: by the CRI's events, else by containerd's
    /// own, else by a relist.
    pub async fn follow_runtime(&self) {
        let mut last = States::new();
        loop {
            // No pods, no work.
            let mut count = self.count.subscribe();
            if count.wait_for(|n| *n > 0).await.is_err() {
                return;
            }
            match self.agent.cri.events().await {
                Ok(stream) => self.follow_events(stream, &mut last).await,
                Err(error) if error.code == tonic::Code::Unimplemented => {
                    match Exits::subscribe(&self.agent.config.cri_socket).await {
                        Ok(exits) => self.follow_exits(exits, &mut last).await,
                        Err(status) if status.code() == tonic::Code::Unimplemented => {
                            return self.relist_for_ever(last).await;
                        }
                        Err(status) => tracing::debug!(%status, "no events of containerd"),
                    }
                }
                Err(error) => tracing::debug!(%error, "no events of the runtime"),
            }
            self.relist(&mut last).await;
            tokio::time::sleep(EVENTS_RETRY).await;
        }
    }

    async fn follow_events(
        &self,
        mut stream: tonic::Streaming<k8s_cri::v1::ContainerEventResponse>,
        last: &mut States,
    ) {
        self.relist(last).await;
        let mut rare = tokio::time::interval(RELIST_PERIOD_WITH_EVENTS);
        rare.reset();
        loop {
            tokio::select! {
                event = stream.message() => match event {
                    Ok(Some(event)) => {
                        let uid = event.pod_sandbox_status.and_then(|s| s.metadata).map(|m| m.uid).unwrap_or_default();
                        self.nudge(&uid);
                    }
                    Ok(None) => return,
                    Err(error) => return tracing::debug!(%error, "the runtime's events broke off"),
                },
                _ = rare.tick() => {
                    self.relist(last).await;
                }
            }
        }
    }

    async fn follow_exits(&self, mut exits: Exits, last: &mut States) {
        self.relist(last).await;
        let mut rare = tokio::time::interval(RELIST_PERIOD_WITH_EVENTS);
        rare.reset();
        let mut ending = Ending::default();
        loop {
            let wait = ending.wait();
            tokio::select! {
                exit = exits.next() => match exit {
                    Ok(Some(id)) => ending.add(id),
                    Ok(None) => return,
                    Err(status) => return tracing::debug!(%status, "containerd's events broke off"),
                },
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => ending.ask_later(),
                _ = rare.tick() => {}
            }
            if self.relist(last).await {
                ending.listed(last);
            }
        }
    }

    async fn relist_for_ever(&self, mut last: States) {
        let mut count = self.count.subscribe();
        loop {
            if count.wait_for(|n| *n > 0).await.is_err() {
                return;
            }
            self.relist(&mut last).await;
            tokio::time::sleep(RELIST_PERIOD).await;
        }
    }

    /// Compares the runtime's list with the last one and nudges the pods where something changed. Whether there is a list.
    async fn relist(&self, last: &mut States) -> bool {
        let listed = tokio::try_join!(self.agent.cri.list_pod_sandboxes(None), self.agent.cri.list_containers(None));
        let (sandboxes, containers) = match listed {
            Ok(listed) => listed,
            Err(error) => {
                tracing::debug!(%error, "the runtime does not list");
                return false;
            }
        };
        let uid = |labels: &HashMap<String, String>| labels.get(names::POD_UID).cloned().unwrap_or_default();
        let sandboxes = sandboxes.into_iter().map(|s| (s.id, (uid(&s.labels), State::Sandbox(s.state))));
        let now: States = sandboxes
            .chain(containers.into_iter().map(|c| (c.id, (uid(&c.labels), State::Container(c.state)))))
            .collect();
        let changed = now
            .iter()
            .filter(|(id, state)| last.get(*id) != Some(state))
            .chain(last.iter().filter(|(id, _)| !now.contains_key(*id)));
        let uids: HashSet<&String> = changed.map(|(_, (uid, _))| uid).collect();
        uids.into_iter().for_each(|uid| self.nudge(uid));
        *last = now;
        true
    }
}
