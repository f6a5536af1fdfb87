//! Namespaces that are being deleted: delete all they contain, say what remains, then let them go.
//!
//! What a namespace contains is asked of discovery each time, so that custom resources are not forgotten.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use controller_kit::conditions::{self, Condition};
use controller_kit::{Context, Controller, Error, Handle, Key, Next, Queue, Row, Runner, Writer};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition, NamespaceStatus, Pod};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, ListParams};
use kube::runtime::{metadata_watcher, watcher};
use parking_lot::Mutex;

use crate::discovery::{self, Found};

/// The finalizer that stands for this controller in `spec.finalizers`.
const FINALIZER: &str = "kubernetes";
/// When to look again at content whose going away nobody tells us of.
const REMAINING_RECHECK: Duration = Duration::from_secs(15);
/// Objects listed per page while counting what remains.
const LIST_PAGE_OBJECTS: u32 = 500;

pub(crate) static ROW: Row = Row {
    name: "namespace",
    account: "namespace-controller",
    inputs: &["Namespace", "Pod", "APIService"],
    outputs: &["Namespace/status", "Namespace/finalize", "*"],
    workers: 10,
};

/// Whether new objects may be made in it.
pub fn is_active(namespace: &Namespace) -> bool {
    let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref());
    namespace.metadata.deletion_timestamp.is_none() && phase != Some("Terminating")
}

pub(crate) async fn start(context: Context) {
    let (namespaces, pods) = (context.informer::<Namespace>(), context.informer::<Pod>());
    let services = context.informer::<APIService>();
    let store = namespaces.store().clone();
    let all = store.clone();
    // A namespace waits for groups that cannot be read; any change there is a reason to look again.
    let by_service = move |_: Option<&APIService>, _: Option<&APIService>| {
        let ending = all.list().into_iter().filter(|namespace| !is_active(namespace));
        ending.filter_map(|namespace| namespace.metadata.name.as_deref().map(Key::cluster)).collect()
    };
    let by_pod = move |old: Option<&Pod>, new: Option<&Pod>| {
        let Some(gone) = old.filter(|_| new.is_none()) else { return Vec::new() };
        let key = Key::cluster(gone.metadata.namespace.as_deref().unwrap_or_default());
        let waits = store.get(&key).is_some_and(|namespace| !is_active(&namespace));
        if waits { vec![key] } else { Vec::new() }
    };
    let runner = Runner::new(&context).primary(&namespaces).watch_change(&pods, by_pod);
    let runner = runner.watch_change(&services, by_service);
    let writer = context.writer();
    let (queue, waiting) = (runner.queue(), Arc::default());
    runner.run(Driver { context, writer, namespaces, queue, waiting }).await;
}

struct Driver {
    context: Context,
    writer: Writer,
    namespaces: Handle<Namespace>,
    queue: Arc<Queue>,
    /// Namespaces whose content is watched until some of it goes.
    waiting: Arc<Mutex<HashSet<Key>>>,
}

impl Controller for Driver {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(namespace) = self.namespaces.store().get(key) else { return Ok(Next::Done) };
        let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.clone()).unwrap_or_default();
        if namespace.metadata.deletion_timestamp.is_none() || !finalizers.iter().any(|name| name == FINALIZER) {
            return Ok(Next::Done);
        }
        let content = self.delete_content(&key.name).await;
        let mut current = namespace.as_ref().clone();
        if let Some(changed) = status(&current, &content, self.context.now()) {
            current = self.writer.replace_status(&changed).await?;
        }
        let failed: Vec<&str> = content.undiscovered.iter().chain(&content.undeleted).map(String::as_str).collect();
        if !failed.is_empty() {
            let (kind, source) = ("Namespace".into(), failed.join(", ").into());
            return Err(Error::Request { verb: "empty", kind, key: key.clone(), source });
        }
        if !content.is_gone() {
            self.wake_when_gone(key, content.waits);
            return Ok(Next::Done);
        }
        let spec = current.spec.get_or_insert_default();
        spec.finalizers = Some(finalizers.into_iter().filter(|name| name != FINALIZER).collect());
        match self.writer.replace_subresource("finalize", &current).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(Next::Done),
        }
    }
}

