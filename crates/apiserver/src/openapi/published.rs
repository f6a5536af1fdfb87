//! The documents of one moment: those of built-in kinds with those of custom resources and extension servers put in.
//!
//! Documents of built-in kinds are made once, what they say of a custom resource once for each definition ([`Said`]); a document
//! is put together of those when somebody asks for it, so what is answered is never old. Hashes tell what documents are made
//! of, so that a client which has one already, and the index, need none to be made.
//!
//! [`Said`]: super::said::Said

use super::said::piece;
use crate::aggregation::{Remotes, V3};
use crate::registry::table::GroupVersion;
use crate::registry::{Served, Table};
use api_core::ApiError;
use api_schema::openapi::{Document, Part, Piece, protobuf};
use bytes::Bytes;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use sha2::{Digest, Sha512};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, LazyLock, OnceLock};
use telemetry::metrics::{self, IntCounter, Registry};

static V2_PROTOBUF: LazyLock<Document> = LazyLock::new(|| Document::of(protobuf(&api_kinds::openapi::v2_value())));
static V2_PROTOBUF_PIECE: LazyLock<Piece> = LazyLock::new(|| Piece::new(&V2_PROTOBUF.bytes()));
static COMMA: LazyLock<Piece> = LazyLock::new(|| Piece::new(b","));
static FRAME: LazyLock<[Piece; 3]> =
    LazyLock::new(|| api_kinds::openapi::custom::frame().map(|text| Piece::new(text.as_bytes())));

/// The documents of late.
#[derive(Debug)]
pub(crate) struct Published {
    late: Mutex<Option<Arc<Documents>>>,
    tools: Arc<Tools>,
}

/// What outlasts a change.
#[derive(Debug)]
struct Tools {
    /// Counts what was made of single custom resources.
    made: IntCounter,
    /// Built-in types in v3 documents of custom resources, by names: there are a handful of such sets, since what refers to
    /// built-in types is the same in all definitions.
    shared: Mutex<BTreeMap<BTreeSet<String>, Arc<Piece>>>,
}

/// Documents of the rows and extension servers of one moment; each is made when it is asked for.
#[derive(Debug)]
pub(crate) struct Documents {
    table: Arc<Table>,
    remote: Arc<Remotes>,
    tools: Arc<Tools>,
    more: OnceLock<More>,
    origin: OnceLock<Vec<u8>>,
    index: Mutex<Option<Document>>,
}

/// What a document is asked for by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    V2,
    V2Protobuf,
    Index,
    /// A v3 document, by its name: `apis/apps/v1`.
    V3(String),
}

/// What extension servers have in the v2 document.
#[derive(Debug)]
struct More {
    paths: Option<Piece>,
    definitions: Option<Piece>,
    parameters: Option<Piece>,
    protobuf: Piece,
    hash: Vec<u8>,
}

impl Published {
    /// Registers its metric; fails if there is one of its name already.
    pub(crate) fn new(registry: &Registry) -> Result<Self, metrics::Error> {
        let help = "What was made for OpenAPI documents of single versions of custom resources.";
        let made = IntCounter::new("mainstay_custom_resource_openapi_made_total", help)?;
        registry.register(Box::new(made.clone()))?;
        let tools = Arc::new(Tools { made, shared: Mutex::default() });
        Ok(Self { late: Mutex::default(), tools })
    }

    /// The documents of these rows, and of what extension servers have.
    pub(crate) fn of(&self, table: Arc<Table>, remote: Arc<Remotes>) -> Arc<Documents> {
        let mut late = self.late.lock();
        if let Some(documents) = late.as_ref()
            && Arc::ptr_eq(&documents.table, &table)
            && Arc::ptr_eq(&documents.remote, &remote)
        {
            return documents.clone();
        }
        let tools = self.tools.clone();
        let (more, origin, index) = (OnceLock::new(), OnceLock::new(), Mutex::default());
        late.insert(Arc::new(Documents { table, remote, tools, more, origin, index })).clone()
    }
}

