//! Garbage collection: what has lost its owners goes; what is deleted in the foreground waits for what it owns; what
//! is deleted as an orphanage lets its dependents go first.
//!
//! Watches the metadata of every resource that can be deleted, and finds new ones when definitions change. Before it
//! acts it reads the object, and the owners it has not seen, from the server.

mod graph;
mod watches;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use controller_kit::{Context, Controller, Error, Key, Next, Queue, Row, Runner};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::watch;

use crate::discovery::Found;
use graph::{FOREGROUND, Graph, Item, ORPHAN, Owner, Verdict, group_of, judge};

pub(crate) static ROW: Row = Row {
    name: "garbage-collector",
    account: "generic-garbage-collector",
    inputs: &["*"],
    outputs: &["*"],
    workers: 16,
};

pub(crate) async fn start(context: Context) {
    let shared = Arc::new(Shared::default());
    let listed = shared.clone();
    let runner = Runner::new(&context).after(async move { listed.wait_listed().await });
    let watching = watches::run(context.clone(), shared.clone(), runner.queue());
    let queue = runner.queue();
    let collecting = runner.run(Driver { context, shared, queue });
    futures::future::join(watching, collecting).await;
}

/// What the watches and the workers share.
#[derive(Default)]
struct Shared {
    graph: Mutex<Graph>,
    /// Every resource found so far; an index into it never changes its meaning.
    resources: Mutex<Vec<Found>>,
    /// Those that cannot be asked at present, since the API service of their extension server is gone.
    away: Mutex<HashSet<usize>>,
    /// How many resources have been listed, and how many are to be; `None` before discovery.
    listed: watch::Sender<(usize, Option<usize>)>,
}

impl Shared {
    /// Waits until every resource has been listed once, so that few owners have to be asked for. One that can't be
    /// listed is not waited for long.
    async fn wait_listed(&self) {
        let mut listed = self.listed.subscribe();
        let all = listed.wait_for(|(have, want)| want.is_some_and(|want| *have >= want));
        if tokio::time::timeout(LISTED_WITHIN, all).await.is_err() {
            tracing::warn!("some resources could not be listed yet; collecting without them");
        }
    }

    fn resource(&self, at: usize) -> Option<Found> {
        self.resources.lock().get(at).cloned()
    }

    /// The resource that an owner reference names, in whatever version is served.
    fn owner_resource(&self, owner: &OwnerReference) -> Option<Found> {
        let group = group_of(owner);
        let resources = self.resources.lock();
        let away = self.away.lock();
        let named = |found: &Found| found.resource.kind == owner.kind && found.resource.group == group;
        let mut all = resources.iter().enumerate();
        all.find(|(at, found)| named(found) && !away.contains(at)).map(|(_, found)| found.clone())
    }
}

struct Driver {
    context: Context,
    shared: Arc<Shared>,
    queue: Arc<Queue>,
}

type Attempt = Result<Next, kube::Error>;

impl Controller for Driver {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let uid = &*key.name;
        let Some(item) = self.shared.graph.lock().get(uid).cloned() else { return Ok(Next::Done) };
        if self.shared.away.lock().contains(&item.resource) {
            // It is looked at when its server is back.
            return Ok(Next::Done);
        }
        let about = Key::new(&item.namespace, &item.name);
        let Some(found) = self.shared.resource(item.resource) else { return Ok(Next::Done) };
        match self.collect(uid, &item, &found).await {
            Ok(next) => Ok(next),
            // Gone meanwhile; that is on the way.
            Err(error) if is_about_object(&error) => Ok(Next::Done),
            Err(source) => {
                Err(Error::Api { verb: "collect", kind: found.name(), key: about, source: Box::new(source) })
            }
        }
    }
}

impl Driver {
    async fn collect(&self, uid: &str, item: &Item, found: &Found) -> Attempt {
        if !item.deleting && self.is_well_owned(item) {
            return Ok(Next::Done);
        }
        let api = self.api(found, &item.namespace);
        let live = match read(&api, &item.name).await? {
            Some(live) if live.uid.as_deref() == Some(uid) => live,
            _ => {
                self.forget(uid);
                return Ok(Next::Done);
            }
        };
        let now = Item::new(item.resource, &live);
        if now.deleting && now.orphan {
            return self.orphan(uid, &now, &live, &api).await;
        }
        if now.waits_for_dependents() {
            return self.finish_foreground(uid, &now, found, &live, &api).await;
        }
        if now.deleting || now.owners.is_empty() {
            return Ok(Next::Done);
        }
        let mut owners = Vec::new();
        for owner in &now.owners {
            match self.state_of(owner, &now, found).await? {
                Some(state) => owners.push((owner.clone(), state)),
                // The owner's kind can't be read, so nothing can be said.
                None => return Ok(Next::Done),
            }
        }
        let waited_for = owners.iter().any(|(_, state)| *state == Owner::Waiting);
        let has_dependents = !self.shared.graph.lock().dependents(uid).is_empty()
            || waited_for && self.has_unseen_dependent(uid, &now, found, |_| true).await?;
        match judge(&owners, has_dependents) {
            Verdict::Keep => {}
            Verdict::Release(lost) => drop(self.release(&live, &lost, &api).await?),
            Verdict::Delete { foreground } => {
                let live = if foreground && self.closes_circle(uid) { self.unblock(&live, &api).await? } else { live };
                let policy = if now.orphan {
                    PropagationPolicy::Orphan
                } else if foreground || now.foreground {
                    PropagationPolicy::Foreground
                } else {
                    PropagationPolicy::Background
                };
                self.delete(&live, policy, &api).await?;
            }
        }
        Ok(Next::Done)
    }

