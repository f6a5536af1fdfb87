//! The newest events, and where each watch is in them.
//!
//! A watch pulls at its own pace, so there is no queue per watch; one that falls behind the ring is cut off. An event
//! wakes only the watches that may want it: by prefix, and by field where they ask for one value of a field, so that
//! a thousand watches of one node's pods each cost nothing for another node's.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use store::Revision;
use tokio::sync::Notify;

use crate::cache::Limits;
use crate::event::Event;
use crate::object::Object;

/// Most events that a watch takes at once; one revision may exceed it.
const BATCH_EVENTS_MAX: usize = 256;

/// Which events a watch is woken for. What it says must follow from the watch's selectors; they are applied after it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interest {
    /// Start of the keys.
    pub prefix: Bytes,
    /// A selectable field and the value that it must have.
    pub field: Option<(String, String)>,
}

impl Interest {
    /// All objects whose key starts with `prefix`.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        Self { prefix: prefix.into(), field: None }
    }

    fn wants(&self, event: &Event) -> bool {
        let has = |object: &Object, (name, value): &(String, String)| object.field(name) == value;
        event.object.key.starts_with(&self.prefix)
            && self.field.as_ref().is_none_or(|field| {
                has(&event.object, field) || event.previous.as_deref().is_some_and(|previous| has(previous, field))
            })
    }
}

#[derive(Debug, Default)]
pub(crate) struct Ring {
    events: VecDeque<Arc<Event>>,
    /// Number of the first event in the ring, counted from the beginning of time.
    first: u64,
    bytes: usize,
    /// Number of the first event whose frames are kept, and about how many bytes a frame of each from there on takes.
    framed: u64,
    framed_bytes: usize,
    /// All events after this revision are in the ring.
    pub(crate) since: Revision,
    /// Snapshots can be rebuilt back to this revision.
    pub(crate) rebuild_since: Revision,
    /// Revision of the cache.
    pub(crate) revision: Revision,
    watches: HashMap<u64, Position>,
    /// Watches without a field.
    general: BTreeSet<u64>,
    /// Field → value → watches.
    by_field: HashMap<String, HashMap<String, BTreeSet<u64>>>,
    next_id: u64,
    /// How often it was started over.
    pub(crate) loads: u64,
}

#[derive(Debug)]
struct Position {
    interest: Interest,
    /// Events up to this revision are not for it.
    after: Revision,
    /// Number of the first event that it may have to read; `None` if it has read all.
    unread: Option<u64>,
    wake: Arc<Notify>,
    cut_off: bool,
}

/// What a watch finds.
pub(crate) enum Pull {
    Events(Vec<Arc<Event>>, Revision),
    Nothing(Revision),
    CutOff,
}

impl Ring {
    /// Starts over at a revision: what was before is gone, and so are the watches.
    pub(crate) fn reset(&mut self, revision: Revision) {
        self.loads += 1;
        self.first += self.events.len() as u64;
        self.events.clear();
        self.bytes = 0;
        (self.framed, self.framed_bytes) = (self.first, 0);
        self.since = revision;
        self.rebuild_since = revision;
        self.revision = revision;
        self.cut_off_all();
    }

    pub(crate) fn cut_off_all(&mut self) {
        for position in self.watches.values_mut() {
            position.cut_off = true;
            position.wake.notify_one();
        }
    }

    /// Adds events of whole revisions and wakes who wants them.
    pub(crate) fn push(&mut self, events: Vec<Arc<Event>>, revision: Revision, limits: &Limits) {
        for event in events {
            self.wake(self.events(), &event);
            self.bytes += event.bytes();
            self.framed_bytes += event.frame_bytes();
            self.events.push_back(event);
        }
        self.revision = revision;
        self.forget_frames(limits.frames_bytes_max);
        self.trim(limits.ring_events_max, limits.ring_bytes_max);
    }

    fn forget_frames(&mut self, bytes_max: usize) {
        while self.framed_bytes > bytes_max {
            let at = usize::try_from(self.framed - self.first).unwrap_or(usize::MAX);
            let Some(event) = self.events.get(at) else { return };
            event.forget_frames();
            self.framed_bytes -= event.frame_bytes();
            self.framed += 1;
        }
    }

