//! Whether those who make requests are at work: while they are, more requests are likely to come. Knows nothing of what they
//! ask.

use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

/// How many threads are at work that may make requests. It is told by who owns them, a runtime for example when it parks and
/// unparks its threads.
#[derive(Debug, Default)]
pub struct Activity {
    busy: AtomicUsize,
    /// Somebody waits for the others to be done.
    is_waited_for: AtomicBool,
    turn: Mutex<()>,
    done: Condvar,
}

impl Activity {
    /// A thread goes to work.
    pub fn begin(&self) {
        self.busy.fetch_add(1, Ordering::SeqCst);
    }

    /// A thread has nothing more to do; it has begun before.
    pub fn end(&self) {
        if self.busy.fetch_sub(1, Ordering::SeqCst) == 1 && self.is_waited_for.load(Ordering::SeqCst) {
            // Whoever waits has looked before this, and waits by now.
            drop(self.turn.lock());
            self.done.notify_all();
        }
    }

    /// Waits until no thread is at work, or `until` then.
    pub(super) fn wait_until_done(&self, until: Instant) {
        if self.busy.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut turn = self.turn.lock();
        self.is_waited_for.store(true, Ordering::SeqCst);
        while self.busy.load(Ordering::SeqCst) > 0 {
            if self.done.wait_until(&mut turn, until).timed_out() {
                break;
            }
        }
        self.is_waited_for.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn who_waits_goes_on_when_the_last_one_is_done() {
        let activity = Activity::default();
        activity.wait_until_done(Instant::now() + LONG);
        activity.begin();
        activity.begin();
        let (goes_on, went_on) = mpsc::channel();
        std::thread::scope(|threads| {
            threads.spawn(|| {
                activity.wait_until_done(Instant::now() + LONG);
                goes_on.send(()).expect("the test listens");
            });
            while !activity.is_waited_for.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            activity.end();
            assert!(went_on.try_recv().is_err(), "one is still at work");
            activity.end();
            went_on.recv().expect("it goes on");
        });
    }

    #[test]
    fn nobody_is_waited_for_longer_than_was_said() {
        let activity = Activity::default();
        activity.begin();
        activity.wait_until_done(Instant::now());
        activity.end();
        activity.begin();
        activity.wait_until_done(Instant::now() + Duration::from_millis(1));
        assert!(!activity.is_waited_for.load(Ordering::SeqCst));
    }
}
