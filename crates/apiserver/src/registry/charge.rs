//! Writes that count against quotas: the object and the status of the quotas that it uses up are written in one
//! transaction, so that no two writes can take the same room, and a write that fails takes none.
//!
//! What counts for what is `api_kinds::quota`. Writes of one namespace take turns here, since they would only overtake
//! each other; servers that share a store are kept apart by the transaction.

use super::call::Call;
use super::ranges::Claims;
use super::txn::{Attempt, Committed, Current, failed, found_by, live};
use super::{Registry, Served, list, object, storage};
use api_core::ApiError;
use api_core::meta::Meta;
use api_kinds::quota::{self, Write};
use bytes::Bytes;
use serde_json::Value;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use store::{Compare, Op, Range};
use tokio::sync::{Mutex, MutexGuard};

/// Attempts of one write against other servers that charge the same quotas. Past it the client gets the conflict.
const ATTEMPTS_MAX: usize = 20;
/// Namespaces share so many locks.
const LOCKS: usize = 64;

/// Whose turn it is, by namespace.
#[derive(Debug)]
pub(crate) struct Turns {
    locks: [Mutex<()>; LOCKS],
    hasher: RandomState,
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self { locks: std::array::from_fn(|_| Mutex::new(())), hasher: RandomState::new() }
    }

    async fn of(&self, namespace: &str) -> MutexGuard<'_, ()> {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(namespace.as_bytes());
        let slot = usize::try_from(hasher.finish() % LOCKS as u64).unwrap_or(0);
        self.locks[slot].lock().await
    }
}

/// A write on its way to the store.
pub(crate) struct Put<'a> {
    pub(crate) key: &'a str,
    /// Revision of the key's last write; 0 says that it does not exist.
    pub(crate) expected: i64,
    /// What is stored.
    pub(crate) stored: Bytes,
    /// The object, and what it takes the place of; neither outlives the decision of what is written.
    pub(crate) new: Value,
    pub(crate) old: Option<Value>,
    /// Of ranges that servers share.
    pub(crate) claims: Claims,
}

/// A quota with its key.
struct Quota {
    key: String,
    revision: i64,
    value: Value,
}

impl Registry {
    /// Writes an object as [`Registry::put`] does, and charges the quotas of its namespace.
    pub(crate) async fn put_charged(&self, call: &Call, put: Put<'_>) -> Result<Attempt, ApiError> {
        let Some(quotas) = self.quotas_for(call, put.old.is_none()) else {
            let Put { key, expected, stored, new, old, claims } = put;
            // What is no longer needed is freed by the thread that made it, while its memory is still at hand: another one may
            // go on after the commit.
            drop((new, old));
            return self.put(&call.served, key, expected, stored, &claims).await;
        };
        let _turn = self.turns.of(&call.info.namespace).await;
        let mut found = self.cached_quotas(&quotas, &call.info.namespace)?;
        for _ in 0..ATTEMPTS_MAX {
            let charged = self.decide(call, &quotas, &mut found, &put.new, put.old.as_ref()).await?;
            if charged.is_empty() {
                return self.put(&call.served, put.key, put.expected, put.stored, &put.claims).await;
            }
            if let Some(end) = self.write_charged(&call.served, &quotas, &put, &found, charged).await? {
                return Ok(end);
            }
            found = self.live_quotas(&quotas, &call.info.namespace).await?;
        }
        let why = "too many others write to the quotas of this namespace; please try again";
        Err(ApiError::conflict(&call.group_resource(), put.new.name(), why))
    }

    /// Refuses what would not fit, and writes nothing.
    pub(crate) async fn check_quotas(&self, call: &Call, new: &Value, old: Option<&Value>) -> Result<(), ApiError> {
        let Some(quotas) = self.quotas_for(call, old.is_none()) else { return Ok(()) };
        let mut found = self.cached_quotas(&quotas, &call.info.namespace)?;
        self.decide(call, &quotas, &mut found, new, old).await.map(drop)
    }

    /// The quotas' resource, if such a write can concern one.
    fn quotas_for(&self, call: &Call, is_new: bool) -> Option<Arc<Served>> {
        let row = call.row();
        if !row.namespaced || !quota::handles(&call.group_resource(), &call.info.subresource, is_new) {
            return None;
        }
        let quotas = self.any_version("", &quota::quotas().resource)?;
        let any = {
            let snapshot = quotas.cache.as_ref()?.snapshot();
            snapshot.prefix(list::prefix(&quotas, &call.info.namespace).as_bytes()).next().is_some()
        };
        any.then_some(quotas)
    }

    /// What is charged to which quota. A refusal is decided by what the store has; then `found` is that.
    async fn decide(
        &self,
        call: &Call,
        quotas: &Served,
        found: &mut Vec<Quota>,
        new: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<(usize, Value)>, ApiError> {
        let resource = call.group_resource();
        let write = Write { resource: &resource, object: new, old, now_unix_s: call.now_unix_s() };
        let values = |found: &[Quota]| found.iter().map(|q| q.value.clone()).collect::<Vec<_>>();
        if let Ok(charged) = quota::charge(&values(found), &write) {
            return Ok(charged);
        }
        *found = self.live_quotas(quotas, &call.info.namespace).await?;
        quota::charge(&values(found), &write).map_err(|why| ApiError::forbidden(&resource, new.name(), &why))
    }

    /// `None` if a quota has changed in the meantime.
    async fn write_charged(
        &self,
        served: &Served,
        quotas: &Served,
        put: &Put<'_>,
        found: &[Quota],
        charged: Vec<(usize, Value)>,
    ) -> Result<Option<Attempt>, ApiError> {
        let (key, lease) = (Bytes::from(put.key.to_owned()), self.lease_for(&served.row).await?);
        let mut compare = Vec::new();
        let mut success = vec![Op::Put { key: key.clone(), value: put.stored.clone(), lease }];
        for (index, value) in charged {
            let key = Bytes::from(found[index].key.clone());
            compare.push(Compare::ModRevision(key.clone(), found[index].revision));
            success.push(Op::Put { key, value: object::encode(&value), lease: 0 });
        }
        let now = match self.commit(&key, put.expected, (compare, success), &put.claims).await? {
            Committed::Done(revision) => {
                self.show(quotas, revision).await;
                self.show(served, revision).await;
                return Ok(Some(Attempt::Done(revision)));
            }
            Committed::Lost(now) => now,
        };
        if now.as_ref().map_or(0, |kv| kv.mod_revision) == put.expected {
            return Ok(None);
        }
        Ok(Some(Attempt::Lost(now.map(|kv| found_by(put.expected, kv)).transpose()?)))
    }

    fn cached_quotas(&self, quotas: &Served, namespace: &str) -> Result<Vec<Quota>, ApiError> {
        let snapshot = quotas.cache()?.snapshot();
        let objects = snapshot.prefix(list::prefix(quotas, namespace).as_bytes());
        let read = |o: &Arc<watch_cache::Object>| {
            let value = storage::value(o)?;
            Ok(Quota { key: quotas.key(namespace, &o.name), revision: o.revision, value })
        };
        objects.map(read).collect()
    }

    async fn live_quotas(&self, quotas: &Served, namespace: &str) -> Result<Vec<Quota>, ApiError> {
        let range = Range::prefix(list::prefix(quotas, namespace));
        let kvs = self.store.range(range).await.map_err(|e| failed(&e))?.kvs;
        let read = |kv| {
            let Current { value, revision, .. } = live(kv)?;
            Ok(Quota { key: quotas.key(namespace, value.name()), revision, value })
        };
        kvs.into_iter().map(read).collect()
    }
}
