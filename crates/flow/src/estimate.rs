//! How wide a request is: lists by the objects they go through, changes by the watchers that must be told.
//!
//! The rules are those of upstream's work estimator in v1.30, so that a level divides the same load in the same way.

use crate::{Nanos, Work};

/// No request is estimated wider.
pub const SEATS_MAX: u32 = 10;
/// Objects that one seat goes through.
const OBJECTS_PER_SEAT: u64 = 100;
/// Watchers that one seat tells.
const WATCHERS_PER_SEAT: u32 = 10;
/// How long a seat is kept for telling watchers.
const WATCH_EVENT_NS: Nanos = 5_000_000;

/// What a list asks for, as far as its width goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct List {
    /// Objects of the resource that are stored.
    pub stored: u64,
    /// Page size; 0 for none.
    pub limit: u64,
    /// Whether the cache answers it.
    pub from_cache: bool,
    /// Whether a label or field selector takes part.
    pub selects: bool,
}

/// Width of a list, and of a watch that begins with one.
pub fn list(list: List, seats_max: u32) -> Work {
    let page = if list.limit > 0 { list.limit.min(list.stored) } else { list.stored };
    let objects = match (list.from_cache, list.selects) {
        (true, _) => list.stored,
        (false, true) => list.stored.saturating_add(page),
        (false, false) => page.saturating_mul(2),
    };
    let seats = u32::try_from(objects.div_ceil(OBJECTS_PER_SEAT)).unwrap_or(u32::MAX);
    Work::seats(seats.clamp(1, seats_max.clamp(1, SEATS_MAX)))
}

/// Width of a change that `watchers` will be told of.
pub fn change(watchers: u32, seats_max: u32) -> Work {
    if watchers < WATCHERS_PER_SEAT {
        return Work::seats(1);
    }
    let wanted = watchers.div_ceil(WATCHERS_PER_SEAT);
    let final_seats = wanted.min(seats_max.clamp(1, SEATS_MAX));
    let extra_ns = u64::from(wanted) * WATCH_EVENT_NS / u64::from(final_seats);
    Work { initial_seats: 1, final_seats, extra_ns }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_as_wide_as_what_they_go_through() {
        let stored = |stored| List { stored, ..List::default() };
        let table = [
            (List { from_cache: true, ..stored(0) }, 1),
            (List { from_cache: true, ..stored(399) }, 4),
            (List { from_cache: true, limit: 1, ..stored(399) }, 4),
            (stored(399), 8),
            (List { limit: 50, ..stored(399) }, 1),
            (List { limit: 51, ..stored(399) }, 2),
            (List { limit: 50, selects: true, ..stored(399) }, 5),
            (stored(1_000_000), 10),
        ];
        for (asked, seats) in table {
            assert_eq!(list(asked, 10), Work::seats(seats), "{asked:?}");
        }
        assert_eq!(list(stored(1000), 3), Work::seats(3));
    }

    #[test]
    fn a_change_keeps_seats_while_watchers_are_told() {
        assert_eq!(change(9, 10), Work::seats(1));
        assert_eq!(change(10, 10), Work { initial_seats: 1, final_seats: 1, extra_ns: 5_000_000 });
        assert_eq!(change(91, 10), Work { initial_seats: 1, final_seats: 10, extra_ns: 5_000_000 });
        assert_eq!(change(200, 10), Work { initial_seats: 1, final_seats: 10, extra_ns: 10_000_000 });
    }
}
