//! The store, as the verbs see it: put if unchanged, delete if unchanged, read the newest.

use super::{Registry, Served, object};
use api_core::{ApiError, Reason};
use bytes::Bytes;
use serde_json::Value;
use std::time::Duration;
use store::{Compare, KeyValue, Op, OpResult, Range, StoreError, Txn};
use tokio::time::Instant;

/// How long the answer to a write waits for the cache.
const SHOW_TIMEOUT: Duration = Duration::from_secs(1);

/// An object as the store has it.
#[derive(Debug, Clone)]
pub(crate) struct Current {
    /// In its stored version, without a resource version.
    pub(crate) value: Value,
    /// As it is stored, if that is known.
    pub(crate) stored: Option<Bytes>,
    /// Revision of its last write.
    pub(crate) revision: i64,
    /// Whether it was read from the store itself, so that what is decided by it is final.
    pub(crate) is_live: bool,
}

/// The end of an attempt to write.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// Done, at this revision.
    Done(i64),
    /// Someone else was faster; this is what there is now.
    Lost(Option<Current>),
}

impl Registry {
    /// Reads an object from the store itself.
    pub(crate) async fn read_live(&self, key: &str) -> Result<Option<Current>, ApiError> {
        let result = self.store.range(Range::key(key.to_owned())).await.map_err(|e| failed(&e))?;
        result.kvs.into_iter().next().map(live).transpose()
    }

    /// Writes `value` if the key's last write was at `expected`; 0 says that it does not exist.
    pub(crate) async fn put(
        &self,
        served: &Served,
        key: &str,
        expected: i64,
        value: Bytes,
    ) -> Result<Attempt, ApiError> {
        let lease = self.lease_for(&served.row).await?;
        let key = Bytes::from(key.to_owned());
        self.attempt(served, key.clone(), expected, Op::Put { key, value, lease }).await
    }

    /// Deletes the key if its last write was at `expected`.
    pub(crate) async fn remove(&self, served: &Served, key: &str, expected: i64) -> Result<Attempt, ApiError> {
        let key = Bytes::from(key.to_owned());
        self.attempt(served, key.clone(), expected, Op::Delete { start: key, end: None }).await
    }

    async fn attempt(&self, served: &Served, key: Bytes, expected: i64, op: Op) -> Result<Attempt, ApiError> {
        let txn = Txn {
            compare: vec![Compare::ModRevision(key.clone(), expected)],
            success: vec![op],
            failure: vec![Op::Get(Range::key(key))],
        };
        let result = self.store.txn(txn).await.map_err(|e| failed(&e))?;
        if result.succeeded {
            self.show(served, result.revision).await;
            return Ok(Attempt::Done(result.revision));
        }
        let found = result.results.into_iter().find_map(|r| match r {
            OpResult::Get(range) => range.kvs.into_iter().next(),
            _ => None,
        });
        Ok(Attempt::Lost(found.map(live).transpose()?))
    }
}

impl Registry {
    /// Waits until the cache has a write, so that whoever was told of it finds it: admission, authorization, a list from
    /// the cache. The write is done whether the cache keeps up or not.
    pub(super) async fn show(&self, served: &Served, revision: i64) {
        let Some(cache) = &served.cache else { return };
        if let Err(error) = cache.wait_until(revision, Instant::now() + SHOW_TIMEOUT).await {
            tracing::warn!(%error, resource = served.row.gvr.resource, revision, "the cache does not keep up");
        }
    }
}

pub(super) fn live(kv: KeyValue) -> Result<Current, ApiError> {
    let stored = object::stored_json(&kv.value).map_err(unreadable)?;
    Ok(Current { value: object::decode(&stored)?, revision: kv.mod_revision, is_live: true, stored: Some(stored) })
}

fn unreadable(error: api_kinds::stored::Error) -> ApiError {
    ApiError::internal(format!("stored object is unreadable: {error}"))
}

/// A failure of the store as the client sees it.
pub(crate) fn failed(error: &StoreError) -> ApiError {
    match error {
        StoreError::Compacted { .. } => ApiError::expired("The resourceVersion for the provided list is too old."),
        StoreError::TooLarge { .. } => ApiError::new(500, Reason::Unknown, "etcdserver: request is too large"),
        StoreError::NoSpace(_) => ApiError::new(500, Reason::Unknown, "etcdserver: mvcc: database space exceeded"),
        StoreError::Unavailable(_) | StoreError::Closed => {
            tracing::warn!(%error, "the store does not answer");
            ApiError::new(503, Reason::ServiceUnavailable, "the store is unavailable")
        }
        other => ApiError::internal(other),
    }
}
