//! How long a refused client is told to stay away, by how many were refused lately.

use std::collections::VecDeque;

/// Longest time to stay away, in seconds.
const SECONDS_MAX: u64 = 8;

/// The refusals of a level over the last seconds. Doubles its advice while many are refused, and takes it back second by
/// second when few are.
#[derive(Debug, Clone)]
pub struct RetryAfter {
    seconds: u64,
    changed: u64,
    /// Second and how many were refused in it; no older than [`SECONDS_MAX`].
    refused: VecDeque<(u64, u64)>,
}

impl Default for RetryAfter {
    fn default() -> Self {
        Self { seconds: 1, changed: 0, refused: VecDeque::new() }
    }
}

impl RetryAfter {
    /// A request is refused in second `now`: how many seconds its client should stay away.
    pub fn refused(&mut self, now: u64) -> u64 {
        match self.refused.back_mut() {
            Some((second, count)) if *second == now => *count += 1,
            _ => {
                self.refused.push_back((now, 1));
                self.adjust(now);
            }
        }
        self.seconds
    }

    /// Judges the whole seconds that have passed.
    fn adjust(&mut self, now: u64) {
        while self.refused.front().is_some_and(|(second, _)| second + SECONDS_MAX < now) {
            self.refused.pop_front();
        }
        let window = now.saturating_sub(self.seconds)..now;
        let lately: u64 = self.refused.iter().filter(|(second, _)| window.contains(second)).map(|(_, n)| n).sum();
        if now - self.changed.min(now) >= self.seconds && lately >= 3 * self.seconds {
            self.seconds = (self.seconds * 2).min(SECONDS_MAX);
            self.changed = now;
        } else if lately < self.seconds && self.seconds > 1 {
            self.seconds -= 1;
            self.changed = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_doubles_under_load_and_shrinks_after() {
        let mut retry = RetryAfter::default();
        let mut advice = Vec::new();
        for second in 10..30 {
            (0..100).for_each(|_| {
                retry.refused(second);
            });
            advice.push(retry.refused(second));
        }
        assert_eq!(advice[..4], [1, 2, 2, 4]);
        assert_eq!(advice.last(), Some(&8));
        let calm: Vec<u64> = (0..8).map(|i| retry.refused(100 + i * 20)).collect();
        assert_eq!(calm, [7, 6, 5, 4, 3, 2, 1, 1]);
        assert!(retry.refused.len() <= 9, "it remembers no more than it judges");
    }
}
