//! What a controller has done that its cache may not show yet.
//!
//! Creations are remembered by the version that the server answered, deletions by the object. Both are compared with
//! the cache when somebody asks, so no event can be missed. See the tests below.

use std::collections::HashMap;
use std::time::Duration;

use client::Key;
use client::informer::Store;
use kube::Resource;
use parking_lot::Mutex;
use tokio::time::Instant;

/// After this time an expectation counts as fulfilled, lest a lost one block an object for ever.
pub const EXPECTATION_TIMEOUT: Duration = Duration::from_secs(300);

/// Expectations of one controller, by the object that it acted for.
#[derive(Default)]
pub struct Expectations {
    pending: Mutex<HashMap<Key, Pending>>,
}

struct Pending {
    version: u64,
    deleted: Vec<(Key, String)>,
    since: Instant,
}

impl Expectations {
    /// `owner` has made or changed `object`; the argument is what the server answered.
    pub fn wrote<K: Resource>(&self, owner: &Key, object: &K) {
        let version = object.meta().resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0);
        self.with(owner, |pending| pending.version = pending.version.max(version));
    }

    /// `owner` has deleted `object`.
    pub fn deleted<K: Resource>(&self, owner: &Key, object: &K) {
        let uid = object.meta().uid.clone().unwrap_or_default();
        self.with(owner, |pending| pending.deleted.push((Key::of(object), uid)));
    }

    /// Whether `store` shows all that was done for `owner`. If not, the change that shows it will nudge.
    pub fn satisfied<K: Resource>(&self, owner: &Key, store: &Store<K>) -> bool {
        let mut all = self.pending.lock();
        let Some(pending) = all.get_mut(owner) else { return true };
        pending.deleted.retain(|(key, uid)| {
            store.get(key).is_some_and(|object| {
                object.meta().uid.as_ref() == Some(uid) && object.meta().deletion_timestamp.is_none()
            })
        });
        let shown = store.observed() >= pending.version && pending.deleted.is_empty();
        let satisfied = shown || pending.since.elapsed() > EXPECTATION_TIMEOUT;
        if satisfied {
            all.remove(owner);
        }
        satisfied
    }

    /// Forgets everything about `owner`.
    pub fn forget(&self, owner: &Key) {
        self.pending.lock().remove(owner);
    }

    fn with(&self, owner: &Key, change: impl FnOnce(&mut Pending)) {
        let mut all = self.pending.lock();
        let pending = all.entry(owner.clone()).or_insert_with(|| Pending {
            version: 0,
            deleted: Vec::new(),
            since: Instant::now(),
        });
        pending.since = Instant::now();
        change(pending);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::informer::Handle;
    use k8s_openapi::api::core::v1::Pod;

    fn pod(name: &str, version: &str) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.name = Some(name.into());
        pod.metadata.uid = Some(name.into());
        pod.metadata.resource_version = Some(version.into());
        pod
    }

    #[test]
    fn writes_wait_for_their_version_and_deletions_for_their_object() {
        let handle = Handle::fixed([pod("a", "5")]);
        let (expectations, owner) = (Expectations::default(), Key::new("n", "owner"));
        assert!(expectations.satisfied(&owner, handle.store()));
        expectations.wrote(&owner, &pod("b", "7"));
        assert!(!expectations.satisfied(&owner, handle.store()));
        handle.apply(pod("unrelated", "8"));
        assert!(expectations.satisfied(&owner, handle.store()), "a later version overtakes");

        expectations.deleted(&owner, &pod("a", "5"));
        assert!(!expectations.satisfied(&owner, handle.store()));
        handle.remove(&pod("a", "9"));
        assert!(expectations.satisfied(&owner, handle.store()));
    }
}