    fn wake(&mut self, number: u64, event: &Event) {
        let Self { watches, general, by_field, .. } = self;
        let mut wake = |id: &u64| {
            let Some(position) = watches.get_mut(id) else { return };
            if position.unread.is_none() && event.revision > position.after && position.interest.wants(event) {
                position.unread = Some(number);
                position.wake.notify_one();
            }
        };
        general.iter().for_each(&mut wake);
        if by_field.is_empty() {
            return;
        }
        for object in [Some(&event.object), event.previous.as_ref()].into_iter().flatten() {
            for (field, values) in by_field.iter() {
                if let Some(ids) = values.get(object.field(field)) {
                    ids.iter().for_each(&mut wake);
                }
            }
        }
    }

    fn trim(&mut self, events_max: usize, bytes_max: usize) {
        while self.events.len() > events_max || self.bytes > bytes_max {
            let Some(event) = self.events.pop_front() else { return };
            self.bytes -= event.bytes();
            if self.framed == self.first {
                self.framed += 1;
                self.framed_bytes -= event.frame_bytes();
            }
            self.first += 1;
            self.since = event.revision;
            self.rebuild_since = self.rebuild_since.max(event.revision);
        }
    }

    /// Starts a watch of events after `after`, which must not be before [`Ring::since`].
    pub(crate) fn subscribe(&mut self, interest: Interest, after: Revision) -> (u64, Arc<Notify>) {
        let id = self.next_id;
        self.next_id += 1;
        let wake = Arc::new(Notify::new());
        let read = self.events.partition_point(|event| event.revision <= after);
        let unread = (read < self.events.len()).then_some(self.first + read as u64);
        match &interest.field {
            None => self.general.insert(id),
            Some((field, value)) => {
                self.by_field.entry(field.clone()).or_default().entry(value.clone()).or_default().insert(id)
            }
        };
        self.watches.insert(id, Position { interest, after, unread, wake: wake.clone(), cut_off: false });
        (id, wake)
    }

    pub(crate) fn unsubscribe(&mut self, id: u64) {
        let Some(position) = self.watches.remove(&id) else { return };
        let Some((field, value)) = position.interest.field else {
            self.general.remove(&id);
            return;
        };
        if let Some(values) = self.by_field.get_mut(&field) {
            if let Some(ids) = values.get_mut(&value) {
                ids.remove(&id);
                if ids.is_empty() {
                    values.remove(&value);
                }
            }
            if values.is_empty() {
                self.by_field.remove(&field);
            }
        }
    }

    pub(crate) fn pull(&mut self, id: u64) -> Pull {
        let Some(position) = self.watches.get_mut(&id).filter(|position| !position.cut_off) else {
            return Pull::CutOff;
        };
        let Some(unread) = position.unread else { return Pull::Nothing(self.revision) };
        let Some(start) = unread.checked_sub(self.first) else {
            position.cut_off = true;
            return Pull::CutOff;
        };
        let start = usize::try_from(start).unwrap_or(usize::MAX).min(self.events.len());
        let mut events: Vec<Arc<Event>> = Vec::new();
        position.unread = None;
        for (at, event) in self.events.range(start..).enumerate() {
            if event.revision <= position.after || !position.interest.wants(event) {
                continue;
            }
            let full = events.len() >= BATCH_EVENTS_MAX;
            if full && let Some(last) = events.last().filter(|last| last.revision < event.revision) {
                let upto = last.revision;
                position.unread = Some(self.first + (start + at) as u64);
                return Pull::Events(events, upto);
            }
            events.push(event.clone());
        }
        if events.is_empty() { Pull::Nothing(self.revision) } else { Pull::Events(events, self.revision) }
    }

    /// Events after a revision, newest first.
    pub(crate) fn newest_first(&self, after: Revision) -> impl Iterator<Item = &Arc<Event>> {
        self.events.iter().rev().take_while(move |event| event.revision > after)
    }

    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    /// All events that there have been.
    pub(crate) fn events(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    pub(crate) fn watches(&self) -> usize {
        self.watches.len()
    }
}
