//! A cached object, and how the owner makes it from a stored value.

use std::borrow::Cow;

use bytes::Bytes;
use store::{KeyValue, Revision};

/// Names with their values.
pub type Pairs = Box<[(String, String)]>;

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
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Labels.
    pub labels: Pairs,
    /// Fields that can be selected by, beside its name and namespace; those without a value can be left out.
    pub fields: Box<[(Cow<'static, str>, String)]>,
}

impl Object {
    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of a selectable field; empty if it has none.
    pub fn field(&self, name: &str) -> &str {
        match name {
            NAME_FIELD => &self.name,
            NAMESPACE_FIELD => &self.namespace,
            name => self.fields.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value),
        }
    }
}

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
