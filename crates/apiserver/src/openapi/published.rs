//! The documents of one moment: those of built-in kinds with those of custom resources and extension servers put in.
//!
//! Documents of built-in kinds are made once. The v2 document with others is spliced from its bytes, so that a change of a
//! definition does not cost a document of all kinds. They are made when somebody asks for them after a change, so what is
//! answered is never old.

use crate::aggregation::{Remotes, V3};
use crate::registry::Table;
use api_core::ApiError;
use api_schema::openapi::{Document, Part, protobuf};
use api_schema::row::Row;
use bytes::Bytes;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, OnceLock};

static V2_PROTOBUF: LazyLock<Document> = LazyLock::new(|| Document::of(protobuf(&api_kinds::openapi::v2_value())));

/// The documents of late.
#[derive(Debug, Default)]
pub(crate) struct Published(Mutex<Option<Arc<Documents>>>);

/// Documents of the rows and extension servers of one moment; each is made when it is asked for.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    more: OnceLock<Part>,
    v2: Mutex<Option<Document>>,
    v2_protobuf: Mutex<Option<Document>>,
    v3: BTreeMap<String, Document>,
    index: Mutex<Option<Document>>,
    table: Arc<Table>,
    remote: Arc<Remotes>,
}

impl Published {
    /// The documents of these rows, and of what extension servers have.
    pub(crate) fn of(&self, table: Arc<Table>, remote: Arc<Remotes>) -> Arc<Documents> {
        let mut known = self.0.lock();
        if let Some(documents) = known.as_ref()
            && Arc::ptr_eq(&documents.table, &table)
            && Arc::ptr_eq(&documents.remote, &remote)
        {
            return documents.clone();
        }
        let v3 = api_kinds::openapi::custom::v3(custom(&table));
        let v3 = v3.into_iter().map(|(name, value)| (name, Document::new(&value))).collect();
        let documents = Arc::new(Documents { v3, table, remote, ..Documents::default() });
        *known = Some(documents.clone());
        documents
    }
}

fn custom(table: &Table) -> impl Iterator<Item = &Row> {
    table.custom().flat_map(|version| &version.rows).map(|served| &*served.row)
}

fn kept(
    place: &Mutex<Option<Document>>,
    make: impl FnOnce() -> Result<Document, ApiError>,
) -> Result<Document, ApiError> {
    let mut place = place.lock();
    if let Some(known) = place.as_ref() {
        return Ok(known.clone());
    }
    let made = make()?;
    *place = Some(made.clone());
    Ok(made)
}

impl Documents {
    /// Whether there is nothing but built-in kinds.
    fn is_plain(&self) -> bool {
        self.v3.is_empty() && self.remote.is_empty()
    }

    /// What the v2 document has beside built-in kinds.
    fn more(&self) -> &Part {
        self.more.get_or_init(|| {
            let (paths, definitions) = api_kinds::openapi::custom::v2(custom(&self.table));
            let mut all = Part { paths, definitions, ..Part::default() };
            if !self.remote.is_empty() {
                let known = api_kinds::openapi::Definitions::load();
                self.remote
                    .v2()
                    .for_each(|part| all.join(part.clone(), &|section, name| known.named_v2(section, name)));
            }
            all
        })
    }

    /// The v2 document.
    pub(crate) fn v2(&self) -> Result<Document, ApiError> {
        if self.is_plain() {
            return Ok(api_kinds::openapi::v2().clone());
        }
        kept(&self.v2, || Ok(Document::of(splice(&api_kinds::openapi::v2().bytes(), self.more())?)))
    }

    /// The v2 document in protobuf. Messages that follow each other are one message.
    pub(crate) fn v2_protobuf(&self) -> Result<Document, ApiError> {
        if self.is_plain() {
            return Ok(V2_PROTOBUF.clone());
        }
        kept(&self.v2_protobuf, || {
            let Part { paths, definitions, parameters } = self.more();
            let more = protobuf(&json!({"paths": paths, "definitions": definitions, "parameters": parameters}));
            Ok(Document::of([&V2_PROTOBUF.bytes()[..], &more].concat()))
        })
    }

    /// The v3 document of a group version, or of another path. Those that an extension server has itself are not here.
    pub(crate) fn v3(&self, name: &str) -> Option<Document> {
        let here = || self.v3.get(name).or_else(|| api_kinds::openapi::v3(name)).cloned();
        self.remote.v3(name).and_then(V3::document).or_else(here)
    }

    /// Where each v3 document is.
    pub(crate) fn index(&self) -> Result<Document, ApiError> {
        kept(&self.index, || {
            let builtin = api_kinds::openapi::v3_index().map(|(name, hash)| (name.to_owned(), hash.to_owned()));
            let mut all: BTreeMap<String, String> = builtin.collect();
            all.extend(self.v3.iter().map(|(name, document)| (name.clone(), document.hash.clone())));
            let here = self.remote.all_v3().filter_map(|(name, v3)| Some((name.to_owned(), v3.document()?.hash)));
            all.extend(here);
            let all = all.iter().map(|(name, hash)| (name.as_str(), hash.as_str()));
            let mut index = api_schema::openapi::index(all);
            for (name, v3) in self.remote.all_v3() {
                if let V3::There { url } = v3 {
                    index["paths"][name] = json!({"serverRelativeURL": url});
                }
            }
            Ok(Document::new(&index))
        })
    }
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

/// A document with more in it; nothing of it is there before.
fn splice(document: &Bytes, more: &Part) -> Result<Vec<u8>, ApiError> {
    let parts: Parts<'_> = serde_json::from_slice(document).map_err(ApiError::internal)?;
    // What follows the opening brace of a part is put after the new entries.
    let place = |part: &RawValue| part.get().as_ptr() as usize - document.as_ptr() as usize + 1;
    let mut inserts = [
        (place(parts.paths), entries(&more.paths)?),
        (place(parts.definitions), entries(&more.definitions)?),
        (place(parts.parameters), entries(&more.parameters)?),
    ];
    inserts.sort();
    let mut out = Vec::with_capacity(document.len() + inserts.iter().map(|(_, text)| text.len()).sum::<usize>());
    let mut from = 0;
    for (at, text) in inserts {
        out.extend_from_slice(&document[from..at]);
        out.extend_from_slice(text.as_bytes());
        from = at;
    }
    out.extend_from_slice(&document[from..]);
    Ok(out)
}

/// Entries of an object, each with a comma after it.
fn entries(map: &Map<String, Value>) -> Result<String, ApiError> {
    let mut out = String::new();
    for (name, value) in map {
        out.push_str(&serde_json::to_string(name).map_err(ApiError::internal)?);
        out.push(':');
        out.push_str(&value.to_string());
        out.push(',');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_spliced() {
        let document = br#"{"a":1,"paths":{"/x":{}},"b":{"paths":{}},"definitions":{"d":{}},"parameters":{"p":{}}}"#;
        let map = |name: &str| Map::from_iter([(name.to_owned(), json!({"new": true}))]);
        let more = Part { paths: map("/y"), definitions: map("e"), parameters: map("q") };
        let spliced = splice(&Bytes::from_static(document), &more).expect("document");
        let value: Value = serde_json::from_slice(&spliced).expect("json");
        let new = json!({"new": true});
        assert_eq!(
            value,
            json!({"a": 1, "paths": {"/x": {}, "/y": new}, "b": {"paths": {}}, "definitions": {"d": {}, "e": new},
                "parameters": {"p": {}, "q": new}})
        );
    }
}
