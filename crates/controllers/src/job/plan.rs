//! Decides one step of a Job: which pods to make, delete and let go, and its status. Pure.
//!
//! Each pod carries a finalizer until its end has been counted. A pod that has ended is first written into
//! `uncountedTerminatedPods`, then loses its finalizer, and only then moves into the counters; so no end is counted
//! twice or lost, wherever the controller is interrupted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use controller_kit::conditions::{self, Condition};
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus, UncountedTerminatedPods};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::failure::{self, Verdict};
use super::indexes;
use super::per_index::Failures;
use crate::pods;

pub const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
pub const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// Pods made or deleted in one round.
const BURST_PODS: usize = 500;
/// Ends written as uncounted in one round.
const UNCOUNTED_PODS_MAX: usize = 500;
/// Pause after the first failed pod; doubles up to the longest.
const BACKOFF_FIRST_SECONDS: i64 = 10;
const BACKOFF_MAX_SECONDS: i64 = 600;

/// What to do, in this order: status, finalizers, deletions, creations.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    pub status: Option<JobStatus>,
    pub unfinalize: Vec<Arc<Pod>>,
    pub delete: Vec<Arc<Pod>>,
    /// One pod each; the completion index of an indexed Job.
    pub create: Vec<Option<i32>>,
    /// How often the indexes to be made have failed, if failures are counted for each.
    pub failures: BTreeMap<i32, i32>,
    /// Level, reason and message, once the status is written.
    pub events: Vec<(bool, String, String)>,
    pub look_again: Option<TimeDelta>,
}

/// The Job has succeeded or failed.
pub fn is_finished(job: &Job) -> bool {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions::is_true(conditions, "Complete") || conditions::is_true(conditions, "Failed")
}

pub fn has_finalizer(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

/// The completion index that a pod works on.
pub fn index_of(pod: &Pod) -> Option<i32> {
    pod.metadata.annotations.as_ref()?.get(INDEX)?.parse().ok()
}

struct Step<'a> {
    job: &'a Job,
    spec: JobSpec,
    status: JobStatus,
    pods: &'a [Arc<Pod>],
    now: DateTime<Utc>,
    plan: Plan,
}

/// Decides for `job` with its `pods`; pods are made or deleted only when the cache is `settled`.
pub fn plan(job: &Job, pods: &[Arc<Pod>], settled: bool, now: DateTime<Utc>) -> Plan {
    if is_finished(job) {
        let unfinalize = pods.iter().filter(|pod| has_finalizer(pod)).cloned().collect();
        return Plan { unfinalize, ..Plan::default() };
    }
    let mut step = Step {
        job,
        spec: job.spec.clone().unwrap_or_default(),
        status: job.status.clone().unwrap_or_default(),
        pods,
        now,
        plan: Plan::default(),
    };
    step.start();
    let counted = step.count();
    let active = step.active();
    match step.failure(&counted, &active) {
        Some((reason, message)) => step.fail(&counted, &active, &reason, &message, settled),
        None => step.proceed(&counted, active, settled),
    }
    step.finish_status()
}

/// Successes and failures, counted or about to be.
struct Counted {
    succeeded: i32,
    failed: i32,
    completed: BTreeSet<i32>,
    failures: Failures,
    /// When the last failure was, among pods that are still there.
    last_failure: Option<DateTime<Utc>>,
}

