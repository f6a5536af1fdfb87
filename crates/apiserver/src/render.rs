//! Other views of objects: Table, metadata alone, YAML; and lists as streams of pieces.

use crate::body::{self, Body, BoxError};
use crate::negotiate::{Form, Media, View};
use crate::query::Query;
use crate::registry::Served;
use crate::registry::object;
use crate::yaml;
use api_core::ApiError;
use api_core::meta::Meta;
use bytes::{BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::stream;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};
use std::io::Write;

/// Bytes that a list is sent in at once.
const PIECE_BYTES: usize = 256 << 10;

/// One object in another form than its own JSON. `bytes` are of the row's version.
pub(crate) fn object(
    served: &Served,
    form: Form,
    status: StatusCode,
    bytes: &Bytes,
    query: &Query,
    now_unix_s: i64,
) -> Result<Response<Body>, ApiError> {
    let json = match form.view {
        View::Object => bytes.clone(),
        View::Metadata(version) => object::metadata_only(bytes, version)?.into(),
        View::Table(version) => {
            let revision = object::decode(bytes)?.resource_version().to_owned();
            let rows = [row(served, bytes, Include::of(query)?, version, now_unix_s)?];
            let meta = if revision.is_empty() { json!({}) } else { json!({"resourceVersion": revision}) };
            table(served, version, &meta.to_string(), true, &rows).into()
        }
    };
    self::bytes(form.media, status, json)
}

/// JSON bytes in the media type that was asked for.
pub(crate) fn bytes(media: Media, status: StatusCode, json: Bytes) -> Result<Response<Body>, ApiError> {
    let bytes = match media {
        Media::Json => json,
        Media::Yaml => yaml::write(&json)?.into(),
    };
    Ok(body::answer(status, media.content_type(), body::full(bytes)))
}

/// What a row of a Table carries of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Include {
    None,
    Metadata,
    Object,
}

impl Include {
    /// By the `includeObject` parameter.
    pub(crate) fn of(query: &Query) -> Result<Self, ApiError> {
        match query.get("includeObject") {
            "" | "Metadata" => Ok(Self::Metadata),
            "None" => Ok(Self::None),
            "Object" => Ok(Self::Object),
            other => Err(ApiError::bad_request(format!("unrecognized includeObject value: {other:?}"))),
        }
    }
}

/// A row of a Table as JSON.
pub(crate) fn row(
    served: &Served,
    bytes: &Bytes,
    include: Include,
    version: &str,
    now_unix_s: i64,
) -> Result<String, ApiError> {
    let mut value = object::decode_brief(bytes)?;
    object::convert(&served.row, &mut value, &served.row.storage_version);
    let cells = match (served.row.hooks.table_cells, &served.row.custom) {
        (Some(cells), _) => Value::Array(cells(&value, now_unix_s)),
        (None, Some(custom)) => custom.cells(&value, now_unix_s).into(),
        (None, None) => json!([value.name(), value.meta_str("creationTimestamp")]),
    };
    let object = match include {
        Include::None => return Ok(format!("{{\"cells\":{cells},\"object\":null}}")),
        Include::Metadata => object::metadata_only(bytes, version)?,
        Include::Object => String::from_utf8_lossy(bytes).into_owned(),
    };
    Ok(format!("{{\"cells\":{cells},\"object\":{object}}}"))
}

/// A Table as JSON; `metadata` and `rows` are JSON already.
pub(crate) fn table(served: &Served, version: &str, metadata: &str, headers: bool, rows: &[String]) -> String {
    let (head, tail) = table_frame(served, version, metadata, headers);
    format!("{head}{}{tail}", rows.join(","))
}

/// What comes before and after the rows.
pub(crate) fn table_frame(served: &Served, version: &str, metadata: &str, headers: bool) -> (String, &'static str) {
    let columns = if headers { columns(served).to_string() } else { "null".into() };
    let head = format!(
        "{{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/{version}\",\"metadata\":{metadata},\
         \"columnDefinitions\":{columns},\"rows\":["
    );
    (head, "]}")
}

