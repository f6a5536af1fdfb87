//! How many events a second reach the watches of a cache: `cargo bench -p watch-cache`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use store::{Embedded, KeyValue, Op, Revision, Store, Txn};
use watch_cache::{BoxError, Cache, Decoder, EventType, Interest, Limits, Object, Undecodable};

const VALUE_BYTES: usize = 4096;
const EVENTS: usize = 5_000;
const NODES: usize = 1_000;

struct Whole;

impl Decoder for Whole {
    fn decode(&self, kv: &KeyValue) -> Result<Object, BoxError> {
        let node = String::from_utf8_lossy(&kv.value[..16]).trim_end().to_owned();
        let fields = [("spec.nodeName", node)].into_iter().collect();
        Ok(Object { bytes: kv.value.clone(), revision: kv.mod_revision, fields, ..Object::default() })
    }
    fn restamp(&self, object: &Object, _: Revision) -> Bytes {
        object.bytes.clone()
    }
    fn undecodable(&self, value: &Undecodable) {
        panic!("{value:?}");
    }
}

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    for (watches, of_a_node) in [(1, false), (100, false), (1_000, false), (1_000, true)] {
        runtime.block_on(fan_out(watches, of_a_node));
    }
    runtime.block_on(snapshots());
}

async fn cache(dir: &tempfile::TempDir) -> (Arc<Embedded>, Arc<Cache>) {
    let store = Arc::new(Embedded::open(dir.path().join("state"), store::Limits::default()).expect("a store"));
    let limits = Limits { ring_events_max: 100_000, ring_bytes_max: 1 << 30, ..Limits::default() };
    let cache = Arc::new(Cache::new(store.clone(), Arc::new(Whole), "/pods/", limits));
    let running = cache.clone();
    tokio::spawn(async move { running.run().await });
    catch_up(&cache).await;
    (store, cache)
}

async fn catch_up(cache: &Cache) {
    let soon = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    cache.catch_up(soon).await.expect("a cache that follows");
}

async fn write(store: &Embedded, first: usize, count: usize) {
    for chunk in (first..first + count).collect::<Vec<_>>().chunks(100) {
        let ops = chunk.iter().map(|n| {
            let mut value = format!("{:<16}", format!("node-{}", n % NODES)).into_bytes();
            value.resize(VALUE_BYTES, b'x');
            Op::Put { key: format!("/pods/{n}").into(), value: value.into(), lease: 0 }
        });
        store.txn(Txn { success: ops.collect(), ..Txn::default() }).await.expect("a write");
    }
}

async fn fan_out(watches: usize, of_a_node: bool) {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, cache) = cache(&dir).await;
    let tasks: Vec<_> = (0..watches)
        .map(|n| {
            let field = of_a_node.then(|| ("spec.nodeName".to_owned(), format!("node-{n}")));
            let wanted = if of_a_node { EVENTS / NODES } else { EVENTS };
            let mut watch = cache.watch(1, Interest { field, ..Interest::prefix("/pods/") }).expect("a watch");
            tokio::spawn(async move {
                let (mut events, mut bytes) = (0, 0);
                while events < wanted {
                    for event in watch.next().await.expect("a watch that goes on") {
                        let encode = |object: &Object| {
                            let line = [b"{\"type\":\"ADDED\",\"object\":".as_slice(), &object.bytes, b"}\n"].concat();
                            Ok::<Bytes, Infallible>(line.into())
                        };
                        let Ok(frame) = event.frame(EventType::Added, 0, encode);
                        bytes += frame.expect("a frame").len();
                        events += 1;
                    }
                }
                (events, bytes)
            })
        })
        .collect();
    let begin = Instant::now();
    write(&store, 0, EVENTS).await;
    let mut events = 0;
    for task in tasks {
        events += task.await.expect("a watch").0;
    }
    let took = begin.elapsed();
    let each = if of_a_node { " of a node each" } else { "" };
    let per_second = events as f64 / took.as_secs_f64();
    println!("{watches:>5} watches{each}: {events} events in {took:.1?}, {per_second:.0}/s");
    cache.close();
}

async fn snapshots() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, cache) = cache(&dir).await;
    write(&store, 0, 10_000).await;
    catch_up(&cache).await;
    let begin = Instant::now();
    let snapshot = cache.snapshot();
    let bytes: usize = snapshot.prefix(b"/pods/").map(|object| object.bytes.len()).sum();
    println!("walk of {} objects, {} MiB: {:.1?}", snapshot.len(), bytes >> 20, begin.elapsed());
    let then = snapshot.revision();
    write(&store, 0, 5_000).await;
    catch_up(&cache).await;
    let begin = Instant::now();
    assert_eq!(cache.snapshot_at(then).expect("a snapshot").len(), 10_000);
    println!("snapshot rebuilt over 5000 events: {:.1?}", begin.elapsed());
    cache.close();
}
