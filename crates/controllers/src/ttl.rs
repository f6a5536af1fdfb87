//! Jobs that have ended go after the time that they ask for.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use controller_kit::{Context, Controller, Error, Handle, Key, Next, Remove, Row, Runner, Writer};
use k8s_openapi::api::batch::v1::Job;
use kube::api::PropagationPolicy;

use crate::job::is_finished;

pub(crate) static ROW: Row = Row {
    name: "ttl-after-finished",
    account: "ttl-after-finished-controller",
    inputs: &["Job"],
    outputs: &["Job"],
    workers: 2,
};

pub(crate) async fn start(context: Context) {
    let jobs = context.informer::<Job>();
    let runner = Runner::new(&context).primary(&jobs);
    let writer = context.writer();
    runner.run(Driver { context, writer, jobs }).await;
}

struct Driver {
    context: Context,
    writer: Writer,
    jobs: Handle<Job>,
}

impl Controller for Driver {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(job) = self.jobs.store().get(key) else { return Ok(Next::Done) };
        let Some(left) = left(&job, self.context.now()) else { return Ok(Next::Done) };
        if let Some(wait) = left.to_std().ok().filter(|wait| !wait.is_zero()) {
            return Ok(Next::After(wait + Duration::from_millis(10)));
        }
        // The limit may have been raised since; the version makes sure that it was not.
        let remove = Remove {
            resource_version: job.metadata.resource_version.clone(),
            propagation: Some(PropagationPolicy::Foreground),
            ..Remove::this(&*job)
        };
        self.writer.delete::<Job>(key, &remove).await?;
        Ok(Next::Done)
    }
}

/// How much longer the Job stays; nothing if it is not to go.
fn left(job: &Job, now: DateTime<Utc>) -> Option<TimeDelta> {
    if job.metadata.deletion_timestamp.is_some() || !is_finished(job) {
        return None;
    }
    let ttl = job.spec.as_ref()?.ttl_seconds_after_finished?;
    let ended = job.status.as_ref()?.conditions.as_ref()?.iter();
    let ended = ended.filter(|one| (one.type_ == "Complete" || one.type_ == "Failed") && one.status == "True");
    let ended = ended.filter_map(|one| one.last_transition_time.as_ref()).map(|time| time.0).max()?;
    Some((ended + TimeDelta::seconds(i64::from(ttl)) - now).max(TimeDelta::zero()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::build::time;
    use serde_json::json;

    #[test]
    fn time_runs_from_the_end() {
        let job = |ttl: Option<i32>, done: &str| -> Job {
            serde_json::from_value(
                json!({"spec": {"ttlSecondsAfterFinished": ttl, "template": {}}, "status": {"conditions": [
                {"type": "Complete", "status": done, "lastTransitionTime": "2024-01-01T00:00:00Z"}]}}),
            )
            .unwrap()
        };
        let now = time("2024-01-01T00:00:10Z");
        assert_eq!(left(&job(Some(30), "True"), now), Some(TimeDelta::seconds(20)));
        assert_eq!(left(&job(Some(5), "True"), now), Some(TimeDelta::zero()));
        assert_eq!(left(&job(None, "True"), now), None);
        assert_eq!(left(&job(Some(5), "False"), now), None);
    }
}
