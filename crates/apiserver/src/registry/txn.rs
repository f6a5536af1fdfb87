//! The store, as the verbs see it: put if unchanged, delete if unchanged, read the newest.

use super::ranges::Claims;
use super::{Registry, Served, object};
use api_core::{ApiError, Reason};
use bytes::Bytes;
use serde_json::Value;
use std::time::Duration;
use store::{Compare, KeyValue, Op, OpResult, Range, StoreError, Txn, TxnResult};
use tokio::time::Instant;

/// How long the answer to a write waits for the cache.
const SHOW_TIMEOUT: Duration = Duration::from_secs(1);
/// Attempts of one write against others that write the record of ranges. Past it the write is decided anew.
const OVERTAKEN_MAX: usize = 50;

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

/// The end of a transaction on a key.
#[derive(Debug)]
pub(super) enum Committed {
    /// Done, at this revision.
    Done(i64),
    /// A condition did not hold; the key as it is now.
    Lost(Option<KeyValue>),
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
        claims: &Claims,
    ) -> Result<Attempt, ApiError> {
        let lease = self.lease_for(&served.row).await?;
        let key = Bytes::from(key.to_owned());
        self.attempt(served, key.clone(), expected, Op::Put { key, value, lease }, claims).await
    }

    /// Deletes the key if its last write was at `expected`.
    pub(crate) async fn remove(
        &self,
        served: &Served,
        key: &str,
        expected: i64,
        claims: &Claims,
    ) -> Result<Attempt, ApiError> {
        let key = Bytes::from(key.to_owned());
        self.attempt(served, key.clone(), expected, Op::Delete { start: key, end: None }, claims).await
    }

    async fn attempt(
        &self,
        served: &Served,
        key: Bytes,
        expected: i64,
        op: Op,
        claims: &Claims,
    ) -> Result<Attempt, ApiError> {
        match self.commit(&key, expected, (Vec::new(), vec![op]), claims).await? {
            Committed::Done(revision) => {
                self.show(served, revision).await;
                Ok(Attempt::Done(revision))
            }
            Committed::Lost(found) => Ok(Attempt::Lost(found.map(|kv| found_by(expected, kv)).transpose()?)),
        }
    }

    /// Writes if the key's last write was at `expected` and other conditions hold; with it, into the record of ranges what
    /// the write takes and gives back. Loses also if someone else has that by now.
    pub(super) async fn commit(
        &self,
        key: &Bytes,
        expected: i64,
        (conditions, writes): (Vec<Compare>, Vec<Op>),
        claims: &Claims,
    ) -> Result<Committed, ApiError> {
        let mut txn = Txn {
            compare: [vec![Compare::ModRevision(key.clone(), expected)], conditions].concat(),
            success: writes,
            failure: vec![Op::Get(Range::key(key.clone()))],
        };
        let Some(ranges) = self.pools.ranges.as_ref().filter(|_| !claims.is_empty()) else {
            let result = self.store.txn(txn).await.map_err(|e| failed(&e))?;
            return Ok(if result.succeeded {
                Committed::Done(result.revision)
            } else {
                Committed::Lost(found(result))
            });
        };
        let (compares, writes) = (txn.compare.len(), txn.success.len());
        let mut turn = ranges.turn().await;
        for _ in 0..OVERTAKEN_MAX {
            let Some(amendment) = turn.settle(&self.store, claims).await? else { break };
            txn.compare.truncate(compares);
            txn.compare.extend(amendment.compare.iter().cloned());
            txn.success.truncate(writes);
            txn.success.extend(amendment.puts.iter().cloned());
            let result = self.store.txn(txn.clone()).await.map_err(|e| failed(&e))?;
            if result.succeeded {
                turn.wrote(amendment, result.revision);
                return Ok(Committed::Done(result.revision));
            }
            let now = found(result);
            let is_same = now.as_ref().map_or(0, |kv| kv.mod_revision) == expected;
            if !is_same || !turn.refresh(&self.store).await? {
                return Ok(Committed::Lost(now));
            }
        }
        let now = self.store.range(Range::key(key.clone())).await.map_err(|e| failed(&e))?;
        Ok(Committed::Lost(now.kvs.into_iter().next()))
    }
}

/// What the read of a transaction that did not succeed has found.
fn found(result: TxnResult) -> Option<KeyValue> {
    result.results.into_iter().find_map(|r| match r {
        OpResult::Get(range) => range.kvs.into_iter().next(),
        _ => None,
    })
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

/// What a write at `expected` has found instead. Whoever makes something new need not be able to read what is there.
pub(super) fn found_by(expected: i64, kv: KeyValue) -> Result<Current, ApiError> {
    let revision = kv.mod_revision;
    match live(kv) {
        Err(_) if expected == 0 => Ok(Current { value: Value::Null, stored: None, revision, is_live: true }),
        found => found,
    }
}

fn unreadable(error: api_kinds::stored::Error) -> ApiError {
    match error {
        api_kinds::stored::Error::Encrypted => ApiError::internal(error),
        _ => ApiError::internal(format!("stored object is unreadable: {error}")),
    }
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
