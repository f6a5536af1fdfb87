//! What the agent had to do differently because of the machine it runs on. Knows nothing of pods.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

/// One departure from the normal way of working, found by probing the machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Adaptation {
    /// A short stable name, such as `restrict_oom_score_adj`.
    pub name: String,
    /// What the machine lacks and what is done instead, for people.
    pub reason: String,
}

/// A shared list of [`Adaptation`]s; cheap to clone. Holds one entry per name.
#[derive(Clone, Debug, Default)]
pub struct Adaptations(Arc<Mutex<Vec<Adaptation>>>);

impl Adaptations {
    /// Adds an adaptation unless one of this name is there.
    pub fn add(&self, name: &str, reason: impl Into<String>) {
        let mut list = self.0.lock();
        if list.iter().any(|a| a.name == name) {
            return;
        }
        let adaptation = Adaptation { name: name.into(), reason: reason.into() };
        tracing::info!(%adaptation, "adapting to this machine");
        list.push(adaptation);
    }

    /// The adaptations found so far, by name.
    pub fn list(&self) -> Vec<Adaptation> {
        let mut list = self.0.lock().clone();
        list.sort();
        list
    }
}

impl fmt::Display for Adaptation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.reason)
    }
}
