//! What extension servers say of themselves, of those that are followed.

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::watch;

/// Something that is read at any moment, and changed by those who ask extension servers.
#[derive(Debug, Default)]
pub(super) struct Said<M> {
    current: ArcSwap<M>,
    /// Held by who changes it.
    changing: Mutex<()>,
}

impl<M: Clone> Said<M> {
    /// As it is now.
    pub(super) fn load(&self) -> Guard<Arc<M>> {
        self.current.load()
    }

    /// Changes it, unless who found that out is `told` nothing any more: it ends soon, but may have had its answer when its server
    /// was forgotten.
    pub(super) fn publish<T>(&self, told: &watch::Receiver<T>, change: impl FnOnce(&mut M)) {
        let _changing = self.changing.lock();
        if told.has_changed().is_ok() {
            self.change(change);
        }
    }

    /// Changes it, if it is not as it should be, after others have been told that nothing more is wanted of them.
    pub(super) fn forget(&self, is_right: impl FnOnce(&M) -> bool, change: impl FnOnce(&mut M)) {
        let _changing = self.changing.lock();
        if !is_right(&self.current.load()) {
            self.change(change);
        }
    }

    fn change(&self, change: impl FnOnce(&mut M)) {
        let mut next = M::clone(&self.current.load());
        change(&mut next);
        self.current.store(Arc::new(next));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_after_it_was_forgotten_is_not_kept() {
        let said = Said::<Vec<u8>>::default();
        let (tells, told) = watch::channel(());
        said.publish(&told, |all| all.push(1));
        tells.send_replace(());
        said.publish(&told, |all| all.push(2));
        assert_eq!(**said.load(), [1, 2], "also what is not asked for the first time");
        drop(tells);
        said.forget(Vec::is_empty, Vec::clear);
        said.publish(&told, |all| all.push(3));
        assert!(said.load().is_empty());
    }
}
