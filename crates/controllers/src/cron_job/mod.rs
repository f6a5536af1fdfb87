//! CronJobs: make a Job whenever it is time, and keep the last few.

mod schedule;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use controller_kit::{Context, Controller, Error, Handle, Key, Next, Remove, Row, Runner, Writer, events, owner};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::PropagationPolicy;

use crate::job::is_finished;
use schedule::Schedule;

const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// More missed times than this are told of, because something must be wrong with the clock or the schedule.
const MISSED_MAX: usize = 100;

pub(crate) static ROW: Row = Row {
    name: "cronjob",
    account: "cronjob-controller",
    inputs: &["CronJob", "Job"],
    outputs: &["Job", "CronJob/status", "Event"],
    workers: 5,
};

pub(crate) async fn start(context: Context) {
    let (crons, jobs) = (context.informer::<CronJob>(), context.informer::<Job>());
    let by_job = |job: &Job| {
        let owner = owner::controller_of(job).filter(|owner| owner.kind == "CronJob");
        let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
        owner.map(|owner| Key::new(namespace, &owner.name)).into_iter().collect()
    };
    let runner = Runner::new(&context).primary(&crons).watch(&jobs, by_job);
    let writer = context.writer();
    runner.run(Driver { context, writer, crons, jobs }).await;
}

struct Driver {
    context: Context,
    writer: Writer,
    crons: Handle<CronJob>,
    jobs: Handle<Job>,
}

/// What to do. Pure planning puts it together.
#[derive(Debug, Default, PartialEq)]
struct Plan {
    delete: Vec<Arc<Job>>,
    create: Option<DateTime<Utc>>,
    events: Vec<(events::Level, &'static str, String)>,
    status: CronJobStatus,
    look_again: Option<TimeDelta>,
}

impl Controller for Driver {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(cron) = self.crons.store().get(key) else { return Ok(Next::Done) };
        let own = self.jobs.store().children(cron.metadata.uid.as_deref().unwrap_or_default());
        let mut plan = plan(&cron, &own, self.context.now());
        for job in &plan.delete {
            let remove = Remove { propagation: Some(PropagationPolicy::Background), ..Remove::this(&**job) };
            self.writer.delete::<Job>(&Key::of(&**job), &remove).await?;
            let name = job.metadata.name.as_deref().unwrap_or_default();
            self.context.events.normal(&*cron, "SuccessfulDelete", format!("Deleted job {name}"));
        }
        for (level, reason, message) in std::mem::take(&mut plan.events) {
            self.context.events.record(events::reference(&*cron), level, reason, message);
        }
        if let Some(at) = plan.create {
            match self.create(&cron, at).await? {
                Some(made) => plan.status.active.get_or_insert_default().push(reference(&made)),
                None => tracing::debug!(%key, "its job is there already"),
            }
            plan.status.last_schedule_time = Some(Time(at));
        }
        if Some(&plan.status) != cron.status.as_ref() {
            self.writer.replace_status(&CronJob { status: Some(plan.status), ..cron.as_ref().clone() }).await?;
        }
        let again = plan.look_again.and_then(|left| left.to_std().ok());
        Ok(again.map_or(Next::Done, |left| Next::After(left + Duration::from_millis(10))))
    }
}

impl Driver {
    async fn create(&self, cron: &CronJob, at: DateTime<Utc>) -> Result<Option<Job>, Error> {
        let Some(job) = new_job(cron, at) else { return Ok(None) };
        match self.writer.create(&job).await {
            Ok(made) => {
                let name = made.metadata.name.clone().unwrap_or_default();
                self.context.events.normal(cron, "SuccessfulCreate", format!("Created job {name}"));
                Ok(Some(made))
            }
            Err(error) if error.is_already_exists() || error.is_namespace_terminating() => Ok(None),
            Err(error) => {
                self.context.events.warning(
                    cron,
                    "FailedCreate",
                    format!("Error creating job: {}", crate::text(&error)),
                );
                Err(error)
            }
        }
    }
}

