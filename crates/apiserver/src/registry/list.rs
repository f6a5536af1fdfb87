//! Which objects a list means: selectors, snapshots, pages.

use super::options::{ListOptions, Match};
use super::{Served, txn};
use crate::registry::call::Call;
use api_core::selector::{fields, labels};
use api_core::status::{Cause, Details};
use api_core::{ApiError, Reason};
use api_schema::codec;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::Value;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use watch_cache::{CacheError, Object, Objects, Snapshot};

/// How long a read waits for the cache to have what it asks for.
const FRESH_TIMEOUT: Duration = Duration::from_secs(3);

/// What was selected.
pub(crate) struct Page {
    pub(crate) items: Vec<Arc<Object>>,
    pub(crate) revision: i64,
    /// Empty if there is no more.
    pub(crate) continue_token: String,
    /// How many come after this page, if that is known.
    pub(crate) remaining: Option<usize>,
}

/// Labels and fields that are asked for.
pub(crate) struct Selectors {
    labels: labels::Selector,
    fields: fields::Selector,
    everything: bool,
    stored_field: Option<fn(&str) -> Option<&'static str>>,
}

impl Selectors {
    /// Checks that the row offers the fields.
    pub(crate) fn new(served: &Served, options: &ListOptions) -> Result<Self, ApiError> {
        for term in options.fields.terms() {
            let known = |name: &&&str| **name == term.field;
            let general = ["metadata.name", "metadata.namespace"];
            // Kinds without namespaces that have fields of their own have no field for them.
            let own = served.row.custom.is_none() && !served.selectable.is_empty() && !served.row.namespaced;
            let general = if own { &general[..1] } else { &general[..] };
            if general.iter().find(known).is_none() && served.selectable.iter().find(known).is_none() {
                return Err(unknown_field(served, &term.field));
            }
        }
        Ok(Self {
            everything: options.labels.is_everything() && options.fields.is_empty(),
            labels: options.labels.clone(),
            fields: options.fields.clone(),
            stored_field: served.row.hooks.stored_field,
        })
    }

    /// A field that must have one value, to wake a watch for nothing else.
    pub(crate) fn single_field(&self) -> Option<(String, String)> {
        let term = self.fields.terms().iter().find(|t| !t.negated)?;
        Some((self.stored(&term.field).to_owned(), term.value.clone()))
    }

    /// A field's name as objects are cached by.
    fn stored<'a>(&self, field: &'a str) -> &'a str {
        self.stored_field.and_then(|of| of(field)).unwrap_or(field)
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.everything
    }

    pub(crate) fn matches(&self, object: &Object) -> bool {
        self.everything
            || (self.labels.matches(&Labelled(object))
                && self.fields.matches(|name| Some(object.field(self.stored(name)))))
    }
}

/// An object as one with labels.
struct Labelled<'a>(&'a Object);

impl labels::Labels for Labelled<'_> {
    fn label(&self, name: &str) -> Option<&str> {
        self.0.label(name)
    }
}

fn unknown_field(served: &Served, field: &str) -> ApiError {
    if served.selectable.is_empty() && served.row.custom.is_none() {
        let known = "only \"metadata.name\", \"metadata.namespace\"";
        return ApiError::bad_request(format!("{field:?} is not a known field selector: {known}"));
    }
    ApiError::bad_request(api_kinds::select::unknown(&served.row.kind.group, &served.row.kind.kind, field))
}

/// Prefix of the keys of a namespace, or of all.
pub(crate) fn prefix(served: &Served, namespace: &str) -> String {
    if served.row.namespaced && !namespace.is_empty() {
        format!("{}/{namespace}/", served.row.storage_prefix)
    } else {
        format!("{}/", served.row.storage_prefix)
    }
}

/// Revision of a token that goes on in whatever state there is.
const INCONSISTENT: i64 = -1;

/// Where the next page starts.
#[derive(Debug, Serialize)]
struct Token {
    v: String,
    rv: i64,
    start: String,
}

pub(crate) fn encode_token(revision: i64, start: &str) -> String {
    let token = Token { v: "meta.k8s.io/v1".into(), rv: revision, start: format!("{start}\0") };
    serde_json::to_vec(&token).map(|json| URL_SAFE_NO_PAD.encode(json)).unwrap_or_default()
}

