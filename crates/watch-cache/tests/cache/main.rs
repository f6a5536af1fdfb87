//! The cache on an embedded store.

mod kit;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use kit::{Kit, bytes, key, next, put, soon, take, text};
use store::StoreError;
use tokio::time::Instant;
use watch_cache::{CacheError, Event, EventType, Interest, Limits, Object, Snapshot};

fn keys(snapshot: &Snapshot, prefix: &str) -> String {
    let all: Vec<_> = snapshot.prefix(prefix.as_bytes()).map(|object| text(&object.bytes)).collect();
    all.join(" ")
}

#[tokio::test]
async fn lists_gets_and_pages() {
    let before = [("/pods/a/1", "x=1"), ("/pods/a/2", "x=2"), ("/pods/b/1", "x=3"), ("/other/a", "x=4")];
    let kit = Kit::with(Limits::default(), &before).await;
    let snapshot = kit.cache.snapshot();
    assert_eq!(snapshot.revision(), 5, "the revision of the whole store");
    assert_eq!(keys(&snapshot, "/pods/"), "x=1@2 x=2@3 x=3@4");
    assert_eq!(keys(&snapshot, "/pods/a/"), "x=1@2 x=2@3");
    assert_eq!(snapshot.prefix(b"/pods/a/").len(), 2);
    assert_eq!(snapshot.page(b"/pods/", b"/pods/a/1").map(|o| key(o)).collect::<Vec<_>>(), ["/pods/a/2", "/pods/b/1"]);
    assert_eq!(snapshot.page(b"/pods/", b"").len(), 3);
    for (prefix, places) in [("/pods/", 0..3), ("/pods/a/", 0..2), ("/pods/b/", 2..3), ("/pods/a0/", 2..2), ("", 0..3)]
    {
        assert_eq!(snapshot.places(prefix.as_bytes()), places, "{prefix}");
    }
    assert_eq!(snapshot.slice(1..3).map(|o| key(o)).collect::<Vec<_>>(), ["/pods/a/2", "/pods/b/1"]);
    assert_eq!((snapshot.slice(2..9).len(), snapshot.slice(3..3).len()), (1, 0));
    assert_eq!(kit.cache.get(b"/pods/a/2").map(|object| object.revision), Some(3));
    assert_eq!(kit.cache.get(b"/pods/a/3"), None);
    assert_eq!(kit.texts.decoded.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_write_is_visible_when_its_revision_is_reached() {
    let kit = Kit::new(Limits::default()).await;
    for n in 0..200 {
        let revision = kit.put("/pods/a", &format!("n={n}")).await;
        kit.cache.wait_until(revision, soon()).await.expect("the revision");
        assert_eq!(text(&kit.cache.get(b"/pods/a").expect("the pod").bytes), format!("n={n}@{revision}"));
    }
}

#[tokio::test]
async fn a_quiet_resource_follows_the_store() {
    let kit = Kit::new(Limits::default()).await;
    for n in 0..50 {
        let revision = kit.put("/other/a", &n.to_string()).await;
        kit.cache.wait_until(revision, soon()).await.expect("progress");
        assert!(kit.cache.snapshot().revision() >= revision);
    }
    let current = kit.catch_up().await;
    let late = kit.cache.wait_until(current + 5, Instant::now() + Duration::from_millis(30)).await;
    assert_eq!(late, Err(CacheError::TooLarge { current }));
    let mut watch = kit.all();
    let revision = kit.put("/other/a", "x").await;
    kit.catch_up().await;
    assert!(watch.try_next().expect("a watch").is_none());
    assert_eq!(watch.revision(), revision, "what a bookmark says");
}

#[tokio::test]
async fn selectors_translate_events() {
    let kit = Kit::new(Limits::default()).await;
    let mut watch = kit.all();
    let field = Some(("node".to_owned(), "a".to_owned()));
    let mut of_a = kit.cache.watch(0, Interest { field, ..Interest::prefix("/pods/") });
    assert!(matches!(of_a, Err(CacheError::TooOld { oldest: 1 })));
    of_a = kit.cache.watch(1, Interest { field: Some(("node".into(), "a".into())), ..Interest::prefix("/pods/") });
    let mut of_a = of_a.expect("a watch");
    kit.put("/pods/1", "node=b").await;
    kit.put("/pods/1", "node=a").await;
    kit.put("/pods/1", "node=a,x=1").await;
    kit.put("/pods/1", "node=b").await;
    kit.put("/pods/1", "node=a").await;
    kit.delete("/pods/1").await;
    kit.put("/pods/2", "node=b").await;
    kit.delete("/pods/2").await;
    let on_a = |object: &Object| object.field("node") == "a";
    let events = take(&mut watch, 8).await;
    let seen: Vec<_> = events
        .iter()
        .map(|event| match event.seen(on_a) {
            Some((kind, object)) => format!("{} {}", kind.as_str(), text(&object.bytes)),
            None => "-".to_owned(),
        })
        .collect();
    let expected = [
        "-",
        "ADDED node=a@3",
        "MODIFIED node=a,x=1@4",
        "DELETED node=a,x=1@5",
        "ADDED node=a@6",
        "DELETED node=a@7",
        "-",
        "-",
    ];
    assert_eq!(seen, expected);
    let all: Vec<_> = events.iter().filter_map(|event| event.seen(|_| true)).map(|(kind, _)| kind.as_str()).collect();
    let expected = ["ADDED", "MODIFIED", "MODIFIED", "MODIFIED", "MODIFIED", "DELETED", "ADDED", "DELETED"];
    assert_eq!(all, expected);
    let revisions: Vec<_> = take(&mut of_a, 5).await.iter().map(|event| event.revision).collect();
    assert_eq!(revisions, [3, 4, 5, 6, 7], "only what concerns node a");
    assert!(of_a.try_next().expect("a watch").is_none());
}

#[tokio::test]
async fn a_field_that_is_left_out_is_empty() {
    let kit = Kit::new(Limits::default()).await;
    let interest = Interest { field: Some(("node".into(), String::new())), ..Interest::prefix("/pods/") };
    let mut of_none = kit.cache.watch(1, interest).expect("a watch");
    kit.put("/pods/1", "x=1").await;
    kit.put("/pods/1", "node=a").await;
    kit.put("/pods/1", "node=a,x=1").await;
    let revisions: Vec<_> = take(&mut of_none, 2).await.iter().map(|event| event.revision).collect();
    assert_eq!(revisions, [2, 3], "it comes and goes where the field is empty");
    assert!(of_none.try_next().expect("a watch").is_none());
}

#[tokio::test]
async fn an_event_is_encoded_once() {
    let kit = Kit::new(Limits::default()).await;
    let (mut one, mut two) = (kit.all(), kit.all());
    kit.put("/pods/1", "x=1").await;
    let (one, two) = (take(&mut one, 1).await, take(&mut two, 1).await);
    let encoded = AtomicUsize::new(0);
    let frame = |event: &Event, kind: EventType, format: usize| {
        let encode = |object: &Object| {
            encoded.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(format!("{} {}", kind.as_str(), text(&object.bytes)).into())
        };
        event.frame(kind, format, encode).unwrap_or_else(|never| match never {})
    };
    let first = frame(&one[0], EventType::Added, 0).expect("a frame");
    let second = frame(&two[0], EventType::Added, 0).expect("a frame");
    assert_eq!((text(&first).as_str(), first.as_ptr()), ("ADDED x=1@2", second.as_ptr()));
    assert_eq!(encoded.load(Ordering::Relaxed), 1);
    assert!(frame(&one[0], EventType::Added, 1).is_some());
    assert_eq!(encoded.load(Ordering::Relaxed), 2, "another format");
    assert_eq!(frame(&one[0], EventType::Deleted, 0), None, "it was not there before");
}

#[tokio::test]
async fn what_can_be_sent_in_parts_is_put_together_for_the_second() {
    let kit = Kit::new(Limits { frames_bytes_max: 12, ..Limits::default() }).await;
    let mut watch = kit.all();
    for n in 0..3 {
        kit.put("/pods/1", &format!("x={n}")).await;
    }
    let events = take(&mut watch, 3).await;
    let frame = |event: &Event, kind: EventType| {
        let encode = |object: &Object| Ok::<_, Infallible>(bytes(&text(&object.bytes)));
        event.frame_for_many(kind, 0, encode).unwrap_or_else(|never| match never {})
    };
    let event = &events[2];
    assert_eq!(frame(event, EventType::Modified), None, "the first may be the only one");
    let (second, third) = (frame(event, EventType::Modified), frame(event, EventType::Modified));
    let at = |frame: &Option<Bytes>| frame.as_ref().map(|frame| frame.as_ptr());
    assert_eq!((second.as_deref(), at(&second)), (Some(&b"x=2@4"[..]), at(&third)));
    assert_eq!(frame(event, EventType::Added), None, "the first who sees it as an addition");
    let failed = event.frame_for_many(EventType::Added, 0, |_| Err("no frame"));
    assert_eq!((failed, frame(event, EventType::Added)), (Err("no frame"), second), "whoever comes next makes it");
    let old = [0; 3].map(|_| frame(&events[0], EventType::Added));
    assert_eq!(old, [None, None, None], "nothing is kept of what is old");
}

#[tokio::test]
async fn frames_are_kept_while_an_event_is_new() {
    let kit = Kit::new(Limits { frames_bytes_max: 12, ..Limits::default() }).await;
    let mut watch = kit.all();
    for n in 0..4 {
        // Of 5 bytes: `x=1@2`.
        kit.put("/pods/1", &format!("x={n}")).await;
    }
    let events = take(&mut watch, 4).await;
    let made = |event: &Event| {
        let encode = |object: &Object| Ok::<_, Infallible>(bytes(&text(&object.bytes)));
        let of = || event.frame(event.kind, 0, encode).unwrap_or_else(|never| match never {}).expect("a frame");
        let (first, second) = (of(), of());
        assert_eq!(first, second);
        if first.as_ptr() == second.as_ptr() { "once" } else { "each time" }
    };
    assert_eq!(events.iter().map(|event| made(event)).collect::<Vec<_>>(), ["each time", "each time", "once", "once"]);
}

#[tokio::test]
async fn the_ring_is_bounded_by_what_is_there_for_its_sake() {
    let long = |n: u32| format!("x={n},{}", "y".repeat(10_000));
    let kit = Kit::new(Limits { ring_bytes_max: 100_000, ..Limits::default() }).await;
    for n in 0..50 {
        kit.put(&format!("/pods/{n}"), &long(n)).await;
    }
    kit.catch_up().await;
    assert_eq!(kit.cache.stats().ring_events, 50, "new objects are there anyway");
    for n in 0..50 {
        kit.put(&format!("/pods/{n}"), &long(n + 100)).await;
    }
    kit.catch_up().await;
    assert_eq!(kit.cache.stats().ring_events, 9, "what was replaced is there for the ring alone");
    for n in 0..50 {
        kit.delete(&format!("/pods/{n}")).await;
    }
    kit.catch_up().await;
    assert_eq!(kit.cache.stats().ring_events, 4, "and so is what is gone, before and after");
}

#[tokio::test]
async fn what_tells_the_time_is_encoded_once_a_second() {
    let kit = Kit::new(Limits::default()).await;
    let mut watch = kit.all();
    kit.put("/pods/1", "x=1").await;
    let event = &take(&mut watch, 1).await[0];
    let encoded = AtomicUsize::new(0);
    let of = |kind: EventType, second: i64| {
        let encode = |object: &Object| {
            encoded.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(format!("{} at {second}", text(&object.bytes)).into())
        };
        event.frame_of_second(kind, second, encode).unwrap_or_else(|never| match never {})
    };
    let frame = of(EventType::Added, 7).expect("a frame");
    assert_eq!((text(&frame).as_str(), encoded.load(Ordering::Relaxed)), ("x=1@2 at 7", 1));
    assert_eq!((of(EventType::Added, 7), encoded.load(Ordering::Relaxed)), (Some(frame), 1));
    assert_eq!(of(EventType::Modified, 7).as_deref(), Some(&b"x=1@2 at 7"[..]));
    assert_eq!(of(EventType::Added, 8).as_deref(), Some(&b"x=1@2 at 8"[..]));
    assert_eq!(of(EventType::Deleted, 8), None, "it was not there before");
    assert_eq!(encoded.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn old_watches_and_slow_ones_are_refused() {
    let kit = Kit::new(Limits { ring_events_max: 10, ..Limits::default() }).await;
    let mut slow = kit.all();
    let mut elsewhere = kit.cache.watch(1, Interest::prefix("/pods/quiet/")).expect("a watch");
    for n in 0..30 {
        kit.put("/pods/a", &format!("n={n}")).await;
    }
    let current = kit.catch_up().await;
    assert_eq!(next(&mut slow).await.expect_err("an end"), CacheError::TooOld { oldest: current - 10 });
    assert_eq!(next(&mut slow).await.expect_err("an end"), CacheError::TooOld { oldest: current - 10 });
    let late = kit.cache.watch(current - 11, Interest::prefix("/pods/"));
    assert!(matches!(late, Err(CacheError::TooOld { .. })));
    let mut just = kit.cache.watch(current - 10, Interest::prefix("/pods/")).expect("a watch");
    assert_eq!(take(&mut just, 10).await.len(), 10);
    // Nothing happened where it looks, so it has missed nothing.
    assert!(elsewhere.try_next().expect("a watch that goes on").is_none());
    kit.put("/pods/quiet/a", "x=1").await;
    assert_eq!(take(&mut elsewhere, 1).await.len(), 1);
    assert_eq!(kit.cache.stats().ring_events, 10);
    drop((slow, just, elsewhere));
    assert_eq!(kit.cache.stats().watches, 0);
    let kit = Kit::new(Limits { watches_max: 1, ..Limits::default() }).await;
    let _one = kit.all();
    let more = kit.cache.snapshot_and_watch(Interest::default());
    assert!(matches!(more, Err(CacheError::TooManyWatches)));
}

#[tokio::test]
async fn old_snapshots_are_rebuilt_exactly() {
    let kit = Kit::with(Limits { ring_events_max: 40, ..Limits::default() }, &[("/pods/x", "a=0")]).await;
    let mut then = BTreeMap::new();
    for n in 0..60_u32 {
        let name = format!("/pods/{}", n % 7);
        let revision = if n % 5 == 4 { kit.delete(&name).await } else { kit.put(&name, &format!("n={n}")).await };
        kit.cache.wait_until(revision, soon()).await.expect("the revision");
        then.insert(revision, keys(&kit.cache.snapshot(), "/pods/"));
    }
    let oldest = match kit.cache.snapshot_at(2) {
        Err(CacheError::TooOld { oldest }) => oldest,
        other => panic!("{other:?}"),
    };
    assert!(then.range(oldest..).count() > 30);
    for (revision, expected) in then.range(oldest..) {
        let snapshot = kit.cache.snapshot_at(*revision).expect("a snapshot");
        assert_eq!((keys(&snapshot, "/pods/"), snapshot.revision()), (expected.clone(), *revision));
        let again = kit.cache.snapshot_at(*revision).expect("a snapshot");
        assert!(Arc::ptr_eq(&snapshot, &again), "kept for the next page");
    }
    let future = kit.cache.snapshot_at(1000);
    assert!(matches!(future, Err(CacheError::TooLarge { .. })));
}

#[tokio::test]
async fn an_undecodable_value_is_told_and_survived() {
    let kit = Kit::with(Limits::default(), &[("/pods/a/1", "x=1"), ("/pods/b/1", "!")]).await;
    let snapshot = kit.cache.snapshot();
    assert_eq!(keys(&snapshot, "/pods/"), "x=1@2");
    assert!(snapshot.undecodable(b"/pods/a/").is_none());
    assert_eq!(snapshot.undecodable(b"/pods/").map(|value| value.error.to_string()), Some("it is broken".to_owned()));
    let mut watch = kit.all();
    kit.put("/pods/a/1", "!").await;
    kit.put("/pods/b/1", "x=2").await;
    kit.put("/pods/a/1", "x=3").await;
    let events = take(&mut watch, 2).await;
    let kinds: Vec<_> = events.iter().map(|event| (event.kind.as_str(), text(&event.object.bytes))).collect();
    assert_eq!(kinds, [("ADDED", "x=2@5".to_owned()), ("MODIFIED", "x=3@6".to_owned())]);
    kit.put("/pods/a/1", "!").await;
    kit.delete("/pods/a/1").await;
    let events = take(&mut watch, 1).await;
    assert_eq!((events[0].kind, text(&events[0].object.bytes)), (EventType::Deleted, "x=3@8".to_owned()));
    assert!(kit.cache.snapshot().undecodable(b"/pods/").is_none());
    let told = kit.texts.undecodable.lock().clone();
    assert_eq!(told, ["/pods/b/1: it is broken", "/pods/a/1: it is broken", "/pods/a/1: it is broken"]);
}

#[tokio::test]
async fn a_lost_store_watch_is_taken_up_again() {
    let kit = Kit::with(Limits::default(), &[("/pods/a", "x=1")]).await;
    let mut watch = kit.all();
    kit.store.break_watches(|| StoreError::Unavailable("gone".to_owned()));
    kit.put("/pods/a", "x=2").await;
    kit.catch_up().await;
    assert_eq!(take(&mut watch, 1).await[0].revision, 3, "nothing is lost and the watch goes on");
    assert_eq!(kit.store.watches.load(Ordering::Relaxed), 2);

    kit.store.break_watches(|| StoreError::Compacted { oldest: 3 });
    assert!(matches!(next(&mut watch).await, Err(CacheError::TooOld { .. })));
    let revision = kit.put("/pods/b", "x=3").await;
    kit.cache.wait_until(revision, soon()).await.expect("a cache that follows again");
    assert_eq!(keys(&kit.cache.snapshot(), "/pods/"), "x=2@3 x=3@4");
    let mut watch = kit.all();
    kit.put("/pods/b", "x=4").await;
    assert_eq!(take(&mut watch, 1).await.len(), 1);
}

#[tokio::test]
async fn closing_ends_everything() {
    let mut kit = Kit::new(Limits::default()).await;
    let mut watch = kit.all();
    let waiting = tokio::spawn({
        let cache = kit.cache.clone();
        async move { cache.wait_until(1000, soon()).await }
    });
    tokio::task::yield_now().await;
    kit.cache.close();
    assert_eq!(next(&mut watch).await.expect_err("an end"), CacheError::Closed);
    assert_eq!(waiting.await.expect("a task"), Err(CacheError::Closed));
    assert!(matches!(kit.cache.snapshot_and_watch(Interest::default()), Err(CacheError::Closed)));
    tokio::time::timeout_at(soon(), &mut kit.task).await.expect("it returns").expect("the task");
}

/// Whoever lists and watches from there knows, at every moment, exactly what a list of that moment says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn list_and_watch_agree_under_concurrent_writes() {
    const WRITERS: u32 = 6;
    const WRITES: u32 = 200;
    let kit = Arc::new(Kit::new(Limits { ring_events_max: 100_000, ..Limits::default() }).await);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let kit = kit.clone();
            tokio::spawn(async move {
                for n in 0..WRITES {
                    let name = format!("/pods/{writer}/{}", n % 5);
                    if n % 3 == 2 {
                        kit.delete(&name).await
                    } else {
                        kit.put(&name, &format!("n={n}")).await
                    };
                }
            })
        })
        .collect();
    let watchers: Vec<_> = (0..8_u64)
        .map(|watcher| {
            let kit = kit.clone();
            tokio::spawn(async move {
                kit.cache.wait_until(i64::try_from(watcher * 60).expect("small"), soon()).await.expect("the revision");
                let (snapshot, mut watch) = kit.cache.snapshot_and_watch(Interest::prefix("/pods/")).expect("a watch");
                let mut known: BTreeMap<_, _> =
                    snapshot.prefix(b"/pods/").map(|object| (key(object), text(&object.bytes))).collect();
                let mut last = snapshot.revision();
                while !known.contains_key("/pods/end") {
                    for event in next(&mut watch).await.expect("a watch that goes on") {
                        assert!(event.revision > last, "in order, none twice");
                        last = event.revision;
                        let (name, value) = (key(&event.object), text(&event.object.bytes));
                        let before = event.previous.as_ref().map(|object| text(&object.bytes));
                        assert_eq!(known.get(&name).cloned(), before, "no gap at {last}");
                        match event.kind {
                            EventType::Deleted => known.remove(&name),
                            EventType::Added | EventType::Modified => known.insert(name, value),
                        };
                    }
                    let of_then = kit.cache.snapshot_at(watch.revision()).expect("a snapshot");
                    assert!(of_then.prefix(b"/pods/").map(|o| (key(o), text(&o.bytes))).eq(known.clone()));
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("a writer");
    }
    put(&*kit.store, "/pods/end", "x=1").await;
    for watcher in watchers {
        watcher.await.expect("a watcher");
    }
    assert_eq!(bytes("/pods/"), kit.cache.prefix());
}
