//! Reading a Deployment and its ReplicaSets: counts, surge, annotations, which set is the new one. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

pub const HASH_LABEL: &str = "pod-template-hash";
pub const REVISION: &str = "deployment.kubernetes.io/revision";
pub const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub const MAX: &str = "deployment.kubernetes.io/max-replicas";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Annotations that belong to one object and are not handed down from a Deployment to its sets.
pub const NOT_INHERITED: &[&str] = &[LAST_APPLIED, REVISION, REVISION_HISTORY, DESIRED, MAX];

pub fn spec(deployment: &Deployment) -> DeploymentSpec {
    deployment.spec.clone().unwrap_or_default()
}

/// How many pods the Deployment wants.
pub fn wanted(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

pub fn is_recreate(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
}

pub fn is_paused(deployment: &Deployment) -> bool {
    deployment.spec.as_ref().and_then(|spec| spec.paused).unwrap_or(false)
}

/// Seconds without progress after which a rollout has failed, if there is such a limit.
pub fn progress_deadline(deployment: &Deployment) -> Option<i32> {
    deployment.spec.as_ref().and_then(|spec| spec.progress_deadline_seconds).filter(|seconds| *seconds != i32::MAX)
}

/// Pods over the wanted number, and pods under it, that a rolling update may have.
pub fn surge_and_unavailable(deployment: &Deployment) -> (i32, i32) {
    let wanted = wanted(deployment);
    if is_recreate(deployment) {
        return (0, 0);
    }
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.clone()).unwrap_or_default();
    let surge = resolve(rolling.max_surge.as_ref(), wanted, true);
    let mut unavailable = resolve(rolling.max_unavailable.as_ref(), wanted, false);
    if surge == 0 && unavailable == 0 {
        unavailable = 1;
    }
    (surge, unavailable.min(wanted))
}

/// A count, or a percentage of `total` rounded up or down.
pub fn resolve(value: Option<&IntOrString>, total: i32, round_up: bool) -> i32 {
    match value {
        None => 0,
        Some(IntOrString::Int(count)) => *count,
        Some(IntOrString::String(text)) => {
            let percent: i64 = text.strip_suffix('%').and_then(|digits| digits.parse().ok()).unwrap_or(0);
            let product = percent * i64::from(total);
            let rounded = if round_up { (product + 99).div_euclid(100) } else { product.div_euclid(100) };
            i32::try_from(rounded).unwrap_or(i32::MAX)
        }
    }
}

/// Pods that the set is told to have.
pub fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// Pods of the set that exist.
pub fn existing(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |status| status.replicas)
}

pub fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

pub fn ready(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0)
}

pub fn sum<'a>(sets: impl IntoIterator<Item = &'a ReplicaSet>, of: fn(&ReplicaSet) -> i32) -> i32 {
    sets.into_iter().map(of).fold(0, i32::saturating_add)
}

pub fn annotation<'a>(set: &'a ReplicaSet, name: &str) -> Option<&'a str> {
    set.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

pub fn number(set: &ReplicaSet, name: &str) -> Option<i64> {
    annotation(set, name)?.parse().ok()
}

/// Sets the annotation and says whether that changed it.
pub fn annotate(set: &mut ReplicaSet, name: &str, value: &str) -> bool {
    let annotations = set.metadata.annotations.get_or_insert_default();
    if annotations.get(name).is_some_and(|have| have == value) {
        return false;
    }
    annotations.insert(name.to_owned(), value.to_owned());
    true
}

/// The number of the set's rollout; 0 when it has none.
pub fn revision(set: &ReplicaSet) -> i64 {
    number(set, REVISION).unwrap_or(0)
}

/// Whether the set makes pods as `template` wants them.
pub fn same_template(set: &ReplicaSet, template: &PodTemplateSpec) -> bool {
    let own = set.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default();
    without_hash(own) == without_hash(template.clone())
}

fn without_hash(mut template: PodTemplateSpec) -> PodTemplateSpec {
    let meta = template.metadata.get_or_insert_default();
    if let Some(labels) = &mut meta.labels {
        labels.remove(HASH_LABEL);
    }
    let empty = |map: &Option<BTreeMap<String, String>>| map.as_ref().is_none_or(BTreeMap::is_empty);
    if empty(&meta.labels) {
        meta.labels = None;
    }
    if empty(&meta.annotations) {
        meta.annotations = None;
    }
    meta.creation_timestamp = None;
    template
}

/// Sorts by age, the oldest first.
pub fn by_age(sets: &mut [ReplicaSet]) {
    sets.sort_by(|a, b| {
        let age = |set: &ReplicaSet| set.metadata.creation_timestamp.as_ref().map(|time| time.0);
        age(a).cmp(&age(b)).then_with(|| a.metadata.name.cmp(&b.metadata.name))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_round_in_their_direction() {
        let percent = |text: &str| IntOrString::String(text.into());
        assert_eq!(resolve(Some(&percent("25%")), 10, true), 3);
        assert_eq!(resolve(Some(&percent("25%")), 10, false), 2);
        assert_eq!(resolve(Some(&IntOrString::Int(4)), 10, false), 4);
        assert_eq!(resolve(None, 10, false), 0);
    }
}
