//! All priority levels together: who goes next, how seats are divided, what becomes of a level that is taken away.
//!
//! Beside its seats a request needs a turn: turns are as many as the server can execute at once on its processors, and
//! are given back as soon as a request waits for anything else. With free seats but no free turn a request waits in its
//! queue, so that a burst of one level delays another by a request or two and not by the whole burst. Levels share turns
//! by weight, the weight being their nominal seats.

use crate::borrow::{Claim, divide};
use crate::demand::{Period, Smoothed};
use crate::queue_set::{QueueSet, QueueView, Queuing, Refusal, Seated};
use crate::{Nanos, Work};

/// Time between adjustments of what levels borrow, while there is demand.
pub const ADJUST_EVERY_NS: Nanos = 10_000_000_000;
/// What a turn costs a level of weight one.
const TURN: u64 = 1 << 24;
/// Part of a level's nominal seats that one request may take.
const REQUEST_PART: f64 = 0.15;

/// A level as it is configured.
#[derive(Debug, Clone, PartialEq)]
pub struct LevelConfig {
    /// Its name.
    pub name: String,
    /// Whether its requests never wait and are never refused.
    pub exempt: bool,
    /// Its share of the server's seats.
    pub shares: u32,
    /// Percentage of its seats that others may use.
    pub lendable_percent: u32,
    /// Percentage of its seats that it may use of others'; `None` for any number.
    pub borrowing_percent: Option<u32>,
    /// `None` refuses what finds no seat.
    pub queuing: Option<Queuing>,
}

/// Names a level of a [`System`]. Goes stale when the level is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LevelId {
    index: u32,
    generation: u32,
}

/// A request that is executed. Its owner hands it back to [`System::finish`].
#[derive(Debug, PartialEq, Eq)]
pub struct Running {
    level: LevelId,
    seated: Seated,
    /// How long it waited.
    pub waited: Nanos,
    has_turn: bool,
}

impl Running {
    /// How long its seats stay taken after the answer.
    pub fn extra_ns(&self) -> Nanos {
        self.seated.work.extra_ns
    }

    /// Whether others wait for the turn that it has.
    pub fn has_turn(&self) -> bool {
        self.has_turn
    }

    /// When it began.
    pub fn started(&self) -> Nanos {
        self.seated.started
    }
}

/// What becomes of a request that arrives.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It may run.
    Run(Running),
    /// It waits in this queue; [`System::dispatch`] will name it.
    Wait(u32),
    /// It is refused.
    Refused(Refusal),
    /// The level is gone: classify the request anew.
    Gone,
}

/// What is known of a level.
#[derive(Debug, Clone)]
pub struct LevelView {
    /// Its name.
    pub name: String,
    /// Whether it is exempt.
    pub exempt: bool,
    /// Whether it has queues.
    pub has_queues: bool,
    /// Whether it is only kept until it is idle.
    pub quiescing: bool,
    /// Requests that wait.
    pub waiting: usize,
    /// Requests that are executed.
    pub executing: usize,
    /// Seats taken.
    pub seats_in_use: u64,
    /// Seats that those who wait want.
    pub seats_waiting: u64,
    /// Seats by its shares.
    pub nominal: u32,
    /// What it keeps when all it may lend is lent.
    pub lower: u32,
    /// What it has when it borrows all that it may.
    pub upper: u32,
    /// What it has now.
    pub current: u32,
    /// What it would have liked at the last adjustment.
    pub target: f64,
    /// Demand of the last period.
    pub period: Period,
    /// Demand, smoothed.
    pub smoothed: f64,
    /// Virtual time, in seat-seconds.
    pub r: f64,
}

#[derive(Debug)]
struct Level {
    config: LevelConfig,
    generation: u32,
    /// `None` once it is gone.
    set: Option<QueueSet>,
    quiescing: bool,
    nominal: u32,
    lower: u32,
    upper: u32,
    current: u32,
    target: f64,
    demand: Smoothed,
    /// Turns that it has had, each divided by its weight.
    turns_had: u64,
}

