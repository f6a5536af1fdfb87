//! One watch of a cache.

use std::sync::Arc;

use store::Revision;
use tokio::sync::Notify;

use crate::cache::{Cache, CacheError};
use crate::event::Event;
use crate::ring::Pull;

/// Delivers events in order, without a gap, or ends. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    cache: Arc<Cache>,
    id: u64,
    wake: Arc<Notify>,
    revision: Revision,
}

impl Watch {
    pub(crate) fn new(cache: Arc<Cache>, id: u64, wake: Arc<Notify>, revision: Revision) -> Self {
        Self { cache, id, wake, revision }
    }

    /// The next events: at least one, of whole revisions, in order. May be cancelled without loss.
    ///
    /// # Errors
    /// `TooOld` when the watch was too slow or the cache had to be loaded anew; `Closed`. It then stays ended.
    pub async fn next(&mut self) -> Result<Vec<Arc<Event>>, CacheError> {
        loop {
            if let Some(events) = self.try_next()? {
                return Ok(events);
            }
            self.wake.notified().await;
        }
    }

    /// As [`Watch::next`], but `None` if there is nothing yet.
    ///
    /// # Errors
    /// As [`Watch::next`].
    pub fn try_next(&mut self) -> Result<Option<Vec<Arc<Event>>>, CacheError> {
        let mut ring = self.cache.ring().lock();
        match ring.pull(self.id) {
            Pull::Events(events, revision) => {
                self.revision = self.revision.max(revision);
                Ok(Some(events))
            }
            Pull::Nothing(revision) => {
                self.revision = self.revision.max(revision);
                Ok(None)
            }
            Pull::CutOff if self.cache.is_closed() => Err(CacheError::Closed),
            Pull::CutOff => Err(CacheError::TooOld { oldest: ring.since }),
        }
    }

    /// Everything up to this revision was delivered. A bookmark may carry it, if [`Watch::try_next`] has just said
    /// that there is nothing (which also moves it on; see [`Cache::catch_up`] for a resource where nothing happens).
    pub fn revision(&self) -> Revision {
        self.revision
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.cache.ring().lock().unsubscribe(self.id);
    }
}
