//! Decides one step of a Deployment: which ReplicaSets to make, scale, annotate and delete. Pure.
//!
//! The sets are changed in a working copy; what differs from the original afterwards is what has to be written.
//! Behaviour follows upstream's deployment controller, one kind of step a round: first the new set grows, then old
//! ones shrink.

use chrono::{DateTime, Utc};
use controller_kit::owner;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::scale;
use super::status;
use super::view::{self, annotate, annotation, replicas, revision};
use crate::hash;

/// Characters of the list of past revisions that a set remembers.
const REVISION_HISTORY_CHARS_MAX: usize = 2_000;

/// What is known about one Deployment.
pub struct Inputs<'a> {
    pub deployment: &'a Deployment,
    /// The sets that it controls.
    pub sets: Vec<ReplicaSet>,
    /// The uids of sets that have pods which have not ended.
    pub running: Vec<String>,
    pub now: DateTime<Utc>,
}

/// What to do, in this order.
#[derive(Debug, Default)]
pub struct Plan {
    pub create: Option<ReplicaSet>,
    pub update: Vec<ReplicaSet>,
    pub delete: Vec<ReplicaSet>,
    /// Reasonless scaling events, to be told once the writes have succeeded.
    pub events: Vec<String>,
    /// The Deployment's own revision annotation, if it has to change.
    pub revision: Option<String>,
    /// The Deployment with its new status, if that changes.
    pub status: Option<Deployment>,
    /// When time alone will change the status.
    pub look_again_seconds: Option<i64>,
}

/// The sets while they are being worked on.
pub struct Sets {
    pub new: Option<ReplicaSet>,
    pub old: Vec<ReplicaSet>,
    pub events: Vec<String>,
}

impl Sets {
    pub fn all(&self) -> impl Iterator<Item = &ReplicaSet> {
        self.new.iter().chain(&self.old)
    }
}

pub fn plan(inputs: Inputs<'_>) -> Plan {
    let deployment = inputs.deployment;
    let original = inputs.sets.clone();
    let mut plan = Plan::default();
    let mut sets = sort_out(deployment, inputs.sets);
    let mut rollout = status::Rollout::default();
    if deployment.metadata.deletion_timestamp.is_some() {
        rollout.judge_progress = false;
    } else if view::is_paused(deployment) || scale::is_scaling(deployment, &sets) {
        sync_revision(deployment, &mut sets, false, &mut rollout);
        scale::proportionally(deployment, &mut sets);
        if view::is_paused(deployment) {
            plan.delete = surplus_history(deployment, &sets);
        }
        rollout.judge_progress = false;
    } else if view::is_recreate(deployment) {
        recreate(deployment, &mut sets, &inputs.running, &mut rollout, &mut plan);
    } else {
        rolling(deployment, &mut sets, &mut rollout, &mut plan);
    }
    if let Some(new) = &sets.new {
        let have = deployment.metadata.annotations.as_ref().and_then(|have| have.get(view::REVISION));
        plan.revision =
            annotation(new, view::REVISION).filter(|want| have.is_none_or(|have| have != want)).map(Into::into);
    }
    let (status, again) = status::compute(deployment, &sets, &rollout, inputs.now);
    plan.status = status;
    plan.look_again_seconds = again;
    plan.events = std::mem::take(&mut sets.events);
    for set in sets.new.into_iter().chain(sets.old) {
        if set.metadata.uid.is_none() {
            plan.create = Some(set);
        } else if !original.contains(&set) {
            plan.update.push(set);
        }
    }
    plan
}

/// Which set is the new one: the oldest that makes the pods that are wanted.
fn sort_out(deployment: &Deployment, mut sets: Vec<ReplicaSet>) -> Sets {
    view::by_age(&mut sets);
    let template = view::spec(deployment).template;
    let new = sets.iter().position(|set| view::same_template(set, &template)).map(|at| sets.remove(at));
    Sets { new, old: sets, events: Vec::new() }
}

fn rolling(deployment: &Deployment, sets: &mut Sets, rollout: &mut status::Rollout, plan: &mut Plan) {
    sync_revision(deployment, sets, true, rollout);
    if scale::grow_new(deployment, sets) || scale::shrink_old(deployment, sets) {
        return;
    }
    if status::is_complete(deployment, sets) {
        plan.delete = surplus_history(deployment, sets);
    }
}