impl Level {
    /// What it may not fall below now: what it wanted lately, within its nominal seats and what it must keep.
    fn lower_now(&self) -> u32 {
        let wanted = self.demand.last.high.ceil().clamp(0.0, f64::from(u32::MAX)) as u32;
        self.lower.max(self.nominal.min(wanted))
    }
}

/// All priority levels.
#[derive(Debug)]
pub struct System {
    levels: Vec<Level>,
    total: u32,
    turns: u32,
    turns_taken: u32,
    /// The furthest that a level had got when it was given a turn.
    turns_pace: u64,
    adjusted: Nanos,
    fair_fraction: f64,
    executing: usize,
    last_end: Nanos,
}

impl System {
    /// No levels yet; `total` seats in all, `turns` requests at once on the processors.
    pub fn new(total: u32, turns: u32) -> Self {
        Self {
            levels: Vec::new(),
            total,
            turns: turns.max(1),
            turns_taken: 0,
            turns_pace: 0,
            adjusted: 0,
            fair_fraction: 0.0,
            executing: 0,
            last_end: 0,
        }
    }

    /// Puts these levels in force. One that is missing takes no more requests and goes when it is idle.
    pub fn configure(&mut self, now: Nanos, configs: &[LevelConfig]) {
        for level in &mut self.levels {
            let config = configs.iter().find(|c| c.name == level.config.name);
            // A level changes between exempt and limited only by being another one.
            let config = config.filter(|c| c.exempt == level.config.exempt);
            level.quiescing = config.is_none();
            if let (Some(config), Some(set)) = (config, &mut level.set) {
                set.configure(config.queuing);
                level.config = config.clone();
            }
        }
        self.reap();
        for config in configs {
            if self.level(&config.name).is_none() {
                self.add(now, config);
            }
        }
        self.set_bounds();
        self.divide(now);
    }

    fn add(&mut self, now: Nanos, config: &LevelConfig) {
        let free = self.levels.iter().position(|l| l.set.is_none());
        let level = Level {
            config: config.clone(),
            generation: free.map_or(0, |at| self.levels[at].generation.wrapping_add(1)),
            set: Some(QueueSet::new(config.queuing, 1, now)),
            quiescing: false,
            nominal: 0,
            lower: 0,
            upper: 0,
            current: 0,
            target: 0.0,
            demand: Smoothed::default(),
            turns_had: self.turns_pace,
        };
        match free {
            Some(at) => self.levels[at] = level,
            None => self.levels.push(level),
        }
    }

    /// Forgets levels that are unwanted and idle. Whether there were any.
    pub fn reap(&mut self) -> bool {
        let mut reaped = false;
        for level in &mut self.levels {
            if level.quiescing && level.set.as_ref().is_some_and(QueueSet::is_idle) {
                level.set = None;
                reaped = true;
            }
        }
        reaped
    }

    /// The level of that name that takes requests.
    pub fn level(&self, name: &str) -> Option<LevelId> {
        let at = self.levels.iter().position(|l| l.set.is_some() && !l.quiescing && l.config.name == name)?;
        Some(LevelId { index: at as u32, generation: self.levels[at].generation })
    }

    fn find(&mut self, id: LevelId) -> Option<&mut Level> {
        self.levels.get_mut(id.index as usize).filter(|l| l.generation == id.generation && l.set.is_some())
    }

    /// Most seats that the estimate of one request of the level may come to; `None` if it has no queues.
    pub fn request_seats_max(&self, id: LevelId) -> Option<u32> {
        let level = self.levels.get(id.index as usize)?;
        let queuing = level.config.queuing?;
        let part = (f64::from(level.nominal) * REQUEST_PART).ceil() as u32;
        Some(part.min(level.nominal / queuing.hand_size.max(1)).max(1))
    }

    fn set_bounds(&mut self) {
        let sum: u64 = self.levels.iter().filter(|l| l.set.is_some()).map(|l| u64::from(l.config.shares)).sum();
        for level in self.levels.iter_mut().filter(|l| l.set.is_some()) {
            let all = u64::from(self.total) * u64::from(level.config.shares);
            level.nominal = u32::try_from(all.div_ceil(sum.max(1))).unwrap_or(u32::MAX);
            let percent = |of: u32, percent: u32| (f64::from(of) * f64::from(percent) / 100.0).round() as u32;
            level.lower = level.nominal - percent(level.nominal, level.config.lendable_percent).min(level.nominal);
            let borrowed = level.config.borrowing_percent.map_or(self.total, |p| percent(level.nominal, p));
            level.upper = level.nominal.saturating_add(borrowed);
        }
    }

