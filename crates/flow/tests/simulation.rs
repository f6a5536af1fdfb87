//! The whole of priority and fairness under simulated load: one seed replays a run. Requests arrive, wait, are executed
//! for a drawn time on a fixed number of seats, and what each flow got is compared with what is fair.

use flow::{Arrival, LevelConfig, Nanos, Queuing, Refusal, Running, System, Work, shuffle, system};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

const MS: Nanos = 1_000_000;
const S: Nanos = 1_000 * MS;

fn level(name: &str, shares: u32, lendable: u32) -> LevelConfig {
    LevelConfig {
        name: name.into(),
        exempt: false,
        shares,
        lendable_percent: lendable,
        borrowing_percent: None,
        queuing: Some(Queuing { queues: 64, hand_size: 6, length_max: 50 }),
    }
}

/// A client that keeps `depth` requests under way, each of `work` and executed for about `length`.
#[derive(Clone, Copy)]
struct Client {
    level: &'static str,
    name: &'static str,
    depth: usize,
    work: Work,
    length: Nanos,
    /// Pause between an answer and the next request.
    think: Nanos,
}

const GREEDY: Client = Client { level: "a", name: "greedy", depth: 40, work: Work::seats(1), length: 5 * MS, think: 0 };

#[derive(Debug, Default, Clone)]
struct Got {
    answered: u64,
    refused: u64,
    /// Seat-nanoseconds.
    seat_time: u64,
    waited_max: Nanos,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Send(usize),
    End(u64),
    Release(u64),
}

struct Run {
    system: System,
    clients: Vec<Client>,
    got: Vec<Got>,
    events: BinaryHeap<Reverse<(Nanos, Event)>>,
    running: HashMap<u64, (usize, Running)>,
    owner: HashMap<u64, usize>,
    rng: StdRng,
    next: u64,
    adjust: Nanos,
    /// Seats that each level had taken a step ago.
    taken: HashMap<String, u64>,
}

impl Run {
    fn new(seed: u64, total: u32, turns: u32, levels: &[LevelConfig], clients: &[Client]) -> Self {
        let mut system = System::new(total, turns);
        system.configure(0, levels);
        let mut events = BinaryHeap::new();
        for (i, client) in clients.iter().enumerate() {
            (0..client.depth).for_each(|_| events.push(Reverse((0, Event::Send(i)))));
        }
        Self {
            system,
            clients: clients.to_vec(),
            got: vec![Got::default(); clients.len()],
            events,
            running: HashMap::new(),
            owner: HashMap::new(),
            rng: StdRng::seed_from_u64(seed),
            next: 0,
            adjust: system::ADJUST_EVERY_NS,
            taken: HashMap::new(),
        }
    }

    /// Goes on until `end`, adjusting what is borrowed every ten seconds, and checks the bounds at each step.
    fn until(&mut self, end: Nanos) {
        while let Some(Reverse((now, _))) = self.events.peek()
            && *now < end
        {
            let now = *now;
            if now >= self.adjust {
                self.system.adjust(self.adjust);
                self.adjust += system::ADJUST_EVERY_NS;
                continue;
            }
            let Some(Reverse((_, event))) = self.events.pop() else { break };
            match event {
                Event::Send(client) => self.send(now, client),
                Event::End(id) => self.end(now, id),
                Event::Release(id) => {
                    let (_, running) = self.running.remove(&id).expect("running");
                    self.system.release(now, &running);
                }
            }
            while let Some((id, running)) = self.system.dispatch(now) {
                self.start(now, id, running);
            }
            self.check_bounds();
        }
    }

    fn send(&mut self, now: Nanos, client: usize) {
        let Client { level, name, work, .. } = self.clients[client];
        let id = self.next;
        self.next += 1;
        let level = self.system.level(level).expect("level");
        match self.system.arrive(now, level, shuffle::hash("schema", name), work, id) {
            Arrival::Run(running) => {
                self.owner.insert(id, client);
                self.start(now, id, running);
            }
            Arrival::Wait(_) => {
                self.owner.insert(id, client);
            }
            Arrival::Refused(_) => {
                self.got[client].refused += 1;
                self.events.push(Reverse((now + S, Event::Send(client))));
            }
            Arrival::Gone => panic!("the level is gone"),
        }
    }

    fn start(&mut self, now: Nanos, id: u64, running: Running) {
        let client = self.owner[&id];
        self.got[client].waited_max = self.got[client].waited_max.max(running.waited);
        let length = self.clients[client].length;
        let length = self.rng.random_range(length / 2..length + length / 2);
        self.running.insert(id, (client, running));
        self.events.push(Reverse((now + length, Event::End(id))));
    }

    fn end(&mut self, now: Nanos, id: u64) {
        let (client, running) = self.running.get_mut(&id).expect("running");
        let client = *client;
        let took = now - running.started();
        self.got[client].answered += 1;
        self.got[client].seat_time += took * u64::from(self.clients[client].work.initial_seats);
        self.system.finish(now, running);
        let extra = running.extra_ns();
        if extra > 0 {
            self.events.push(Reverse((now + extra, Event::Release(id))));
        } else {
            self.running.remove(&id);
        }
        self.events.push(Reverse((now + self.clients[client].think, Event::Send(client))));
    }

