//! Snapshots, the revision ring and fan-out of shared encoded events: the path of all reads. Knows no HTTP and no
//! encoding; its owner decodes each value once.
//!
//! A [`Cache`] holds one resource. A list takes a [`Snapshot`] and concatenates the bytes of its objects; a watch takes
//! [`Event`]s, each of which is encoded once for all watches.

#![forbid(unsafe_code)]

mod cache;
mod event;
mod object;
mod pairs;
mod ring;
mod snapshot;
mod watch;

pub use cache::{Cache, CacheError, Limits, Stats};
pub use event::{Event, EventType};
pub use object::{BoxError, Decoder, Object, Other, Room, Undecodable};
pub use pairs::Pairs;
pub use ring::Interest;
pub use snapshot::{Objects, Snapshot};
pub use watch::Watch;