pub(crate) fn decode_token(text: &str, prefix: &str) -> Result<(i64, String), ApiError> {
    let bad = |why: String| ApiError::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
    let json = URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| bad(format!("illegal base64 data at input byte {}", illegal(text))))?;
    let token: Value = serde_json::from_slice(&json).map_err(|e| bad(codec::json_wording(&json, &e)))?;
    if !token.is_object() && !token.is_null() {
        let kind = codec::go_kind(&token);
        return Err(bad(format!("json: cannot unmarshal {kind} into Go value of type storage.continueToken")));
    }
    let said = |field: &str| token.get(field).and_then(Value::as_str).unwrap_or("").to_owned();
    let token = Token { v: said("v"), rv: token.get("rv").and_then(Value::as_i64).unwrap_or(0), start: said("start") };
    if token.v != "meta.k8s.io/v1" {
        return Err(bad(format!("server does not recognize this encoded version {}", token.v)));
    }
    if token.rv == 0 {
        return Err(bad("incorrect encoded start resourceVersion (version meta.k8s.io/v1)".into()));
    }
    if token.start.is_empty() {
        return Err(bad("encoded start key empty (version meta.k8s.io/v1)".into()));
    }
    let start = token.start.strip_prefix('/').unwrap_or(&token.start);
    if start.split('/').any(|part| matches!(part, "." | ".." | "")) {
        return Err(bad(token.start));
    }
    Ok((token.rv, format!("{prefix}{start}")))
}

/// Where a text stops to be base64.
fn illegal(text: &str) -> usize {
    let is_legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    text.bytes().position(|b| !is_legal(b)).unwrap_or(text.len() - 1)
}

/// Selects what the options ask for.
pub(crate) async fn select(call: &Call, options: &ListOptions) -> Result<Page, ApiError> {
    Ok(Selection::of(call, options).await?.page())
}

/// What options ask for in the state that they name, before any object is looked at.
pub(crate) struct Selection<'a> {
    call: &'a Call,
    selectors: Selectors,
    prefix: String,
    start: Start,
    /// Most objects of a page.
    limit: usize,
}

impl<'a> Selection<'a> {
    pub(crate) async fn of(call: &'a Call, options: &ListOptions) -> Result<Self, ApiError> {
        let selectors = Selectors::new(&call.served, options)?;
        let prefix = prefix(&call.served, &call.info.namespace);
        let start = start(call, options, &prefix).await?;
        if let Some(broken) = start.snapshot.undecodable(prefix.as_bytes()) {
            let key = String::from_utf8_lossy(&broken.key);
            return Err(ApiError::internal(format!("unable to transform key {key:?}: {}", broken.error)));
        }
        // What any state will do for is given whole, as upstream's cache gives it.
        let any_state = options.resource_version == "0" && options.continue_token.is_empty();
        let limit = if options.limit == 0 || any_state { usize::MAX } else { options.limit };
        Ok(Self { call, selectors, prefix, start, limit })
    }

    /// The objects below the prefix by their places, if all of them are asked for: they need not be gathered then.
    pub(crate) fn all(&self) -> Option<Stored> {
        let asked = self.selectors.is_everything() && self.limit == usize::MAX && self.start.after.is_none();
        asked.then(|| Stored {
            places: self.start.snapshot.places(self.prefix.as_bytes()),
            snapshot: self.start.snapshot.clone(),
        })
    }

    /// Counts what a list has read.
    pub(crate) fn count(&self, looked_at: usize, found: usize) {
        self.call.server.metrics.traffic.list(&self.call.row().storage_prefix, looked_at, found);
    }

    /// The objects themselves, up to the limit.
    pub(crate) fn page(self) -> Page {
        let (snapshot, prefix) = (&self.start.snapshot, self.prefix.as_bytes());
        let mut objects = match &self.start.after {
            Some(key) => snapshot.page(prefix, key.as_bytes()),
            None => snapshot.prefix(prefix),
        };
        let below = objects.len();
        let mut items = Vec::with_capacity(below.min(self.limit));
        items.extend(objects.by_ref().filter(|o| self.selectors.matches(o)).take(self.limit).cloned());
        self.count(below - objects.len(), items.len());
        let revision = snapshot.revision();
        let (continue_token, remaining) = rest(&self.selectors, &items, objects, self.limit, revision, &self.prefix);
        Page { items, revision, continue_token, remaining }
    }
}

/// Objects of a state by their places in it.
pub(crate) struct Stored {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) places: Range<usize>,
}

fn rest(
    selectors: &Selectors,
    items: &[Arc<Object>],
    objects: Objects<'_>,
    limit: usize,
    revision: i64,
    prefix: &str,
) -> (String, Option<usize>) {
    let remaining = objects.len();
    // Whether what comes after is chosen too is found out by the next page.
    let more = items.len() == limit && remaining > 0;
    let Some(last) = items.last().filter(|_| more) else { return (String::new(), None) };
    let key = String::from_utf8_lossy(&last.key);
    let token = encode_token(revision, key.strip_prefix(prefix).unwrap_or(&key));
    (token, selectors.is_everything().then_some(remaining))
}

/// The state to list, and the key that the page comes after.
struct Start {
    snapshot: Arc<Snapshot>,
    after: Option<String>,
}