    /// Ends a period: levels lend and borrow by what they wanted in it. Returns whether any wanted anything.
    pub fn adjust(&mut self, now: Nanos) -> bool {
        let missed = (now.saturating_sub(self.adjusted) / ADJUST_EVERY_NS).saturating_sub(1);
        let idle = u32::try_from(missed).unwrap_or(u32::MAX);
        self.adjusted = now;
        let mut demanded = false;
        for level in &mut self.levels {
            let Some(set) = &mut level.set else { continue };
            let period = set.demand.reset(now);
            demanded |= period.high > 0.0;
            level.demand.update(period, idle);
        }
        self.divide(now);
        demanded
    }

    fn divide(&mut self, now: Nanos) {
        let alive = |l: &&Level| l.set.is_some();
        let nominal: u32 = self.levels.iter().filter(alive).map(|l| l.nominal).sum();
        let exempt: u32 = self.levels.iter().filter(alive).filter(|l| l.config.exempt).map(Level::lower_now).sum();
        let left = f64::from(nominal.saturating_sub(exempt));
        let (seats, claims) = self.seats_of_limited(left);
        let mut given = seats.into_iter().zip(claims);
        for level in &mut self.levels {
            let Some(set) = &mut level.set else { continue };
            if level.config.exempt {
                level.current = level.lower.max(level.nominal.min(level.demand.last.high.ceil() as u32));
                level.target = f64::from(level.current);
            } else if let Some((seats, claim)) = given.next() {
                level.current = seats.round() as u32;
                level.target = claim.target;
                set.set_limit(now, level.current);
            }
        }
    }

    /// Seats for each limited level, in order, and what it claimed.
    fn seats_of_limited(&mut self, left: f64) -> (Vec<f64>, Vec<Claim>) {
        let limited = self.levels.iter().filter(|l| l.set.is_some() && !l.config.exempt);
        let (least, claims): (Vec<f64>, Vec<Claim>) = limited
            .map(|level| {
                let lower = f64::from(level.lower_now());
                let claim = Claim { lower, upper: f64::from(level.upper), target: lower.max(level.demand.value) };
                (f64::from(level.lower), claim)
            })
            .unzip();
        let lowest: f64 = least.iter().sum();
        let lower: f64 = claims.iter().map(|c| c.lower).sum();
        let (seats, fraction) = if left <= lowest {
            (least, 0.0)
        } else if left <= lower {
            let part = (left - lowest) / (lower - lowest);
            (least.iter().zip(&claims).map(|(least, c)| least + part * (c.lower - least)).collect(), 0.0)
        } else {
            divide(left, &claims)
        };
        self.fair_fraction = fraction;
        (seats, claims)
    }

    /// A request of a flow with that hash arrives.
    pub fn arrive(&mut self, now: Nanos, id: LevelId, flow: u64, work: Work, request: u64) -> Arrival {
        let Some(level) = self.find(id).filter(|l| !l.quiescing) else { return Arrival::Gone };
        let exempt = level.config.exempt;
        let Some(set) = &mut level.set else { return Arrival::Gone };
        if !exempt && set.has_queues() {
            return match set.enqueue(now, flow, work, request) {
                Ok(queue) => Arrival::Wait(queue),
                Err(refusal) => Arrival::Refused(refusal),
            };
        }
        match set.start_directly(now, work, exempt) {
            Ok(seated) => {
                self.executing += 1;
                Arrival::Run(Running { level: id, seated, waited: 0, has_turn: false })
            }
            Err(refusal) => Arrival::Refused(refusal),
        }
    }

