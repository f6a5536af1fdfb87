//! ConfigMaps and Secrets that pods on this node refer to: one watch per object, shared, alive as long as somebody
//! holds it. The node may only watch what its pods refer to, so there is no wider watch.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::{StreamExt, pin_mut};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::Api;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};
use tokio_util::task::AbortOnDropHandle;

/// How long the first answer about an object may take.
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// How long errors about an object are waited out.
const ERROR_PATIENCE: Duration = Duration::from_secs(2);
/// First and longest wait before a watch that failed is tried again.
const RETRY_MIN: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Doubles the wait from [`RETRY_MIN`] to [`RETRY_MAX`].
struct Retry(Duration);

impl Iterator for Retry {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = self.0;
        self.0 = (wait * 2).min(RETRY_MAX);
        Some(wait)
    }
}

impl Backoff for Retry {
    fn reset(&mut self) {
        self.0 = RETRY_MIN;
    }
}

#[derive(Clone, Debug)]
enum State<K> {
    Unknown(Option<String>),
    Absent,
    Present(Arc<K>),
}

/// One watched object.
pub struct Watched<K> {
    state: watch::Receiver<State<K>>,
    nudges: Arc<Mutex<Vec<Weak<Notify>>>>,
    _task: AbortOnDropHandle<()>,
}

impl<K> Watched<K>
where
    K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    fn new(client: kube::Client, namespace: &str, name: &str) -> Self {
        let (tx, state) = watch::channel(State::Unknown(None));
        let nudges: Arc<Mutex<Vec<Weak<Notify>>>> = Arc::default();
        let api: Api<K> = Api::namespaced(client, namespace);
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let task = tokio::spawn(follow(api, config, tx, nudges.clone()));
        Self { state, nudges, _task: AbortOnDropHandle::new(task) }
    }

    /// The object, `None` if it does not exist, or why nobody knows.
    pub async fn get(&self) -> Result<Option<Arc<K>>, String> {
        let mut state = self.state.clone();
        // Right after a pod was bound the server may not yet know that this node may read what it refers to.
        for (patience, final_error) in [(ERROR_PATIENCE, false), (FIRST_ANSWER_TIMEOUT, true)] {
            let known = tokio::time::timeout(patience, state.wait_for(|s| !matches!(s, State::Unknown(_))));
            if let Ok(Err(_)) = known.await.map(|known| known.map(drop)) {
                return Err("the watch ended".into());
            }
            let now = state.borrow().clone();
            match now {
                State::Present(object) => return Ok(Some(object)),
                State::Absent => return Ok(None),
                State::Unknown(Some(error)) => return Err(error),
                State::Unknown(None) if final_error => return Err("timed out waiting for the condition".into()),
                State::Unknown(None) => {}
            }
        }
        Ok(None)
    }

    /// The object as last seen.
    pub fn now(&self) -> Option<Arc<K>> {
        match &*self.state.borrow() {
            State::Present(object) => Some(object.clone()),
            _ => None,
        }
    }

    /// Notifies `nudge` whenever the object changes.
    pub fn nudge(&self, nudge: &Arc<Notify>) {
        let mut nudges = self.nudges.lock();
        nudges.retain(|n| n.strong_count() > 0);
        if !nudges.iter().any(|n| n.as_ptr() == Arc::as_ptr(nudge)) {
            nudges.push(Arc::downgrade(nudge));
        }
    }
}

async fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    tx: watch::Sender<State<K>>,
    nudges: Arc<Mutex<Vec<Weak<Notify>>>>,
) where
    K: kube::Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    use kube::runtime::WatchStreamExt;
    let events = watcher(api, config).backoff(Retry(RETRY_MIN));
    pin_mut!(events);
    let mut found = None;
    while let Some(event) = events.next().await {
        let state = match event {
            Ok(watcher::Event::Init) => {
                found = None;
                continue;
            }
            Ok(watcher::Event::InitApply(object)) => {
                found = Some(object);
                continue;
            }
            Ok(watcher::Event::InitDone) => found.take().map_or(State::Absent, |o| State::Present(Arc::new(o))),
            Ok(watcher::Event::Apply(object)) => State::Present(Arc::new(object)),
            Ok(watcher::Event::Delete(_)) => State::Absent,
            // What is known stays known while the server is away.
            Err(error) if matches!(*tx.borrow(), State::Unknown(_)) => State::Unknown(Some(watch_error(error))),
            Err(_) => continue,
        };
        tx.send_replace(state);
        for nudge in nudges.lock().iter().filter_map(Weak::upgrade) {
            nudge.notify_one();
        }
    }
}

fn watch_error(error: watcher::Error) -> String {
    match error {
        watcher::Error::WatchError(status) => status.message,
        watcher::Error::InitialListFailed(e) | watcher::Error::WatchStartFailed(e) | watcher::Error::WatchFailed(e) => {
            super::api_error(e)
        }
        other => other.to_string(),
    }
}

