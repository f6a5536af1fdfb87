//! Decides one step of a StatefulSet: pods in order, by name. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use controller_kit::owner;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume,
};

use crate::pods;
use crate::revisions::HASH_LABEL;

const POD_NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

/// A revision of the template, by the name of its ControllerRevision.
#[derive(Debug, Clone, PartialEq)]
pub struct Revision {
    pub name: String,
    pub template: PodTemplateSpec,
}

/// What to do.
#[derive(Debug, Default)]
pub struct Plan {
    pub create: Vec<Pod>,
    pub delete: Vec<Arc<Pod>>,
    pub status: Option<StatefulSet>,
    pub look_again: Option<TimeDelta>,
}

/// The number at the end of the pod's name, if it is one of `set`'s names.
pub fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let (base, number) = pod.metadata.name.as_deref()?.rsplit_once('-')?;
    (Some(base) == set.metadata.name.as_deref()).then(|| number.parse().ok())?
}

/// Whether the set wants a pod of this number.
pub fn is_wanted(set: &StatefulSet, ordinal: i32) -> bool {
    let spec = set.spec.as_ref();
    let first = spec.and_then(|spec| spec.ordinals.as_ref()?.start).unwrap_or(0);
    let replicas = spec.and_then(|spec| spec.replicas).unwrap_or(1);
    (first..first.saturating_add(replicas)).contains(&ordinal)
}

/// The claims that the pod with this ordinal needs.
pub fn claims(set: &StatefulSet, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let Some(spec) = &set.spec else { return Vec::new() };
    let selector = spec.selector.match_labels.clone().unwrap_or_default();
    let templates = spec.volume_claim_templates.iter().flatten();
    templates
        .map(|template| {
            let mut claim = template.clone();
            claim.metadata.name = Some(claim_name(set, template, ordinal));
            claim.metadata.namespace.clone_from(&set.metadata.namespace);
            claim.metadata.labels.get_or_insert_default().extend(selector.clone());
            claim.status = None;
            claim
        })
        .collect()
}

fn claim_name(set: &StatefulSet, template: &PersistentVolumeClaim, ordinal: i32) -> String {
    let name = |name: &Option<String>| name.clone().unwrap_or_default();
    format!("{}-{}-{ordinal}", name(&template.metadata.name), name(&set.metadata.name))
}

fn new_pod(set: &StatefulSet, revision: &Revision, ordinal: i32) -> Pod {
    let (set_name, namespace) = (set.metadata.name.as_deref().unwrap_or_default(), set.metadata.namespace.as_deref());
    let name = format!("{set_name}-{ordinal}");
    let namespace = namespace.unwrap_or_default();
    let mut pod = pods::from_template(&revision.template, namespace, set_name, owner::controller_ref(set));
    pod.metadata.generate_name = Some(format!("{set_name}-"));
    pod.metadata.name = Some(name.clone());
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(HASH_LABEL.into(), revision.name.clone());
    labels.insert(POD_NAME_LABEL.into(), name.clone());
    labels.insert(POD_INDEX_LABEL.into(), ordinal.to_string());
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(name);
    spec.subdomain = set.spec.as_ref().and_then(|spec| spec.service_name.clone()).filter(|name| !name.is_empty());
    let templates = set.spec.as_ref().and_then(|spec| spec.volume_claim_templates.as_ref());
    for template in templates.into_iter().flatten() {
        let volume_name = template.metadata.name.clone().unwrap_or_default();
        let claim = PersistentVolumeClaimVolumeSource {
            claim_name: claim_name(set, template, ordinal),
            read_only: Some(false),
        };
        let volumes = spec.volumes.get_or_insert_default();
        volumes.retain(|volume| volume.name != volume_name);
        volumes.push(Volume { name: volume_name, persistent_volume_claim: Some(claim), ..Volume::default() });
    }
    pod
}

struct Step<'a> {
    set: &'a StatefulSet,
    current: &'a Revision,
    update: &'a Revision,
    first: i32,
    wanted: i32,
    min_ready: i32,
    now: DateTime<Utc>,
    slots: BTreeMap<i32, Arc<Pod>>,
    /// Over the wanted number, the highest first.
    condemned: Vec<Arc<Pod>>,
    plan: Plan,
}

