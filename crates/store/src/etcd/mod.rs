//! The etcd backend: the same contract on an etcd 3.4 or newer.
//!
//! One watch of all keys feeds every watch of this store. So each revision brings an event, which tells by itself how
//! far all watches are: etcd's own progress notices cannot be trusted before 3.4.25 and 3.5.8
//! (etcd-io/etcd issue 15220), and would have to be asked for on a stream per watch.

mod compactor;
mod convert;
mod feed;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio::task::JoinHandle;

use self::convert::{failure, get_options, key_value, to_revision, txn_request, txn_result};
use crate::check;
use crate::contract::{
    Event, EventKind, Range, RangeResult, Revision, Store, StoreError, Txn, TxnResult, WatchBatch, WatchRequest,
};
use crate::hub::{Backlog, Chunk, Hub};

/// Keys in one answer of etcd; a larger range is read in several, at one revision.
const PAGE_KEYS: usize = 500;
/// The same, when their values are not asked for.
const PAGE_BARE_KEYS: usize = 10_000;
/// Largest answer that is taken: a page of the largest values that etcd holds as shipped.
const ANSWER_BYTES_MAX: usize = 1 << 30;
/// How often a range is begun again because the revision it was read at was compacted meanwhile.
const RANGE_ATTEMPTS_MAX: usize = 3;
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

/// Where etcd is, and how to reach it.
#[derive(Clone, PartialEq, Eq)]
pub struct EtcdConfig {
    /// `http://` or `https://` URLs of members.
    pub endpoints: Vec<String>,
    /// PEM of the CAs that the members' certificates are signed by; for `https`.
    pub ca: Option<String>,
    /// PEM of the client's certificate.
    pub cert: Option<String>,
    /// PEM of its key.
    pub key: Option<String>,
    /// How long an answer may take; past it `Unavailable`.
    pub request_timeout: Duration,
    /// Largest transaction; etcd's own limit as shipped.
    pub request_bytes_max: usize,
    /// History is kept for this to twice as long; zero to leave compaction to others.
    pub compact_every: Duration,
}

impl Default for EtcdConfig {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            ca: None,
            cert: None,
            key: None,
            request_timeout: Duration::from_secs(10),
            request_bytes_max: 3 << 19,
            compact_every: Duration::from_secs(300),
        }
    }
}

/// Without the key.
impl std::fmt::Debug for EtcdConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EtcdConfig").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

/// A store in etcd. Dropping it ends all watches.
pub struct Etcd {
    link: Arc<Link>,
    hub: Arc<Hub>,
    request_bytes_max: usize,
    feed: JoinHandle<()>,
    compactor: Option<JoinHandle<()>>,
}

/// The connection.
struct Link {
    client: Client,
    timeout: Duration,
    /// The newest revision that an answer has told of; the feed may lag behind it.
    seen: AtomicI64,
}

impl Etcd {
    /// Connects, and returns when etcd has answered.
    ///
    /// # Errors
    /// `Unavailable` if it does not answer in time, `Io` if the configuration is not one.
    pub async fn connect(config: EtcdConfig) -> Result<Self, StoreError> {
        let client = Client::connect(&config.endpoints, Some(options(&config))).await.map_err(|e| failure(&e))?;
        let link = Arc::new(Link { client, timeout: config.request_timeout, seen: AtomicI64::new(0) });
        let revision = link.revision().await?;
        let hub = Arc::new(Hub::new(revision));
        let feed = tokio::spawn(feed::run(link.clone(), hub.clone()));
        let every = config.compact_every;
        let compactor = (!every.is_zero()).then(|| tokio::spawn(compactor::run(link.clone(), hub.clone(), every)));
        Ok(Self { link, hub, request_bytes_max: config.request_bytes_max, feed, compactor })
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.feed.abort();
        self.compactor.iter().for_each(JoinHandle::abort);
        self.hub.close();
    }
}

fn options(config: &EtcdConfig) -> ConnectOptions {
    let mut options = ConnectOptions::new()
        .with_connect_timeout(config.request_timeout)
        .with_keep_alive(KEEP_ALIVE.0, KEEP_ALIVE.1)
        .with_keep_alive_while_idle(true)
        .with_require_leader(true);
    let identity = config.cert.as_ref().zip(config.key.as_ref());
    if config.ca.is_some() || identity.is_some() {
        let mut tls = TlsOptions::new();
        if let Some(ca) = &config.ca {
            tls = tls.ca_certificate(Certificate::from_pem(ca));
        }
        if let Some((cert, key)) = identity {
            tls = tls.identity(Identity::from_pem(cert, key));
        }
        options = options.with_tls(tls);
    }
    options
}

