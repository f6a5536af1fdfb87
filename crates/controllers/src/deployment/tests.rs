//! Rollouts, with the sets' status played by the test: objects in, objects out.

use super::plan::{Inputs, Plan, plan};
use super::view;
use crate::pods::build::{merge, time};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use serde_json::{Value, json};

const NOW: &str = "2024-01-01T00:00:00Z";

fn deployment(change: Value) -> Deployment {
    let mut value = json!({
        "metadata": {"name": "web", "namespace": "n", "uid": "d", "generation": 1, "annotations": {"note": "x"}},
        "spec": {"replicas": 10, "selector": {"matchLabels": {"app": "web"}}, "revisionHistoryLimit": 1,
            "progressDeadlineSeconds": 600,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "v1"}]}}},
    });
    merge(&mut value, change);
    serde_json::from_value(value).unwrap()
}

/// Plays the API and the ReplicaSet controller: writes are kept, and pods become what `ready` says.
struct World {
    deployment: Deployment,
    sets: Vec<ReplicaSet>,
    events: Vec<String>,
    seconds: i64,
}

impl World {
    fn new(deployment: Deployment) -> Self {
        World { deployment, sets: Vec::new(), events: Vec::new(), seconds: 0 }
    }

    fn step(&mut self, running: &[&str]) -> Plan {
        self.seconds += 1;
        let now = time(NOW) + chrono::TimeDelta::seconds(self.seconds);
        let running = running.iter().map(|uid| (*uid).to_owned()).collect();
        let plan = plan(Inputs { deployment: &self.deployment, sets: self.sets.clone(), running, now });
        self.events.extend(plan.events.clone());
        if let Some(mut set) = plan.create.clone() {
            set.metadata.uid = Some(format!("rs{}", self.sets.len()));
            set.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
            self.sets.push(set);
        }
        for update in &plan.update {
            let at = self.sets.iter().position(|set| set.metadata.uid == update.metadata.uid).unwrap();
            self.sets[at] = update.clone();
        }
        self.sets.retain(|set| !plan.delete.iter().any(|gone| gone.metadata.uid == set.metadata.uid));
        if let Some(status) = &plan.status {
            self.deployment.status = status.status.clone();
        }
        if let Some(revision) = &plan.revision {
            let annotations = self.deployment.metadata.annotations.get_or_insert_default();
            annotations.insert(view::REVISION.into(), revision.clone());
        }
        plan
    }

    fn pods_follow(&mut self, ready: impl Fn(&ReplicaSet) -> bool) {
        for set in &mut self.sets {
            let size = view::replicas(set);
            let up = if ready(set) { size } else { view::available(set).min(size) };
            set.status = serde_json::from_value(json!({"replicas": size, "readyReplicas": up, "availableReplicas": up,
                "observedGeneration": set.metadata.generation}))
            .unwrap();
        }
    }

    fn settle(&mut self) -> usize {
        for round in 0..50 {
            let before = (self.deployment.clone(), self.sets.clone());
            self.step(&[]);
            self.pods_follow(|_| true);
            if before == (self.deployment.clone(), self.sets.clone()) {
                return round;
            }
        }
        panic!("does not settle: {:?}", self.events);
    }

    fn sizes(&self) -> Vec<i32> {
        self.sets.iter().map(view::replicas).collect()
    }

    fn progressing(&self) -> (String, String) {
        let conditions = self.deployment.status.as_ref().unwrap().conditions.as_ref();
        let condition = controller_kit::conditions::get(conditions, "Progressing").unwrap();
        (condition.status.clone(), condition.reason.clone().unwrap())
    }

    fn set_image(&mut self, image: &str) {
        let spec = self.deployment.spec.as_mut().unwrap().template.spec.as_mut().unwrap();
        spec.containers[0].image = Some(image.into());
        self.deployment.metadata.generation = Some(self.deployment.metadata.generation.unwrap() + 1);
    }
}

