//! The table of resources and what is kept of them: rows, caches, pools; and the verbs.

pub(crate) mod call;
mod charge;
mod create;
pub(crate) mod custom;
mod delete;
mod eviction;
mod feeder;
pub(crate) mod list;
pub(crate) mod measured;
pub(crate) mod object;
pub(crate) mod options;
mod parsed;
mod patched;
mod patching;
pub(crate) mod pools;
pub(crate) mod ranges;
mod read;
pub(crate) mod routing;
pub(crate) mod scale;
pub(crate) mod storage;
pub(crate) mod subresource;
pub(crate) mod table;
pub(crate) mod txn;
mod update;
mod versions;
mod view;
mod watch;

use crate::config::Config;
use crate::server::BuildError;
use api_core::project::Projection;
use api_core::{ApiError, Gvk};
use api_schema::codec;
use api_schema::row::Row;
use arc_swap::ArcSwap;
pub(crate) use list::{decode_token, encode_token};
use parking_lot::Mutex;
use pools::Pools;
use ranges::Recorded;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use store::Store;
pub(crate) use table::Table;
use txn::Current;
use watch_cache::Cache;

/// One lease keeps the expiring objects of this time, so that there are few leases.
const LEASE_SHARED_FOR: Duration = Duration::from_secs(60);
/// How long a cache may take to be filled.
const LOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// All resources that are served.
pub struct Registry {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) pools: Pools,
    table: ArcSwap<Table>,
    turns: charge::Turns,
    event_ttl_s: i64,
    lease: Mutex<Option<(i64, Instant)>>,
    /// Keeps the caches up.
    feeder: feeder::Feeder,
    /// Objects of custom resources that were converted of late.
    pub(crate) conversions: custom::convert::Kept,
    /// Objects that requests are decided by.
    parsed: parsed::Parsed,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

/// A row and where its objects are.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) row: Arc<Row>,
    /// `apiVersion` of its objects.
    pub(crate) api_version: String,
    /// `None` for a resource that is never stored.
    pub(crate) cache: Option<Arc<Cache>>,
    /// See [`Served::empty_status`].
    empty_status: OnceLock<Option<Value>>,
    /// Whether it is a built-in kind; items of its lists have no `kind`, as upstream's.
    pub(crate) builtin: bool,
    /// Fields that a selector may name, beside name and namespace.
    pub(crate) selectable: Vec<&'static str>,
    /// What its cells in a Table are made of; `None` if nobody said.
    pub(crate) table: Option<Projection>,
    /// What OpenAPI documents say of it, if it is a custom resource.
    pub(crate) said: crate::openapi::Said,
}

impl Served {
    fn new(row: Arc<Row>, cache: Option<Arc<Cache>>) -> Self {
        let fields = row.hooks.selectable_fields.map(|fields| fields(&empty(&row).unwrap_or_default()));
        let selectable = fields.unwrap_or_default().into_iter().map(|(name, _)| name).collect();
        let builtin = api_kinds::resource(&row.gvr).is_some();
        let table = (!row.hooks.table_paths.is_empty())
            .then(|| Projection::new(["apiVersion", "kind"].iter().chain(row.hooks.table_paths).copied()));
        let (api_version, empty_status) = (row.gvr.api_version(), OnceLock::new());
        Self {
            api_version,
            row,
            cache,
            empty_status,
            builtin,
            selectable,
            table,
            said: crate::openapi::Said::default(),
        }
    }

    /// The status of an object that was given none, in the version that is stored. Of a custom resource it takes its schema,
    /// so it is made when it is needed.
    pub(crate) fn empty_status(&self) -> Option<&Value> {
        let made = self.empty_status.get_or_init(|| {
            let mut stored = empty(&self.row).unwrap_or_default();
            object::convert(&self.row, &mut stored, &self.row.storage_version);
            stored.get("status").cloned()
        });
        made.as_ref()
    }

    /// Key of an object.
    pub(crate) fn key(&self, namespace: &str, name: &str) -> String {
        if self.row.namespaced {
            format!("{}/{namespace}/{name}", self.row.storage_prefix)
        } else {
            format!("{}/{name}", self.row.storage_prefix)
        }
    }

    /// The cache; a 404 for a resource that is never stored.
    pub(crate) fn cache(&self) -> Result<&Arc<Cache>, ApiError> {
        self.cache.as_ref().ok_or_else(ApiError::no_such_resource)
    }

    /// An object as the cache has it, which may be a moment behind.
    pub(crate) fn cached(&self, key: &str) -> Result<Option<Current>, ApiError> {
        let Some(object) = self.cache()?.get(key.as_bytes()) else { return Ok(None) };
        let value = storage::value(&object)?;
        Ok(Some(Current { value, stored: None, revision: object.revision, is_live: false }))
    }
}

