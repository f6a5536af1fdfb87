//! Long JSON documents, sent in pieces: a list is a concatenation of bytes that are there already; what must be made first
//! (rows of a Table, another version) is made while it is sent, a few pieces ahead, on all cores.

use crate::body::{self, Body, BoxError};
use crate::negotiate::Media;
use api_core::ApiError;
use bytes::{BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::stream::{self, BoxStream, StreamExt};
use http::{HeaderValue, Response, StatusCode, header};
use std::io::Write;
use std::sync::Arc;
use watch_cache::Object;

/// Bytes that a document is sent in at once.
const PIECE_BYTES: usize = 256 << 10;
/// Objects from which a piece is made at once.
const PIECE_OBJECTS: usize = 64;

/// Makes an item of an object.
pub(crate) type Make = Arc<dyn Fn(&Object) -> Result<Bytes, ApiError> + Send + Sync>;

/// What stands between the head and the tail, with commas.
pub(crate) enum Items {
    /// They are there.
    Ready(Vec<Bytes>),
    /// They are made of these objects.
    Made(Vec<Arc<Object>>, Make),
}

impl Items {
    /// Items to be made of objects; a few are made at once.
    ///
    /// # Errors
    /// If one of a few cannot be made. One of many breaks the answer off.
    pub(crate) fn make(objects: Vec<Arc<Object>>, make: Make) -> Result<Self, ApiError> {
        if objects.len() > PIECE_OBJECTS {
            return Ok(Self::Made(objects, make));
        }
        objects.iter().map(|object| make(object)).collect::<Result<_, _>>().map(Self::Ready)
    }

    /// About how many bytes they are.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Ready(items) => items.iter().map(Bytes::len).sum(),
            Self::Made(objects, _) => objects.iter().map(|o| o.bytes.len()).sum(),
        }
    }
}

/// A document: what comes before the items, the items, what comes after them.
pub(crate) struct Document {
    pub(crate) head: String,
    pub(crate) items: Items,
    pub(crate) tail: &'static str,
    /// Whether an opening brace is missing at the start of each item.
    pub(crate) brace: bool,
    /// Whether commas stand between the items.
    pub(crate) commas: bool,
    pub(crate) media: Media,
}

type Piece = Result<Bytes, BoxError>;

impl Document {
    /// A document in JSON.
    pub(crate) fn json(head: String, items: Items, tail: &'static str, brace: bool) -> Self {
        Self { head, items, tail, brace, commas: true, media: Media::Json }
    }

    /// A document in protobuf: nothing but the items, one after the other.
    pub(crate) fn binary(items: Items) -> Self {
        Self { head: String::new(), items, tail: "", brace: false, commas: false, media: Media::Protobuf }
    }

    /// As an answer, compressed if `gzip`.
    pub(crate) fn answer(self, gzip: bool) -> Response<Body> {
        let (length, media) = (self.length(), self.media);
        let pieces = self.pieces();
        let body = if gzip { body::stream(compressed(pieces)) } else { body::stream(pieces) };
        let mut response = body::answer(StatusCode::OK, media.content_type(), body);
        let headers = response.headers_mut();
        if gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        } else if let Some(length) = length {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        response
    }

    /// All of it at once.
    pub(crate) async fn whole(self) -> Result<Vec<u8>, ApiError> {
        let mut out = Vec::new();
        let mut pieces = self.pieces();
        while let Some(piece) = pieces.next().await {
            out.extend_from_slice(&piece.map_err(ApiError::internal)?);
        }
        Ok(out)
    }

    /// Its length, if that is known before it is made.
    fn length(&self) -> Option<usize> {
        let Items::Ready(items) = &self.items else { return None };
        let opening = usize::from(self.brace);
        let commas = if self.commas { items.len().saturating_sub(1) } else { 0 };
        Some(self.head.len() + items.iter().map(|i| i.len() + opening).sum::<usize>() + commas + self.tail.len())
    }

    fn pieces(self) -> BoxStream<'static, Piece> {
        let Self { head, items, tail, brace, commas, .. } = self;
        match items {
            Items::Ready(items) => {
                let state = Ready { head: Some(head), items, next: 0, tail: Some(tail), brace, commas };
                stream::unfold(state, |mut state| async move { Some((Ok(state.next()?), state)) }).boxed()
            }
            Items::Made(objects, make) => {
                let ahead = std::thread::available_parallelism().map_or(1, usize::from);
                let chunks: Vec<_> = objects.chunks(PIECE_OBJECTS).map(<[_]>::to_vec).collect();
                let made = stream::iter(chunks.into_iter().enumerate()).map(move |(i, chunk)| {
                    let make = make.clone();
                    async move { tokio::task::spawn_blocking(move || joined(&chunk, i > 0, brace, &make)).await? }
                });
                let around = |text: Bytes| stream::iter([Ok(text)]);
                around(head.into()).chain(made.buffered(ahead)).chain(around(tail.into())).boxed()
            }
        }
    }
}

