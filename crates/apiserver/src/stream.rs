//! Frames of a watch: lines of JSON, or messages with their length before them.

use crate::negotiate::Media;
use crate::protobuf;
use api_core::ApiError;
use api_schema::protobuf::watch_frame;
use bytes::Bytes;

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

/// `{"type":...,"object":...}` and a newline.
fn line(change: &str, object: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(object.len() + 40);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(change.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    out.extend_from_slice(object);
    out.extend_from_slice(b"}\n");
    out.into()
}
