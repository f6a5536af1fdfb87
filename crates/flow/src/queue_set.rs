//! The queues of one priority level, served fairly by virtual time.
//!
//! `R`, the level's progress, rises by the seats that each busy queue would get in a bit-by-bit round robin. A queue's
//! next request would end at `next + work`; the queue where that is least is served. A request's true length is known
//! only when it ends, and is then put right (fair queuing for server requests, KEP-1040).

use crate::demand::Integrator;
use crate::{EXPECTED_NS, Nanos, Work, shuffle};
use std::collections::VecDeque;

/// How a level queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queuing {
    /// How many queues there are.
    pub queues: u32,
    /// How many of them one flow may use.
    pub hand_size: u32,
    /// How long one may get before requests are refused.
    pub length_max: u32,
}

/// Why a request is refused at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Its queue is full.
    QueueFull,
    /// The level has no queues and all seats are taken.
    ConcurrencyLimit,
}

/// A request that has left its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seated {
    /// Its queue; `None` where there are none.
    pub queue: Option<u32>,
    /// What it was estimated to take.
    pub work: Work,
    /// When it began.
    pub started: Nanos,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    id: u64,
    work: Work,
    arrival_r: u128,
    since: Nanos,
}

#[derive(Debug, Clone, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    waiting_seats: u64,
    waiting_work: u128,
    executing: u32,
    seats: u64,
    /// Virtual time at which its next request would begin.
    next: i128,
}

impl Queue {
    fn is_busy(&self) -> bool {
        !self.waiting.is_empty() || self.executing > 0
    }

    /// It must not be owed time in which it asked for nothing.
    fn bound_next(&mut self) {
        if let Some(first) = self.waiting.front() {
            self.next = self.next.max(first.arrival_r as i128);
        }
    }
}

/// What a queue looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QueueView {
    /// Requests that wait.
    pub waiting: usize,
    /// Requests that are executed.
    pub executing: u32,
    /// Seats that they hold.
    pub seats: u64,
    /// Virtual time of its next dispatch, in seat-seconds.
    pub next_r: f64,
    /// Sum of the initial seats of what waits.
    pub initial_seats: u64,
    /// Sum of the larger of initial and final seats of what waits.
    pub seats_max: u64,
    /// Expected work of what waits, in seat-seconds.
    pub work: f64,
}

/// The queues and seats of a level.
#[derive(Debug, Clone)]
pub(crate) struct QueueSet {
    queuing: Option<Queuing>,
    limit: u32,
    queues: Vec<Queue>,
    now: Nanos,
    r: u128,
    pub waiting: usize,
    pub executing: usize,
    pub seats_in_use: u64,
    pub seats_waiting: u64,
    busy_queues: u64,
    /// Queues in which somebody waits, in no order.
    occupied: Vec<u32>,
    robin: usize,
    enqueued: usize,
    pub demand: Integrator,
}

impl QueueSet {
    pub fn new(queuing: Option<Queuing>, limit: u32, now: Nanos) -> Self {
        let mut set = Self {
            queuing: None,
            limit,
            queues: Vec::new(),
            now,
            r: 0,
            waiting: 0,
            executing: 0,
            seats_in_use: 0,
            seats_waiting: 0,
            busy_queues: 0,
            occupied: Vec::new(),
            robin: 0,
            enqueued: 0,
            demand: Integrator::starting(now),
        };
        set.configure(queuing);
        set
    }

    /// Queues that are no longer dealt drain first.
    pub fn configure(&mut self, queuing: Option<Queuing>) {
        self.queuing = queuing;
        let wanted = queuing.map_or(0, |q| q.queues as usize);
        while self.queues.len() > wanted && self.queues.last().is_some_and(|q| !q.is_busy()) {
            self.queues.pop();
        }
        if self.queues.len() < wanted {
            self.queues.resize(wanted, Queue::default());
        }
        self.robin = 0;
    }

    pub fn set_limit(&mut self, now: Nanos, limit: u32) {
        self.sync(now);
        self.limit = limit;
    }

    pub fn is_idle(&self) -> bool {
        self.waiting == 0 && self.seats_in_use == 0 && self.executing == 0
    }

    pub fn has_queues(&self) -> bool {
        self.queuing.is_some()
    }