/// Decides for `set` with its `pods`; `current` is the revision that is being left, `update` the one that is wanted.
pub fn plan(
    set: &StatefulSet,
    pods: &[Arc<Pod>],
    current: &Revision,
    update: &Revision,
    settled: bool,
    now: DateTime<Utc>,
) -> Plan {
    let spec = set.spec.clone().unwrap_or_default();
    let first = spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0);
    let wanted = spec.replicas.unwrap_or(1);
    let mut step = Step {
        set,
        current,
        update,
        first,
        wanted,
        min_ready: spec.min_ready_seconds.unwrap_or(0),
        now,
        slots: BTreeMap::new(),
        condemned: Vec::new(),
        plan: Plan::default(),
    };
    let mut numbered: Vec<(i32, &Arc<Pod>)> = pods.iter().filter_map(|pod| Some((ordinal(set, pod)?, pod))).collect();
    numbered.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    for (number, pod) in numbered {
        if (first..first.saturating_add(wanted)).contains(&number) {
            step.slots.insert(number, pod.clone());
        } else {
            step.condemned.push(pod.clone());
        }
    }
    if settled && set.metadata.deletion_timestamp.is_none() {
        step.act(spec.pod_management_policy.as_deref() == Some("Parallel"));
    }
    step.plan.look_again = pods::next_available(pods, step.min_ready, now);
    step.plan.status = step.status(pods);
    step.plan
}

