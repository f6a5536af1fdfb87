//! The cases. Each keeps to keys of its own, so that they can share a store.

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use std::time::Duration;
use store::{
    Compare, Event, EventKind, KeyValue, Op, OpResult, Progress, Range, RangeResult, Revision, Store, StoreError, Txn,
    TxnResult, WatchBatch, WatchRequest,
};

pub type Batches = BoxStream<'static, Result<WatchBatch, StoreError>>;

/// Runs all of them.
pub async fn all(store: &dyn Store) {
    puts_and_versions(store).await;
    ranges(store).await;
    ranges_at_old_revisions(store).await;
    conditions(store).await;
    several_ops_share_a_revision(store).await;
    refusals(store).await;
    empty_changes_make_no_revision(store).await;
    watch_from_now_and_from_then(store).await;
    watch_of_a_future_revision(store).await;
    watch_progress(store).await;
    watch_under_concurrent_writes(store).await;
    watch_far_behind(store).await;
    large_values_and_ranges(store).await;
    leases(store).await;
    lease_expires(store).await;
    compaction(store).await;
}

pub fn b(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub fn put_op(key: &str, value: &str) -> Op {
    Op::Put { key: b(key), value: b(value), lease: 0 }
}

fn delete_op(key: &str) -> Op {
    Op::Delete { start: b(key), end: None }
}

pub async fn txn(store: &dyn Store, ops: Vec<Op>) -> TxnResult {
    store.txn(Txn { success: ops, ..Txn::default() }).await.expect("the transaction")
}

pub async fn put(store: &dyn Store, key: &str, value: &str) -> Revision {
    txn(store, vec![put_op(key, value)]).await.revision
}

async fn delete(store: &dyn Store, key: &str) -> Revision {
    txn(store, vec![delete_op(key)]).await.revision
}

async fn get(store: &dyn Store, key: &str) -> Option<KeyValue> {
    store.range(Range::key(b(key))).await.expect("the range").kvs.pop()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `key=value@mod` of each.
fn show(result: &RangeResult, base: Revision) -> String {
    let all: Vec<_> = result
        .kvs
        .iter()
        .map(|kv| format!("{}={}@{}", text(&kv.key), text(&kv.value), kv.mod_revision - base))
        .collect();
    format!("{} of {}{}", all.join(" "), result.count, if result.more { " more" } else { "" })
}

fn show_event(event: &Event, base: Revision) -> String {
    let previous = event.previous.as_ref().map(|kv| format!("({}@{})", text(&kv.value), kv.mod_revision - base));
    let previous = previous.unwrap_or_default();
    let (key, at) = (text(&event.kv.key), event.kv.mod_revision - base);
    match event.kind {
        EventKind::Put => format!("{key}={}@{at}{previous}", text(&event.kv.value)),
        EventKind::Delete => format!("-{key}@{at}{previous}"),
    }
}

/// Takes batches until there are `count` events.
async fn events(watch: &mut Batches, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < count {
        let batch = next(watch).await.expect("a batch");
        assert!(batch.events.iter().all(|event| event.kv.mod_revision <= batch.revision));
        events.extend(batch.events);
    }
    events
}

pub async fn next(watch: &mut Batches) -> Result<WatchBatch, StoreError> {
    let next = tokio::time::timeout(Duration::from_secs(20), watch.next()).await;
    next.expect("a batch within the time").expect("a watch that goes on")
}

async fn show_events(watch: &mut Batches, count: usize, base: Revision) -> String {
    events(watch, count).await.iter().map(|event| show_event(event, base)).collect::<Vec<_>>().join(" ")
}

/// Exactly these revisions, in order, one put each.
pub async fn expect_puts(watch: &mut Batches, revisions: std::ops::RangeInclusive<Revision>) {
    let count = usize::try_from(revisions.end() - revisions.start() + 1).expect("small");
    let seen: Vec<_> = events(watch, count).await.iter().map(|event| event.kv.mod_revision).collect();
    assert_eq!(seen, revisions.collect::<Vec<_>>());
}

async fn puts_and_versions(store: &dyn Store) {
    let first = put(store, "pv/a", "1").await;
    assert_eq!(put(store, "pv/a", "2").await, first + 1);
    let kv = get(store, "pv/a").await.expect("the key");
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version, kv.lease), (first, first + 1, 2, 0));
    assert_eq!(delete(store, "pv/a").await, first + 2);
    assert_eq!(get(store, "pv/a").await, None);
    put(store, "pv/a", "3").await;
    let kv = get(store, "pv/a").await.expect("the key");
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (first + 3, first + 3, 1));
    assert_eq!(store.revision().await.expect("a revision"), first + 3);
}