    /// Progress in seat-seconds.
    pub fn r(&self) -> f64 {
        self.r as f64 / 1e9
    }

    fn sync(&mut self, now: Nanos) {
        let passed = now.saturating_sub(self.now);
        self.now = self.now.max(now);
        if self.busy_queues > 0 {
            let seats = (self.seats_in_use + self.seats_waiting).min(u64::from(self.limit));
            self.r += u128::from(seats) * u128::from(passed) / u128::from(self.busy_queues);
        }
    }

    fn note_demand(&mut self) {
        self.demand.set(self.now, (self.seats_in_use + self.seats_waiting) as f64);
    }

    /// Starts a request of a level without queues, if `unlimited` or if there are seats.
    pub fn start_directly(&mut self, now: Nanos, work: Work, unlimited: bool) -> Result<Seated, Refusal> {
        self.sync(now);
        if !unlimited && !self.fits(work) {
            return Err(Refusal::ConcurrencyLimit);
        }
        self.executing += 1;
        self.seats_in_use += u64::from(work.seats_max());
        self.note_demand();
        Ok(Seated { queue: None, work, started: now })
    }

    /// Puts a request into the queue of its hand with the least work. Returns the queue.
    pub fn enqueue(&mut self, now: Nanos, flow: u64, work: Work, id: u64) -> Result<u32, Refusal> {
        self.sync(now);
        let Some(queuing) = self.queuing else { return Err(Refusal::ConcurrencyLimit) };
        let index = self.pick(flow, queuing);
        let length = self.queues[index as usize].waiting.len();
        // Those who wait for a turn only, with seats free, count as if they had their seats.
        let room = u64::from(self.limit) + u64::from(queuing.hand_size) * u64::from(queuing.length_max);
        let full = self.seats_in_use >= u64::from(self.limit) || self.seats_in_use + self.seats_waiting >= room;
        if full && length >= queuing.length_max as usize {
            return Err(Refusal::QueueFull);
        }
        let r = self.r;
        let queue = &mut self.queues[index as usize];
        if !queue.is_busy() {
            queue.next = r as i128;
            self.busy_queues += 1;
        }
        if queue.waiting.is_empty() {
            self.occupied.push(index);
        }
        queue.waiting.push_back(Waiting { id, work, arrival_r: r, since: now });
        queue.waiting_seats += u64::from(work.seats_max());
        queue.waiting_work += work.total();
        self.waiting += 1;
        self.seats_waiting += u64::from(work.seats_max());
        self.note_demand();
        Ok(index)
    }

    /// Of the hand, the queue with the least work that waits; ties go round.
    fn pick(&mut self, flow: u64, queuing: Queuing) -> u32 {
        let hand = shuffle::deal(flow, queuing.queues, queuing.hand_size);
        let cards = hand.cards();
        let offset = self.enqueued % cards.len().max(1);
        self.enqueued = self.enqueued.wrapping_add(1);
        let rotated = cards[offset..].iter().chain(&cards[..offset]);
        rotated.copied().min_by_key(|card| self.queues[*card as usize].waiting_work).unwrap_or(0)
    }

    fn forget_if_empty(&mut self, index: usize) {
        if self.queues[index].waiting.is_empty() {
            self.occupied.retain(|i| *i as usize != index);
        }
    }

    fn fits(&self, work: Work) -> bool {
        let (seats, limit) = (u64::from(work.seats_max()), u64::from(self.limit));
        if seats > limit { self.seats_in_use == 0 } else { self.seats_in_use + seats <= limit }
    }

    /// The queue whose next request would end first in virtual time; ties go round.
    fn next_queue(&self) -> Option<usize> {
        if self.waiting == 0 || self.seats_in_use >= u64::from(self.limit.max(1)) {
            return None;
        }
        let count = self.queues.len();
        let ends = self.occupied.iter().filter_map(|i| {
            let i = *i as usize;
            let first = self.queues[i].waiting.front()?;
            let end = self.queues[i].next + first.work.total() as i128;
            Some((end, (i + count - self.robin - 1) % count, i))
        });
        ends.min().map(|(_, _, i)| i)
    }

    /// Whether [`Self::dispatch`] would start a request.
    pub fn can_dispatch(&self) -> bool {
        self.next_queue().and_then(|i| self.queues[i].waiting.front()).is_some_and(|first| self.fits(first.work))
    }

