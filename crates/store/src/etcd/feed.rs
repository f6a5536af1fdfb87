//! The watch of all keys that feeds the hub, taken up again where it ended.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{WatchOptions, WatchResponse, WatchStream};

use super::convert::{copy_key_value, failure, to_revision};
use super::{ANSWER_BYTES_MAX, Link};
use crate::contract::{Event, EventKind, Revision, StoreError};
use crate::hub::{Change, Chunk, Hub};

/// First and longest pause before a lost watch is tried again.
const RETRY_PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Feeds the hub for ever; every change once.
pub(super) async fn run(link: Arc<Link>, hub: Arc<Hub>) {
    let mut pause = RETRY_PAUSES.0;
    loop {
        let before = hub.published();
        let error = match follow(&link, &hub).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        if hub.published() > before {
            pause = RETRY_PAUSES.0;
        }
        tracing::warn!(error = &error as &dyn std::error::Error, "the watch of etcd ended and is taken up again");
        if matches!(error, StoreError::Compacted { .. }) {
            // What happened in between cannot be had; whoever watches has to list again.
            match link.revision().await {
                Ok(revision) => hub.lose_before(revision + 1),
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "etcd does not answer"),
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_PAUSES.1);
    }
}

async fn follow(link: &Link, hub: &Hub) -> Result<std::convert::Infallible, StoreError> {
    let mut stream = open(link, hub.published() + 1).await?;
    loop {
        // No timeout: a dead connection is found out by its keep-alive.
        let changes = changes_of(&next(&mut stream).await?, hub.published())?;
        if let Some(last) = changes.last() {
            let revision = last.revision;
            hub.publish(changes, revision);
        }
    }
}

async fn open(link: &Link, from: Revision) -> Result<WatchStream, StoreError> {
    let mut client = link.client.watch_client().max_decoding_message_size(ANSWER_BYTES_MAX);
    let options = WatchOptions::new().with_all_keys().with_start_revision(from);
    link.answer(async move { client.watch("", Some(options)).await }).await
}

async fn next(stream: &mut WatchStream) -> Result<WatchResponse, StoreError> {
    let message = stream.message().await.map_err(|error| failure(&error))?;
    message.ok_or_else(|| StoreError::Unavailable("etcd ended the watch".to_owned()))
}

/// What a response brings that is newer than `known`. etcd sends whole revisions, unless fragments are asked for.
fn changes_of(response: &WatchResponse, known: Revision) -> Result<Vec<Change>, StoreError> {
    if response.canceled() {
        return Err(match response.compact_revision() {
            0 => StoreError::Unavailable(format!("etcd cancelled the watch: {}", response.cancel_reason())),
            oldest => StoreError::Compacted { oldest },
        });
    }
    to_revision(response.header())?;
    let mut changes: Vec<Change> = Vec::new();
    for event in response.events() {
        let Some(kv) = event.kv().filter(|kv| kv.mod_revision() > known) else { continue };
        let kind = match event.event_type() {
            etcd_client::EventType::Put => EventKind::Put,
            etcd_client::EventType::Delete => EventKind::Delete,
        };
        let revision = kv.mod_revision();
        let event = Event { kind, kv: copy_key_value(kv), previous: None };
        match changes.last_mut() {
            Some(change) if change.revision == revision => change.events.push(event),
            _ => changes.push(Change { revision, events: vec![event] }),
        }
    }
    Ok(changes)
}

/// Changes from a revision on that is known to have happened.
pub(super) async fn changes(link: &Link, from: Revision) -> Result<Chunk, StoreError> {
    let read = async {
        let mut stream = open(link, from).await?;
        loop {
            let changes = changes_of(&next(&mut stream).await?, from - 1)?;
            if let Some(last) = changes.last() {
                let upto = last.revision;
                return Ok(Chunk { changes, upto });
            }
        }
    };
    match tokio::time::timeout(link.timeout, read).await {
        Ok(chunk) => chunk,
        Err(_) => Err(StoreError::Unavailable(format!("etcd sent no events in {:?}", link.timeout))),
    }
}
