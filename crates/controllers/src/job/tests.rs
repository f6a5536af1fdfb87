//! Jobs from start to end, with pods played by the test.

use std::sync::Arc;

use chrono::TimeDelta;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::new_pod;
use super::plan::{Plan, has_finalizer, index_of, is_finished, plan};
use crate::pods::build::{merge, time};

fn job(spec: Value) -> Job {
    let mut value = json!({"metadata": {"name": "j", "namespace": "n", "uid": "j"}, "spec": {"parallelism": 2,
        "completions": 3, "backoffLimit": 1, "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c"}]}}}});
    merge(&mut value, json!({"spec": spec}));
    serde_json::from_value(value).unwrap()
}

struct World {
    job: Job,
    pods: Vec<Arc<Pod>>,
    made: usize,
    seconds: i64,
}

impl World {
    fn new(spec: Value) -> Self {
        World { job: job(spec), pods: Vec::new(), made: 0, seconds: 0 }
    }

    fn step(&mut self) -> Plan {
        let now = time("2024-01-01T00:00:00Z") + TimeDelta::seconds(self.seconds);
        let plan = plan(&self.job, &self.pods, true, now);
        if let Some(status) = &plan.status {
            self.job.status = Some(status.clone());
        }
        for gone in &plan.unfinalize {
            self.change(gone, |pod| pod.metadata.finalizers = None);
        }
        for gone in &plan.delete {
            let at = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now);
            self.change(gone, |pod| pod.metadata.deletion_timestamp = Some(at.clone()));
        }
        self.pods.retain(|pod| pod.metadata.deletion_timestamp.is_none() || has_finalizer(pod));
        for index in &plan.create {
            let mut pod =
                new_pod(&self.job, *index, index.and_then(|index| plan.failures.get(&index).copied())).unwrap();
            let name = format!("p{}", self.made);
            self.made += 1;
            pod.metadata.name = Some(name.clone());
            pod.metadata.uid = Some(name);
            self.pods.push(Arc::new(pod));
        }
        plan
    }

    fn change(&mut self, pod: &Pod, change: impl Fn(&mut Pod)) {
        for own in self.pods.iter_mut().filter(|own| own.metadata.uid == pod.metadata.uid) {
            change(Arc::make_mut(own));
        }
    }

    fn end(&mut self, name: &str, code: i32) {
        let phase = if code == 0 { "Succeeded" } else { "Failed" };
        let at = time("2024-01-01T00:00:00Z") + TimeDelta::seconds(self.seconds);
        let status = json!({"phase": phase, "containerStatuses": [{"name": "c", "ready": false, "restartCount": 0,
            "image": "i", "imageID": "i", "state": {"terminated": {"exitCode": code, "finishedAt": at}}}]});
        let named =
            self.pods.iter_mut().find(|pod| pod.metadata.name.as_deref() == Some(name)).expect("a pod of this name");
        Arc::make_mut(named).status = Some(serde_json::from_value(status).unwrap());
    }

    fn settle(&mut self) {
        for _ in 0..10 {
            self.step();
        }
    }

    fn counts(&self) -> (i32, i32, i32) {
        let status = self.job.status.clone().unwrap();
        (status.active.unwrap_or(0), status.succeeded.unwrap_or(0), status.failed.unwrap_or(0))
    }

    fn conditions(&self) -> Vec<String> {
        let list = self.job.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        list.into_iter().map(|one| format!("{}={} {}", one.type_, one.status, one.reason.unwrap_or_default())).collect()
    }
}

#[test]
fn runs_as_many_as_wanted_and_completes() {
    let mut world = World::new(json!({}));
    world.settle();
    assert_eq!(world.counts(), (2, 0, 0));
    assert!(has_finalizer(&world.pods[0]));
    world.end("p0", 0);
    let plan = world.step();
    let waiting = plan.status.unwrap().uncounted_terminated_pods.unwrap();
    assert_eq!(waiting.succeeded, Some(vec!["p0".to_owned()]), "written before the finalizer goes");
    world.settle();
    assert_eq!(world.counts(), (2, 1, 0));
    world.end("p1", 0);
    world.settle();
    assert_eq!((world.counts(), world.made), ((1, 2, 0), 3), "only one is missing");
    world.end("p2", 0);
    world.settle();
    assert_eq!(world.counts(), (0, 3, 0));
    assert_eq!(world.conditions(), ["Complete=True "]);
    assert!(world.job.status.as_ref().unwrap().completion_time.is_some() && is_finished(&world.job));
    assert!(world.pods.iter().all(|pod| !has_finalizer(pod)));
}

#[test]
fn failures_are_retried_later_and_not_for_ever() {
    let mut world = World::new(json!({"completions": 1, "parallelism": 1}));
    world.settle();
    world.end("p0", 1);
    world.settle();
    assert_eq!((world.counts(), world.made), ((0, 0, 1), 1), "not at once");
    assert_eq!(world.step().look_again, Some(TimeDelta::seconds(10)));
    world.seconds = 10;
    world.settle();
    assert_eq!(world.made, 2);
    world.end("p1", 1);
    world.settle();
    assert_eq!(world.counts(), (0, 0, 2));
    assert_eq!(world.conditions(), ["Failed=True BackoffLimitExceeded"]);
}

