//! Jobs: run pods until enough have succeeded, or too many have failed.
//!
//! [`plan`] decides, this file acts; the tests are in [`tests`].

mod failure;
mod indexes;
mod per_index;
mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use controller_kit::{Context, Controller, Error, Expectations, Handle, Key, Next, Remove, Row, Runner, Writer, owner};
use futures::future::try_join_all;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, Pod};

use crate::batch::slow_start;
use crate::pods;
use plan::{FINALIZER, INDEX, Plan, has_finalizer};

pub(crate) use plan::is_finished;

/// Pods by the Job that controls them, there or not.
const JOB_INDEX: &str = "job";
const INDEX_ENV: &str = "JOB_COMPLETION_INDEX";
/// The longest host name.
const HOST_NAME_MAX: usize = 63;

pub(crate) static ROW: Row = Row {
    name: "job",
    account: "job-controller",
    inputs: &["Job", "Pod"],
    outputs: &["Pod", "Job/status", "Event"],
    workers: 8,
};

pub(crate) async fn start(context: Context) {
    let (jobs, pods) = (context.informer::<Job>(), context.informer::<Pod>());
    pods.store().add_index(JOB_INDEX, |pod| job_of(pod).iter().map(Key::to_string).collect());
    let store = jobs.store().clone();
    let by_pod = move |pod: &Pod| {
        if owner::controller_of(pod).is_some() {
            return job_of(pod).into_iter().collect();
        }
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        store.list_namespace(namespace).iter().filter(|job| chooses(job, pod)).map(|job| Key::of(&**job)).collect()
    };
    let runner = Runner::new(&context).primary(&jobs).watch(&pods, by_pod);
    let writer = context.writer();
    runner.run(Driver { context, writer, jobs, pods, expectations: Expectations::default() }).await;
}

fn job_of(pod: &Pod) -> Option<Key> {
    let owner = owner::controller_of(pod).filter(|owner| owner.kind == "Job")?;
    Some(Key::new(pod.metadata.namespace.as_deref()?, &owner.name))
}

fn chooses(job: &Job, pod: &Pod) -> bool {
    let selector = owner::selector(job.spec.as_ref().and_then(|spec| spec.selector.as_ref())).ok().flatten();
    owner::matches(selector.as_ref(), owner::labels(pod))
}

struct Driver {
    context: Context,
    writer: Writer,
    jobs: Handle<Job>,
    pods: Handle<Pod>,
    expectations: Expectations,
}

impl Controller for Driver {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let job = self.jobs.store().get(key);
        let uid = job.as_ref().and_then(|job| job.metadata.uid.clone()).unwrap_or_default();
        // Pods of a Job that is gone, or of an earlier one of the same name, need not be counted any more.
        let strays = self.pods.store().by_index(JOB_INDEX, &key.to_string());
        let strays = strays.into_iter().filter(|pod| has_finalizer(pod) && !owner::is_controlled_by(&**pod, &uid));
        self.unfinalize(key, strays.collect()).await?;
        let Some(job) = job else {
            self.expectations.forget(key);
            return Ok(Next::Done);
        };
        let settled = self.expectations.satisfied(key, self.pods.store());
        let pods = self.claim(key, &job).await?;
        let plan = plan::plan(&job, &pods, settled, self.context.now());
        self.carry_out(key, &job, plan).await
    }
}

impl Driver {
    async fn claim(&self, key: &Key, job: &Job) -> Result<Vec<Arc<Pod>>, Error> {
        let uid = job.metadata.uid.as_deref().unwrap_or_default();
        let store = self.pods.store();
        let deleting = job.metadata.deletion_timestamp.is_some() || is_finished(job);
        let mut claims =
            owner::claim(deleting, store.children(uid), store.orphans(&key.namespace), |pod| chooses(job, pod));
        let wrote = |pod: &Pod| self.expectations.wrote(key, pod);
        crate::adopt::carry_out(&self.writer, job, &mut claims, Some(FINALIZER), wrote).await?;
        Ok(claims.owned)
    }

