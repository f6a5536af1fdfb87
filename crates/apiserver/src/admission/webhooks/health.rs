//! Which webhooks have been failing for long, and for whom that is no reason to stop (`docs/adr/0020-webhooks-that-are-down.md`):
//! the cluster's own components, where they keep the cluster and the webhook's own backend alive. Nobody else.

use super::super::{Attributes, Operation};
use crate::authn::UserInfo;
use api_kinds::names;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use tokio::time::Instant;

/// A webhook that has not answered for as long as [`crate::config::Limits`] says is down, if it has been asked so often.
pub const DOWN_AFTER_FAILURES: u32 = 3;
/// One in so long of the calls that could be passed over is made, to find out whether it is up again.
pub const PROBE_EVERY: Duration = Duration::from_secs(10);
/// Longest time that such a call may take.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// The server itself.
const SERVER: &str = "system:apiserver";
/// Namespaces that the cluster itself lives in.
const SYSTEM_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// What is known of a webhook that has failed.
#[derive(Debug, Clone, Copy)]
struct Failing {
    since: Instant,
    failures: u32,
    probed: Instant,
    announced: bool,
}

/// Webhooks that failed when they were last called, by their id.
#[derive(Debug)]
pub struct Health {
    failing: Mutex<HashMap<String, Failing>>,
    down_after: Duration,
}

/// What to do with a call that could be passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Make it.
    Call,
    /// Make it, briefly: the webhook may be up again.
    Probe,
    /// Pass it over.
    Pass,
}

impl Health {
    /// Nothing has failed yet; what fails for `down_after` is down.
    pub fn new(down_after: Duration) -> Self {
        Self { failing: Mutex::default(), down_after }
    }

    /// An answer has come. Whether the webhook had been announced as down.
    pub fn answered(&self, id: &str) -> bool {
        self.failing.lock().remove(id).is_some_and(|f| f.announced)
    }

    /// No answer has come. Whether the webhook is down now.
    pub fn failed(&self, id: &str, now: Instant) -> bool {
        let mut all = self.failing.lock();
        let first = Failing { since: now, failures: 0, probed: now, announced: false };
        let failing = all.entry(id.to_owned()).or_insert(first);
        failing.failures = failing.failures.saturating_add(1);
        failing.is_down(now, self.down_after)
    }

    /// Whether to call a webhook that may be passed over.
    pub fn advice(&self, id: &str, now: Instant) -> Advice {
        let mut all = self.failing.lock();
        match all.get_mut(id) {
            Some(failing) if failing.is_down(now, self.down_after) => {
                if now.duration_since(failing.probed) >= PROBE_EVERY {
                    failing.probed = now;
                    Advice::Probe
                } else {
                    Advice::Pass
                }
            }
            _ => Advice::Call,
        }
    }

    /// Marks that it was announced; whether it was not yet.
    pub fn announce(&self, id: &str) -> bool {
        self.failing.lock().get_mut(id).is_some_and(|f| !std::mem::replace(&mut f.announced, true))
    }

    /// Forgets all others.
    pub fn keep(&self, ids: &HashSet<&str>) {
        self.failing.lock().retain(|id, _| ids.contains(id.as_str()));
    }
}

impl Failing {
    fn is_down(&self, now: Instant, after: Duration) -> bool {
        self.failures >= DOWN_AFTER_FAILURES && now.duration_since(self.since) >= after
    }
}

/// Whether the user is a part of the cluster. `controllers` are the service accounts of its controllers.
pub fn is_component(user: &UserInfo, controllers: &HashSet<String>) -> bool {
    let named = [SERVER, "system:kube-controller-manager", "system:kube-scheduler"];
    named.contains(&user.name.as_str())
        || user.node().is_some()
        || user.service_account().is_some_and(|(ns, name)| ns == "kube-system" && controllers.contains(name))
}

/// Whether the cluster, or the webhook itself, cannot live without the write. `backend` is the namespace of the service
/// behind the webhook.
pub fn is_vital(a: &Attributes<'_>, namespace: &str, backend: Option<&str>) -> bool {
    if namespace.is_empty() {
        // A node that cannot say that it is alive loses its pods, and with them the webhook.
        return a.resource.group.is_empty() && a.resource.resource == names::NODES;
    }
    // The server's own events say that a webhook is down.
    let is_notice = a.user.name == SERVER && a.resource.resource == names::EVENTS && a.operation == Operation::Create;
    is_notice || SYSTEM_NAMESPACES.contains(&namespace) || backend == Some(namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn down_is_long_and_often() {
        let long = Duration::from_secs(30);
        let (health, start) = (Health::new(long), Instant::now());
        assert_eq!(health.advice("a", start), Advice::Call);
        for _ in 0..10 {
            assert!(!health.failed("a", start), "not yet for long");
        }
        let later = start + long;
        assert!(!health.failed("b", later), "not yet often");
        assert!(health.failed("a", later));
        assert!(health.announce("a"));
        assert!(!health.announce("a"));
        assert_eq!(health.advice("a", later), Advice::Probe);
        assert_eq!(health.advice("a", later), Advice::Pass);
        assert_eq!(health.advice("a", later + PROBE_EVERY), Advice::Probe);
        assert!(health.answered("a"));
        assert_eq!(health.advice("a", later), Advice::Call);
        assert!(!health.answered("b"));
        health.failed("c", later);
        health.keep(&HashSet::new());
        assert!(health.failing.lock().is_empty());
    }

    #[test]
    fn components_are_few() {
        let controllers = HashSet::from(["deployment-controller".to_owned()]);
        for (name, group, expected) in [
            ("system:apiserver", "system:masters", true),
            ("system:kube-scheduler", "x", true),
            ("system:node:n", "system:nodes", true),
            ("system:node:n", "x", false),
            ("system:serviceaccount:kube-system:deployment-controller", "x", true),
            ("system:serviceaccount:kube-system:an-add-on", "x", false),
            ("system:serviceaccount:other:deployment-controller", "x", false),
            ("kubernetes-admin", "system:masters", false),
        ] {
            assert_eq!(is_component(&UserInfo::new(name, &[group]), &controllers), expected, "{name}");
        }
    }
}