#[test]
fn the_first_set_has_hash_revision_and_sizes() {
    let mut world = World::new(deployment(json!({})));
    world.step(&[]);
    let set = &world.sets[0];
    let hash = set.metadata.labels.as_ref().unwrap()["pod-template-hash"].clone();
    assert_eq!(set.metadata.name.as_deref(), Some(format!("web-{hash}").as_str()));
    let selector = set.spec.as_ref().unwrap().selector.match_labels.as_ref().unwrap();
    assert_eq!((selector["app"].as_str(), &selector["pod-template-hash"]), ("web", &hash));
    let annotations = set.metadata.annotations.as_ref().unwrap();
    assert_eq!(annotations[view::REVISION], "1");
    assert_eq!((annotations[view::DESIRED].as_str(), annotations[view::MAX].as_str()), ("10", "13"));
    assert_eq!(annotations["note"], "x");
    assert_eq!(world.events, [format!("Scaled up replica set web-{hash} to 10")]);
    assert_eq!(world.progressing(), ("True".into(), "NewReplicaSetCreated".into()));
    world.settle();
    assert_eq!(world.progressing(), ("True".into(), "NewReplicaSetAvailable".into()));
    let status = world.deployment.status.as_ref().unwrap();
    assert_eq!((status.available_replicas, status.unavailable_replicas), (Some(10), None));
}

#[test]
fn a_rolling_update_never_leaves_its_bounds() {
    let mut world = World::new(deployment(json!({})));
    world.settle();
    world.set_image("v2");
    for _ in 0..50 {
        world.step(&[]);
        assert!(world.sizes().iter().sum::<i32>() <= 13, "over the surge: {:?}", world.sizes());
        let up: i32 = world.sets.iter().map(|set| view::available(set).min(view::replicas(set))).sum();
        assert!(up >= 8, "too few are left: {up} of {:?}", world.sizes());
        world.pods_follow(|_| true);
    }
    assert_eq!(world.sizes(), [0, 10]);
    assert_eq!(world.deployment.metadata.annotations.as_ref().unwrap()[view::REVISION], "2");
}

#[test]
fn old_revisions_are_kept_up_to_the_limit_and_undone_by_template() {
    let mut world = World::new(deployment(json!({})));
    for image in ["v1", "v2", "v3"] {
        world.set_image(image);
        world.settle();
    }
    assert_eq!(world.sizes(), [0, 10]);
    world.set_image("v2");
    world.settle();
    let sizes: Vec<(i64, i32)> = world.sets.iter().map(|set| (view::revision(set), view::replicas(set))).collect();
    assert_eq!(sizes, [(4, 10), (3, 0)]);
    assert_eq!(view::annotation(&world.sets[0], view::REVISION_HISTORY), Some("2"));
}

#[test]
fn unhealthy_old_pods_go_first() {
    let mut world = World::new(deployment(json!({})));
    world.step(&[]);
    world.pods_follow(|_| false);
    world.set_image("v2");
    world.step(&[]);
    // 13 pods, 8 must stay or become available, 3 are on their way: 2 broken ones may go.
    assert_eq!(world.sizes(), [8, 3]);
}

#[test]
fn recreate_waits_for_the_old_pods() {
    let mut world = World::new(deployment(json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null}}})));
    world.settle();
    world.set_image("v2");
    world.step(&["rs0"]);
    assert_eq!(world.sizes(), [0]);
    world.step(&["rs0"]);
    assert_eq!(world.sizes(), [0]);
    world.pods_follow(|_| true);
    world.step(&[]);
    assert_eq!(world.sizes(), [0, 10]);
}

#[test]
fn scaling_in_the_middle_is_proportional() {
    let mut world = World::new(deployment(json!({})));
    world.settle();
    world.set_image("v2");
    world.step(&[]);
    world.pods_follow(|set| view::revision(set) == 1);
    world.step(&[]);
    world.pods_follow(|set| view::revision(set) == 1);
    assert_eq!(world.sizes(), [8, 5]);
    world.deployment.spec.as_mut().unwrap().replicas = Some(20);
    world.step(&[]);
    assert_eq!(world.sizes(), [15, 10]);
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut world = World::new(deployment(json!({})));
    world.settle();
    world.deployment.spec.as_mut().unwrap().paused = Some(true);
    world.set_image("v2");
    world.deployment.spec.as_mut().unwrap().replicas = Some(4);
    world.step(&[]);
    assert_eq!(world.sizes(), [4]);
    assert_eq!(world.progressing(), ("Unknown".into(), "DeploymentPaused".into()));
    world.deployment.spec.as_mut().unwrap().paused = None;
    world.settle();
    assert_eq!(world.sizes(), [0, 4]);
}

#[test]
fn no_progress_in_time_is_told() {
    let mut world = World::new(deployment(json!({})));
    let again = world.step(&[]).look_again_seconds.unwrap();
    assert_eq!(again, 601);
    world.pods_follow(|_| false);
    world.step(&[]);
    world.seconds += again;
    world.step(&[]);
    assert_eq!(world.progressing(), ("False".into(), "ProgressDeadlineExceeded".into()));
    assert!(world.step(&[]).look_again_seconds.is_none());
}