    /// Takes the next request out of its queue, if there are seats for it: its id, since when it waited, and its seats.
    pub fn dispatch(&mut self, now: Nanos) -> Option<(u64, Nanos, Seated)> {
        self.sync(now);
        let index = self.next_queue()?;
        let first = *self.queues[index].waiting.front()?;
        if !self.fits(first.work) {
            return None;
        }
        let queue = &mut self.queues[index];
        queue.waiting.pop_front();
        queue.waiting_seats -= u64::from(first.work.seats_max());
        queue.waiting_work -= first.work.total();
        self.robin = index;
        self.waiting -= 1;
        self.seats_waiting -= u64::from(first.work.seats_max());
        let mut work = first.work;
        if work.final_seats > self.limit {
            // As much work on fewer seats takes longer.
            work.extra_ns = work.extra_ns * u64::from(work.final_seats) / u64::from(self.limit.max(1));
            work.final_seats = self.limit.max(1);
        }
        let seats = u64::from(work.seats_max());
        queue.executing += 1;
        queue.seats += seats;
        queue.next += work.total() as i128;
        queue.bound_next();
        self.forget_if_empty(index);
        self.executing += 1;
        self.seats_in_use += seats;
        self.note_demand();
        Some((first.id, first.since, Seated { queue: Some(index as u32), work, started: now }))
    }

    /// The request was answered. Its seats stay taken if it has final work; then [`Self::release`] gives them back.
    pub fn finish(&mut self, now: Nanos, seated: &Seated) {
        self.sync(now);
        self.executing -= 1;
        if let Some(index) = seated.queue {
            let queue = &mut self.queues[index as usize];
            let took = i128::from(now.saturating_sub(seated.started));
            queue.next += (took - i128::from(EXPECTED_NS)) * i128::from(seated.work.initial_seats);
            queue.bound_next();
        }
        if seated.work.extra_ns == 0 {
            self.release(now, seated);
        }
    }

    /// Gives back the seats of a finished request.
    pub fn release(&mut self, now: Nanos, seated: &Seated) {
        self.sync(now);
        let seats = u64::from(seated.work.seats_max());
        self.seats_in_use -= seats;
        if let Some(index) = seated.queue {
            let queue = &mut self.queues[index as usize];
            queue.seats -= seats;
            queue.executing -= 1;
            if !queue.is_busy() {
                self.busy_queues -= 1;
            }
        }
        self.note_demand();
    }

    /// Takes a request that waits out of its queue. `false` if it does not wait any more.
    pub fn cancel(&mut self, now: Nanos, index: u32, id: u64) -> bool {
        self.sync(now);
        let Some(queue) = self.queues.get_mut(index as usize) else { return false };
        let Some(at) = queue.waiting.iter().position(|w| w.id == id) else { return false };
        let Some(gone) = queue.waiting.remove(at) else { return false };
        let seats = u64::from(gone.work.seats_max());
        queue.waiting_seats -= seats;
        queue.waiting_work -= gone.work.total();
        queue.bound_next();
        if !queue.is_busy() {
            self.busy_queues -= 1;
        }
        self.forget_if_empty(index as usize);
        self.waiting -= 1;
        self.seats_waiting -= seats;
        self.note_demand();
        true
    }

    /// Each queue, for people who look for what is wrong.
    pub fn queues(&self) -> impl Iterator<Item = QueueView> {
        self.queues.iter().map(|queue| QueueView {
            waiting: queue.waiting.len(),
            executing: queue.executing,
            seats: queue.seats,
            next_r: queue.next as f64 / 1e9,
            initial_seats: queue.waiting.iter().map(|w| u64::from(w.work.initial_seats)).sum(),
            seats_max: queue.waiting_seats,
            work: queue.waiting_work as f64 / 1e9,
        })
    }

    /// Queue and place in it of each request that waits, with its id, arrival and work.
    pub fn waiting_requests(&self) -> impl Iterator<Item = (usize, usize, u64, Nanos, Work)> {
        self.queues.iter().enumerate().flat_map(|(index, queue)| {
            queue.waiting.iter().enumerate().map(move |(place, w)| (index, place, w.id, w.since, w.work))
        })
    }
}