async fn ranges(store: &dyn Store) {
    let base = store.revision().await.expect("a revision");
    for key in ["r/a", "r/b", "r/c", "r0"] {
        put(store, key, "v").await;
    }
    let cases = [
        (Range::prefix(b("r/")), "r/a=v@1 r/b=v@2 r/c=v@3 of 3"),
        (Range { limit: 2, ..Range::prefix(b("r/")) }, "r/a=v@1 r/b=v@2 of 3 more"),
        (Range { limit: 3, ..Range::prefix(b("r/")) }, "r/a=v@1 r/b=v@2 r/c=v@3 of 3"),
        (Range { count_only: true, ..Range::prefix(b("r/")) }, " of 3"),
        (Range { keys_only: true, ..Range::prefix(b("r/")) }, "r/a=@1 r/b=@2 r/c=@3 of 3"),
        (Range { start: b("r/b"), end: Some(b("r0")), ..Range::default() }, "r/b=v@2 r/c=v@3 of 2"),
        (Range { start: b("r/c"), end: Some(b("r/b")), ..Range::default() }, " of 0"),
        (Range::key(b("r/b")), "r/b=v@2 of 1"),
        (Range::key(b("r/")), " of 0"),
        (Range { revision: base + 2, ..Range::prefix(b("r/")) }, "r/a=v@1 r/b=v@2 of 2"),
    ];
    for (range, expected) in cases {
        let result = store.range(range.clone()).await.expect("the range");
        assert_eq!(show(&result, base), expected, "{range:?}");
        assert_eq!(result.revision, base + 4);
    }
    let all = Range { start: b("r/"), end: Some(b("\0")), limit: 4, ..Range::default() };
    assert_eq!(
        show(&store.range(all).await.expect("the range"), base).split(" of ").next(),
        Some("r/a=v@1 r/b=v@2 r/c=v@3 r0=v@4")
    );
}

async fn ranges_at_old_revisions(store: &dyn Store) {
    let base = store.revision().await.expect("a revision");
    put(store, "o/a", "1").await;
    put(store, "o/b", "1").await;
    put(store, "o/a", "2").await;
    delete(store, "o/b").await;
    put(store, "o/b", "2").await;
    delete(store, "o/a").await;
    let expected = [
        "o/a=1@1 of 1",
        "o/a=1@1 o/b=1@2 of 2",
        "o/a=2@3 o/b=1@2 of 2",
        "o/a=2@3 of 1",
        "o/a=2@3 o/b=2@5 of 2",
        "o/b=2@5 of 1",
    ];
    for (at, expected) in (base + 1..).zip(expected) {
        let range = Range { revision: at, ..Range::prefix(b("o/")) };
        assert_eq!(show(&store.range(range.clone()).await.expect("the range"), base), expected, "at {at}");
        let count = store.range(Range { count_only: true, ..range }).await.expect("the range");
        assert_eq!(format!("of {}", count.count), expected[expected.find("of").expect("a count")..]);
    }
    let future = store.range(Range { revision: base + 7, ..Range::prefix(b("o/")) }).await;
    assert!(matches!(future, Err(StoreError::FutureRevision { .. })), "{future:?}");
}

async fn conditions(store: &dyn Store) {
    let create = |key: &str| Txn {
        compare: vec![Compare::ModRevision(b(key), 0)],
        success: vec![put_op(key, "new")],
        failure: vec![Op::Get(Range::key(b(key)))],
    };
    let made = store.txn(create("c/a")).await.expect("the transaction");
    assert!(made.succeeded);
    let again = store.txn(create("c/a")).await.expect("the transaction");
    assert!(!again.succeeded);
    assert_eq!(again.revision, made.revision, "a read is no change");
    let [OpResult::Get(found)] = again.results.as_slice() else { panic!("{again:?}") };
    assert_eq!(text(&found.kvs[0].value), "new");

    let update = |revision| Txn {
        compare: vec![Compare::ModRevision(b("c/a"), revision), Compare::CreateRevision(b("c/a"), made.revision)],
        success: vec![put_op("c/a", "newer")],
        failure: vec![],
    };
    assert!(!store.txn(update(made.revision - 1)).await.expect("the transaction").succeeded);
    let updated = store.txn(update(made.revision)).await.expect("the transaction");
    assert_eq!((updated.succeeded, updated.revision), (true, made.revision + 1));
    assert!(!store.txn(update(made.revision)).await.expect("the transaction").succeeded);
}

