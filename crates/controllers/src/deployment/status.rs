//! A Deployment's status: counts, and the conditions Available, Progressing and ReplicaFailure. Pure.

use chrono::{DateTime, TimeDelta, Utc};
use controller_kit::conditions::{self, Condition};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::plan::Sets;
use super::view::{self, available, existing, ready, replicas, sum, surge_and_unavailable, wanted};

/// What has happened to the new set in this round.
pub struct Rollout {
    /// A new set is being made under this name.
    pub made: Option<String>,
    /// A new set was there already.
    pub found: Option<String>,
    /// Whether this round tells anything about progress.
    pub judge_progress: bool,
}

impl Default for Rollout {
    fn default() -> Self {
        Rollout { made: None, found: None, judge_progress: true }
    }
}

/// Whether all that was wanted is there, and nothing else.
pub fn is_complete(deployment: &Deployment, sets: &Sets) -> bool {
    complete(deployment, &counts(deployment, sets))
}

/// The Deployment with its new status, if that differs, and in how many seconds time alone would change it.
pub fn compute(
    deployment: &Deployment,
    sets: &Sets,
    rollout: &Rollout,
    now: DateTime<Utc>,
) -> (Option<Deployment>, Option<i64>) {
    let old = deployment.status.clone().unwrap_or_default();
    let mut new = counts(deployment, sets);
    let mut list = old.conditions.clone().unwrap_or_default();
    let deadline = view::progress_deadline(deployment);
    if deadline.is_some() {
        paused(deployment, &mut list, now);
        if let Some(name) = &rollout.made {
            let text = format!("Created new replica set \"{name}\"");
            put(&mut list, "Progressing", "True", "NewReplicaSetCreated", &text, now);
        } else if let Some(name) = &rollout.found
            && conditions::get(Some(&list), "Progressing").is_none()
        {
            let text = format!("Found new replica set \"{name}\"");
            put(&mut list, "Progressing", "True", "FoundNewReplicaSet", &text, now);
        }
    } else {
        conditions::remove(&mut list, "Progressing");
    }
    let enough = new.available_replicas.unwrap_or(0) >= wanted(deployment) - surge_and_unavailable(deployment).1;
    let (status, reason, text) = if enough {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    put(&mut list, "Available", status, reason, text, now);
    if let Some(deadline) = deadline.filter(|_| rollout.judge_progress) {
        progress(deployment, sets, &old, &new, &mut list, deadline, now);
    }
    failures(sets, &mut list, now);
    let again = deadline.and_then(|deadline| stuck_in(deployment, &new, &list, deadline, now));
    new.conditions = Some(list);
    let changed = (new != old).then(|| Deployment { status: Some(new), ..deployment.clone() });
    (changed, again)
}

fn counts(deployment: &Deployment, sets: &Sets) -> DeploymentStatus {
    let nonzero = |count: i32| (count != 0).then_some(count);
    let have = sum(sets.all(), available);
    DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: nonzero(sum(sets.all(), existing)),
        updated_replicas: nonzero(sum(&sets.new, existing)),
        ready_replicas: nonzero(sum(sets.all(), ready)),
        available_replicas: nonzero(have),
        unavailable_replicas: nonzero((sum(sets.all(), replicas) - have).max(0)),
        collision_count: deployment.status.as_ref().and_then(|status| status.collision_count),
        conditions: None,
    }
}

fn complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = wanted(deployment);
    status.updated_replicas.unwrap_or(0) == wanted
        && status.replicas.unwrap_or(0) == wanted
        && status.available_replicas.unwrap_or(0) == wanted
        && status.observed_generation >= deployment.metadata.generation
}

