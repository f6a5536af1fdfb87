//! The registry as what decides sees it: single objects and lists, from the caches or from the store itself.

use super::{Registry, Served, list, readable, storage};
use crate::view::View;
use api_core::Gvr;
use api_schema::row::Row;
use futures::future::BoxFuture;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use watch_cache::{Interest, Object};

impl View for Registry {
    fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let served = self.any_version(group, resource)?;
        let object = served.cache.as_ref()?.get(served.key(namespace, name).as_bytes())?;
        readable(storage::value(&object))
    }

    fn shared(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let served = self.any_version(group, resource)?;
        let object = served.cache.as_ref()?.get(served.key(namespace, name).as_bytes())?;
        self.value_of(&served, &object)
    }

    fn live<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Option<Value>> {
        Box::pin(async move {
            let served = self.any_version(group, resource)?;
            let current = self.read_live(&served.key(namespace, name)).await;
            let current =
                current.inspect_err(|error| tracing::warn!(%error, "an object could not be looked up")).ok()?;
            Some(current?.value)
        })
    }

    fn wait<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
        at_most: Duration,
    ) -> BoxFuture<'a, Option<Value>> {
        Box::pin(async move {
            if let Some(found) = self.live(group, resource, namespace, name).await {
                return Some(found);
            }
            let served = self.any_version(group, resource)?;
            let made = appears(&served, namespace, name);
            // Time over is an answer too: it is not there.
            tokio::time::timeout_at(Instant::now() + at_most, made).await.ok()?
        })
    }

    fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Value> {
        let Some(served) = self.any_version(group, resource) else { return Vec::new() };
        let Some(cache) = &served.cache else { return Vec::new() };
        let prefix = list::prefix(&served, namespace);
        cache.snapshot().prefix(prefix.as_bytes()).filter_map(|o| readable(storage::value(o))).collect()
    }

    fn shared_list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Arc<Value>> {
        let Some(served) = self.any_version(group, resource) else { return Vec::new() };
        let Some(cache) = &served.cache else { return Vec::new() };
        let prefix = list::prefix(&served, namespace);
        cache.snapshot().prefix(prefix.as_bytes()).filter_map(|o| self.value_of(&served, o)).collect()
    }

    fn state(&self, group: &str, resource: &str) -> Option<(usize, i64)> {
        let cache = self.cache_of(group, resource)?;
        let snapshot = cache.snapshot();
        Some(snapshot.prefix(cache.prefix()).fold((0, 0), |(n, newest), o| (n + 1, i64::max(newest, o.revision))))
    }

    fn row(&self, gvr: &Gvr) -> Option<Arc<Row>> {
        self.lookup(&gvr.group, &gvr.version, &gvr.resource).map(|s| s.row.clone())
    }

    fn resource_of(&self, api_version: &str, kind: &str) -> Option<(String, String, bool)> {
        let table = self.table();
        let found = table.of_kind(api_version, kind)?;
        Some((found.row.gvr.group.clone(), found.row.gvr.resource.clone(), found.row.namespaced))
    }

    fn equivalents(&self, row: &Row, subresource: &str) -> Vec<Gvr> {
        if row.storage_prefix.is_empty() {
            return Vec::new();
        }
        let table = self.table();
        let same = table.same_objects(row);
        let has_sub = |row: &Row| subresource.is_empty() || row.subresource(subresource).is_some();
        same.filter(|s| has_sub(&s.row)).map(|s| s.row.gvr.clone()).collect()
    }
}

impl Registry {
    /// Decodes an object. A custom resource's bytes may change with its schema, so it is decoded each time.
    fn value_of(&self, served: &Served, object: &Object) -> Option<Arc<Value>> {
        if served.row.custom.is_some() {
            return readable(storage::value(object)).map(Arc::new);
        }
        readable(self.parsed.value(object))
    }
}

/// Waits until the cache has an object; `None` if it can wait no longer.
async fn appears(served: &Arc<Served>, namespace: &str, name: &str) -> Option<Value> {
    let key = served.key(namespace, name);
    let (snapshot, mut watch) = served.cache.as_ref()?.snapshot_and_watch(Interest::prefix(key.clone())).ok()?;
    if let Some(object) = snapshot.get(key.as_bytes()) {
        return readable(storage::value(object));
    }
    loop {
        let events = watch.next().await.ok()?;
        let put = events.iter().find(|e| e.kind != watch_cache::EventType::Deleted && *e.object.key == *key.as_bytes());
        if let Some(event) = put {
            return readable(storage::value(&event.object));
        }
    }
}