async fn several_ops_share_a_revision(store: &dyn Store) {
    put(store, "s/old1", "x").await;
    let base = put(store, "s/old2", "x").await;
    let mut watch = store.watch(WatchRequest { previous: true, ..WatchRequest::prefix(b("s/"), base + 1) });
    let result = txn(
        store,
        vec![
            put_op("s/a", "1"),
            Op::Get(Range::prefix(b("s/"))),
            Op::Delete { start: b("s/old"), end: Some(b("s/olf")) },
            put_op("s/b", "1"),
            Op::Get(Range { keys_only: true, ..Range::prefix(b("s/")) }),
        ],
    )
    .await;
    assert_eq!(result.revision, base + 1);
    let shown: Vec<_> = result
        .results
        .iter()
        .map(|result| match result {
            OpResult::Put { .. } => "put".to_owned(),
            OpResult::Delete { deleted } => format!("deleted {deleted}"),
            OpResult::Get(range) => show(range, base),
        })
        .collect();
    let expected = ["put", "s/a=1@1 s/old1=x@-1 s/old2=x@0 of 3", "deleted 2", "put", "s/a=@1 s/b=@1 of 2"];
    assert_eq!(shown, expected);
    let got = show_events(&mut watch, 4, base).await;
    assert_eq!(got, "s/a=1@1 -s/old1@1(x@-1) -s/old2@1(x@0) s/b=1@1");
}

async fn refusals(store: &dyn Store) {
    let base = store.revision().await.expect("a revision");
    let cases = [
        (vec![put_op("", "x")], "EmptyKey"),
        (vec![put_op("e/a", "x"), put_op("e/a", "y")], "DuplicateKey"),
        (vec![put_op("e/a", "x"), Op::Delete { start: b("e/"), end: Some(b("e0")) }], "DuplicateKey"),
        (vec![Op::Put { key: b("e/a"), value: b("x"), lease: 12345 }], "LeaseNotFound"),
        (vec![put_op("e/b", "x"), Op::Put { key: b("e/a"), value: b("x"), lease: 12345 }], "LeaseNotFound"),
        (vec![put_op("e/a", "x"), Op::Get(Range { revision: base + 9, ..Range::key(b("e/a")) })], "FutureRevision"),
        (vec![put_op("e/a", &"x".repeat(5 << 20))], "TooLarge"),
    ];
    for (ops, expected) in cases {
        let error = store.txn(Txn { success: ops, ..Txn::default() }).await.expect_err(expected);
        assert!(format!("{error:?}").starts_with(expected), "{expected}: {error:?}");
    }
    assert_eq!(store.revision().await.expect("a revision"), base, "nothing was changed");
    assert_eq!(get(store, "e/a").await, None);
    let lost = store.lease_keep_alive(12345).await;
    assert!(matches!(lost, Err(StoreError::LeaseNotFound(12345))), "{lost:?}");
    let lost = store.lease_revoke(12345).await;
    assert!(matches!(lost, Err(StoreError::LeaseNotFound(12345))), "{lost:?}");
}

async fn empty_changes_make_no_revision(store: &dyn Store) {
    let base = put(store, "n/a", "1").await;
    assert_eq!(delete(store, "n/nothing").await, base);
    assert_eq!(txn(store, vec![]).await.revision, base);
    assert_eq!(store.revision().await.expect("a revision"), base);
}

async fn watch_from_now_and_from_then(store: &dyn Store) {
    let base = store.revision().await.expect("a revision");
    put(store, "w/a", "1").await;
    put(store, "w/a", "2").await;
    put(store, "other", "1").await;
    let mut now = store.watch(WatchRequest::prefix(b("w/"), 0));
    let mut then = store.watch(WatchRequest { previous: true, ..WatchRequest::prefix(b("w/"), base + 2) });
    let mut single = store.watch(WatchRequest { start: b("w/a"), from_revision: base + 1, ..WatchRequest::default() });
    delete(store, "w/a").await;
    put(store, "w/ab", "1").await;
    put(store, "w/a", "3").await;
    assert_eq!(show_events(&mut then, 4, base).await, "w/a=2@2(1@1) -w/a@4(2@2) w/ab=1@5 w/a=3@6");
    assert_eq!(show_events(&mut single, 4, base).await, "w/a=1@1 w/a=2@2 -w/a@4 w/a=3@6");
    assert_eq!(show_events(&mut now, 3, base).await, "-w/a@4 w/ab=1@5 w/a=3@6");
}

