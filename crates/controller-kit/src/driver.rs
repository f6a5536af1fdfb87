//! Runs a controller: nudges become keys, keys become reconciliations, failures come again later.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use client::Key;
use client::informer::{Cached, Handle, Nudge};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::context::Context;
use crate::error::Error;
use crate::queue::Queue;

/// When to look at an object again, apart from when something changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Only when something changes.
    Done,
    /// After this time, because the passing of time itself is an input.
    After(Duration),
}

/// Carries out what its planner decides for one object. Level-triggered: it is told no event and reads everything
/// anew. Runs for one key at a time, for different keys at once.
pub trait Controller: Send + Sync + 'static {
    /// Brings the object `key` one step nearer to what is wanted.
    fn reconcile(&self, key: &Key) -> impl Future<Output = Result<Next, Error>> + Send;
}

/// How a reconciliation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is left to do.
    Done,
    /// It comes again at a known time.
    Later,
    /// It was overtaken and comes again.
    Conflict,
    /// It failed and comes again.
    Failed,
}

/// What is told of a reconciliation that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
    /// How long its key had waited before, after it was due.
    pub waited: Duration,
    /// Keys that wait.
    pub depth: usize,
    /// Keys that were ever added to the queue.
    pub added: u64,
}

/// Is told of each reconciliation, for metrics.
pub trait Observer: Send + Sync {
    /// A reconciliation of `controller` ended.
    fn reconciled(&self, controller: &'static str, report: Report);
}

/// An observer that does not look.
impl Observer for () {
    fn reconciled(&self, _: &'static str, _: Report) {}
}

type Feed = BoxFuture<'static, ()>;

/// The keys of all objects that a controller looks at under their own keys.
type Everything = Arc<Mutex<Vec<Box<dyn Fn() -> Vec<Key> + Send>>>>;

/// Ties a controller to its inputs.
pub struct Runner {
    context: Context,
    queue: Arc<Queue>,
    everything: Everything,
    synced: Vec<Feed>,
    feeds: Vec<Feed>,
}

impl Runner {
    /// A controller without inputs yet.
    pub fn new(context: &Context) -> Self {
        Runner {
            context: context.clone(),
            queue: Arc::default(),
            everything: Arc::default(),
            synced: Vec::new(),
            feeds: Vec::new(),
        }
    }

    /// The queue, for what wakes the controller besides its inputs.
    pub fn queue(&self) -> Arc<Queue> {
        self.queue.clone()
    }

    /// Looks at each object of `handle` under its own key.
    pub fn primary<K: Cached>(self, handle: &Handle<K>) -> Self {
        let queue = self.queue.clone();
        let source = handle.clone();
        let mut subscription = handle.subscribe();
        let all = handle.clone();
        self.everything.lock().push(Box::new(move || all.store().keys()));
        let feed = async move {
            loop {
                match subscription.next().await {
                    Nudge::Look { key, .. } => queue.add(key),
                    Nudge::All => source.store().keys().into_iter().for_each(|key| queue.add(key)),
                }
            }
        };
        self.fed_by(handle, feed)
    }

    /// Looks at the keys that `map` gives for each object of `handle`, as it was and as it is.
    pub fn watch<K: Cached>(self, handle: &Handle<K>, map: impl Fn(&K) -> Vec<Key> + Send + 'static) -> Self {
        self.watch_change(handle, move |old, new| {
            let mut keys: Vec<Key> = old.into_iter().flat_map(&map).collect();
            keys.extend(new.into_iter().flat_map(&map));
            keys
        })
    }

    /// Looks at the keys that `map` gives for a change of an object of `handle`: from what it was (`None` when new or
    /// not known) to what it is (`None` when deleted). After too many changes to tell them one by one, those of the
    /// primaries too, since nothing names what depended on an object that is gone.
    pub fn watch_change<K: Cached>(
        self,
        handle: &Handle<K>,
        map: impl Fn(Option<&K>, Option<&K>) -> Vec<Key> + Send + 'static,
    ) -> Self {
        let queue = self.queue.clone();
        let source = handle.clone();
        let mut subscription = handle.subscribe();
        let everything = self.everything.clone();
        let feed = async move {
            loop {
                match subscription.next().await {
                    Nudge::Look { key, old } => {
                        let new = source.store().get(&key);
                        map(old.as_deref(), new.as_deref()).into_iter().for_each(|key| queue.add(key));
                    }
                    Nudge::All => {
                        for object in source.store().list() {
                            map(None, Some(&object)).into_iter().for_each(|key| queue.add(key));
                        }
                        everything.lock().iter().flat_map(|keys| keys()).for_each(|key| queue.add(key));
                    }
                }
            }
        };
        self.fed_by(handle, feed)
    }

    /// Only waits for `handle` before it starts; changes of it wake nobody.
    pub fn reads<K: Cached>(mut self, handle: &Handle<K>) -> Self {
        let handle = handle.clone();
        self.synced.push(async move { handle.wait_synced().await }.boxed());
        self
    }

    /// Waits for `ready` too before it starts.
    pub fn after(mut self, ready: impl Future<Output = ()> + Send + 'static) -> Self {
        self.synced.push(ready.boxed());
        self
    }

