//! Events that say that a webhook went down, or came up again; they stand at its configuration.

use crate::authn::UserInfo;
use crate::names::random_suffix;
use crate::server::Inner;
use api_kinds::admission::webhooks::{Hook, Phase};
use api_kinds::names;
use http::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Longest note of an event, in bytes.
const NOTE_BYTES_MAX: usize = 1000;
/// Where events of objects without a namespace stand. Webhooks that are down do not lock the server's own.
const NAMESPACE: &str = "default";

/// Something to say of a webhook.
#[derive(Debug)]
pub struct Notice {
    regarding: Value,
    kind: &'static str,
    reason: &'static str,
    note: String,
}

impl Notice {
    /// `why` it is down; `None` if it is up again.
    pub(super) fn new(hook: &Hook, phase: Phase, why: Option<&str>) -> Self {
        let gvr = phase.configurations();
        let regarding = json!({"kind": phase.kind(), "apiVersion": gvr.api_version(),
            "name": hook.configuration, "uid": hook.configuration_uid});
        let (kind, reason, mut note) = match why {
            Some(why) => (
                "Warning",
                "WebhookDown",
                format!(
                    "Webhook {:?} has not answered for long; the cluster's own components do not wait for it in system \
                     namespaces and in that of its backend: {why}",
                    hook.name
                ),
            ),
            None => ("Normal", "WebhookUp", format!("Webhook {:?} answers again", hook.name)),
        };
        let mut end = note.len().min(NOTE_BYTES_MAX);
        while !note.is_char_boundary(end) {
            end -= 1;
        }
        note.truncate(end);
        Self { regarding, kind, reason, note }
    }

    fn event(&self) -> Value {
        let name = self.regarding["name"].as_str().unwrap_or_default();
        let now = api_core::time::format_micro(jiff::Timestamp::now());
        json!({"kind": names::EVENT, "apiVersion": "events.k8s.io/v1",
            "metadata": {"namespace": NAMESPACE, "name": format!("{name}.{}", random_suffix())},
            "regarding": self.regarding, "type": self.kind, "reason": self.reason, "note": self.note, "action": "Call",
            "eventTime": now, "reportingController": "kube-apiserver", "reportingInstance": "kube-apiserver"})
    }
}

/// Writes events until the server drains.
pub(crate) async fn announce(server: Arc<Inner>, mut notices: mpsc::Receiver<Notice>) {
    let me = UserInfo::apiserver();
    let path = format!("/apis/events.k8s.io/v1/namespaces/{NAMESPACE}/events");
    loop {
        let notice = tokio::select! {
            notice = notices.recv() => notice,
            () = server.drain.cancelled() => return,
        };
        let Some(notice) = notice else { return };
        if let Err(error) = server.call(&me, Method::POST, &path, Some(&notice.event())).await {
            tracing::warn!(%error, note = notice.note, "an event of a webhook cannot be written");
        }
    }
}