fn recreate(
    deployment: &Deployment,
    sets: &mut Sets,
    running: &[String],
    rollout: &mut status::Rollout,
    plan: &mut Plan,
) {
    sync_revision(deployment, sets, false, rollout);
    if scale::stop_old(deployment, sets) {
        return;
    }
    let still_running = |set: &ReplicaSet| set.metadata.uid.as_ref().is_some_and(|uid| running.contains(uid));
    if sets.old.iter().any(still_running) {
        return;
    }
    sync_revision(deployment, sets, true, rollout);
    if let Some(new) = &mut sets.new {
        scale::to(deployment, new, view::wanted(deployment), &mut sets.events);
    }
    if status::is_complete(deployment, sets) {
        plan.delete = surplus_history(deployment, sets);
    }
}

/// Gives the new set its revision and annotations, making it first if `create` says so.
fn sync_revision(deployment: &Deployment, sets: &mut Sets, create: bool, rollout: &mut status::Rollout) {
    let next = sets.old.iter().map(revision).max().unwrap_or(0) + 1;
    if let Some(new) = &mut sets.new {
        inherit(deployment, new, next, true);
        let min_ready = deployment.spec.as_ref().and_then(|spec| spec.min_ready_seconds);
        if let Some(spec) = &mut new.spec
            && spec.min_ready_seconds.unwrap_or(0) != min_ready.unwrap_or(0)
        {
            spec.min_ready_seconds = min_ready;
        }
        rollout.found = new.metadata.name.clone();
        return;
    }
    if !create {
        return;
    }
    let mut new = make_set(deployment);
    inherit(deployment, &mut new, next, false);
    let size = scale::initial(deployment, sets);
    let name = new.metadata.name.clone().unwrap_or_default();
    if size > 0 {
        sets.events.push(format!("Scaled up replica set {name} to {size}"));
    }
    if let Some(spec) = &mut new.spec {
        spec.replicas = Some(size);
    }
    scale::remember_size(deployment, &mut new);
    rollout.made = Some(name);
    sets.new = Some(new);
}

fn make_set(deployment: &Deployment) -> ReplicaSet {
    let spec = view::spec(deployment);
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    let hash = hash::of_template(&spec.template, collisions);
    let mut template = spec.template;
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(view::HASH_LABEL.into(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec.selector;
    selector.match_labels.get_or_insert_default().insert(view::HASH_LABEL.into(), hash.clone());
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", deployment.metadata.name.as_deref().unwrap_or_default())),
            namespace: deployment.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![owner::controller_ref(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(0),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        }),
        status: None,
    }
}

/// Hands the Deployment's annotations down, and numbers the set if it is behind `next`.
fn inherit(deployment: &Deployment, set: &mut ReplicaSet, next: i64, exists: bool) {
    for (name, value) in deployment.metadata.annotations.iter().flatten() {
        if !view::NOT_INHERITED.contains(&name.as_str()) {
            annotate(set, name, value);
        }
    }
    let before = annotation(set, view::REVISION).map(str::to_owned);
    if revision(set) >= next {
        return;
    }
    annotate(set, view::REVISION, &next.to_string());
    let Some(before) = before.filter(|_| exists) else { return };
    let mut history: Vec<&str> =
        annotation(set, view::REVISION_HISTORY).map(|list| list.split(',').collect()).unwrap_or_default();
    history.push(&before);
    let mut text = history.join(",");
    while text.len() > REVISION_HISTORY_CHARS_MAX {
        let Some((_, rest)) = text.split_once(',') else { break };
        text = rest.to_owned();
    }
    annotate(set, view::REVISION_HISTORY, &text);
}

/// Old sets past the history limit, the earliest revisions first.
fn surplus_history(deployment: &Deployment, sets: &Sets) -> Vec<ReplicaSet> {
    let limit = view::spec(deployment).revision_history_limit;
    let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { return Vec::new() };
    let mut old: Vec<&ReplicaSet> = sets.old.iter().filter(|set| set.metadata.deletion_timestamp.is_none()).collect();
    let surplus = old.len().saturating_sub(limit);
    old.sort_by_key(|set| revision(set));
    let idle = |set: &&ReplicaSet| {
        let observed = set.status.as_ref().and_then(|status| status.observed_generation).unwrap_or(0);
        replicas(set) == 0 && view::existing(set) == 0 && set.metadata.generation.unwrap_or(0) <= observed
    };
    old.into_iter().take(surplus).filter(idle).cloned().collect()
}