impl Documents {
    /// Whether there is nothing but built-in kinds.
    fn is_plain(&self) -> bool {
        self.table.custom().next().is_none() && self.remote.is_empty()
    }

    fn rows(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.table.custom().flat_map(|version| &version.rows)
    }

    /// Rows of which such a document says what has not been made yet.
    pub(crate) fn missing(&self, wanted: &Wanted) -> Vec<Arc<Served>> {
        let is_missing = |served: &&Arc<Served>| !served.said.has(wanted);
        match wanted {
            Wanted::V2 | Wanted::V2Protobuf => self.rows().filter(is_missing).cloned().collect(),
            Wanted::Index => Vec::new(),
            Wanted::V3(name) => self
                .version(name)
                .map_or_else(Vec::new, |version| version.rows.iter().filter(is_missing).cloned().collect()),
        }
    }

    /// Makes what such a document says of a row.
    pub(crate) fn make(&self, wanted: &Wanted, served: &Served) {
        let (row, made) = (&served.row, &self.tools.made);
        match wanted {
            Wanted::V2 => drop(served.said.v2(row, made)),
            Wanted::V2Protobuf => drop(served.said.protobuf(row, made)),
            Wanted::V3(_) => drop(served.said.v3(row, made)),
            Wanted::Index => {}
        }
    }

    /// Hash of a document; `None` if there is no such document.
    pub(crate) fn hash(&self, wanted: &Wanted) -> Result<Option<String>, ApiError> {
        Ok(match wanted {
            Wanted::V2 if self.is_plain() => Some(api_kinds::openapi::v2().hash.clone()),
            Wanted::V2Protobuf if self.is_plain() => Some(V2_PROTOBUF.hash.clone()),
            Wanted::V2 => Some(hash(&[b"json", self.origin()])),
            Wanted::V2Protobuf => Some(hash(&[b"protobuf", self.origin()])),
            Wanted::Index => Some(self.index()?.hash),
            Wanted::V3(name) => match (self.remote.v3(name).and_then(V3::document), self.version(name)) {
                (Some(document), _) => Some(document.hash),
                (None, Some(version)) => Some(v3_hash(version)),
                (None, None) => api_kinds::openapi::v3(name).map(|document| document.hash.clone()),
            },
        })
    }

    /// A document; `None` if there is no such. Those that an extension server has itself are not here.
    pub(crate) fn document(&self, wanted: &Wanted) -> Result<Option<Document>, ApiError> {
        Ok(match wanted {
            Wanted::V2 if self.is_plain() => Some(api_kinds::openapi::v2().clone()),
            Wanted::V2Protobuf if self.is_plain() => Some(V2_PROTOBUF.clone()),
            Wanted::V2 => Some(self.v2()?),
            Wanted::V2Protobuf => Some(self.v2_protobuf()?),
            Wanted::Index => Some(self.index()?),
            Wanted::V3(name) => match (self.remote.v3(name).and_then(V3::document), self.version(name)) {
                (Some(document), _) => Some(document),
                (None, Some(version)) => Some(self.v3(version)),
                (None, None) => api_kinds::openapi::v3(name).cloned(),
            },
        })
    }

    /// What the v2 document is made of beside built-in kinds.
    fn origin(&self) -> &[u8] {
        self.origin.get_or_init(|| {
            let mut hash = Sha512::new();
            hash.update(api_kinds::openapi::v2().hash.as_bytes());
            self.rows().for_each(|served| hash.update(served.said.origin(&served.row)));
            hash.update(&self.more().hash);
            hash.finalize().to_vec()
        })
    }

