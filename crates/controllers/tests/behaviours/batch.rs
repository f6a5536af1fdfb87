//! Jobs and cron jobs. A container's command says how it ends, for the nodes of these tests run nothing.

use crate::kit::{Api, JSON_PATCH, condition, find_condition, name, names, pod, template, with};
use http::Method;
use serde_json::{Value, json};

/// A job's spec whose pods do this: end so, or go on.
fn spec(command: Value, more: Value) -> Value {
    let mut template = template(&json!({"job": "x"}), "i");
    template["spec"]["restartPolicy"] = "Never".into();
    template["spec"]["containers"][0]["command"] = command;
    let mut spec = json!({"template": template});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

async fn create(api: &Api, command: Value, more: Value) -> String {
    api.post(
        &api.of("batch/v1", "jobs"),
        json!({"metadata": {"name": "x", "labels": {"e2e": "x"}}, "spec": spec(command, more)}),
    )
    .await;
    api.of("batch/v1", "jobs/x")
}

fn owner(pod: &Value) -> Option<&str> {
    pod["metadata"]["ownerReferences"].as_array().into_iter().flatten().find_map(|o| o["name"].as_str())
}

/// [sig-apps] Job should create pods for an Indexed job with completion indexes and specified hostname
#[test]
fn an_indexed_job_numbers_its_pods() {
    with(async |api| {
        let more = json!({"completions": 4, "parallelism": 2, "completionMode": "Indexed"});
        let own = create(&api, json!(["exit", "0"]), more).await;
        let done = api.until(&own, |j| condition(j, "Complete", "True")).await;
        assert_eq!((&done["status"]["completedIndexes"], &done["status"]["succeeded"]), (&json!("0-3"), &json!(4)));
        let mut indexes: Vec<String> = Vec::new();
        for pod in api.items(&api.core("pods"), "job=x").await {
            let index =
                pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"].as_str().unwrap().to_owned();
            assert_eq!(pod["spec"]["hostname"], format!("x-{index}"));
            assert_eq!(pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"], index.as_str());
            indexes.push(index);
        }
        indexes.sort_unstable();
        assert_eq!(indexes, ["0", "1", "2", "3"]);
    });
}

/// [sig-apps] Job should allow to use the pod failure policy on exit code to fail the job early
#[test]
fn an_exit_code_fails_a_job_early() {
    with(async |api| {
        let rule = json!({"action": "FailJob", "onExitCodes": {"containerName": "c", "operator": "In", "values": [1]}});
        let more = json!({"backoffLimit": 3, "podFailurePolicy": {"rules": [rule]}});
        let own = create(&api, json!(["exit", "1"]), more).await;
        let failed = api.until(&own, |j| condition(j, "Failed", "True")).await;
        let told = find_condition(&failed, "Failed");
        assert_eq!(told["reason"], "PodFailurePolicy");
        assert!(
            told["message"].as_str().unwrap().contains("failed with exit code 1 matching FailJob rule at index 0"),
            "{told}"
        );
        assert_eq!(failed["status"]["failed"], 1);
    });
}

/// [sig-apps] Job should adopt matching orphans and release non-matching pods
#[test]
fn a_job_adopts_and_releases() {
    with(async |api| {
        let own = create(&api, Value::Null, json!({"parallelism": 2, "completions": 2})).await;
        api.until(&own, |j| j["status"]["ready"] == 2).await;
        let path = format!("{}/{}", api.core("pods"), name(&api.items(&api.core("pods"), "job=x").await[0]));
        api.merge(&path, json!({"metadata": {"ownerReferences": null}})).await;
        api.until(&path, |p| owner(p) == Some("x")).await;
        api.update(&path, |p| p["metadata"]["labels"] = json!({})).await;
        api.until(&path, |p| owner(p).is_none()).await;
        api.until_list(&api.core("pods"), "job=x", |pods| {
            pods.len() == 2 && pods.iter().all(|p| owner(p) == Some("x"))
        })
        .await;
    });
}

/// [sig-apps] Job should delete a job
#[test]
fn a_job_is_deleted_with_its_pods() {
    with(async |api| {
        let own = create(&api, Value::Null, json!({"parallelism": 2, "completions": 4})).await;
        api.until(&own, |j| j["status"]["active"] == 2 && j["status"]["ready"] == 2).await;
        let how = json!({"propagationPolicy": "Foreground"});
        api.send(Method::DELETE, &own, Some(&how)).await.done();
        api.gone(&own).await;
        assert!(api.items(&api.core("pods"), "job=x").await.is_empty());
    });
}

/// [sig-apps] Job should manage the lifecycle of a job
#[test]
fn a_job_lives() {
    with(async |api| {
        let jobs = api.of("batch/v1", "jobs");
        let own =
            create(&api, json!(["exit", "0"]), json!({"suspend": true, "completions": 3, "parallelism": 1})).await;
        let suspended = api.until(&own, |j| condition(j, "Suspended", "True")).await;
        assert_eq!(suspended["status"].get("startTime"), None);
        let patch = json!({"metadata": {"labels": {"x": "patched"}}, "spec": {"suspend": false}});
        let patched = api.merge(&own, patch).await;
        assert_eq!(
            (&patched["metadata"]["labels"]["x"], &patched["spec"]["suspend"]),
            (&json!("patched"), &json!(false))
        );
        let updated = api.update(&own, |j| j["metadata"]["annotations"] = json!({"updated": "true"})).await;
        assert_eq!(updated["metadata"]["annotations"]["updated"], "true");
        let done = api.until(&own, |j| condition(j, "Complete", "True")).await;
        assert_eq!(done["status"]["succeeded"], 3);
        assert_eq!(names(&api.items("/apis/batch/v1/jobs", "x=patched").await), ["x"]);
        api.delete(&format!("{jobs}?labelSelector=x=patched")).await;
        api.until_list(&jobs, "x=patched", <[Value]>::is_empty).await;
    });
}

/// [sig-apps] Job should apply changes to a job status
#[test]
fn the_status_of_a_job_lives() {
    with(async |api| {
        let own = create(&api, Value::Null, json!({"parallelism": 2, "completions": 4, "backoffLimit": 6})).await;
        api.until(&own, |j| j["status"]["active"] == 2 && j["status"]["ready"] == 2).await;
        let status = format!("{own}/status");
        let told = json!({"type": "CustomConditionType", "status": "True"});
        let patch = json!({"metadata": {"annotations": {"patchedstatus": "true"}}, "status": {"conditions": [told]}});
        let patched = api.merge(&status, patch).await;
        assert!(condition(&patched, "CustomConditionType", "True"), "{patched}");
        assert_eq!(patched["metadata"]["annotations"]["patchedstatus"], "true");
        let updated = api.update(&status, |j| j["status"]["conditions"][0]["reason"] = "Put".into()).await;
        assert_eq!(updated["status"]["conditions"][0]["reason"], "Put");
        assert!(condition(&api.get(&status).await, "CustomConditionType", "True"));
    });
}

/// A cron job that should have started one a while ago, so that it does at once.
async fn overdue(api: &Api, name: &str, policy: &str) -> String {
    let never_done = spec(Value::Null, json!({}));
    let cron = json!({"metadata": {"name": name}, "spec": {"schedule": "0 0 1 1 *", "concurrencyPolicy": policy,
        "suspend": true, "jobTemplate": {"spec": never_done}}});
    api.post(&api.of("batch/v1", "cronjobs"), cron).await;
    let own = api.of("batch/v1", &format!("cronjobs/{name}"));
    let long_ago = json!({"status": {"lastScheduleTime": "2020-01-01T00:00:00Z"}});
    api.merge(&format!("{own}/status"), long_ago).await;
    own
}

/// A job that a cron job has made before, and that goes on.
async fn earlier(api: &Api, own: &str) {
    let cron = api.get(own).await;
    let owner = json!({"apiVersion": "batch/v1", "kind": "CronJob", "name": name(&cron), "uid": cron["metadata"]["uid"],
        "controller": true, "blockOwnerDeletion": true});
    let job =
        json!({"metadata": {"name": "earlier", "ownerReferences": [owner]}, "spec": spec(Value::Null, json!({}))});
    api.post(&api.of("batch/v1", "jobs"), job).await;
    api.until(&api.of("batch/v1", "jobs/earlier"), |j| j["status"]["active"] == 1).await;
    let job = api.get(&api.of("batch/v1", "jobs/earlier")).await;
    let active = json!({"kind": "Job", "apiVersion": "batch/v1", "name": "earlier", "namespace": api.ns, "uid": job["metadata"]["uid"]});
    api.merge(&format!("{own}/status"), json!({"status": {"active": [active]}})).await;
}

async fn resume(api: &Api, own: &str) {
    api.patch(own, JSON_PATCH, json!([{"op": "replace", "path": "/spec/suspend", "value": false}])).await;
}

fn of_cron(jobs: &[Value], cron: &str) -> usize {
    jobs.iter().filter(|j| owner(j) == Some(cron)).count()
}

/// [sig-apps] CronJob should schedule multiple jobs concurrently
#[test]
fn jobs_run_beside_one_another() {
    with(async |api| {
        let own = overdue(&api, "x", "Allow").await;
        earlier(&api, &own).await;
        resume(&api, &own).await;
        api.until_list(&api.of("batch/v1", "jobs"), "", |jobs| of_cron(jobs, "x") == 2).await;
        api.until(&own, |c| c["status"]["active"].as_array().is_some_and(|a| a.len() == 2)).await;
    });
}

/// [sig-apps] CronJob should replace jobs when ReplaceConcurrent
#[test]
fn a_job_replaces_the_one_before() {
    with(async |api| {
        let own = overdue(&api, "x", "Replace").await;
        earlier(&api, &own).await;
        resume(&api, &own).await;
        let jobs = api.of("batch/v1", "jobs");
        let replaced = |jobs: &[Value]| of_cron(jobs, "x") == 1 && name(&jobs[0]) != "earlier";
        api.until_list(&jobs, "", replaced).await;
    });
}

/// [sig-apps] CronJob should not schedule new jobs when ForbidConcurrent [Slow]
/// [sig-apps] CronJob should not schedule jobs when suspended [Slow]
#[test]
fn jobs_wait_for_one_another_and_for_the_word() {
    with(async |api| {
        let forbidding = overdue(&api, "forbids", "Forbid").await;
        earlier(&api, &forbidding).await;
        let suspended = overdue(&api, "suspended", "Allow").await;
        resume(&api, &forbidding).await;
        let said = |events: &[Value]| events.iter().any(|e| e["reason"] == "JobAlreadyActive");
        api.until_list(&api.core("events"), "", said).await;
        let jobs = api.items(&api.of("batch/v1", "jobs"), "").await;
        assert_eq!((of_cron(&jobs, "forbids"), of_cron(&jobs, "suspended")), (1, 0));
        assert_eq!(api.get(&suspended).await["spec"]["suspend"], true);
        resume(&api, &suspended).await;
        api.until_list(&api.of("batch/v1", "jobs"), "", |jobs| of_cron(jobs, "suspended") == 1).await;
    });
}

/// A pod of the same labels that a job did not make and may not have counts for nothing.
#[test]
fn strangers_do_not_count() {
    with(async |api| {
        api.post(&api.core("pods"), pod("stranger", json!({"job": "x"}), json!({}))).await;
        let own = create(&api, json!(["exit", "0"]), json!({})).await;
        let done = api.until(&own, |j| condition(j, "Complete", "True")).await;
        assert_eq!(done["status"]["succeeded"], 1);
        assert_eq!(owner(&api.get(&api.core("pods/stranger")).await), None);
    });
}
