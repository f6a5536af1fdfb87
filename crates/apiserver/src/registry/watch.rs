//! GET with `watch`: a stream of changes from a revision on.

use super::Served;
use super::call::Call;
use super::custom::convert;
use super::list::{self, Selectors};
use super::object;
use super::options::ListOptions;
use crate::body::{self, Body, BoxError};
use crate::negotiate::{Form, Media, View, no_stream};
use crate::render::{self, AsRow, Include};
use crate::request_labels::Summary;
use crate::server::Inner;
use crate::stream::{self, Line};
use crate::traffic::Sent;
use api_core::ApiError;
use api_schema::protobuf::watch_frame;
use bytes::Bytes;
use http::{Response, StatusCode};
use rand::Rng;
use serde_json::json;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;
use watch_cache::{Cache, Event, EventType, Interest, Object, Watch};

/// Lines are sent together up to this size, if not one alone is longer. A client that reads slowly holds one such piece here,
/// and one encrypted.
const PIECE_BYTES: usize = 32 << 10;
/// An object of this size or more is sent as it is, between what makes a line of it: to copy it costs more than two pieces more.
const SHARED_BYTES_MIN: usize = 2 << 10;
/// Time between bookmarks of a watch.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// So long before its end a watch gets a last bookmark, so that the next one can start there.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);

/// Serves a watch.
pub(crate) async fn watch(call: Call) -> Result<Response<Body>, ApiError> {
    let mut options = ListOptions::read(&call.query, true)?;
    if call.info.name_in_path {
        options = options.of_one(&call.info.name)?;
    }
    let selectors = Selectors::new(&call.served, &options)?;
    if call.form.media == Media::Yaml {
        return Err(no_stream());
    }
    let shown = Shown::new(&call)?;
    let (watch, pending, first) = start(&call, &options, &selectors, &shown).await?;
    let deadline = Instant::now() + lifetime(&call, &options);
    let next_bookmark = options.bookmarks.then(|| next_bookmark(Instant::now(), deadline));
    let events = Box::new(Events {
        server: call.server.clone(),
        watch,
        selectors,
        shown,
        pending,
        parts: VecDeque::new(),
        first,
        cache: call.served.cache()?.clone(),
        deadline,
        next_bookmark,
        timer: Box::pin(tokio::time::sleep_until(wake_at(deadline, next_bookmark))),
        end: Box::pin(call.server.drain.clone().cancelled_owned()),
        over: false,
        sent: call.server.metrics.traffic.watch(&call.row().kind),
    });
    let summary = Summary::new(&call.info, &call.query, &call.headers);
    let tracked = (call.server.tasks.token(), call.server.metrics.requests.long_running(&summary, true));
    let media = call.form.media;
    let lines = futures::stream::unfold((events, tracked), |(mut events, tracked)| async move {
        let next = events.next().await?;
        Some((Ok::<_, BoxError>(next), (events, tracked)))
    });
    Ok(body::answer(StatusCode::OK, stream::content_type(media), body::stream(lines)))
}

/// What there is when a watch begins: its objects are made into lines as they are sent.
#[derive(Default)]
struct First {
    objects: std::vec::IntoIter<Arc<Object>>,
    /// The line that ends them.
    end: Option<Bytes>,
}

