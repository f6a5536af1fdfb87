//! A change of an object as watches see it, encoded once for all of them.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;
use store::Revision;

use crate::object::{Decoder, Object};

/// How many encodings of an event are kept; see [`Event::frame`].
pub const FRAME_FORMATS_MAX: usize = 4;

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
    frames: OnceLock<Box<Frames>>,
    timed: Mutex<Vec<Timed>>,
}

/// An encoding of an event that is true in one second: see [`Event::frame_of_second`].
struct Timed {
    kind: EventType,
    second: i64,
    frame: Bytes,
}

type Frames = [[OnceLock<Bytes>; FRAME_FORMATS_MAX]; 3];

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
        Self { revision, kind, object, previous, decoder, left, frames: OnceLock::new(), timed: Mutex::default() }
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

    /// The encoded event, made by the first who asks and shared by all. `format` (below [`FRAME_FORMATS_MAX`]) and
    /// `kind` say which one; `encode` gets the object that goes with `kind`. `None` if there is no such event: a
    /// deletion of what was not there before.
    pub fn frame(
        &self,
        kind: EventType,
        format: usize,
        encode: impl FnOnce(EventType, &Object) -> Bytes,
    ) -> Option<Bytes> {
        let object = if kind == EventType::Deleted { self.left()? } else { &self.object };
        match self.frames.get_or_init(Default::default)[kind as usize].get(format) {
            Some(slot) => Some(slot.get_or_init(|| encode(kind, object)).clone()),
            None => Some(encode(kind, object)),
        }
    }

    /// An encoded event that tells the time, such as an object's age: shared by all who ask within the same second.
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
        let object = if kind == EventType::Deleted { self.left() } else { Some(&self.object) };
        let Some(object) = object else { return Ok(None) };
        let mut timed = self.timed.lock();
        if let Some(known) = timed.iter().find(|t| t.kind == kind && t.second == second) {
            return Ok(Some(known.frame.clone()));
        }
        let frame = encode(object)?;
        timed.retain(|t| t.kind != kind);
        timed.push(Timed { kind, second, frame: frame.clone() });
        Ok(Some(frame))
    }

    fn left(&self) -> Option<&Arc<Object>> {
        let previous = self.previous.as_ref()?;
        Some(self.left.get_or_init(|| restamped(&*self.decoder, previous, self.revision)))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.object.bytes.len() + self.object.key.len()
    }
}

fn restamped(decoder: &dyn Decoder, object: &Object, revision: Revision) -> Arc<Object> {
    Arc::new(Object { bytes: decoder.restamp(object, revision), revision, ..object.clone() })
}
