//! Informers against a small API server made of one tower service: list, watch, relist and nudges.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::informer::{Handle, Informers, NUDGES_PENDING_MAX, Nudge, Selector};
use client::{Key, RequestBody, in_process};
use futures::StreamExt;
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use k8s_openapi::api::core::v1::ConfigMap;
use parking_lot::Mutex;
use tokio::sync::mpsc;

fn config_map(name: &str, version: u64) -> ConfigMap {
    serde_json::from_value(serde_json::json!({
        "metadata": {"name": name, "namespace": "a", "resourceVersion": version.to_string(), "uid": name,
            "managedFields": [{"manager": "m"}]},
    }))
    .unwrap()
}

type Answer = Response<http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>>;

/// Lists are answered from `lists` in turn; the watch takes lines from `lines`.
struct Server {
    lists: Mutex<Vec<serde_json::Value>>,
    lines: Mutex<Option<mpsc::UnboundedReceiver<String>>>,
    seen: Mutex<Vec<String>>,
}

impl Server {
    fn answer(&self, request: &Request<RequestBody>) -> Answer {
        let query = request.uri().query().unwrap_or_default().to_owned();
        self.seen.lock().push(query.clone());
        if !query.contains("watch=true") {
            let list = self.lists.lock().remove(0);
            return Response::new(http_body_util::Full::new(Bytes::from(list.to_string())).boxed_unsync());
        }
        match self.lines.lock().take() {
            Some(mut lines) => {
                let stream = futures::stream::poll_fn(move |cx| lines.poll_recv(cx));
                let frames = stream.map(|line| Ok(http_body::Frame::data(Bytes::from(line + "\n"))));
                Response::new(StreamBody::new(frames).boxed_unsync())
            }
            None => Response::new(StreamBody::new(futures::stream::pending()).boxed_unsync()),
        }
    }
}

fn serve(lists: Vec<serde_json::Value>) -> (Arc<Server>, Informers, mpsc::UnboundedSender<String>) {
    let (send, lines) = mpsc::unbounded_channel();
    let server = Arc::new(Server { lists: Mutex::new(lists), lines: Mutex::new(Some(lines)), seen: Mutex::default() });
    let shared = server.clone();
    let service = tower::service_fn(move |request: Request<RequestBody>| {
        let answer = shared.answer(&request);
        async move { Ok::<_, Infallible>(answer) }
    });
    (server, Informers::new(in_process(service, |_| ())), send)
}

fn list(version: u64, items: &[ConfigMap]) -> serde_json::Value {
    serde_json::json!({"kind": "ConfigMapList", "apiVersion": "v1",
        "metadata": {"resourceVersion": version.to_string()}, "items": items})
}

fn event(kind: &str, object: &ConfigMap) -> String {
    serde_json::json!({"type": kind, "object": object}).to_string()
}

#[tokio::test]
async fn lists_then_watches_and_nudges_with_the_old_state() {
    let (_, informers, send) = serve(vec![list(5, &[config_map("one", 3)])]);
    let handle = informers.get::<ConfigMap>();
    handle.wait_synced().await;
    let one = handle.store().find("a", "one").unwrap();
    assert!(one.metadata.managed_fields.is_none());
    let mut nudges = handle.subscribe();
    assert!(matches!(nudges.next().await, Nudge::All));

    send.send(event("MODIFIED", &config_map("one", 7))).unwrap();
    match nudges.next().await {
        Nudge::Look { key, old } => {
            assert_eq!(key, Key::new("a", "one"));
            assert_eq!(old.unwrap().metadata.resource_version.as_deref(), Some("3"));
        }
        Nudge::All => panic!("one change is not everything"),
    }
    assert_eq!(handle.store().observed(), 7);

    send.send(event("DELETED", &config_map("one", 9))).unwrap();
    assert!(matches!(nudges.next().await, Nudge::Look { old: Some(_), .. }));
    assert!(handle.store().is_empty());
    assert_eq!(handle.store().observed(), 9);
}