    /// Whether one of its own dependents waits already, perhaps for this one.
    fn closes_circle(&self, uid: &str) -> bool {
        self.shared_dependents(uid).iter().any(Item::waits_for_dependents)
    }

    /// Makes an object hold back none of its owners any more: in a circle each would wait for the next for ever.
    async fn unblock(&self, live: &ObjectMeta, api: &Api<DynamicObject>) -> Result<ObjectMeta, kube::Error> {
        let mut owners = live.owner_references.clone().unwrap_or_default();
        owners.iter_mut().for_each(|owner| owner.block_owner_deletion = Some(false));
        let patch =
            json!({"metadata": {"uid": live.uid, "resourceVersion": live.resource_version, "ownerReferences": owners}});
        self.patch(live, &patch, api).await
    }

    /// Whether all owners are known to be there, by the graph alone.
    fn is_well_owned(&self, item: &Item) -> bool {
        let graph = self.shared.graph.lock();
        item.owners.iter().all(|owner| graph.get(&owner.uid).is_some_and(|owner| !owner.waits_for_dependents()))
    }

    /// What has become of `owner`; nothing if its kind is not served or its place makes no sense.
    async fn state_of(&self, owner: &OwnerReference, item: &Item, found: &Found) -> Result<Option<Owner>, kube::Error> {
        {
            let graph = self.shared.graph.lock();
            if let Some(known) = graph.get(&owner.uid) {
                return Ok(Some(if known.waits_for_dependents() { Owner::Waiting } else { Owner::There }));
            }
            if graph.is_gone(&owner.uid) {
                return Ok(Some(Owner::Gone));
            }
        }
        let Some(kind) = self.shared.owner_resource(owner) else { return Ok(None) };
        if kind.namespaced && !found.namespaced {
            return Ok(None);
        }
        let live = read(&self.api(&kind, &item.namespace), &owner.name).await?;
        if live.is_some_and(|live| live.uid.as_ref() == Some(&owner.uid)) {
            return Ok(Some(Owner::There));
        }
        self.shared.graph.lock().mark_gone(&owner.uid);
        Ok(Some(Owner::Gone))
    }

    /// Lets all dependents of an object go, and then the object. While one of them cannot be asked it is kept, and looked
    /// at again when their server is back.
    async fn orphan(&self, uid: &str, item: &Item, live: &ObjectMeta, api: &Api<DynamicObject>) -> Attempt {
        let mut waits = false;
        for dependent in self.shared_dependents(uid) {
            if self.shared.away.lock().contains(&dependent.resource) {
                waits = true;
                continue;
            }
            let Some(found) = self.shared.resource(dependent.resource) else { continue };
            let theirs = self.api(&found, &dependent.namespace);
            let Some(current) = read(&theirs, &dependent.name).await? else { continue };
            self.release(&current, &[uid.to_owned()], &theirs).await?;
        }
        if waits {
            tracing::debug!(name = item.name, "waits for the server of its dependents");
            return Ok(Next::Done);
        }
        tracing::debug!(name = item.name, "dependents are orphaned");
        self.drop_finalizer(live, ORPHAN, api).await
    }

    /// Lets an object go once nothing that blocks it is left.
    async fn finish_foreground(
        &self,
        uid: &str,
        item: &Item,
        found: &Found,
        live: &ObjectMeta,
        api: &Api<DynamicObject>,
    ) -> Attempt {
        let blocks = |owner: &OwnerReference| owner.block_owner_deletion == Some(true);
        let blocked = |dependent: &Item| dependent.owners.iter().filter(|owner| owner.uid == uid).any(blocks);
        if self.shared_dependents(uid).iter().any(blocked)
            || self.has_unseen_dependent(uid, item, found, blocks).await?
        {
            // Each of them points here again when it goes.
            tracing::debug!(name = item.name, "waits for its dependents");
            return Ok(Next::Done);
        }
        self.drop_finalizer(live, FOREGROUND, api).await
    }

