//! The audit log: who asked for what, and how it was answered, a line of JSON (`audit.k8s.io/v1`) for each request.
//!
//! Requests hand their event to a bounded queue and go on; one thread writes. When the disk is slower than the requests,
//! events are dropped, counted, and the gap is said in the server's own log.

use crate::RemoteAddr;
use crate::authn::UserInfo;
use crate::request_info::RequestInfo;
use http::request::Parts;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, LazyLock};

/// Annotations that the stages of one request may add.
const ANNOTATIONS_MAX: usize = 256;
/// Events that wait to be written; more are dropped.
const QUEUE_EVENTS_MAX: usize = 8192;
/// Paths that load balancers ask for all the time, and that say nothing of anybody.
const NOT_RECORDED: [&str; 3] = ["/healthz", "/livez", "/readyz"];

/// Why the log cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("open the audit log {path}")]
pub struct OpenError {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

/// Where events go.
#[derive(Debug, Clone)]
pub struct Audit(Option<Arc<Sink>>);

#[derive(Debug)]
struct Sink {
    queue: SyncSender<Value>,
    dropped: AtomicU64,
}

/// What is known of a request so far.
#[derive(Debug, Default)]
pub(crate) struct Record {
    event: Option<Box<Map<String, Value>>>,
}

impl Audit {
    /// Appends to a file, which only its owner can read; without one nothing is recorded.
    pub fn open(path: Option<&Path>) -> Result<Self, OpenError> {
        use std::os::unix::fs::OpenOptionsExt;
        let Some(path) = path else { return Ok(Self(None)) };
        let failed = |source| OpenError { path: path.to_owned(), source };
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(failed)?;
        let (queue, events) = sync_channel(QUEUE_EVENTS_MAX);
        // A thread of its own: the disk may be slow. It ends when the last request that can still write is gone.
        let writer = std::thread::Builder::new().name("audit".into());
        writer.spawn(move || write(file, &events)).map_err(failed)?;
        Ok(Self(Some(Arc::new(Sink { queue, dropped: AtomicU64::new(0) }))))
    }

    /// Begins the record of a request.
    pub(crate) fn begin(&self, parts: &Parts, info: &RequestInfo) -> Record {
        if self.0.is_none() || NOT_RECORDED.contains(&info.path.as_str()) {
            return Record::default();
        }
        let mut event = Map::new();
        let text = |name| parts.headers.get(name).and_then(|v: &http::HeaderValue| v.to_str().ok());
        event.insert("requestURI".into(), parts.uri.to_string().into());
        event.insert("verb".into(), info.verb.clone().into());
        event.insert("userAgent".into(), text(http::header::USER_AGENT).unwrap_or("").into());
        event.insert("requestReceivedTimestamp".into(), api_core::time::format_micro(Timestamp::now()).into());
        if let Some(RemoteAddr(address)) = parts.extensions.get() {
            event.insert("sourceIPs".into(), json!([address.ip()]));
        }
        if info.is_resource {
            let fields = [
                ("resource", &info.resource),
                ("namespace", &info.namespace),
                ("name", &info.name),
                ("apiGroup", &info.api_group),
                ("apiVersion", &info.api_version),
                ("subresource", &info.subresource),
            ];
            let set = fields.into_iter().filter(|(_, v)| !v.is_empty());
            event.insert("objectRef".into(), set.map(|(k, v)| (k.to_owned(), Value::from(v.as_str()))).collect());
        }
        Record { event: Some(Box::new(event)) }
    }

    /// Ends the record with the answer's code; the answer of a long-running request only begins with it. Says whether the
    /// log took it; `None` if there is nothing to record.
    pub(crate) fn end(&self, record: Record, audit_id: &str, code: u16, long_running: bool) -> Option<bool> {
        let (Some(sink), Some(mut event)) = (&self.0, record.event) else { return None };
        let (version, kind) = api_kinds::names::AUDIT_EVENT;
        event.insert("kind".into(), kind.into());
        event.insert("apiVersion".into(), version.into());
        event.insert("level".into(), "Metadata".into());
        let stage = if long_running { "ResponseStarted" } else { "ResponseComplete" };
        event.insert("stage".into(), stage.into());
        event.insert("auditID".into(), audit_id.into());
        event.insert("responseStatus".into(), json!({"metadata": {}, "code": code}));
        event.insert("stageTimestamp".into(), api_core::time::format_micro(Timestamp::now()).into());
        match sink.queue.try_send(Value::Object(*event)) {
            Ok(()) => {
                let dropped = sink.dropped.swap(0, Ordering::Relaxed);
                if dropped > 0 {
                    tracing::error!(dropped, "audit events were lost: the audit log's disk is too slow");
                }
                Some(true)
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                sink.dropped.fetch_add(1, Ordering::Relaxed);
                Some(false)
            }
        }
    }
}

/// What the stages of a request add to its record, under names of their own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Annotations(Arc<Mutex<Vec<(String, String)>>>);

impl Annotations {
    /// Those of a request; of one that has none, some that nobody reads.
    pub(crate) fn of(extensions: &http::Extensions) -> &Self {
        static NONE: LazyLock<Annotations> = LazyLock::new(Annotations::default);
        extensions.get().unwrap_or(&NONE)
    }

