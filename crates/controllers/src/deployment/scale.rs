//! How a Deployment's pods are spread over its sets: surge and unavailability, proportional scaling. Pure.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use super::plan::Sets;
use super::view::{self, annotate, available, replicas, sum, surge_and_unavailable, wanted};

/// Whether the wanted number has changed since the active sets were last scaled.
pub fn is_scaling(deployment: &Deployment, sets: &Sets) -> bool {
    let wanted = i64::from(wanted(deployment));
    let behind = |set: &ReplicaSet| view::number(set, view::DESIRED).is_some_and(|desired| desired != wanted);
    sets.all().filter(|set| replicas(set) > 0).any(behind)
}

/// Writes into the set for which size of the Deployment its own was chosen.
pub fn remember_size(deployment: &Deployment, set: &mut ReplicaSet) {
    let (surge, _) = surge_and_unavailable(deployment);
    annotate(set, view::DESIRED, &wanted(deployment).to_string());
    annotate(set, view::MAX, &(wanted(deployment) + surge).to_string());
}

/// Scales `set`; says whether its size has changed.
pub fn to(deployment: &Deployment, set: &mut ReplicaSet, size: i32, events: &mut Vec<String>) -> bool {
    remember_size(deployment, set);
    let before = replicas(set);
    if before == size {
        return false;
    }
    if let Some(spec) = &mut set.spec {
        spec.replicas = Some(size);
    }
    let direction = if size > before { "up" } else { "down" };
    let name = set.metadata.name.as_deref().unwrap_or_default();
    events.push(format!("Scaled {direction} replica set {name} to {size} from {before}"));
    true
}

/// The size at which a new set starts.
pub fn initial(deployment: &Deployment, sets: &Sets) -> i32 {
    new_size(deployment, sets, 0)
}

fn new_size(deployment: &Deployment, sets: &Sets, current: i32) -> i32 {
    if view::is_recreate(deployment) {
        return wanted(deployment);
    }
    let (surge, _) = surge_and_unavailable(deployment);
    let room = wanted(deployment) + surge - sum(sets.all(), replicas);
    if room <= 0 {
        return current;
    }
    current + room.min(wanted(deployment) - current)
}

/// Lets the new set grow as far as the surge allows, or shrink to what is wanted.
pub fn grow_new(deployment: &Deployment, sets: &mut Sets) -> bool {
    let Some(current) = sets.new.as_ref().map(replicas) else { return false };
    let wanted = wanted(deployment);
    if current == wanted {
        return false;
    }
    let size = if current > wanted { wanted } else { new_size(deployment, sets, current) };
    if size == current {
        return false;
    }
    sets.new.as_mut().is_some_and(|new| to(deployment, new, size, &mut sets.events))
}

/// Lets old sets shrink as far as availability allows: unhealthy pods first, then the oldest sets.
pub fn shrink_old(deployment: &Deployment, sets: &mut Sets) -> bool {
    if sum(&sets.old, replicas) == 0 {
        return false;
    }
    let (_, unavailable) = surge_and_unavailable(deployment);
    let least = wanted(deployment) - unavailable;
    let coming = sets.new.as_ref().map_or(0, |new| replicas(new) - available(new));
    let spare = sum(sets.all(), replicas) - least - coming;
    if spare <= 0 {
        return false;
    }
    let Sets { new, old, events } = sets;
    let cleaned = shrink(deployment, old, events, spare, |set| replicas(set) - available(set));
    let present = sum(new.iter().chain(old.iter()), available);
    let spare = present - least;
    let scaled = if spare > 0 { shrink(deployment, old, events, spare, replicas) } else { 0 };
    cleaned + scaled > 0
}

fn shrink(
    deployment: &Deployment,
    old: &mut [ReplicaSet],
    events: &mut Vec<String>,
    budget: i32,
    most: fn(&ReplicaSet) -> i32,
) -> i32 {
    let mut done = 0;
    for set in old {
        let step = most(set).min(replicas(set)).min(budget - done);
        if step > 0 {
            let size = replicas(set) - step;
            to(deployment, set, size, events);
            done += step;
        }
    }
    done
}

