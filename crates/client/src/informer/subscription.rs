//! Nudges from an informer to one subscriber: coalescing and bounded, so that a slow subscriber costs nothing but
//! its own lateness.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::Key;

/// Keys that may wait for one subscriber. Past it they are forgotten and the subscriber is told to look at everything.
pub const NUDGES_PENDING_MAX: usize = 16_384;

/// What to look at again. The object itself is read from the store, at the time of looking.
#[derive(Debug, Clone)]
pub enum Nudge<K> {
    /// One object was added, changed or deleted.
    Look {
        /// Which.
        key: Key,
        /// What the subscriber could last have seen of it. For one that came and went since, its last state; `None` when
        /// it is new.
        old: Option<Arc<K>>,
    },
    /// Anything may have changed.
    All,
}

/// The receiving end. Nudges for a key that is still waiting melt into one.
pub struct Subscription<K> {
    shared: Arc<Shared<K>>,
}

pub(super) struct Sender<K> {
    shared: Weak<Shared<K>>,
}

struct Shared<K> {
    pending: Mutex<Pending<K>>,
    wake: Notify,
}

struct Pending<K> {
    all: bool,
    order: VecDeque<Key>,
    changes: HashMap<Key, Change<K>>,
}

/// What has become of an object since its nudge began to wait.
struct Change<K> {
    /// As it was before; `None` when it was not there.
    before: Option<Arc<K>>,
    /// Its last state, if it is gone.
    gone: Option<Arc<K>>,
}

pub(super) fn pair<K>() -> (Sender<K>, Subscription<K>) {
    let pending = Pending { all: true, order: VecDeque::new(), changes: HashMap::new() };
    let shared = Arc::new(Shared { pending: Mutex::new(pending), wake: Notify::new() });
    (Sender { shared: Arc::downgrade(&shared) }, Subscription { shared })
}

impl<K> Sender<K> {
    /// Tells of an object that was `old` and now is there or not. Whether the subscriber still lives.
    pub(super) fn send(&self, key: &Key, old: Option<&Arc<K>>, is_there: bool) -> bool {
        let Some(shared) = self.shared.upgrade() else { return false };
        shared.pending.lock().push(key, old, is_there);
        shared.wake.notify_one();
        true
    }
}

impl<K> Pending<K> {
    fn push(&mut self, key: &Key, old: Option<&Arc<K>>, is_there: bool) {
        if self.all {
            return;
        }
        if let Some(change) = self.changes.get_mut(key) {
            if is_there {
                change.gone = None;
            } else if let Some(last) = old {
                change.gone = Some(last.clone());
            }
            return;
        }
        if self.order.len() >= NUDGES_PENDING_MAX {
            self.all = true;
            self.order = VecDeque::new();
            self.changes = HashMap::new();
            return;
        }
        self.order.push_back(key.clone());
        self.changes.insert(key.clone(), Change { before: old.cloned(), gone: None });
    }

    fn pop(&mut self) -> Option<Nudge<K>> {
        if std::mem::take(&mut self.all) {
            return Some(Nudge::All);
        }
        let key = self.order.pop_front()?;
        let old = self.changes.remove(&key).and_then(|change| change.before.or(change.gone));
        Some(Nudge::Look { key, old })
    }
}

impl<K> Subscription<K> {
    /// The next nudge; waits for one. Safe to drop and call again.
    pub async fn next(&mut self) -> Nudge<K> {
        loop {
            if let Some(nudge) = self.try_next() {
                return nudge;
            }
            self.shared.wake.notified().await;
        }
    }

    /// The next nudge if one is waiting.
    pub fn try_next(&mut self) -> Option<Nudge<K>> {
        self.shared.pending.lock().pop()
    }
}