impl Driver {
    /// Looks at the namespace again as soon as something of these kinds has gone; or after a while, for what cannot be
    /// watched.
    fn wake_when_gone(&self, key: &Key, kinds: Vec<(Found, usize)>) {
        if !self.waiting.lock().insert(key.clone()) {
            return;
        }
        let (client, stop) = (self.context.client.clone(), self.context.stop.clone());
        let (queue, waiting, key) = (self.queue.clone(), self.waiting.clone(), key.clone());
        tokio::spawn(async move {
            let watched = kinds.into_iter().filter(|(kind, _)| kind.can("watch"));
            let gone = watched.map(|(kind, left)| Box::pin(something_goes(client.clone(), key.clone(), kind, left)));
            let gone: Vec<_> = gone.collect();
            let any = async {
                if gone.is_empty() { std::future::pending().await } else { futures::future::select_all(gone).await.0 }
            };
            // Time over is a reason to look again as well.
            if stop.run_until_cancelled(tokio::time::timeout(REMAINING_RECHECK, any)).await.is_some() {
                waiting.lock().remove(&key);
                queue.add(key);
            }
        });
    }

    async fn delete_content(&self, namespace: &str) -> Content {
        let mut content = Content::default();
        let found = match discovery::resources(&self.context.client).await {
            Ok((found, failed)) => {
                if !failed.is_empty() {
                    let each: Vec<String> =
                        failed.iter().map(|unread| format!("{}: {}", unread.group_version, unread.why)).collect();
                    let all = each.join(", ");
                    content.undiscovered.push(format!("unable to retrieve the complete list of server APIs: {all}"));
                }
                found
            }
            Err(error) => {
                content.undiscovered.push(error.to_string());
                Vec::new()
            }
        };
        for kind in found.iter().filter(|kind| kind.namespaced && kind.can("delete") && kind.can("list")) {
            if let Err(error) = self.delete_kind(namespace, kind, &mut content).await {
                content.undeleted.push(format!("{}: {error}", kind.name()));
            }
        }
        content
    }

    async fn delete_kind(&self, namespace: &str, kind: &Found, content: &mut Content) -> Result<(), kube::Error> {
        let api: Api<DynamicObject> = Api::namespaced_with(self.context.client.clone(), namespace, &kind.resource);
        let mut left = list(&api).await?;
        if left.is_empty() {
            return Ok(());
        }
        if kind.can("deletecollection") {
            api.delete_collection(&DeleteParams::background(), &ListParams::default()).await?;
        } else {
            for (name, _) in &left {
                match api.delete(name, &DeleteParams::background()).await {
                    Err(kube::Error::Api(status)) if status.code == 404 => {}
                    other => drop(other?),
                }
            }
        }
        left = list(&api).await?;
        if !left.is_empty() {
            content.remaining.insert(kind.name(), left.len());
            content.waits.push((kind.clone(), left.len()));
            for finalizer in left.into_iter().flat_map(|(_, finalizers)| finalizers) {
                *content.finalizers.entry(finalizer).or_default() += 1;
            }
        }
        Ok(())
    }
}

/// Returns when there are fewer than `left` objects of `kind`, or when that cannot be seen.
async fn something_goes(client: kube::Client, key: Key, kind: Found, left: usize) {
    let api: Api<DynamicObject> = Api::namespaced_with(client, &key.name, &kind.resource);
    let mut events = metadata_watcher(api, watcher::Config::default()).boxed();
    let mut listed = 0;
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::InitApply(_)) => listed += 1,
            Ok(watcher::Event::InitDone) if listed < left => return,
            Ok(watcher::Event::Delete(_)) => return,
            Ok(_) => {}
            // The time that is allowed for it goes on.
            Err(error) => {
                tracing::debug!(resource = kind.name(), %error, "what remains cannot be watched");
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Names and finalizers of all objects.
async fn list(api: &Api<DynamicObject>) -> Result<Vec<(String, Vec<String>)>, kube::Error> {
    let mut params = ListParams::default().limit(LIST_PAGE_OBJECTS);
    let mut all = Vec::new();
    loop {
        let page = api.list_metadata(&params).await?;
        all.extend(
            page.items.into_iter().map(|object| {
                (object.metadata.name.unwrap_or_default(), object.metadata.finalizers.unwrap_or_default())
            }),
        );
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(all),
        }
    }
}

