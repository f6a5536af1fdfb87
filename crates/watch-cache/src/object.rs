//! A cached object, and how the owner makes it from a stored value.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use store::{KeyValue, Revision};

use crate::pairs::Pairs;

/// An object as it is handed out. What is needed to select it is taken out once, when it comes in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Object {
    /// Its key in the store; the cache sets it.
    pub key: Bytes,
    /// Its encoding, with the resource version inside, ready to be sent.
    pub bytes: Bytes,
    /// Revision of its last write (for the last state of a deleted object: of the deletion).
    pub revision: Revision,
    /// Empty for an object that has none.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Labels.
    pub labels: Pairs,
    /// Fields that can be selected by, beside its name and namespace; those without a value can be left out.
    pub fields: Pairs,
    /// Another encoding of it.
    pub other: Other,
    /// What its owner makes of it in brief.
    pub outline: Other,
}

impl Object {
    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name)
    }

    /// The value of a selectable field; empty if it has none.
    pub fn field(&self, name: &str) -> &str {
        match name {
            NAME_FIELD => &self.name,
            NAMESPACE_FIELD => &self.namespace,
            name => self.fields.get(name).unwrap_or_default(),
        }
    }
}

/// Memory that what is kept with objects may take, that of all objects together.
#[derive(Debug)]
pub struct Room {
    left_bytes: AtomicUsize,
}

impl Room {
    /// So many bytes.
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { left_bytes: AtomicUsize::new(bytes) })
    }

    fn take(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        self.left_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

/// What is made of an object, such as another encoding: made when somebody asks for it, and kept for as long as the object
/// if there is room. A copy of the object begins without it, since it may be given other bytes.
#[derive(Debug, Default)]
pub struct Other(OnceLock<Box<Kept>>);

#[derive(Debug)]
struct Kept {
    bytes: Bytes,
    room: Arc<Room>,
}

impl Other {
    /// The encoding, if it is there.
    pub fn get(&self) -> Option<&Bytes> {
        self.0.get().map(|kept| &kept.bytes)
    }

    /// The encoding; `make` makes it if it is not there.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn get_or_make<E>(&self, room: &Arc<Room>, make: impl FnOnce() -> Result<Bytes, E>) -> Result<Bytes, E> {
        if let Some(bytes) = self.get() {
            return Ok(bytes.clone());
        }
        let bytes = make()?;
        self.keep(room, bytes.clone());
        Ok(bytes)
    }

    /// Keeps an encoding that was made, if there is room.
    pub fn keep(&self, room: &Arc<Room>, bytes: Bytes) {
        if room.take(bytes.len()) {
            // Whoever came first has made the same; what is not kept gives its room back.
            drop(self.0.set(Box::new(Kept { bytes, room: room.clone() })));
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.room.left_bytes.fetch_add(self.bytes.len(), Ordering::Relaxed);
    }
}

impl Clone for Other {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Other {
    /// It follows from the object.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Other {}

/// The field of an object's name.
const NAME_FIELD: &str = "metadata.name";
/// The field of its namespace.
const NAMESPACE_FIELD: &str = "metadata.namespace";

/// Any error of the owner.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What the owner knows of the encoding. Called for every change once, on the cache's task: it must not wait.
pub trait Decoder: Send + Sync + 'static {
    /// Makes an object of a stored value.
    ///
    /// # Errors
    /// If the value cannot be read. The cache goes on without the object; see [`Undecodable`].
    fn decode(&self, kv: &KeyValue) -> Result<Object, BoxError>;

    /// The bytes of an object with another resource version: the last state of an object that is gone carries the
    /// revision at which it went.
    fn restamp(&self, object: &Object, revision: Revision) -> Bytes;

    /// Told of every value that could not be read.
    fn undecodable(&self, value: &Undecodable);
}

/// A stored value that could not be decoded. Upstream fails a list that would contain it.
#[derive(Debug)]
pub struct Undecodable {
    /// Its key in the store.
    pub key: Bytes,
    /// Revision of its last write.
    pub revision: Revision,
    /// Why.
    pub error: BoxError,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn make(object: &Object, room: &Arc<Room>, made: &mut usize) -> Bytes {
        let encode = || {
            *made += 1;
            Ok::<_, Infallible>(Bytes::from_static(b"12345"))
        };
        object.other.get_or_make(room, encode).unwrap_or_else(|never| match never {})
    }

    #[test]
    fn another_encoding_is_made_once_while_there_is_room_and_gives_it_back() {
        let (room, mut made) = (Room::new(9), 0);
        let [first, second] = [Object::default(), Object::default()];
        for _ in 0..3 {
            assert_eq!(make(&first, &room, &mut made), "12345");
        }
        assert_eq!(made, 1);
        make(&second, &room, &mut made);
        make(&second, &room, &mut made);
        assert_eq!((made, second.other.get()), (3, None), "there is no room for two");
        assert_eq!(first.clone().other.get(), None);
        drop(first);
        make(&second, &room, &mut made);
        assert_eq!(second.other.get().map(Bytes::len), Some(5));
    }
}
