//! What every backend must do, run against each of them.

mod cases;
mod etcd;
mod model;

use std::time::Duration;

use futures::StreamExt;
use proptest::test_runner::{Config, TestRunner};
use store::{Embedded, Etcd, EtcdConfig, Limits, Store, StoreError, WatchRequest};

use crate::model::{Model, Step};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

#[test]
fn embedded() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Embedded::open(dir.path().join("state"), Limits::default()).expect("a new store");
    runtime().block_on(async {
        let first = cases::put(&store, "first", "1").await;
        assert_eq!(first, 2, "the first write has revision 2");
        cases::all(&store).await;
    });
    assert!(runtime().block_on(store.size_bytes()).expect("a size") > 0);
}

#[test]
fn etcd() {
    let server = etcd::Server::start();
    runtime().block_on(async {
        let store = server.connect().await;
        cases::all(&store).await;
        assert!(store.size_bytes().await.expect("a size") > 0);
    });
}

/// A watch goes on where it was, however often the connection breaks, and after etcd was killed.
#[test]
fn etcd_watch_survives_the_connection() {
    let mut server = etcd::Server::start();
    let proxy = server.proxy();
    runtime().block_on(async {
        let direct = server.connect().await;
        let through = etcd::connect(proxy.port).await;
        let mut watch = through.watch(WatchRequest::prefix("a/", 0));
        let base = through.revision().await.expect("a revision");
        for round in 0..10 {
            for n in 0..20 {
                cases::put(&direct, &format!("a/{n}"), &round.to_string()).await;
            }
            proxy.break_connections();
        }
        cases::expect_puts(&mut watch, base + 1..=base + 200).await;

        server.kill();
        let gone = tokio::time::timeout(Duration::from_secs(30), direct.revision()).await;
        assert!(matches!(gone, Ok(Err(StoreError::Unavailable(_)))), "{gone:?}");
        server.run();
        let direct = server.connect().await;
        cases::put(&direct, "a/1", "after").await;
        cases::expect_puts(&mut watch, base + 201..=base + 201).await;
    });
}

/// What was compacted while the connection was gone is not left out silently.
#[test]
fn etcd_watch_tells_of_a_gap() {
    let server = etcd::Server::start();
    let proxy = server.proxy();
    runtime().block_on(async {
        let direct = server.connect().await;
        let through = etcd::connect(proxy.port).await;
        let mut watch = through.watch(WatchRequest::prefix("a/", 0));
        proxy.refuse(true);
        proxy.break_connections();
        for _ in 0..5 {
            cases::put(&direct, "a/1", "unseen").await;
        }
        let at = direct.revision().await.expect("a revision");
        direct.compact(at).await.expect("compaction");
        proxy.refuse(false);
        let gap = tokio::time::timeout(Duration::from_secs(30), watch.next()).await.expect("an answer");
        assert!(matches!(gap, Some(Err(StoreError::Compacted { .. }))), "{gap:?}");
        let mut watch = through.watch(WatchRequest::prefix("a/", at + 1));
        cases::put(&direct, "a/1", "seen").await;
        cases::expect_puts(&mut watch, at + 1..=at + 1).await;
    });
}

#[test]
fn embedded_behaves_like_the_model() {
    let runtime = runtime();
    let config = Config { cases: 120, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&model::steps(), |steps| {
        let dir = tempfile::tempdir().expect("a directory");
        let open = || Embedded::open(dir.path().join("state"), Limits::default()).expect("a store");
        let mut store = open();
        let mut model = Model::new("m".to_owned(), 1);
        runtime.block_on(async {
            for step in &steps {
                if matches!(step, Step::Reopen) {
                    drop(store);
                    store = open();
                }
                model::take(&mut model, &store, step).await?;
            }
            Ok(())
        })
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn etcd_behaves_like_the_model() {
    let server = etcd::Server::start();
    let runtime = runtime();
    let store = runtime.block_on(server.connect());
    let config = Config { cases: 60, failure_persistence: None, ..Config::default() };
    let case = std::cell::Cell::new(0);
    let result = TestRunner::new(config).run(&model::steps(), |steps| {
        case.set(case.get() + 1);
        runtime.block_on(async {
            // Compacts what the last case left, so that both start from the same.
            let revision = cases::put(&store, "between", "cases").await;
            store.compact(revision).await.expect("compaction");
            let mut model = Model::new(format!("m{}", case.get()), revision);
            model.compact(revision);
            model.forgets_deletions = true;
            for step in &steps {
                model::take(&mut model, &store, step).await?;
            }
            Ok(())
        })
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

/// By the key and in the way of upstream's servers: one of all servers compacts, once in a period.
#[test]
fn etcd_is_compacted_by_one_of_its_servers() {
    let server = etcd::Server::start();
    runtime().block_on(async {
        let watcher = server.connect().await;
        let mut rounds = watcher.watch(WatchRequest::prefix("compact_rev_key", 0));
        let first = cases::put(&watcher, "a", "old").await;
        let short = EtcdConfig { compact_every: Duration::from_millis(150), ..server.config() };
        let _servers = [Etcd::connect(short.clone()).await.expect("one"), Etcd::connect(short).await.expect("two")];
        let (mut version, mut until) = (0, 0);
        while version < 6 {
            let batch = rounds.next().await.expect("it goes on").expect("a batch");
            for event in batch.events {
                let said: i64 = String::from_utf8_lossy(&event.kv.value).parse().expect("a revision");
                assert_eq!(event.kv.version, version + 1, "each round is one server's");
                assert!(until <= said && said < event.kv.mod_revision, "{until} {said}");
                (version, until) = (event.kv.version, said);
            }
            cases::put(&watcher, "a", "new").await;
        }
        assert!(until > first, "{until} is past {first}");
        let old = watcher.range(store::Range { revision: first, ..store::Range::key("a") }).await;
        assert!(matches!(old, Err(StoreError::Compacted { .. })), "{old:?}");
        let now = watcher.range(store::Range::key("a")).await.expect("the newest stays");
        assert_eq!(now.kvs[0].value, "new");
    });
}

#[test]
fn etcd_over_tls_wants_a_certificate() {
    let server = etcd::Server::start_tls();
    runtime().block_on(async {
        let store = server.connect().await;
        let mut watch = store.watch(WatchRequest::prefix("a/", 0));
        let at = cases::put(&store, "a/1", "secret").await;
        cases::expect_puts(&mut watch, at..=at).await;
        let stranger = EtcdConfig { cert: None, key: None, ..server.config() };
        let refused = Etcd::connect(stranger).await.map(drop);
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    });
}
