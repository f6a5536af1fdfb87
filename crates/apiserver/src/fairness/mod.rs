//! Priority and fairness at work: each request is classified, takes seats, waits its turn or is refused.
//!
//! What is decided is decided in the crate `flow`; here are the lock around it, the tasks that wait, the objects that
//! configure it ([`feed`]) and what is told of it. With the feature off, two plain limits take its place.

mod config;
mod dump;
mod estimate;
mod feed;
mod metrics;
mod passage;

pub(crate) use dump::serve as dump;
pub(crate) use feed::{load, start};
pub(crate) use passage::{Passage, Within};

use crate::authn::UserInfo;
use crate::authn::user::MASTERS;
use crate::body::{self, Body};
use crate::query::Query;
use crate::request_info::RequestInfo;
use crate::request_metrics::Terminated;
use crate::server::Inner;
use arc_swap::ArcSwap;
use config::Schema;
use flow::retry::RetryAfter;
use flow::rules::{Digest, Target};
use flow::{Arrival, LevelId, Nanos, Refusal, Running, System, Work, shuffle};
use http::{HeaderValue, Response, StatusCode, header};
use metrics::Metrics;
use parking_lot::Mutex;
use passage::Seat;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};
use telemetry::metrics::Registry;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

/// Longest that a request waits in a queue.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// A request may wait for this part of the time that it may take.
const WAIT_PART: u32 = 4;
/// So long after another request a request lets others arrive before it is executed, so that they can be put in order.
const BUSY_NS: Nanos = 200_000;
/// Times that a request is classified anew because its level went meanwhile.
const CLASSIFY_MAX: usize = 8;

/// The gate that requests pass.
#[derive(Debug)]
pub(crate) struct Fairness {
    enabled: bool,
    /// Schemas in the order in which they are asked.
    schemas: ArcSwap<Vec<Arc<Schema>>>,
    state: Mutex<State>,
    origin: Instant,
    default_wait: Duration,
    /// Whether somebody adjusts what levels borrow; if not, the next request wakes them.
    adjusting: AtomicBool,
    wake_adjuster: Notify,
    /// Held while what is stored is read and put in force.
    loading: Mutex<()>,
    metrics: Metrics,
    /// In place of all that, when the feature is off: requests that read, requests that write.
    plain: [Arc<Semaphore>; 2],
    /// Requests that read and that write: executed, waiting.
    executing: [AtomicI64; 2],
    waiting: [AtomicI64; 2],
}

#[derive(Debug)]
struct State {
    system: System,
    waiters: HashMap<u64, Waiter>,
    next_id: u64,
    retry: HashMap<String, RetryAfter>,
}

/// A request that waits, with what is shown of it.
#[derive(Debug)]
struct Waiter {
    sender: oneshot::Sender<Running>,
    schema: String,
    distinguisher: String,
    user: String,
    info: RequestInfo,
    arrived: jiff::Timestamp,
}

impl State {
    /// Lets go whoever may; gives what runs of `own`.
    fn dispatch(&mut self, now: Nanos, own: Option<u64>) -> Option<Running> {
        let mut mine = None;
        while let Some((id, running)) = self.system.dispatch(now) {
            if own == Some(id) {
                mine = Some(running);
                continue;
            }
            let gone = match self.waiters.remove(&id) {
                Some(waiter) => waiter.sender.send(running).err(),
                None => Some(running),
            };
            if let Some(mut running) = gone {
                self.system.finish(now, &mut running);
            }
        }
        mine
    }
}

/// What the gate is told of a request.
pub(crate) struct Asked<'a> {
    pub(crate) user: &'a UserInfo,
    pub(crate) info: &'a RequestInfo,
    pub(crate) query: &'a Query,
    /// How long it may take altogether; `None` for a long-running one.
    pub(crate) limit: Option<Duration>,
    /// Whether it is part of a request that has passed.
    pub(crate) within: bool,
}

impl Asked<'_> {
    fn is_watch(&self) -> bool {
        self.info.verb == "watch"
    }

    /// 0 reads, 1 writes.
    fn kind(&self) -> usize {
        usize::from(!self.info.is_reading())
    }

    fn digest(&self) -> Digest<'_> {
        let (info, user) = (self.info, self.user);
        let target = if info.is_resource {
            Target::Resource {
                group: &info.api_group,
                resource: &info.resource,
                subresource: &info.subresource,
                namespace: &info.namespace,
            }
        } else {
            Target::Path(&info.path)
        };
        Digest { user: &user.name, groups: &user.groups, verb: &info.verb, target }
    }
}

/// What becomes of a request that arrives.
enum Step<'a> {
    /// Its level is gone: classify it anew.
    Gone,
    Refused(Box<Response<Body>>),
    Run {
        running: Running,
        work: Work,
        /// Whether others were executed a moment ago, so that more of them may arrive.
        behind_others: bool,
    },
    Wait {
        place: Place<'a>,
        work: Work,
    },
}