    fn more(&self) -> &More {
        self.more.get_or_init(|| {
            let mut all = Part::default();
            if !self.remote.is_empty() {
                let known = api_kinds::openapi::Definitions::load();
                let names = |served: &'_ Arc<Served>| {
                    let served = served.clone();
                    api_kinds::openapi::custom::names(&served.row).map(|name| (name, served.clone()))
                };
                let own: HashMap<String, Arc<Served>> = self.rows().flat_map(names).collect();
                let defined = |name: &str| api_kinds::openapi::custom::v2(&own.get(name)?.row).1.remove(name);
                let known = |section, name: &str| known.named_v2(section, name).or_else(|| defined(name));
                self.remote.v2().for_each(|part| all.join(part.clone(), &known));
            }
            let Part { paths, definitions, parameters } = &all;
            let document = json!({"paths": paths, "definitions": definitions, "parameters": parameters});
            let part = |map: &serde_json::Map<_, _>| (!map.is_empty()).then(|| piece(map));
            More {
                paths: part(paths),
                definitions: part(definitions),
                parameters: part(parameters),
                hash: Sha512::digest(document.to_string()).to_vec(),
                protobuf: Piece::new(&protobuf(&document)),
            }
        })
    }

    fn v2(&self) -> Result<Document, ApiError> {
        let (base, more, made) = (base()?, self.more(), &self.tools.made);
        let mut pieces = vec![&base.first];
        for (section, rest) in &base.sections {
            let rows: Box<dyn Iterator<Item = &Piece>> = match section {
                Section::Paths => Box::new(self.rows().map(|s| &s.said.v2(&s.row, made).paths).chain(&more.paths)),
                Section::Definitions => {
                    Box::new(self.rows().map(|s| &s.said.v2(&s.row, made).definitions).chain(&more.definitions))
                }
                Section::Parameters => Box::new(more.parameters.iter()),
            };
            rows.for_each(|new| pieces.extend([new, &COMMA]));
            pieces.push(rest);
        }
        Ok(Document::joined(pieces, hash(&[b"json", self.origin()])))
    }

    /// Messages that follow each other are one message.
    fn v2_protobuf(&self) -> Result<Document, ApiError> {
        let rows = self.rows().map(|served| served.said.protobuf(&served.row, &self.tools.made));
        let pieces = std::iter::once(&*V2_PROTOBUF_PIECE).chain(rows).chain([&self.more().protobuf]);
        Ok(Document::joined(pieces, hash(&[b"protobuf", self.origin()])))
    }

    /// The custom resources that a v3 document is of.
    fn version(&self, name: &str) -> Option<&GroupVersion> {
        let (group, version) = name.strip_prefix("apis/")?.split_once('/')?;
        self.table.custom_version(group, version).map(|version| &**version)
    }

    fn v3(&self, version: &GroupVersion) -> Document {
        let said: Vec<_> = version.rows.iter().map(|served| served.said.v3(&served.row, &self.tools.made)).collect();
        let names: BTreeSet<String> = said.iter().flat_map(|said| said.shared.iter().cloned()).collect();
        let shared = self.tools.shared(names);
        let [start, types, end] = &*FRAME;
        let mut pieces = vec![start];
        said.iter().for_each(|said| pieces.extend([&said.paths, &COMMA]));
        pieces.pop();
        pieces.push(types);
        said.iter().for_each(|said| pieces.extend([&said.schemas, &COMMA]));
        pieces.extend([&*shared, end]);
        Document::joined(pieces, v3_hash(version))
    }

    /// Where each v3 document is.
    fn index(&self) -> Result<Document, ApiError> {
        let mut known = self.index.lock();
        if let Some(known) = known.as_ref() {
            return Ok(known.clone());
        }
        let builtin = api_kinds::openapi::v3_index().map(|(name, hash)| (name.to_owned(), hash.to_owned()));
        let mut all: BTreeMap<String, String> = builtin.collect();
        let own = self.table.custom().map(|v| (format!("apis/{}/{}", v.group, v.version), v3_hash(v)));
        all.extend(own);
        let here = self.remote.all_v3().filter_map(|(name, v3, _)| Some((name.to_owned(), v3.document()?.hash)));
        all.extend(here);
        let all = all.iter().map(|(name, hash)| (name.as_str(), hash.as_str()));
        let mut index = api_schema::openapi::index(all);
        for (name, v3, is_own) in self.remote.all_v3() {
            // What it has beside its group version counts where nobody else has it.
            if let V3::There { url } = v3
                && (is_own || index["paths"].get(name).is_none())
            {
                index["paths"][name] = json!({"serverRelativeURL": url});
            }
        }
        Ok(known.insert(Document::new(&index)).clone())
    }
}