    /// Whether the server has a dependent of `uid` whose reference is as `wanted`. Each resource has a watch of its own,
    /// and that of the owners may be ahead of that of their dependents: one made or adopted a moment ago is not in the
    /// graph then. When its watch brings it, it is looked at, and when it goes, its owner is.
    async fn has_unseen_dependent(
        &self,
        uid: &str,
        item: &Item,
        found: &Found,
        wanted: impl Fn(&OwnerReference) -> bool,
    ) -> Result<bool, kube::Error> {
        let resources = self.shared.graph.lock().owned_by(&found.resource.group, &found.resource.kind);
        for dependent in resources.into_iter().filter_map(|at| self.shared.resource(at)) {
            let namespace = if dependent.namespaced && found.namespaced { item.namespace.as_str() } else { "" };
            let api = match namespace {
                "" => Api::all_with(self.context.client.clone(), &dependent.resource),
                namespace => self.api(&dependent, namespace),
            };
            let all = match api.list_metadata(&ListParams::default()).await {
                Ok(all) => all,
                // No longer served.
                Err(kube::Error::Api(status)) if status.code == 404 => continue,
                Err(error) => return Err(error),
            };
            let owners = all.items.iter().flat_map(|one| one.metadata.owner_references.iter().flatten());
            if owners.into_iter().any(|owner| owner.uid == uid && wanted(owner)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn shared_dependents(&self, uid: &str) -> Vec<Item> {
        let graph = self.shared.graph.lock();
        graph.dependents(uid).iter().filter_map(|uid| graph.get(uid).cloned()).collect()
    }

    fn forget(&self, uid: &str) {
        // When its deletion is seen the graph no longer knows whom it held back, so they are looked at now.
        let look = self.shared.graph.lock().remove(uid);
        watches::look_at(&self.queue, look);
    }

    async fn release(
        &self,
        live: &ObjectMeta,
        lost: &[String],
        api: &Api<DynamicObject>,
    ) -> Result<ObjectMeta, kube::Error> {
        let owners = live.owner_references.iter().flatten();
        let kept: Vec<&OwnerReference> = owners.filter(|owner| !lost.contains(&owner.uid)).collect();
        let kept = if kept.is_empty() { serde_json::Value::Null } else { json!(kept) };
        let patch =
            json!({"metadata": {"uid": live.uid, "resourceVersion": live.resource_version, "ownerReferences": kept}});
        self.patch(live, &patch, api).await
    }

    async fn drop_finalizer(&self, live: &ObjectMeta, finalizer: &str, api: &Api<DynamicObject>) -> Attempt {
        let kept: Vec<&String> = live.finalizers.iter().flatten().filter(|have| *have != finalizer).collect();
        let kept = if kept.is_empty() { serde_json::Value::Null } else { json!(kept) };
        let patch =
            json!({"metadata": {"uid": live.uid, "resourceVersion": live.resource_version, "finalizers": kept}});
        self.patch(live, &patch, api).await?;
        Ok(Next::Done)
    }

    async fn patch(
        &self,
        live: &ObjectMeta,
        patch: &serde_json::Value,
        api: &Api<DynamicObject>,
    ) -> Result<ObjectMeta, kube::Error> {
        let name = live.name.as_deref().unwrap_or_default();
        api.patch_metadata(name, &PatchParams::default(), &Patch::Merge(patch)).await.map(|patched| patched.metadata)
    }

    async fn delete(
        &self,
        live: &ObjectMeta,
        policy: PropagationPolicy,
        api: &Api<DynamicObject>,
    ) -> Result<(), kube::Error> {
        let preconditions =
            Some(Preconditions { uid: live.uid.clone(), resource_version: live.resource_version.clone() });
        let params = DeleteParams { propagation_policy: Some(policy), preconditions, ..DeleteParams::default() };
        api.delete(live.name.as_deref().unwrap_or_default(), &params).await.map(drop)
    }

    fn api(&self, found: &Found, namespace: &str) -> Api<DynamicObject> {
        if found.namespaced {
            Api::namespaced_with(self.context.client.clone(), namespace, &found.resource)
        } else {
            Api::all_with(self.context.client.clone(), &found.resource)
        }
    }
}

/// What the server has of an object; nothing only if its resource is served and has no such object.
async fn read(api: &Api<DynamicObject>, name: &str) -> Result<Option<ObjectMeta>, kube::Error> {
    match api.get_metadata(name).await {
        Ok(live) => Ok(Some(live.metadata)),
        Err(error) if is_about_object(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether it says that there is no such object, and not that there is no such resource: of a group that is not served
/// at all (a plain text) or not with this resource (a `Status` in words of its own).
fn is_about_object(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.reason == "NotFound" && status.message != NO_RESOURCE)
}

const NO_RESOURCE: &str = "the server could not find the requested resource";
/// How long the first lists are waited for.
const LISTED_WITHIN: Duration = Duration::from_secs(30);
/// Pause between a change of definitions and asking discovery, so that many changes make one question.
const REDISCOVER_AFTER: Duration = Duration::from_millis(500);
/// Resources never collected: they own nothing and are many, or are made and deleted by their own kind of life.
const IGNORED: &[(&str, &str)] = &[("", "events"), ("events.k8s.io", "events")];

/// Resources to watch, by group and plural.
fn collectable(found: Vec<Found>) -> HashMap<(String, String), Found> {
    let wanted = found.into_iter().filter(|one| ["list", "watch", "delete"].iter().all(|verb| one.can(verb)));
    wanted
        .map(|one| ((one.resource.group.clone(), one.resource.plural.clone()), one))
        .filter(|((group, plural), _)| !IGNORED.contains(&(group.as_str(), plural.as_str())))
        .collect()
}