impl Fairness {
    /// A gate without configuration; [`start`] gives it one.
    pub(crate) fn new(
        limits: &crate::config::Limits,
        enabled: bool,
        registry: &Registry,
    ) -> Result<Self, telemetry::metrics::Error> {
        let total = limits.inflight_reading_max.saturating_add(limits.inflight_writing_max);
        let total = u32::try_from(total).unwrap_or(u32::MAX);
        let turns = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX));
        let system = System::new(total, turns);
        let plain = [limits.inflight_reading_max, limits.inflight_writing_max];
        Ok(Self {
            enabled,
            schemas: ArcSwap::default(),
            state: Mutex::new(State { system, waiters: HashMap::new(), next_id: 0, retry: HashMap::new() }),
            origin: Instant::now(),
            default_wait: (limits.request_timeout / WAIT_PART).min(WAIT_MAX),
            adjusting: AtomicBool::new(false),
            wake_adjuster: Notify::new(),
            loading: Mutex::new(()),
            metrics: Metrics::new(registry)?,
            plain: plain.map(|most| {
                let most = if most == 0 { Semaphore::MAX_PERMITS } else { most.min(Semaphore::MAX_PERMITS) };
                Arc::new(Semaphore::new(most))
            }),
            executing: Default::default(),
            waiting: Default::default(),
        })
    }

    fn now(&self) -> Nanos {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Lets the request pass, at once or after a wait, or answers it.
    pub(crate) async fn enter(&self, server: &Arc<Inner>, asked: Asked<'_>) -> Result<Passage, Box<Response<Body>>> {
        if asked.within || (asked.limit.is_none() && !asked.is_watch()) {
            return Ok(Passage::Free);
        }
        if !self.enabled {
            return if asked.is_watch() { Ok(Passage::Free) } else { self.enter_plainly(&asked) };
        }
        let arrived = Instant::now();
        for _ in 0..CLASSIFY_MAX {
            let Some((schema, step)) = self.arrive(server, &asked) else { return Ok(Passage::Free) };
            let seat = |running, work: Work| self.passage(server, &asked, schema.clone(), running, work);
            match step {
                Step::Gone => {}
                Step::Refused(answer) => return Err(answer),
                Step::Run { running, work, behind_others } => {
                    let passage = seat(running, work);
                    if behind_others {
                        tokio::task::yield_now().await;
                    }
                    return Ok(passage);
                }
                Step::Wait { place, work } => {
                    let wait = asked.limit.map_or(self.default_wait, |l| l / WAIT_PART).min(WAIT_MAX);
                    if let Some(running) = self.wait(place, &schema, work, asked.kind(), arrived + wait).await {
                        return Ok(seat(running, work));
                    }
                    schema.metrics.refused_waits.observe(arrived.elapsed().as_secs_f64());
                    return Err(self.refuse(&mut self.state.lock(), &schema, "time-out"));
                }
            }
        }
        Err(Box::new(too_many(1)))
    }

    /// Finds the schema, and lets the level decide. `None` before there is any schema.
    fn arrive<'a>(&'a self, server: &Inner, asked: &Asked<'_>) -> Option<(Arc<Schema>, Step<'a>)> {
        let digest = asked.digest();
        let schemas = self.schemas.load();
        let schema = schemas.get(config::classify(&schemas, &digest))?.clone();
        drop(schemas);
        let work = estimate::work(server, asked.info, asked.query, &schema);
        let distinguisher = schema.spec.distinguish(&digest);
        let hash = shuffle::hash(&schema.name, distinguisher);
        schema.metrics.estimated.observe(f64::from(work.seats_max()));
        let now = self.now();
        let mut state = self.state.lock();
        let id = state.next_id;
        state.next_id += 1;
        let step = match state.system.arrive(now, schema.level, hash, work, id) {
            Arrival::Gone => Step::Gone,
            Arrival::Run(running) => Step::Run { running, work, behind_others: false },
            Arrival::Refused(Refusal::QueueFull) => Step::Refused(self.refuse(&mut state, &schema, "queue-full")),
            Arrival::Refused(Refusal::ConcurrencyLimit) => {
                Step::Refused(self.refuse(&mut state, &schema, "concurrency-limit"))
            }
            Arrival::Wait(queue) => {
                self.note_demand();
                match state.dispatch(now, Some(id)) {
                    Some(running) => Step::Run { running, work, behind_others: state.system.was_busy(now, BUSY_NS) },
                    None => {
                        let (sender, receiver) = oneshot::channel();
                        let waiter = Waiter {
                            sender,
                            schema: schema.name.clone(),
                            distinguisher: distinguisher.to_owned(),
                            user: asked.user.name.clone(),
                            info: asked.info.clone(),
                            arrived: jiff::Timestamp::now(),
                        };
                        state.waiters.insert(id, waiter);
                        Step::Wait { place: Place { fairness: self, level: schema.level, queue, id, receiver }, work }
                    }
                }
            }
        };
        drop(state);
        Some((schema, step))
    }

    async fn wait(
        &self,
        mut place: Place<'_>,
        schema: &Schema,
        work: Work,
        kind: usize,
        until: Instant,
    ) -> Option<Running> {
        let _shown = Shown::new(self, schema, work, kind);
        match tokio::time::timeout_at(until.into(), &mut place.receiver).await {
            Ok(Ok(running)) => Some(running),
            _ => place.leave(),
        }
    }

    fn passage(
        &self,
        server: &Arc<Inner>,
        asked: &Asked<'_>,
        schema: Arc<Schema>,
        running: Running,
        work: Work,
    ) -> Passage {
        let (seats, kind) = (work.seats_max(), asked.kind());
        schema.metrics.note_started(Duration::from_nanos(running.waited));
        schema.metrics.note_running(1, seats);
        self.executing[kind].fetch_add(1, Ordering::Relaxed);
        let watch = asked.is_watch();
        Passage::Seated(Seat { server: server.clone(), schema, running: Some(running), seats, kind, watch })
    }

    /// Wakes the task that adjusts borrowing, unless it is awake.
    fn note_demand(&self) {
        if !self.adjusting.load(Ordering::Relaxed) && !self.adjusting.swap(true, Ordering::AcqRel) {
            self.wake_adjuster.notify_one();
        }
    }

    fn refuse(&self, state: &mut State, schema: &Schema, reason: &str) -> Box<Response<Body>> {
        self.metrics.rejected(&schema.level_name, &schema.name, reason);
        let retry = state.retry.entry(schema.level_name.clone()).or_default();
        let mut answer = too_many(retry.refused(self.origin.elapsed().as_secs()));
        passage::mark(answer.headers_mut(), schema);
        Box::new(answer)
    }

    /// Takes a place among all requests that read, or that write. Those of the administrators' group are not counted.
    fn enter_plainly(&self, asked: &Asked<'_>) -> Result<Passage, Box<Response<Body>>> {
        if asked.user.in_group(MASTERS) {
            return Ok(Passage::Free);
        }
        let places = &self.plain[asked.kind()];
        let permit: Result<OwnedSemaphorePermit, _> = places.clone().try_acquire_owned();
        permit.map(Passage::Counted).map_err(|_| Box::new(too_many(1)))
    }

    /// Requests under way that read and that write, and those that wait.
    pub(crate) fn counts(&self, limits: &crate::config::Limits) -> [(i64, i64); 2] {
        let most = [limits.inflight_reading_max, limits.inflight_writing_max];
        std::array::from_fn(|kind| {
            let plain = most[kind].saturating_sub(self.plain[kind].available_permits());
            let seated = self.executing[kind].load(Ordering::Relaxed);
            let waiting = self.waiting[kind].load(Ordering::Relaxed);
            (seated + i64::try_from(plain).unwrap_or(i64::MAX), waiting)
        })
    }

    /// Brings the gauges of the levels up to date.
    pub(crate) fn gather(&self) {
        self.metrics.levels(&self.state.lock().system);
    }
}

