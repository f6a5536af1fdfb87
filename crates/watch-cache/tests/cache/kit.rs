//! A store with a cache on it, a decoder of small texts, and ways to break the store's watch.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use store::{
    Embedded, KeyValue, Op, Range, RangeResult, Revision, Store, StoreError, Txn, TxnResult, WatchBatch, WatchRequest,
};
use tokio::sync::mpsc;
use tokio::time::Instant;
use watch_cache::{BoxError, Cache, CacheError, Decoder, Event, Interest, Limits, Object, Pairs, Undecodable, Watch};

/// Values are `node=a,x=1`: each pair is a label and a field. `!` cannot be decoded.
#[derive(Default)]
pub struct Texts {
    pub decoded: AtomicUsize,
    pub undecodable: Mutex<Vec<String>>,
}

impl Decoder for Texts {
    fn decode(&self, kv: &KeyValue) -> Result<Object, BoxError> {
        self.decoded.fetch_add(1, Ordering::Relaxed);
        let value = std::str::from_utf8(&kv.value)?;
        if value == "!" {
            return Err("it is broken".into());
        }
        let pairs = value.split(',').filter_map(|pair| pair.split_once('='));
        let pairs: Pairs = pairs.collect();
        Ok(Object {
            bytes: format!("{value}@{}", kv.mod_revision).into(),
            revision: kv.mod_revision,
            labels: pairs.clone(),
            fields: pairs,
            ..Object::default()
        })
    }

    fn restamp(&self, object: &Object, revision: Revision) -> Bytes {
        let text = String::from_utf8_lossy(&object.bytes);
        format!("{}@{revision}", text.split('@').next().unwrap_or_default()).into()
    }

    fn undecodable(&self, value: &Undecodable) {
        self.undecodable.lock().push(format!("{}: {}", String::from_utf8_lossy(&value.key), value.error));
    }
}

/// A store whose watches can be broken.
pub struct Breakable {
    inner: Embedded,
    breakers: Mutex<Vec<mpsc::UnboundedSender<StoreError>>>,
    pub watches: AtomicUsize,
}

impl Breakable {
    pub fn break_watches(&self, error: impl Fn() -> StoreError) {
        for breaker in self.breakers.lock().drain(..) {
            breaker.send(error()).expect("a watch that runs");
        }
    }
}

impl Store for Breakable {
    fn range(&self, range: Range) -> BoxFuture<'_, Result<RangeResult, StoreError>> {
        self.inner.range(range)
    }
    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<TxnResult, StoreError>> {
        self.inner.txn(txn)
    }
    fn watch(&self, request: WatchRequest) -> BoxStream<'static, Result<WatchBatch, StoreError>> {
        self.watches.fetch_add(1, Ordering::Relaxed);
        let (breaker, broken) = mpsc::unbounded_channel();
        self.breakers.lock().push(breaker);
        let broken = tokio_stream::wrappers::UnboundedReceiverStream::new(broken);
        futures::stream::select(broken.map(Err), self.inner.watch(request)).boxed()
    }
    fn lease_grant(&self, ttl_s: i64) -> BoxFuture<'_, Result<i64, StoreError>> {
        self.inner.lease_grant(ttl_s)
    }
    fn lease_keep_alive(&self, lease: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.lease_keep_alive(lease)
    }
    fn lease_revoke(&self, lease: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.lease_revoke(lease)
    }
    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.compact(revision)
    }
    fn revision(&self) -> BoxFuture<'_, Result<Revision, StoreError>> {
        self.inner.revision()
    }
    fn size_bytes(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.size_bytes()
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }
}

/// A cache of `/pods/` that runs.
pub struct Kit {
    pub store: Arc<Breakable>,
    pub cache: Arc<Cache>,
    pub texts: Arc<Texts>,
    pub task: tokio::task::JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Kit {
    pub async fn new(limits: Limits) -> Self {
        Self::with(limits, &[]).await
    }

    pub async fn with(limits: Limits, before: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let inner = Embedded::open(dir.path().join("state"), store::Limits::default()).expect("a store");
        let store = Arc::new(Breakable { inner, breakers: Mutex::default(), watches: AtomicUsize::new(0) });
        for (key, value) in before {
            put(&*store, key, value).await;
        }
        let texts = Arc::new(Texts::default());
        let cache = Arc::new(Cache::new(store.clone(), texts.clone(), "/pods/", limits));
        let task = tokio::spawn({
            let cache = cache.clone();
            async move { cache.run().await }
        });
        let kit = Self { store, cache, texts, task, _dir: dir };
        kit.catch_up().await;
        kit
    }

    pub async fn put(&self, key: &str, value: &str) -> Revision {
        put(&*self.store, key, value).await
    }

    pub async fn delete(&self, key: &str) -> Revision {
        write(&*self.store, vec![Op::Delete { start: bytes(key), end: None }]).await
    }

    pub async fn catch_up(&self) -> Revision {
        self.cache.catch_up(soon()).await.expect("a cache that follows")
    }

    pub fn all(&self) -> Watch {
        let revision = self.cache.snapshot().revision();
        self.cache.watch(revision, Interest::prefix("/pods/")).expect("a watch")
    }
}

impl Drop for Kit {
    fn drop(&mut self) {
        self.cache.close();
    }
}

pub fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

pub async fn write(store: &dyn Store, ops: Vec<Op>) -> Revision {
    store.txn(Txn { success: ops, ..Txn::default() }).await.expect("the transaction").revision
}

pub async fn put(store: &dyn Store, key: &str, value: &str) -> Revision {
    write(store, vec![Op::Put { key: bytes(key), value: bytes(value), lease: 0 }]).await
}

pub async fn next(watch: &mut Watch) -> Result<Vec<Arc<Event>>, CacheError> {
    tokio::time::timeout_at(soon(), watch.next()).await.expect("an event within the time")
}

pub async fn take(watch: &mut Watch, count: usize) -> Vec<Arc<Event>> {
    let mut events = Vec::new();
    while events.len() < count {
        events.extend(next(watch).await.expect("a watch that goes on"));
    }
    events
}

pub fn key(object: &Object) -> String {
    String::from_utf8_lossy(&object.key).into_owned()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