    /// A level takes no more seats than it has. One that has lent some since takes none until it is within its bound.
    fn check_bounds(&mut self) {
        for level in self.system.levels().iter().filter(|l| !l.exempt) {
            let before = self.taken.insert(level.name.clone(), level.seats_in_use).unwrap_or(0);
            let within = level.seats_in_use <= u64::from(level.current);
            assert!(within || level.seats_in_use <= before || level.executing == 1, "{level:?}, {before} before");
            assert!(level.current <= level.upper && level.current >= level.lower, "{level:?}");
        }
    }
}

fn share(got: &[Got], of: usize) -> f64 {
    got[of].seat_time as f64 / got.iter().map(|g| g.seat_time).sum::<u64>() as f64
}

#[test]
fn flows_of_a_level_get_equal_shares_however_much_they_ask_for() {
    for seed in 0..3 {
        let meek = Client { name: "meek", depth: 12, ..GREEDY };
        let long = Client { name: "long", depth: 12, length: 25 * MS, ..GREEDY };
        let wide = Client { name: "wide", depth: 12, work: Work::seats(3), ..GREEDY };
        let greedy = Client { depth: 200, ..GREEDY };
        let mut one_queue = level("a", 1, 0);
        one_queue.queuing = Some(Queuing { queues: 512, hand_size: 1, length_max: 500 });
        let mut run = Run::new(seed, 10, u32::MAX, &[one_queue], &[greedy, meek, long, wide]);
        run.until(12 * S);
        for i in 0..4 {
            let got = share(&run.got, i);
            assert!((0.21..0.29).contains(&got), "seed {seed}: flow {i} got {got}: {:?}", run.got);
        }
    }
}

#[test]
fn nobody_starves_beside_a_crowd() {
    for seed in 0..3 {
        let mut clients = vec![Client { name: "lonely", depth: 1, think: 10 * MS, ..GREEDY }];
        let names = ["g1", "g2", "g3", "g4"];
        clients.extend(names.map(|name| Client { name, depth: 200, ..GREEDY }));
        let mut run = Run::new(seed, 8, u32::MAX, &[level("a", 1, 0)], &clients);
        run.until(10 * S);
        let lonely = &run.got[0];
        assert!(lonely.refused == 0 && lonely.waited_max < 60 * MS, "seed {seed}: {lonely:?}");
        assert!(run.got[1..].iter().all(|g| g.waited_max > 100 * MS), "the crowd waits for itself");
    }
}

#[test]
fn a_queue_is_bounded_and_what_is_refused_is_the_crowds() {
    let crowd = Client { depth: 1000, ..GREEDY };
    let meek = Client { name: "meek", depth: 2, ..GREEDY };
    let mut run = Run::new(3, 10, u32::MAX, &[level("a", 1, 0)], &[crowd, meek]);
    run.until(5 * S);
    assert!(run.got[0].refused > 0 && run.got[1].refused == 0, "{:?}", run.got);
    assert!(run.system.levels()[0].waiting <= 6 * 50 + 2);
}

#[test]
fn idle_seats_are_lent_and_come_back() {
    let levels = [level("a", 50, 50), level("b", 50, 50), level("c", 100, 0)];
    let flood = Client { depth: 300, length: 50 * MS, ..GREEDY };
    let mut run = Run::new(1, 200, u32::MAX, &levels, &[flood]);
    let seats = |run: &Run, name: &str| run.system.levels().iter().find(|l| l.name == name).expect("level").current;
    assert_eq!([seats(&run, "a"), seats(&run, "b"), seats(&run, "c")], [33, 33, 133], "by what each must keep");
    run.until(31 * S);
    assert_eq!(seats(&run, "a"), 75, "a borrows the half of b, and nothing of c, which lends nothing");
    assert_eq!(seats(&run, "b"), 25);
    run.clients.push(Client { level: "b", name: "late", ..flood });
    run.got.push(Got::default());
    (0..300).for_each(|_| run.events.push(Reverse((31 * S, Event::Send(1)))));
    run.until(52 * S);
    assert_eq!([seats(&run, "a"), seats(&run, "b"), seats(&run, "c")], [50, 50, 100]);
}

#[test]
fn a_limit_to_borrowing_holds() {
    let mut borrower = level("a", 50, 0);
    borrower.borrowing_percent = Some(20);
    let mut run = Run::new(1, 100, u32::MAX, &[borrower, level("b", 50, 100)], &[Client { depth: 300, ..GREEDY }]);
    run.until(31 * S);
    assert_eq!(run.system.levels()[0].current, 60);
}

