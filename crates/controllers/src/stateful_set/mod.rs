//! StatefulSets: pods with names and volumes of their own, made, rolled and removed in order.

mod plan;
mod retention;

use std::sync::Arc;
use std::time::Duration;

use controller_kit::{Context, Controller, Error, Expectations, Handle, Key, Next, Remove, Row, Runner, Writer, owner};
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};

use crate::revisions::{self, History};
use plan::{Plan, Revision, ordinal};

pub(crate) static ROW: Row = Row {
    name: "statefulset",
    account: "statefulset-controller",
    inputs: &["StatefulSet", "Pod", "ControllerRevision", "PersistentVolumeClaim"],
    outputs: &["Pod", "StatefulSet/status", "ControllerRevision", "PersistentVolumeClaim", "Event"],
    workers: 5,
};

pub(crate) async fn start(context: Context) {
    let (sets, pods) = (context.informer::<StatefulSet>(), context.informer::<Pod>());
    let history = context.informer::<ControllerRevision>();
    let claims = context.informer::<PersistentVolumeClaim>();
    let runner = Runner::new(&context).primary(&sets).watch(&pods, owned_by).watch(&history, owned_by).reads(&claims);
    let writer = context.writer();
    runner.run(Driver { context, writer, sets, pods, history, claims, expectations: Expectations::default() }).await;
}

fn owned_by<K: kube::Resource>(object: &K) -> Vec<Key> {
    let namespace = object.meta().namespace.as_deref().unwrap_or_default();
    let owner = owner::controller_of(object).filter(|owner| owner.kind == "StatefulSet");
    owner.map(|owner| Key::new(namespace, &owner.name)).into_iter().collect()
}

struct Driver {
    context: Context,
    writer: Writer,
    sets: Handle<StatefulSet>,
    pods: Handle<Pod>,
    history: Handle<ControllerRevision>,
    claims: Handle<PersistentVolumeClaim>,
    expectations: Expectations,
}

impl Controller for Driver {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(set) = self.sets.store().get(key) else {
            self.expectations.forget(key);
            return Ok(Next::Done);
        };
        let Some(spec) = set.spec.as_ref() else { return Ok(Next::Done) };
        let settled = self.expectations.satisfied(key, self.pods.store());
        let pods = self.claim(key, &set).await?;
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(Next::Done);
        }
        let collisions = set.status.as_ref().and_then(|status| status.collision_count);
        let history = revisions::sync(&self.writer, self.history.store(), &*set, &spec.template, collisions).await?;
        let update = Revision { name: name_of(&history.latest), template: spec.template.clone() };
        let current = current(&set, &history).unwrap_or_else(|| update.clone());
        let plan = plan::plan(&set, &pods, &current, &update, settled, self.context.now());
        self.set_claim_owners(key, &set, &pods).await?;
        let next = self.carry_out(key, &set, plan).await?;
        let used = |revision: &ControllerRevision| {
            let own = name_of(revision);
            let makes = |pod: &Arc<Pod>| owner::labels(&**pod).get(revisions::HASH_LABEL) == Some(&own);
            own == update.name || own == current.name || pods.iter().any(makes)
        };
        revisions::thin_out(&self.writer, &history, spec.revision_history_limit, used).await?;
        Ok(next)
    }
}

fn name_of(revision: &ControllerRevision) -> String {
    revision.metadata.name.clone().unwrap_or_default()
}

/// The revision that the set's status calls the current one.
fn current(set: &StatefulSet, history: &History) -> Option<Revision> {
    let name = set.status.as_ref()?.current_revision.clone()?;
    let template = revisions::template(history.find(&name)?)?;
    Some(Revision { name, template })
}