    /// Adds some; past the limit they are dropped.
    pub(crate) fn add(&self, pairs: impl Iterator<Item = (String, String)>) {
        let mut all = self.0.lock();
        let room = ANNOTATIONS_MAX.saturating_sub(all.len());
        all.extend(pairs.take(room));
    }
}

impl Record {
    /// Takes over what the stages have added. What was said of a key first stays.
    pub(crate) fn annotate(&mut self, annotations: &Annotations) {
        let Some(event) = &mut self.event else { return };
        let all = event.entry("annotations").or_insert_with(|| json!({}));
        let Some(all) = all.as_object_mut() else { return };
        for (key, value) in annotations.0.lock().drain(..) {
            all.entry(key).or_insert_with(|| value.into());
        }
    }

    /// Says who asks, and as whom.
    pub(crate) fn user(&mut self, user: &UserInfo, acting_as: &UserInfo) {
        let Some(event) = &mut self.event else { return };
        event.insert("user".into(), user.to_value());
        if acting_as != user {
            event.insert("impersonatedUser".into(), acting_as.to_value());
        }
    }

    /// Says why it was allowed or refused.
    pub(crate) fn decision(&mut self, allowed: bool, reason: &str) {
        let Some(event) = &mut self.event else { return };
        let decision = if allowed { "allow" } else { "forbid" };
        let annotations = json!({"authorization.k8s.io/decision": decision, "authorization.k8s.io/reason": reason});
        event.insert("annotations".into(), annotations);
    }
}

fn write(file: File, events: &Receiver<Value>) {
    let mut out = BufWriter::new(file);
    let mut failed = false;
    while let Ok(event) = events.recv() {
        let mut result = writeln!(out, "{event}");
        // What has come meanwhile goes with the same write.
        while let Ok(event) = events.try_recv() {
            result = result.and_then(|()| writeln!(out, "{event}"));
        }
        match result.and_then(|()| out.flush()) {
            Ok(()) => failed = false,
            Err(error) if !failed => {
                failed = true;
                tracing::error!(%error, "the audit log cannot be written");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Query;

    #[test]
    fn a_request_is_a_line() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("audit.log");
        let audit = Audit::open(Some(&path)).expect("open");
        let ask = |uri: &str| {
            let (parts, ()) =
                http::Request::builder().uri(uri).header("user-agent", "test").body(()).expect("request").into_parts();
            let info = RequestInfo::new(&parts.method, parts.uri.path(), &Query::default());
            let mut record = audit.begin(&parts, &info);
            let user = UserInfo::authenticated("ann", ["staff"]);
            record.user(&user, &UserInfo::anonymous());
            record.decision(true, "why");
            audit.end(record, "id", 200, false)
        };
        assert_eq!(ask("/api/v1/namespaces/a/pods/p/log"), Some(true));
        assert_eq!(ask("/healthz"), None);
        let started = std::time::Instant::now();
        let mut text = String::new();
        while text.lines().count() < 1 && started.elapsed().as_secs() < 10 {
            text = std::fs::read_to_string(&path).expect("log");
            std::thread::yield_now();
        }
        drop(audit);
        let events: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
        assert_eq!(events.len(), 1, "health is not recorded");
        let event = &events[0];
        assert_eq!(
            event["objectRef"],
            json!({"resource": "pods", "namespace": "a", "name": "p", "apiVersion": "v1", "subresource": "log"})
        );
        assert_eq!(event["user"]["username"], "ann");
        assert_eq!(event["impersonatedUser"]["username"], "system:anonymous");
        assert_eq!(event["annotations"]["authorization.k8s.io/decision"], "allow");
        assert_eq!((&event["verb"], &event["responseStatus"]["code"]), (&json!("get"), &json!(200)));
    }
}
