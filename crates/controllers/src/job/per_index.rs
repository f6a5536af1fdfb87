//! Failures of an indexed Job that are limited for each index (`backoffLimitPerIndex`). Pure.
//!
//! How often an index has failed is noted on the pod that comes next. So the last failed pod of an index keeps its
//! finalizer until its successor is there: without it the number would be lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use k8s_openapi::api::batch::v1::JobSpec;
use k8s_openapi::api::core::v1::Pod;

use super::failure::{self, Verdict};
use super::plan::{ended_at, index_of};

/// Annotation of a pod: how often its index had failed before.
pub const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";

/// What is known of the indexes that have failed.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Failures {
    /// Indexes that are given up.
    pub given_up: BTreeSet<i32>,
    /// How often each other index has failed, and when last.
    pub tries: BTreeMap<i32, (i32, Option<DateTime<Utc>>)>,
    /// Pods (by uid) that wait for their successors.
    pub waiting: BTreeSet<String>,
}

fn before(pod: &Pod) -> i32 {
    pod.metadata.annotations.as_ref().and_then(|all| all.get(FAILURES)?.parse().ok()).unwrap_or(0)
}

impl Failures {
    /// Reads what `pods` say; `given_up` and `completed` are known already. `has_failed` tells which pods have.
    pub fn read(
        spec: &JobSpec,
        given_up: BTreeSet<i32>,
        completed: &BTreeSet<i32>,
        pods: &[Arc<Pod>],
        has_failed: impl Fn(&Pod) -> bool,
    ) -> Self {
        let Some(limit) = spec.backoff_limit_per_index else { return Self::default() };
        let mut failures = Self { given_up, ..Self::default() };
        let mut last: BTreeMap<i32, &Arc<Pod>> = BTreeMap::new();
        for pod in pods {
            let Some(index) = index_of(pod) else { continue };
            let newest = last.get(&index);
            if newest.is_none_or(|have| (before(pod), ended_at(pod)) > (before(have), ended_at(have))) {
                last.insert(index, pod);
            }
        }
        for (index, pod) in last {
            if completed.contains(&index) || failures.given_up.contains(&index) {
                continue;
            }
            if !has_failed(pod) {
                failures.tries.insert(index, (before(pod), None));
                continue;
            }
            let verdict = failure::judge(spec.pod_failure_policy.as_ref(), pod);
            let times = before(pod) + i32::from(verdict != Verdict::Ignore);
            if verdict == Verdict::FailIndex || times > limit {
                failures.given_up.insert(index);
                continue;
            }
            failures.tries.insert(index, (times, ended_at(pod)));
            failures.waiting.extend(pod.metadata.uid.clone());
        }
        failures
    }

    /// Why the Job has failed because of its indexes.
    pub fn verdict(&self, spec: &JobSpec, completed: &BTreeSet<i32>) -> Option<(String, String)> {
        let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        if spec.max_failed_indexes.is_some_and(|most| number(self.given_up.len()) > most) {
            let why = "Job has exceeded the specified maximal number of failed indexes";
            return Some(("MaxFailedIndexesExceeded".into(), why.into()));
        }
        let ended = number(self.given_up.len() + completed.len());
        let all = spec.completions.is_some_and(|completions| ended >= completions);
        (all && !self.given_up.is_empty()).then(|| ("FailedIndexes".into(), "Job has failed indexes".into()))
    }

    /// How often an index has failed.
    pub fn of(&self, index: i32) -> i32 {
        self.tries.get(&index).map_or(0, |(times, _)| *times)
    }

    /// How long the index waits before it is tried again.
    pub fn pause(&self, index: i32, pause: impl Fn(i32) -> TimeDelta, now: DateTime<Utc>) -> Option<TimeDelta> {
        let (times, last) = self.tries.get(&index)?;
        let left = (*last)? + pause(*times) - now;
        (*times > 0 && left > TimeDelta::zero()).then_some(left)
    }
}
