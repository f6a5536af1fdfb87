//! GET with `watch`: a stream of changes from a revision on.

use super::Served;
use super::call::Call;
use super::custom::convert;
use super::list::{self, Selectors};
use super::object;
use super::options::ListOptions;
use crate::body::{self, Body, BoxError};
use crate::negotiate::{Form, Media, View, no_stream};
use crate::render::{self, Include};
use crate::server::Inner;
use crate::stream;
use api_core::ApiError;
use api_core::meta::Meta;
use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode};
use rand::Rng;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use watch_cache::{Cache, Event, EventType, Interest, Object, Watch};

/// Lines are sent together up to this size.
const PIECE_BYTES: usize = 64 << 10;
/// Time between bookmarks of a watch.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// So long before its end a watch gets a last bookmark, so that the next one can start there.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);

/// Serves a watch.
pub(crate) async fn watch(call: Call) -> Result<Response<Body>, ApiError> {
    let options = ListOptions::read(&call.query, true)?;
    let selectors = Selectors::new(&call.served, &options)?;
    if call.form.media == Media::Yaml {
        return Err(no_stream());
    }
    let mut shown =
        Shown { form: call.form, include: Include::of(&call.query)?, served: call.served.clone(), headers_sent: false };
    let (watch, pending) = start(&call, &options, &selectors, &mut shown).await?;
    let deadline = Instant::now() + lifetime(&call, &options);
    let events = Events {
        server: call.server.clone(),
        watch,
        selectors,
        shown,
        pending,
        cache: call.served.cache()?.clone(),
        deadline,
        next_bookmark: options.bookmarks.then(|| next_bookmark(Instant::now(), deadline)),
        end: call.server.drain.clone(),
        over: false,
    };
    let tracked = (call.server.tasks.token(), call.server.metrics.long_running(&call.info, &call.query));
    let media = call.form.media;
    let lines = futures::stream::unfold((events, tracked), |(mut events, tracked)| async move {
        let next = events.next().await?;
        Some((Ok::<_, BoxError>(next), (events, tracked)))
    });
    Ok(body::answer(StatusCode::OK, stream::content_type(media), body::stream(lines)))
}

/// The watch, and the lines that come before its events. A revision that is too old is told in the stream, as upstream does.
async fn start(
    call: &Call,
    options: &ListOptions,
    selectors: &Selectors,
    shown: &mut Shown,
) -> Result<(Option<Watch>, VecDeque<Bytes>), ApiError> {
    let cache = call.served.cache()?;
    let prefix = list::prefix(&call.served, &call.info.namespace);
    let interest = Interest { prefix: prefix.clone().into(), field: selectors.single_field() };
    let initial = options.send_initial_events.unwrap_or(matches!(options.revision, None | Some(0)));
    let mut pending = VecDeque::new();
    if initial {
        match options.revision {
            Some(0) => {}
            None => list::fresh(call).await?,
            Some(revision) => list::wait(call, revision).await?,
        }
        let (snapshot, watch) = cache.snapshot_and_watch(interest).map_err(|e| list::cache_failed(&e, 0))?;
        let all = snapshot.prefix(prefix.as_bytes()).filter(|o| selectors.matches(o)).cloned().collect();
        for object in convert::present(&call.server, &call.served, all).await? {
            pending.push_back(shown.added(&object)?);
        }
        if options.send_initial_events == Some(true) && options.bookmarks {
            pending.push_back(shown.bookmark(snapshot.revision(), true)?);
        }
        return Ok((Some(watch), pending));
    }
    if options.revision.is_none_or(|r| r == 0) {
        list::fresh(call).await?;
        let (_, watch) = cache.snapshot_and_watch(interest).map_err(|e| list::cache_failed(&e, 0))?;
        return Ok((Some(watch), pending));
    }
    let revision = options.revision.unwrap_or(0);
    match cache.watch(revision, interest) {
        Ok(watch) => Ok((Some(watch), pending)),
        Err(e) => {
            let error = list::cache_failed(&e, revision);
            pending.push_back(stream::error(call.form.media, &error));
            Ok((None, pending))
        }
    }
}

