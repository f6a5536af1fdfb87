//! What the embedded store does on this disk: `cargo bench -p store`. The directory is `$BENCH_DIR`, or a temporary one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use store::{Compare, Embedded, Limits, Op, Range, Store, Txn, WatchRequest};

const VALUE_BYTES: usize = 1024;
const RUN: Duration = Duration::from_secs(3);

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let parent = std::env::var_os("BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    let dir = tempfile::tempdir_in(parent).expect("a directory");
    let path = dir.path().join("state");
    let open = || {
        let begin = Instant::now();
        let store = Embedded::open(&path, Limits::default()).expect("a store");
        (store, begin.elapsed())
    };
    let (store, took) = open();
    println!("open, new              {took:>10.1?}");
    let store = Arc::new(store);
    for writers in [1, 8, 64, 256] {
        runtime.block_on(writes(&store, writers, false));
    }
    runtime.block_on(writes(&store, 64, true));
    runtime.block_on(reads(&store));
    runtime.block_on(compaction(&store));
    drop(store);
    let (store, took) = open();
    let count = runtime.block_on(store.range(Range { count_only: true, ..Range::prefix("/") })).expect("a range").count;
    println!("open, {count} keys     {took:>10.1?}");
    let begin = Instant::now();
    let mut before = disk_writes();
    loop {
        std::thread::sleep(Duration::from_millis(500));
        let now = disk_writes();
        if now == before {
            break;
        }
        before = now;
    }
    println!("idle, all erased, after {:>8.1?}", begin.elapsed());
}

/// Creates and updates, each a compare-and-put of its own key.
async fn writes(store: &Arc<Embedded>, writers: usize, watched: bool) {
    let end = Instant::now() + RUN;
    let watch = watched.then(|| {
        let mut watch = store.watch(WatchRequest::prefix("/", 0));
        tokio::spawn(async move {
            let mut events = 0;
            while let Some(Ok(batch)) = watch.next().await {
                events += batch.events.len();
                if batch.events.iter().any(|event| event.kv.key == "/end") {
                    break;
                }
            }
            events
        })
    });
    let tasks = (0..writers).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut took = Vec::new();
            let mut revision = 0;
            let mut n = 0_u64;
            while Instant::now() < end {
                // Half of the writes create a key, half update it.
                let key = Bytes::from(format!("/registry/pods/bench-{writers}-{watched}/{writer}-{}", n / 2));
                let expected = if n.is_multiple_of(2) { 0 } else { revision };
                n += 1;
                let txn = Txn {
                    compare: vec![Compare::ModRevision(key.clone(), expected)],
                    success: vec![Op::Put { key, value: Bytes::from(vec![b'x'; VALUE_BYTES]), lease: 0 }],
                    failure: vec![],
                };
                let begin = Instant::now();
                let result = store.txn(txn).await.expect("a write");
                assert!(result.succeeded);
                revision = result.revision;
                took.push(begin.elapsed());
            }
            took
        })
    });
    let (mut took, cpu) = (Vec::new(), cpu_ticks());
    for task in tasks.collect::<Vec<_>>() {
        took.extend(task.await.expect("a writer"));
    }
    took.sort_unstable();
    let at = |percent: usize| took[took.len() * percent / 100];
    let per_second = took.len() as u64 / RUN.as_secs();
    // A tick is 10 ms on every Linux that we know.
    let cpu_us = (cpu_ticks() - cpu) * 10_000 / took.len() as u64;
    let watched = if watched { ", watched" } else { "" };
    let (p50, p99) = (at(50), at(99));
    println!(
        "{writers:>4} writers{watched:<9} {per_second:>7} txn/s, {cpu_us} us of CPU each, p50 {p50:.1?}, p99 {p99:.1?}"
    );
    if let Some(watch) = watch {
        let put = Op::Put { key: "/end".into(), value: Bytes::new(), lease: 0 };
        store.txn(Txn { success: vec![put], ..Txn::default() }).await.expect("a write");
        println!("    the watch saw {} events of {}", watch.await.expect("the watch"), took.len() + 1);
    }
}

async fn reads(store: &Arc<Embedded>) {
    let keys = store.range(Range { keys_only: true, limit: 5000, ..Range::prefix("/") }).await.expect("a range").kvs;
    let begin = Instant::now();
    for kv in &keys {
        assert_eq!(store.range(Range::key(kv.key.clone())).await.expect("a read").kvs.len(), 1);
    }
    println!("get                    {:>10.1?}", begin.elapsed() / u32::try_from(keys.len()).expect("few"));
    let begin = Instant::now();
    let all = store.range(Range { limit: 10_000, ..Range::prefix("/") }).await.expect("a range");
    println!("range of {}         {:>10.1?}", all.kvs.len(), begin.elapsed());
}

async fn compaction(store: &Arc<Embedded>) {
    let size = store.size_bytes().await.expect("a size");
    let revision = store.revision().await.expect("a revision");
    let begin = Instant::now();
    store.compact(revision).await.expect("compaction");
    let answered = begin.elapsed();
    println!("compact at {revision}: answered after {answered:.1?}, file {} MiB", size >> 20);
}

/// CPU time of this process.
fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields = stat.rsplit(") ").next().expect("fields").split(' ');
    fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

/// Bytes that this process has caused to be written.
fn disk_writes() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").expect("Linux");
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).expect("a count");
    line.parse().expect("a number")
}
