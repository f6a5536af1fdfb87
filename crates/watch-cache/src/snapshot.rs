//! All objects of a resource at one revision. It never changes; taking it costs nothing.

use std::ops::{Bound, Range};
use std::sync::Arc;

use base::OrderedMap;
use bytes::Bytes;
use store::{Revision, prefix_end};

use crate::event::Event;
use crate::object::{Object, Undecodable};

/// Objects in the order of their keys, as they were at a revision.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub(crate) revision: Revision,
    pub(crate) objects: OrderedMap<Bytes, Arc<Object>>,
    pub(crate) undecodable: OrderedMap<Bytes, Broken>,
}

/// An undecodable value, and the object it replaced.
#[derive(Debug, Clone)]
pub(crate) struct Broken {
    pub(crate) value: Arc<Undecodable>,
    pub(crate) previous: Option<Arc<Object>>,
}

/// Objects in the order of their keys.
#[derive(Debug, Clone)]
pub struct Objects<'a>(base::ordered_map::Iter<'a, Bytes, Arc<Object>>);

impl Snapshot {
    /// The revision it shows.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The object of a key.
    pub fn get(&self, key: &[u8]) -> Option<&Arc<Object>> {
        self.objects.get(key)
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Where in the order the objects are whose key starts with `prefix`, to be read piece by piece ([`Snapshot::slice`]).
    pub fn places(&self, prefix: &[u8]) -> Range<usize> {
        let end = prefix_end(prefix);
        let end = if end.as_ref() == b"\0" { self.len() } else { self.objects.rank::<[u8]>(&end) };
        self.objects.rank(prefix)..end
    }

    /// Objects at these places of the order.
    pub fn slice(&self, places: Range<usize>) -> Objects<'_> {
        Objects(self.objects.slice(places.start, places.end))
    }

    /// Objects whose key starts with `prefix`.
    pub fn prefix(&self, prefix: &[u8]) -> Objects<'_> {
        self.after(prefix, prefix, true)
    }

    /// Objects whose key starts with `prefix` and follows `key`; the next page of a list.
    pub fn page(&self, prefix: &[u8], key: &[u8]) -> Objects<'_> {
        self.after(prefix, key, false)
    }

    fn after(&self, prefix: &[u8], start: &[u8], inclusive: bool) -> Objects<'_> {
        let end = prefix_end(prefix);
        let start =
            if inclusive || start < prefix { Bound::Included(start.max(prefix)) } else { Bound::Excluded(start) };
        let end = if end.as_ref() == b"\0" { Bound::Unbounded } else { Bound::Excluded(end.as_ref()) };
        Objects(self.objects.range::<[u8]>(start, end))
    }

    /// A value under `prefix` that could not be decoded, if there is one.
    pub fn undecodable(&self, prefix: &[u8]) -> Option<&Arc<Undecodable>> {
        let first = self.undecodable.range::<[u8]>(Bound::Included(prefix), Bound::Unbounded).next();
        first.filter(|(key, _)| key.starts_with(prefix)).map(|(_, broken)| &broken.value)
    }

    /// Takes an event back; they must come newest first.
    pub(crate) fn undo(&mut self, event: &Event) {
        let key = &event.object.key;
        match &event.previous {
            Some(previous) => self.objects.insert(key.clone(), previous.clone()),
            None => self.objects.remove(key),
        };
    }
}

impl<'a> Iterator for Objects<'a> {
    type Item = &'a Arc<Object>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(_, object)| object)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

/// The length is known beforehand: what remains of a list after a page.
impl ExactSizeIterator for Objects<'_> {}