#[tokio::test]
async fn gone_lists_again_and_nudges_the_difference() {
    let first = list(5, &[config_map("kept", 3), config_map("lost", 4)]);
    let second = list(9, &[config_map("kept", 3), config_map("new", 8)]);
    let (_, informers, send) = serve(vec![first, second]);
    let handle = informers.get::<ConfigMap>();
    handle.wait_synced().await;
    let mut nudges = handle.subscribe();
    assert!(matches!(nudges.next().await, Nudge::All));
    let gone = serde_json::json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1",
        "status": "Failure", "message": "too old resource version", "reason": "Expired", "code": 410}});
    send.send(gone.to_string()).unwrap();
    let mut keys = Vec::new();
    for _ in 0..2 {
        if let Nudge::Look { key, .. } = nudges.next().await {
            keys.push(key.to_string());
        }
    }
    keys.sort();
    assert_eq!(keys, ["a/lost", "a/new"]);
    assert!(tokio::time::timeout(Duration::from_millis(20), nudges.next()).await.is_err());
}

#[tokio::test]
async fn one_watch_per_kind_and_selector() {
    let (server, informers, _send) = serve(vec![list(1, &[]), list(1, &[])]);
    informers.get::<ConfigMap>().wait_synced().await;
    informers.get::<ConfigMap>().wait_synced().await;
    let selector = Selector { labels: Some("a=b".into()), ..Selector::namespace("x") };
    informers.select::<ConfigMap>(selector).wait_synced().await;
    let lists: Vec<String> = server.seen.lock().iter().filter(|query| !query.contains("watch")).cloned().collect();
    assert_eq!(lists.len(), 2, "{lists:?}");
    assert!(lists[1].contains("fieldSelector=metadata.namespace%3Dx") && lists[1].contains("labelSelector=a%3Db"));
    informers.shutdown().await;
}

#[tokio::test]
async fn nudges_melt_and_overflow_into_all() {
    let handle = Handle::fixed([config_map("one", 1)]);
    let mut nudges = handle.subscribe();
    assert!(matches!(nudges.next().await, Nudge::All));
    handle.apply(config_map("one", 2));
    handle.apply(config_map("one", 3));
    assert!(matches!(nudges.try_next(), Some(Nudge::Look { old: Some(old), .. })
        if old.metadata.resource_version.as_deref() == Some("1")));
    assert!(nudges.try_next().is_none());
    let look = |nudge: Option<Nudge<ConfigMap>>| match nudge {
        Some(Nudge::Look { old, .. }) => old.map(|old| old.metadata.resource_version.clone().unwrap()),
        other => panic!("{other:?}"),
    };
    handle.apply(config_map("brief", 4));
    handle.apply(config_map("brief", 5));
    handle.remove(&config_map("brief", 6));
    assert_eq!(look(nudges.try_next()).as_deref(), Some("5"), "what came and went is told by its last state");
    handle.apply(config_map("again", 7));
    handle.remove(&config_map("again", 8));
    handle.apply(config_map("again", 9));
    assert_eq!(look(nudges.try_next()), None, "what is there and was not before is new");
    handle.remove(&config_map("one", 10));
    handle.apply(config_map("one", 11));
    assert_eq!(look(nudges.try_next()).as_deref(), Some("3"));
    for n in 0..=NUDGES_PENDING_MAX as u64 {
        handle.apply(config_map(&format!("n{n}"), n));
    }
    assert!(matches!(nudges.try_next(), Some(Nudge::All)));
    assert!(nudges.try_next().is_none());
}

#[test]
fn indexes_follow_changes() {
    let mut owned = config_map("owned", 1);
    owned.metadata.owner_references = Some(vec![
        serde_json::from_value(serde_json::json!({"apiVersion": "v1", "kind": "X", "name": "x", "uid": "u",
            "controller": true}))
        .unwrap(),
    ]);
    let handle = Handle::fixed([owned.clone(), config_map("orphan", 2)]);
    let store = handle.store();
    store.add_index("name", |object| object.metadata.name.clone().into_iter().collect());
    let names = |objects: Vec<Arc<ConfigMap>>| {
        objects.iter().map(|object| object.metadata.name.clone().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(names(store.children("u")), ["owned"]);
    assert_eq!(names(store.orphans("a")), ["orphan"]);
    assert_eq!(names(store.by_index("name", "orphan")), ["orphan"]);
    owned.metadata.owner_references = None;
    handle.apply(owned.clone());
    assert_eq!(names(store.orphans("a")), ["orphan", "owned"]);
    assert!(store.children("u").is_empty());
    handle.remove(&owned);
    assert_eq!(names(store.list_namespace("a")), ["orphan"]);
    assert!(store.list_namespace("b").is_empty());
}
