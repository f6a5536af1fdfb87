//! Defaults of jobs and cron jobs.

use crate::hooks::core::pod::defaults::default_template;
use crate::hooks::fill::Fill;
use serde_json::Value;

pub(super) fn job(object: &mut Value) {
    let spec = object.make("spec");
    default_parts(spec);
    if spec.lacks("completions") && spec.lacks("parallelism") {
        spec.fill("completions", 1);
    }
    spec.fill("parallelism", 1);
    let backoff = if spec.lacks("backoffLimitPerIndex") { 6 } else { i32::MAX };
    spec.fill("backoffLimit", backoff);
    spec.fill("completionMode", "NonIndexed");
    spec.fill("suspend", false);
    spec.fill("manualSelector", false);
    let replacement = if spec.lacks("podFailurePolicy") { "TerminatingOrFailed" } else { "Failed" };
    spec.fill("podReplacementPolicy", replacement);
    let labels = spec["template"]["metadata"]["labels"].clone();
    if labels.is_object() {
        object.make("metadata").fill("labels", labels);
    }
}

pub(super) fn cron_job(object: &mut Value) {
    let spec = object.make("spec");
    spec.fill("concurrencyPolicy", "Allow");
    spec.fill("suspend", false);
    spec.fill("successfulJobsHistoryLimit", 3);
    spec.fill("failedJobsHistoryLimit", 1);
    default_parts(spec.make("jobTemplate").make("spec"));
}

/// What a job and a job template have in common.
fn default_parts(spec: &mut Value) {
    default_template(spec.make("template"));
    spec.with("podFailurePolicy", |policy| {
        policy.each_mut("rules", |rule| {
            rule.each_mut("onPodConditions", |condition| condition.fill_zero("status", "True"));
        });
    });
}
