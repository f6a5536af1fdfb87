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
        /// What the subscriber could last have seen of it; `None` when it was new.
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
    old: HashMap<Key, Option<Arc<K>>>,
}

pub(super) fn pair<K>() -> (Sender<K>, Subscription<K>) {
    let pending = Pending { all: true, order: VecDeque::new(), old: HashMap::new() };
    let shared = Arc::new(Shared { pending: Mutex::new(pending), wake: Notify::new() });
    (Sender { shared: Arc::downgrade(&shared) }, Subscription { shared })
}

impl<K> Sender<K> {
    /// Whether the subscriber still lives.
    pub(super) fn send(&self, key: &Key, old: Option<&Arc<K>>) -> bool {
        let Some(shared) = self.shared.upgrade() else { return false };
        shared.pending.lock().push(key, old);
        shared.wake.notify_one();
        true
    }
}

impl<K> Pending<K> {
    fn push(&mut self, key: &Key, old: Option<&Arc<K>>) {
        if self.all || self.old.contains_key(key) {
            return;
        }
        if self.order.len() >= NUDGES_PENDING_MAX {
            self.all = true;
            self.order = VecDeque::new();
            self.old = HashMap::new();
            return;
        }
        self.order.push_back(key.clone());
        self.old.insert(key.clone(), old.cloned());
    }

    fn pop(&mut self) -> Option<Nudge<K>> {
        if std::mem::take(&mut self.all) {
            return Some(Nudge::All);
        }
        let key = self.order.pop_front()?;
        let old = self.old.remove(&key).flatten();
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
