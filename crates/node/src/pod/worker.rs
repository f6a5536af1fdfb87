//! The task of one pod: looks at spec and runtime, asks [`plan`](super::plan), carries the plan out, reports the status,
//! and waits for a nudge. Whatever hangs here holds back this pod only.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::task::AbortOnDropHandle;

use super::backoff::Backoff;
use super::plan::{self, Health, Plan, Start, Waiting};
use super::probe::{self, Prober, Results};
use super::start::{self, Prepared};
use super::view::{PodView, State};
use super::{kill, spec, status, write};
use crate::agent::{Agent, PodLookup};
use crate::volumes::sources::References;
use crate::volumes::{self, Volumes};

/// First and longest wait after something failed.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// What should be of a pod.
#[derive(Clone)]
pub struct Desired {
    /// The pod as last seen.
    pub pod: Arc<Pod>,
    /// It is no longer in the API (or its manifest is gone).
    pub removed: bool,
    /// The node does not take it.
    pub refused: Option<Waiting>,
}

impl Desired {
    /// The grace period of the pod's end, if it is to end.
    fn ending(&self) -> Option<i64> {
        (self.removed || self.refused.is_some() || spec::is_deleted(&self.pod)).then(|| spec::grace_seconds(&self.pod))
    }
}

struct Probes {
    results: Arc<Mutex<Results>>,
    task: Option<AbortOnDropHandle<()>>,
}

/// One pod's worker.
pub struct Worker {
    agent: Arc<Agent>,
    desired: watch::Receiver<Desired>,
    nudge: Arc<Notify>,
    status: watch::Sender<Option<write::Wanted>>,
    start_time: DateTime<Utc>,
    refs: Option<(usize, References)>,
    volumes: Volumes,
    probes: HashMap<String, Probes>,
    backoff: Backoff,
    waiting: BTreeMap<String, Waiting>,
    failed: Option<Waiting>,
    last_status: PodStatus,
    retries: u32,
    ended: bool,
}

/// When to look again at the latest; a nudge may come sooner.
type Wake = Option<DateTime<Utc>>;

impl Worker {
    /// A worker for a pod that was just seen.
    pub fn new(
        agent: Arc<Agent>,
        desired: watch::Receiver<Desired>,
        nudge: Arc<Notify>,
        status: watch::Sender<Option<write::Wanted>>,
    ) -> Self {
        let last_status = spec::status(&desired.borrow().pod).clone();
        let start_time = last_status.start_time.as_ref().map_or_else(Utc::now, |t| t.0);
        Self {
            agent,
            desired,
            nudge,
            status,
            start_time,
            refs: None,
            volumes: Volumes::default(),
            probes: HashMap::new(),
            backoff: Backoff::default(),
            waiting: BTreeMap::new(),
            failed: None,
            last_status,
            retries: 0,
            ended: false,
        }
    }

    /// Runs until the pod is gone and nothing of it is left.
    pub async fn run(mut self) {
        loop {
            let desired = self.desired.borrow_and_update().clone();
            let pod = desired.pod.clone();
            if self.failed.is_none() {
                self.failed.clone_from(&desired.refused);
            }
            let wake = if self.ended {
                if desired.removed {
                    match self.clean_up(&pod).await {
                        Ok(()) => return,
                        Err(error) => self.later(&pod, &error),
                    }
                } else {
                    None
                }
            } else if desired.ending().is_some() || self.failed.is_some() || spec::is_terminal(&pod) {
                self.end(&pod).await
            } else {
                self.sync(&pod).await
            };
            if self.ended && spec::is_deleted(&pod) && !desired.removed {
                self.report_deleted();
            }
            if self.ended && desired.removed && wake.is_none() {
                continue;
            }
            self.wait(wake).await;
        }
    }

