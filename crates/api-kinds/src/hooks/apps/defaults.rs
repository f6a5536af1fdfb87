//! Defaults of the workloads that run until told otherwise.

use super::TEMPLATE_GENERATION;
use crate::hooks::core::pod::defaults::default_template;
use crate::hooks::core::volume::default_claim;
use crate::hooks::fill::Fill;
use serde_json::Value;

pub(super) fn deployment(object: &mut Value) {
    let spec = object.make("spec");
    default_template(spec.make("template"));
    spec.fill("replicas", 1);
    spec.fill("revisionHistoryLimit", 10);
    spec.fill("progressDeadlineSeconds", 600);
    let strategy = spec.make("strategy");
    strategy.fill("type", "RollingUpdate");
    if strategy.text("type") == "RollingUpdate" {
        let rolling = strategy.make("rollingUpdate");
        rolling.fill("maxUnavailable", "25%");
        rolling.fill("maxSurge", "25%");
    }
}

pub(super) fn replica_set(object: &mut Value) {
    let spec = object.make("spec");
    default_template(spec.make("template"));
    spec.fill("replicas", 1);
}

pub(super) fn daemon_set(object: &mut Value) {
    // Upstream's own form of the object has a field for it, so that whoever leaves it out writes a zero.
    object.make("metadata").make("annotations").fill(TEMPLATE_GENERATION, "0");
    let spec = object.make("spec");
    default_template(spec.make("template"));
    spec.fill("revisionHistoryLimit", 10);
    let strategy = spec.make("updateStrategy");
    strategy.fill("type", "RollingUpdate");
    if strategy.text("type") == "RollingUpdate" {
        let rolling = strategy.make("rollingUpdate");
        rolling.fill("maxUnavailable", 1);
        rolling.fill("maxSurge", 0);
    }
}

pub(super) fn stateful_set(object: &mut Value) {
    let spec = object.make("spec");
    default_template(spec.make("template"));
    spec.fill("podManagementPolicy", "OrderedReady");
    spec.fill("replicas", 1);
    spec.fill("revisionHistoryLimit", 10);
    let retention = spec.make("persistentVolumeClaimRetentionPolicy");
    retention.fill("whenDeleted", "Retain");
    retention.fill("whenScaled", "Retain");
    let strategy = spec.make("updateStrategy");
    if strategy.lacks("type") {
        strategy.fill("type", "RollingUpdate");
        strategy.make("rollingUpdate");
    }
    if strategy.text("type") == "RollingUpdate" {
        strategy.with("rollingUpdate", |rolling| rolling.fill("partition", 0));
    }
    spec.each_mut("volumeClaimTemplates", |claim| {
        // Whatever they say they are.
        claim["kind"] = "PersistentVolumeClaim".into();
        claim["apiVersion"] = "v1".into();
        default_claim(claim);
    });
}