async fn start(call: &Call, options: &ListOptions, prefix: &str) -> Result<Start, ApiError> {
    let cache = call.served.cache()?;
    if !options.continue_token.is_empty() {
        let (revision, after) = decode_token(&options.continue_token, prefix)?;
        if !matches!(options.resource_version.as_str(), "" | "0") {
            return Err(ApiError::bad_request("specifying resource version is not allowed when using continue"));
        }
        let after = Some(after.trim_end_matches('\0').to_owned());
        if revision <= 0 {
            fresh(call).await?;
            return Ok(Start { snapshot: cache.snapshot(), after });
        }
        let snapshot = cache.snapshot_at(revision).map_err(|_| expired_page(prefix, &after))?;
        return Ok(Start { snapshot, after });
    }
    // Upstream's old rule: a limit without a match asks for exactly that revision.
    let exact = options.matching == Match::Exact || (options.matching == Match::Unset && options.limit > 0);
    let snapshot = match asked(options, exact || call.row().hooks.expires)? {
        None => {
            fresh(call).await?;
            cache.snapshot()
        }
        Some(0) => cache.snapshot(),
        Some(revision) => {
            // What is asked for exactly is asked of the store, which has words of its own.
            let future = "etcdserver: mvcc: required revision is a future revision";
            let waited = wait(call, revision).await;
            waited.map_err(|e| if exact && e.code == 504 { ApiError::new(500, Reason::Unknown, future) } else { e })?;
            let at = if exact { cache.snapshot_at(revision) } else { Ok(cache.snapshot()) };
            at.map_err(|_| ApiError::expired("The resourceVersion for the provided list is too old."))?
        }
    };
    Ok(Start { snapshot, after: None })
}

/// The revision that is asked for. What the store is asked for has words of its own, and so have resources that upstream
/// reads without a cache, which are those that expire (`of_store`).
fn asked(options: &ListOptions, of_store: bool) -> Result<Option<i64>, ApiError> {
    options.revision().map_err(|e| {
        if of_store { ApiError::bad_request(format!("invalid resource version: {}", e.message)) } else { e }
    })
}

/// Waits until the cache has all that the store had when the request came.
pub(crate) async fn fresh(call: &Call) -> Result<(), ApiError> {
    let cache = call.served.cache()?;
    let newest = call.server.registry.store.revision().await.map_err(|e| txn::failed(&e))?;
    cache.wait_until(newest, Instant::now() + FRESH_TIMEOUT).await.map_err(|e| cache_failed(&e, newest))
}

/// Waits until the cache has reached a revision that the client has seen.
pub(crate) async fn wait(call: &Call, revision: i64) -> Result<(), ApiError> {
    let cache = call.served.cache()?;
    if cache.snapshot().revision() >= revision {
        return Ok(());
    }
    let newest = call.server.registry.store.revision().await.map_err(|e| txn::failed(&e))?;
    if newest < revision {
        return Err(too_new(revision, newest));
    }
    cache.wait_until(revision, Instant::now() + FRESH_TIMEOUT).await.map_err(|e| cache_failed(&e, revision))
}

/// A cache that cannot answer, as the client sees it.
pub(crate) fn cache_failed(error: &CacheError, asked: i64) -> ApiError {
    match error {
        CacheError::TooOld { oldest } => ApiError::expired(format!("too old resource version: {asked} ({oldest})")),
        CacheError::TooLarge { current } => too_new(asked, *current),
        CacheError::TooManyWatches => ApiError::new(429, Reason::TooManyRequests, "too many watches")
            .with_details(Details { retry_after_seconds: 1, ..Details::default() }),
        CacheError::Closed => ApiError::new(503, Reason::ServiceUnavailable, "the server is shutting down"),
    }
}

fn too_new(asked: i64, newest: i64) -> ApiError {
    let message = format!("Too large resource version: {asked}, current: {newest}");
    let cause = Cause {
        reason: "ResourceVersionTooLarge".into(),
        message: "Too large resource version".into(),
        ..Cause::default()
    };
    let details = Details { causes: vec![cause], retry_after_seconds: 1, ..Details::default() };
    ApiError::new(504, Reason::Timeout, format!("Timeout: {message}")).with_details(details)
}

/// The revision of the token is no longer known. The client may start again, or take what is there now after the same key.
fn expired_page(prefix: &str, after: &Option<String>) -> ApiError {
    let key = after.as_deref().unwrap_or("");
    ApiError::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without \
         the continue parameter, or use the continue token in this response to retrieve the remainder of the results. \
         Continuing with the provided token results in an inconsistent list - objects that were created, modified, or \
         deleted between the time the first chunk was returned and now may show up in the list.",
    )
    .with_continue(encode_token(INCONSISTENT, key.strip_prefix(prefix).unwrap_or(key)))
}
