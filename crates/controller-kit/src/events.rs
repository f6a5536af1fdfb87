//! Events: what happened to an object, for people to read.
//!
//! The same event again raises `count` of the first; many alike with different messages become one "combined" event;
//! one object can't flood the log. Recording never waits and never fails its caller: past the bounds an event is
//! dropped and counted.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use tokio::sync::mpsc;

/// Events waiting to be written; more are dropped.
pub const EVENTS_PENDING_MAX: usize = 4_096;
/// Writes under way at a time.
const WRITES_AT_ONCE: usize = 8;
/// Distinct messages of one kind about one object before they are combined.
const SIMILAR_MAX: usize = 10;
/// Time after which similar events start anew.
const SIMILAR_SECONDS: i64 = 600;
/// Events about one object from one source before the rate limit holds.
const BURST: f64 = 25.0;
/// Events per second about one object after the burst.
const REFILL_PER_SECOND: f64 = 1.0 / 300.0;
/// Entries kept of each memory, in each of two generations.
const REMEMBERED_MAX: usize = 2_048;

/// Normal or Warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// Something that was meant to happen.
    Normal,
    /// Something that was not.
    Warning,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Level::Normal => "Normal",
            Level::Warning => "Warning",
        }
    }
}

/// Records events of one component. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    send: Option<mpsc::Sender<Incident>>,
    source: EventSource,
    dropped: Arc<AtomicU64>,
}

struct Incident {
    source: EventSource,
    about: ObjectReference,
    level: Level,
    reason: String,
    message: String,
    at: DateTime<Utc>,
}

impl Recorder {
    /// Records as `component` through `client`. Must be called within a tokio runtime; the task behind it ends when
    /// the last clone is dropped.
    pub fn new(client: kube::Client, component: &str, host: &str) -> Self {
        let (send, receive) = mpsc::channel(EVENTS_PENDING_MAX);
        let source = EventSource { component: Some(component.into()), host: some(host) };
        tokio::spawn(write_all(client, receive));
        Recorder { send: Some(send), source, dropped: Arc::default() }
    }

    /// The same recorder, speaking for another component.
    pub fn named(&self, component: &str) -> Self {
        let source = EventSource { component: Some(component.into()), host: self.source.host.clone() };
        Recorder { source, ..self.clone() }
    }

    /// Records nothing.
    pub fn none() -> Self {
        Recorder { send: None, source: EventSource::default(), dropped: Arc::default() }
    }

    /// Records that something meant to happen has happened to `object`.
    pub fn normal<K: Resource<DynamicType = ()>>(&self, object: &K, reason: &str, message: impl Into<String>) {
        self.record(reference(object), Level::Normal, reason, message);
    }

    /// Records that something unwanted has happened to `object`.
    pub fn warning<K: Resource<DynamicType = ()>>(&self, object: &K, reason: &str, message: impl Into<String>) {
        self.record(reference(object), Level::Warning, reason, message);
    }

    /// Records an event about whatever `about` names.
    pub fn record(&self, about: ObjectReference, level: Level, reason: &str, message: impl Into<String>) {
        let Some(send) = &self.send else { return };
        let (source, reason, message) = (self.source.clone(), reason.into(), message.into());
        let incident = Incident { source, about, level, reason, message, at: Utc::now() };
        if send.try_send(incident).is_err() {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            if dropped.is_power_of_two() {
                tracing::warn!(dropped, "events are made faster than they can be written");
            }
        }
    }
}

/// The reference to `object` that an event carries.
pub fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

async fn write_all(client: kube::Client, incidents: mpsc::Receiver<Incident>) {
    let notes = stream::unfold((incidents, Correlator::default()), |(mut incidents, mut correlator)| async move {
        loop {
            let incident = incidents.recv().await?;
            if let Some(note) = correlator.take(incident) {
                return Some((note, (incidents, correlator)));
            }
        }
    });
    let write = |note: Note| {
        let client = &client;
        async move {
            if let Err(error) = write(client, &note).await {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(reason = note.incident.reason, error, "an event could not be written");
            }
        }
    };
    notes.for_each_concurrent(WRITES_AT_ONCE, write).await;
}

async fn write(client: &kube::Client, note: &Note) -> Result<(), kube::Error> {
    let about = &note.incident.about;
    let namespace = about.namespace.as_deref().filter(|namespace| !namespace.is_empty()).unwrap_or("default");
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    if note.count > 1 {
        let patch = serde_json::json!({"count": note.count, "message": note.incident.message,
            "lastTimestamp": Time(note.incident.at)});
        match api.patch(&note.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            other => return other.map(drop),
        }
    }
    api.create(&PostParams::default(), &note.event(namespace)).await.map(drop)
}