fn new_job(cron: &CronJob, at: DateTime<Utc>) -> Option<Job> {
    let template = cron.spec.as_ref()?.job_template.clone();
    let meta = template.metadata.unwrap_or_default();
    let mut annotations: BTreeMap<String, String> = meta.annotations.unwrap_or_default();
    annotations.insert(SCHEDULED_AT.into(), at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true));
    let name = cron.metadata.name.as_deref()?;
    Some(Job {
        metadata: ObjectMeta {
            name: Some(format!("{name}-{}", at.timestamp() / 60)),
            namespace: cron.metadata.namespace.clone(),
            labels: meta.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![owner::controller_ref(cron)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    })
}

fn reference(job: &Job) -> ObjectReference {
    events::reference(job)
}

fn plan(cron: &CronJob, jobs: &[Arc<Job>], now: DateTime<Utc>) -> Plan {
    let mut plan = Plan { status: cron.status.clone().unwrap_or_default(), ..Plan::default() };
    let Some(spec) = cron.spec.as_ref() else { return plan };
    let (done, active): (Vec<&Arc<Job>>, Vec<&Arc<Job>>) = jobs.iter().partition(|job| is_finished(job));
    for job in &done {
        let listed = plan.status.active.iter().flatten().any(|active| active.uid == job.metadata.uid);
        let completed = job.status.as_ref().and_then(|status| status.completion_time.clone());
        if listed {
            let (name, how) = (
                job.metadata.name.clone().unwrap_or_default(),
                if completed.is_some() { "Complete" } else { "Failed" },
            );
            plan.events.push((
                events::Level::Normal,
                "SawCompletedJob",
                format!("Saw completed job: {name}, condition: {how}"),
            ));
        }
        if completed > plan.status.last_successful_time {
            plan.status.last_successful_time = completed;
        }
    }
    let (active, unexpected): (Vec<&Arc<Job>>, Vec<&Arc<Job>>) =
        active.into_iter().partition(|job| is_own(job, &plan.status));
    for job in unexpected {
        let name = job.metadata.name.as_deref().unwrap_or_default();
        let message = format!("Saw a job that the controller did not create or forgot: {name}");
        plan.events.push((events::Level::Warning, "UnexpectedJob", message));
    }
    let mut references: Vec<ObjectReference> = active.iter().map(|job| reference(job)).collect();
    // Only what is new is taken over, so that a job's later versions do not change the list.
    for reference in &mut references {
        if let Some(old) = plan.status.active.iter().flatten().find(|old| old.uid == reference.uid) {
            *reference = old.clone();
        }
    }
    plan.status.active = (!references.is_empty()).then_some(references);
    for (kept, succeeded) in
        [(spec.successful_jobs_history_limit.unwrap_or(3), true), (spec.failed_jobs_history_limit.unwrap_or(1), false)]
    {
        let mut old: Vec<&Arc<Job>> = done.iter().copied().filter(|job| has_succeeded(job) == succeeded).collect();
        old.sort_by_key(|job| job.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0));
        let surplus = old.len().saturating_sub(usize::try_from(kept).unwrap_or(0));
        plan.delete.extend(old.into_iter().take(surplus).cloned());
    }
    if cron.metadata.deletion_timestamp.is_none() && spec.suspend != Some(true) {
        schedule_next(cron, &active, now, &mut plan);
    }
    plan
}

/// Whether the controller made it, as its list says or, if it could not write that any more, the job itself. Others may
/// make jobs that belong to the cron job; they run beside.
fn is_own(job: &Job, status: &CronJobStatus) -> bool {
    let scheduled = job.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(SCHEDULED_AT));
    scheduled || status.active.iter().flatten().any(|active| active.uid == job.metadata.uid)
}

fn has_succeeded(job: &Job) -> bool {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    controller_kit::conditions::is_true(conditions, "Complete")
}

fn schedule_next(cron: &CronJob, active: &[&Arc<Job>], now: DateTime<Utc>, plan: &mut Plan) {
    let Some(spec) = cron.spec.as_ref() else { return };
    let zone = match spec.time_zone.as_deref().map(TimeZone::get) {
        None => TimeZone::UTC,
        Some(Ok(zone)) => zone,
        Some(Err(error)) => {
            let message = format!("invalid timeZone: {}: {error}", spec.time_zone.as_deref().unwrap_or_default());
            return plan.events.push((events::Level::Warning, "UnknownTimeZone", message));
        }
    };
    let schedule = match Schedule::parse(&spec.schedule) {
        Ok(schedule) => schedule,
        Err(error) => {
            let message = format!("unparseable schedule: {} : {error}", spec.schedule);
            return plan.events.push((events::Level::Warning, "UnparseableSchedule", message));
        }
    };
    let created = cron.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    let mut earliest = plan.status.last_schedule_time.as_ref().map_or(created, |time| time.0);
    if let Some(deadline) = spec.starting_deadline_seconds {
        earliest = earliest.max(now - TimeDelta::seconds(deadline));
    }
    let next = |after: DateTime<Utc>| {
        let found = schedule.next(Timestamp::from_second(after.timestamp()).ok()?, &zone)?;
        DateTime::from_timestamp(found.as_second(), 0)
    };
    let (mut due, mut missed, mut cursor) = (None, 0, next(earliest));
    while let Some(at) = cursor.filter(|at| *at <= now) {
        (due, missed) = (Some(at), missed + 1);
        if missed > MISSED_MAX {
            let message = format!(
                "too many missed start times: {missed}. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
            );
            plan.events.push((events::Level::Warning, "TooManyMissedTimes", message));
            // Only the last one counts; go on from just before now.
            due = last_before(&next, now).or(due);
            break;
        }
        cursor = next(at);
    }
    plan.look_again = next(now).map(|at| at - now);
    let Some(due) = due else { return };
    match spec.concurrency_policy.as_deref() {
        Some("Forbid") if !active.is_empty() => {
            let message = "Not starting job because prior execution is running and concurrency policy is Forbid".into();
            plan.events.push((events::Level::Normal, "JobAlreadyActive", message));
        }
        Some("Replace") => {
            plan.delete.extend(active.iter().map(|job| (*job).clone()));
            plan.status.active = None;
            plan.create = Some(due);
        }
        _ => plan.create = Some(due),
    }
}

