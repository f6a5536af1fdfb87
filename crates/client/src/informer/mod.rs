//! One shared, indexed cache of `Arc<K>` for each kind and selector in a process.
//!
//! The first [`Informers::get`] of a kind starts its watch; everybody after that shares it. A change gives subscribers
//! a [`Nudge`], which means only "look again at this key": nudges coalesce, are bounded, and past the bound become
//! "look at everything". `metadata.managedFields` is dropped on the way in, because nobody here reads it and it is
//! often half of an object.

mod pump;
mod store;
mod subscription;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use kube::Resource;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use store::Replaced;
pub use store::{IndexFn, Store};
pub use subscription::{NUDGES_PENDING_MAX, Nudge, Subscription};

/// What a kind needs to be cached.
pub trait Cached: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static {}
impl<K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static> Cached for K {}

/// Which objects of a kind an informer holds. The default is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    /// Only this namespace.
    pub namespace: Option<String>,
    /// Label selector, as in a query.
    pub labels: Option<String>,
    /// Field selector, as in a query.
    pub fields: Option<String>,
}

impl Selector {
    /// All objects for which the field selector `fields` holds, for example `spec.nodeName=a`.
    pub fn fields(fields: impl Into<String>) -> Self {
        Selector { fields: Some(fields.into()), ..Selector::default() }
    }

    /// All objects for which the label selector `labels` holds.
    pub fn labels(labels: impl Into<String>) -> Self {
        Selector { labels: Some(labels.into()), ..Selector::default() }
    }

    /// All objects of one namespace.
    pub fn namespace(namespace: impl Into<String>) -> Self {
        Selector { namespace: Some(namespace.into()), ..Selector::default() }
    }
}

/// The informers of a process, over one client and so under one identity. Clones share everything; the watches end
/// when the last clone is dropped or [`Informers::shutdown`] is called.
#[derive(Clone)]
pub struct Informers {
    shared: Arc<Shared>,
}

struct Shared {
    client: kube::Client,
    handles: Mutex<HashMap<(TypeId, Selector), Box<dyn Any + Send>>>,
    stop: CancellationToken,
    tasks: TaskTracker,
    _stop_on_drop: DropGuard,
}

impl Informers {
    /// No informer yet; they start as they are asked for.
    pub fn new(client: kube::Client) -> Self {
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        let shared =
            Shared { client, handles: Mutex::default(), stop, tasks: TaskTracker::new(), _stop_on_drop: guard };
        Informers { shared: Arc::new(shared) }
    }

    /// The client that the informers read with.
    pub fn client(&self) -> &kube::Client {
        &self.shared.client
    }

    /// The informer of all objects of kind `K`. Must be called within a tokio runtime.
    pub fn get<K>(&self) -> Handle<K>
    where
        K: Cached + Resource<DynamicType = ()>,
    {
        self.select(Selector::default())
    }

    /// The informer of the objects of kind `K` that `selector` chooses. Must be called within a tokio runtime.
    pub fn select<K>(&self, selector: Selector) -> Handle<K>
    where
        K: Cached + Resource<DynamicType = ()>,
    {
        let mut handles = self.shared.handles.lock();
        let slot = (TypeId::of::<K>(), selector.clone());
        if let Some(handle) = handles.get(&slot).and_then(|any| any.downcast_ref::<Handle<K>>()) {
            return handle.clone();
        }
        let handle = Handle::<K>::new();
        let pump = pump::run(self.shared.client.clone(), selector, handle.clone(), self.shared.stop.clone());
        self.shared.tasks.spawn(pump);
        handles.insert(slot, Box::new(handle.clone()));
        handle
    }

    /// Ends all watches and waits until they have ended. The caches stay readable.
    pub async fn shutdown(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

/// A shared informer of one kind: its cache and its nudges. Cheap to clone.
pub struct Handle<K> {
    store: Store<K>,
    subscribers: Arc<Mutex<Vec<subscription::Sender<K>>>>,
    synced: Arc<watch::Sender<bool>>,
}

impl<K> Clone for Handle<K> {
    fn clone(&self) -> Self {
        Handle { store: self.store.clone(), subscribers: self.subscribers.clone(), synced: self.synced.clone() }
    }
}

impl<K: Resource + Send + Sync + 'static> Handle<K> {
    /// An informer that nobody feeds yet.
    pub(crate) fn new() -> Self {
        Handle { store: Store::new(), subscribers: Arc::default(), synced: Arc::new(watch::Sender::new(false)) }
    }

    /// A synced informer with fixed content, for tests of what reads one.
    pub fn fixed(objects: impl IntoIterator<Item = K>) -> Self {
        let handle = Handle::new();
        handle.store.replace(objects.into_iter().map(Arc::new).collect());
        handle.synced.send_replace(true);
        handle
    }

    /// The cache.
    pub fn store(&self) -> &Store<K> {
        &self.store
    }

    /// Nudges from now on; first one [`Nudge::All`], so that what is there already is looked at too.
    pub fn subscribe(&self) -> Subscription<K> {
        let (sender, subscription) = subscription::pair();
        self.subscribers.lock().push(sender);
        subscription
    }

    /// Waits until the first complete list is in the cache.
    pub async fn wait_synced(&self) {
        let mut synced = self.synced.subscribe();
        // The sender lives in `self`, so this only ends with `true`.
        if synced.wait_for(|synced| *synced).await.is_err() {
            tracing::error!("an informer's sync flag has gone while its handle lives");
        }
    }

    /// Whether the first complete list is in the cache.
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Sets one object, as a watch event would. For the pump, and for tests.
    pub fn apply(&self, object: K) {
        let key = crate::Key::of(&object);
        let old = self.store.insert(Arc::new(object));
        self.nudge(key, old, true);
    }

    /// Removes one object, as a watch event would; `last` is its last state. For the pump, and for tests.
    pub fn remove(&self, last: &K) {
        let key = crate::Key::of(last);
        let old = self.store.remove(&key);
        self.store.observe(last);
        self.nudge(key, old, false);
    }

    pub(crate) fn replace_all(&self, objects: Vec<Arc<K>>) {
        for Replaced { key, before, is_there } in self.store.replace(objects) {
            self.nudge(key, before, is_there);
        }
        self.synced.send_replace(true);
    }

    fn nudge(&self, key: crate::Key, old: Option<Arc<K>>, is_there: bool) {
        self.subscribers.lock().retain(|subscriber| subscriber.send(&key, old.as_ref(), is_there));
    }
}
