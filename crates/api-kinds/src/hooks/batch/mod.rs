//! Kinds of the group batch.

use crate::hooks::check::Node;
use crate::hooks::core::pod;
use crate::hooks::fill::Fill;
use crate::hooks::workload;
use api_core::meta::Meta;
use api_schema::row::{Generation, Hooks, WriteContext};
use serde_json::Value;

mod defaults;
mod schedule;
mod success;
mod validate;

/// The label by which a job knows its pods.
const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";

/// Labels that the pods of a job carry, in their old and their new form.
fn own_labels<'a>(uid: &'a str, name: &'a str) -> [(&'static str, &'a str); 4] {
    [("controller-uid", uid), (CONTROLLER_UID, uid), ("job-name", name), ("batch.kubernetes.io/job-name", name)]
}

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    match kind {
        "CronJob" => &CRON_JOB,
        "Job" => &JOB,
        _ => &Hooks::NONE,
    }
}

static JOB: Hooks = Hooks {
    default: Some(defaults::job),
    prepare_create: Some(prepare_job),
    prepare_update: Some(prepare_job_update),
    generation: Generation::SPEC,
    validate: Some(validate::job),
    validate_update: Some(validate::job_update),
    warnings: Some(job_warnings),
    orphan_by_default: true,
    delete_warning: "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove \
                     them or set propagationPolicy=Orphan to suppress this warning",
    ..Hooks::NONE
};

static CRON_JOB: Hooks = Hooks {
    default: Some(defaults::cron_job),
    prepare_create: Some(prepare_cron_job),
    prepare_update: Some(|context, new, _| prepare_cron_job(context, new)),
    generation: Generation::SPEC,
    validate: Some(validate::cron_job),
    validate_update: Some(validate::cron_job_update),
    warnings: Some(cron_job_warnings),
    ..Hooks::NONE
};

/// Fields of a job whose features are off in this version. A cron job's template keeps them.
const DISABLED: [&str; 2] = ["successPolicy", "managedBy"];

fn drop_fields(spec: &mut Value, fields: &[&str]) {
    if let Some(map) = spec.as_object_mut() {
        map.retain(|field, _| !fields.contains(&field.as_str()));
    }
}

fn drop_disabled_of_pods(spec: &mut Value) {
    spec.with_path(&["template", "spec"], pod::drop_disabled);
}

fn prepare_job(_: &WriteContext<'_>, job: &mut Value) {
    job.with("spec", |spec| {
        drop_fields(spec, &DISABLED);
        drop_disabled_of_pods(spec);
    });
    if job["spec"]["manualSelector"] == true {
        return;
    }
    let (uid, name) = (job.uid().to_owned(), job.name().to_owned());
    // A job without labels took its template's, and upstream keeps the two as one from then on.
    let labels_are_one = job["metadata"]["labels"] == job["spec"]["template"]["metadata"]["labels"];
    let spec = job.make("spec");
    let labels = spec.make("template").make("metadata").make("labels");
    for (key, value) in own_labels(&uid, &name) {
        if matches!(key, CONTROLLER_UID | "controller-uid") {
            labels[key] = value.into();
        } else {
            labels.fill(key, value);
        }
    }
    let labels = labels.clone();
    if labels_are_one {
        job["metadata"]["labels"] = labels;
    }
    let spec = job.make("spec");
    spec.make("selector").make("matchLabels").fill(CONTROLLER_UID, uid);
}

/// What works on a job is not dropped from an update, but refused; so is a policy that changes.
fn prepare_job_update(_: &WriteContext<'_>, new: &mut Value, old: &Value) {
    new.with("spec", |spec| {
        if old["spec"]["successPolicy"].is_null() {
            drop_fields(spec, &["successPolicy"]);
        }
        drop_disabled_of_pods(spec);
    });
}

fn prepare_cron_job(_: &WriteContext<'_>, cron_job: &mut Value) {
    cron_job.with_path(&["spec", "jobTemplate", "spec"], drop_disabled_of_pods);
}

fn job_warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let root = Node::root(new);
    let spec = root.at("spec");
    if !workload::is_new_generation(new, old) {
        return Vec::new();
    }
    let mut found = pod::template_warnings(&spec.at("template"));
    let name = old.is_none().then(|| workload::name_warning(new)).flatten();
    let indexed = spec.text("completionMode") == "Indexed";
    if indexed && spec.at("completions").int_or_zero() > 100_000 && spec.at("parallelism").int_or_zero() > 10_000 {
        let why = "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might \
                   not be able to track completedIndexes when a big number of indexes fail";
        found.insert(0, why.to_owned());
    }
    name.into_iter().chain(found).collect()
}

fn cron_job_warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let root = Node::root(new);
    let mut found = Vec::new();
    if old.is_none() && new.name().len() <= 52 {
        found.extend(workload::name_warning(new));
    }
    let spec = root.at("spec");
    let (job, job_spec) = (spec.at("jobTemplate"), "spec");
    let job = job.at(job_spec);
    if workload::is_new_generation(new, old) {
        found.extend(pod::template_warnings(&job.at("template")));
    }
    found
}