/// The last time at or before `now`, if there is one within some growing span before it.
fn last_before(next: &impl Fn(DateTime<Utc>) -> Option<DateTime<Utc>>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    [1, 60, 24 * 60, 32 * 24 * 60, 366 * 24 * 60].into_iter().find_map(|minutes| {
        let (mut found, mut cursor) = (None, next(now - TimeDelta::minutes(minutes)));
        while let Some(at) = cursor.filter(|at| *at <= now) {
            found = Some(at);
            cursor = next(at);
        }
        found
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::build::{merge, time};
    use serde_json::{Value, json};

    fn cron(change: Value) -> CronJob {
        let mut value = json!({"metadata": {"name": "tick", "namespace": "n", "uid": "c", "creationTimestamp": "2024-01-01T00:00:30Z"},
            "spec": {"schedule": "*/5 * * * *", "jobTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"template": {}}}}});
        merge(&mut value, change);
        serde_json::from_value(value).unwrap()
    }

    fn job(name: &str, finished: Option<&str>) -> Arc<Job> {
        let conditions: Vec<Value> = finished.iter().map(|kind| json!({"type": kind, "status": "True"})).collect();
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name, "uid": name},
                "status": {"conditions": conditions, "startTime": format!("2024-01-01T00:00:0{}Z", name.len())}}))
            .unwrap(),
        )
    }

    #[test]
    fn it_is_time_once() {
        let early = plan(&cron(json!({})), &[], time("2024-01-01T00:04:00Z"));
        assert_eq!((early.create, early.look_again), (None, Some(TimeDelta::seconds(60))));
        let due = plan(&cron(json!({})), &[], time("2024-01-01T00:11:00Z")).create.unwrap();
        assert_eq!(due, time("2024-01-01T00:10:00Z"), "the latest of those missed");
        let made = new_job(&cron(json!({})), due).unwrap();
        assert_eq!(made.metadata.name.unwrap(), format!("tick-{}", due.timestamp() / 60));
        let ran = cron(json!({"status": {"lastScheduleTime": "2024-01-01T00:10:00Z"}}));
        assert_eq!(plan(&ran, &[], time("2024-01-01T00:11:00Z")).create, None);
        let paused = cron(json!({"spec": {"suspend": true}}));
        assert_eq!(plan(&paused, &[], time("2024-01-01T00:11:00Z")).create, None);
    }

    #[test]
    fn what_runs_already_counts_by_the_policy() {
        let now = time("2024-01-01T00:11:00Z");
        let mut old = Job::clone(&job("old", None));
        old.metadata.annotations = Some(BTreeMap::from([(SCHEDULED_AT.into(), "2024-01-01T00:05:00Z".into())]));
        let running = [Arc::new(old)];
        let by = |policy: &str| plan(&cron(json!({"spec": {"concurrencyPolicy": policy}})), &running, now);
        assert!(by("Allow").create.is_some());
        assert_eq!(by("Forbid").create, None);
        let replaced = by("Replace");
        assert_eq!((replaced.delete.len(), replaced.create.is_some()), (1, true));
        // A job that somebody else made of it.
        let other = plan(&cron(json!({"spec": {"concurrencyPolicy": "Forbid"}})), &[job("by-hand", None)], now);
        assert_eq!((other.create.is_some(), other.status.active), (true, None));
        assert_eq!(other.events[0].1, "UnexpectedJob");
    }

    #[test]
    fn history_is_limited_and_many_missed_are_told() {
        let jobs = ["a", "bb", "ccc", "dddd"].map(|name| job(name, Some("Complete")));
        let plan_of = plan(&cron(json!({"spec": {"suspend": true}})), &jobs, time("2024-01-01T00:11:00Z"));
        assert_eq!(plan_of.delete.iter().map(|job| job.metadata.name.as_deref().unwrap()).collect::<Vec<_>>(), ["a"]);
        let late = plan(&cron(json!({})), &[], time("2024-02-01T00:01:00Z"));
        assert_eq!(late.create, Some(time("2024-02-01T00:00:00Z")));
        assert_eq!(late.events[0].1, "TooManyMissedTimes");
    }
}
