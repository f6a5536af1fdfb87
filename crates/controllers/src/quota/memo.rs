//! What the objects of a kind count for, kept for the namespaces that have quotas, so that a recount of a namespace reads
//! only what has changed since the last one.

use std::collections::HashMap;
use std::sync::Arc;

use api_core::GroupResource;
use api_kinds::quota::Facts;
use controller_kit::{Cached, Handle, Key};
use kube::Resource;
use kube::core::ApiResource;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;

use super::Seen;

type Known = HashMap<Key, (Option<String>, Arc<Facts>)>;

/// The facts of one kind; never more objects than the informer has.
pub(super) struct Memo<K> {
    resource: &'static str,
    handle: Handle<K>,
    namespaces: Mutex<HashMap<Arc<str>, Known>>,
}

/// What `object`, of a resource of the core group, counts for.
pub(super) fn facts<K: Serialize>(resource: &str, object: &K) -> Facts {
    let resource = GroupResource { group: String::new(), resource: resource.into() };
    // What comes from the API can be written as JSON again.
    Facts::of(&resource, &serde_json::to_value(object).unwrap_or(Value::Null))
}

impl<K: Cached + Resource<DynamicType = ()> + Serialize> Memo<K> {
    pub(super) fn new(resource: &'static str, handle: Handle<K>) -> Self {
        Memo { resource, handle, namespaces: Mutex::default() }
    }

    /// All objects of a namespace.
    pub(super) fn seen(&self, namespace: &Arc<str>) -> Seen {
        // Read before the objects: they may be newer than it says, never older.
        let version = self.handle.store().observed();
        let objects = self.handle.store().list_namespace(namespace);
        let mut namespaces = self.namespaces.lock();
        let known = namespaces.entry(namespace.clone()).or_default();
        let mut now = Known::with_capacity(objects.len());
        for object in objects {
            let (key, version) = (Key::of(&*object), object.meta().resource_version.clone());
            let facts = match known.remove(&key) {
                Some((had, facts)) if had == version => facts,
                _ => Arc::new(facts(self.resource, &*object)),
            };
            now.insert(key, (version, facts));
        }
        *known = now;
        let facts = known.values().map(|(_, facts)| facts.clone()).collect();
        Seen { facts, version, api: ApiResource::erase::<K>(&()) }
    }

    /// A namespace without quotas.
    pub(super) fn forget(&self, namespace: &str) {
        self.namespaces.lock().remove(namespace);
    }
}
