//! What has ended by containerd's events, and not yet by the runtime's list.
//!
//! The CRI plugin hears of an exit when we do, and needs a while to say so: until it does, it is asked, ever more slowly. Pure:
//! `manager` asks and waits.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use k8s_cri::v1::{ContainerState, PodSandboxState};

use super::manager::RELIST_PERIOD;

/// How soon the runtime is asked for the first time; the longest wait is [`RELIST_PERIOD`].
const WAIT_MIN: Duration = Duration::from_millis(3);

/// A state as the runtime lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Sandbox(i32),
    Container(i32),
}

impl State {
    /// A container that has only been made may have ended as well: that it started is not listed at once either.
    fn has_ended(self) -> bool {
        const CREATED: i32 = ContainerState::ContainerCreated as i32;
        const RUNNING: i32 = ContainerState::ContainerRunning as i32;
        match self {
            Self::Sandbox(state) => state != PodSandboxState::SandboxReady as i32,
            Self::Container(state) => !matches!(state, CREATED | RUNNING),
        }
    }
}

/// Pod UID and state by the runtime's id of a container or sandbox.
pub(super) type States = HashMap<String, (String, State)>;

/// Containers and sandboxes of which the runtime has yet to say that they have ended.
#[derive(Debug, Default)]
pub(super) struct Ending {
    ids: HashSet<String>,
    /// Before the runtime is asked again.
    wait: Duration,
}

impl Ending {
    /// Notes an exit.
    pub(super) fn add(&mut self, id: String) {
        self.ids.insert(id);
        self.wait = WAIT_MIN;
    }

    /// How long to wait before the runtime is asked; `None` if it has said all.
    pub(super) fn wait(&self) -> Option<Duration> {
        (!self.ids.is_empty()).then_some(self.wait)
    }

    /// The runtime is asked, and should it not know yet, the next time is later.
    pub(super) fn ask_later(&mut self) {
        self.wait = (self.wait * 2).min(RELIST_PERIOD);
    }

    /// Takes in what the runtime lists. What is not in its list is gone.
    pub(super) fn listed(&mut self, states: &States) {
        self.ids.retain(|id| states.get(id).is_some_and(|(_, state)| !state.has_ended()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREATED: State = State::Container(ContainerState::ContainerCreated as i32);
    const RUNNING: State = State::Container(ContainerState::ContainerRunning as i32);
    const EXITED: State = State::Container(ContainerState::ContainerExited as i32);
    const READY: State = State::Sandbox(PodSandboxState::SandboxReady as i32);
    const NOT_READY: State = State::Sandbox(PodSandboxState::SandboxNotready as i32);

    fn list(states: &[(&str, State)]) -> States {
        states.iter().map(|(id, state)| ((*id).to_owned(), ("uid".to_owned(), *state))).collect()
    }

    #[test]
    fn the_runtime_is_asked_until_it_says_that_a_container_has_ended() {
        let mut ending = Ending::default();
        assert_eq!(ending.wait(), None);
        ending.add("c".into());
        // As a short one is seen whose start is not listed yet.
        for state in [CREATED, CREATED, RUNNING, RUNNING] {
            ending.listed(&list(&[("c", state), ("other", RUNNING)]));
            assert!(ending.wait().is_some(), "{state:?}");
            ending.ask_later();
        }
        ending.listed(&list(&[("c", EXITED), ("other", RUNNING)]));
        assert_eq!(ending.wait(), None);
    }

    #[test]
    fn it_is_asked_ever_more_slowly_until_something_else_ends() {
        let mut ending = Ending::default();
        ending.add("c".into());
        let running = list(&[("c", RUNNING), ("s", READY)]);
        let mut waits = Vec::new();
        for _ in 0..12 {
            ending.listed(&running);
            waits.extend(ending.wait());
            ending.ask_later();
        }
        assert_eq!(waits[..3], [3, 6, 12].map(Duration::from_millis));
        assert_eq!(waits[9..], [RELIST_PERIOD; 3]);
        ending.add("s".into());
        ending.listed(&running);
        assert_eq!(ending.wait(), Some(WAIT_MIN));
        ending.listed(&list(&[("c", EXITED), ("s", READY)]));
        assert!(ending.wait().is_some(), "the sandbox has not ended");
        ending.listed(&list(&[("s", NOT_READY)]));
        assert_eq!(ending.wait(), None);
    }

    #[test]
    fn what_is_gone_is_not_asked_about() {
        let mut ending = Ending::default();
        ending.add("c".into());
        ending.listed(&list(&[]));
        assert_eq!(ending.wait(), None);
    }
}
