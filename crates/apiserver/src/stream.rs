//! Frames of a watch: lines of JSON, or messages with their length before them.

use crate::negotiate::Media;
use crate::protobuf;
use api_core::ApiError;
use api_schema::protobuf::watch_frame;
use bytes::Bytes;
use watch_cache::EventType;

/// The content type of a watch.
pub(crate) fn content_type(media: Media) -> &'static str {
    match media {
        Media::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        Media::Json | Media::Yaml => Media::Json.content_type(),
    }
}

/// A change of an object, which is given as JSON.
pub(crate) fn frame(media: Media, change: &str, object: &[u8]) -> Result<Bytes, ApiError> {
    match media {
        Media::Protobuf => Ok(watch_frame(change, &protobuf::of_json(object)?)),
        Media::Json | Media::Yaml => Ok(line(change, object)),
    }
}

/// What ends a watch.
pub(crate) fn error(media: Media, error: &ApiError) -> Bytes {
    let status = api_schema::codec::encode(&error.to_status());
    // A status always has a message; were it not so, a line of JSON would end the watch as well.
    frame(media, "ERROR", &status).unwrap_or_else(|_| line("ERROR", &status))
}

/// What is sent for a change, and not put together before it is sent.
#[derive(Debug, Clone)]
pub(crate) enum Line {
    /// A frame that was made.
    Made(Bytes),
    /// A line of JSON around an object's own bytes, which all who watch share.
    Around(EventType, Bytes),
}

impl Line {
    /// Whether it is one frame.
    pub(crate) fn is_made(&self) -> bool {
        matches!(self, Self::Made(_))
    }

    /// Bytes that it takes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Made(frame) => frame.len(),
            Self::Around(change, object) => line_bytes(change.as_str(), object),
        }
    }

    /// Writes it.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Made(frame) => out.extend_from_slice(frame),
            Self::Around(change, object) => put_line(out, change.as_str(), object),
        }
    }

    /// What it is made of, in order, without a copy of the object.
    pub(crate) fn parts(self) -> [Bytes; 3] {
        match self {
            Self::Made(frame) => [frame, Bytes::new(), Bytes::new()],
            Self::Around(change, object) => [Bytes::from_static(before(change)), object, Bytes::from_static(LINE_END)],
        }
    }
}

const LINE_PARTS: [&[u8]; 3] = [b"{\"type\":\"", b"\",\"object\":", LINE_END];
const LINE_END: &[u8] = b"}\n";

/// What stands before the object in a line.
fn before(change: EventType) -> &'static [u8] {
    match change {
        EventType::Added => b"{\"type\":\"ADDED\",\"object\":",
        EventType::Modified => b"{\"type\":\"MODIFIED\",\"object\":",
        EventType::Deleted => b"{\"type\":\"DELETED\",\"object\":",
    }
}

/// `{"type":...,"object":...}` and a newline.
pub(crate) fn line(change: &str, object: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(line_bytes(change, object));
    put_line(&mut out, change, object);
    out.into()
}

fn line_bytes(change: &str, object: &[u8]) -> usize {
    LINE_PARTS.iter().map(|part| part.len()).sum::<usize>() + change.len() + object.len()
}

fn put_line(out: &mut Vec<u8>, change: &str, object: &[u8]) {
    let [start, middle, end] = LINE_PARTS;
    for part in [start, change.as_bytes(), middle, object, end] {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_takes_as_many_bytes_as_it_says() {
        let object = Bytes::from_static(b"{\"kind\":\"Pod\"}");
        for change in [EventType::Added, EventType::Modified, EventType::Deleted] {
            let wanted = format!("{{\"type\":\"{}\",\"object\":{{\"kind\":\"Pod\"}}}}\n", change.as_str());
            let around = Line::Around(change, object.clone());
            let made = Line::Made(line(change.as_str(), &object));
            for line in [around, made] {
                let mut out = Vec::new();
                line.put(&mut out);
                assert_eq!(out, wanted.as_bytes());
                assert_eq!(line.len(), out.len());
                assert_eq!(line.parts().concat(), out);
            }
        }
    }
}