type Table<K> = Mutex<HashMap<(String, String), Weak<Watched<K>>>>;

/// All watched objects of the node.
pub struct Sources {
    client: kube::Client,
    config_maps: Table<ConfigMap>,
    secrets: Table<Secret>,
}

impl Sources {
    /// Nothing watched yet.
    pub fn new(client: kube::Client) -> Self {
        Self { client, config_maps: Table::default(), secrets: Table::default() }
    }

    /// A ConfigMap; watched while the result is held.
    pub fn config_map(&self, namespace: &str, name: &str) -> Arc<Watched<ConfigMap>> {
        lookup(&self.config_maps, &self.client, namespace, name)
    }

    /// A Secret; watched while the result is held.
    pub fn secret(&self, namespace: &str, name: &str) -> Arc<Watched<Secret>> {
        lookup(&self.secrets, &self.client, namespace, name)
    }
}

fn lookup<K>(table: &Table<K>, client: &kube::Client, namespace: &str, name: &str) -> Arc<Watched<K>>
where
    K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let mut table = table.lock();
    let key = (namespace.to_owned(), name.to_owned());
    if let Some(watched) = table.get(&key).and_then(Weak::upgrade) {
        return watched;
    }
    table.retain(|_, w| w.strong_count() > 0);
    let watched = Arc::new(Watched::new(client.clone(), namespace, name));
    table.insert(key, Arc::downgrade(&watched));
    watched
}

/// The objects that one pod refers to, held as long as the pod is here.
#[derive(Default)]
pub struct References {
    /// By name.
    pub config_maps: HashMap<String, Arc<Watched<ConfigMap>>>,
    /// By name.
    pub secrets: HashMap<String, Arc<Watched<Secret>>>,
}

impl References {
    /// Everything the pod's spec refers to; `nudge` is notified when any of it changes.
    pub fn of(sources: &Sources, pod: &k8s_openapi::api::core::v1::Pod, nudge: &Arc<Notify>) -> Self {
        let namespace = crate::pod::spec::namespace(pod);
        let (maps, secrets) = names(pod);
        let config_maps: HashMap<_, _> =
            maps.into_iter().map(|n| (n.clone(), sources.config_map(namespace, &n))).collect();
        let secrets: HashMap<_, _> = secrets.into_iter().map(|n| (n.clone(), sources.secret(namespace, &n))).collect();
        config_maps.values().for_each(|w| w.nudge(nudge));
        secrets.values().for_each(|w| w.nudge(nudge));
        Self { config_maps, secrets }
    }

    /// A ConfigMap that the pod refers to.
    pub async fn config_map(&self, name: &str) -> Result<Option<Arc<ConfigMap>>, String> {
        match self.config_maps.get(name) {
            Some(watched) => watched.get().await,
            None => Ok(None),
        }
    }

    /// A Secret that the pod refers to.
    pub async fn secret(&self, name: &str) -> Result<Option<Arc<Secret>>, String> {
        match self.secrets.get(name) {
            Some(watched) => watched.get().await,
            None => Ok(None),
        }
    }

    /// Waits until something is known of everything.
    pub async fn known(&self) -> Result<(), String> {
        for watched in self.config_maps.values() {
            watched.get().await?;
        }
        for watched in self.secrets.values() {
            watched.get().await?;
        }
        Ok(())
    }
}

/// Names of the ConfigMaps and Secrets in a pod's volumes, environments and pull secrets.
fn names(pod: &k8s_openapi::api::core::v1::Pod) -> (Vec<String>, Vec<String>) {
    let (mut maps, mut secrets) = (Vec::new(), Vec::new());
    let s = crate::pod::spec::spec(pod);
    for volume in s.volumes.iter().flatten() {
        maps.extend(volume.config_map.as_ref().map(|c| c.name.clone()));
        secrets.extend(volume.secret.as_ref().and_then(|s| s.secret_name.clone()));
        for source in volume.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
            maps.extend(source.config_map.as_ref().map(|c| c.name.clone()));
            secrets.extend(source.secret.as_ref().map(|s| s.name.clone()));
        }
    }
    for (_, container) in crate::pod::spec::all_containers(pod) {
        for source in container.env_from.iter().flatten() {
            maps.extend(source.config_map_ref.as_ref().map(|r| r.name.clone()));
            secrets.extend(source.secret_ref.as_ref().map(|r| r.name.clone()));
        }
        for source in container.env.iter().flatten().filter_map(|e| e.value_from.as_ref()) {
            maps.extend(source.config_map_key_ref.as_ref().map(|r| r.name.clone()));
            secrets.extend(source.secret_key_ref.as_ref().map(|r| r.name.clone()));
        }
    }
    secrets.extend(s.image_pull_secrets.iter().flatten().map(|r| r.name.clone()));
    for list in [&mut maps, &mut secrets] {
        list.retain(|n| !n.is_empty());
        list.sort();
        list.dedup();
    }
    (maps, secrets)
}