impl Link {
    /// Waits for an answer, but not for ever.
    async fn answer<T>(&self, answer: impl Future<Output = Result<T, etcd_client::Error>>) -> Result<T, StoreError> {
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(answer) => answer.map_err(|error| failure(&error)),
            Err(_) => Err(StoreError::Unavailable(format!("etcd did not answer in {:?}", self.timeout))),
        }
    }

    fn kv(&self) -> etcd_client::KvClient {
        self.client.kv_client().max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        let options = etcd_client::GetOptions::new().with_count_only();
        let answer = self.answer(self.kv().get("\0", Some(options))).await?;
        let revision = to_revision(answer.header())?;
        self.saw(revision);
        Ok(revision)
    }

    fn saw(&self, revision: Revision) {
        self.seen.fetch_max(revision, Ordering::AcqRel);
    }

    /// Reads a range in pages, all at the revision of the first.
    async fn range(&self, range: &Range) -> Result<RangeResult, StoreError> {
        if range.start.is_empty() {
            return Err(StoreError::EmptyKey);
        }
        let mut attempt = 1;
        loop {
            match self.range_once(range).await {
                Err(StoreError::Compacted { .. }) if range.revision == 0 && attempt < RANGE_ATTEMPTS_MAX => {
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    async fn range_once(&self, range: &Range) -> Result<RangeResult, StoreError> {
        let wanted = if range.limit == 0 { usize::MAX } else { range.limit };
        let page_keys = if range.keys_only { PAGE_BARE_KEYS } else { PAGE_KEYS };
        let mut page = range.clone();
        let mut result = RangeResult::default();
        loop {
            page.limit = (wanted - result.kvs.len()).min(page_keys);
            let mut answer = self.answer(self.kv().get(page.start.to_vec(), Some(get_options(&page)))).await?;
            let first = result.revision == 0;
            if first {
                result.revision = to_revision(answer.header())?;
                self.saw(result.revision);
                result.count = usize::try_from(answer.count()).unwrap_or_default();
                page.revision = if range.revision == 0 { result.revision } else { range.revision };
            }
            result.kvs.extend(answer.take_kvs().into_iter().map(key_value));
            let Some(last) = result.kvs.last().filter(|_| answer.more() && result.kvs.len() < wanted) else { break };
            page.start = [&last.key, [0].as_slice()].concat().into();
        }
        result.more = !range.count_only && result.count > result.kvs.len();
        Ok(result)
    }

    /// The key as it was before a revision; `None` also if that is compacted.
    async fn before(&self, key: &Bytes, revision: Revision) -> Result<Option<crate::KeyValue>, StoreError> {
        let range = Range { revision: revision - 1, ..Range::key(key.clone()) };
        match self.range(&range).await {
            Ok(mut result) => Ok(result.kvs.pop()),
            Err(StoreError::Compacted { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Watches read old revisions with a watch of etcd's.
struct Old(Arc<Link>);

impl Backlog for Old {
    fn changes(&self, from: Revision) -> BoxFuture<'_, Result<Chunk, StoreError>> {
        feed::changes(&self.0, from).boxed()
    }

    fn fill_previous(&self, mut events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Event>, StoreError>> {
        async move {
            for event in &mut events {
                if event.kind == EventKind::Delete || event.kv.version > 1 {
                    event.previous = self.0.before(&event.kv.key, event.kv.mod_revision).await?;
                }
            }
            Ok(events)
        }
        .boxed()
    }
}

impl Store for Etcd {
    fn range(&self, range: Range) -> BoxFuture<'_, Result<RangeResult, StoreError>> {
        async move { self.link.range(&range).await }.boxed()
    }

    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<TxnResult, StoreError>> {
        async move {
            check::txn(&txn, self.request_bytes_max)?;
            let lease = convert::first_lease(&txn);
            let answer = self.link.answer(self.link.kv().txn(txn_request(txn))).await;
            let result = txn_result(&answer.map_err(|error| convert::with_lease(error, lease))?)?;
            self.link.saw(result.revision);
            Ok(result)
        }
        .boxed()
    }

    fn watch(&self, mut request: WatchRequest) -> BoxStream<'static, Result<WatchBatch, StoreError>> {
        if request.from_revision <= 0 {
            // Not what this store has already told of.
            request.from_revision = self.hub.published().max(self.link.seen.load(Ordering::Acquire)) + 1;
        }
        self.hub.watch(Arc::new(Old(self.link.clone())), request)
    }

    fn lease_grant(&self, ttl_s: i64) -> BoxFuture<'_, Result<i64, StoreError>> {
        async move {
            let granted = self.link.answer(self.link.client.lease_client().grant(ttl_s.max(1), None)).await?;
            Ok(granted.id())
        }
        .boxed()
    }

    fn lease_keep_alive(&self, lease: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            let renewed = self.link.answer(self.link.client.lease_client().keep_alive(lease)).await;
            renewed.map(drop).map_err(|error| convert::with_lease(error, lease))
        }
        .boxed()
    }

    fn lease_revoke(&self, lease: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            let revoked = self.link.answer(self.link.client.lease_client().revoke(lease)).await;
            revoked.map(drop).map_err(|error| convert::with_lease(error, lease))
        }
        .boxed()
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            self.link.answer(self.link.kv().compact(revision, None)).await?;
            self.hub.forget_before(revision);
            Ok(())
        }
        .boxed()
    }

    fn revision(&self) -> BoxFuture<'_, Result<Revision, StoreError>> {
        self.link.revision().boxed()
    }

    fn size_bytes(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        async move {
            let status = self.link.answer(self.link.client.maintenance_client().status()).await?;
            Ok(u64::try_from(status.db_size()).unwrap_or_default())
        }
        .boxed()
    }

    fn is_shared(&self) -> bool {
        true
    }
}