impl Step<'_> {
    fn revision_of<'p>(&self, pod: &'p Pod) -> &'p str {
        owner::labels(pod).get(HASH_LABEL).map_or("", String::as_str)
    }

    fn is_available(&self, pod: &Pod) -> bool {
        pods::is_available(pod, self.min_ready, self.now)
    }

    fn partition(&self) -> Option<i32> {
        let strategy = self.set.spec.as_ref()?.update_strategy.as_ref()?;
        strategy.rolling_update.as_ref()?.partition
    }

    /// The revision from which a missing pod is made.
    fn revision_for(&self, number: i32) -> &Revision {
        let kept = match self.partition() {
            Some(partition) => partition,
            None => self.set.status.as_ref().and_then(|status| status.current_replicas).unwrap_or(0),
        };
        if number < self.first + kept { self.current } else { self.update }
    }

    fn act(&mut self, parallel: bool) {
        for number in self.first..self.first.saturating_add(self.wanted) {
            match self.slots.get(&number).cloned() {
                None => {
                    let pod = new_pod(self.set, self.revision_for(number), number);
                    self.plan.create.push(pod);
                    if !parallel {
                        return;
                    }
                }
                // It comes again under the same name once it is gone.
                Some(pod) if pods::is_terminal(&pod) && !pods::is_deleting(&pod) => {
                    self.plan.delete.push(pod);
                    if !parallel {
                        return;
                    }
                }
                Some(pod) if !parallel && (pods::is_deleting(&pod) || !self.is_available(&pod)) => return,
                Some(_) => {}
            }
        }
        self.scale_down(parallel);
        if self.plan.create.is_empty() && self.plan.delete.is_empty() && self.condemned.is_empty() {
            self.roll();
        }
    }

    fn scale_down(&mut self, parallel: bool) {
        if parallel {
            self.plan.delete.extend(self.condemned.iter().filter(|pod| !pods::is_deleting(pod)).cloned());
        } else if let Some(last) = self.condemned.first().filter(|pod| !pods::is_deleting(pod)) {
            self.plan.delete.push(last.clone());
        }
    }

    /// Deletes the highest pod of another revision; each has to be healthy before the next goes.
    fn roll(&mut self) {
        let strategy = self.set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
        if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete") {
            return;
        }
        let from = self.first + self.partition().unwrap_or(0);
        for pod in self.slots.range(from..).rev().map(|(_, pod)| pod) {
            if self.revision_of(pod) != self.update.name && !pods::is_deleting(pod) {
                self.plan.delete.push(pod.clone());
                return;
            }
            if pods::is_deleting(pod) || !self.is_available(pod) {
                return;
            }
        }
    }

    fn status(&self, pods: &[Arc<Pod>]) -> Option<StatefulSet> {
        let old = self.set.status.clone().unwrap_or_default();
        let count =
            |of: &dyn Fn(&Pod) -> bool| i32::try_from(pods.iter().filter(|pod| of(pod)).count()).unwrap_or(i32::MAX);
        // What is deleted now does not count, so that it comes again from the revision that is wanted then.
        let leaves = |pod: &Pod| self.plan.delete.iter().any(|gone| gone.metadata.uid == pod.metadata.uid);
        let live = |pod: &Pod| !pods::is_deleting(pod) && !pods::is_terminal(pod) && !leaves(pod);
        let nonzero = |count: i32| (count != 0).then_some(count);
        let mut new = StatefulSetStatus {
            observed_generation: self.set.metadata.generation,
            replicas: count(&|_| true),
            ready_replicas: nonzero(count(&|pod| live(pod) && pods::is_ready(pod))),
            available_replicas: Some(count(&|pod| live(pod) && self.is_available(pod))),
            current_replicas: nonzero(count(&|pod| live(pod) && self.revision_of(pod) == self.current.name)),
            updated_replicas: nonzero(count(&|pod| live(pod) && self.revision_of(pod) == self.update.name)),
            current_revision: Some(self.current.name.clone()),
            update_revision: Some(self.update.name.clone()),
            collision_count: old.collision_count.or(Some(0)),
            conditions: old.conditions.clone(),
        };
        let all = new.updated_replicas.unwrap_or(0) == new.replicas && new.ready_replicas.unwrap_or(0) == new.replicas;
        if self.current.name != self.update.name && all && self.partition().unwrap_or(0) == 0 {
            new.current_replicas = new.updated_replicas;
            new.current_revision.clone_from(&new.update_revision);
        }
        (new != old).then(|| StatefulSet { status: Some(new), ..self.set.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::build::{merge, time};
    use serde_json::{Value, json};

    fn set(change: Value) -> StatefulSet {
        let mut value = json!({"metadata": {"name": "db", "namespace": "n", "uid": "s", "generation": 1},
            "spec": {"replicas": 3, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
            "template": {"metadata": {"labels": {"app": "db"}}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}]}});
        merge(&mut value, change);
        serde_json::from_value(value).unwrap()
    }

    fn revision(name: &str) -> Revision {
        Revision { name: name.into(), template: set(json!({})).spec.unwrap().template }
    }

    struct World {
        set: StatefulSet,
        pods: Vec<Arc<Pod>>,
        current: Revision,
        update: Revision,
        log: Vec<String>,
    }

    impl World {
        fn new(change: Value) -> Self {
            World {
                set: set(change),
                pods: Vec::new(),
                current: revision("one"),
                update: revision("one"),
                log: Vec::new(),
            }
        }

        /// One round; what is made is ready in the next, and what is deleted is gone.
        fn step(&mut self) -> bool {
            let plan = plan(&self.set, &self.pods, &self.current, &self.update, true, time("2024-01-01T00:00:00Z"));
            let name = |pod: &Pod| pod.metadata.name.clone().unwrap();
            for mut pod in plan.create.clone() {
                self.log.push(format!("+{} {}", name(&pod), pod.metadata.labels.as_ref().unwrap()[HASH_LABEL]));
                pod.metadata.uid = Some(format!("{}-{}", name(&pod), self.log.len()));
                let status = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
                pod.status = serde_json::from_value(status).unwrap();
                self.pods.push(Arc::new(pod));
            }
            for pod in &plan.delete {
                self.log.push(format!("-{}", name(pod)));
                self.pods.retain(|own| name(own) != name(pod));
            }
            if let Some(changed) = plan.status.clone() {
                self.set.status = changed.status;
            }
            plan.status.is_some() || !plan.create.is_empty() || !plan.delete.is_empty()
        }

        fn settle(&mut self) -> Vec<String> {
            let settled = (0..50).any(|_| !self.step());
            assert!(settled, "does not settle: {:?}", self.log);
            std::mem::take(&mut self.log)
        }
    }

    #[test]
    fn up_in_order_and_down_in_reverse() {
        let mut world = World::new(json!({}));
        assert_eq!(world.settle(), ["+db-0 one", "+db-1 one", "+db-2 one"]);
        let spec = world.pods[1].spec.as_ref().unwrap();
        assert_eq!((spec.hostname.as_deref(), spec.subdomain.as_deref()), (Some("db-1"), Some("db")));
        let claim = spec.volumes.as_ref().unwrap()[0].persistent_volume_claim.as_ref().unwrap();
        assert_eq!(claim.claim_name, "data-db-1");
        assert_eq!(claims(&world.set, 1)[0].metadata.name.as_deref(), Some("data-db-1"));
        world.set.spec.as_mut().unwrap().replicas = Some(1);
        assert_eq!(world.settle(), ["-db-2", "-db-1"]);
    }

    #[test]
    fn one_that_is_not_ready_holds_up_the_next() {
        let mut world = World::new(json!({}));
        world.step();
        Arc::make_mut(&mut world.pods[0]).status = None;
        assert_eq!(world.settle(), ["+db-0 one"]);
        let mut parallel = World::new(json!({"spec": {"podManagementPolicy": "Parallel"}}));
        parallel.step();
        assert_eq!(parallel.pods.len(), 3);
    }

    #[test]
    fn rolls_from_the_highest_down_to_the_partition() {
        let mut world = World::new(json!({}));
        world.settle();
        world.update = revision("two");
        world.set.spec.as_mut().unwrap().update_strategy =
            serde_json::from_value(json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 1}})).unwrap();
        assert_eq!(world.settle(), ["-db-2", "+db-2 two", "-db-1", "+db-1 two"]);
        let status = world.set.status.as_ref().unwrap();
        assert_eq!((status.current_replicas, status.updated_replicas), (Some(1), Some(2)));
        world.set.spec.as_mut().unwrap().update_strategy = None;
        assert_eq!(world.settle(), ["-db-0", "+db-0 two"]);
        assert_eq!(world.set.status.as_ref().unwrap().current_revision.as_deref(), Some("two"));
    }
}