#[test]
fn a_level_without_queues_refuses_and_an_exempt_one_never_does() {
    let reject = LevelConfig { queuing: None, ..level("a", 1, 0) };
    let exempt = LevelConfig { exempt: true, queuing: None, ..level("e", 0, 0) };
    let flood = Client { depth: 50, ..GREEDY };
    let mut run = Run::new(1, 10, u32::MAX, &[reject, exempt], &[flood, Client { level: "e", name: "root", ..flood }]);
    run.until(S);
    assert!(run.got[0].refused > 0 && run.got[1].refused == 0, "{:?}", run.got);
    assert!(run.got[1].waited_max == 0);
}

#[test]
fn turns_go_to_the_level_that_has_had_least() {
    for seed in 0..3 {
        let greedy = Client { level: "low", depth: 64, length: MS, ..GREEDY };
        let system = Client { level: "high", name: "system", depth: 1, length: MS, think: 5 * MS, ..GREEDY };
        let mut run = Run::new(seed, 600, 2, &[level("low", 100, 90), level("high", 40, 50)], &[greedy, system]);
        run.until(10 * S);
        assert!(run.got[1].waited_max <= 2 * MS, "seed {seed}: {:?}", run.got[1]);
        assert!(run.got[0].answered > 15_000, "the processors stay busy: {:?}", run.got[0]);
    }
}

#[test]
fn seats_are_kept_while_watchers_are_told() {
    let change = flow::estimate::change(100, 10);
    let writer = Client { depth: 4, work: change, length: MS, ..GREEDY };
    let mut run = Run::new(1, 10, u32::MAX, &[level("a", 1, 0)], &[writer]);
    run.until(10 * S);
    let per_second = run.got[0].answered / 10;
    assert!((155..=180).contains(&per_second), "one at a time, 1 ms and 5 ms after: {per_second}");
}

#[test]
fn what_is_cancelled_leaves_nothing_behind() {
    let mut system = System::new(1, 1);
    system.configure(0, &[level("a", 1, 0)]);
    let id = system.level("a").expect("level");
    for request in 0..3 {
        assert!(matches!(system.arrive(0, id, 7, Work::seats(1), request), Arrival::Wait(_)));
    }
    let (first, mut running) = system.dispatch(0).expect("one runs");
    let (_, queue, _, second, ..) = system.waiting()[0];
    assert!(system.cancel(MS, id, queue as u32, second));
    assert!(!system.cancel(MS, id, queue as u32, first), "what runs does not wait");
    system.finish(2 * MS, &mut running);
    let (_, mut running) = system.dispatch(2 * MS).expect("the third runs");
    system.finish(3 * MS, &mut running);
    let level = &system.levels()[0];
    assert_eq!((level.waiting, level.executing, level.seats_in_use, level.seats_waiting), (0, 0, 0, 0));
}

#[test]
fn a_level_that_is_taken_away_drains_and_its_id_goes_stale() {
    let mut system = System::new(10, 10);
    let exempt = LevelConfig { exempt: true, queuing: None, ..level("e", 0, 0) };
    system.configure(0, &[level("a", 1, 0), exempt.clone()]);
    let id = system.level("a").expect("level");
    assert!(matches!(system.arrive(0, id, 7, Work::seats(1), 1), Arrival::Wait(_)));
    let (_, mut running) = system.dispatch(0).expect("runs");
    system.configure(MS, std::slice::from_ref(&exempt));
    assert_eq!(system.arrive(MS, id, 7, Work::seats(1), 2), Arrival::Gone);
    assert!(system.levels().iter().any(|l| l.quiescing));
    system.finish(2 * MS, &mut running);
    assert!(system.reap());
    system.configure(3 * MS, &[level("a", 1, 0), exempt]);
    assert_eq!(system.arrive(3 * MS, id, 7, Work::seats(1), 3), Arrival::Gone, "a new level of an old name is another");
}

#[test]
fn a_full_queue_is_told_from_a_full_level() {
    let mut system = System::new(1, 1);
    let mut narrow = level("a", 1, 0);
    narrow.queuing = Some(Queuing { queues: 1, hand_size: 1, length_max: 1 });
    system.configure(0, &[narrow, LevelConfig { queuing: None, ..level("r", 0, 0) }]);
    let (a, r) = (system.level("a").expect("a"), system.level("r").expect("r"));
    assert!(matches!(system.arrive(0, a, 0, Work::seats(1), 1), Arrival::Wait(0)));
    assert!(system.dispatch(0).is_some(), "one runs");
    assert!(matches!(system.arrive(0, a, 0, Work::seats(1), 2), Arrival::Wait(0)));
    assert_eq!(system.arrive(0, a, 0, Work::seats(1), 3), Arrival::Refused(Refusal::QueueFull));
    assert!(
        matches!(system.arrive(0, r, 0, Work::seats(1), 4), Arrival::Run(_)),
        "one wide request fits an empty level"
    );
    assert_eq!(system.arrive(0, r, 0, Work::seats(1), 5), Arrival::Refused(Refusal::ConcurrencyLimit));
}
