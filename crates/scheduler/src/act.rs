//! Carries out what was decided: bindings, conditions, evictions.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use client::Key;
use controller_kit::{Error, Remove, Row, Writer, conditions};
use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use crate::snapshot::Placed;

pub(crate) static ROW: Row = Row {
    name: "scheduler",
    account: "",
    inputs: &["Pod", "Node", "Namespace", "PersistentVolumeClaim", "PersistentVolume", "PodDisruptionBudget"],
    outputs: &["Pod/binding", "Pod/status", "Pod", "Event"],
    workers: 1,
};

/// One write.
pub(crate) enum Act {
    Bind {
        key: Key,
        pod: Arc<Pod>,
        node: String,
    },
    /// Says in the pod's status why it waits, and which node it was promised.
    Tell {
        key: Key,
        pod: Arc<Pod>,
        message: String,
        nominate: Option<String>,
    },
    Evict {
        victim: Arc<Placed>,
        by: Arc<Pod>,
        node: String,
    },
}

/// How a write ended.
pub(crate) enum Done {
    Bound { key: Key, pod: Arc<Pod>, node: String },
    NotBound { key: Key, error: Error },
    Evicted { victim: Key, by: Arc<Pod>, node: String },
    Told,
    Failed { error: Error },
}

/// Writes as the scheduler.
#[derive(Clone)]
pub(crate) struct Hands {
    writer: Writer,
}

impl Hands {
    pub fn new(client: kube::Client) -> Self {
        Hands { writer: Writer::new(client, &ROW) }
    }

    pub async fn carry_out(&self, act: Act, now: DateTime<Utc>) -> Done {
        match act {
            Act::Bind { key, pod, node } => match self.bind(&key, &pod, &node).await {
                Ok(()) => Done::Bound { key, pod, node },
                Err(error) => Done::NotBound { key, error },
            },
            Act::Tell { key, pod, message, nominate } => {
                match self.tell(&key, &pod, &message, nominate.as_deref(), now).await {
                    Ok(()) => Done::Told,
                    Err(error) => Done::Failed { error },
                }
            }
            Act::Evict { victim, by, node } => match self.evict(&victim, now).await {
                Ok(()) => Done::Evicted { victim: victim.key.clone(), by, node },
                Err(error) => Done::Failed { error },
            },
        }
    }

    async fn bind(&self, key: &Key, pod: &Pod, node: &str) -> Result<(), Error> {
        let binding = Binding {
            metadata: ObjectMeta {
                name: Some(key.name.to_string()),
                namespace: Some(key.namespace.to_string()),
                uid: pod.metadata.uid.clone(),
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Node".into()),
                name: Some(node.to_owned()),
                ..ObjectReference::default()
            },
        };
        self.writer.create_subresource::<Pod, _>("binding", key, &binding).await.map(drop)
    }

    async fn tell(
        &self,
        key: &Key,
        pod: &Pod,
        message: &str,
        nominate: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let status = pod.status.clone().unwrap_or_default();
        let old = conditions::get(status.conditions.as_ref(), "PodScheduled");
        let same = old.is_some_and(|old| {
            old.status == "False"
                && old.reason.as_deref() == Some("Unschedulable")
                && old.message.as_deref() == Some(message)
        });
        let promised = nominate.is_none() || status.nominated_node_name.as_deref() == nominate;
        if same && promised {
            return Ok(());
        }
        let since = old.filter(|old| old.status == "False").and_then(|old| old.last_transition_time.clone());
        let mut patch = serde_json::json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
            "lastTransitionTime": since.unwrap_or(Time(now)), "lastProbeTime": null}]}});
        if let Some(node) = nominate {
            patch["status"]["nominatedNodeName"] = node.into();
        }
        match self.writer.strategic_patch_subresource::<Pod>("status", key, &patch).await {
            Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
            _ => Ok(()),
        }
    }

    async fn evict(&self, victim: &Placed, now: DateTime<Utc>) -> Result<(), Error> {
        let patch = serde_json::json!({"metadata": {"uid": victim.uid}, "status": {"conditions": [{
            "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
            "message": "default-scheduler: preempting to accommodate a higher priority pod",
            "lastTransitionTime": Time(now)}]}});
        match self.writer.strategic_patch_subresource::<Pod>("status", &victim.key, &patch).await {
            Err(error) if error.is_not_found() || error.is_conflict() => return Ok(()),
            other => drop(other?),
        }
        let remove = Remove { uid: Some(victim.uid.clone()), ..Remove::default() };
        self.writer.delete::<Pod>(&victim.key, &remove).await.map(drop)
    }
}
