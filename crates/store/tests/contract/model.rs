//! Random sequences of operations against a model that is too simple to be wrong: a log of all changes.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use store::{Compare, Op, OpResult, Progress, Range, Revision, Store, StoreError, Txn, WatchRequest, in_range};

use super::cases::{Batches, next};

/// Keys are few, so that they meet.
const KEYS: u8 = 5;

#[derive(Debug, Clone)]
pub enum Step {
    Txn {
        compare: Vec<(u8, Expect)>,
        success: Vec<Change>,
        failure: Vec<Change>,
    },
    Range {
        range: KeyRange,
        back: Option<i64>,
        limit: usize,
        shape: u8,
    },
    Compact {
        back: i64,
    },
    Watch {
        range: KeyRange,
        back: i64,
    },
    /// The store is closed and opened again, where that can be.
    Reopen,
}

#[derive(Debug, Clone, Copy)]
pub enum Expect {
    Absent,
    ModCurrent,
    ModStale,
    CreateCurrent,
}

#[derive(Debug, Clone)]
pub enum Change {
    Put(u8),
    Delete(KeyRange),
    Get(KeyRange, Option<i64>),
}

#[derive(Debug, Clone, Copy)]
pub enum KeyRange {
    One(u8),
    From(u8, u8),
    All,
}

fn key_range() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        3 => (0..KEYS).prop_map(KeyRange::One),
        2 => (0..KEYS, 0..=KEYS).prop_map(|(from, to)| KeyRange::From(from, to)),
        2 => Just(KeyRange::All),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        5 => (0..KEYS).prop_map(Change::Put),
        2 => key_range().prop_map(Change::Delete),
        1 => (key_range(), proptest::option::of(-1..6_i64)).prop_map(|(range, back)| Change::Get(range, back)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    use proptest::collection::vec;
    let expect = prop_oneof![
        Just(Expect::Absent),
        Just(Expect::ModCurrent),
        Just(Expect::ModStale),
        Just(Expect::CreateCurrent)
    ];
    prop_oneof![
        10 => (vec((0..KEYS, expect), 0..2), vec(change(), 0..4), vec(change(), 0..2))
            .prop_map(|(compare, success, failure)| Step::Txn { compare, success, failure }),
        4 => (key_range(), proptest::option::of(-1..12_i64), 0..4_usize, 0..3_u8)
            .prop_map(|(range, back, limit, shape)| Step::Range { range, back, limit, shape }),
        1 => (-1..10_i64).prop_map(|back| Step::Compact { back }),
        2 => (key_range(), 0..12_i64).prop_map(|(range, back)| Step::Watch { range, back }),
        1 => Just(Step::Reopen),
    ]
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(step(), 1..40)
}

/// What a key held.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    value: String,
    create: Revision,
    modified: Revision,
    version: i64,
}

pub struct Model {
    prefix: String,
    revision: Revision,
    compacted: Revision,
    log: Vec<(Revision, String, Option<Held>)>,
    puts: usize,
    /// A deletion at the compacted revision itself.
    pub forgets_deletions: bool,
}

impl Model {
    pub fn new(prefix: String, revision: Revision) -> Self {
        Self { prefix, revision, compacted: 0, log: Vec::new(), puts: 0, forgets_deletions: false }
    }

    /// Forgets what was before.
    pub fn compact(&mut self, revision: Revision) {
        self.compacted = revision;
    }

    fn key(&self, key: u8) -> String {
        format!("{}/{key}", self.prefix)
    }

    fn bounds(&self, range: KeyRange) -> (Bytes, Option<Bytes>) {
        match range {
            KeyRange::One(key) => (self.key(key).into(), None),
            KeyRange::From(from, to) => (self.key(from).into(), Some(self.key(to).into())),
            KeyRange::All => (format!("{}/", self.prefix).into(), Some(format!("{}0", self.prefix).into())),
        }
    }

    fn at(&self, revision: Revision) -> BTreeMap<String, Held> {
        let mut state = BTreeMap::new();
        for (_, key, held) in self.log.iter().filter(|(at, ..)| *at <= revision) {
            match held {
                Some(held) => state.insert(key.clone(), held.clone()),
                None => state.remove(key),
            };
        }
        state
    }

    fn revision_back(&self, back: Option<i64>) -> Revision {
        back.map_or(0, |back| (self.revision - back).max(1))
    }