impl Registry {
    /// Fills the caches from the store.
    pub(crate) async fn build(config: &Config, store: Arc<dyn Store>) -> Result<Arc<Self>, BuildError> {
        let registry = Arc::new(Self {
            pools: Pools::new(config, store.is_shared()),
            store,
            table: ArcSwap::from_pointee(Table::default()),
            turns: charge::Turns::new(),
            event_ttl_s: config.limits.event_ttl_s,
            lease: Mutex::new(None),
            feeder: feeder::Feeder::start()
                .map_err(|e| BuildError::Registry(format!("no thread for the caches: {e}")))?,
            conversions: custom::convert::Kept::default(),
            parsed: parsed::Parsed::default(),
        });
        registry.insert(api_kinds::rows()).await?;
        registry.record_held().await.map_err(|e| BuildError::Registry(e.message))?;
        Ok(registry)
    }

    /// Sees to it that the record of ranges, if there is one, has what stored objects hold.
    async fn record_held(&self) -> Result<(), ApiError> {
        let Some(ranges) = &self.pools.ranges else { return Ok(()) };
        let mut held = Vec::new();
        for served in self.table().rows() {
            let (Some(allocated), Some(cache)) = (served.row.hooks.allocated, &served.cache) else { continue };
            let snapshot = cache.snapshot();
            let values = snapshot.prefix(cache.prefix()).filter_map(|object| readable(storage::value(object)));
            held.extend(values.flat_map(|value| allocated(&value)));
        }
        ranges.restore(&self.store, held).await
    }

    /// What is recorded of ranges that objects of this row take from.
    pub(crate) async fn recorded(&self, row: &Row) -> Result<Recorded, ApiError> {
        match &self.pools.ranges {
            Some(ranges) if row.hooks.allocate.is_some() => ranges.read(&self.store).await,
            _ => Ok(Recorded::default()),
        }
    }

    /// Serves built-in kinds. Versions of one resource share a cache.
    pub(crate) async fn insert(&self, rows: &[Arc<Row>]) -> Result<(), BuildError> {
        let mut caches: HashMap<&str, Arc<Cache>> = HashMap::new();
        let mut served = Vec::new();
        for row in rows {
            let is_stored = |r: &&Arc<Row>| r.storage_prefix == row.storage_prefix && object::is_as_stored(r);
            let decoded_by = || rows.iter().find(is_stored).unwrap_or(row).clone();
            let cache = (!row.storage_prefix.is_empty())
                .then(|| caches.entry(&row.storage_prefix).or_insert_with(|| self.start_cache(decoded_by())).clone());
            served.push(Arc::new(Served::new(row.clone(), cache)));
        }
        let deadline = Instant::now() + LOAD_TIMEOUT;
        for (row, cache) in served.iter().filter_map(|served| Some((&served.row, served.cache.as_ref()?))) {
            loaded(cache, deadline).await?;
            if caches.remove(row.storage_prefix.as_str()).is_some() {
                self.mark_held(row, cache);
            }
        }
        self.table.store(Arc::new(Table::new(served)));
        Ok(())
    }

    fn start_cache(&self, row: Arc<Row>) -> Arc<Cache> {
        let cache = storage::cache(row, self.store.clone());
        // Whether or not it comes to run.
        let (running, closing) = (cache.clone(), Closing(vec![cache.clone()]));
        self.feeder.spawn(async move {
            running.run().await;
            drop(closing);
        });
        cache
    }

    /// Serves these rows in place of those of their definitions, all at once. Only one task at a time may change the table.
    pub(crate) async fn replace(&self, changes: &[(String, Vec<Arc<Row>>)]) -> Result<(), BuildError> {
        let mut table = Table::clone(&self.table.load());
        // If the change is given up, nobody else knows of these.
        let mut started = Closing::default();
        let mut ended = Vec::new();
        for (definition, rows) in changes {
            let before = table.of_definition(definition);
            // A cache whose objects would now be read in another way is made anew; its watches end.
            let kept = before.first().filter(|old| rows.iter().any(|row| reads_like(row, &old.row)));
            let cache = match (kept.and_then(|old| old.cache.clone()), rows.first()) {
                (None, Some(row)) => {
                    let cache = self.start_cache(row.clone());
                    started.0.push(cache.clone());
                    Some(cache)
                }
                (kept, _) => kept,
            };
            let goes_on = |old: &Served| old.cache.as_ref().zip(cache.as_ref()).is_some_and(|(a, b)| Arc::ptr_eq(a, b));
            ended.extend(before.iter().filter(|old| !goes_on(old)).cloned());
            let rows: Vec<_> = rows.iter().map(|row| Arc::new(Served::new(row.clone(), cache.clone()))).collect();
            table.replace(definition, &rows);
        }
        let deadline = Instant::now() + LOAD_TIMEOUT;
        for cache in &started.0 {
            loaded(cache, deadline).await?;
        }
        self.table.store(Arc::new(table));
        started.0.clear();
        ended.iter().filter_map(|served| served.cache.as_ref()).for_each(|cache| cache.close());
        Ok(())
    }