async fn watch_of_a_future_revision(store: &dyn Store) {
    let base = store.revision().await.expect("a revision");
    let mut watch = store.watch(WatchRequest::prefix(b("f/"), base + 3));
    for value in ["1", "2", "3", "4"] {
        put(store, "f/a", value).await;
    }
    assert_eq!(show_events(&mut watch, 2, base).await, "f/a=3@3 f/a=4@4");
}

async fn watch_progress(store: &dyn Store) {
    let progress = Progress::new();
    let request = WatchRequest { progress: Some(progress.clone()), ..WatchRequest::prefix(b("p/"), 0) };
    let mut quiet = store.watch(request);
    let at = put(store, "q/elsewhere", "1").await;
    progress.want(at);
    let batch = next(&mut quiet).await.expect("a batch");
    assert!(batch.events.is_empty() && batch.revision >= at, "{batch:?}");
    // Asked before it can be answered.
    progress.want(at + 1);
    let at = put(store, "q/elsewhere", "2").await;
    let batch = next(&mut quiet).await.expect("a batch");
    assert!(batch.events.is_empty() && batch.revision >= at, "{batch:?}");
    let at = put(store, "p/here", "1").await;
    let batch = next(&mut quiet).await.expect("a batch");
    assert_eq!((batch.events.len(), batch.revision >= at), (1, true));
}

/// No gap, no duplicate, in order, whole revisions, however many write and whenever the watch starts.
async fn watch_under_concurrent_writes(store: &dyn Store) {
    const WRITERS: usize = 8;
    const WRITES: usize = 150;
    let base = store.revision().await.expect("a revision");
    let total = WRITERS * WRITES * 2;
    let writers = futures::future::join_all((0..WRITERS).map(|writer| async move {
        for write in 0..WRITES {
            let (key, value) = (format!("cw/{writer}"), write.to_string());
            txn(store, vec![put_op(&key, &value), put_op(&format!("cw/second{writer}"), &value)]).await;
        }
    }));
    let watchers = futures::future::join_all((0..6_usize).map(|watcher| async move {
        // Some start in the middle, from the beginning.
        for _ in 0..watcher * 20 {
            tokio::task::yield_now().await;
        }
        let mut watch = store.watch(WatchRequest::prefix(b("cw/"), base + 1));
        let mut seen: Vec<Event> = Vec::new();
        let mut upto = base;
        while seen.len() < total {
            let batch = next(&mut watch).await.expect("a batch");
            assert!(batch.events.iter().all(|e| e.kv.mod_revision > upto && e.kv.mod_revision <= batch.revision));
            upto = batch.revision;
            seen.extend(batch.events);
        }
        seen
    }));
    let ((), seen) = futures::future::join(async { drop(writers.await) }, watchers).await;
    for seen in seen {
        assert_eq!(seen.len(), total);
        for (at, pair) in seen.chunks(2).enumerate() {
            let revision = base + 1 + at as i64;
            assert!(pair.iter().all(|event| event.kv.mod_revision == revision), "gap at {revision}");
            assert_eq!(text(&pair[1].kv.key), text(&pair[0].kv.key).replace("cw/", "cw/second"));
            assert_eq!(pair[0].kv.value, pair[1].kv.value);
        }
    }
}

/// More than any ring holds, while more is written.
async fn watch_far_behind(store: &dyn Store) {
    const WRITES: usize = 130;
    let base = store.revision().await.expect("a revision");
    let write = |from: usize| async move {
        for write in from..from + WRITES {
            txn(store, (0..100).map(|n| put_op(&format!("far/{n}"), &write.to_string())).collect()).await;
        }
    };
    let mut early = store.watch(WatchRequest::prefix(b("far/7"), base + 1));
    write(0).await;
    let mut late = store.watch(WatchRequest::prefix(b("far/"), base + 1));
    let watch = async {
        for (watch, keys) in [(&mut late, 100), (&mut early, 11)] {
            let seen = events(watch, 2 * WRITES * keys).await;
            for (at, revision) in seen.chunks(keys).enumerate() {
                assert!(revision.iter().all(|event| event.kv.mod_revision == base + 1 + at as i64));
                assert!(revision.iter().all(|event| text(&event.kv.value) == at.to_string()));
            }
        }
    };
    futures::future::join(write(WRITES), watch).await;
}

