//! The cache of an informer: objects by key, by controller and by indexes that its users declare.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kube::Resource;
use parking_lot::RwLock;

use crate::Key;

/// The values under which an object is found in an index.
pub type IndexFn<K> = fn(&K) -> Vec<String>;

/// A readable cache. Reads see whole objects, never half an event; clones share the content.
pub struct Store<K> {
    inner: Arc<RwLock<Inner<K>>>,
    observed: Arc<AtomicU64>,
}

impl<K> Clone for Store<K> {
    fn clone(&self) -> Self {
        Store { inner: self.inner.clone(), observed: self.observed.clone() }
    }
}

struct Inner<K> {
    objects: BTreeMap<Key, Arc<K>>,
    by_controller: HashMap<String, BTreeSet<Key>>,
    indexes: HashMap<&'static str, Index<K>>,
}

struct Index<K> {
    values: IndexFn<K>,
    keys: HashMap<String, BTreeSet<Key>>,
}

/// An object that a new content changed.
pub(super) struct Replaced<K> {
    pub(super) key: Key,
    pub(super) before: Option<Arc<K>>,
    /// Whether it is in the new content.
    pub(super) is_there: bool,
}

impl<K: Resource> Store<K> {
    pub(super) fn new() -> Self {
        let inner = Inner { objects: BTreeMap::new(), by_controller: HashMap::new(), indexes: HashMap::new() };
        Store { inner: Arc::new(RwLock::new(inner)), observed: Arc::default() }
    }

    /// The object `key`, if it is there.
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.inner.read().objects.get(key).cloned()
    }

    /// The object `name` in `namespace` (empty for cluster-scoped kinds), if it is there.
    pub fn find(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.get(&Key::new(namespace, name))
    }

    /// All objects in the order of their keys.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.inner.read().objects.values().cloned().collect()
    }

    /// All objects of one namespace, by name.
    pub fn list_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let from = Key::new(namespace, "");
        let inner = self.inner.read();
        let range = inner.objects.range((Bound::Included(from), Bound::Unbounded));
        range.take_while(|(key, _)| &*key.namespace == namespace).map(|(_, object)| object.clone()).collect()
    }

    /// All keys, in order.
    pub fn keys(&self) -> Vec<Key> {
        self.inner.read().objects.keys().cloned().collect()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.inner.read().objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The objects whose controller (owner reference with `controller: true`) has `uid`.
    pub fn children(&self, uid: &str) -> Vec<Arc<K>> {
        let inner = self.inner.read();
        inner.resolve(inner.by_controller.get(uid))
    }

    /// The objects of `namespace` without a controller.
    pub fn orphans(&self, namespace: &str) -> Vec<Arc<K>> {
        let inner = self.inner.read();
        let from = Key::new(namespace, "");
        let Some(keys) = inner.by_controller.get("") else { return Vec::new() };
        keys.range(from..)
            .take_while(|key| &*key.namespace == namespace)
            .filter_map(|key| inner.objects.get(key).cloned())
            .collect()
    }

    /// Adds the index `name`, unless it is there. It covers what is cached already.
    pub fn add_index(&self, name: &'static str, values: IndexFn<K>) {
        let mut inner = self.inner.write();
        if inner.indexes.contains_key(name) {
            return;
        }
        let mut index = Index { values, keys: HashMap::new() };
        for (key, object) in &inner.objects {
            index.insert(key, object);
        }
        inner.indexes.insert(name, index);
    }

    /// The objects that index `name` has under `value`; empty when there is no such index.
    pub fn by_index(&self, name: &str, value: &str) -> Vec<Arc<K>> {
        let inner = self.inner.read();
        inner.resolve(inner.indexes.get(name).and_then(|index| index.keys.get(value)))
    }

    /// The highest resource version seen so far. A write that the server answered with a version at or under this one
    /// is visible here, or has been overtaken by a later write.
    pub fn observed(&self) -> u64 {
        self.observed.load(Ordering::Acquire)
    }

    pub(super) fn insert(&self, object: Arc<K>) -> Option<Arc<K>> {
        let old = self.inner.write().insert(object.clone());
        self.observe(&object);
        old
    }

    pub(super) fn remove(&self, key: &Key) -> Option<Arc<K>> {
        self.inner.write().remove(key)
    }

    pub(super) fn observe(&self, object: &K) {
        self.observed.fetch_max(version(object), Ordering::AcqRel);
    }

    /// Makes `objects` the whole content; returns what changed.
    pub(super) fn replace(&self, objects: Vec<Arc<K>>) -> Vec<Replaced<K>> {
        let mut changed = Vec::new();
        let mut inner = self.inner.write();
        let present: BTreeSet<Key> = objects.iter().map(|object| Key::of(&**object)).collect();
        let gone: Vec<Key> = inner.objects.keys().filter(|key| !present.contains(*key)).cloned().collect();
        for key in gone {
            let before = inner.remove(&key);
            changed.push(Replaced { key, before, is_there: false });
        }
        for object in objects {
            self.observe(&object);
            let key = Key::of(&*object);
            let same = inner.objects.get(&key).is_some_and(|old| {
                old.meta().resource_version == object.meta().resource_version && old.meta().uid == object.meta().uid
            });
            if !same {
                let before = inner.insert(object);
                changed.push(Replaced { key, before, is_there: true });
            }
        }
        changed
    }
}

impl<K: Resource> Inner<K> {
    fn resolve(&self, keys: Option<&BTreeSet<Key>>) -> Vec<Arc<K>> {
        keys.into_iter().flatten().filter_map(|key| self.objects.get(key).cloned()).collect()
    }

    fn insert(&mut self, object: Arc<K>) -> Option<Arc<K>> {
        let key = Key::of(&*object);
        let old = self.remove(&key);
        self.by_controller.entry(controller_uid(&*object)).or_default().insert(key.clone());
        for index in self.indexes.values_mut() {
            index.insert(&key, &object);
        }
        self.objects.insert(key, object);
        old
    }

    fn remove(&mut self, key: &Key) -> Option<Arc<K>> {
        let old = self.objects.remove(key)?;
        drop_key(&mut self.by_controller, &controller_uid(&*old), key);
        for index in self.indexes.values_mut() {
            for value in (index.values)(&old) {
                drop_key(&mut index.keys, &value, key);
            }
        }
        Some(old)
    }
}

impl<K> Index<K> {
    fn insert(&mut self, key: &Key, object: &K) {
        for value in (self.values)(object) {
            self.keys.entry(value).or_default().insert(key.clone());
        }
    }
}

fn drop_key(keys: &mut HashMap<String, BTreeSet<Key>>, value: &str, key: &Key) {
    if let Some(set) = keys.get_mut(value) {
        set.remove(key);
        if set.is_empty() {
            keys.remove(value);
        }
    }
}

fn controller_uid<K: Resource>(object: &K) -> String {
    let owners = object.meta().owner_references.iter().flatten();
    owners.filter(|owner| owner.controller == Some(true)).map(|owner| owner.uid.clone()).next().unwrap_or_default()
}

fn version<K: Resource>(object: &K) -> u64 {
    object.meta().resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}
