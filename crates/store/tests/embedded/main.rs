//! The embedded store on disks that fail, and what it leaves behind.

mod disk;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use disk::{Dice, Disk};
use futures::StreamExt;
use store::{
    Compare, Embedded, EventKind, KeyValue, Limits, Op, Range, Revision, Store, StoreError, Txn, TxnResult,
    WatchRequest,
};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

fn on(disk: &Disk) -> Result<Embedded, StoreError> {
    Embedded::open_with("test", disk.clone(), Limits::default())
}

fn put_op(key: &str, value: &str) -> Op {
    Op::Put { key: Bytes::copy_from_slice(key.as_bytes()), value: Bytes::copy_from_slice(value.as_bytes()), lease: 0 }
}

async fn txn(store: &dyn Store, ops: Vec<Op>) -> Result<TxnResult, StoreError> {
    store.txn(Txn { success: ops, ..Txn::default() }).await
}

async fn put(store: &dyn Store, key: &str, value: &str) -> Result<Revision, StoreError> {
    txn(store, vec![put_op(key, value)]).await.map(|result| result.revision)
}

async fn get(store: &dyn Store, key: &str) -> Option<String> {
    let mut found = store.range(Range::key(Bytes::copy_from_slice(key.as_bytes()))).await.expect("a read").kvs;
    found.pop().map(|kv| String::from_utf8_lossy(&kv.value).into_owned())
}

/// What was acknowledged, and how far compaction was asked for.
#[derive(Debug, Default)]
struct Acknowledged {
    values: BTreeMap<String, (Revision, Option<String>)>,
    revision: Revision,
    lease: Option<i64>,
}

/// Puts in pairs, deletes, a lease, compaction; until the power goes.
async fn work(store: &Embedded, done: &mut Acknowledged) -> Result<(), StoreError> {
    done.lease = Some(store.lease_grant(600).await?);
    for n in 0..14 {
        let value = format!("{n}:{}", "x".repeat(n * 311));
        let (one, two) = (format!("one/{}", n % 4), format!("two/{}", n % 4));
        let revision = if n % 5 == 3 {
            let ops = [&one, &two].map(|key| Op::Delete { start: key.clone().into(), end: None });
            let revision = txn(store, ops.into()).await?.revision;
            done.values.extend([one, two].map(|key| (key, (revision, None))));
            revision
        } else {
            let revision = txn(store, vec![put_op(&one, &value), put_op(&two, &value)]).await?.revision;
            done.values.extend([one, two].map(|key| (key, (revision, Some(value.clone())))));
            revision
        };
        done.revision = revision;
        if n % 6 == 5 {
            store.compact(revision - 2).await?;
        }
    }
    Ok(())
}

/// Whatever came after the last acknowledgement may be there or not, but whole.
async fn check_after_power_cut(store: &Embedded, done: &Acknowledged) {
    let revision = store.revision().await.expect("a revision");
    assert!(revision >= done.revision, "revision {revision} after {} was acknowledged", done.revision);
    assert!(revision <= done.revision.max(1) + 1, "more than was ever asked for");
    for (key, (written, value)) in &done.values {
        let found = store.range(Range::key(key.clone())).await.expect("a read").kvs.pop();
        let changed_later = revision > done.revision && found.as_ref().is_none_or(|kv| kv.mod_revision == revision);
        if !changed_later {
            assert_eq!(found.as_ref().map(|kv| kv.mod_revision), value.as_ref().map(|_| *written), "{key}");
            assert_eq!(found.map(|kv| kv.value), value.clone().map(Bytes::from), "{key}");
        }
    }
    let all =
        store.range(Range { start: "o".into(), end: Some("u".into()), ..Range::default() }).await.expect("a read");
    let (ones, twos) = all.kvs.split_at(all.kvs.len() / 2);
    assert!(ones.iter().map(|kv| (&kv.key[3..], &kv.value)).eq(twos.iter().map(|kv| (&kv.key[3..], &kv.value))));
    if let Some(lease) = done.lease {
        store.lease_keep_alive(lease).await.expect("the lease");
    }
}