impl Step<'_> {
    fn is_indexed(&self) -> bool {
        self.spec.completion_mode.as_deref() == Some("Indexed")
    }

    fn is_suspended(&self) -> bool {
        self.spec.suspend.unwrap_or(false)
    }

    /// Only pods that have failed for good are replaced.
    fn replaces_only_failed(&self) -> bool {
        match self.spec.pod_replacement_policy.as_deref() {
            Some(policy) => policy == "Failed",
            None => self.spec.pod_failure_policy.is_some(),
        }
    }

    /// Whether failures are limited for each index.
    fn is_limited_per_index(&self) -> bool {
        self.is_indexed() && self.spec.backoff_limit_per_index.is_some()
    }

    fn start(&mut self) {
        if self.status.start_time.is_none() && !self.is_suspended() {
            self.status.start_time = Some(Time(self.now));
        }
    }

    fn has_failed(&self, pod: &Pod) -> bool {
        pods::phase(pod) == "Failed"
            || (!self.replaces_only_failed() && pods::is_deleting(pod) && pods::phase(pod) != "Succeeded")
    }

    fn active(&self) -> Vec<Arc<Pod>> {
        self.pods.iter().filter(|pod| pods::is_active(pod) && has_finalizer(pod)).cloned().collect()
    }

    /// Moves ends on their way into the counters by one stage.
    fn count(&mut self) -> Counted {
        let held: BTreeMap<&str, &Arc<Pod>> = self
            .pods
            .iter()
            .filter(|pod| has_finalizer(pod))
            .filter_map(|pod| Some((pod.metadata.uid.as_deref()?, pod)))
            .collect();
        let uncounted = self.status.uncounted_terminated_pods.take().unwrap_or_default();
        // Those which have lost their finalizer are counted for good; the others still wait for that.
        let waiting = |uids: Option<Vec<String>>| {
            uids.unwrap_or_default().into_iter().partition::<Vec<_>, _>(|uid| held.contains_key(uid.as_str()))
        };
        let (mut succeeded, done) = waiting(uncounted.succeeded);
        self.status.succeeded = add(self.status.succeeded, done.len());
        let (mut failed, done) = waiting(uncounted.failed);
        self.status.failed = add(self.status.failed, done.len());
        let completions = self.spec.completions.unwrap_or(0);
        let mut completed = indexes::parse(self.status.completed_indexes.as_deref().unwrap_or_default());
        let mut failed_job = None;
        let failures = self.index_failures(&completed);
        for (uid, pod) in &held {
            if failures.waiting.contains(*uid) {
                continue;
            }
            let known = succeeded.iter().chain(&failed).any(|have| have == uid);
            if known || pods::phase(pod) == "Succeeded" || self.has_failed(pod) {
                self.plan.unfinalize.push((*pod).clone());
            }
            if known || succeeded.len() + failed.len() >= UNCOUNTED_PODS_MAX {
                continue;
            }
            if pods::phase(pod) == "Succeeded" {
                match index_of(pod).filter(|_| self.is_indexed()) {
                    // The index itself is the count.
                    Some(index) if index < completions => drop(completed.insert(index)),
                    Some(_) => {}
                    None => succeeded.push((*uid).to_owned()),
                }
            } else if self.has_failed(pod) {
                match failure::judge(self.spec.pod_failure_policy.as_ref(), pod) {
                    Verdict::Ignore => continue,
                    Verdict::FailJob(message) => failed_job = Some(message),
                    Verdict::Count | Verdict::FailIndex => {}
                }
                failed.push((*uid).to_owned());
            }
        }
        if self.is_indexed() {
            self.status.completed_indexes = Some(indexes::print(&completed)).filter(|text| !text.is_empty());
            self.status.succeeded = Some(i32::try_from(completed.len()).unwrap_or(i32::MAX));
        }
        if let Some(message) = failed_job {
            self.set_condition("FailureTarget", "True", "PodFailurePolicy", &message);
        }
        let count = |counted: Option<i32>, more: usize| add(counted, more).unwrap_or(0);
        let totals = Counted {
            succeeded: count(self.status.succeeded, succeeded.len()),
            failed: count(self.status.failed, failed.len()),
            completed,
            failures,
            last_failure: self.pods.iter().filter(|pod| self.has_failed(pod)).filter_map(|pod| ended_at(pod)).max(),
        };
        let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
        self.status.uncounted_terminated_pods =
            Some(UncountedTerminatedPods { succeeded: some(succeeded), failed: some(failed) });
        totals
    }

    /// What the pods say of failed indexes. Once the Job has failed, no pod waits for a successor.
    fn index_failures(&mut self, completed: &BTreeSet<i32>) -> Failures {
        if !self.is_limited_per_index() {
            return Failures::default();
        }
        let known = indexes::parse(self.status.failed_indexes.as_deref().unwrap_or_default());
        let mut failures = Failures::read(&self.spec, known, completed, self.pods, |pod| self.has_failed(pod));
        if conditions::is_true(self.status.conditions.as_ref(), "FailureTarget") {
            failures.waiting.clear();
        }
        self.status.failed_indexes = Some(indexes::print(&failures.given_up));
        failures
    }

    /// Why the Job has failed, if it has.
    fn failure(&mut self, counted: &Counted, active: &[Arc<Pod>]) -> Option<(String, String)> {
        if let Some(target) = conditions::get(self.status.conditions.as_ref(), "FailureTarget") {
            return Some((target.reason().to_owned(), target.message().to_owned()));
        }
        if self.is_limited_per_index()
            && let Some(why) = counted.failures.verdict(&self.spec, &counted.completed)
        {
            return Some(why);
        }
        let limit = self.spec.backoff_limit.unwrap_or(6);
        let on_failure =
            self.spec.template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()) == Some("OnFailure");
        let restarts: i32 = if on_failure { active.iter().map(|pod| restarts(pod)).sum() } else { 0 };
        let too_many_restarts = on_failure && if limit == 0 { restarts > 0 } else { restarts >= limit };
        if counted.failed > limit || too_many_restarts {
            return Some(("BackoffLimitExceeded".into(), "Job has reached the specified backoff limit".into()));
        }
        let deadline = self.spec.active_deadline_seconds.filter(|_| !self.is_suspended())?;
        let start = self.status.start_time.as_ref()?.0;
        let left = start + TimeDelta::seconds(deadline) - self.now;
        if left > TimeDelta::zero() {
            self.look_again_in(left);
            return None;
        }
        Some(("DeadlineExceeded".into(), "Job was active longer than specified deadline".into()))
    }

    fn fail(&mut self, counted: &Counted, active: &[Arc<Pod>], reason: &str, message: &str, settled: bool) {
        // Kept until the end, because the pods that are deleted now will count as failed too.
        self.set_condition("FailureTarget", "True", reason, message);
        if !active.is_empty() {
            if settled {
                self.plan.delete.extend(active.iter().take(BURST_PODS).cloned());
            }
            self.describe(active);
            return;
        }
        self.describe(&[]);
        if self.all_counted() && counted.failures.waiting.is_empty() {
            self.set_condition("Failed", "True", reason, message);
            if reason != "PodFailurePolicy" {
                conditions::remove(self.status.conditions.get_or_insert_default(), "FailureTarget");
            }
            self.plan.events.push((true, reason.to_owned(), message.to_owned()));
        }
    }

    fn proceed(&mut self, counted: &Counted, mut active: Vec<Arc<Pod>>, settled: bool) {
        let complete = match self.spec.completions {
            Some(completions) => counted.succeeded >= completions,
            None => counted.succeeded > 0 && active.is_empty(),
        };
        let excess = if complete || self.is_suspended() { active.len() } else { self.surplus(counted, &mut active) };
        if excess > 0 && settled {
            pods::sort_for_deletion(&mut active, |_| 0, self.now);
            self.plan.delete.extend(active.iter().take(excess.min(BURST_PODS)).cloned());
        }
        self.describe(&active);
        if complete {
            if active.is_empty() && self.all_counted() {
                self.status.completion_time = Some(Time(self.now));
                self.set_condition("Complete", "True", "", "");
                self.plan.events.push((false, "Completed".into(), "Job completed".into()));
            }
            return;
        }
        self.suspend_or_resume();
        if excess == 0 && settled && !self.is_suspended() && self.job.metadata.deletion_timestamp.is_none() {
            self.create(counted, &active);
        }
    }

    /// How many active pods are too many. Those that work twice on one index come first in `active`.
    fn surplus(&self, counted: &Counted, active: &mut Vec<Arc<Pod>>) -> usize {
        if self.is_indexed() {
            let mut seen = BTreeSet::new();
            let doubled = |pod: &Arc<Pod>| {
                index_of(pod).is_none_or(|index| {
                    index >= self.spec.completions.unwrap_or(0)
                        || counted.completed.contains(&index)
                        || counted.failures.given_up.contains(&index)
                        || !seen.insert(index)
                })
            };
            let (wrong, right): (Vec<_>, Vec<_>) = std::mem::take(active).into_iter().partition(doubled);
            let count = wrong.len();
            *active = wrong.into_iter().chain(right).collect();
            if count > 0 {
                active.truncate(count);
                return count;
            }
        }
        active.len().saturating_sub(self.wanted(counted, active.len()))
    }

    /// How many pods should be active.
    fn wanted(&self, counted: &Counted, active: usize) -> usize {
        let parallelism = usize::try_from(self.spec.parallelism.unwrap_or(1)).unwrap_or(0);
        match self.spec.completions {
            None if counted.succeeded > 0 => active.min(parallelism),
            None => parallelism,
            Some(completions) => {
                let left = usize::try_from(completions - counted.succeeded).unwrap_or(0);
                parallelism.min(left.saturating_sub(counted.failures.given_up.len()))
            }
        }
    }

    fn create(&mut self, counted: &Counted, active: &[Arc<Pod>]) {
        let terminating = self.pods.iter().filter(|pod| pods::is_deleting(pod) && !pods::is_terminal(pod)).count();
        let there = if self.replaces_only_failed() { active.len() + terminating } else { active.len() };
        let missing = self.wanted(counted, active.len()).saturating_sub(there).min(BURST_PODS);
        if missing == 0 {
            return;
        }
        if !self.is_limited_per_index()
            && let Some(left) = self.backoff(counted)
        {
            self.look_again_in(left);
            return;
        }
        if !self.is_indexed() {
            self.plan.create = vec![None; missing];
            return;
        }
        let busy: BTreeSet<i32> = self
            .pods
            .iter()
            .filter(|pod| pods::is_active(pod) || (self.replaces_only_failed() && !pods::is_terminal(pod)))
            .filter_map(|pod| index_of(pod))
            .collect();
        let failures = &counted.failures;
        let free = (0..self.spec.completions.unwrap_or(0)).filter(|index| {
            !busy.contains(index) && !counted.completed.contains(index) && !failures.given_up.contains(index)
        });
        let (now, mut create, mut soonest) = (self.now, Vec::new(), None::<TimeDelta>);
        for index in free {
            match failures.pause(index, pause_after, now) {
                Some(left) => soonest = Some(soonest.map_or(left, |earlier| earlier.min(left))),
                None if create.len() < missing => create.push(index),
                None => break,
            }
        }
        if let Some(left) = soonest {
            self.look_again_in(left);
        }
        if self.is_limited_per_index() {
            self.plan.failures = create.iter().map(|index| (*index, failures.of(*index))).collect();
        }
        self.plan.create = create.into_iter().map(Some).collect();
    }

    /// How long to wait after failures before making new pods.
    fn backoff(&self, counted: &Counted) -> Option<TimeDelta> {
        let last = counted.last_failure?;
        if counted.failed == 0 {
            return None;
        }
        let left = last + pause_after(counted.failed) - self.now;
        (left > TimeDelta::zero()).then_some(left)
    }

    fn suspend_or_resume(&mut self) {
        let was = conditions::is_true(self.status.conditions.as_ref(), "Suspended");
        if self.is_suspended() && !was {
            self.set_condition("Suspended", "True", "JobSuspended", "Job suspended");
            self.plan.events.push((false, "Suspended".into(), "Job suspended".into()));
        } else if !self.is_suspended() && was {
            self.set_condition("Suspended", "False", "JobResumed", "Job resumed");
            self.plan.events.push((false, "Resumed".into(), "Job resumed".into()));
            self.status.start_time = Some(Time(self.now));
        }
        if self.is_suspended() {
            self.status.start_time = None;
        }
    }

    fn describe(&mut self, active: &[Arc<Pod>]) {
        let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        let active = active.iter().filter(|pod| pods::is_active(pod)).cloned().collect::<Vec<_>>();
        self.status.active = Some(number(active.len())).filter(|count| *count > 0);
        self.status.ready = Some(number(active.iter().filter(|pod| pods::is_ready(pod)).count()));
        let terminating = self.pods.iter().filter(|pod| pods::is_deleting(pod) && !pods::is_terminal(pod)).count();
        self.status.terminating = Some(number(terminating));
    }

    fn all_counted(&self) -> bool {
        let none = |list: &Option<Vec<String>>| list.as_ref().is_none_or(Vec::is_empty);
        let waits = self.status.uncounted_terminated_pods.as_ref();
        waits.is_none_or(|waits| none(&waits.succeeded) && none(&waits.failed)) && self.plan.unfinalize.is_empty()
    }

    fn set_condition(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let mut condition = JobCondition::make(kind, status, reason, message, self.now);
        condition.last_probe_time = Some(Time(self.now));
        conditions::set(self.status.conditions.get_or_insert_default(), condition);
    }

    fn look_again_in(&mut self, left: TimeDelta) {
        self.plan.look_again = Some(self.plan.look_again.map_or(left, |earlier| earlier.min(left)));
    }

    fn finish_status(mut self) -> Plan {
        let zero_is_absent = |count: &mut Option<i32>| *count = count.filter(|count| *count != 0);
        zero_is_absent(&mut self.status.succeeded);
        zero_is_absent(&mut self.status.failed);
        if Some(&self.status) != self.job.status.as_ref() {
            self.plan.status = Some(self.status);
        }
        self.plan
    }
}

fn add(counted: Option<i32>, more: usize) -> Option<i32> {
    Some(counted.unwrap_or(0).saturating_add(i32::try_from(more).unwrap_or(i32::MAX)))
}

/// How long to wait after so many failures.
fn pause_after(failures: i32) -> TimeDelta {
    let doublings = u32::try_from(failures - 1).unwrap_or(0).min(16);
    TimeDelta::seconds(BACKOFF_FIRST_SECONDS.saturating_mul(1 << doublings).min(BACKOFF_MAX_SECONDS))
}

fn restarts(pod: &Pod) -> i32 {
    let Some(status) = pods::status(pod) else { return 0 };
    let all = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    all.map(|container| container.restart_count).sum()
}

/// When a pod's last container ended.
pub fn ended_at(pod: &Pod) -> Option<DateTime<Utc>> {
    let statuses = pods::status(pod)?.container_statuses.iter().flatten();
    let ended = statuses.filter_map(|one| one.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref());
    ended.map(|time| time.0).max().or(pod.metadata.deletion_timestamp.as_ref().map(|time| time.0))
}
