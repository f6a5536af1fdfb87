//! Feeds one informer from a list and a watch, for as long as the process wants it.
//!
//! Lists again only when the server says that the watch can't go on from where it was; errors are retried with
//! backoff and jitter.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use kube::Resource;
use kube::runtime::watcher;
use tokio_util::sync::CancellationToken;

use super::{Cached, Handle, Selector};

/// First pause after an error; doubles with each further one.
const BACKOFF_FIRST_MS: u64 = 50;
/// Longest pause between tries.
const BACKOFF_MAX_MS: u64 = 10_000;
/// Objects per page of the initial list.
const LIST_PAGE_OBJECTS: u32 = 1_000;

type Events<K> = BoxStream<'static, Result<watcher::Event<K>, watcher::Error>>;

pub(super) async fn run<K>(client: kube::Client, selector: Selector, handle: Handle<K>, stop: CancellationToken)
where
    K: Cached + Resource<DynamicType = ()>,
{
    tokio::select! {
        () = stop.cancelled() => {}
        () = pump(client, selector, handle) => {}
    }
}

async fn pump<K>(client: kube::Client, selector: Selector, handle: Handle<K>)
where
    K: Cached + Resource<DynamicType = ()>,
{
    let mut events = open::<K>(&client, &selector);
    let mut listing = Vec::new();
    let mut failures = 0;
    loop {
        match events.next().await {
            Some(Ok(event)) => {
                // `Init` only says that a list is being tried.
                if !matches!(event, watcher::Event::Init) {
                    failures = 0;
                }
                take(&handle, &mut listing, event);
            }
            Some(Err(error)) => {
                tracing::debug!(kind = %K::kind(&()), %error, failures, "watch failed, will retry");
                tokio::time::sleep(pause(failures)).await;
                failures += 1;
                if is_gone(&error) {
                    events = open::<K>(&client, &selector);
                }
            }
            None => events = open::<K>(&client, &selector),
        }
    }
}

fn open<K>(client: &kube::Client, selector: &Selector) -> Events<K>
where
    K: Cached + Resource<DynamicType = ()>,
{
    let mut config = watcher::Config::default().page_size(LIST_PAGE_OBJECTS);
    config.label_selector = selector.labels.clone();
    let namespace = selector.namespace.as_ref().map(|namespace| format!("metadata.namespace={namespace}"));
    let fields: Vec<String> = selector.fields.iter().cloned().chain(namespace).collect();
    config.field_selector = (!fields.is_empty()).then(|| fields.join(","));
    watcher(kube::Api::<K>::all(client.clone()), config).boxed()
}

fn take<K: Cached>(handle: &Handle<K>, listing: &mut Vec<Arc<K>>, event: watcher::Event<K>) {
    match event {
        watcher::Event::Apply(object) => handle.apply(slim(object)),
        watcher::Event::Delete(object) => handle.remove(&object),
        watcher::Event::Init => listing.clear(),
        watcher::Event::InitApply(object) => listing.push(Arc::new(slim(object))),
        watcher::Event::InitDone => handle.replace_all(std::mem::take(listing)),
    }
}

fn slim<K: Resource>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    object
}

fn is_gone(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 410)
}

fn pause(failures: u32) -> Duration {
    let full = BACKOFF_FIRST_MS.saturating_mul(1 << failures.min(16)).min(BACKOFF_MAX_MS);
    Duration::from_millis(full / 2 + rand::random_range(0..=full / 2))
}