#[test]
fn an_acknowledged_write_survives_a_power_cut_at_any_moment() {
    let runtime = runtime();
    let quiet = Disk::default();
    let store = on(&quiet).expect("a store");
    runtime.block_on(work(&store, &mut Acknowledged::default())).expect("no power cut");
    drop(store);
    let operations = quiet.operations();
    assert!(operations > 100, "{operations} operations");
    for cut in 0..operations {
        let disk = Disk::default().power_cut_at(cut);
        let mut done = Acknowledged::default();
        let Ok(store) = on(&disk) else {
            // It was not even made. A file gets its name only after that.
            continue;
        };
        // It may also be done before the power goes: while it is closed.
        let worked = runtime.block_on(work(&store, &mut done));
        drop(store);
        // All kinds of loss at some of them, one at each.
        let seeds = if cut % 5 == 0 { 0..4 } else { 0..1 };
        for seed in seeds {
            let left = Disk::of(disk.after_power_cut(&mut Dice(seed * 7919 + cut as u64)));
            let store = on(&left).unwrap_or_else(|error| panic!("cut at {cut}, seed {seed}, {worked:?}: {error}"));
            runtime.block_on(async {
                check_after_power_cut(&store, &done).await;
                put(&store, "after", "it").await.expect("a write");
            });
            drop(store);
            let store = on(&left).expect("a store");
            assert_eq!(runtime.block_on(get(&store, "after")), Some("it".to_owned()));
        }
    }
}

/// The same with many writers, whose writes share commits.
#[test]
fn group_commits_survive_a_power_cut() {
    let runtime = runtime();
    for seed in 0..40_u64 {
        let disk = Disk::default().power_cut_at(40 + Dice(seed).below(400));
        let store = on(&disk).expect("a store");
        let writers = (0..16).map(|writer| {
            let store = &store;
            async move {
                let mut acknowledged = 0;
                while let Ok(revision) = put(store, &format!("w/{writer}"), &(acknowledged + 1).to_string()).await {
                    acknowledged += 1;
                    assert!(revision > acknowledged);
                }
                acknowledged
            }
        });
        let acknowledged = runtime.block_on(futures::future::join_all(writers));
        drop(store);
        let left = Disk::of(disk.after_power_cut(&mut Dice(seed)));
        let store = on(&left).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        for (writer, acknowledged) in acknowledged.iter().enumerate() {
            let found = runtime.block_on(get(&store, &format!("w/{writer}")));
            let found: i64 = found.map_or(0, |value| value.parse().expect("a number"));
            assert!([*acknowledged, acknowledged + 1].contains(&found), "{found} of {acknowledged} acknowledged");
        }
    }
}

#[test]
fn a_full_disk_refuses_writes_and_reads_go_on() {
    let disk = Disk::default();
    let store = on(&disk).expect("a store");
    runtime().block_on(async {
        put(&store, "a", "before").await.expect("a write");
        let mut watch = store.watch(WatchRequest::prefix("", 0));
        disk.len_max(Some(disk.content_len()));
        let mut written = 0;
        let refused = loop {
            match put(&store, &format!("fill/{written}"), &"x".repeat(100_000)).await {
                Ok(_) => written += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, StoreError::NoSpace(_)), "{refused:?}");
        let revision = store.revision().await.expect("a revision");
        assert_eq!(revision, 2 + written);
        for n in 0..written {
            assert_eq!(get(&store, &format!("fill/{n}")).await.map(|value| value.len()), Some(100_000));
        }
        let again = put(&store, "more", &"x".repeat(1_000_000)).await;
        assert!(matches!(again, Err(StoreError::NoSpace(_))), "{again:?}");
        disk.len_max(None);
        assert_eq!(put(&store, "more", &"x".repeat(1_000_000)).await.expect("space"), revision + 1);
        let mut seen = Vec::new();
        while seen.len() < usize::try_from(written + 1).expect("few") {
            let batch = watch.next().await.expect("a watch that goes on").expect("events");
            seen.extend(batch.events.into_iter().map(|event| event.kv.mod_revision));
        }
        assert_eq!(seen, (3..=revision + 1).collect::<Vec<_>>());
    });
}