/// A place in a queue. Left behind, it is taken out.
struct Place<'a> {
    fairness: &'a Fairness,
    level: LevelId,
    queue: u32,
    id: u64,
    receiver: oneshot::Receiver<Running>,
}

impl Place<'_> {
    /// Leaves the queue; what may run after all is given.
    fn leave(&mut self) -> Option<Running> {
        let now = self.fairness.now();
        let mut state = self.fairness.state.lock();
        state.waiters.remove(&self.id);
        if state.system.cancel(now, self.level, self.queue, self.id) {
            return None;
        }
        self.receiver.try_recv().ok()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(mut running) = self.leave() {
            let now = self.fairness.now();
            let mut state = self.fairness.state.lock();
            state.system.finish(now, &mut running);
            state.dispatch(now, None);
        }
    }
}

/// Counts a request among those that wait, for as long as it lives.
struct Shown<'a> {
    fairness: &'a Fairness,
    schema: &'a Schema,
    seats: u32,
    kind: usize,
}

impl<'a> Shown<'a> {
    fn new(fairness: &'a Fairness, schema: &'a Schema, work: Work, kind: usize) -> Self {
        fairness.waiting[kind].fetch_add(1, Ordering::Relaxed);
        schema.metrics.note_waiting(1, work.seats_max());
        Self { fairness, schema, seats: work.seats_max(), kind }
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.fairness.waiting[self.kind].fetch_sub(1, Ordering::Relaxed);
        self.schema.metrics.note_waiting(-1, self.seats);
    }
}

/// The answer to a request that finds no place.
fn too_many(retry_after_s: u64) -> Response<Body> {
    let mut busy = body::error(StatusCode::TOO_MANY_REQUESTS, "Too many requests, please try again later.");
    busy.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after_s));
    busy.extensions_mut().insert(Terminated);
    busy
}