/// What is left of a namespace after a try to empty it.
#[derive(Debug, Default)]
struct Content {
    undiscovered: Vec<String>,
    undeleted: Vec<String>,
    remaining: BTreeMap<String, usize>,
    finalizers: BTreeMap<String, usize>,
    /// Kinds of which something remains, and how much.
    waits: Vec<(Found, usize)>,
}

impl Content {
    fn is_gone(&self) -> bool {
        self.undiscovered.is_empty() && self.undeleted.is_empty() && self.remaining.is_empty()
    }
}

/// The namespace with its new status, if that differs.
fn status(namespace: &Namespace, content: &Content, now: DateTime<Utc>) -> Option<Namespace> {
    let listed = |counts: &BTreeMap<String, usize>, text: fn(&str, usize) -> String| {
        counts.iter().map(|(name, count)| text(name, *count)).collect::<Vec<_>>().join(", ")
    };
    let remaining = listed(&content.remaining, |name, count| match name.split_once('.') {
        Some(_) => format!("{name} has {count} resource instances"),
        None => format!("{name}. has {count} resource instances"),
    });
    let finalizers = listed(&content.finalizers, |name, count| format!("{name} in {count} resource instances"));
    let discovery = format!(
        "Discovery failed for some groups, {} failing: {}",
        content.undiscovered.len(),
        content.undiscovered.join(", ")
    );
    let deletion = format!(
        "Failed to delete all resource types, {} remaining: {}",
        content.undeleted.len(),
        content.undeleted.join(", ")
    );
    // Type, whether it holds, (reason, message) when it does, and when it does not.
    let rows = [
        (
            "NamespaceDeletionDiscoveryFailure",
            !content.undiscovered.is_empty(),
            ("DiscoveryFailed", discovery),
            ("ResourcesDiscovered", "All resources successfully discovered"),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            false,
            ("GroupVersionParsingFailed", String::new()),
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        (
            "NamespaceDeletionContentFailure",
            !content.undeleted.is_empty(),
            ("ContentDeletionFailed", deletion),
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        ),
        (
            "NamespaceContentRemaining",
            !content.remaining.is_empty(),
            ("SomeResourcesRemain", format!("Some resources are remaining: {remaining}")),
            ("ContentRemoved", "All content successfully removed"),
        ),
        (
            "NamespaceFinalizersRemaining",
            !content.finalizers.is_empty(),
            ("SomeFinalizersRemain", format!("Some content in the namespace has finalizers remaining: {finalizers}")),
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    ];
    let old = namespace.status.clone().unwrap_or_default();
    let mut list = old.conditions.clone().unwrap_or_default();
    for (kind, holds, bad, good) in rows {
        let (status, reason, message) = if holds { ("True", bad.0, bad.1) } else { ("False", good.0, good.1.into()) };
        conditions::set(&mut list, NamespaceCondition::make(kind, status, reason, &message, now));
    }
    let new = NamespaceStatus { phase: Some("Terminating".into()), conditions: Some(list) };
    (new != old).then(|| Namespace { status: Some(new), ..namespace.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::build::time;

    #[test]
    fn conditions_say_what_remains() {
        let content = Content {
            remaining: BTreeMap::from([("pods".into(), 2), ("widgets.example.com".into(), 1)]),
            finalizers: BTreeMap::from([("example.com/hold".into(), 1)]),
            ..Content::default()
        };
        let changed = status(&Namespace::default(), &content, time("2024-01-01T00:00:00Z")).unwrap();
        let list = changed.status.as_ref().unwrap().conditions.as_ref();
        let text =
            |kind| conditions::get(list, kind).map(|found| (found.status.clone(), found.message.clone().unwrap()));
        assert_eq!(
            text("NamespaceContentRemaining").unwrap(),
            (
                "True".into(),
                "Some resources are remaining: pods. has 2 resource instances, \
                 widgets.example.com has 1 resource instances"
                    .into()
            )
        );
        assert_eq!(text("NamespaceDeletionContentFailure").unwrap().0, "False");
        assert!(!content.is_gone());
        let later = time("2024-01-01T00:01:00Z");
        assert!(status(&changed, &content, later).is_none(), "the same again is not written");
        let empty = status(&changed, &Content::default(), later).unwrap();
        let list = empty.status.as_ref().unwrap().conditions.as_ref();
        assert_eq!(conditions::get(list, "NamespaceContentRemaining").unwrap().status, "False");
    }
}
