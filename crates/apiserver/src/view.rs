//! What security looks up while it decides: single objects of the caches, by resource and name.
//!
//! A trait, so that what decides is tested with a few objects in a map, and knows nothing of caches.

use api_core::Gvr;
use api_core::meta::Meta;
use api_schema::row::Row;
use futures::future::BoxFuture;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

/// A read-only view of the objects that are there.
pub trait View: Send + Sync + Debug {
    /// An object; `namespace` is empty for cluster-scoped resources.
    fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Value>;

    /// The same, decoded once for all who ask: for what nearly every request looks up.
    fn shared(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.get(group, resource, namespace, name).map(Arc::new)
    }

    /// An object as the store has it now; for what may be too new for the cache.
    fn live<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Option<Value>> {
        Box::pin(async move { self.get(group, resource, namespace, name) })
    }

    /// An object that is about to be made: waits until it is there, at most so long.
    fn wait<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
        _at_most: Duration,
    ) -> BoxFuture<'a, Option<Value>> {
        self.live(group, resource, namespace, name)
    }

    /// All objects of a namespace, or of all namespaces if it is empty.
    fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Value>;

    /// The same, decoded once for all who ask.
    fn shared_list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Arc<Value>> {
        self.list(group, resource, namespace).into_iter().map(Arc::new).collect()
    }

    /// Number and newest revision of a resource's objects, which tell whether anything has changed; `None` if unknown.
    fn state(&self, _group: &str, _resource: &str) -> Option<(usize, i64)> {
        None
    }

    /// The resource of that version.
    fn row(&self, gvr: &Gvr) -> Option<Arc<Row>>;

    /// Group and plural name of the kind's objects, and whether they are in namespaces.
    fn resource_of(&self, api_version: &str, kind: &str) -> Option<(String, String, bool)>;

    /// The same objects in all versions that are served, with that subresource if it is not empty.
    fn equivalents(&self, row: &Row, _subresource: &str) -> Vec<Gvr> {
        vec![row.gvr.clone()]
    }

    /// Brings a stored object into the version of the row.
    fn convert(&self, row: &Row, object: &mut Value) {
        crate::registry::object::convert(row, object, &row.kind);
    }
}

/// A view of a handful of objects, for tests and for dry runs.
#[derive(Debug, Default)]
pub struct MapView(BTreeMap<(String, String, String, String), Value>);

impl MapView {
    /// Adds an object of `group/resource`, or of `resource` of the core group.
    #[must_use]
    pub fn with(mut self, resource: &str, object: Value) -> Self {
        let (group, resource) = resource.split_once('/').unwrap_or(("", resource));
        let key = (group.into(), resource.into(), object.namespace().into(), object.name().into());
        self.0.insert(key, object);
        self
    }
}

impl View for MapView {
    fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        self.0.get(&(group.into(), resource.into(), namespace.into(), name.into())).cloned()
    }

    fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Value> {
        let wanted = |(g, r, n, _): &(String, String, String, String)| {
            g == group && r == resource && (namespace.is_empty() || n == namespace)
        };
        self.0.iter().filter(|(key, _)| wanted(key)).map(|(_, object)| object.clone()).collect()
    }

    fn row(&self, gvr: &Gvr) -> Option<Arc<Row>> {
        api_kinds::rows().iter().find(|r| r.gvr == *gvr).cloned()
    }

    fn resource_of(&self, api_version: &str, kind: &str) -> Option<(String, String, bool)> {
        let found = api_kinds::rows().iter().find(|r| r.kind.api_version() == api_version && r.kind.kind == kind)?;
        Some((found.gvr.group.clone(), found.gvr.resource.clone(), found.namespaced))
    }
}