impl Tools {
    fn shared(&self, names: BTreeSet<String>) -> Arc<Piece> {
        let mut shared = self.shared.lock();
        let types = |names: &BTreeSet<String>| Arc::new(piece(&api_kinds::openapi::custom::shared_v3(names)));
        shared.entry(names).or_insert_with_key(types).clone()
    }
}

/// Hash of a v3 document, by what it is made of: the program and the rows.
fn v3_hash(version: &GroupVersion) -> String {
    version
        .documented
        .get_or_init(|| {
            let rows = version.rows.iter().map(|served| served.said.origin(&served.row));
            let parts: Vec<&[u8]> = std::iter::once(api_kinds::openapi::v2().hash.as_bytes()).chain(rows).collect();
            hash(&parts)
        })
        .clone()
}

fn hash(parts: &[&[u8]]) -> String {
    let mut hash = Sha512::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().iter().map(|b| format!("{b:02X}")).collect()
}

/// The v2 document of built-in kinds, cut where more is put in.
#[derive(Debug)]
struct Base {
    first: Piece,
    sections: [(Section, Piece); 3],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Section {
    Paths,
    Definitions,
    Parameters,
}

/// The parts of a v2 document that more is put into.
#[derive(Deserialize)]
struct Parts<'a> {
    #[serde(borrow)]
    paths: &'a RawValue,
    #[serde(borrow)]
    definitions: &'a RawValue,
    #[serde(borrow)]
    parameters: &'a RawValue,
}

fn base() -> Result<&'static Base, ApiError> {
    static BASE: LazyLock<Result<Base, String>> =
        LazyLock::new(|| Base::cut(&api_kinds::openapi::v2().bytes()).map_err(|e| e.to_string()));
    BASE.as_ref().map_err(ApiError::internal)
}

impl Base {
    /// Cuts a document behind the opening braces of its parts, none of which is empty.
    fn cut(document: &Bytes) -> Result<Self, serde_json::Error> {
        let parts: Parts<'_> = serde_json::from_slice(document)?;
        let place = |part: &RawValue| part.get().as_ptr() as usize - document.as_ptr() as usize + 1;
        let mut places = [
            (place(parts.paths), Section::Paths),
            (place(parts.definitions), Section::Definitions),
            (place(parts.parameters), Section::Parameters),
        ];
        places.sort_unstable();
        let [(a, first), (b, second), (c, third)] = places;
        let cut = |from: usize, to: usize| Piece::new(&document[from..to]);
        let sections = [(first, cut(a, b)), (second, cut(b, c)), (third, cut(c, document.len()))];
        Ok(Self { first: cut(0, a), sections })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn a_document_is_cut_where_more_is_put_in() {
        let document = br#"{"a":1,"paths":{"/x":{}},"b":{"paths":{}},"definitions":{"d":{}},"parameters":{"p":{}}}"#;
        let base = Base::cut(&Bytes::from_static(document)).expect("document");
        let new = |name: &str| Piece::new(format!("{name:?}:{{\"new\":true}},").as_bytes());
        let added = [new("/y"), new("e"), new("q")];
        let order = [Section::Paths, Section::Definitions, Section::Parameters];
        assert_eq!(base.sections.each_ref().map(|(section, _)| *section), order);
        let sections = base.sections.iter().zip(&added).flat_map(|((_, rest), new)| [new, rest]);
        let joined = Document::joined(std::iter::once(&base.first).chain(sections), String::new());
        let value: Value = serde_json::from_slice(&joined.bytes()).expect("json");
        let new = json!({"new": true});
        assert_eq!(
            value,
            json!({"a": 1, "paths": {"/x": {}, "/y": new}, "b": {"paths": {}}, "definitions": {"d": {}, "e": new},
                "parameters": {"p": {}, "q": new}})
        );
    }
}