    fn check(&self, revision: Revision) -> Result<(), &'static str> {
        match revision {
            0 => Ok(()),
            r if r > self.revision => Err("FutureRevision"),
            r if r < self.compacted => Err("Compacted"),
            _ => Ok(()),
        }
    }

    fn range(&self, range: KeyRange, at: Revision, limit: usize, shape: u8) -> String {
        let (start, end) = self.bounds(range);
        let state = self.at(if at == 0 { Revision::MAX } else { at });
        let found = state.iter().filter(|(key, _)| in_range(key.as_bytes(), &start, end.as_deref()));
        let found: Vec<_> = found.collect();
        let shown = if limit == 0 { found.len() } else { limit.min(found.len()) };
        if shape == 2 {
            return format!("[] of {}", found.len());
        }
        let all: Vec<_> = found[..shown]
            .iter()
            .map(|(key, held)| {
                let value = if shape == 1 { "" } else { &held.value };
                format!("{key}={value} {} {} {}", held.create, held.modified, held.version)
            })
            .collect();
        format!("{all:?} of {}", found.len())
    }

    fn txn(&mut self, compare: &[(u8, Expect)], success: &[Change], failure: &[Change]) -> String {
        if [success, failure].iter().any(|changes| self.writes_twice(changes)) {
            return "DuplicateKey".to_owned();
        }
        let state = self.at(Revision::MAX);
        let holds = compare.iter().all(|(key, expect)| {
            let held = state.get(&self.key(*key));
            match expect {
                Expect::Absent => held.is_none(),
                Expect::ModStale => false,
                // What is compared with is the current one, or 0 if there is none.
                Expect::ModCurrent | Expect::CreateCurrent => true,
            }
        });
        let changes = if holds { success } else { failure };
        for change in changes {
            if let Change::Get(_, back) = change
                && let Err(refused) = self.check(self.revision_back(*back))
            {
                return refused.to_owned();
            }
        }
        let before = self.revision;
        let old = |model: &Self, back: &Option<i64>| back.map_or(0, |back| (before - back).max(1).min(model.revision));
        let mut shown = vec![holds.to_string()];
        for change in changes {
            shown.push(match change {
                Change::Put(key) => {
                    self.put(*key, before + 1);
                    "put".to_owned()
                }
                Change::Delete(range) => format!("deleted {}", self.delete(*range, before + 1)),
                Change::Get(range, back) => self.range(*range, old(self, back), 0, 0),
            });
        }
        shown.push(self.revision.to_string());
        shown.join(" ")
    }

    fn writes_twice(&self, changes: &[Change]) -> bool {
        let puts: Vec<_> =
            changes.iter().filter_map(|c| if let Change::Put(key) = c { Some(key) } else { None }).collect();
        let mut seen = std::collections::BTreeSet::new();
        let deleted = |key: u8| {
            changes.iter().any(|change| match change {
                Change::Delete(range) => {
                    let (start, end) = self.bounds(*range);
                    in_range(self.key(key).as_bytes(), &start, end.as_deref())
                }
                _ => false,
            })
        };
        puts.iter().any(|key| !seen.insert(**key) || deleted(**key))
    }

    fn put(&mut self, key: u8, revision: Revision) {
        let key = self.key(key);
        let before = self.at(Revision::MAX).remove(&key);
        self.puts += 1;
        let held = Held {
            value: format!("v{}", self.puts),
            create: before.as_ref().map_or(revision, |held| held.create),
            modified: revision,
            version: before.map_or(1, |held| held.version + 1),
        };
        self.log.push((revision, key, Some(held)));
        self.revision = revision;
    }

    fn delete(&mut self, range: KeyRange, revision: Revision) -> usize {
        let (start, end) = self.bounds(range);
        let mut deleted = 0;
        for key in self.at(Revision::MAX).into_keys() {
            if in_range(key.as_bytes(), &start, end.as_deref()) {
                self.log.push((revision, key, None));
                self.revision = revision;
                deleted += 1;
            }
        }
        deleted
    }

    fn events(&self, range: KeyRange, from: Revision) -> String {
        let (start, end) = self.bounds(range);
        let events =
            self.log.iter().filter(|(at, key, _)| *at >= from && in_range(key.as_bytes(), &start, end.as_deref()));
        let shown: Vec<_> = events
            .map(|(at, key, held)| {
                let previous = if *at > self.compacted { self.at(at - 1).remove(key) } else { None };
                let value = held.as_ref().map(|held| held.value.clone());
                format!("{at} {key} {value:?} {:?}", previous.map(|held| (held.value, held.modified)))
            })
            .collect();
        format!("{shown:?}")
    }
}