fn columns(served: &Served) -> Value {
    let column = |name: &str, kind: &str, format: &str, description: &str, priority: i32| json!({"name": name, "type": kind, "format": format, "description": description, "priority": priority});
    if served.row.hooks.table_cells.is_none() && served.row.custom.is_none() && served.row.columns.len() != 2 {
        let when = "CreationTimestamp is a timestamp representing the server time when this object was created.";
        return json!([column("Name", "string", "name", "Name", 0), column("Created At", "date", "", when, 0)]);
    }
    let columns = served.row.columns.iter();
    columns.map(|c| column(&c.name, &c.kind, &c.format, &c.description, c.priority)).collect()
}

/// A long JSON document: a head, items with commas between them, a tail. Sent in pieces, compressed if `gzip`.
pub(crate) fn long(head: String, items: Vec<Bytes>, tail: &'static str, brace: bool, gzip: bool) -> Response<Body> {
    let opening = usize::from(brace);
    let commas = items.len().saturating_sub(1);
    let length = head.len() + items.iter().map(|i| i.len() + opening).sum::<usize>() + commas + tail.len();
    let pieces = Pieces { head: Some(head), items, next: 0, tail: Some(tail), brace };
    let mut response = if gzip {
        let encoder = GzEncoder::new(Vec::with_capacity(PIECE_BYTES), Compression::fast());
        let state = (pieces, Some(encoder));
        let stream = stream::unfold(state, |(mut pieces, encoder)| async move {
            let mut encoder = encoder?;
            let step = match pieces.next() {
                Some(piece) => encoder.write_all(&piece).map(|()| std::mem::take(encoder.get_mut())),
                None => return Some((finish(encoder), (pieces, None))),
            };
            Some((step.map(Bytes::from).map_err(BoxError::from), (pieces, Some(encoder))))
        });
        body::answer(StatusCode::OK, "application/json", body::stream(stream))
    } else {
        let stream = stream::unfold(pieces, |mut pieces| async move { Some((Ok(pieces.next()?), pieces)) });
        body::answer(StatusCode::OK, "application/json", body::stream(stream))
    };
    let headers = response.headers_mut();
    if gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    } else {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

fn finish(encoder: GzEncoder<Vec<u8>>) -> Result<Bytes, BoxError> {
    encoder.finish().map(Bytes::from).map_err(BoxError::from)
}

struct Pieces {
    head: Option<String>,
    items: Vec<Bytes>,
    next: usize,
    tail: Option<&'static str>,
    /// Whether an opening brace is missing at the start of each item.
    brace: bool,
}

impl Pieces {
    fn next(&mut self) -> Option<Bytes> {
        self.tail?;
        let mut out = BytesMut::with_capacity(PIECE_BYTES + 4096);
        if let Some(head) = self.head.take() {
            out.put_slice(head.as_bytes());
        }
        while let Some(item) = self.items.get_mut(self.next) {
            if out.len() >= PIECE_BYTES {
                return Some(out.freeze());
            }
            if self.next > 0 {
                out.put_u8(b',');
            }
            if self.brace {
                out.put_u8(b'{');
            }
            out.put_slice(&std::mem::take(item));
            self.next += 1;
        }
        out.put_slice(self.tail.take()?.as_bytes());
        Some(out.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn a_long_list_is_whole_and_its_length_is_true() {
        let items: Vec<Bytes> =
            (0..20_000).map(|i| Bytes::from(format!("\"metadata\":{{\"name\":\"a{i}\"}}}}"))).collect();
        let response = long("{\"items\":[".into(), items, "]}", true, false);
        let length: usize = response.headers()[header::CONTENT_LENGTH].to_str().expect("text").parse().expect("number");
        let bytes = response.into_body().collect().await.expect("body").to_bytes();
        assert_eq!(bytes.len(), length);
        let value: Value = serde_json::from_slice(&bytes).expect("json");
        assert_eq!(value["items"].as_array().map(Vec::len), Some(20_000));
    }
}