/// The watch, the lines that come before its events, and the objects that come after those lines. A revision that is too old is
/// told in the stream, as upstream does.
async fn start(
    call: &Call,
    options: &ListOptions,
    selectors: &Selectors,
    shown: &Shown,
) -> Result<(Option<Watch>, VecDeque<Line>, First), ApiError> {
    let cache = call.served.cache()?;
    let prefix = list::prefix(&call.served, &call.info.namespace);
    let interest = Interest { prefix: prefix.clone().into(), field: selectors.single_field() };
    let asked = options.revision()?;
    let initial = options.send_initial_events.unwrap_or(matches!(asked, None | Some(0)));
    let mut pending = VecDeque::new();
    if initial {
        match asked {
            Some(0) => {}
            None => list::fresh(call).await?,
            Some(revision) => list::wait(call, revision).await?,
        }
        let (snapshot, watch) = cache.snapshot_and_watch(interest).map_err(|e| list::cache_failed(&e, 0))?;
        let all = snapshot.prefix(prefix.as_bytes()).filter(|o| selectors.matches(o)).cloned().collect();
        let objects = convert::present(&call.server, &call.served, all).await?.into_iter();
        let ends = options.send_initial_events == Some(true) && options.bookmarks;
        let end = if ends { Some(shown.bookmark(snapshot.revision(), true)?) } else { None };
        return Ok((Some(watch), pending, First { objects, end }));
    }
    let revision = asked.unwrap_or(0);
    if revision == 0 {
        list::fresh(call).await?;
        let (_, watch) = cache.snapshot_and_watch(interest).map_err(|e| list::cache_failed(&e, 0))?;
        return Ok((Some(watch), pending, First::default()));
    }
    match cache.watch(revision, interest) {
        Ok(watch) => Ok((Some(watch), pending, First::default())),
        Err(e) => {
            let error = list::cache_failed(&e, revision);
            pending.push_back(Line::Made(stream::error(call.form.media, &error)));
            Ok((None, pending, First::default()))
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

/// When a watch has something to do although nothing happens.
fn wake_at(deadline: Instant, next_bookmark: Option<Instant>) -> Instant {
    next_bookmark.map_or(deadline, |at| at.min(deadline))
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
    pending: VecDeque<Line>,
    /// The rest of a line that has begun.
    parts: VecDeque<Bytes>,
    first: First,
    deadline: Instant,
    /// `None` if the client takes none.
    next_bookmark: Option<Instant>,
    /// Of the deadline or the next bookmark. It and `end` last as long as the watch, for it waits often.
    timer: Pin<Box<Sleep>>,
    end: Pin<Box<WaitForCancellationFutureOwned>>,
    over: bool,
    sent: Sent,
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
            if let Some(part) = self.parts.pop_front() {
                return Some(part);
            }
            if !self.pending.is_empty() {
                self.drain();
                continue;
            }
            if self.over {
                return None;
            }
            if self.fill_first() {
                continue;
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

    /// Makes a piece of what there was at the start; whether there was anything left of it.
    fn fill_first(&mut self) -> bool {
        let mut bytes = 0;
        while bytes < PIECE_BYTES {
            let Some(object) = self.first.objects.next() else {
                let end = self.first.end.take();
                let any = bytes > 0 || end.is_some();
                self.pending.extend(end.map(Line::Made));
                return any;
            };
            match self.shown.added(&object) {
                Ok(line) => {
                    bytes += line.len();
                    self.pending.push_back(line);
                }
                Err(error) => {
                    self.fail(&error);
                    return true;
                }
            }
        }
        true
    }

    async fn step(&mut self) -> Step {
        let Some(watch) = &mut self.watch else { return Step::Over };
        let at = watch.revision();
        tokio::select! {
            biased;
            () = &mut self.end => Step::Over,
            events = watch.next() => match events {
                Ok(events) => Step::Events(events),
                Err(watch_cache::CacheError::Closed) => Step::Over,
                Err(error) => Step::Failed(list::cache_failed(&error, at)),
            },
            () = &mut self.timer => {
                if Instant::now() >= self.deadline { Step::Over } else { Step::Bookmark }
            }
        }
    }

    fn drain(&mut self) {
        let piece = take_piece(&mut self.pending, |bytes| self.sent.event(bytes));
        self.parts.extend(piece.into_iter().filter(|part| !part.is_empty()));
    }

    fn fail(&mut self, error: &ApiError) {
        self.over = true;
        self.pending.push_back(Line::Made(stream::error(self.shown.form.media, error)));
    }

    async fn push(&mut self, event: &Event) -> Result<(), ApiError> {
        let selectors = &self.selectors;
        let Some((kind, object)) = event.seen(|o| selectors.matches(o)) else { return Ok(()) };
        if self.shown.served.row.custom.is_some() {
            let shown = convert::present(&self.server, &self.shown.served, vec![object.clone()]).await?;
            if let Some(other) = shown.first().filter(|shown| !Arc::ptr_eq(shown, object)) {
                let shown = self.shown.show(&other.bytes)?;
                let line = stream::frame(self.shown.form.media, kind.as_str(), &shown)?;
                self.pending.push_back(Line::Made(line));
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
        self.timer.as_mut().reset(wake_at(self.deadline, self.next_bookmark));
        if let Err(error) = self.cache.catch_up(now + BOOKMARK_EVERY).await {
            tracing::debug!(%error, "no bookmark");
            return;
        }
        let Some(watch) = &mut self.watch else { return };
        let step = watch.try_next();
        let revision = watch.revision();
        match step {
            Ok(None) => match self.shown.bookmark(revision, false) {
                Ok(line) => self.pending.push_back(Line::Made(line)),
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
    server: Arc<Inner>,
    served: Arc<Served>,
    headers_sent: bool,
    /// Whether objects are served as they are stored, so that what is made of one is the same for all who watch.
    shares: bool,
}

/// Where an event keeps the frames that all watches in the same form share.
#[derive(Debug, Clone, Copy)]
enum Format {
    Json,
    Protobuf,
    MetadataJson,
    MetadataProtobuf,
}

impl Shown {
    fn new(call: &Call) -> Result<Self, ApiError> {
        let (form, include, served) = (call.form, Include::of(&call.query)?, call.served.clone());
        let shares = object::is_as_stored(&served.row);
        Ok(Self { form, include, server: call.server.clone(), served, headers_sent: false, shares })
    }

    fn added(&mut self, object: &Object) -> Result<Line, ApiError> {
        if self.form.view == View::Object && self.form.media == Media::Protobuf {
            let envelope = self.server.encodings.enveloped(&self.served.row, object)?;
            return Ok(Line::Made(watch_frame("ADDED", &envelope)));
        }
        let bytes = object::to_version(&self.served.row, &object.bytes)?;
        if self.form.view == View::Object {
            return Ok(Line::Around(EventType::Added, bytes));
        }
        let shown = self.show(&bytes)?;
        stream::frame(self.form.media, "ADDED", &shown).map(Line::Made)
    }

    /// What is sent for a change. JSON is there already, and if it is long put together for all watches but the first; another
    /// frame is made by the first watch that wants it in its form.
    fn change(&mut self, event: &Event, kind: EventType, object: &Object) -> Result<Line, ApiError> {
        let shared = match (self.form.view, self.form.media) {
            (View::Object, Media::Json | Media::Yaml) => {
                let make = |object: &Object| self.shared_frame(Format::Json, kind, object);
                let is_framed = self.shares && object.bytes.len() >= SHARED_BYTES_MIN;
                let made = if is_framed { event.frame_for_many(kind, Format::Json as usize, make)? } else { None };
                return Ok(match made {
                    Some(frame) => Line::Made(frame),
                    None => Line::Around(kind, object::to_version(&self.served.row, &object.bytes)?),
                });
            }
            _ if !self.shares => None,
            (View::Object, Media::Protobuf) => Some(Format::Protobuf),
            (View::Metadata("v1"), Media::Protobuf) => Some(Format::MetadataProtobuf),
            (View::Metadata("v1"), _) => Some(Format::MetadataJson),
            (View::Table("v1"), Media::Json) if self.headers_sent && self.include == Include::Metadata => {
                let now = now_unix_us();
                let made =
                    event.frame_of_second(kind, now.div_euclid(1_000_000), |object| self.row(kind, object, now))?;
                return made.map(Line::Made).ok_or_else(not_there);
            }
            _ => None,
        };
        if let Some(format) = shared {
            let make = |object: &Object| self.shared_frame(format, kind, object);
            return event.frame(kind, format as usize, make)?.map(Line::Made).ok_or_else(not_there);
        }
        let bytes = object::to_version(&self.served.row, &object.bytes)?;
        let shown = self.show(&bytes)?;
        stream::frame(self.form.media, kind.as_str(), &shown).map(Line::Made)
    }

    /// A frame for all watches.
    fn shared_frame(&self, format: Format, kind: EventType, object: &Object) -> Result<Bytes, ApiError> {
        let (encodings, media, kind) = (&self.server.encodings, self.form.media, kind.as_str());
        match format {
            Format::Json => Ok(stream::line(kind, &object.bytes)),
            Format::Protobuf => {
                encodings.protobuf.inc();
                encodings.enveloped_once(object).map(|envelope| watch_frame(kind, &envelope))
            }
            Format::MetadataJson | Format::MetadataProtobuf => {
                encodings.metadata.inc();
                let shown = object::metadata_only(&self.served.row, &object.bytes, "v1")?;
                stream::frame(media, kind, &shown)
            }
        }
    }

    /// The frame of a row whose columns are known already.
    fn row(&self, kind: EventType, object: &Object, now_unix_us: i64) -> Result<Bytes, ApiError> {
        let encodings = &self.server.encodings;
        encodings.table.inc();
        let row = encodings.row(&self.served, object, self.as_row("v1", now_unix_us))?;
        stream::frame(self.form.media, kind.as_str(), &self.table("v1", row, &object.bytes, false))
    }

    fn as_row<'v>(&self, version: &'v str, now_unix_us: i64) -> AsRow<'v> {
        AsRow { include: self.include, version, now_unix_us, keeps: false }
    }

    /// A Table of one row, of the object with these bytes.
    fn table(&self, version: &str, row: Vec<u8>, bytes: &[u8], headers: bool) -> Bytes {
        let metadata = json!({"resourceVersion": object::revision_of(bytes)}).to_string();
        render::table(&self.served, version, &metadata, headers, &[row]).into()
    }

    fn show(&mut self, bytes: &Bytes) -> Result<Bytes, ApiError> {
        match self.form.view {
            View::Object => Ok(bytes.clone()),
            View::Metadata(version) => Ok(object::metadata_only(&self.served.row, bytes, version)?.into()),
            View::Table(version) => {
                let headers = !std::mem::replace(&mut self.headers_sent, true);
                let row = render::row(&self.served, bytes, self.as_row(version, now_unix_us()))?;
                Ok(self.table(version, row, bytes, headers))
            }
        }
    }

    fn bookmark(&self, revision: i64, initial_end: bool) -> Result<Bytes, ApiError> {
        let row = &self.served.row;
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = json!({"kind": row.kind.kind, "apiVersion": row.kind.api_version(), "metadata": metadata});
        let bytes = object::encode(&object);
        let shown: Bytes = match self.form.view {
            View::Table(version) => {
                let object = object::metadata_only(&self.served.row, &bytes, version)?;
                let row = [&b"{\"cells\":[],\"object\":"[..], &object, b"}"].concat();
                let metadata = json!({"resourceVersion": revision.to_string()}).to_string();
                render::table(&self.served, version, &metadata, false, &[row]).into()
            }
            View::Object => bytes,
            View::Metadata(version) => object::metadata_only(&self.served.row, &bytes, version)?.into(),
        };
        stream::frame(self.form.media, "BOOKMARK", &shown)
    }
}

/// Takes the next piece of what is pending, in parts that follow each other: one line that is long, whose object is not
/// copied, or the short ones before the next such line, as one. `sent` is told the bytes of each line.
fn take_piece(pending: &mut VecDeque<Line>, mut sent: impl FnMut(usize)) -> [Bytes; 3] {
    let is_long = |line: &Line| line.len() >= SHARED_BYTES_MIN;
    let (mut lines, mut bytes) = (0, 0);
    for line in pending.iter().take_while(|line| !is_long(line)) {
        if lines > 0 && bytes + line.len() > PIECE_BYTES {
            break;
        }
        lines += 1;
        bytes += line.len();
    }
    if lines == 0 || (lines == 1 && pending.front().is_some_and(Line::is_made)) {
        let Some(line) = pending.pop_front() else { return [Bytes::new(), Bytes::new(), Bytes::new()] };
        sent(line.len());
        return line.parts();
    }
    let mut out = Vec::with_capacity(bytes);
    for line in pending.drain(..lines) {
        sent(line.len());
        line.put(&mut out);
    }
    [out.into(), Bytes::new(), Bytes::new()]
}

fn not_there() -> ApiError {
    ApiError::internal("a deletion of what was not there")
}

/// A watch lasts; ages in its rows are those of the moment.
fn now_unix_us() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_goes_alone_and_without_a_copy() {
        let object = |bytes: usize| Bytes::from(vec![b'x'; bytes]);
        let (short, long, most) = (object(10), object(SHARED_BYTES_MIN), object(SHARED_BYTES_MIN - 100));
        let line = |object: &Bytes| Line::Around(EventType::Added, object.clone());
        // The objects that wait, and how many go with each piece.
        let table: [(&[&Bytes], &[usize]); 7] = [
            (&[&long, &short], &[1, 1]),
            (&[&short, &short, &long, &short, &short], &[2, 1, 2]),
            (&[&long, &long], &[1, 1]),
            (&[&short], &[1]),
            (&[&most; 20], &[16, 4]),
            (&[&short, &most], &[2]),
            (&[], &[]),
        ];
        for (objects, wanted) in table {
            let mut pending: VecDeque<Line> = objects.iter().copied().map(line).collect();
            let mut all = Vec::new();
            pending.iter().for_each(|line| line.put(&mut all));
            let (mut counts, mut sent, mut bytes) = (Vec::new(), Vec::new(), 0);
            while !pending.is_empty() {
                let before = pending.len();
                let parts = take_piece(&mut pending, |line| bytes += line);
                counts.push(before - pending.len());
                let is_shared = parts.iter().any(|part| part.as_ptr() == long.as_ptr());
                assert_eq!(is_shared, parts[1].len() == long.len(), "{counts:?} of {wanted:?}");
                parts.iter().for_each(|part| sent.extend_from_slice(part));
                assert_eq!(bytes, sent.len());
            }
            assert_eq!(counts, wanted);
            assert!(sent == all, "what is sent is what was pending: {wanted:?}");
        }
        let frame = object(10);
        let mut pending = VecDeque::from([Line::Made(frame.clone())]);
        assert_eq!(take_piece(&mut pending, drop)[0].as_ptr(), frame.as_ptr(), "a frame alone is not copied either");
    }
}