/// When a bookmark is due after `now`.
fn next_bookmark(now: Instant, deadline: Instant) -> Instant {
    let regular = now + BOOKMARK_EVERY;
    match deadline.checked_sub(BOOKMARK_BEFORE_END) {
        Some(last) if last > now => regular.min(last),
        _ => regular,
    }
}

fn lifetime(call: &Call, options: &ListOptions) -> Duration {
    match options.timeout_s {
        Some(seconds) if seconds > 0 => Duration::from_secs(seconds),
        _ => {
            let least = call.server.config.limits.watch_timeout_min;
            least.mul_f64(1.0 + rand::rng().random::<f64>())
        }
    }
}

/// One watch.
struct Events {
    server: Arc<Inner>,
    /// `None` if it could not start.
    watch: Option<Watch>,
    cache: Arc<Cache>,
    selectors: Selectors,
    shown: Shown,
    pending: VecDeque<Bytes>,
    deadline: Instant,
    /// `None` if the client takes none.
    next_bookmark: Option<Instant>,
    end: CancellationToken,
    over: bool,
}

enum Step {
    Events(Vec<Arc<Event>>),
    Failed(ApiError),
    Bookmark,
    Over,
}

impl Events {
    /// The next lines; `None` when the watch is over.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if !self.pending.is_empty() {
                return Some(self.drain());
            }
            if self.over {
                return None;
            }
            match self.step().await {
                Step::Events(events) => {
                    for event in &events {
                        if let Err(error) = self.push(event).await {
                            self.fail(&error);
                        }
                    }
                }
                Step::Failed(error) => self.fail(&error),
                Step::Bookmark => self.push_bookmark().await,
                Step::Over => self.over = true,
            }
        }
    }

    async fn step(&mut self) -> Step {
        let Some(watch) = &mut self.watch else { return Step::Over };
        let wake = self.next_bookmark.map_or(self.deadline, |at| at.min(self.deadline));
        let at = watch.revision();
        tokio::select! {
            biased;
            () = self.end.cancelled() => Step::Over,
            events = watch.next() => match events {
                Ok(events) => Step::Events(events),
                Err(watch_cache::CacheError::Closed) => Step::Over,
                Err(error) => Step::Failed(list::cache_failed(&error, at)),
            },
            () = tokio::time::sleep_until(wake) => {
                if Instant::now() >= self.deadline { Step::Over } else { Step::Bookmark }
            }
        }
    }

    fn drain(&mut self) -> Bytes {
        if self.pending.len() == 1 {
            return self.pending.pop_front().unwrap_or_default();
        }
        let mut out = BytesMut::new();
        while let Some(line) = self.pending.pop_front() {
            out.extend_from_slice(&line);
            if out.len() > PIECE_BYTES {
                break;
            }
        }
        out.freeze()
    }

    fn fail(&mut self, error: &ApiError) {
        self.over = true;
        self.pending.push_back(stream::error(self.shown.form.media, error));
    }

    async fn push(&mut self, event: &Event) -> Result<(), ApiError> {
        let selectors = &self.selectors;
        let Some((kind, object)) = event.seen(|o| selectors.matches(o)) else { return Ok(()) };
        if self.shown.served.row.custom.is_some() {
            let shown = convert::present(&self.server, &self.shown.served, vec![object.clone()]).await?;
            if let Some(other) = shown.first().filter(|shown| !Arc::ptr_eq(shown, object)) {
                let shown = self.shown.show(&other.bytes)?;
                let line = stream::frame(self.shown.form.media, kind.as_str(), &shown)?;
                self.pending.push_back(line);
                return Ok(());
            }
        }
        let line = self.shown.change(event, kind, object)?;
        self.pending.push_back(line);
        Ok(())
    }

    /// Everything up to the store's newest revision has been sent if nothing is left to send after catching up.
    async fn push_bookmark(&mut self) {
        let now = Instant::now();
        self.next_bookmark = Some(next_bookmark(now, self.deadline));
        if let Err(error) = self.cache.catch_up(now + BOOKMARK_EVERY).await {
            tracing::debug!(%error, "no bookmark");
            return;
        }
        let Some(watch) = &mut self.watch else { return };
        let step = watch.try_next();
        let revision = watch.revision();
        match step {
            Ok(None) => match self.shown.bookmark(revision, false) {
                Ok(line) => self.pending.push_back(line),
                Err(error) => self.fail(&error),
            },
            Ok(Some(events)) => {
                for event in &events {
                    if let Err(error) = self.push(event).await {
                        self.fail(&error);
                    }
                }
            }
            Err(error) => self.fail(&list::cache_failed(&error, revision)),
        }
    }
}

