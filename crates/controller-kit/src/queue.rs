//! A deduplicating work queue with delays and per-key backoff.
//!
//! A key is handed out to one worker at a time; adding it meanwhile makes it come again afterwards. A delay sleeps
//! exactly until the earliest key is due, so an idle queue costs nothing. Its size is bounded by the number of
//! distinct keys.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use client::Key;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Delay after the first failure of a key; doubles with each further one.
const BACKOFF_FIRST_MS: u64 = 5;
/// Longest delay after failures.
const BACKOFF_MAX_MS: u64 = 300_000;

/// The queue of one controller. One task calls [`Queue::next`]; anybody may add.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Key>,
    dirty: HashSet<Key>,
    processing: HashSet<Key>,
    due: BTreeSet<(Instant, Key)>,
    due_of: HashMap<Key, Instant>,
    failures: HashMap<Key, u32>,
    /// Since when keys that wait, or that come again after the work on them, do so.
    since: HashMap<Key, Instant>,
    /// Keys that were ever added.
    added: u64,
}

impl Queue {
    /// An empty queue.
    pub fn new() -> Self {
        Queue::default()
    }

    /// Adds `key`, unless it waits already.
    pub fn add(&self, key: Key) {
        if self.state.lock().add(key) {
            self.wake.notify_one();
        }
    }

    /// Adds `key` after `delay`; of several delays of one key the earliest counts.
    pub fn add_after(&self, key: Key, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        if self.state.lock().add_at(key, Instant::now() + delay) {
            self.wake.notify_one();
        }
    }

    /// Adds `key` after a delay that doubles with each call since the last [`Queue::forget`].
    pub fn add_rate_limited(&self, key: Key) -> Duration {
        let failures = {
            let mut state = self.state.lock();
            let failures = state.failures.entry(key.clone()).or_insert(0);
            *failures = failures.saturating_add(1);
            *failures
        };
        let delay = BACKOFF_FIRST_MS.saturating_mul(1 << (failures - 1).min(20)).min(BACKOFF_MAX_MS);
        let delay = Duration::from_millis(delay);
        self.add_after(key, delay);
        delay
    }

    /// Forgets the failures of `key`.
    pub fn forget(&self, key: &Key) {
        self.state.lock().failures.remove(key);
    }

    /// How often `key` has failed since the last [`Queue::forget`].
    pub fn failures(&self, key: &Key) -> u32 {
        self.state.lock().failures.get(key).copied().unwrap_or(0)
    }

    /// Waits for the next key. It is held back from others until [`Queue::done`].
    pub async fn next(&self) -> Key {
        self.next_timed().await.0
    }

    /// The same, with how long the key has waited since it was added or due.
    pub async fn next_timed(&self) -> (Key, Duration) {
        loop {
            let until = match self.state.lock().take(Instant::now()) {
                Ok(found) => return found,
                Err(until) => until,
            };
            match until {
                Some(until) => tokio::select! {
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep_until(until) => {}
                },
                None => self.wake.notified().await,
            }
        }
    }

    /// Ends the work on `key`; if it was added meanwhile, it is ready again.
    pub fn done(&self, key: &Key) {
        let mut state = self.state.lock();
        state.processing.remove(key);
        if state.dirty.contains(key) {
            state.ready.push_back(key.clone());
            self.wake.notify_one();
        }
    }

    /// Keys that were ever added, each time that it did not wait already.
    pub fn added(&self) -> u64 {
        self.state.lock().added
    }

    /// Keys ready to be worked on.
    pub fn depth(&self) -> usize {
        self.state.lock().ready.len()
    }
}

impl State {
    fn add(&mut self, key: Key) -> bool {
        if !self.dirty.insert(key.clone()) {
            return false;
        }
        self.added += 1;
        self.since.insert(key.clone(), Instant::now());
        if self.processing.contains(&key) {
            return false;
        }
        self.ready.push_back(key);
        true
    }

    fn add_at(&mut self, key: Key, at: Instant) -> bool {
        match self.due_of.get(&key).copied() {
            Some(earlier) if earlier <= at => return false,
            Some(later) => {
                self.due.remove(&(later, key.clone()));
            }
            None => {}
        }
        self.due_of.insert(key.clone(), at);
        self.due.insert((at, key));
        true
    }

    /// The next key, or when the earliest delayed one is due.
    fn take(&mut self, now: Instant) -> Result<(Key, Duration), Option<Instant>> {
        while self.due.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, key)) = self.due.pop_first() {
                self.due_of.remove(&key);
                self.add(key);
            }
        }
        let Some(key) = self.ready.pop_front() else {
            return Err(self.due.first().map(|(at, _)| *at));
        };
        self.dirty.remove(&key);
        self.processing.insert(key.clone());
        let waited = self.since.remove(&key).map(|since| now.saturating_duration_since(since)).unwrap_or_default();
        Ok((key, waited))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::cluster(name)
    }

    #[tokio::test]
    async fn a_key_waits_once_and_is_worked_on_by_one() {
        let queue = Queue::new();
        queue.add(key("a"));
        queue.add(key("a"));
        queue.add(key("b"));
        let a = queue.next().await;
        queue.add(key("a"));
        assert_eq!(queue.next().await, key("b"));
        let nothing = tokio::time::timeout(Duration::from_millis(10), queue.next()).await;
        assert!(nothing.is_err(), "a key in work is not handed out");
        queue.done(&a);
        let (again, waited) = queue.next_timed().await;
        assert_eq!(again, key("a"));
        assert!(waited >= Duration::from_millis(10), "it waits since it was added, not since it could be worked on");
        assert_eq!(queue.added(), 3, "what waits already is not added");
    }

    #[tokio::test]
    async fn the_earliest_delay_counts() {
        let queue = Queue::new();
        queue.add_after(key("late"), Duration::from_secs(600));
        queue.add_after(key("a"), Duration::from_secs(600));
        queue.add_after(key("a"), Duration::from_millis(20));
        queue.add_after(key("a"), Duration::from_secs(500));
        let start = Instant::now();
        assert_eq!(queue.next().await, key("a"));
        assert!(start.elapsed() >= Duration::from_millis(20));
        assert_eq!(queue.depth(), 0);
    }

    #[test]
    fn failures_double_the_delay_until_forgotten() {
        let queue = Queue::new();
        let delays: Vec<u128> = (0..4).map(|_| queue.add_rate_limited(key("a")).as_millis()).collect();
        assert_eq!(delays, [5, 10, 20, 40]);
        queue.forget(&key("a"));
        assert_eq!(queue.add_rate_limited(key("a")).as_millis(), 5);
        for _ in 0..64 {
            queue.add_rate_limited(key("a"));
        }
        assert_eq!(queue.add_rate_limited(key("a")).as_millis(), u128::from(BACKOFF_MAX_MS));
    }
}
