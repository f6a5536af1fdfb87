//! History comes to an end: all servers on an etcd, upstream's too, agree by one key who compacts it.
//!
//! The key's version counts the rounds. Who finds it as it was a period ago counts on, and compacts to where the store was
//! then; who finds another has been overtaken, and waits. So history is kept for one period to two, by however many servers.

use super::Link;
use super::convert::to_revision;
use crate::contract::{Revision, StoreError};
use crate::hub::Hub;
use etcd_client::{Compare, CompareOp, Txn, TxnOp, TxnOpResponse};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

/// The key that upstream's servers use.
const KEY: &str = "compact_rev_key";

/// What a server knows of the last round.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Round {
    /// The key's version.
    number: i64,
    /// Where the store was; 0 in the first round, which compacts nothing.
    revision: Revision,
}

/// Takes part for as long as it is not aborted.
pub(super) async fn run(link: Arc<Link>, hub: Arc<Hub>, every: Duration) {
    let mut last = Round::default();
    let mut ticks = tokio::time::interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let compacted = match next(&link, last).await {
            Ok((round, is_ours)) => {
                let until = last.revision;
                last = round;
                if !is_ours || until == 0 {
                    continue;
                }
                compact(&link, until).await.map(|()| hub.forget_before(until))
            }
            Err(error) => Err(error),
        };
        if let Err(error) = compacted {
            tracing::warn!(error = &error as &dyn std::error::Error, "etcd was not compacted");
        }
    }
}

/// Begins the next round, if nobody else has; whether it is ours.
async fn next(link: &Link, last: Round) -> Result<(Round, bool), StoreError> {
    let txn = Txn::new()
        .when([Compare::version(KEY, CompareOp::Equal, last.number)])
        .and_then([TxnOp::put(KEY, last.revision.to_string(), None)])
        .or_else([TxnOp::get(KEY, None)]);
    let answer = link.answer(link.kv().txn(txn)).await?;
    let revision = to_revision(answer.header())?;
    if answer.succeeded() {
        return Ok((Round { number: last.number + 1, revision }, true));
    }
    let number = answer.op_responses().into_iter().find_map(|response| match response {
        TxnOpResponse::Get(found) => found.kvs().first().map(etcd_client::KeyValue::version),
        _ => None,
    });
    Ok((Round { number: number.unwrap_or(0), revision }, false))
}

async fn compact(link: &Link, revision: Revision) -> Result<(), StoreError> {
    match link.answer(link.kv().compact(revision, None)).await {
        // Someone has compacted further.
        Ok(_) | Err(StoreError::Compacted { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