/// What to write: an event that happened `count` times since `first`.
struct Note {
    incident: Incident,
    name: String,
    count: i32,
    first: DateTime<Utc>,
}

impl Note {
    fn event(&self, namespace: &str) -> Event {
        let incident = &self.incident;
        let source = &incident.source;
        Event {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(namespace.into()),
                ..ObjectMeta::default()
            },
            involved_object: incident.about.clone(),
            type_: Some(incident.level.as_str().into()),
            reason: Some(incident.reason.clone()),
            message: Some(incident.message.clone()),
            count: Some(self.count),
            first_timestamp: Some(Time(self.first)),
            last_timestamp: Some(Time(incident.at)),
            source: Some(source.clone()),
            reporting_component: source.component.clone(),
            reporting_instance: source.host.clone(),
            ..Event::default()
        }
    }
}

#[derive(Default)]
struct Correlator {
    limits: Recent<String, (f64, DateTime<Utc>)>,
    similar: Recent<String, (HashSet<String>, DateTime<Utc>)>,
    seen: Recent<String, (String, i32, DateTime<Utc>)>,
}

impl Correlator {
    /// What to write for `incident`, or nothing if its object has had too many.
    fn take(&mut self, mut incident: Incident) -> Option<Note> {
        let about = &incident.about;
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let object =
            [&incident.source.component, &about.kind, &about.namespace, &about.name, &about.uid, &about.api_version]
                .map(text)
                .join("\0");
        let now = incident.at;
        let (tokens, last) = self.limits.entry(object.clone(), || (BURST, now));
        let passed = (now - *last).num_milliseconds().max(0) as f64 / 1_000.0;
        *tokens = (*tokens + passed * REFILL_PER_SECOND).min(BURST);
        *last = now;
        if *tokens < 1.0 {
            return None;
        }
        *tokens -= 1.0;

        let group = format!("{object}\0{}\0{}", incident.level.as_str(), incident.reason);
        let (messages, last) = self.similar.entry(group.clone(), || (HashSet::new(), now));
        if (now - *last).num_seconds() > SIMILAR_SECONDS {
            messages.clear();
        }
        *last = now;
        messages.insert(incident.message.clone());
        let identity = if messages.len() >= SIMILAR_MAX {
            if let Some(any) = messages.iter().next().cloned() {
                messages.remove(&any);
            }
            incident.message = format!("(combined from similar events): {}", incident.message);
            group
        } else {
            format!("{group}\0{}", incident.message)
        };
        let base = incident.about.name.clone().unwrap_or_default();
        let (name, count, first) = self
            .seen
            .entry(identity, || (format!("{base}.{:x}", now.timestamp_nanos_opt().unwrap_or_default()), 0, now));
        *count = count.saturating_add(1);
        Some(Note { name: name.clone(), count: *count, first: *first, incident })
    }
}

/// A map that forgets what was not used for long: two generations, the older dropped when the newer is full.
struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Recent { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<K: Eq + Hash + Clone, V> Recent<K, V> {
    fn entry(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        if !self.young.contains_key(&key) {
            if self.young.len() >= REMEMBERED_MAX {
                self.old = std::mem::take(&mut self.young);
            }
            let value = self.old.remove(&key).unwrap_or_else(make);
            self.young.insert(key.clone(), value);
        }
        self.young.get_mut(&key).expect("inserted above")
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incident(message: &str, second: i64) -> Incident {
        Incident {
            source: EventSource::default(),
            about: ObjectReference { name: Some("web".into()), ..ObjectReference::default() },
            level: Level::Normal,
            reason: "Pulled".into(),
            message: message.into(),
            at: DateTime::from_timestamp(1_000 + second, 0).unwrap(),
        }
    }

    #[test]
    fn the_same_again_counts_and_many_alike_combine() {
        let mut correlator = Correlator::default();
        let first = correlator.take(incident("one", 0)).unwrap();
        let again = correlator.take(incident("one", 1)).unwrap();
        assert_eq!((first.count, again.count), (1, 2));
        assert_eq!(first.name, again.name);
        assert_eq!(again.first, first.first);
        let notes: Vec<Note> = (0..12).filter_map(|n| correlator.take(incident(&format!("m{n}"), 2))).collect();
        let combined: Vec<&Note> = notes.iter().filter(|note| note.incident.message.starts_with("(combined")).collect();
        assert_eq!(combined.len(), 4);
        assert_eq!(combined.last().unwrap().count, 4);
    }

    #[test]
    fn one_object_can_not_flood() {
        let mut correlator = Correlator::default();
        let written = (0..100).filter(|_| correlator.take(incident("one", 0)).is_some()).count();
        assert_eq!(written, 25);
        assert!(correlator.take(incident("one", 301)).is_some());
    }
}
