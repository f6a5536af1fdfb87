//! Encodings of objects beside their own JSON: a message is made of an object once, for every list, watch and get in
//! protobuf, and kept with the object while there is room, as is for lists what a row of a Table shows of it, but for ages;
//! the frame of an event is made once for all who watch in its form. In JSON it need not be made: it is the object with a
//! few bytes around it.
//!
//! What is made is counted by form, so that it can be seen that it is made once. Must never know a kind by name.

use crate::protobuf;
use crate::registry::{Served, object};
use crate::render::{self, AsRow, Include};
use api_core::ApiError;
use api_schema::row::Row;
use bytes::Bytes;
use std::sync::Arc;
use telemetry::metrics::{self, IntCounter, Registry};
use watch_cache::{Object, Room};

/// Bytes that messages may take, those of all objects together; past it they are made each time.
const MESSAGES_BYTES_MAX: usize = 64 << 20;
/// The same of what is shown in Tables.
const OUTLINES_BYTES_MAX: usize = 16 << 20;

/// See the module.
#[derive(Debug)]
pub(crate) struct Encodings {
    room: Arc<Room>,
    outlines_room: Arc<Room>,
    /// Messages made of objects.
    pub(crate) messages: IntCounter,
    /// Outlines of rows, those made for a Table of one object's bytes apart.
    pub(crate) outlines: IntCounter,
    /// Frames made for watches, by form.
    pub(crate) protobuf: IntCounter,
    pub(crate) metadata: IntCounter,
    pub(crate) table: IntCounter,
}

impl Encodings {
    /// Registers its metrics; fails if there are metrics of these names already.
    pub(crate) fn new(registry: &Registry) -> Result<Self, metrics::Error> {
        let made = metrics::counter(
            registry,
            "mainstay_encodings_total",
            "Messages and outlines of rows made of objects, and frames made for watches.",
            &["what"],
        )?;
        let of = |what: &str| made.with_label_values(&[what]);
        Ok(Self {
            room: Room::new(MESSAGES_BYTES_MAX),
            outlines_room: Room::new(OUTLINES_BYTES_MAX),
            messages: of("message"),
            outlines: of("outline"),
            protobuf: of("frame-protobuf"),
            metadata: of("frame-metadata"),
            table: of("frame-table"),
        })
    }

    /// An object of the row in its envelope, kept for whoever asks next if it is served as it is stored.
    pub(crate) fn enveloped(&self, row: &Row, object: &Object) -> Result<Bytes, ApiError> {
        let make = |json: &[u8]| {
            self.messages.inc();
            protobuf::of_json(json)
        };
        if object::is_as_stored(row) {
            object.other.get_or_make(&self.room, || make(&object.bytes))
        } else {
            make(&object::to_version(row, &object.bytes)?)
        }
    }

    /// The same for an event, whose frame is kept and not the message.
    pub(crate) fn enveloped_once(&self, object: &Object) -> Result<Bytes, ApiError> {
        if let Some(known) = object.other.get() {
            return Ok(known.clone());
        }
        self.messages.inc();
        protobuf::of_json(&object.bytes)
    }

    /// An object's row in a Table. What it shows is kept for whoever asks next, if it is the same in all versions as it is of
    /// built-in kinds.
    pub(crate) fn row(&self, served: &Served, object: &Object, as_row: AsRow<'_>) -> Result<Vec<u8>, ApiError> {
        let whole = as_row.include == Include::Object;
        let whole = if whole { object::to_version(&served.row, &object.bytes)? } else { object.bytes.clone() };
        let write = |outline: &[u8]| render::write_row(served, outline, &object.bytes, &whole, as_row);
        if let Some(known) = object.outline.get().filter(|_| served.builtin) {
            return write(known);
        }
        self.outlines.inc();
        let outline = render::outline(served, &object.bytes)?;
        let row = write(&outline)?;
        if served.builtin && as_row.keeps {
            object.outline.keep(&self.outlines_room, outline.into_boxed_slice().into());
        }
        Ok(row)
    }
}