fn paused(deployment: &Deployment, list: &mut Vec<DeploymentCondition>, now: DateTime<Utc>) {
    let reason = conditions::get(Some(list), "Progressing").map(|condition| condition.reason().to_owned());
    if reason.as_deref() == Some("ProgressDeadlineExceeded") {
        return;
    }
    let was_paused = reason.as_deref() == Some("DeploymentPaused");
    if view::is_paused(deployment) && !was_paused {
        put(list, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", now);
    } else if !view::is_paused(deployment) && was_paused {
        put(list, "Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed", now);
    }
}

fn progress(
    deployment: &Deployment,
    sets: &Sets,
    old: &DeploymentStatus,
    new: &DeploymentStatus,
    list: &mut Vec<DeploymentCondition>,
    deadline: i32,
    now: DateTime<Utc>,
) {
    let current = conditions::get(Some(list), "Progressing").cloned();
    let reason = current.as_ref().map(|condition| condition.reason().to_owned()).unwrap_or_default();
    if new.replicas == new.updated_replicas && reason == "NewReplicaSetAvailable" {
        return;
    }
    let what = match sets.new.as_ref().and_then(|set| set.metadata.name.as_deref()) {
        Some(name) => format!("ReplicaSet \"{name}\""),
        None => format!("Deployment \"{}\"", deployment.metadata.name.as_deref().unwrap_or_default()),
    };
    if complete(deployment, new) {
        let text = format!("{what} has successfully progressed.");
        put(list, "Progressing", "True", "NewReplicaSetAvailable", &text, now);
    } else if has_progressed(old, new) {
        let text = format!("{what} is progressing.");
        // Progress moves the deadline, so the update time changes even if nothing else does.
        conditions::remove(list, "Progressing");
        let mut condition = condition("Progressing", "True", "ReplicaSetUpdated", &text, now);
        if let Some(current) = current.filter(|current| current.status == "True") {
            condition.last_transition_time = current.last_transition_time;
        }
        list.push(condition);
    } else if current.is_some_and(|current| has_timed_out(&current, deadline, now)) {
        let text = format!("{what} has timed out progressing.");
        put(list, "Progressing", "False", "ProgressDeadlineExceeded", &text, now);
    }
}

fn has_progressed(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let outdated = |status: &DeploymentStatus| status.replicas.unwrap_or(0) - status.updated_replicas.unwrap_or(0);
    new.updated_replicas.unwrap_or(0) > old.updated_replicas.unwrap_or(0)
        || outdated(new) < outdated(old)
        || new.ready_replicas.unwrap_or(0) > old.ready_replicas.unwrap_or(0)
        || new.available_replicas.unwrap_or(0) > old.available_replicas.unwrap_or(0)
}

fn has_timed_out(current: &DeploymentCondition, deadline: i32, now: DateTime<Utc>) -> bool {
    match current.reason() {
        "NewReplicaSetAvailable" => false,
        "ProgressDeadlineExceeded" => true,
        _ => current.last_update_time.as_ref().is_some_and(|at| at.0 + TimeDelta::seconds(i64::from(deadline)) < now),
    }
}

fn stuck_in(
    deployment: &Deployment,
    status: &DeploymentStatus,
    list: &[DeploymentCondition],
    deadline: i32,
    now: DateTime<Utc>,
) -> Option<i64> {
    let current = list.iter().find(|condition| condition.type_ == "Progressing")?;
    let settled = ["ProgressDeadlineExceeded", "DeploymentPaused"].contains(&current.reason());
    if settled || complete(deployment, status) {
        return None;
    }
    let at = current.last_update_time.as_ref()?.0 + TimeDelta::seconds(i64::from(deadline));
    Some((at - now).num_seconds().max(0) + 1)
}

fn failures(sets: &Sets, list: &mut Vec<DeploymentCondition>, now: DateTime<Utc>) {
    let failure = sets.all().find_map(|set| {
        let conditions = set.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions::get(conditions, "ReplicaFailure").filter(|condition| condition.status == "True")
    });
    match failure {
        Some(failure) => put(list, "ReplicaFailure", "True", failure.reason(), failure.message(), now),
        None => conditions::remove(list, "ReplicaFailure"),
    }
}

fn condition(kind: &str, status: &str, reason: &str, text: &str, now: DateTime<Utc>) -> DeploymentCondition {
    let mut condition = DeploymentCondition::make(kind, status, reason, text, now);
    condition.last_update_time = Some(Time(now));
    condition
}

fn put(list: &mut Vec<DeploymentCondition>, kind: &str, status: &str, reason: &str, text: &str, now: DateTime<Utc>) {
    conditions::set(list, condition(kind, status, reason, text, now));
}