/// The real transaction; it must be made before the model takes the step, for it shows what is current.
fn real_txn(model: &Model, compare: &[(u8, Expect)], success: &[Change], failure: &[Change]) -> Txn {
    let state = model.at(Revision::MAX);
    let compare = compare
        .iter()
        .map(|(key, expect)| {
            let name = model.key(*key);
            let held = state.get(&name);
            match expect {
                Expect::Absent => Compare::ModRevision(name.into(), 0),
                Expect::ModCurrent => Compare::ModRevision(name.clone().into(), held.map_or(0, |h| h.modified)),
                Expect::ModStale => {
                    Compare::ModRevision(name.clone().into(), held.map_or(1, |h| h.modified - 1).max(1))
                }
                Expect::CreateCurrent => Compare::CreateRevision(name.clone().into(), held.map_or(0, |h| h.create)),
            }
        })
        .collect::<Vec<_>>();
    let ops = |changes: &[Change]| {
        let mut puts = model.puts;
        changes
            .iter()
            .map(|change| match change {
                Change::Put(key) => {
                    puts += 1;
                    Op::Put { key: model.key(*key).into(), value: format!("v{puts}").into(), lease: 0 }
                }
                Change::Delete(range) => {
                    let (start, end) = model.bounds(*range);
                    Op::Delete { start, end }
                }
                Change::Get(range, back) => {
                    let (start, end) = model.bounds(*range);
                    Op::Get(Range { start, end, revision: model.revision_back(*back), ..Range::default() })
                }
            })
            .collect::<Vec<_>>()
    };
    Txn { compare, success: ops(success), failure: ops(failure) }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn refusal(error: &StoreError) -> String {
    let name = format!("{error:?}");
    name.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
}

fn show_range(result: &store::RangeResult) -> String {
    let all: Vec<_> = result
        .kvs
        .iter()
        .map(|kv| {
            format!("{}={} {} {} {}", text(&kv.key), text(&kv.value), kv.create_revision, kv.mod_revision, kv.version)
        })
        .collect();
    format!("{all:?} of {}", result.count)
}

async fn run_txn(store: &dyn Store, txn: Txn) -> String {
    match store.txn(txn).await {
        Err(error) => refusal(&error),
        Ok(result) => {
            let mut shown = vec![result.succeeded.to_string()];
            shown.extend(result.results.iter().map(|result| match result {
                OpResult::Put { .. } => "put".to_owned(),
                OpResult::Delete { deleted } => format!("deleted {deleted}"),
                OpResult::Get(range) => show_range(range),
            }));
            shown.push(result.revision.to_string());
            shown.join(" ")
        }
    }
}

async fn run_watch(store: &dyn Store, request: WatchRequest, upto: Revision) -> String {
    let progress = Progress::new();
    progress.want(upto);
    let request = WatchRequest { previous: true, progress: Some(progress), ..request };
    let mut watch: Batches = store.watch(request);
    let mut shown = Vec::new();
    loop {
        let batch = match next(&mut watch).await {
            Ok(batch) => batch,
            Err(error) => return refusal(&error),
        };
        for event in &batch.events {
            let value = (event.kind == store::EventKind::Put).then(|| text(&event.kv.value));
            let previous = event.previous.as_ref().map(|kv| (text(&kv.value), kv.mod_revision));
            shown.push(format!("{} {} {value:?} {previous:?}", event.kv.mod_revision, text(&event.kv.key)));
        }
        if batch.revision >= upto {
            return format!("{shown:?}");
        }
    }
}

/// Does one step on both and compares.
pub async fn take(model: &mut Model, store: &dyn Store, step: &Step) -> Result<(), TestCaseError> {
    let (expected, got) = match step {
        Step::Txn { compare, success, failure } => {
            let txn = real_txn(model, compare, success, failure);
            let got = run_txn(store, txn).await;
            // An empty branch is a read of nothing.
            (model.txn(compare, success, failure), got)
        }
        Step::Range { range, back, limit, shape } => {
            let (start, end) = model.bounds(*range);
            let revision = model.revision_back(*back);
            let (keys_only, count_only) = (*shape == 1, *shape == 2);
            let request = Range { start, end, revision, limit: *limit, keys_only, count_only };
            let got = store.range(request).await.map_or_else(|error| refusal(&error), |result| show_range(&result));
            let expected = model.check(revision).map(|()| model.range(*range, revision, *limit, *shape));
            (expected.unwrap_or_else(str::to_owned), got)
        }
        Step::Compact { back } => {
            let revision = (model.revision - back).max(1);
            let got = store.compact(revision).await.map_or_else(|error| refusal(&error), |()| "done".to_owned());
            let expected = if revision > model.revision {
                "FutureRevision"
            } else if revision <= model.compacted {
                "Compacted"
            } else {
                model.compact(revision);
                "done"
            };
            (expected.to_owned(), got)
        }
        Step::Watch { range, back } => {
            let from_revision = (model.revision - back).max(1);
            if from_revision == model.compacted && model.forgets_deletions {
                // etcd 3.4 forgets a deletion at the compacted revision itself (issue 19179).
                return Ok(());
            }
            let (start, end) = model.bounds(*range);
            let request = WatchRequest { start, end, from_revision, ..WatchRequest::default() };
            let got = run_watch(store, request, model.revision).await;
            let compacted = from_revision < model.compacted;
            (if compacted { "Compacted".to_owned() } else { model.events(*range, from_revision) }, got)
        }
        Step::Reopen => return Ok(()),
    };
    prop_assert_eq!(got, expected, "{:?}", step);
    Ok(())
}
