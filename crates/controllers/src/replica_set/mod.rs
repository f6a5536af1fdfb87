//! Replica sets and replication controllers: keep so many pods alive.
//!
//! Both kinds run on one core; [`kinds`] says how each looks, [`plan`] decides, this file acts.

mod kinds;
mod plan;

use std::sync::Arc;
use std::time::Duration;

use controller_kit::{Context, Controller, Error, Expectations, Handle, Key, Next, Remove, Row, Runner, Writer, owner};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;

use crate::batch::slow_start;
use crate::pods;
use kinds::Replicated;
pub(crate) use plan::Failure;

pub(crate) static REPLICA_SET: Row = Row {
    name: "replicaset",
    account: "replicaset-controller",
    inputs: &["ReplicaSet", "Pod"],
    outputs: &["Pod", "ReplicaSet/status", "Event"],
    workers: 8,
};

pub(crate) static REPLICATION_CONTROLLER: Row = Row {
    name: "replication",
    account: "replication-controller",
    inputs: &["ReplicationController", "Pod"],
    outputs: &["Pod", "ReplicationController/status", "Event"],
    workers: 4,
};

pub(crate) async fn start<S: Replicated>(context: Context) {
    let (sets, pods) = (context.informer::<S>(), context.informer::<Pod>());
    let store = sets.store().clone();
    let wake = move |pod: &Pod| match owner::controller_of(pod) {
        Some(owner) if owner.kind == S::kind(&()) => {
            vec![Key::new(pod.metadata.namespace.as_deref().unwrap_or_default(), &owner.name)]
        }
        Some(_) => Vec::new(),
        None => {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let sets = store.list_namespace(namespace).into_iter();
            let wants = |set: &Arc<S>| owner::matches(set.selector().ok().flatten().as_ref(), owner::labels(pod));
            sets.filter(wants).map(|set| Key::of(&*set)).collect()
        }
    };
    let runner = Runner::new(&context).primary(&sets).watch(&pods, wake);
    let writer = context.writer();
    runner.run(Driver { context, writer, sets, pods, expectations: Expectations::default() }).await;
}

struct Driver<S> {
    context: Context,
    writer: Writer,
    sets: Handle<S>,
    pods: Handle<Pod>,
    expectations: Expectations,
}

impl<S: Replicated> Controller for Driver<S> {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(set) = self.sets.store().get(key) else {
            self.expectations.forget(key);
            return Ok(Next::Done);
        };
        let settled = self.expectations.satisfied(key, self.pods.store());
        let owned = self.claim(key, &set).await?;
        let active: Vec<Arc<Pod>> = owned.into_iter().filter(|pod| pods::is_active(pod)).collect();
        let deleting = set.meta().deletion_timestamp.is_some();
        let mut failure = None;
        let mut error = None;
        if settled
            && !deleting
            && let Err((what, cause)) = self.scale(key, &set, &active).await
        {
            failure = Some(what);
            error = Some(cause);
        }
        let now = self.context.now();
        if let Some(changed) = plan::status(&*set, &active, failure, settled, now) {
            self.writer.replace_status(&changed).await?;
        }
        match error {
            Some(error) => Err(error),
            None => Ok(pods::next_available(&active, set.min_ready_seconds(), now)
                .and_then(|left| left.to_std().ok())
                .map_or(Next::Done, |left| Next::After(left + Duration::from_millis(1)))),
        }
    }
}

impl<S: Replicated> Driver<S> {
    /// The pods of `set`, after adopting and releasing what its selector says.
    async fn claim(&self, key: &Key, set: &S) -> Result<Vec<Arc<Pod>>, Error> {
        let uid = set.meta().uid.as_deref().unwrap_or_default();
        let selector = set.selector().map_err(|reason| Error::Invalid { kind: S::NAME, key: key.clone(), reason })?;
        let store = self.pods.store();
        let chosen = |pod: &Pod| owner::matches(selector.as_ref(), owner::labels(pod));
        let orphans = store.orphans(&key.namespace).into_iter().filter(|pod| pods::is_active(pod)).collect();
        let deleting = set.meta().deletion_timestamp.is_some();
        let mut claims = owner::claim(deleting, store.children(uid), orphans, chosen);
        crate::adopt::carry_out(&self.writer, set, &mut claims, None, |pod| self.expectations.wrote(key, pod)).await?;
        Ok(claims.owned)
    }

    async fn scale(&self, key: &Key, set: &S, active: &[Arc<Pod>]) -> Result<(), (Failure, Error)> {
        let siblings = self.siblings(set);
        match plan::scale(set, active, &siblings, self.context.now()) {
            plan::Step::Nothing => Ok(()),
            plan::Step::Create(count) => self.create(key, set, count).await,
            plan::Step::Delete(pods) => self.delete(key, set, &pods).await,
        }
    }

    /// Active pods of the sets that have the same controller as `set`, itself among them.
    fn siblings(&self, set: &S) -> Vec<Arc<Pod>> {
        let Some(parent) = owner::controller_of(set) else { return Vec::new() };
        let sets = self.sets.store().children(&parent.uid);
        let uids = sets.iter().filter_map(|set| set.meta().uid.as_deref());
        uids.flat_map(|uid| self.pods.store().children(uid)).filter(|pod| pods::is_active(pod)).collect()
    }

    async fn create(&self, key: &Key, set: &S, count: usize) -> Result<(), (Failure, Error)> {
        let Some(template) = set.template() else { return Ok(()) };
        let base = set.meta().name.as_deref().unwrap_or_default();
        let pod = pods::from_template(template, &key.namespace, base, owner::controller_ref(set));
        let make = |_: usize| async {
            match self.writer.create(&pod).await {
                Ok(made) => {
                    self.expectations.wrote(key, &made);
                    let name = made.metadata.name.unwrap_or_default();
                    self.context.events.normal(set, "SuccessfulCreate", format!("Created pod: {name}"));
                    Ok(())
                }
                Err(error) if error.is_namespace_terminating() => Ok(()),
                Err(error) => {
                    let message = format!("Error creating: {}", crate::text(&error));
                    self.context.events.warning(set, "FailedCreate", message);
                    Err(error)
                }
            }
        };
        slow_start(count, make).await.map_err(|error| (Failure::create(&error), error))
    }

    async fn delete(&self, key: &Key, set: &S, victims: &[Arc<Pod>]) -> Result<(), (Failure, Error)> {
        let kill = |pod: Arc<Pod>| async move {
            let name = pod.metadata.name.clone().unwrap_or_default();
            match self.writer.delete::<Pod>(&Key::of(&*pod), &Remove::this(&*pod)).await {
                Ok(_) => {
                    self.expectations.deleted(key, &*pod);
                    self.context.events.normal(set, "SuccessfulDelete", format!("Deleted pod: {name}"));
                    Ok(())
                }
                Err(error) => {
                    let message = format!("Error deleting: {}", crate::text(&error));
                    self.context.events.warning(set, "FailedDelete", message);
                    Err(error)
                }
            }
        };
        let results = join_all(victims.iter().cloned().map(kill)).await;
        results.into_iter().collect::<Result<(), Error>>().map_err(|error| (Failure::delete(&error), error))
    }
}