#[test]
fn indexed_jobs_do_each_index_once() {
    let mut world = World::new(json!({"completionMode": "Indexed", "parallelism": 3}));
    world.settle();
    let indexes: Vec<Option<i32>> = world.pods.iter().map(|pod| index_of(pod)).collect();
    assert_eq!(indexes, [Some(0), Some(1), Some(2)]);
    let spec = world.pods[1].spec.as_ref().unwrap();
    assert_eq!(spec.hostname.as_deref(), Some("j-1"));
    assert_eq!(spec.containers[0].env.as_ref().unwrap()[0].name, "JOB_COMPLETION_INDEX");
    world.end("p0", 0);
    world.end("p2", 1);
    world.seconds = 60;
    world.settle();
    assert_eq!(world.job.status.as_ref().unwrap().completed_indexes.as_deref(), Some("0"));
    assert_eq!(index_of(world.pods.last().unwrap()), Some(2), "the failed index again");
    world.end("p1", 0);
    world.end("p3", 0);
    world.settle();
    assert_eq!(world.job.status.as_ref().unwrap().completed_indexes.as_deref(), Some("0-2"));
    assert_eq!(world.conditions(), ["Complete=True "]);
}

#[test]
fn the_deadline_ends_it() {
    let mut world = World::new(json!({"activeDeadlineSeconds": 30}));
    assert_eq!(world.step().look_again, Some(TimeDelta::seconds(30)));
    world.seconds = 30;
    world.settle();
    assert_eq!(world.conditions(), ["Failed=True DeadlineExceeded"]);
    assert_eq!(world.counts(), (0, 0, 2), "those that ran have failed");
}

#[test]
fn suspended_and_resumed() {
    let mut world = World::new(json!({"suspend": true}));
    world.settle();
    assert_eq!((world.made, world.conditions()), (0, vec!["Suspended=True JobSuspended".to_owned()]));
    assert!(world.job.status.as_ref().unwrap().start_time.is_none());
    world.job.spec.as_mut().unwrap().suspend = Some(false);
    world.settle();
    assert_eq!((world.made, world.conditions()), (2, vec!["Suspended=False JobResumed".to_owned()]));
}

#[test]
fn the_failure_policy_decides() {
    let policy = json!({"backoffLimit": 9, "podFailurePolicy": {"rules": [
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]}});
    let mut world = World::new(policy.clone());
    world.settle();
    world.end("p0", 42);
    world.settle();
    assert_eq!(world.conditions()[0], "FailureTarget=True PodFailurePolicy");
    let mut world = World::new(policy);
    world.settle();
    world.end("p0", 1);
    let condition = json!([{"type": "DisruptionTarget", "status": "True"}]);
    Arc::make_mut(&mut world.pods[0]).status.as_mut().unwrap().conditions = serde_json::from_value(condition).unwrap();
    world.seconds = 60;
    world.settle();
    assert_eq!((world.counts(), world.made), ((2, 0, 0), 3), "replaced, and not counted");
}

#[test]
fn failures_are_limited_for_each_index() {
    let spec = |most: Option<i32>| {
        json!({"completionMode": "Indexed", "parallelism": 3, "completions": 3, "backoffLimit": 100,
            "backoffLimitPerIndex": 1, "maxFailedIndexes": most})
    };
    let mut world = World::new(spec(None));
    world.settle();
    let of_index = |world: &World, index: i32| {
        let live = world.pods.iter().filter(|pod| index_of(pod) == Some(index) && pod.status.is_none());
        live.map(|pod| pod.metadata.name.clone().unwrap()).next()
    };
    let first = of_index(&world, 1).unwrap();
    world.end(&first, 1);
    world.settle();
    assert_eq!(of_index(&world, 1), None, "it waits before the index is tried again");
    let waiting = world.pods.iter().find(|pod| pod.metadata.name.as_ref() == Some(&first)).unwrap();
    assert!(has_finalizer(waiting), "its failure is not forgotten");
    world.seconds += 11;
    world.settle();
    let second = of_index(&world, 1).unwrap();
    let waiting = world.pods.iter().find(|pod| pod.metadata.name.as_ref() == Some(&first)).unwrap();
    assert!(!has_finalizer(waiting));
    world.end(&second, 1);
    for index in [0, 2] {
        let name = of_index(&world, index).unwrap();
        world.end(&name, 0);
    }
    world.settle();
    let status = world.job.status.clone().unwrap();
    assert_eq!((status.failed_indexes.as_deref(), status.completed_indexes.as_deref()), (Some("1"), Some("0,2")));
    assert_eq!((status.failed, status.succeeded), (Some(2), Some(2)));
    let reason = status.conditions.iter().flatten().find(|one| one.type_ == "Failed").unwrap().reason.clone();
    assert_eq!(reason.as_deref(), Some("FailedIndexes"));

    let mut world = World::new(spec(Some(0)));
    world.settle();
    for _ in 0..2 {
        let name = of_index(&world, 2).unwrap();
        world.end(&name, 1);
        world.settle();
        world.seconds += 30;
        world.settle();
    }
    assert!(is_finished(&world.job));
    let conditions = world.job.status.clone().unwrap().conditions.unwrap();
    let reason = conditions.iter().find(|one| one.type_ == "Failed").unwrap().reason.as_deref();
    assert_eq!(reason, Some("MaxFailedIndexesExceeded"));
}
