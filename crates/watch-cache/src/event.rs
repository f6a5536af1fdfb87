//! A change of an object as watches see it, encoded once for all of them.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;
use store::Revision;

use crate::object::{Decoder, Object};

/// Bytes of an event itself, about.
const EVENT_BYTES: usize = 256;

/// What happened, in a watch's eyes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventType {
    /// It was made, or begins to match.
    Added,
    /// It was changed.
    Modified,
    /// It was deleted, or matches no longer.
    Deleted,
}

impl EventType {
    /// As it is called in a watch event.
    pub fn as_str(self) -> &'static str {
        match self {
            EventType::Added => "ADDED",
            EventType::Modified => "MODIFIED",
            EventType::Deleted => "DELETED",
        }
    }
}

/// A change of one object.
pub struct Event {
    /// When.
    pub revision: Revision,
    /// What happened, without a selector.
    pub kind: EventType,
    /// The object after it; of a deleted object the last state, with the deletion's revision.
    pub object: Arc<Object>,
    /// The object before it, if there was one.
    pub previous: Option<Arc<Object>>,
    decoder: Arc<dyn Decoder>,
    /// `previous` with this event's revision, for watches whose selector it no longer matches.
    left: OnceLock<Arc<Object>>,
    frames: Mutex<Frames>,
}

/// Encodings of an event that are kept.
#[derive(Default)]
struct Frames {
    made: Vec<Frame>,
    /// The event is so old that none are kept any more.
    over: bool,
}

struct Frame {
    kind: EventType,
    format: Format,
    /// `None` if it was asked for once by somebody who can do without it.
    bytes: Option<Bytes>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    /// One of the owner's.
    Lasting(usize),
    /// Made in that second.
    OfSecond(i64),
}

impl Frames {
    fn get(&self, kind: EventType, format: Format) -> Option<Bytes> {
        let known = self.made.iter().find(|frame| frame.kind == kind && frame.format == format);
        known.and_then(|frame| frame.bytes.clone())
    }

    fn keep(&mut self, kind: EventType, format: Format, bytes: Option<Bytes>) {
        if self.over {
            return;
        }
        if matches!(format, Format::OfSecond(_)) {
            self.made.retain(|frame| frame.kind != kind || matches!(frame.format, Format::Lasting(_)));
        }
        self.made.push(Frame { kind, format, bytes });
    }
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}@{}", self.kind.as_str(), self.object.key, self.revision)
    }
}

impl Event {
    pub(crate) fn put(
        revision: Revision,
        object: Arc<Object>,
        previous: Option<Arc<Object>>,
        decoder: Arc<dyn Decoder>,
    ) -> Self {
        let kind = if previous.is_some() { EventType::Modified } else { EventType::Added };
        Self::new(revision, kind, object, previous, decoder, OnceLock::new())
    }

    pub(crate) fn delete(revision: Revision, previous: Arc<Object>, decoder: Arc<dyn Decoder>) -> Self {
        let object = restamped(&*decoder, &previous, revision);
        let left = OnceLock::from(object.clone());
        let kind = EventType::Deleted;
        Self::new(revision, kind, object, Some(previous), decoder, left)
    }

    fn new(
        revision: Revision,
        kind: EventType,
        object: Arc<Object>,
        previous: Option<Arc<Object>>,
        decoder: Arc<dyn Decoder>,
        left: OnceLock<Arc<Object>>,
    ) -> Self {
        Self { revision, kind, object, previous, decoder, left, frames: Mutex::default() }
    }

    /// What a watch with a selector sees: the type of the event and its object, or nothing.
    pub fn seen(&self, matches: impl Fn(&Object) -> bool) -> Option<(EventType, &Arc<Object>)> {
        let before = self.previous.as_deref().is_some_and(&matches);
        let after = self.kind != EventType::Deleted && matches(&self.object);
        match (before, after) {
            (false, true) => Some((EventType::Added, &self.object)),
            (true, true) => Some((EventType::Modified, &self.object)),
            (true, false) => Some((EventType::Deleted, self.left()?)),
            (false, false) => None,
        }
    }