    async fn carry_out(&self, key: &Key, job: &Job, plan: Plan) -> Result<Next, Error> {
        let Plan { status, unfinalize, delete, create, failures, events, look_again } = plan;
        if let Some(status) = status {
            self.writer.replace_status(&Job { status: Some(status), ..job.clone() }).await?;
        }
        for (is_warning, reason, message) in events {
            if is_warning {
                self.context.events.warning(job, &reason, message);
            } else {
                self.context.events.normal(job, &reason, message);
            }
        }
        self.unfinalize(key, unfinalize).await?;
        let kill = |pod: Arc<Pod>| async move {
            self.writer.delete::<Pod>(&Key::of(&*pod), &Remove::this(&*pod)).await?;
            self.expectations.deleted(key, &*pod);
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            self.context.events.normal(job, "SuccessfulDelete", format!("Deleted pod: {name}"));
            Ok::<_, Error>(())
        };
        try_join_all(delete.into_iter().map(kill)).await?;
        let failures = |index: Option<i32>| index.and_then(|index| failures.get(&index).copied());
        slow_start(create.len(), |at| self.create(key, job, create[at], failures(create[at]))).await?;
        let again = look_again.and_then(|left| left.to_std().ok());
        Ok(again.map_or(Next::Done, |left| Next::After(left + Duration::from_millis(10))))
    }

    async fn create(&self, key: &Key, job: &Job, index: Option<i32>, failures: Option<i32>) -> Result<(), Error> {
        let Some(pod) = new_pod(job, index, failures) else { return Ok(()) };
        match self.writer.create(&pod).await {
            Ok(made) => {
                self.expectations.wrote(key, &made);
                let name = made.metadata.name.unwrap_or_default();
                self.context.events.normal(job, "SuccessfulCreate", format!("Created pod: {name}"));
                Ok(())
            }
            Err(error) if error.is_namespace_terminating() => Ok(()),
            Err(error) => {
                let message = format!("Error creating: {}", crate::text(&error));
                self.context.events.warning(job, "FailedCreate", message);
                Err(error)
            }
        }
    }

    async fn unfinalize(&self, key: &Key, pods: Vec<Arc<Pod>>) -> Result<(), Error> {
        let release = |pod: Arc<Pod>| async move {
            let kept: Vec<&String> =
                pod.metadata.finalizers.iter().flatten().filter(|finalizer| *finalizer != FINALIZER).collect();
            let kept = if kept.is_empty() { serde_json::Value::Null } else { serde_json::json!(kept) };
            let patch = serde_json::json!({"metadata": {"uid": pod.metadata.uid,
                "resourceVersion": pod.metadata.resource_version, "finalizers": kept}});
            match self.writer.patch::<Pod>(&Key::of(&*pod), &patch).await {
                Ok(written) => {
                    self.expectations.wrote(key, &written);
                    Ok(())
                }
                Err(error) if error.is_not_found() => Ok(()),
                Err(error) => Err(error),
            }
        };
        try_join_all(pods.into_iter().map(release)).await.map(drop)
    }
}

/// A pod of `job`, for the completion `index` if it has such, which has failed so often if that is counted.
fn new_pod(job: &Job, index: Option<i32>, failures: Option<i32>) -> Option<Pod> {
    let template = &job.spec.as_ref()?.template;
    let name = job.metadata.name.as_deref()?;
    let base = index.map_or_else(|| name.to_owned(), |index| format!("{name}-{index}"));
    let namespace = job.metadata.namespace.as_deref()?;
    let mut pod = pods::from_template(template, namespace, &base, owner::controller_ref(job));
    pod.metadata.finalizers.get_or_insert_default().push(FINALIZER.into());
    let Some(index) = index else { return Some(pod) };
    pod.metadata.annotations.get_or_insert_default().insert(INDEX.into(), index.to_string());
    if let Some(failures) = failures {
        pod.metadata.annotations.get_or_insert_default().insert(per_index::FAILURES.into(), failures.to_string());
    }
    pod.metadata.labels.get_or_insert_default().insert(INDEX.into(), index.to_string());
    let spec = pod.spec.get_or_insert_default();
    if spec.hostname.as_deref().unwrap_or_default().is_empty() && base.len() <= HOST_NAME_MAX {
        spec.hostname = Some(base);
    }
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        let env = container.env.get_or_insert_default();
        if env.iter().all(|have| have.name != INDEX_ENV) {
            env.push(index_variable());
        }
    }
    Some(pod)
}

fn index_variable() -> EnvVar {
    let field = ObjectFieldSelector { api_version: None, field_path: format!("metadata.labels['{INDEX}']") };
    let source = EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() };
    EnvVar { name: INDEX_ENV.into(), value: None, value_from: Some(source) }
}
