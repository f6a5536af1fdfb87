//! Kubernetes Events about pods and the node: queued, deduplicated, written by one task. A full queue drops events
//! rather than holding anybody back, and says so in the log.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use tokio::sync::mpsc;

use crate::pod::spec;

/// Events that wait to be written.
const QUEUE_MAX: usize = 1024;
/// Events remembered, so that repetitions are counted instead of written anew.
const REMEMBERED_MAX: usize = 4096;
/// A repetition within this time only raises the count.
const REPEAT_WINDOW: Duration = Duration::from_secs(600);
/// Per object: this many at once, then one more per [`SPAM_REFILL`]; as upstream.
const SPAM_BURST: f64 = 25.0;
const SPAM_REFILL: Duration = Duration::from_secs(300);

struct Item {
    object: ObjectReference,
    warning: bool,
    reason: String,
    message: String,
    at: DateTime<Utc>,
}

/// Sends events; cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Item>,
    node_name: String,
}

impl Recorder {
    /// A recorder, and the task that writes what it records; the task ends after the last recorder is dropped.
    pub fn new(client: kube::Client, node_name: &str) -> (Self, impl Future<Output = ()> + use<>) {
        let (queue, items) = mpsc::channel(QUEUE_MAX);
        let writer = Writer { client, host: node_name.into(), seen: HashMap::new(), spam: HashMap::new() };
        (Self { queue, node_name: node_name.into() }, writer.run(items))
    }

    /// Something normal about a pod, or one of its containers.
    pub fn normal(&self, pod: &Pod, container: Option<(spec::Kind, &str)>, reason: &str, message: impl Into<String>) {
        self.send(pod_reference(pod, container), false, reason, message.into());
    }

    /// Something wrong with a pod, or one of its containers.
    pub fn warning(&self, pod: &Pod, container: Option<(spec::Kind, &str)>, reason: &str, message: impl Into<String>) {
        self.send(pod_reference(pod, container), true, reason, message.into());
    }

    /// Something about the node.
    pub fn node(&self, warning: bool, reason: &str, message: impl Into<String>) {
        let object = ObjectReference {
            kind: Some("Node".into()),
            name: Some(self.node_name.clone()),
            // As upstream: events of a node carry its name as UID, so that they are found without reading the node.
            uid: Some(self.node_name.clone()),
            ..ObjectReference::default()
        };
        self.send(object, warning, reason, message.into());
    }

    fn send(&self, object: ObjectReference, warning: bool, reason: &str, message: String) {
        tracing::debug!(%reason, %message, object = object.name.as_deref().unwrap_or_default(), "event");
        let item = Item { object, warning, reason: reason.into(), message, at: Utc::now() };
        if self.queue.try_send(item).is_err() {
            tracing::warn!(%reason, "event dropped: the queue is full");
        }
    }
}

fn pod_reference(pod: &Pod, container: Option<(spec::Kind, &str)>) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        name: pod.metadata.name.clone(),
        namespace: pod.metadata.namespace.clone(),
        uid: pod.metadata.uid.clone(),
        resource_version: pod.metadata.resource_version.clone(),
        field_path: container.map(|(kind, name)| {
            let list = match kind {
                spec::Kind::Init => "initContainers",
                spec::Kind::Regular => "containers",
                spec::Kind::Ephemeral => "ephemeralContainers",
            };
            format!("spec.{list}{{{name}}}")
        }),
    }
}

struct Seen {
    name: String,
    count: i32,
    last: DateTime<Utc>,
}

struct Writer {
    client: kube::Client,
    host: String,
    seen: HashMap<u64, Seen>,
    spam: HashMap<String, (f64, DateTime<Utc>)>,
}

impl Writer {
    async fn run(mut self, mut items: mpsc::Receiver<Item>) {
        while let Some(item) = items.recv().await {
            if !self.allowed(&item) {
                continue;
            }
            if let Err(error) = self.write(&item).await {
                tracing::debug!(%error, reason = %item.reason, "event not written");
            }
        }
    }

    /// A bucket of tokens per object keeps one sick pod from filling the store.
    fn allowed(&mut self, item: &Item) -> bool {
        if self.spam.len() >= REMEMBERED_MAX {
            self.spam.clear();
        }
        let key = item.object.uid.clone().unwrap_or_default();
        let (tokens, last) = self.spam.entry(key).or_insert((SPAM_BURST, item.at));
        let refill = (item.at - *last).as_seconds_f64().max(0.0) / SPAM_REFILL.as_secs_f64();
        *tokens = (*tokens + refill).min(SPAM_BURST);
        *last = item.at;
        let allowed = *tokens >= 1.0;
        if allowed {
            *tokens -= 1.0;
        }
        allowed
    }

    async fn write(&mut self, item: &Item) -> Result<(), kube::Error> {
        let namespace = item.object.namespace.as_deref().unwrap_or("default");
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        if self.seen.len() >= REMEMBERED_MAX {
            self.seen.clear();
        }
        let mut hasher = DefaultHasher::new();
        (&item.object.uid, &item.object.field_path, &item.reason, &item.message, item.warning).hash(&mut hasher);
        let key = hasher.finish();
        if let Entry::Occupied(mut seen) = self.seen.entry(key)
            && (item.at - seen.get().last).to_std().is_ok_and(|age| age < REPEAT_WINDOW)
        {
            let seen = seen.get_mut();
            seen.count += 1;
            seen.last = item.at;
            let patch = serde_json::json!({"count": seen.count, "lastTimestamp": Time(item.at)});
            match api.patch(&seen.name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Err(kube::Error::Api(e)) if e.code == 404 => {}
                other => return other.map(drop),
            }
        }
        let name = format!(
            "{}.{:x}",
            item.object.name.as_deref().unwrap_or_default(),
            item.at.timestamp_nanos_opt().unwrap_or_default()
        );
        self.seen.insert(key, Seen { name: name.clone(), count: 1, last: item.at });
        api.create(&PostParams::default(), &self.event(item, namespace, name)).await.map(drop)
    }

    fn event(&self, item: &Item, namespace: &str, name: String) -> Event {
        Event {
            metadata: ObjectMeta { name: Some(name), namespace: Some(namespace.into()), ..ObjectMeta::default() },
            involved_object: item.object.clone(),
            reason: Some(item.reason.clone()),
            message: Some(item.message.clone()),
            type_: Some(if item.warning { "Warning" } else { "Normal" }.into()),
            source: Some(EventSource { component: Some("kubelet".into()), host: Some(self.host.clone()) }),
            reporting_component: Some("kubelet".into()),
            reporting_instance: Some(self.host.clone()),
            first_timestamp: Some(Time(item.at)),
            last_timestamp: Some(Time(item.at)),
            count: Some(1),
            ..Event::default()
        }
    }
}