async fn large_values_and_ranges(store: &dyn Store) {
    let value = "x".repeat(1 << 20);
    let base = store.revision().await.expect("a revision");
    let mut watch = store.watch(WatchRequest::prefix(b("l/"), base + 1));
    for key in 0..12 {
        put(store, &format!("l/{key:02}"), &value).await;
    }
    let result = store.range(Range::prefix(b("l/"))).await.expect("12 MiB");
    assert_eq!((result.kvs.len(), result.count, result.more), (12, 12, false));
    assert!(result.kvs.iter().all(|kv| kv.value.len() == 1 << 20));
    assert_eq!(events(&mut watch, 12).await.len(), 12);
    let mut late = store.watch(WatchRequest::prefix(b("l/"), base + 1));
    assert_eq!(events(&mut late, 12).await.len(), 12);
    for first in 0..12 {
        let ops = (0..100).map(|n| put_op(&format!("m/{:04}", first * 100 + n), "v")).collect();
        txn(store, ops).await;
    }
    let result = store.range(Range::prefix(b("m/"))).await.expect("the range");
    assert_eq!((result.kvs.len(), result.count, result.more), (1200, 1200, false));
    assert!(result.kvs.windows(2).all(|pair| pair[0].key < pair[1].key));
    let result = store.range(Range { limit: 1100, ..Range::prefix(b("m/")) }).await.expect("the range");
    assert_eq!((result.kvs.len(), result.count, result.more), (1100, 1200, true));
}

async fn leases(store: &dyn Store) {
    let lease = store.lease_grant(60).await.expect("a lease");
    assert_ne!(lease, store.lease_grant(60).await.expect("another lease"));
    let with = |key: &str| Op::Put { key: b(key), value: b("v"), lease };
    txn(store, vec![with("le/a"), with("le/b"), with("le/c")]).await;
    assert_eq!(get(store, "le/a").await.map(|kv| kv.lease), Some(lease));
    // Written again without it: no longer kept by it.
    let base = put(store, "le/b", "free").await;
    store.lease_keep_alive(lease).await.expect("a renewal");
    let mut watch = store.watch(WatchRequest::prefix(b("le/"), 0));
    store.lease_revoke(lease).await.expect("an end");
    assert_eq!(show_events(&mut watch, 2, base).await, "-le/a@1 -le/c@1");
    let left = store.range(Range::prefix(b("le/"))).await.expect("the range");
    assert_eq!(show(&left, base), "le/b=free@0 of 1");
    let gone = store.lease_keep_alive(lease).await;
    assert!(matches!(gone, Err(StoreError::LeaseNotFound(_))), "{gone:?}");
}

async fn lease_expires(store: &dyn Store) {
    let lease = store.lease_grant(1).await.expect("a lease");
    let base = txn(store, vec![Op::Put { key: b("lx/a"), value: b("v"), lease }]).await.revision;
    let mut watch = store.watch(WatchRequest::prefix(b("lx/"), base + 1));
    assert_eq!(show_events(&mut watch, 1, base).await, "-lx/a@1");
    assert_eq!(get(store, "lx/a").await, None);
}

async fn compaction(store: &dyn Store) {
    let base = store.revision().await.expect("a revision");
    put(store, "k/a", "1").await;
    put(store, "k/b", "1").await;
    put(store, "k/a", "2").await;
    delete(store, "k/b").await;
    put(store, "k/a", "3").await;
    store.compact(base + 3).await.expect("compaction");
    let at = |revision| Range { revision, ..Range::prefix(b("k/")) };
    let gone = store.range(at(base + 2)).await;
    assert!(matches!(gone, Err(StoreError::Compacted { .. })), "{gone:?}");
    assert_eq!(show(&store.range(at(base + 3)).await.expect("the range"), base), "k/a=2@3 k/b=1@2 of 2");
    assert_eq!(show(&store.range(at(base + 4)).await.expect("the range"), base), "k/a=2@3 of 1");
    assert_eq!(show(&store.range(at(0)).await.expect("the range"), base), "k/a=3@5 of 1");
    for revision in [base + 2, base + 3] {
        let again = store.compact(revision).await;
        assert!(matches!(again, Err(StoreError::Compacted { .. })), "{again:?}");
    }
    let future = store.compact(base + 1000).await;
    assert!(matches!(future, Err(StoreError::FutureRevision { .. })), "{future:?}");

    let mut old = store.watch(WatchRequest::prefix(b("k/"), base + 2));
    let gone = next(&mut old).await;
    assert!(matches!(gone, Err(StoreError::Compacted { oldest }) if oldest == base + 3), "{gone:?}");
    let end = tokio::time::timeout(Duration::from_secs(20), old.next()).await.expect("an end");
    assert!(end.is_none(), "a watch ends with its error");
    let mut watch = store.watch(WatchRequest { previous: true, ..WatchRequest::prefix(b("k/"), base + 4) });
    assert_eq!(show_events(&mut watch, 2, base).await, "-k/b@4(1@2) k/a=3@5(2@3)");
}
