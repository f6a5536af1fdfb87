//! What comes as a file or a credential: signing requests, tokens, the store's own file.

use crate::source::Source;
use api_core::quantity::Quantity;
use parking_lot::Mutex;
use pki::tokens::Keys;
use pki::{CsrInfo, Pair, Signing, certificate_authority, key_pair, read_request, sign_csr};
use redb::StorageBackend;
use serde_json::json;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::{Arc, LazyLock};
use store::{Embedded, KeyValue, Limits, Op, Range, Store, StoreError, Txn};
use tokio::runtime::{Builder, Runtime};

const NOW_UNIX_S: i64 = 1_800_000_000;

static AUTHORITY: LazyLock<Pair> =
    LazyLock::new(|| certificate_authority("kubernetes", NOW_UNIX_S, 3650).expect("an authority"));

static REQUEST: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let info = CsrInfo {
        common_name: "system:node:a".into(),
        organizations: vec!["system:nodes".into()],
        dns_names: vec!["a.example.com".into()],
        ip_addresses: vec![[10, 0, 0, 1].into()],
        ..CsrInfo::default()
    };
    pki::signing_request(&info).expect("a request").cert_pem.into_bytes()
});

/// A good text with bytes replaced, if the input is no text of its own.
fn damaged(good: &[u8], data: &[u8]) -> Vec<u8> {
    if data.starts_with(b"-----") || data.first().is_some_and(|b| *b == b'e') {
        return data.to_vec();
    }
    let (mut bytes, mut source) = (good.to_vec(), Source::new(data));
    while !source.is_empty() && !bytes.is_empty() {
        let at = source.below(65_536) % bytes.len();
        match source.byte() {
            0 => bytes.truncate(at),
            1 => drop(bytes.remove(at)),
            byte => bytes[at] = byte,
        }
    }
    bytes
}

/// A certificate signing request in PEM form: what can be read and signed ends when the signer says.
pub fn signing_request(data: &[u8]) {
    let bytes = damaged(&REQUEST, data);
    let text = String::from_utf8_lossy(&bytes);
    let read = read_request(&text);
    drop(pki::ends_at(&text));
    let signing = Signing { usages: &["client auth", "digital signature"], now_unix_s: NOW_UNIX_S, valid_s: 3600 };
    if let Ok(certificate) = sign_csr(&AUTHORITY, &text, &signing) {
        assert!(read.is_ok(), "what cannot be read is not signed");
        assert_eq!(pki::ends_at(&certificate).ok(), Some(NOW_UNIX_S + 3600));
    }
}

static KEYS: LazyLock<(Keys, String)> = LazyLock::new(|| {
    let pair = key_pair().expect("a key");
    let keys = Keys::new(&pair.key_pem, &[]).expect("keys");
    let token = keys.sign(&json!({"sub": "system:serviceaccount:a:b", "exp": NOW_UNIX_S})).expect("a token");
    (keys, token)
});

/// A bearer token: none but the signed one is taken, and a key from a stranger is read or refused.
pub fn service_account_token(data: &[u8]) {
    let (keys, token) = &*KEYS;
    let bytes = damaged(token.as_bytes(), data);
    let text = String::from_utf8_lossy(&bytes);
    if let Some(claims) = keys.verify(&text) {
        assert_eq!(claims["sub"], "system:serviceaccount:a:b", "{text}");
    }
    if let Ok(strangers) = Keys::new("", &[String::from_utf8_lossy(data).into_owned()]) {
        assert_eq!(strangers.verify(token), None);
    }
}

/// The disk is full beyond this.
const FILE_BYTES_MAX: usize = 64 << 20;

/// A quantity as the node agent reads it: as the API does, if it fits.
pub fn node_quantity(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (whole, milli) = node::fuzz::read_quantity(text);
    let Ok(quantity) = text.parse::<Quantity>() else { return };
    let canonical = quantity.to_string();
    let fits = |n: i64| n.unsigned_abs() < 1 << 53;
    if fits(quantity.value()) {
        assert_eq!(node::fuzz::read_quantity(&canonical).0, Some(quantity.value()), "{text:?}, {canonical:?}");
        assert!(whole.is_none_or(|w| w == quantity.value()), "{text:?} is {whole:?}");
    }
    if fits(quantity.milli_value()) {
        assert_eq!(node::fuzz::read_quantity(&canonical).1, Some(quantity.milli_value()), "{text:?}, {canonical:?}");
        assert!(milli.is_none_or(|m| m == quantity.milli_value()), "{text:?} is {milli:?}");
    }
}

/// Bytes of a page of a file in memory.
const PAGE_BYTES: usize = 4096;

type Page = [u8; PAGE_BYTES];

/// A file in memory that begins as another one and holds only the pages that differ: thousands are made of one store.
#[derive(Debug, Clone, Default)]
struct File(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    /// What it began as.
    first: Arc<[u8]>,
    /// How much of that is still there; zeros follow.
    first_length: usize,
    length: usize,
    changed: HashMap<usize, Box<Page>>,
}

impl Content {
    fn page(&self, number: usize) -> Page {
        if let Some(page) = self.changed.get(&number) {
            return **page;
        }
        let mut page = [0; PAGE_BYTES];
        let start = (number * PAGE_BYTES).min(self.first_length);
        let there = &self.first[start..(start + PAGE_BYTES).min(self.first_length)];
        page[..there.len()].copy_from_slice(there);
        page
    }

