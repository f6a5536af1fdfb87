//! Long JSON documents, sent in pieces: a list is a concatenation of bytes that are there already; what must be made first
//! (rows of a Table, another version) is made while it is sent, a few pieces ahead, on all cores: by [`Makers`], which are as
//! many as there are processors, however many such answers are sent at once.

use crate::body::{self, Body, BoxError};
use crate::negotiate::Media;
use crate::registry::list::Stored;
use crate::registry::object::item_start;
use api_core::ApiError;
use api_schema::protobuf::{field_start_bytes, put_field_start};
use bytes::{BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::stream::{self, BoxStream, StreamExt};
use http::{HeaderValue, Response, StatusCode, header};
use std::io::Write;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;
use watch_cache::Object;

/// Bytes of a piece that is made or compressed apart.
const PIECE_BYTES: usize = 64 << 10;
/// Bytes of a piece that is copied when it is asked for: the connection asks for 16 before it writes any.
const SENT_BYTES: usize = 16 << 10;
/// Objects from which a piece is made at once.
const PIECE_OBJECTS: usize = 64;

/// Where pieces are made, beside the requests.
#[derive(Debug, Clone)]
pub(crate) struct Makers(Arc<Semaphore>);

impl Makers {
    /// As many as there are processors.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from))))
    }

    /// Makes something when it is its turn. Whoever asks may stop asking, as an answer does whose client reads no further: a task
    /// of its own takes the turn, so that none is kept by one who does not use it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        make: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let turns = self.0.clone();
        let task = tokio::spawn(async move {
            let turn = turns.acquire_owned().await.map_err(ApiError::internal)?;
            let work = move || {
                let made = make();
                drop(turn);
                made
            };
            tokio::task::spawn_blocking(work).await.map_err(ApiError::internal)
        });
        AbortOnDropHandle::new(task).await.map_err(ApiError::internal)?
    }
}

/// Makes an item of an object.
pub(crate) type Make = Arc<dyn Fn(&Object) -> Result<Bytes, ApiError> + Send + Sync>;

/// What stands between the head and the tail, with commas.
pub(crate) enum Items {
    /// They are there.
    Ready(Vec<Bytes>),
    /// They are objects of the store, to be sent as items of a built-in kind.
    Stored(Stored),
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

    /// Whether they are about more than so many bytes.
    pub(crate) fn are_longer_than(&self, bytes: usize) -> bool {
        match self {
            Self::Ready(items) => add_up_to_more(items.iter().map(Bytes::len), bytes),
            Self::Stored(stored) => {
                let objects = stored.snapshot.slice(stored.places.clone());
                add_up_to_more(objects.map(|o| o.bytes.len()), bytes)
            }
            Self::Made(objects, _) => add_up_to_more(objects.iter().map(|o| o.bytes.len()), bytes),
        }
    }
}

/// Whether the lengths add up to more than so many bytes; looks at no more of them than it must.
fn add_up_to_more(lengths: impl Iterator<Item = usize>, bytes: usize) -> bool {
    let sums = lengths.scan(0_usize, |sum, length| {
        *sum += length;
        Some(*sum)
    });
    sums.into_iter().any(|sum| sum > bytes)
}

/// What is written with each item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum With {
    /// A comma before each but the first.
    Commas,
    /// The same, and an opening brace that the item lacks.
    Braces,
    /// The start of the message's field of that number.
    Field(u32),
}

impl With {
    /// Writes what comes before an item of `length` bytes.
    fn put(self, out: &mut BytesMut, first: bool, length: usize) {
        if let Self::Field(number) = self {
            return put_field_start(out, number, length);
        }
        if !first {
            out.put_u8(b',');
        }
        if self == Self::Braces {
            out.put_u8(b'{');
        }
    }

    fn bytes(self, first: bool, length: usize) -> usize {
        match self {
            Self::Commas => usize::from(!first),
            Self::Braces => usize::from(!first) + 1,
            Self::Field(number) => field_start_bytes(number, length),
        }
    }
}

/// Bytes that are written with so many items and with them, commas, braces and the like included.
pub(crate) fn size_with(items: &[Bytes], with: With) -> usize {
    items.iter().enumerate().map(|(i, item)| with.bytes(i == 0, item.len()) + item.len()).sum()
}