impl Driver {
    async fn claim(&self, key: &Key, set: &StatefulSet) -> Result<Vec<Arc<Pod>>, Error> {
        let selector = owner::selector(set.spec.as_ref().map(|spec| &spec.selector));
        let selector = selector.map_err(|reason| Error::Invalid { kind: "StatefulSet", key: key.clone(), reason })?;
        let (store, uid) = (self.pods.store(), set.metadata.uid.as_deref().unwrap_or_default());
        let chosen = |pod: &Pod| owner::matches(selector.as_ref(), owner::labels(pod)) && ordinal(set, pod).is_some();
        let deleting = set.metadata.deletion_timestamp.is_some();
        let mut claims = owner::claim(deleting, store.children(uid), store.orphans(&key.namespace), chosen);
        crate::adopt::carry_out(&self.writer, set, &mut claims, None, |pod| self.expectations.wrote(key, pod)).await?;
        Ok(claims.owned)
    }

    /// Gives the claims of all pods the owners that they are to go with, before any of the pods goes.
    async fn set_claim_owners(&self, key: &Key, set: &StatefulSet, pods: &[Arc<Pod>]) -> Result<(), Error> {
        for pod in pods {
            let Some(number) = ordinal(set, pod) else { continue };
            for wanted in plan::claims(set, number) {
                let name = wanted.metadata.name.as_deref().unwrap_or_default();
                let Some(claim) = self.claims.store().find(&key.namespace, name) else { continue };
                if let Some(changed) = retention::owned(set, pod, plan::is_wanted(set, number), &claim) {
                    self.writer.replace(&changed).await?;
                }
            }
        }
        Ok(())
    }

    async fn carry_out(&self, key: &Key, set: &StatefulSet, plan: Plan) -> Result<Next, Error> {
        for pod in &plan.create {
            self.create(key, set, pod).await?;
        }
        for pod in &plan.delete {
            self.writer.delete::<Pod>(&Key::of(&**pod), &Remove::this(&**pod)).await?;
            self.expectations.deleted(key, &**pod);
            self.tell(set, "delete", "SuccessfulDelete", pod, "successful");
        }
        if let Some(status) = &plan.status {
            self.writer.replace_status(status).await?;
        }
        let again = plan.look_again.and_then(|left| left.to_std().ok());
        Ok(again.map_or(Next::Done, |left| Next::After(left + Duration::from_millis(10))))
    }

    async fn create(&self, key: &Key, set: &StatefulSet, pod: &Pod) -> Result<(), Error> {
        for claim in ordinal(set, pod).map(|number| plan::claims(set, number)).unwrap_or_default() {
            if self.claims.store().get(&Key::of(&claim)).is_some() {
                continue;
            }
            match self.writer.create(&claim).await {
                Err(error) if !error.is_already_exists() => return Err(error),
                _ => {
                    let (claim, pod) =
                        (claim.metadata.name.unwrap_or_default(), pod.metadata.name.clone().unwrap_or_default());
                    let name = set.metadata.name.as_deref().unwrap_or_default();
                    let message = format!("create Claim {claim} Pod {pod} in StatefulSet {name} success");
                    self.context.events.normal(set, "SuccessfulCreate", message);
                }
            }
        }
        match self.writer.create(pod).await {
            Ok(made) => {
                self.expectations.wrote(key, &made);
                self.tell(set, "create", "SuccessfulCreate", pod, "successful");
                Ok(())
            }
            Err(error) if error.is_namespace_terminating() => Ok(()),
            Err(error) => {
                if !error.is_already_exists() {
                    let name = set.metadata.name.as_deref().unwrap_or_default();
                    let pod = pod.metadata.name.as_deref().unwrap_or_default();
                    let message =
                        format!("create Pod {pod} in StatefulSet {name} failed error: {}", crate::text(&error));
                    self.context.events.warning(set, "FailedCreate", message);
                }
                Err(error)
            }
        }
    }

    fn tell(&self, set: &StatefulSet, verb: &str, reason: &str, pod: &Pod, how: &str) {
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let pod = pod.metadata.name.as_deref().unwrap_or_default();
        self.context.events.normal(set, reason, format!("{verb} Pod {pod} in StatefulSet {name} {how}"));
    }
}
