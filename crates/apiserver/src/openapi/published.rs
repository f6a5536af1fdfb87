//! The documents of one moment: those of built-in kinds with those of custom resources put in.
//!
//! Documents of built-in kinds are made once. The v2 document with custom resources is spliced from its bytes, so that a
//! change of a definition does not cost a document of all kinds. They are made when somebody asks for them after a change,
//! so what is answered is never old.

use crate::registry::Table;
use api_core::ApiError;
use api_schema::openapi::{Document, protobuf};
use api_schema::row::Row;
use bytes::Bytes;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

static V2_PROTOBUF: LazyLock<Document> = LazyLock::new(|| Document::of(protobuf(&api_kinds::openapi::v2_value())));

/// The documents of the rows of late.
#[derive(Debug, Default)]
pub(crate) struct Published(Mutex<Option<(Arc<Table>, Arc<Documents>)>>);

/// Documents of the rows of one moment; each is made when it is asked for.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    v2: Mutex<Option<Document>>,
    v2_protobuf: Mutex<Option<Document>>,
    v3: BTreeMap<String, Document>,
    index: Mutex<Option<Document>>,
    table: Option<Arc<Table>>,
}

impl Published {
    /// The documents of these rows.
    pub(crate) fn of(&self, table: Arc<Table>) -> Arc<Documents> {
        let mut known = self.0.lock();
        if let Some((of, documents)) = known.as_ref()
            && Arc::ptr_eq(of, &table)
        {
            return documents.clone();
        }
        let v3 = api_kinds::openapi::custom::v3(custom(&table));
        let v3 = v3.into_iter().map(|(name, value)| (name, Document::new(&value))).collect();
        let documents = Arc::new(Documents { v3, table: Some(table.clone()), ..Documents::default() });
        *known = Some((table, documents.clone()));
        documents
    }
}

fn custom(table: &Table) -> impl Iterator<Item = &Row> {
    table.rows.iter().map(|s| &*s.row).filter(|r| r.custom.is_some())
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
    fn custom_v2(&self) -> (Map<String, Value>, Map<String, Value>) {
        self.table.as_ref().map(|table| api_kinds::openapi::custom::v2(custom(table))).unwrap_or_default()
    }

    /// The v2 document.
    pub(crate) fn v2(&self) -> Result<Document, ApiError> {
        if self.v3.is_empty() {
            return Ok(api_kinds::openapi::v2().clone());
        }
        kept(&self.v2, || {
            let (paths, definitions) = self.custom_v2();
            Ok(Document::of(splice(&api_kinds::openapi::v2().bytes(), &paths, &definitions)?))
        })
    }

    /// The v2 document in protobuf. Messages that follow each other are one message.
    pub(crate) fn v2_protobuf(&self) -> Result<Document, ApiError> {
        if self.v3.is_empty() {
            return Ok(V2_PROTOBUF.clone());
        }
        kept(&self.v2_protobuf, || {
            let (paths, definitions) = self.custom_v2();
            let more = protobuf(&json!({"paths": paths, "definitions": definitions}));
            Ok(Document::of([&V2_PROTOBUF.bytes()[..], &more].concat()))
        })
    }

    /// The v3 document of a group version, or of another path.
    pub(crate) fn v3(&self, name: &str) -> Option<Document> {
        self.v3.get(name).or_else(|| api_kinds::openapi::v3(name)).cloned()
    }

    /// Where each v3 document is.
    pub(crate) fn index(&self) -> Result<Document, ApiError> {
        kept(&self.index, || {
            let builtin = api_kinds::openapi::v3_index().map(|(name, hash)| (name.to_owned(), hash.to_owned()));
            let mut all: BTreeMap<String, String> = builtin.collect();
            all.extend(self.v3.iter().map(|(name, document)| (name.clone(), document.hash.clone())));
            let all = all.iter().map(|(name, hash)| (name.as_str(), hash.as_str()));
            Ok(Document::new(&api_schema::openapi::index(all)))
        })
    }
}

/// The parts of a v2 document that custom resources are put into.
#[derive(Deserialize)]
struct Parts<'a> {
    #[serde(borrow)]
    paths: &'a RawValue,
    #[serde(borrow)]
    definitions: &'a RawValue,
}

/// A document with more paths and definitions; none of them is there before.
fn splice(document: &Bytes, paths: &Map<String, Value>, definitions: &Map<String, Value>) -> Result<Vec<u8>, ApiError> {
    let parts: Parts<'_> = serde_json::from_slice(document).map_err(ApiError::internal)?;
    // What follows the opening brace of a part is put after the new entries.
    let place = |part: &RawValue| part.get().as_ptr() as usize - document.as_ptr() as usize + 1;
    let mut inserts = [(place(parts.paths), entries(paths)?), (place(parts.definitions), entries(definitions)?)];
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
        let document = Bytes::from_static(br#"{"a":1,"paths":{"/x":{}},"b":{"paths":{}},"definitions":{"d":{}}}"#);
        let map = |name: &str| Map::from_iter([(name.to_owned(), json!({"new": true}))]);
        let spliced = splice(&document, &map("/y"), &map("e")).expect("document");
        let value: Value = serde_json::from_slice(&spliced).expect("json");
        assert_eq!(
            value,
            json!({"a": 1, "paths": {"/x": {}, "/y": {"new": true}}, "b": {"paths": {}}, "definitions": {"d": {}, "e": {"new": true}}})
        );
    }
}