    fn mark_held(&self, row: &Row, cache: &Cache) {
        if row.hooks.allocated.is_none() {
            return;
        }
        for object in cache.snapshot().prefix(cache.prefix()) {
            if let Some(value) = readable(storage::value(object)) {
                self.pools.mark(row, &value);
            }
        }
    }

    /// The resource of that group, version and name.
    pub(crate) fn lookup(&self, group: &str, version: &str, resource: &str) -> Option<Arc<Served>> {
        self.table.load().lookup(group, version, resource).cloned()
    }

    /// Whether a group is one that the server has by itself, whatever definitions there are.
    pub(crate) fn is_built_in(&self, group: &str) -> bool {
        self.table.load().is_built_in(group)
    }

    /// The rows of this moment.
    pub(crate) fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// A resource of any version.
    fn any_version(&self, group: &str, resource: &str) -> Option<Arc<Served>> {
        self.table.load().any_version(group, resource).cloned()
    }

    /// The cache of a resource.
    pub(crate) fn cache_of(&self, group: &str, resource: &str) -> Option<Arc<Cache>> {
        self.any_version(group, resource)?.cache.clone()
    }

    /// The stored resource with a subresource that takes POSTs of this kind, and the subresource's name.
    pub(crate) fn taker_of(&self, kind: &Gvk) -> Option<(Arc<Served>, String)> {
        let table = self.table.load();
        table.rows().filter(|s| s.cache.is_some()).find_map(|served| {
            let takes = served.row.subresources.iter().find(|sub| sub.kind == *kind && sub.verbs == ["create"])?;
            Some((served.clone(), takes.name.clone()))
        })
    }

    /// The lease that a write of this row is bound to; 0 for none.
    pub(crate) async fn lease_for(&self, row: &Row) -> Result<i64, ApiError> {
        if !row.hooks.expires {
            return Ok(0);
        }
        if let Some((lease, since)) = *self.lease.lock()
            && since.elapsed() < LEASE_SHARED_FOR
        {
            return Ok(lease);
        }
        let shared_s = i64::try_from(LEASE_SHARED_FOR.as_secs()).unwrap_or(60);
        let lease = self.store.lease_grant(self.event_ttl_s + shared_s).await.map_err(|e| txn::failed(&e))?;
        *self.lease.lock() = Some((lease, Instant::now()));
        Ok(lease)
    }

    /// Stops the caches, which closes them.
    pub(crate) async fn close(&self) {
        self.feeder.end().await;
    }
}

/// Caches that are closed when it is dropped.
#[derive(Default)]
struct Closing(Vec<Arc<Cache>>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.iter().for_each(|cache| cache.close());
    }
}

/// Whether stored objects of both rows are read the same way.
fn reads_like(a: &Row, b: &Row) -> bool {
    let (Some(a_custom), Some(b_custom)) = (&a.custom, &b.custom) else { return false };
    a.storage_prefix == b.storage_prefix && a_custom.family.reads_like(&b_custom.family)
}

/// What an object has that was given nothing.
fn empty(row: &Row) -> Option<Value> {
    let bare = json!({"kind": row.kind.kind, "apiVersion": row.kind.api_version()});
    codec::decode_value(row, bare, codec::FieldValidation::Ignore).ok().map(|d| d.value)
}

async fn loaded(cache: &Cache, deadline: Instant) -> Result<(), BuildError> {
    cache.wait_until(1, deadline.into()).await.map_err(|e| BuildError::Registry(e.to_string()))
}

fn readable<T>(value: Result<T, ApiError>) -> Option<T> {
    value.inspect_err(|error| tracing::error!(%error, "a cached object is unreadable")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn caches_of_a_change_that_is_given_up_are_closed() {
        let directory = tempfile::tempdir().expect("directory");
        let store = store::Embedded::open(directory.path().join("store"), store::Limits::default()).expect("store");
        let registry = Registry::build(&Config::default(), Arc::new(store)).await.expect("registry");
        let row = registry.table().rows().find(|served| served.cache.is_some()).expect("a row").row.clone();
        // Nothing is loaded while this waits.
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        registry.feeder.spawn(async move { assert!(wait.recv().is_err()) });
        let changes = [("others.example.com".to_owned(), vec![row])];
        let mut change = Box::pin(registry.replace(&changes));
        assert!(futures::poll!(&mut change).is_pending());
        drop(change);
        drop(go_on);
        for served in registry.table().rows() {
            served.cache.iter().for_each(|cache| cache.close());
        }
        tokio::time::timeout(LOAD_TIMEOUT, registry.feeder.idle()).await.expect("no cache runs");
    }
}