/// A document: what comes before the items, the items, what comes after them.
pub(crate) struct Document {
    pub(crate) head: Bytes,
    pub(crate) items: Items,
    pub(crate) tail: Bytes,
    pub(crate) with: With,
    pub(crate) media: Media,
}

type Piece = Result<Bytes, BoxError>;
type Encoder = GzEncoder<Vec<u8>>;

impl Document {
    /// A document in JSON; `brace` if an opening brace is missing at the start of each item.
    pub(crate) fn json(head: String, items: Items, tail: &'static str, brace: bool) -> Self {
        let with = if brace { With::Braces } else { With::Commas };
        Self { head: head.into(), items, tail: Bytes::from_static(tail.as_bytes()), with, media: Media::Json }
    }

    /// As an answer, compressed if `gzip`.
    pub(crate) fn answer(self, makers: &Makers, gzip: bool) -> Response<Body> {
        let (length, media) = (self.length(), self.media);
        let pieces = self.pieces(makers, if gzip { PIECE_BYTES } else { SENT_BYTES });
        let body = if gzip { body::stream(compressed(pieces, makers.clone())) } else { body::stream(pieces) };
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
    pub(crate) async fn whole(self, makers: &Makers) -> Result<Vec<u8>, ApiError> {
        let mut out = Vec::new();
        let mut pieces = self.pieces(makers, PIECE_BYTES);
        while let Some(piece) = pieces.next().await {
            out.extend_from_slice(&piece.map_err(ApiError::internal)?);
        }
        Ok(out)
    }

    /// Its length, if that is known before it is made.
    fn length(&self) -> Option<usize> {
        let Items::Ready(items) = &self.items else { return None };
        Some(self.head.len() + size_with(items, self.with) + self.tail.len())
    }

    /// In pieces, which are so long if they are only copied.
    fn pieces(self, makers: &Makers, piece_bytes: usize) -> BoxStream<'static, Piece> {
        let Self { head, items, tail, with, .. } = self;
        let send = |items| {
            let state =
                Sending { head: Some(head.clone()), items, first: true, tail: Some(tail.clone()), with, piece_bytes };
            stream::unfold(state, |mut state| async move { Some((Ok(state.next()?), state)) }).boxed()
        };
        match items {
            Items::Ready(items) => send(There::Ready(items.into_iter())),
            Items::Stored(stored) => send(There::Stored(stored)),
            Items::Made(objects, make) => {
                let ahead = std::thread::available_parallelism().map_or(1, usize::from);
                let (objects, makers) = (Arc::new(objects), makers.clone());
                let made = stream::iter((0..objects.len()).step_by(PIECE_OBJECTS)).map(move |start| {
                    let (objects, make, makers) = (objects.clone(), make.clone(), makers.clone());
                    let end = objects.len().min(start + PIECE_OBJECTS);
                    async move { makers.run(move || joined(&objects[start..end], start == 0, with, &make)).await? }
                });
                let around = |text: Bytes| stream::iter([Ok(text)]);
                around(head).chain(made.buffered(ahead)).chain(around(tail)).boxed()
            }
        }
    }
}

/// A piece of some objects.
fn joined(objects: &[Arc<Object>], first: bool, with: With, make: &Make) -> Piece {
    let mut out = BytesMut::with_capacity(PIECE_BYTES);
    for (i, object) in objects.iter().enumerate() {
        let item = make(object).inspect_err(|error| {
            tracing::error!(%error, name = object.name, "an answer breaks off: an object cannot be shown");
        })?;
        with.put(&mut out, first && i == 0, item.len());
        out.put_slice(&item);
    }
    Ok(out.freeze())
}