/// How changes are shown to this watcher.
struct Shown {
    form: Form,
    include: Include,
    served: Arc<Served>,
    headers_sent: bool,
}

impl Shown {
    fn added(&mut self, object: &Object) -> Result<Bytes, ApiError> {
        let bytes = object::to_version(&self.served.row, &object.bytes)?;
        let shown = self.show(&bytes)?;
        stream::frame(self.form.media, "ADDED", &shown)
    }

    fn change(&mut self, event: &Event, kind: EventType, object: &Object) -> Result<Bytes, ApiError> {
        let media = self.form.media;
        if self.form.view == View::Object && object::is_as_stored(&self.served.row) {
            let frame = |kind: EventType, object: &Object| stream::frame_or_error(media, kind.as_str(), &object.bytes);
            let shared = event.frame(kind, stream::shared_format(media), frame);
            return shared.ok_or_else(|| ApiError::internal("a deletion of what was not there"));
        }
        let bytes = object::to_version(&self.served.row, &object.bytes)?;
        let shown = self.show(&bytes)?;
        stream::frame(media, kind.as_str(), &shown)
    }

    fn show(&mut self, bytes: &Bytes) -> Result<Bytes, ApiError> {
        match self.form.view {
            View::Object => Ok(bytes.clone()),
            View::Metadata(version) => Ok(object::metadata_only(&self.served.row, bytes, version)?.into()),
            View::Table(version) => {
                let rows = [render::row(&self.served, bytes, self.include, version, now_unix_s())?];
                let headers = !std::mem::replace(&mut self.headers_sent, true);
                let metadata = json!({"resourceVersion": revision_of(bytes)}).to_string();
                Ok(render::table(&self.served, version, &metadata, headers, &rows).into())
            }
        }
    }

    fn bookmark(&mut self, revision: i64, initial_end: bool) -> Result<Bytes, ApiError> {
        let row = &self.served.row;
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = json!({"kind": row.kind.kind, "apiVersion": row.kind.api_version(), "metadata": metadata});
        let bytes = object::encode(&object);
        let shown: Bytes = match self.form.view {
            View::Table(version) => {
                let rows = [format!(
                    "{{\"cells\":[],\"object\":{}}}",
                    object::metadata_only(&self.served.row, &bytes, version)?
                )];
                let metadata = json!({"resourceVersion": revision.to_string()}).to_string();
                render::table(&self.served, version, &metadata, false, &rows).into()
            }
            View::Object => bytes,
            View::Metadata(version) => object::metadata_only(&self.served.row, &bytes, version)?.into(),
        };
        stream::frame(self.form.media, "BOOKMARK", &shown)
    }
}

/// A watch lasts; ages in its rows are those of the moment.
fn now_unix_s() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn revision_of(bytes: &[u8]) -> String {
    serde_json::from_slice::<Value>(bytes).map(|v| v.resource_version().to_owned()).unwrap_or_default()
}
