//! Priority and fairness, decided in pure code: which request goes next, which waits, which is refused.
//!
//! A [`System`] holds priority levels. Each has seats; a request takes as many as its [`Work`] is wide. Within a level
//! requests wait in queues that shuffle sharding deals out ([`shuffle`]) and that are served fairly by virtual time
//! ([`queue_set`]). Levels lend each other seats they do not use ([`borrow`]). Time is a parameter. Knows no HTTP, no
//! tasks and no clock; the rules of upstream's API Priority and Fairness (KEP-1040), tested by seeded simulation in
//! `tests/`.

#![forbid(unsafe_code)]

pub mod borrow;
pub mod demand;
pub mod estimate;
pub mod queue_set;
pub mod retry;
pub mod rules;
pub mod shuffle;
pub mod system;

pub use queue_set::{Queuing, Refusal};
pub use system::{Arrival, LevelConfig, LevelId, Running, System};

/// Time since the start of the process, in nanoseconds.
pub type Nanos = u64;

/// How much of the server a request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Seats while it is executed.
    pub initial_seats: u32,
    /// Seats for [`Work::extra_ns`] after it is answered, while watchers are told of its change.
    pub final_seats: u32,
    /// How long the seats are kept after the answer, in nanoseconds.
    pub extra_ns: Nanos,
}

impl Work {
    /// Work of `seats` that ends with the answer.
    pub const fn seats(seats: u32) -> Self {
        Self { initial_seats: seats, final_seats: 0, extra_ns: 0 }
    }

    /// Seats that it holds from start to end.
    pub fn seats_max(self) -> u32 {
        self.initial_seats.max(self.final_seats)
    }

    /// What it is expected to take altogether, in seat-nanoseconds.
    fn total(self) -> u128 {
        u128::from(self.initial_seats) * u128::from(EXPECTED_NS)
            + u128::from(self.final_seats) * u128::from(self.extra_ns)
    }
}

/// How long a request is expected to be executed, until it is known.
pub(crate) const EXPECTED_NS: Nanos = 3_000_000;
