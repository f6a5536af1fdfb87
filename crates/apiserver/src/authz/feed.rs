//! Keeps the authorizer's indexes as the caches are: what is there at start, then every change.

use super::{Authorizer, Change};
use crate::registry::storage;
use crate::server::{BuildError, Inner};
use api_kinds::names;
use std::collections::HashSet;
use std::sync::Arc;
use watch_cache::{Cache, CacheError, Event, EventType, Interest, Object, Watch};

/// Follows one resource.
struct Feed {
    authorizer: Arc<Authorizer>,
    group: &'static str,
    resource: &'static str,
    cache: Arc<Cache>,
}

/// Fills the indexes, and starts to follow. When it returns, decisions are right.
pub(crate) fn start(server: &Arc<Inner>) -> Result<(), BuildError> {
    for (group, resource) in Authorizer::OBSERVED {
        let Some(cache) = server.registry.cache_of(group, resource) else { continue };
        let feed = Feed { authorizer: server.authorizer.clone(), group, resource, cache };
        let watch = feed.load(&HashSet::new()).map_err(|e| BuildError::Registry(e.to_string()))?;
        let drain = server.drain.clone();
        server.tasks.spawn(async move {
            tokio::select! {
                () = feed.follow(watch) => {}
                () = drain.cancelled() => {}
            }
        });
    }
    Ok(())
}

/// Namespace and name of objects that the index knows.
type Known = HashSet<(Box<str>, Box<str>)>;

impl Feed {
    /// Takes in all objects; forgets those of `before` that are gone.
    fn load(&self, before: &Known) -> Result<(Watch, Known), CacheError> {
        let (snapshot, watch) = self.cache.snapshot_and_watch(Interest::prefix(self.cache.prefix().clone()))?;
        let mut known = Known::new();
        for object in snapshot.prefix(self.cache.prefix()) {
            self.put(object);
            known.insert((object.namespace.clone(), object.name.clone()));
        }
        for (namespace, name) in before.difference(&known) {
            self.authorizer.observe(self.group, self.resource, Change::Gone { namespace, name });
        }
        Ok((watch, known))
    }

    async fn follow(&self, start: (Watch, Known)) {
        let (mut watch, mut known) = start;
        loop {
            match watch.next().await {
                Ok(events) => events.iter().for_each(|event| self.apply(event, &mut known)),
                // The cache was loaded anew: so is the index.
                Err(CacheError::TooOld { .. }) => match self.load(&known) {
                    Ok(loaded) => (watch, known) = loaded,
                    Err(error) => {
                        return tracing::error!(%error, resource = self.resource, "authorization is not kept up");
                    }
                },
                Err(_) => return,
            }
        }
    }

    fn apply(&self, event: &Event, known: &mut Known) {
        let object = &event.object;
        let key = (object.namespace.clone(), object.name.clone());
        if event.kind == EventType::Deleted {
            self.authorizer.observe(self.group, self.resource, Change::Gone { namespace: &key.0, name: &key.1 });
            known.remove(&key);
            return;
        }
        // Of the many changes of a pod, only its binding to a node matters.
        let before = event.previous.as_deref().map_or("", |p| p.field("spec.nodeName"));
        if self.resource != names::PODS || object.field("spec.nodeName") != before {
            self.put(object);
        }
        known.insert(key);
    }

    fn put(&self, object: &Object) {
        // A pod that no node has opens nothing to any.
        if self.resource == names::PODS && object.field("spec.nodeName").is_empty() {
            return;
        }
        match storage::value(object) {
            Ok(value) => self.authorizer.observe(self.group, self.resource, Change::Put(&value)),
            Err(error) => tracing::error!(%error, name = object.name, "a cached object is unreadable"),
        }
    }
}