/// The same pieces through gzip.
fn compressed(pieces: BoxStream<'static, Piece>, makers: Makers) -> BoxStream<'static, Piece> {
    let encoder = GzEncoder::new(Vec::with_capacity(PIECE_BYTES), Compression::fast());
    let steps = stream::unfold((pieces, Some(encoder)), move |(mut pieces, encoder)| {
        let makers = makers.clone();
        async move {
            let encoder = encoder?;
            let piece = match pieces.next().await {
                Some(Ok(piece)) => Some(piece),
                Some(Err(error)) => return Some((Err(error), (pieces, None))),
                None => None,
            };
            match makers.run(move || compress(encoder, piece)).await {
                Ok(Ok((out, encoder))) => Some((Ok(out), (pieces, encoder))),
                Ok(Err(error)) => Some((Err(error.into()), (pieces, None))),
                Err(error) => Some((Err(error.into()), (pieces, None))),
            }
        }
    });
    steps.boxed()
}

/// What comes out when the piece goes in, and the encoder for the next; without a piece it ends.
fn compress(mut encoder: Encoder, piece: Option<Bytes>) -> std::io::Result<(Bytes, Option<Encoder>)> {
    match piece {
        Some(piece) => {
            encoder.write_all(&piece)?;
            Ok((std::mem::take(encoder.get_mut()).into(), Some(encoder)))
        }
        None => Ok((encoder.finish()?.into(), None)),
    }
}

/// A document whose items are there, and copied piece by piece.
struct Sending {
    head: Option<Bytes>,
    items: There,
    /// No item has come yet.
    first: bool,
    tail: Option<Bytes>,
    with: With,
    /// About how long a piece is.
    piece_bytes: usize,
}

/// Items that are still to come.
enum There {
    Ready(std::vec::IntoIter<Bytes>),
    Stored(Stored),
}

impl Sending {
    fn next(&mut self) -> Option<Bytes> {
        self.tail.as_ref()?;
        let mut out = BytesMut::with_capacity(self.piece_bytes + 4096);
        if let Some(head) = self.head.take() {
            out.put_slice(&head);
        }
        if !self.fill(&mut out) {
            out.put_slice(&self.tail.take()?);
        }
        Some(out.freeze())
    }

    /// Copies items until the piece is full; whether it is.
    fn fill(&mut self, out: &mut BytesMut) -> bool {
        let (with, first, full) = (self.with, &mut self.first, self.piece_bytes);
        let mut put = |item: &[u8]| {
            with.put(out, std::mem::take(first), item.len());
            out.put_slice(item);
            out.len() >= full
        };
        match &mut self.items {
            There::Ready(items) => items.any(|item| put(&item)),
            There::Stored(Stored { snapshot, places }) => snapshot.slice(places.clone()).any(|object| {
                places.start += 1;
                put(&object.bytes[item_start(&object.bytes)..])
            }),
        }
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
        let object = |i| Arc::new(Object { name: format!("a{i}").into(), ..Object::default() });
        let make = move |o: &Object| {
            let broken = *o.name == *broken;
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
        let response = document(ready()).answer(&Makers::new(), false);
        let length: usize = response.headers()[header::CONTENT_LENGTH].to_str().expect("text").parse().expect("number");
        let bytes = response.into_body().collect().await.expect("body").to_bytes();
        assert_eq!(bytes.len(), length);
        check(&bytes);
    }

    #[tokio::test]
    async fn what_is_made_comes_whole_and_in_order() {
        check(&document(made("")).whole(&Makers::new()).await.expect("whole"));
        for items in [ready(), made("")] {
            let response = document(items).answer(&Makers::new(), true);
            assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
            let bytes = response.into_body().collect().await.expect("body").to_bytes();
            let mut plain = Vec::new();
            GzDecoder::new(&*bytes).read_to_end(&mut plain).expect("gzip");
            check(&plain);
        }
    }

    #[tokio::test]
    async fn an_answer_that_nobody_reads_keeps_no_maker() {
        let makers = Makers(Arc::new(Semaphore::new(1)));
        let (started, wait) = std::sync::mpsc::channel::<()>();
        let busy = tokio::spawn({
            let makers = makers.clone();
            async move { makers.run(move || wait.recv()).await }
        });
        while makers.0.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        // It waits for its turn, and is polled no more.
        let mut unread = Box::pin(makers.run(|| 1));
        assert!(futures::poll!(unread.as_mut()).is_pending());
        tokio::task::yield_now().await;
        drop(started);
        assert!(busy.await.expect("task").expect("made").is_err());
        assert_eq!(makers.run(|| 2).await.expect("made"), 2);
        assert_eq!(unread.await.expect("made"), 1);
    }

    #[tokio::test]
    async fn what_cannot_be_made_breaks_the_answer_off() {
        for gzip in [false, true] {
            let body = document(made("a7777")).answer(&Makers::new(), gzip).into_body();
            assert!(body.collect().await.is_err(), "an answer without an item must not look whole");
        }
        assert!(document(made("a7777")).whole(&Makers::new()).await.is_err());
        let few = vec![Arc::new(Object::default())];
        assert!(Items::make(few, Arc::new(|_: &Object| Err(ApiError::internal("broken")))).is_err());
    }
}
