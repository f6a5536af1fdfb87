//! Waiting ever longer between tries: restarts of a container, pulls of an image. Pure: time is a parameter.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};

/// First wait.
const INITIAL: Duration = Duration::from_secs(10);
/// Longest wait.
const MAX: Duration = Duration::from_secs(300);
/// Keys kept at most; past it, expired ones are forgotten first, then any.
const ENTRIES_MAX: usize = 4096;

#[derive(Clone, Copy, Debug)]
struct Entry {
    wait: Duration,
    updated: DateTime<Utc>,
}

/// Waits by key, doubling from 10 s to 5 min, forgotten after twice the longest wait without trouble.
#[derive(Clone, Debug, Default)]
pub struct Backoff(HashMap<String, Entry>);

impl Backoff {
    /// If a try that failed at `since` may not be repeated yet: until when, and the whole wait.
    pub fn waiting(&self, key: &str, since: DateTime<Utc>, now: DateTime<Utc>) -> Option<(DateTime<Utc>, Duration)> {
        let entry = self.0.get(key)?;
        if expired(entry, since) {
            return None;
        }
        let until = since + entry.wait;
        (now < until).then_some((until, entry.wait))
    }

    /// Like [`Backoff::waiting`], counted from the last [`Backoff::next`].
    pub fn waiting_since_update(&self, key: &str, now: DateTime<Utc>) -> Option<(DateTime<Utc>, Duration)> {
        self.waiting(key, self.0.get(key)?.updated, now)
    }

    /// Notes a try after a failure at `since`: the next one waits twice as long.
    pub fn next(&mut self, key: &str, since: DateTime<Utc>, now: DateTime<Utc>) {
        if self.0.len() >= ENTRIES_MAX {
            self.0.retain(|_, e| !expired(e, now));
            if self.0.len() >= ENTRIES_MAX {
                self.0.clear();
            }
        }
        let wait = match self.0.get(key) {
            Some(entry) if !expired(entry, since) => (entry.wait * 2).min(MAX),
            _ => INITIAL,
        };
        self.0.insert(key.into(), Entry { wait, updated: now });
    }

    /// Forgets a key, after success.
    pub fn reset(&mut self, key: &str) {
        self.0.remove(key);
    }
}

fn expired(entry: &Entry, event: DateTime<Utc>) -> bool {
    (event - entry.updated).to_std().is_ok_and(|age| age > MAX * 2)
}

/// A duration as Go prints it: `10s`, `1m20s`, `5m0s`.
pub fn go_duration(d: Duration) -> String {
    let seconds = d.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_five_minutes_and_forgets() {
        let mut backoff = Backoff::default();
        let mut now = DateTime::from_timestamp(1_000_000, 0).unwrap();
        assert_eq!(backoff.waiting("c", now, now), None, "the first restart is at once");
        let mut waits = Vec::new();
        for _ in 0..7 {
            backoff.next("c", now, now);
            let (until, wait) = backoff.waiting("c", now, now).unwrap();
            waits.push(go_duration(wait));
            now = until;
            assert_eq!(backoff.waiting("c", until - wait, now), None);
        }
        assert_eq!(waits, ["10s", "20s", "40s", "1m20s", "2m40s", "5m0s", "5m0s"]);
        now += Duration::from_secs(700);
        assert_eq!(backoff.waiting("c", now, now), None);
    }
}