/// Scales all old sets to nothing; says whether any was left.
pub fn stop_old(deployment: &Deployment, sets: &mut Sets) -> bool {
    let Sets { old, events, .. } = sets;
    let mut stopped = false;
    for set in old.iter_mut().filter(|set| replicas(set) > 0) {
        stopped |= to(deployment, set, 0, events);
    }
    stopped
}

/// Spreads a changed size over the active sets in proportion to what they have.
pub fn proportionally(deployment: &Deployment, sets: &mut Sets) {
    let wanted = wanted(deployment);
    if let Some(uid) = only_or_latest(sets) {
        let Sets { new, old, events } = sets;
        for set in new.iter_mut().chain(old).filter(|set| set.metadata.uid == uid) {
            if replicas(set) != wanted {
                to(deployment, set, wanted, events);
            }
        }
        return;
    }
    if sets.new.as_ref().is_some_and(|new| is_saturated(deployment, new)) {
        stop_old(deployment, sets);
    } else if !view::is_recreate(deployment) {
        spread(deployment, sets);
    }
}

/// The only active set; when none is active, the new or else the latest one.
fn only_or_latest(sets: &Sets) -> Option<Option<String>> {
    let active: Vec<&ReplicaSet> = sets.all().filter(|set| replicas(set) > 0).collect();
    let chosen = match active.as_slice() {
        [] => sets.new.as_ref().or(sets.old.last()),
        [one] => Some(*one),
        _ => None,
    };
    chosen.map(|set| set.metadata.uid.clone())
}

fn is_saturated(deployment: &Deployment, new: &ReplicaSet) -> bool {
    let wanted = wanted(deployment);
    let desired = view::number(new, view::DESIRED);
    replicas(new) == wanted && desired == Some(i64::from(wanted)) && available(new) == wanted
}

fn spread(deployment: &Deployment, sets: &mut Sets) {
    let (surge, _) = surge_and_unavailable(deployment);
    let allowed = if wanted(deployment) > 0 { wanted(deployment) + surge } else { 0 };
    let Sets { new, old, events } = sets;
    let mut active: Vec<&mut ReplicaSet> = new.iter_mut().chain(old).filter(|set| replicas(set) > 0).collect();
    let change = allowed - active.iter().map(|set| replicas(set)).sum::<i32>();
    // The largest sets take the most; of equals, the newer grows and the older shrinks.
    active.sort_by(|a, b| {
        let age = |set: &ReplicaSet| set.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let by_age = if change > 0 { age(b).cmp(&age(a)) } else { age(a).cmp(&age(b)) };
        replicas(b).cmp(&replicas(a)).then(by_age)
    });
    let mut done = 0;
    let mut sizes: Vec<i32> = Vec::with_capacity(active.len());
    for set in &active {
        let part = proportion(deployment, set, change, done);
        sizes.push(replicas(set) + part);
        done += part;
    }
    if let Some(first) = sizes.first_mut() {
        *first = (*first + change - done).max(0);
    }
    for (set, size) in active.into_iter().zip(sizes) {
        to(deployment, set, size, events);
    }
}

fn proportion(deployment: &Deployment, set: &ReplicaSet, change: i32, done: i32) -> i32 {
    let (own, left) = (replicas(set), change - done);
    if own == 0 || change == 0 || left == 0 {
        return 0;
    }
    if wanted(deployment) == 0 {
        return (-own).max(left);
    }
    let (surge, _) = surge_and_unavailable(deployment);
    let before = view::number(set, view::MAX)
        .filter(|max| *max > 0)
        .unwrap_or_else(|| i64::from(deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or(own)));
    let size = f64::from(own) * f64::from(wanted(deployment) + surge) / before.max(1) as f64;
    let part = size.round() as i32 - own;
    if change > 0 { part.min(left) } else { part.max(left) }
}