    fn fed_by<K: Cached>(self, handle: &Handle<K>, feed: impl Future<Output = ()> + Send + 'static) -> Self {
        let mut runner = self.reads(handle);
        runner.feeds.push(feed.boxed());
        runner
    }

    /// Runs `controller` until the context is stopped; reconciliations that run then are finished first.
    pub async fn run<C: Controller>(self, controller: C) {
        let Runner { context, queue, everything: _, synced, feeds } = self;
        let stop = context.stop.clone();
        tokio::select! {
            () = stop.cancelled() => return,
            _ = futures::future::join_all(synced) => {}
        }
        tracing::debug!(controller = context.row.name, "inputs are synced");
        let controller = Arc::new(controller);
        let mut feeding = JoinSet::new();
        for feed in feeds {
            feeding.spawn(feed);
        }
        let mut running: JoinSet<()> = JoinSet::new();
        loop {
            let full = running.len() >= context.row.workers.max(1);
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = running.join_next() => report_panic(context.row.name, ended),
                (key, waited) = queue.next_timed(), if !full => {
                    let step = step(context.clone(), queue.clone(), controller.clone(), key, waited);
                    running.spawn(step);
                }
            }
        }
        feeding.shutdown().await;
        while let Some(ended) = running.join_next().await {
            report_panic(context.row.name, ended);
        }
    }
}

async fn step<C: Controller>(context: Context, queue: Arc<Queue>, controller: Arc<C>, key: Key, waited: Duration) {
    // Given back even if the reconciliation panics, so that one bad object does not lose its key for ever.
    let held = Held { queue: &queue, key: &key };
    let start = Instant::now();
    let name = context.row.name;
    let result = controller.reconcile(&key).await;
    let outcome = match result {
        Ok(Next::Done) => {
            queue.forget(&key);
            Outcome::Done
        }
        Ok(Next::After(delay)) => {
            queue.forget(&key);
            queue.add_after(key.clone(), delay);
            Outcome::Later
        }
        // A newer version, or none any more, is on its way to the cache.
        Err(error) if error.is_conflict() || error.is_not_found() => {
            let delay = queue.add_rate_limited(key.clone());
            tracing::debug!(controller = name, %key, ?delay, error = &error as &dyn std::error::Error, "overtaken");
            Outcome::Conflict
        }
        Err(error) => {
            let delay = queue.add_rate_limited(key.clone());
            tracing::warn!(controller = name, %key, ?delay, error = &error as &dyn std::error::Error, "will try again");
            Outcome::Failed
        }
    };
    drop(held);
    let (depth, added) = (queue.depth(), queue.added());
    context.observer.reconciled(name, Report { outcome, took: start.elapsed(), waited, depth, added });
}

struct Held<'a> {
    queue: &'a Queue,
    key: &'a Key,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.queue.add_rate_limited(self.key.clone());
        }
        self.queue.done(self.key);
    }
}

fn report_panic(controller: &'static str, ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(controller, %error, "a reconciliation panicked; its object will be tried again");
    }
}

#[cfg(test)]
mod tests {
    use client::informer::{Informers, NUDGES_PENDING_MAX};
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::ObjectMeta;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::context::Row;
    use crate::events::Recorder;

    fn map(name: impl Into<String>) -> ConfigMap {
        let metadata = ObjectMeta { namespace: Some("a".into()), name: Some(name.into()), ..ObjectMeta::default() };
        ConfigMap { metadata, ..ConfigMap::default() }
    }

    fn context() -> Context {
        static ROW: Row = Row { name: "test", account: "", inputs: &["ConfigMap"], outputs: &[], workers: 1 };
        let client = kube::Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
        Context {
            row: &ROW,
            informers: Informers::new(client.clone()),
            client,
            events: Recorder::none(),
            clock: chrono::Utc::now,
            observer: Arc::new(()),
            stop: CancellationToken::new(),
        }
    }

    // Of one thread, so that a feed sees nothing between two changes here.
    #[tokio::test]
    async fn what_is_gone_is_told_even_when_it_was_brief_or_one_of_many() {
        let (owners, owned) = (Handle::fixed([map("owner")]), Handle::<ConfigMap>::fixed([]));
        let runner = Runner::new(&context()).primary(&owners).watch(&owned, |map| vec![Key::of(map)]);
        let queue = runner.queue();
        let mut feeding: JoinSet<()> = runner.feeds.into_iter().collect();
        let next = async || {
            let key = tokio::time::timeout(Duration::from_secs(30), queue.next()).await.expect("a key");
            queue.done(&key);
            key.name.to_string()
        };
        assert_eq!(next().await, "owner");
        owned.apply(map("brief"));
        owned.remove(&map("brief"));
        assert_eq!(next().await, "brief");
        for n in 0..=NUDGES_PENDING_MAX {
            owned.apply(map(format!("n{n}")));
            owned.remove(&map(format!("n{n}")));
        }
        assert_eq!(next().await, "owner", "of many, nobody knows any more whose they were");
        feeding.shutdown().await;
    }
}