    async fn wait(&mut self, wake: Wake) {
        let until = async {
            match wake {
                Some(at) => tokio::time::sleep((at - Utc::now()).to_std().unwrap_or_default()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.nudge.notified() => {}
            changed = self.desired.changed() => if changed.is_err() { std::future::pending::<()>().await },
            () = until => {}
        }
    }

    /// Notes a failure and returns when to try again.
    fn later(&mut self, pod: &Pod, error: &dyn std::fmt::Display) -> Wake {
        let wait = (RETRY_MIN * 2_u32.saturating_pow(self.retries.min(16))).min(RETRY_MAX);
        self.retries += 1;
        tracing::info!(pod = %spec::full_name(pod), error = %error, retry_in_ms = wait.as_millis(), "pod not in sync");
        Some(Utc::now() + wait)
    }

    /// Waits for `work`, but not beyond the moment when the pod is to end.
    async fn unless_ending<T>(desired: &watch::Receiver<Desired>, work: impl Future<Output = T>) -> Option<T> {
        let mut desired = desired.clone();
        tokio::select! {
            done = work => Some(done),
            _ = desired.wait_for(|d| d.ending().is_some()) => None,
        }
    }

    // ---- A pod that should run ----

    async fn sync(&mut self, pod: &Arc<Pod>) -> Wake {
        if let Some(deadline) = self.deadline(pod)
            && deadline <= Utc::now()
        {
            let message = "Pod was active on the node longer than the specified deadline";
            self.agent.events.normal(pod, None, "DeadlineExceeded", message);
            self.failed = Some(Waiting { reason: "DeadlineExceeded".into(), message: message.into() });
            return Some(Utc::now());
        }
        self.refer(pod);
        let view = match PodView::read(&self.agent.cri, spec::uid(pod)).await {
            Ok(view) => view,
            Err(error) => return self.later(pod, &error),
        };
        self.watch_probes(pod, &view);
        self.report(pod, &view, false);
        if view.sandbox().is_none_or(|s| !s.ready) && !spec::host_network(pod) {
            let reason = self.agent.network.borrow().clone();
            if let Some(reason) = reason {
                return self.without_network(pod, &reason).await;
            }
        }
        let agent = self.agent.clone();
        if let Err(error) = start::directories(&agent, pod) {
            return self.later(pod, &error);
        }
        match self.set_up_volumes(pod).await {
            None => return Some(Utc::now()),
            Some(Err(error)) => {
                agent.events.warning(pod, None, "FailedMount", error.to_string());
                return self.later(pod, &error);
            }
            Some(Ok(())) => {}
        }
        let plan = self.plan(pod, &view);
        if plan.finish {
            return self.end(pod).await;
        }
        self.waiting.retain(|name, w| w.reason != "CrashLoopBackOff" || plan.waiting.contains_key(name));
        for (name, waiting) in &plan.waiting {
            let kind = spec::find_container(pod, name).map_or(spec::Kind::Regular, |(k, _)| k);
            let text = format!("Back-off restarting failed container {name} in pod {}", spec::full_name(pod));
            if self.waiting.insert(name.clone(), waiting.clone()).as_ref() != Some(waiting) {
                agent.events.warning(pod, Some((kind, name)), "BackOff", text);
            }
        }
        let wake = self.carry_out(pod, &view, &plan).await;
        let due = [wake, plan.wake_at, self.deadline(pod), self.volumes.refresh_at()];
        due.into_iter().flatten().min()
    }

    fn plan(&self, pod: &Pod, view: &PodView) -> Plan {
        let health = |id: &str| self.health(id);
        plan::plan(&plan::Inputs { pod, view, health: &health, backoff: &self.backoff, now: Utc::now() })
    }

    /// Does what the plan says, then reports what came of it.
    async fn carry_out(&mut self, pod: &Arc<Pod>, view: &PodView, plan: &Plan) -> Wake {
        let agent = self.agent.clone();
        if plan.replace_sandbox {
            agent.events.normal(pod, None, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.");
            if let Err(error) = self.stop_all(pod, view).await {
                return self.later(pod, &error);
            }
        }
        if let Some(attempt) = plan.create_sandbox {
            if let Err(error) = start::sandbox(&agent, pod, attempt).await {
                agent.events.warning(
                    pod,
                    None,
                    "FailedCreatePodSandBox",
                    format!("Failed to create pod sandbox: {error}"),
                );
                return self.later(pod, &error);
            }
            self.retries = 0;
            return Some(Utc::now());
        }
        let acted = !plan.kill.is_empty() || !plan.start.is_empty();
        let ips = view.sandbox().map(|s| s.ips.clone()).unwrap_or_default();
        let pod_ip = probe::pod_address(pod, &ips, &agent.host_ip());
        for kill in &plan.kill {
            let Some(container) = view.containers.iter().find(|c| c.id == kill.id) else { continue };
            if let Err(error) =
                kill::container(&agent, pod, container, &pod_ip, &kill.message, kill.grace_seconds).await
            {
                return self.later(pod, &error);
            }
        }
        let mut wake = None;
        for start in &plan.start {
            match self.start(pod, view, start).await {
                None => return Some(Utc::now()),
                Some(Ok(())) => {
                    self.waiting.remove(&start.name);
                }
                Some(Err((waiting, retry_at))) => {
                    self.waiting.insert(start.name.clone(), waiting);
                    wake = [wake, Some(retry_at)].into_iter().flatten().min();
                }
            }
        }
        if !acted {
            self.retries = 0;
            self.collect(pod, view).await;
            return wake;
        }
        match PodView::read(&agent.cri, spec::uid(pod)).await {
            Ok(view) => {
                self.watch_probes(pod, &view);
                self.report(pod, &view, false);
                if wake.is_none() { Some(Utc::now()) } else { wake }
            }
            Err(error) => self.later(pod, &error),
        }
    }

    /// Starts one container; `None` if the pod is to end meanwhile, an error with the time of the next try.
    async fn start(
        &mut self,
        pod: &Arc<Pod>,
        view: &PodView,
        start: &Start,
    ) -> Option<Result<(), (Waiting, DateTime<Utc>)>> {
        let agent = self.agent.clone();
        let (_, c) = spec::find_container(pod, &start.name)?;
        let key = plan::backoff_key(pod, &c);
        let last_exit = view.containers.iter().filter(|v| v.name == c.name).find_map(plan::finished_at);
        if let Some(since) = last_exit {
            self.backoff.next(&key, since, Utc::now());
        }
        let (_, refs) = self.refs.as_ref()?;
        let attempt = view.sandbox().map_or(0, |s| s.attempt);
        let sandbox_config = start::sandbox_config(&agent, pod, attempt);
        let image = agent.images.ensure(pod, start.kind, &c, refs, &sandbox_config);
        let image = match Self::unless_ending(&self.desired, image).await? {
            Ok(image) => image,
            Err(waiting) => {
                let about = Some((start.kind, c.name.as_str()));
                agent.events.warning(pod, about, "Failed", format!("Error: {}", waiting.reason));
                let retry_at = agent.images.retry_at(pod, &c).unwrap_or_else(|| Utc::now() + RETRY_MAX);
                return Some(Err((waiting, self.soon_for_backoff_event(pod, &c.name, retry_at))));
            }
        };
        let prepared = Prepared { agent: &agent, pod, volumes: &self.volumes, refs };
        match prepared.container(view, start, &c, image).await {
            Ok(()) => Some(Ok(())),
            Err(waiting) => {
                let now = Utc::now();
                if waiting.reason != "CreateContainerConfigError" && last_exit.is_none() {
                    self.backoff.next(&key, now, now);
                }
                let wait =
                    (RETRY_MIN * 2_u32.saturating_pow(self.retries.min(16))).clamp(Duration::from_secs(1), RETRY_MAX);
                self.retries += 1;
                Some(Err((waiting, now + wait)))
            }
        }
    }

    /// After a failed pull the container shows ErrImagePull first and ImagePullBackOff from the next look on.
    fn soon_for_backoff_event(&self, _pod: &Pod, name: &str, retry_at: DateTime<Utc>) -> DateTime<Utc> {
        let showed_error =
            self.waiting.get(name).is_some_and(|w| w.reason == "ErrImagePull" || w.reason == "ImagePullBackOff");
        let soon = Utc::now() + Duration::from_secs(1);
        if showed_error { retry_at } else { soon.min(retry_at) }
    }

    async fn set_up_volumes(&mut self, pod: &Pod) -> Option<Result<(), volumes::VolumeError>> {
        let agent = self.agent.clone();
        let (_, refs) = self.refs.as_ref()?;
        let lookup = PodLookup { agent: &agent, refs };
        let (host_ip, pod_dir) = (agent.host_ip(), agent.config.pod_dir(spec::uid(pod)));
        let cx = volumes::Context {
            client: &agent.client,
            host_ip: &host_ip,
            lookup: &lookup,
            adaptations: &agent.config.adaptations,
            pod_dir: &pod_dir,
        };
        let work = async {
            // Environment variables may refer to objects too; know them before containers are made.
            if let Err(cause) = refs.known().await {
                tracing::debug!(pod = %spec::full_name(pod), %cause, "not everything that the pod refers to is known");
            }
            self.volumes.set_up(&cx, pod, refs).await
        };
        Self::unless_ending(&self.desired, work).await
    }

    async fn without_network(&mut self, pod: &Pod, reason: &str) -> Wake {
        self.agent.events.warning(pod, None, "NetworkNotReady", format!("network is not ready: {reason}"));
        let mut network = self.agent.network.clone();
        let ready = network.wait_for(Option::is_none);
        drop(Self::unless_ending(&self.desired, ready).await);
        Some(Utc::now())
    }

    /// Holds what the pod refers to; ephemeral containers may refer to more than was known before.
    fn refer(&mut self, pod: &Pod) {
        let count = spec::ephemeral_containers(pod).len();
        if self.refs.as_ref().is_none_or(|(known, _)| *known != count) {
            self.refs = Some((count, References::of(&self.agent.sources, pod, &self.nudge)));
        }
    }

    fn deadline(&self, pod: &Pod) -> Wake {
        let seconds = spec::spec(pod).active_deadline_seconds?;
        Some(self.start_time + Duration::from_secs(u64::try_from(seconds).ok()?))
    }

    // ---- Probes ----

    fn health(&self, id: &str) -> Health {
        let known = self.probes.get(id).map(|p| p.results.lock().health());
        known.unwrap_or(Health { started: true, ready: true, startup_failed: false, liveness_failed: false })
    }

    /// Runs probes for exactly the containers that run.
    fn watch_probes(&mut self, pod: &Arc<Pod>, view: &PodView) {
        self.probes.retain(|id, _| view.containers.iter().any(|c| &c.id == id));
        let ips = view.sandbox().map(|s| s.ips.clone()).unwrap_or_default();
        let pod_ip = probe::pod_address(pod, &ips, &self.agent.host_ip());
        for running in &view.containers {
            if running.state != State::Running {
                if let Some(probes) = self.probes.get_mut(&running.id) {
                    probes.task = None;
                }
                continue;
            }
            let Some((kind, container)) = spec::find_container(pod, &running.name) else { continue };
            if self.probes.contains_key(&running.id) || !probe::has_probes(&container) {
                continue;
            }
            let results = Arc::new(Mutex::new(Results::new(&container)));
            if self.was_ready(&running.id) {
                results.lock().assume_ready();
            }
            let (nudge, agent, about_pod, name) =
                (self.nudge.clone(), self.agent.clone(), pod.clone(), container.name.clone());
            let prober = Prober {
                cri: self.agent.cri.clone(),
                container,
                container_id: running.id.clone(),
                started: DateTime::from_timestamp_nanos(running.started_ns),
                pod_ip: pod_ip.clone(),
                results: results.clone(),
                changed: Box::new(move || nudge.notify_one()),
                failed: Box::new(move |purpose, reason| {
                    let text = format!("{} probe failed: {reason}", purpose.title());
                    agent.events.warning(&about_pod, Some((kind, &name)), "Unhealthy", text);
                }),
            };
            let task = Some(AbortOnDropHandle::new(tokio::spawn(prober.run())));
            self.probes.insert(running.id.clone(), Probes { results, task });
        }
    }

    /// Whether the API had this very container as ready: a new agent does not take that back without asking.
    fn was_ready(&self, id: &str) -> bool {
        let all = self.last_status.container_statuses.iter().chain(&self.last_status.init_container_statuses).flatten();
        all.filter(|s| s.container_id.as_deref().is_some_and(|c| c.ends_with(id))).any(|s| s.ready)
    }

    // ---- Reporting ----

    fn report(&mut self, pod: &Pod, view: &PodView, ended: bool) {
        let host_ip = self.agent.host_ip();
        let health = |id: &str| self.health(id);
        let new = status::generate(&status::Inputs {
            pod,
            view,
            health: &health,
            waiting: &self.waiting,
            old: &self.last_status,
            host_ip: &host_ip,
            start_time: self.start_time,
            ended,
            failed: self.failed.as_ref(),
            runtime_name: &self.agent.runtime_name,
            now: Utc::now(),
        });
        self.last_status = new.clone();
        let wanted = Some(write::Wanted { status: new, delete: false });
        self.status.send_if_modified(|old| {
            let changed = *old != wanted;
            if changed {
                *old = wanted;
            }
            changed
        });
    }

    fn report_deleted(&mut self) {
        let wanted = Some(write::Wanted { status: self.last_status.clone(), delete: true });
        self.status.send_if_modified(|old| {
            let changed = *old != wanted;
            *old = wanted;
            changed
        });
    }

    // ---- The end ----

    async fn stop_all(&self, pod: &Pod, view: &PodView) -> Result<(), crate::cri::CriError> {
        kill::all(&self.agent, pod, view, None).await?;
        for sandbox in view.sandboxes.iter().filter(|s| s.ready) {
            self.agent.cri.stop_pod_sandbox(&sandbox.id).await?;
        }
        Ok(())
    }

    /// Stops everything, releases everything, reports the last status.
    async fn end(&mut self, pod: &Arc<Pod>) -> Wake {
        let view = match PodView::read(&self.agent.cri, spec::uid(pod)).await {
            Ok(view) => view,
            Err(error) => return self.later(pod, &error),
        };
        for probes in self.probes.values_mut() {
            probes.task = None;
        }
        // A pod that the API knows as over keeps that status, whatever is left of it here.
        if !spec::is_terminal(pod) {
            self.report(pod, &view, false);
        }
        let grace = spec::grace_seconds(pod);
        let mut desired = self.desired.clone();
        let agent = self.agent.clone();
        let stopping = self.stop_all(pod, &view);
        tokio::select! {
            stopped = stopping => if let Err(error) = stopped { return self.later(pod, &error) },
            // A second deletion may shorten the grace period.
            _ = desired.wait_for(|d| d.ending().is_some_and(|g| g < grace)) => return Some(Utc::now()),
        }
        let view = match PodView::read(&agent.cri, spec::uid(pod)).await {
            Ok(view) if view.alive().next().is_none() && !view.sandboxes.iter().any(|s| s.ready) => view,
            Ok(_) => return self.later(pod, &"something still runs"),
            Err(error) => return self.later(pod, &error),
        };
        self.waiting.retain(|name, _| view.newest(name).is_none());
        if !spec::is_terminal(pod) {
            self.report(pod, &view, true);
        }
        if let Err(error) = self.release(pod) {
            return self.later(pod, &error);
        }
        self.ended = true;
        self.retries = 0;
        None
    }

    fn release(&mut self, pod: &Pod) -> std::io::Result<()> {
        self.volumes = Volumes::default();
        self.refs = None;
        volumes::tear_down(&self.agent.config.pod_dir(spec::uid(pod)))?;
        self.agent.cgroups.remove_pod(&start::cgroup_parent(&self.agent, pod))
    }

    /// Removes what is left of a pod that nobody asks for any more.
    async fn clean_up(&mut self, pod: &Pod) -> Result<(), String> {
        remove_everything(&self.agent, pod).await
    }

    /// Removes dead containers and sandboxes beyond the newest, whose logs people may still want.
    async fn collect(&mut self, pod: &Pod, view: &PodView) {
        let keep = |c: &super::view::Container| {
            let newer = view.containers.iter().filter(|o| o.name == c.name && o.created_ns > c.created_ns).count();
            newer < 2 || matches!(c.state, State::Running | State::Unknown)
        };
        for container in view.containers.iter().filter(|c| !keep(c)) {
            let link = start::log_link(
                &self.agent.config.container_links_dir(),
                spec::namespace(pod),
                spec::name(pod),
                &container.name,
                &container.id,
            );
            if let Err(error) = self.agent.cri.remove_container(&container.id).await {
                tracing::debug!(%error, container = %container.id, "dead container not removed yet");
                continue;
            }
            for path in [std::path::PathBuf::from(&container.log_path), link] {
                if let Err(error) = std::fs::remove_file(&path) {
                    tracing::trace!(%error, path = %path.display(), "no log of a removed container");
                }
            }
        }
        let used = |id: &str| view.containers.iter().any(|c| c.sandbox == id);
        for sandbox in view.sandboxes.iter().skip(1).filter(|s| !s.ready && !used(&s.id)) {
            if let Err(error) = self.agent.cri.remove_pod_sandbox(&sandbox.id).await {
                tracing::debug!(%error, sandbox = %sandbox.id, "dead sandbox not removed yet");
            }
        }
    }
}

/// Removes containers, sandboxes, logs and directories of a pod whose processes have ended.
pub async fn remove_everything(agent: &Agent, pod: &Pod) -> Result<(), String> {
    let uid = spec::uid(pod);
    let containers = agent.cri.list_containers(Some(uid)).await.map_err(|e| e.to_string())?;
    for sandbox in agent.cri.list_pod_sandboxes(Some(uid)).await.map_err(|e| e.to_string())? {
        agent.cri.stop_pod_sandbox(&sandbox.id).await.map_err(|e| e.to_string())?;
        agent.cri.remove_pod_sandbox(&sandbox.id).await.map_err(|e| e.to_string())?;
    }
    let (namespace, name) = (spec::namespace(pod), spec::name(pod));
    for container in containers {
        let label = container.labels.get(crate::names::CONTAINER_NAME).map(String::as_str).unwrap_or_default();
        let link = start::log_link(&agent.config.container_links_dir(), namespace, name, label, &container.id);
        ignore_missing(std::fs::remove_file(&link))?;
    }
    ignore_missing(std::fs::remove_dir_all(agent.config.pod_log_dir(namespace, name, uid)))?;
    volumes::tear_down(&agent.config.pod_dir(uid)).map_err(|e| e.to_string())
}

fn ignore_missing(result: std::io::Result<()>) -> Result<(), String> {
    match result {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.to_string()),
        _ => Ok(()),
    }
}
