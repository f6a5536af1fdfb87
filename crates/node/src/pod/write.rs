//! Writes one pod's status to the API, only when it changed, and deletes the object once everything of it is gone.
//! A server that is away holds back the writing, never the pod.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::spec;

/// First and longest wait after a failed write.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Fields of a pod's status that the agent owns; what is unset is removed.
const FIELDS: [&str; 13] = [
    "phase",
    "conditions",
    "message",
    "reason",
    "hostIP",
    "hostIPs",
    "podIP",
    "podIPs",
    "startTime",
    "qosClass",
    "initContainerStatuses",
    "containerStatuses",
    "ephemeralContainerStatuses",
];

/// What the API should say about a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// The status.
    pub status: PodStatus,
    /// Nothing of the pod is left: remove the object, if it is being deleted.
    pub delete: bool,
}

/// Runs until the sender is dropped and the last status is written. `uid` is that of the API object, once there is one.
pub async fn run(
    client: kube::Client,
    pod: std::sync::Arc<Pod>,
    mut uid: watch::Receiver<Option<String>>,
    mut wanted: watch::Receiver<Option<Wanted>>,
) {
    let api: Api<Pod> = Api::namespaced(client, spec::namespace(&pod));
    // What the API has; an agent that starts anew writes only what differs.
    let mut written = normal(spec::status(&pod));
    let mut deleted = false;
    loop {
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            changed = uid.changed() => if changed.is_err() { return } else { written = Value::Null },
        }
        let mut wait = RETRY_MIN;
        loop {
            let Some(uid) = uid.borrow().clone() else { break };
            let Some(now) = wanted.borrow_and_update().clone() else { break };
            match step(&api, &pod, &uid, &now, &mut written, &mut deleted).await {
                Ok(()) => break,
                Err(kube::Error::Api(e)) if matches!(e.code, 404 | 409) => break,
                Err(kube::Error::Api(e)) if e.code == 422 => {
                    tracing::warn!(pod = %spec::full_name(&pod), message = %e.message, "the server refuses the pod's status");
                    break;
                }
                Err(error) => {
                    tracing::warn!(pod = %spec::full_name(&pod), %error, "pod status not written, trying again");
                    tokio::select! {
                        () = tokio::time::sleep(wait) => wait = (wait * 2).min(RETRY_MAX),
                        more = wanted.changed() => if more.is_err() { return },
                    }
                }
            }
        }
    }
}

async fn step(
    api: &Api<Pod>,
    pod: &Pod,
    uid: &str,
    wanted: &Wanted,
    written: &mut Value,
    deleted: &mut bool,
) -> Result<(), kube::Error> {
    let status = normal(&wanted.status);
    if status != *written {
        let patch = patch(&status, written, uid);
        api.patch_status(spec::name(pod), &PatchParams::default(), &Patch::Strategic(patch)).await?;
        *written = status;
    }
    if wanted.delete && !*deleted {
        let preconditions = Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None });
        let params = DeleteParams { preconditions, ..DeleteParams::default().grace_period(0) };
        api.delete(spec::name(pod), &params).await?;
        *deleted = true;
    }
    Ok(())
}

/// The agent's own part of a status, in a form that can be compared.
fn normal(status: &PodStatus) -> Value {
    const OWN: [&str; 5] = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
    let mut value = serde_json::to_value(status).unwrap_or_default();
    if let Some(conditions) = value["conditions"].as_array_mut() {
        conditions.retain(|c| OWN.contains(&c["type"].as_str().unwrap_or_default()));
        conditions.sort_by_key(|c| c["type"].as_str().unwrap_or_default().to_owned());
        for condition in conditions {
            if let Some(fields) = condition.as_object_mut() {
                fields.remove("lastProbeTime");
            }
        }
    }
    let mut out = serde_json::Map::new();
    for field in FIELDS {
        if let Some(value) = value.get(field).filter(|v| !v.is_null()) {
            out.insert(field.into(), value.clone());
        }
    }
    Value::Object(out)
}

/// A strategic merge patch from `old` to `new`, both normal.
fn patch(new: &Value, old: &Value, uid: &str) -> Value {
    let mut status = serde_json::Map::new();
    for field in FIELDS {
        match (new.get(field), old.get(field)) {
            (Some(n), o) if Some(n) != o => {
                status.insert(field.into(), n.clone());
            }
            (None, Some(_)) => {
                status.insert(field.into(), Value::Null);
            }
            _ => {}
        }
    }
    // Lists that merge by key: say what goes.
    for condition in status.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        for field in ["reason", "message"] {
            if condition.get(field).is_none() {
                condition[field] = Value::Null;
            }
        }
        condition["lastProbeTime"] = Value::Null;
    }
    for (field, key) in [("podIPs", "ip"), ("hostIPs", "ip")] {
        let gone: Vec<Value> = old[field]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|o| !new[field].as_array().is_some_and(|n| n.contains(o)))
            .cloned()
            .collect();
        if let Some(list) = status.get_mut(field).and_then(Value::as_array_mut) {
            list.extend(gone.into_iter().map(|o| json!({"$patch": "delete", key: o[key]})));
        }
    }
    json!({"metadata": {"uid": uid}, "status": status})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_say_only_what_changed() {
        let status = |v: Value| normal(&serde_json::from_value::<PodStatus>(v).unwrap());
        let old = status(json!({"phase": "Pending", "message": "m", "podIPs": [{"ip": "1"}], "hostIP": "h",
            "hostIPs": [{"ip": "h"}], "conditions": [{"type": "Ready", "status": "False", "reason": "r"}, {"type": "Foreign", "status": "True"}]}));
        let new = status(json!({"phase": "Running", "podIPs": [{"ip": "2"}], "hostIP": "i", "hostIPs": [{"ip": "i"}],
            "conditions": [{"type": "Ready", "status": "True"}]}));
        assert_eq!(
            patch(&new, &old, "u"),
            json!({"metadata": {"uid": "u"}, "status": {"phase": "Running", "message": null,
            "podIPs": [{"ip": "2"}, {"$patch": "delete", "ip": "1"}],
            "hostIP": "i", "hostIPs": [{"ip": "i"}, {"$patch": "delete", "ip": "h"}],
            "conditions": [{"type": "Ready", "status": "True", "reason": null, "message": null, "lastProbeTime": null}]}})
        );
    }
}