    /// The next request that may run, if there are seats and a turn for one.
    pub fn dispatch(&mut self, now: Nanos) -> Option<(u64, Running)> {
        if self.turns_taken >= self.turns {
            return None;
        }
        let pace = self.turns_pace;
        let ready = |level: &Level| level.set.as_ref().is_some_and(|set| set.waiting > 0 && set.can_dispatch());
        let levels = self.levels.iter_mut().enumerate().filter(|(_, level)| ready(level));
        let (index, level) = levels.min_by_key(|(_, level)| level.turns_had.max(pace))?;
        let (request, since, seated) = level.set.as_mut()?.dispatch(now)?;
        let begins = level.turns_had.max(pace);
        level.turns_had = begins + TURN / u64::from(level.nominal.max(1));
        let level = LevelId { index: index as u32, generation: level.generation };
        self.turns_pace = begins;
        self.turns_taken += 1;
        self.executing += 1;
        Some((request, Running { level, seated, waited: now.saturating_sub(since), has_turn: true }))
    }

    /// Whether another request is executed, or was within the last `within` nanoseconds.
    pub fn was_busy(&self, now: Nanos, within: Nanos) -> bool {
        self.executing > 1 || (self.last_end > 0 && now.saturating_sub(self.last_end) < within)
    }

    /// The request waits for something else than a processor: another may have its turn. Whether it had one.
    pub fn give_turn_back(&mut self, running: &mut Running) -> bool {
        let had = std::mem::take(&mut running.has_turn);
        self.turns_taken -= u32::from(had);
        had
    }

    /// The request was answered. If it has [`Running::extra_ns`], [`Self::release`] must follow after that time.
    pub fn finish(&mut self, now: Nanos, running: &mut Running) {
        self.give_turn_back(running);
        self.executing -= 1;
        self.last_end = now;
        let seated = running.seated;
        if let Some(set) = self.find(running.level).and_then(|l| l.set.as_mut()) {
            set.finish(now, &seated);
        }
    }

    /// Gives back the seats that a request kept after its answer.
    pub fn release(&mut self, now: Nanos, running: &Running) {
        if let Some(set) = self.find(running.level).and_then(|l| l.set.as_mut()) {
            set.release(now, &running.seated);
        }
    }

    /// The request will not wait any longer. `false` if it does not wait any more.
    pub fn cancel(&mut self, now: Nanos, id: LevelId, queue: u32, request: u64) -> bool {
        self.find(id).and_then(|l| l.set.as_mut()).is_some_and(|set| set.cancel(now, queue, request))
    }

    /// What was left over at the last adjustment, as a fraction of what was wanted.
    pub fn fair_fraction(&self) -> f64 {
        self.fair_fraction
    }

    fn alive(&self) -> impl Iterator<Item = (&Level, &QueueSet)> {
        self.levels.iter().filter_map(|level| Some((level, level.set.as_ref()?)))
    }

    /// All levels.
    pub fn levels(&self) -> Vec<LevelView> {
        let view = |(level, set): (&Level, &QueueSet)| LevelView {
            name: level.config.name.clone(),
            exempt: level.config.exempt,
            has_queues: set.has_queues(),
            quiescing: level.quiescing,
            waiting: set.waiting,
            executing: set.executing,
            seats_in_use: set.seats_in_use,
            seats_waiting: set.seats_waiting,
            nominal: level.nominal,
            lower: level.lower,
            upper: level.upper,
            current: level.current,
            target: level.target,
            period: level.demand.last,
            smoothed: level.demand.value,
            r: set.r(),
        };
        self.alive().map(view).collect()
    }

    /// Level, index and state of each queue.
    pub fn queues(&self) -> Vec<(&str, usize, QueueView)> {
        self.alive()
            .flat_map(|(level, set)| set.queues().enumerate().map(|(i, q)| (level.config.name.as_str(), i, q)))
            .collect()
    }

    /// Level, queue, place in it, number, arrival and work of each request that waits.
    pub fn waiting(&self) -> Vec<(&str, usize, usize, u64, Nanos, Work)> {
        self.alive()
            .flat_map(|(level, set)| {
                set.waiting_requests().map(|(q, p, id, at, work)| (level.config.name.as_str(), q, p, id, at, work))
            })
            .collect()
    }
}