    /// The encoded event, made by the first who asks and shared by all, for as long as the event is new. `format` and `kind`
    /// say which one; `encode` gets the object that goes with `kind`. `None` if there is no such event: a deletion of what was
    /// not there before.
    ///
    /// # Errors
    /// Those of `encode`.
    pub fn frame<E>(
        &self,
        kind: EventType,
        format: usize,
        encode: impl FnOnce(&Object) -> Result<Bytes, E>,
    ) -> Result<Option<Bytes>, E> {
        self.shared(kind, Format::Lasting(format), encode)
    }

    /// An encoded event that tells the time, such as an object's age: shared by all who ask within the same second, so that it
    /// may be late by less than one.
    /// There is one such format. `None` as for [`Event::frame`].
    ///
    /// # Errors
    /// Those of `encode`.
    pub fn frame_of_second<E>(
        &self,
        kind: EventType,
        second: i64,
        encode: impl FnOnce(&Object) -> Result<Bytes, E>,
    ) -> Result<Option<Bytes>, E> {
        self.shared(kind, Format::OfSecond(second), encode)
    }

    /// As [`Event::frame`], of what can be sent in parts as well, and is dearer to send so: made by the second who asks. `None`
    /// for the first, who may be the only one, once the event is old, and as for [`Event::frame`].
    ///
    /// # Errors
    /// Those of `encode`.
    pub fn frame_for_many<E>(
        &self,
        kind: EventType,
        format: usize,
        encode: impl FnOnce(&Object) -> Result<Bytes, E>,
    ) -> Result<Option<Bytes>, E> {
        let Some(object) = self.object_of(kind) else { return Ok(None) };
        let (mut frames, format) = (self.frames.lock(), Format::Lasting(format));
        let Some(frame) = frames.made.iter_mut().find(|frame| frame.kind == kind && frame.format == format) else {
            frames.keep(kind, format, None);
            return Ok(None);
        };
        let bytes = match frame.bytes.take() {
            Some(known) => known,
            None => encode(object)?,
        };
        frame.bytes = Some(bytes.clone());
        Ok(Some(bytes))
    }

    /// Whoever comes while a frame is made waits for it.
    fn shared<E>(
        &self,
        kind: EventType,
        format: Format,
        encode: impl FnOnce(&Object) -> Result<Bytes, E>,
    ) -> Result<Option<Bytes>, E> {
        let Some(object) = self.object_of(kind) else { return Ok(None) };
        let mut frames = self.frames.lock();
        if let Some(known) = frames.get(kind, format) {
            return Ok(Some(known));
        }
        let bytes = encode(object)?;
        frames.keep(kind, format, Some(bytes.clone()));
        Ok(Some(bytes))
    }

    /// The object that goes with `kind`.
    fn object_of(&self, kind: EventType) -> Option<&Arc<Object>> {
        if kind == EventType::Deleted { self.left() } else { Some(&self.object) }
    }

    /// Lets go of the frames; nearly all who watch have taken them.
    pub(crate) fn forget_frames(&self) {
        *self.frames.lock() = Frames { made: Vec::new(), over: true };
    }

    fn left(&self) -> Option<&Arc<Object>> {
        let previous = self.previous.as_ref()?;
        Some(self.left.get_or_init(|| restamped(&*self.decoder, previous, self.revision)))
    }

    /// Memory that is there for this event alone: what it has replaced, and the last state of what is gone. The object that
    /// is there after it is the cache's own, or what a later event has replaced.
    pub(crate) fn bytes(&self) -> usize {
        let last = (self.kind == EventType::Deleted).then_some(&self.object);
        let held = [self.previous.as_ref(), last].into_iter().flatten();
        EVENT_BYTES + held.map(|object| object.bytes.len()).sum::<usize>()
    }

    /// About how many bytes a frame of it takes.
    pub(crate) fn frame_bytes(&self) -> usize {
        self.object.bytes.len()
    }
}

fn restamped(decoder: &dyn Decoder, object: &Object, revision: Revision) -> Arc<Object> {
    Arc::new(Object { bytes: decoder.restamp(object, revision), revision, ..object.clone() })
}