#[test]
fn a_failed_write_leaves_no_trace_and_is_recovered_from() {
    let disk = Disk::default();
    let store = on(&disk).expect("a store");
    runtime().block_on(async {
        let revision = put(&store, "a", "1").await.expect("a write");
        for _ in 0..3 {
            disk.fail_writes(true);
            let failed = put(&store, "a", "2").await;
            assert!(failed.is_err(), "{failed:?}");
            disk.fail_writes(false);
            assert_eq!(get(&store, "a").await.as_deref(), Some("1"));
        }
        assert_eq!(put(&store, "a", "3").await.expect("a write"), revision + 1);
        assert_eq!(get(&store, "a").await.as_deref(), Some("3"));
    });
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged() {
    let disk = Disk::default();
    let store = on(&disk).expect("a store");
    runtime().block_on(async {
        put(&store, "a", "1").await.expect("a write");
        disk.fail_sync();
        for _ in 0..3 {
            assert!(put(&store, "a", "2").await.is_err());
            assert_eq!(get(&store, "a").await.as_deref(), Some("1"), "reads go on");
        }
    });
}

#[test]
fn an_idle_store_does_not_touch_its_disk() {
    let disk = Disk::default();
    let store = on(&disk).expect("a store");
    runtime().block_on(async {
        let lease = store.lease_grant(3600).await.expect("a lease");
        put(&store, "a", "1").await.expect("a write");
        let watch = store.watch(WatchRequest::prefix("a", 0));
        let before = disk.operations();
        store.lease_keep_alive(lease).await.expect("the lease");
        get(&store, "a").await.expect("the key");
        let failed = Txn {
            compare: vec![Compare::ModRevision("a".into(), 0)],
            success: vec![put_op("a", "2")],
            ..Txn::default()
        };
        assert!(!store.txn(failed).await.expect("the transaction").succeeded);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(disk.operations(), before);
        drop(watch);
    });
}

#[test]
fn only_one_may_open_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("deep/down/state");
    let store = Embedded::open(&path, Limits::default()).expect("a store");
    let watch = store.watch(WatchRequest::prefix("a", 0));
    let second = Embedded::open(&path, Limits::default()).map(drop);
    assert!(matches!(&second, Err(StoreError::InUse { file }) if file.ends_with("deep/down/state")), "{second:?}");
    drop(store);
    drop(Embedded::open(&path, Limits::default()).expect("it is free, though a watch of the old one is still held"));
    drop(watch);
}

#[test]
fn a_file_that_was_never_finished_is_made_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("state");
    std::fs::write(path.with_extension("new"), "half a page").expect("a file");
    std::fs::write(&path, "").expect("a file");
    let store = Embedded::open(&path, Limits::default()).expect("a store");
    runtime().block_on(put(&store, "a", "1")).expect("a write");
    drop(store);
    let names: Vec<_> =
        std::fs::read_dir(dir.path()).expect("the directory").flatten().map(|e| e.file_name()).collect();
    assert_eq!(names, ["state"]);
    let store = Embedded::open(&path, Limits::default()).expect("a store");
    assert_eq!(runtime().block_on(get(&store, "a")).as_deref(), Some("1"));
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("state");
    drop(Embedded::open(&path, Limits::default()).expect("a store"));
    let database = redb::Database::open(&path).expect("a database");
    let write = database.begin_write().expect("a transaction");
    let facts = redb::TableDefinition::<&str, i64>::new("facts");
    write.open_table(facts).expect("the table").insert("format", 2).expect("a newer format");
    write.commit().expect("a commit");
    drop(database);
    for _ in 0..2 {
        let newer = Embedded::open(&path, Limits::default()).map(drop);
        assert!(matches!(newer, Err(StoreError::NewerFormat { found: 2, known: 1 })), "{newer:?}");
    }
}

