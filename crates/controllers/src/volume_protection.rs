//! Claims and volumes that are in use are not deleted: a finalizer holds them back, and is taken away when nobody uses
//! them any more.

use controller_kit::{Cached, Context, Controller, Error, Handle, Key, Next, Object, Row, Runner, Writer};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::ListParams;

const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";

pub(crate) static CLAIMS: Row = Row {
    name: "persistentvolumeclaim-protection",
    account: "pvc-protection-controller",
    inputs: &["PersistentVolumeClaim", "Pod"],
    outputs: &["PersistentVolumeClaim"],
    workers: 1,
};

pub(crate) static VOLUMES: Row = Row {
    name: "persistentvolume-protection",
    account: "pv-protection-controller",
    inputs: &["PersistentVolume"],
    outputs: &["PersistentVolume"],
    workers: 1,
};

pub(crate) async fn start_claims(context: Context) {
    let (claims, pods) = (context.informer::<PersistentVolumeClaim>(), context.informer::<Pod>());
    let store = claims.store().clone();
    let runner = Runner::new(&context).primary(&claims).watch(&pods, move |pod| {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let keys = claims_of(pod).into_iter().map(|name| Key::new(namespace, &name));
        // Only a claim that is to go waits for pods.
        keys.filter(|key| store.get(key).is_some_and(|claim| claim.metadata.deletion_timestamp.is_some())).collect()
    });
    runner.run(Claims { writer: context.writer(), context, claims, pods }).await;
}

pub(crate) async fn start_volumes(context: Context) {
    let volumes = context.informer::<PersistentVolume>();
    let runner = Runner::new(&context).primary(&volumes);
    runner.run(Volumes { writer: context.writer(), volumes }).await;
}

struct Claims {
    context: Context,
    writer: Writer,
    claims: Handle<PersistentVolumeClaim>,
    pods: Handle<Pod>,
}

struct Volumes {
    writer: Writer,
    volumes: Handle<PersistentVolume>,
}

impl Controller for Claims {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(claim) = self.claims.store().get(key) else { return Ok(Next::Done) };
        if claim.metadata.deletion_timestamp.is_none() {
            return protect(&self.writer, &*claim, CLAIM_FINALIZER).await;
        }
        let cached = self.pods.store().list_namespace(&key.namespace);
        if cached.iter().any(|pod| uses(pod, &key.name)) {
            return Ok(Next::Done);
        }
        // A pod may be too new for the cache, and it would lose its data.
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), &key.namespace);
        let pods = api.list(&ListParams::default()).await.map_err(|source| Error::Api {
            verb: "list",
            kind: "Pod".into(),
            key: key.clone(),
            source: Box::new(source),
        })?;
        if pods.items.iter().any(|pod| uses(pod, &key.name)) {
            return Ok(Next::Done);
        }
        release(&self.writer, &*claim, CLAIM_FINALIZER).await
    }
}

impl Controller for Volumes {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(volume) = self.volumes.store().get(key) else { return Ok(Next::Done) };
        if volume.metadata.deletion_timestamp.is_none() {
            return protect(&self.writer, &*volume, VOLUME_FINALIZER).await;
        }
        let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
        if phase == Some("Bound") {
            return Ok(Next::Done);
        }
        release(&self.writer, &*volume, VOLUME_FINALIZER).await
    }
}

/// Adds the finalizer, unless it is there.
async fn protect<K: Object + Cached>(writer: &Writer, object: &K, finalizer: &str) -> Result<Next, Error> {
    if has(object, finalizer) {
        return Ok(Next::Done);
    }
    let mut changed = object.clone();
    changed.meta_mut().finalizers.get_or_insert_default().push(finalizer.into());
    writer.replace(&changed).await.map(|_| Next::Done)
}

/// Takes the finalizer away.
async fn release<K: Object + Cached>(writer: &Writer, object: &K, finalizer: &str) -> Result<Next, Error> {
    if !has(object, finalizer) {
        return Ok(Next::Done);
    }
    let mut changed = object.clone();
    changed.meta_mut().finalizers.get_or_insert_default().retain(|one| one != finalizer);
    match writer.replace(&changed).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(Next::Done),
    }
}

fn has<K: Object>(object: &K, finalizer: &str) -> bool {
    object.meta().finalizers.iter().flatten().any(|one| one == finalizer)
}

/// Whether a pod holds the claim: one that no node has yet is not started any more with a claim that goes.
fn uses(pod: &Pod, claim: &str) -> bool {
    let scheduled = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).is_some_and(|node| !node.is_empty());
    scheduled && claims_of(pod).iter().any(|name| name == claim)
}

/// Names of the claims that a pod refers to, or has made for itself.
fn claims_of(pod: &Pod) -> Vec<String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(claim), _) => Some(claim.claim_name.clone()),
            (None, Some(_)) => Some(format!("{name}-{}", volume.name)),
            (None, None) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn who_uses_a_claim() {
        let pod = |node: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"nodeName": node, "containers": [],
                "volumes": [{"name": "a", "persistentVolumeClaim": {"claimName": "data"}},
                    {"name": "b", "ephemeral": {}}, {"name": "c", "emptyDir": {}}]}}))
            .unwrap()
        };
        assert_eq!(claims_of(&pod("")), ["data", "p-b"]);
        assert!(uses(&pod("n"), "data") && uses(&pod("n"), "p-b") && !uses(&pod("n"), "other"));
        assert!(!uses(&pod(""), "data"), "no node has it");
    }
}