/// A piece of some objects.
fn joined(objects: &[Arc<Object>], follows: bool, brace: bool, make: &Make) -> Piece {
    let mut out = BytesMut::with_capacity(PIECE_BYTES);
    for (i, object) in objects.iter().enumerate() {
        if follows || i > 0 {
            out.put_u8(b',');
        }
        if brace {
            out.put_u8(b'{');
        }
        let item = make(object).inspect_err(|error| {
            tracing::error!(%error, name = object.name, "an answer breaks off: an object cannot be shown");
        });
        out.put_slice(&item?);
    }
    Ok(out.freeze())
}

/// The same pieces through gzip.
fn compressed(pieces: BoxStream<'static, Piece>) -> BoxStream<'static, Piece> {
    let encoder = GzEncoder::new(Vec::with_capacity(PIECE_BYTES), Compression::fast());
    let steps = stream::unfold((pieces, Some(encoder)), |(mut pieces, encoder)| async move {
        let mut encoder = encoder?;
        match pieces.next().await {
            Some(Ok(piece)) => match encoder.write_all(&piece) {
                Ok(()) => Some((Ok(std::mem::take(encoder.get_mut()).into()), (pieces, Some(encoder)))),
                Err(error) => Some((Err(error.into()), (pieces, None))),
            },
            Some(Err(error)) => Some((Err(error), (pieces, None))),
            None => Some((encoder.finish().map(Bytes::from).map_err(BoxError::from), (pieces, None))),
        }
    });
    steps.boxed()
}

/// A document whose items are there.
struct Ready {
    head: Option<String>,
    items: Vec<Bytes>,
    next: usize,
    tail: Option<&'static str>,
    brace: bool,
    commas: bool,
}

impl Ready {
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
            if self.commas && self.next > 0 {
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
    use flate2::read::GzDecoder;
    use http_body_util::BodyExt;
    use serde_json::{Value, json};
    use std::io::Read;

    const ITEMS: usize = 20_000;

    fn ready() -> Items {
        let item = |i| Bytes::from(format!("\"metadata\":{{\"name\":\"a{i}\"}}}}"));
        Items::Ready((0..ITEMS).map(item).collect())
    }

    /// The same items, made of objects; the one of that name cannot be made.
    fn made(broken: &'static str) -> Items {
        let object = |i| Arc::new(Object { name: format!("a{i}"), ..Object::default() });
        let make = move |o: &Object| {
            let broken = o.name == broken;
            if broken {
                Err(ApiError::internal("broken"))
            } else {
                Ok(format!("\"metadata\":{{\"name\":{:?}}}}}", o.name).into())
            }
        };
        Items::make((0..ITEMS).map(object).collect(), Arc::new(make)).expect("nothing is made yet")
    }

    fn document(items: Items) -> Document {
        Document::json("{\"items\":[".into(), items, "]}", true)
    }

    fn check(bytes: &[u8]) {
        let value: Value = serde_json::from_slice(bytes).expect("json");
        let want: Vec<_> = (0..ITEMS).map(|i| json!({"metadata": {"name": format!("a{i}")}})).collect();
        assert_eq!(value["items"].as_array(), Some(&want));
    }

    #[tokio::test]
    async fn a_long_list_is_whole_and_its_length_is_true() {
        let response = document(ready()).answer(false);
        let length: usize = response.headers()[header::CONTENT_LENGTH].to_str().expect("text").parse().expect("number");
        let bytes = response.into_body().collect().await.expect("body").to_bytes();
        assert_eq!(bytes.len(), length);
        check(&bytes);
    }

    #[tokio::test]
    async fn what_is_made_comes_whole_and_in_order() {
        check(&document(made("")).whole().await.expect("whole"));
        for items in [ready(), made("")] {
            let response = document(items).answer(true);
            assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
            let bytes = response.into_body().collect().await.expect("body").to_bytes();
            let mut plain = Vec::new();
            GzDecoder::new(&*bytes).read_to_end(&mut plain).expect("gzip");
            check(&plain);
        }
    }

    #[tokio::test]
    async fn what_cannot_be_made_breaks_the_answer_off() {
        for gzip in [false, true] {
            let body = document(made("a7777")).answer(gzip).into_body();
            assert!(body.collect().await.is_err(), "an answer without an item must not look whole");
        }
        assert!(document(made("a7777")).whole().await.is_err());
        let few = vec![Arc::new(Object::default())];
        assert!(Items::make(few, Arc::new(|_: &Object| Err(ApiError::internal("broken")))).is_err());
    }
}