#[test]
fn damage_is_found_and_located() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("state");
    let store = Embedded::open(&path, Limits::default()).expect("a store");
    let secret = "the value that will be damaged";
    runtime().block_on(async {
        put(&store, "a", secret).await.expect("a write");
        put(&store, "b", &"x".repeat(5000)).await.expect("a write");
    });
    drop(store);
    let mut content = std::fs::read(&path).expect("the file");
    let places: Vec<_> =
        (0..content.len() - secret.len()).filter(|at| content[*at..].starts_with(secret.as_bytes())).collect();
    assert!(!places.is_empty());
    for at in &places {
        content[at + 4] ^= 1;
    }
    std::fs::write(&path, content).expect("the file");
    match Embedded::open(&path, Limits::default()).map(drop) {
        Err(StoreError::Corrupt { file, offset, what }) => {
            assert_eq!(file, path.display().to_string());
            // A record's header and its key are 34 bytes.
            assert!(places.iter().any(|at| *at as u64 - 34 == offset), "{offset} of {places:?}");
            assert!(what.contains("revision 2"), "{what}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_not_a_store_is_not_opened() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("state");
    std::fs::write(&path, "something else entirely".repeat(1000)).expect("a file");
    let other = Embedded::open(&path, Limits::default()).map(drop);
    assert!(matches!(other, Err(StoreError::Corrupt { .. })), "{other:?}");
    assert_eq!(std::fs::read(&path).expect("the file").len(), 23_000, "left alone");
}

/// Bytes of a page of the engine.
const PAGE_BYTES: usize = 4096;

/// A store's file, closed in order: puts, a lease, a compaction. And what is in it.
fn closed_in_order(runtime: &tokio::runtime::Runtime) -> (Vec<u8>, Vec<KeyValue>) {
    let disk = Disk::default();
    let store = on(&disk).expect("a store");
    let expected = runtime.block_on(async {
        for n in 0..60 {
            put(&store, &format!("k/{}", n % 20), &format!("{n}").repeat(100)).await.expect("a write");
        }
        let lease = store.lease_grant(1000).await.expect("a lease");
        txn(&store, vec![Op::Put { key: "k/leased".into(), value: "v".into(), lease }]).await.expect("a write");
        store.compact(20).await.expect("a compaction");
        store.range(Range::prefix("k/")).await.expect("a read").kvs
    });
    drop(store);
    (disk.after_power_cut(&mut Dice(0)), expected)
}

/// Opens the damaged file; whether it was refused. If not, nothing is missing.
fn is_refused(runtime: &tokio::runtime::Runtime, damaged: Vec<u8>, expected: &[KeyValue], what: &str) -> bool {
    let opened = std::panic::catch_unwind(|| on(&Disk::of(damaged)));
    match opened.unwrap_or_else(|_| panic!("{what}: opening panicked")) {
        Ok(store) => {
            let read = runtime.block_on(store.range(Range::prefix("k/"))).expect("a read");
            assert_eq!(read.kvs, expected, "{what}");
            false
        }
        Err(StoreError::Corrupt { .. } | StoreError::Io(_) | StoreError::NewerFormat { .. }) => true,
        Err(other) => panic!("{what}: {other:?}"),
    }
}

/// Any damaged byte is found, or was not needed.
#[test]
fn a_flipped_bit_anywhere_never_gives_wrong_data() {
    let runtime = runtime();
    let (content, expected) = closed_in_order(&runtime);
    let used = content.iter().rposition(|byte| *byte != 0).expect("content");
    let mut dice = Dice(1);
    // Half of them where the engine's pages say what is in them.
    let flips = (0..800).map(|n| {
        let near = dice.below(used / PAGE_BYTES) * PAGE_BYTES + dice.below(160);
        (if n % 2 == 0 { near } else { dice.below(used) }, dice.below(8))
    });
    let found = flips.filter(|&(at, bit)| {
        let mut damaged = content.clone();
        damaged[at] ^= 1 << bit;
        is_refused(&runtime, damaged, &expected, &format!("bit {bit} of byte {at}"))
    });
    let found = found.count();
    assert!(found > 10, "{found} of 800 flips mattered");
}

/// The engine's pages begin with what they are and how many entries they have. What a damaged number hides is missed.
#[test]
fn a_damaged_count_of_a_page_hides_nothing() {
    const LEAF_OR_BRANCH: [u8; 2] = [1, 2];
    let runtime = runtime();
    let (content, expected) = closed_in_order(&runtime);
    let pages = (PAGE_BYTES..content.len()).step_by(PAGE_BYTES).filter(|page| LEAF_OR_BRANCH.contains(&content[*page]));
    let cases: Vec<_> =
        pages.map(|page| page + 2).flat_map(|at| (0..content[at]).map(move |less| (at, less))).collect();
    let found = cases.iter().filter(|&&(at, less)| {
        let mut damaged = content.clone();
        damaged[at] = less;
        is_refused(&runtime, damaged, &expected, &format!("byte {at}, {less} instead of {}", content[at]))
    });
    let found = found.count();
    assert!(found > 10, "{found} of {} mattered", cases.len());
}

#[test]
fn leases_outlive_the_process() {
    let disk = Disk::default();
    runtime().block_on(async {
        let store = on(&disk).expect("a store");
        let lease = store.lease_grant(1).await.expect("a lease");
        let long = store.lease_grant(1000).await.expect("a lease");
        let with = |key: &'static str, lease| Op::Put { key: key.into(), value: "v".into(), lease };
        let at =
            txn(&store, vec![with("a", lease), with("b", lease), with("c", long)]).await.expect("a write").revision;
        drop(store);
        let store = on(&disk).expect("a store");
        let mut watch = store.watch(WatchRequest {
            start: "\0".into(),
            end: Some("\0".into()),
            from_revision: at + 1,
            ..WatchRequest::default()
        });
        let batch = watch.next().await.expect("a watch that goes on").expect("events");
        let gone: Vec<_> = batch.events.iter().map(|event| (event.kind, event.kv.key.clone())).collect();
        assert_eq!(gone, [(EventKind::Delete, "a".into()), (EventKind::Delete, "b".into())]);
        assert_eq!(batch.revision, at + 1, "in one revision");
        store.lease_revoke(long).await.expect("it is still there");
        assert_eq!(get(&store, "c").await, None);
        drop(store);
        let store = on(&disk).expect("a store");
        assert!(matches!(store.lease_keep_alive(long).await, Err(StoreError::LeaseNotFound(_))));
    });
}

#[test]
fn compaction_erases_what_nobody_can_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("state");
    let store = Embedded::open(&path, Limits::default()).expect("a store");
    runtime().block_on(async {
        let puts = (0..3000).map(|n| {
            let store = &store;
            async move { put(store, &format!("k/{}", n % 10), &n.to_string()).await.expect("a write") }
        });
        futures::future::join_all(puts).await;
        txn(&store, vec![Op::Delete { start: "k/0".into(), end: None }]).await.expect("a write");
        let last = put(&store, "k/1", "last").await.expect("a write");
        store.compact(last).await.expect("compaction");
    });
    drop(store);
    let records = || {
        let database = redb::Database::open(&path).expect("a database");
        let read = redb::ReadableDatabase::begin_read(&database).expect("a transaction");
        let table = redb::TableDefinition::<(i64, u32), &[u8]>::new("records");
        redb::ReadableTableMetadata::len(&read.open_table(table).expect("the table")).expect("a count")
    };
    // Erasing may have been cut short by the end; it goes on where it was. Each time leaves one more to erase.
    let mut left = records();
    while left > 10 {
        let store = Embedded::open(&path, Limits::default()).expect("a store");
        runtime().block_on(put(&store, "k/1", "wakes it")).expect("a write");
        let newest = runtime().block_on(store.revision()).expect("a revision");
        runtime().block_on(store.compact(newest)).expect("compaction");
        drop(store);
        let now = records();
        assert!(now < left, "{now} records after {left}");
        left = now;
    }
    let store = Embedded::open(&path, Limits::default()).expect("a store");
    let all = runtime().block_on(store.range(Range::prefix("k/"))).expect("a read");
    assert_eq!(all.kvs.len(), 9);
}

#[test]
fn limits_are_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let limits = Limits { bytes_max: 4 << 20, request_bytes_max: 1000, ..Limits::default() };
    let store = Embedded::open(dir.path().join("state"), limits).expect("a store");
    runtime().block_on(async {
        let large = put(&store, "a", &"x".repeat(1000)).await;
        assert!(matches!(large, Err(StoreError::TooLarge { bytes: 1001, limit: 1000 })), "{large:?}");
        let mut n = 0;
        let refused = loop {
            n += 1;
            let puts = (0..64).map(|m| put(&store, "a", if m % 2 == 0 { "x" } else { "y" }));
            drop(futures::future::join_all(puts).await);
            if let Err(error) = put(&store, &format!("fill/{n}"), &"x".repeat(900)).await {
                break error;
            }
        };
        assert!(matches!(refused, StoreError::NoSpace(None)), "{refused:?}");
        let deleted = Op::Delete { start: "fill/".into(), end: Some("fill0".into()) };
        let at = txn(&store, vec![deleted]).await.expect("deletes go on").revision;
        store.compact(at).await.expect("compaction");
        while let Err(error) = put(&store, "a", "again").await {
            assert!(matches!(error, StoreError::NoSpace(None)), "{error:?}");
        }
    });
}