    fn resize(&mut self, length: usize) {
        self.first_length = self.first_length.min(length);
        if length < self.length {
            self.changed.retain(|number, page| {
                let left = length.saturating_sub(number * PAGE_BYTES).min(PAGE_BYTES);
                page[left..].fill(0);
                left > 0
            });
        }
        self.length = length;
    }

    /// The parts of pages that some bytes of the file are: number, where in the page, how many.
    fn parts(&self, offset: u64, length: usize) -> io::Result<impl Iterator<Item = (usize, usize, usize)> + use<>> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.checked_add(length).filter(|end| *end <= self.length);
        let end = end.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        let mut at = start;
        Ok(std::iter::from_fn(move || {
            let (number, inside) = (at / PAGE_BYTES, at % PAGE_BYTES);
            let taken = (end - at).min(PAGE_BYTES - inside);
            at += taken;
            (taken > 0).then_some((number, inside, taken))
        }))
    }
}

impl File {
    fn of(first: &Arc<[u8]>) -> Self {
        let content =
            Content { first: first.clone(), first_length: first.len(), length: first.len(), ..Content::default() };
        Self(Arc::new(Mutex::new(content)))
    }
}

impl StorageBackend for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().length as u64)
    }

    fn read(&self, offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        let file = self.0.lock();
        for (number, inside, taken) in file.parts(offset, out.len())? {
            let (head, rest) = out.split_at_mut(taken);
            head.copy_from_slice(&file.page(number)[inside..inside + taken]);
            out = rest;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).ok().filter(|len| *len <= FILE_BYTES_MAX);
        self.0.lock().resize(len.ok_or(io::ErrorKind::StorageFull)?);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, mut data: &[u8]) -> io::Result<()> {
        let mut file = self.0.lock();
        for (number, inside, taken) in file.parts(offset, data.len())? {
            let (head, rest) = data.split_at(taken);
            let mut page = file.page(number);
            page[inside..inside + taken].copy_from_slice(head);
            file.changed.insert(number, Box::new(page));
            data = rest;
        }
        Ok(())
    }
}

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_all().build().expect("a runtime"));

fn block_on<F: Future>(future: F) -> F::Output {
    RUNTIME.block_on(future)
}

fn open(file: &File) -> Result<Embedded, StoreError> {
    Embedded::open_with("state", file.clone(), Limits { cache_bytes: 1 << 20, ..Limits::default() })
}

/// A store's file, how many bytes of it say something, and what is in it.
static STORE: LazyLock<(Arc<[u8]>, usize, Vec<KeyValue>)> = LazyLock::new(|| {
    let file = File::default();
    let store = open(&file).expect("a store");
    for n in 0..60 {
        let put = Op::Put { key: format!("k/{}", n % 20).into(), value: format!("{n}").repeat(40).into(), lease: 0 };
        block_on(store.txn(Txn { compare: Vec::new(), success: vec![put], failure: Vec::new() })).expect("a write");
    }
    let lease = block_on(store.lease_grant(1000)).expect("a lease");
    let put = Op::Put { key: "k/leased".into(), value: "v".into(), lease };
    block_on(store.txn(Txn { compare: Vec::new(), success: vec![put], failure: Vec::new() })).expect("a write");
    block_on(store.compact(20)).expect("a compaction");
    let kvs = block_on(store.range(Range::prefix("k/"))).expect("a read").kvs;
    drop(store);
    let mut content = vec![0; file.0.lock().length];
    file.read(0, &mut content).expect("a read");
    let used = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    (content.into(), used, kvs)
});

/// Changes a byte, or cuts the file off there.
fn damage(file: &File, at: u64, by: u8) -> io::Result<()> {
    if by == 0 {
        return file.set_len(file.len()?.min(at));
    }
    if at < file.len()? {
        let mut byte = [0];
        file.read(at, &mut byte)?;
        file.write(at, &[byte[0] ^ by])?;
    }
    Ok(())
}

/// A store's file with some damage: it is refused, or what is read of it is what was written.
pub fn store_file(data: &[u8]) {
    let (content, used, expected) = &*STORE;
    let (file, mut source) = (File::of(content), Source::new(data));
    while !source.is_empty() {
        // Three bytes of place: dense at the start, where the headers are.
        let near = source.byte() & 3 != 0;
        let wide = source.below(65_536) << 8 | source.below(256);
        let at = wide % if near { 1024 } else { *used };
        damage(&file, at as u64, source.byte()).expect("there is room");
    }
    let whole = data.is_empty();
    // A file without a byte is a new one.
    let expected: &[KeyValue] = if file.0.lock().length == 0 { &[] } else { expected };
    match open(&file) {
        Ok(store) => match block_on(store.range(Range::prefix("k/"))) {
            Ok(read) => assert!(read.kvs == expected, "other data: {} keys", read.kvs.len()),
            Err(error) => assert!(matches!(error, StoreError::Corrupt { .. } | StoreError::Io(_)), "{error}"),
        },
        Err(error) => {
            assert!(!whole, "{error}");
            let refused =
                matches!(error, StoreError::Corrupt { .. } | StoreError::Io(_) | StoreError::NewerFormat { .. });
            assert!(refused || matches!(error, StoreError::NoSpace { .. }), "{error}");
        }
    }
}
