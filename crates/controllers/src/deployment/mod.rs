//! Deployments: roll pods from one template to the next through ReplicaSets, keeping enough of them available.
//!
//! [`plan`] decides, this file acts; the tests are in [`tests`].

mod plan;
mod scale;
mod status;
#[cfg(test)]
mod tests;
mod view;

use std::sync::Arc;
use std::time::Duration;

use controller_kit::{Context, Controller, Error, Handle, Key, Next, Remove, Row, Runner, Writer, owner};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;

use crate::pods;

pub(crate) use view::resolve;

pub(crate) static ROW: Row = Row {
    name: "deployment",
    account: "deployment-controller",
    inputs: &["Deployment", "ReplicaSet", "Pod"],
    outputs: &["ReplicaSet", "Deployment", "Deployment/status", "Event"],
    workers: 5,
};

pub(crate) async fn start(context: Context) {
    let deployments = context.informer::<Deployment>();
    let (sets, pods) = (context.informer::<ReplicaSet>(), context.informer::<Pod>());
    let store = deployments.store().clone();
    let by_set = move |set: &ReplicaSet| {
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        match owner::controller_of(set) {
            Some(owner) if owner.kind == "Deployment" => vec![Key::new(namespace, &owner.name)],
            Some(_) => Vec::new(),
            None => store
                .list_namespace(namespace)
                .iter()
                .filter(|deployment| chooses(deployment, set))
                .map(|deployment| Key::of(&**deployment))
                .collect(),
        }
    };
    let (deployment_store, set_store) = (deployments.store().clone(), sets.store().clone());
    // Only a Recreate rollout waits for pods to go; everything else shows in the sets' status.
    let by_pod = move |old: Option<&Pod>, new: Option<&Pod>| {
        let Some(gone) = old.filter(|_| new.is_none_or(pods::is_terminal)) else { return Vec::new() };
        let namespace = gone.metadata.namespace.as_deref().unwrap_or_default();
        let set = owner::controller_of(gone).and_then(|owner| set_store.find(namespace, &owner.name));
        let owner = set.as_ref().and_then(|set| owner::controller_of(&**set));
        let deployment = owner.and_then(|owner| deployment_store.find(namespace, &owner.name));
        deployment
            .filter(|deployment| view::is_recreate(deployment))
            .map(|found| Key::of(&*found))
            .into_iter()
            .collect()
    };
    let runner = Runner::new(&context).primary(&deployments).watch(&sets, by_set).watch_change(&pods, by_pod);
    let writer = context.writer();
    runner.run(Driver { context, writer, deployments, sets, pods }).await;
}

fn chooses(deployment: &Deployment, set: &ReplicaSet) -> bool {
    let selector = owner::selector(deployment.spec.as_ref().map(|spec| &spec.selector)).ok().flatten();
    owner::matches(selector.as_ref(), owner::labels(set))
}

struct Driver {
    context: Context,
    writer: Writer,
    deployments: Handle<Deployment>,
    sets: Handle<ReplicaSet>,
    pods: Handle<Pod>,
}

impl Controller for Driver {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(deployment) = self.deployments.store().get(key) else { return Ok(Next::Done) };
        let sets = self.claim(key, &deployment).await?;
        let running =
            sets.iter().filter_map(|set| set.metadata.uid.clone()).filter(|uid| self.has_running(uid)).collect();
        let sets = sets.iter().map(|set| ReplicaSet::clone(set)).collect();
        let inputs = plan::Inputs { deployment: &deployment, sets, running, now: self.context.now() };
        self.carry_out(key, &deployment, plan::plan(inputs)).await
    }
}

impl Driver {
    async fn claim(&self, key: &Key, deployment: &Deployment) -> Result<Vec<Arc<ReplicaSet>>, Error> {
        let uid = deployment.metadata.uid.as_deref().unwrap_or_default();
        let store = self.sets.store();
        let mut claims = owner::claim(
            deployment.metadata.deletion_timestamp.is_some(),
            store.children(uid),
            store.orphans(&key.namespace),
            |set| chooses(deployment, set),
        );
        crate::adopt::carry_out(&self.writer, deployment, &mut claims, None, |_| ()).await?;
        Ok(claims.owned)
    }

    fn has_running(&self, uid: &str) -> bool {
        self.pods.store().children(uid).iter().any(|pod| !pods::is_terminal(pod))
    }

    async fn carry_out(&self, key: &Key, deployment: &Deployment, plan: plan::Plan) -> Result<Next, Error> {
        if let Some(set) = &plan.create {
            self.create(key, deployment, set).await?;
        }
        for set in &plan.update {
            self.writer.replace(set).await?;
        }
        for message in plan.events {
            self.context.events.normal(deployment, "ScalingReplicaSet", message);
        }
        for set in &plan.delete {
            self.writer.delete::<ReplicaSet>(&Key::of(set), &Remove::this(set)).await?;
        }
        // The number is written with the status, which leaves the generation as it is.
        if let Some(revision) = plan.revision {
            let mut numbered = plan.status.unwrap_or_else(|| deployment.clone());
            numbered.metadata.annotations.get_or_insert_default().insert(view::REVISION.into(), revision);
            self.writer.replace_status(&numbered).await?;
        } else if let Some(status) = &plan.status {
            self.writer.replace_status(status).await?;
        }
        let again = plan.look_again_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        Ok(again.map_or(Next::Done, |seconds| Next::After(Duration::from_secs(seconds))))
    }

    async fn create(&self, key: &Key, deployment: &Deployment, set: &ReplicaSet) -> Result<(), Error> {
        let error = match self.writer.create(set).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_already_exists() => error,
            Err(error) if error.is_namespace_terminating() => return Ok(()),
            Err(error) => {
                let name = set.metadata.name.as_deref().unwrap_or_default();
                let message = format!("Failed to create new replica set \"{name}\": {}", crate::text(&error));
                self.context.events.warning(deployment, "FailedCreate", message);
                return Err(error);
            }
        };
        // The name is taken: by our own set that the cache does not show yet, or by another template's hash.
        let there: Option<ReplicaSet> = self.writer.read(&Key::of(set)).await?;
        let uid = deployment.metadata.uid.as_deref().unwrap_or_default();
        let template = view::spec(deployment).template;
        let ours = |there: &ReplicaSet| owner::is_controlled_by(there, uid) && view::same_template(there, &template);
        if !there.is_some_and(|there| ours(&there)) {
            let mut status = deployment.status.clone().unwrap_or_default();
            status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
            self.writer.replace_status(&Deployment { status: Some(status), ..deployment.clone() }).await?;
            return Err(Error::Stale { kind: "Deployment", key: key.clone() });
        }
        Err(error)
    }
}
